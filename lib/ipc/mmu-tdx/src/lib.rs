//! Messages between pd-mmu and pd-tdx.
//!
//! pd-mmu's half of the TDX host interface: the classes MEM and PHYMEM, in batches; and the EPT
//! violations of every TD, which are memory's business and nobody else's.
#![no_std]
#![forbid(unsafe_code)]
// Messages live on the stack for a moment; there is no heap to box the long ones.
#![allow(clippy::large_enum_variant)]

use heapless::Vec;
pub use ipc_seamcall::{BatchResult, Call};
use serde::{Deserialize, Serialize};

/// The most steps in one program.
pub const MAX_STEPS: usize = 64;

/// One step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A SEAMCALL.
    Call(Call),
    /// Have every vCPU of this TD (host physical address of its TDR page) leave it, so that none
    /// runs on in the epoch before TDH.MEM.TRACK: the IPI of the tracking protocol.
    Kick(u64),
}

/// From pd-mmu to pd-tdx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToTdx {
    /// Take the steps in order, up to the first that does not succeed; answered by
    /// [`ToMmu::ProgramDone`].
    Program {
        /// Comes back in the answer.
        id: u32,
        /// The steps.
        steps: Vec<Step, MAX_STEPS>,
    },
    /// The fault of this vCPU is dealt with: enter it again.
    Resume {
        /// Host physical address of the vCPU's TDVPR page.
        tdvpr: u64,
    },
    /// The fault of this vCPU can't be dealt with: its TDH.VP.ENTER returns to pd-vmm.
    Decline {
        /// Host physical address of the vCPU's TDVPR page.
        tdvpr: u64,
    },
}

/// A stretch of host physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Host physical address of its first byte.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

/// Memory that pd-mmu manages and does not map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// Pages for the TDX module's control structures.
    pub control: Pool,
    /// Private guest memory.
    pub private: Pool,
    /// Shared guest memory.
    pub shared: Pool,
    /// Lowest bit of the HKID in a host physical address.
    pub hkid_shift: u8,
}

/// From pd-tdx to pd-mmu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMmu {
    /// The TDX module is configured: programs are taken.
    Ready {
        /// The memory that pd-mmu is to manage.
        pools: Pools,
    },
    /// An EPT violation; the vCPU waits for [`ToTdx::Resume`] or [`ToTdx::Decline`].
    Fault {
        /// Host physical address of the TD's TDR page.
        tdr: u64,
        /// Host physical address of the vCPU's TDVPR page.
        tdvpr: u64,
        /// Guest physical address with its stolen bits (page granular where private).
        gpa: u64,
        /// Exit qualification (SDM table 28-7).
        qualification: u64,
        /// Extended exit qualification (TDX module ABI: type in bits 3:0, 1 = TDG.MEM.PAGE.ACCEPT
        /// with the wanted level in bits 34:32 and the S-EPT entry's level and state behind).
        extended_qualification: u64,
    },
    /// A program ended.
    ProgramDone {
        /// The id of the program.
        id: u32,
        /// How it ended.
        result: BatchResult,
    },
}
