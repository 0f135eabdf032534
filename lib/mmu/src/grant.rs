//! Control pages for somebody else's calls: where the domain that holds guest memory isn't the
//! one that creates TDs and vCPUs.

use crate::control::{NO_CONTROL, Role};
use crate::error::Error;
use crate::memory::TableMemory;
use crate::mmu::{Mmu, Next};
use crate::vm::{Teardown, Work};
use gpa::Hpa;

impl<M: TableMemory> Mmu<'_, M> {
    /// Takes a control page for `role`, to be given to the module by somebody else. It comes
    /// back with [`reclaim`](Self::reclaim). A [`Role::Tdr`] is the VM's one TDR.
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`, `Unsupported` (not a TD, or a role that is not given away),
    /// `Occupied` (a second TDR), `NoMemory(Control)`.
    pub fn grant(&mut self, vm: u8, role: Role) -> Result<Hpa, Error> {
        let found = self.idle(vm)?;
        if !found.is_td() || matches!(role, Role::Free | Role::Sept) {
            return Err(Error::Unsupported);
        }
        if role == Role::Tdr && found.tdr != NO_CONTROL {
            return Err(Error::Occupied);
        }
        let page = self.control.take(vm, role)?;
        // From here on only the module can say that the page is free.
        self.control.set_owned(page);
        if role == Role::Tdr {
            self.vms[vm as usize].tdr = page;
        }
        Ok(self.control.hpa(page))
    }

    /// Gives everything of a VM back, as [`teardown`](Self::teardown) does, where the vCPUs are
    /// flushed and the key is free already.
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`.
    pub fn reclaim(&mut self, vm: u8) -> Result<Next, Error> {
        if self.vms.get(vm as usize).is_some_and(|found| found.dying) {
            return self.teardown(vm);
        }
        self.idle(vm)?;
        self.vms[vm as usize].dying = true;
        self.start(vm, Work::Teardown(Teardown::Pages(0, 0)))
    }
}
