//! The boundary to the TDX module.

use core::fmt;
use gpa::Hpa;
use ipc_seamcall::Registers;
use ipc_vmm_tdx::{VmEntry, VmExit};

/// An instruction that a processor doesn't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownInstruction {
    /// RIP.
    pub rip: u64,
    /// What is there; zeros where the page ends.
    pub bytes: [u8; 15],
    /// Its name.
    pub mnemonic: cpu::Mnemonic,
}

impl fmt::Display for UnknownInstruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rip, mnemonic, .. } = self;
        write!(f, "unknown instruction {mnemonic:?} at {rip:#x} (bytes")?;
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, " {byte:02x}"))?;
        f.write_str("): the guest gets #UD")
    }
}

/// The TDX module, called with registers as the SEAMCALL instruction is.
///
/// The instruction is one implementation, [`crate::software::SoftwareSeam`] another. A call
/// always returns: TDH.VP.ENTER comes back with an external interrupt at the latest when the
/// host wants its processor back.
pub trait Seam {
    /// One SEAMCALL on the one logical processor that the protection domain runs on.
    fn seamcall(&mut self, registers: &mut Registers);

    /// Drops every translation through a shared EPT that the processor holds (INVEPT, all
    /// contexts): the TDX module tracks private translations only.
    fn invept(&mut self);

    /// VM entry of a vCPU of a VM that is no TD (VMLAUNCH, VMRESUME), whose only EPT is at
    /// `root`. A vCPU that isn't known yet begins as a TD's does, at the reset vector.
    /// Comes back as TDH.VP.ENTER does.
    fn vm_enter(&mut self, root: Hpa, vcpu: u64, entry: &VmEntry) -> VmExit {
        let _ = (root, vcpu, entry);
        VmExit {
            reason: VmExit::NO_ENTRY,
            ..VmExit::default()
        }
    }

    /// This vCPU of a VM that is no TD is over.
    fn vm_forget(&mut self, _vcpu: u64) {}

    /// The last instruction that the processor doesn't know and some guest had, since this was
    /// last asked: the guest got #UD. For a processor that knows all of them, there is none.
    fn take_unknown(&mut self) -> Option<UnknownInstruction> {
        None
    }

    /// What the host's time-stamp counter ticks in a second, for a processor that can't know.
    fn set_tsc_frequency(&mut self, _hz: u64) {}
}
