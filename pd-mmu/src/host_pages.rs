//! Pages of the shared pool for the host's own use: what pd-vmm hands to the TDX module or
//! shares with it (TD_PARAMS, posted-interrupt descriptors).

use gpa::{Hpa, PAGE_SIZE};
use ipc_vmm_mmu::VmId;

/// How many there are.
pub const COUNT: usize = 64;

const FREE: VmId = VmId::MAX;

#[derive(Debug)]
pub struct HostPages {
    base: Hpa,
    owners: [VmId; COUNT],
}

impl HostPages {
    pub fn new(base: Hpa) -> Self {
        Self {
            base,
            owners: [FREE; COUNT],
        }
    }

    pub fn take(&mut self, vm: VmId) -> Option<Hpa> {
        let index = self.owners.iter().position(|&owner| owner == FREE)?;
        self.owners[index] = vm;
        self.base.checked_add(index as u64 * PAGE_SIZE)
    }

    pub fn free(&mut self, vm: VmId) {
        self.owners
            .iter_mut()
            .filter(|owner| **owner == vm)
            .for_each(|owner| *owner = FREE);
    }
}
