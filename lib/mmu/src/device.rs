//! Shared addresses behind which there is no memory: a TD's devices.

use crate::error::Error;
use crate::memory::TableMemory;
use crate::mmu::Mmu;
use ept::Entry;
use gpa::Gpa;

impl<M: TableMemory> Mmu<'_, M> {
    /// Makes accesses to the 4 KiB at a shared address without memory a #VE of the guest, which
    /// then asks for the device by TDG.VP.VMCALL<MMIO>. Without this they are EPT violations.
    ///
    /// # Errors
    /// `NoSuchVm`, `BeyondWidth`, `NoSuchAlias`, `Busy`; `Unsupported` (not a TD), `WrongKind`
    /// (a private address), `Occupied` (there is memory, or a device already), `NoMemory`.
    pub fn map_device(&mut self, vm: u8, gpa: Gpa) -> Result<(), Error> {
        let (alias, gfn) = self.split(vm, gpa)?;
        let found = self.idle(vm)?;
        if !found.is_td() {
            return Err(Error::Unsupported);
        }
        if alias.is_private() {
            return Err(Error::WrongKind);
        }
        if found.slot(gfn).is_ok() {
            return Err(Error::Occupied);
        }
        let at = found.bits.join(alias.stolen, gfn);
        let mut root = found.roots[alias.root];
        let mapped = self.tables.map(&mut root, at, 0, Entry(Entry::SUPPRESS_VE));
        *self.root_mut(vm, alias.root) = root;
        mapped
    }
}
