//! One virtual processor.

use crate::lapic::Lapic;
use crate::posted::Descriptor;
use crate::tdvmcall::Reply;
use ipc_vmm_tdx::{Registers, VmEntry};
use tdx_abi::HostLeaf;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// To be entered.
    Ready,
    /// In the TD, as far as pd-vmm knows.
    Entered,
    /// Has executed HLT: the TDX module is to be asked whether an interrupt is pending that the
    /// vCPU has taken already.
    Halting,
    /// Halted until an interrupt is posted.
    Halted,
    /// Waits for MapGPA, done up to `next`; both with the SHARED bit.
    Mapping {
        /// The first guest physical address not yet converted.
        next: u64,
        /// The end of the range.
        end: u64,
    },
    /// Never to be entered again.
    Stopped,
}

/// A virtual processor.
#[derive(Debug)]
pub struct Vcpu {
    /// Host physical address of its TDVPR page.
    pub tdvpr: u64,
    /// What it is doing.
    pub run: Run,
    /// The SEAMCALL that it waits for (TDH.VP.ENTER or TDH.VP.RD).
    pub call: Option<u32>,
    /// Input registers of the next TDH.VP.ENTER, or of the one that is going on.
    pub input: Registers,
    /// The next VM entry of a VM that is no TD.
    pub entry: VmEntry,
    /// Its APIC.
    pub lapic: Lapic,
    /// Where its interrupts are posted.
    pub posted: Descriptor,
    /// It is to be notified.
    pub notify: bool,
    /// It is to be kicked out of the TD.
    pub kick: bool,
    /// How often in a row TDH.VP.ENTER found a lock held.
    pub busy: u32,
}

impl Vcpu {
    /// A vCPU that was just initialized.
    pub fn new(tdvpr: u64, lapic: Lapic, posted: Descriptor) -> Self {
        let mut vcpu = Self {
            tdvpr,
            run: Run::Ready,
            call: None,
            input: Registers::default(),
            entry: VmEntry::default(),
            lapic,
            posted,
            notify: false,
            kick: false,
            busy: 0,
        };
        vcpu.resume(Registers::default());
        vcpu
    }

    /// To be entered with these registers.
    pub fn resume(&mut self, registers: Registers) {
        self.input = Registers {
            rax: HostLeaf::VpEnter.number().into(),
            rcx: self.tdvpr,
            ..registers
        };
        self.run = Run::Ready;
    }

    /// To be entered with this answer to its TDG.VP.VMCALL, whose registers are in `input`.
    pub fn reply(&mut self, reply: impl Into<Reply>) {
        let mut registers = self.input;
        reply.into().apply(&mut registers);
        self.resume(registers);
    }
}
