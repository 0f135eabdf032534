//! Messages between pd-vmm and pd-tdx.
//!
//! pd-vmm's half of the TDX host interface: the classes SYS (read only), MNG, MR and VP.
//! TDH.VP.ENTER is a call like the others whose answer comes when the TD exits. EPT violations
//! do not come here: pd-tdx takes them to pd-mmu and re-enters.
#![no_std]
#![forbid(unsafe_code)]
// Messages live on the stack for a moment; there is no heap to box the long ones.
#![allow(clippy::large_enum_variant)]

pub use ipc_seamcall::{Batch, BatchResult, Call, MAX_BATCH, MAX_SWEEP, Registers, Sweep};
use serde::{Deserialize, Serialize};

/// What a vCPU of a VM that is no TD is entered with: what the host sets in its VMCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmEntry {
    /// General registers but RSP.
    pub registers: Registers,
    /// Bytes that RIP moves on: the length of an instruction that the host has carried out.
    pub skip: u8,
    /// VM-entry interruption information (SDM table 25-19); 0: no event.
    pub event: u32,
    /// VM-entry exception error code.
    pub error_code: u32,
    /// CR2, where the event is a page fault.
    pub cr2: u64,
}

/// What a vCPU of a VM that is no TD left with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmExit {
    /// Basic exit reason; [`NO_ENTRY`](Self::NO_ENTRY) where there was no entry.
    pub reason: u32,
    /// Exit qualification.
    pub qualification: u64,
    /// Guest physical address of an EPT violation.
    pub gpa: u64,
    /// Guest linear address of it.
    pub gla: u64,
    /// Length of the instruction.
    pub instruction_length: u8,
    /// Current privilege level.
    pub cpl: u8,
    /// General registers but RSP.
    pub registers: Registers,
}

impl VmExit {
    /// Bit 31 of the exit reason: VM entry failed. No such vCPU can be.
    pub const NO_ENTRY: u32 = 1 << 31;
}

/// From pd-vmm to pd-tdx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTdx {
    /// Make one SEAMCALL with all its registers; answered by [`ToVmm::Returned`].
    Seamcall {
        /// Comes back in the answer.
        id: u32,
        /// Input registers.
        registers: Registers,
    },
    /// Make several; answered by one [`ToVmm::BatchDone`].
    Batch {
        /// Comes back in the answer.
        id: u32,
        /// The calls.
        calls: Batch,
    },
    /// Make one call for a row of operands; answered by one [`ToVmm::BatchDone`].
    Sweep {
        /// Comes back in the answer.
        id: u32,
        /// The calls.
        sweep: Sweep,
    },
    /// The posted-interrupt notification for the vCPU of this TDVPR page (host physical
    /// address): what is posted in its descriptor is delivered without leaving the TD.
    Notify {
        /// Host physical address of the vCPU's TDVPR page.
        tdvpr: u64,
    },
    /// What the host's time-stamp counter ticks in a second: the software processor has nobody
    /// else to tell it, hardware needs no telling. Taken before the first TD is made.
    TscFrequency {
        /// Ticks of a second.
        hz: u64,
    },
    /// VM entry of a vCPU of a VM that is no TD; answered by [`ToVmm::Exited`]. EPT violations
    /// go to pd-mmu first, as a TD's do. The vCPU begins with the first entry.
    Enter {
        /// Comes back in the answer.
        id: u32,
        /// The vCPU: host physical address of its VM's EPT root, plus its number from 1 on.
        vcpu: u64,
        /// What it is entered with.
        entry: VmEntry,
    },
    /// A vCPU of a VM that is no TD is over.
    Forget {
        /// The vCPU, as in [`Enter`](Self::Enter).
        vcpu: u64,
    },
    /// Have the vCPU leave the TD soon: its TDH.VP.ENTER returns with an external interrupt.
    Kick {
        /// Host physical address of the vCPU's TDVPR page.
        tdvpr: u64,
    },
}

/// From pd-tdx to pd-vmm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToVmm {
    /// The TDX module is configured: calls are taken.
    Ready {
        /// TDX private HKIDs that a TD may be given: the first one.
        first_hkid: u16,
        /// And how many there are.
        hkids: u16,
        /// TDCS pages (TDCX) that TDH.MNG.ADDCX wants, from TDH.SYS.INFO.
        tdcs_pages: u8,
        /// TDVPS pages (TDVPR and TDCX) that a vCPU wants.
        tdvps_pages: u8,
    },
    /// A SEAMCALL returned.
    Returned {
        /// The id of the call.
        id: u32,
        /// Output registers.
        registers: Registers,
    },
    /// A vCPU of a VM that is no TD has left.
    Exited {
        /// The id of the entry.
        id: u32,
        /// With what.
        exit: VmExit,
    },
    /// The leaf firewall refused the call; it was not made.
    Refused {
        /// The id of the call.
        id: u32,
        /// The leaf.
        leaf: u16,
    },
    /// A batch or a sweep ended.
    BatchDone {
        /// The id of it.
        id: u32,
        /// How it ended.
        result: BatchResult,
    },
}
