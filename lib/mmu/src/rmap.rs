//! Reverse map: from a host frame to every entry that maps it.
//!
//! The aliases of a frame are *computed*, not stored: a frame has one owner (VM and frame
//! number, one word of [`Frames`](crate::Frames) or [`Blocks`](crate::Blocks)), a VM has at most
//! two aliases of shared memory, and each is one walk away. So there are no chains to keep
//! right, and none to run out of.

use crate::memory::TableMemory;
use crate::mmu::Mmu;
use crate::vm::Alias;

impl<M: TableMemory> Mmu<'_, M> {
    /// Every entry that maps a shared frame, across aliases and roots. Private
    /// frames have one at most: see [`Blocks::owner`](crate::Blocks::owner).
    pub fn mappings(&self, frame: gpa::Hfn) -> impl Iterator<Item = (Alias, crate::Spot)> {
        let owner = self.shared.owner(frame);
        let found = owner.and_then(|(vm, _)| self.vms.get(vm as usize));
        found
            .into_iter()
            .flat_map(|found| found.shared_aliases().map(move |alias| (found, alias)))
            .filter_map(move |(found, alias)| {
                let at = found.bits.join(alias.stolen, owner?.1);
                let spot = self.tables.walk(&found.roots[alias.root], at, 0);
                spot.is_leaf().then_some((alias, spot))
            })
    }
}
