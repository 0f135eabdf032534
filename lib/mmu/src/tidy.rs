//! Promotion by the way: 2 MiB pages that a guest has taken by 4 KiB are made whole again.
//!
//! The host sees when all 512 pages of a region are mapped, but not whether the guest has
//! accepted them all: only the module knows, and refuses where it hasn't. So a region is tried
//! at its second look (the first may be before the last page's acceptance), and where the module
//! refuses, ever more rarely.

use crate::error::Error;
use crate::memory::TableMemory;
use crate::mmu::{Mmu, Next};
use gpa::Gfn;

/// Regions looked at by one call.
const LOOKS: usize = 16;

/// Whether this look at a full region is one that tries.
const fn tries(look: u8) -> bool {
    matches!(look, 2 | 8 | 32 | 128)
}

impl<M: TableMemory> Mmu<'_, M> {
    /// Looks at the next few regions of a TD, and makes one 2 MiB page of the first that seems
    /// fit for it. Meant for when there is nothing else to do; bounded work.
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`.
    pub fn tidy(&mut self, vm: u8) -> Result<Next, Error> {
        self.idle(vm)?;
        for _ in 0..LOOKS {
            let from = self.vms[vm as usize].tidied;
            let Some(region) = self.next_region(vm, from) else {
                self.vms[vm as usize].tidied = 0;
                break;
            };
            self.vms[vm as usize].tidied = region + 512;
            if self.is_promotable(vm, region) && tries(self.look(vm, region)) {
                return self.promote(vm, Gfn::new(region));
            }
        }
        Ok(Next::Done)
    }

    /// The first whole region of private memory from a frame number on.
    fn next_region(&self, vm: u8, from: u64) -> Option<u64> {
        let slots = self.vms[vm as usize].slots.iter().flatten();
        let regions = slots.filter(|slot| slot.config.private).map(|slot| {
            let region = slot.first().max(from).next_multiple_of(512);
            (region, region + 512 <= slot.end())
        });
        let whole = regions.filter(|(_, whole)| *whole);
        whole.map(|(region, _)| region).min()
    }

    /// Counts a look at a full region.
    fn look(&mut self, vm: u8, region: u64) -> u8 {
        let spot = self.private_spot(vm, region, 0);
        let mut look = 0;
        self.tables.edit(spot.table, |meta| {
            meta.looks = meta.looks.saturating_add(1);
            look = meta.looks;
        });
        look
    }
}
