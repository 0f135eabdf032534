//! Messages between pd-vmm and pd-tdx.
//!
//! pd-vmm's half of the TDX host interface: the classes SYS (read only), MNG, MR and VP.
//! TDH.VP.ENTER is a call like the others whose answer comes when the TD exits. EPT violations
//! do not come here: pd-tdx takes them to pd-mmu and re-enters.
#![no_std]
#![forbid(unsafe_code)]
// Messages live on the stack for a moment; there is no heap to box the long ones.
#![allow(clippy::large_enum_variant)]

pub use ipc_seamcall::{Batch, BatchResult, Call, MAX_BATCH, Registers};
use serde::{Deserialize, Serialize};

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
    /// The leaf firewall refused the call; it was not made.
    Refused {
        /// The id of the call.
        id: u32,
        /// The leaf.
        leaf: u16,
    },
    /// A batch ended.
    BatchDone {
        /// The id of the batch.
        id: u32,
        /// How it ended.
        result: BatchResult,
    },
}
