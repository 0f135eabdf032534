//! Messages between pd-vmm and pd-mmu.
//!
//! pd-vmm says what memory a VM is to have and never sees the private part of it: it names guest
//! addresses, and gets back the addresses of control pages that it hands to the TDX module.
//! Every request is answered by exactly one message with the same `vm`.
#![no_std]
#![forbid(unsafe_code)]

use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The most pages handed out by one answer.
pub const MAX_PAGES: usize = 16;

/// Number of a VM, chosen by pd-vmm.
pub type VmId = u16;

/// From pd-vmm to pd-mmu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMmu {
    /// Make a VM known. Answered by [`ToVmm::Created`].
    Create {
        /// The new VM.
        vm: VmId,
        /// What it is.
        kind: Kind,
        /// The guest physical address bit that says execute-only; 0: none.
        execute_only: u8,
        /// How table pages are found: `mmu::Finder`, by number.
        finder: u8,
    },
    /// Hand out control pages (for TDCX, TDVPR). Answered by [`ToVmm::Pages`].
    ControlPages {
        /// The VM they are for, and are reclaimed with.
        vm: VmId,
        /// How many, at most [`MAX_PAGES`].
        count: u8,
    },
    /// Hand out pages of the shared pool for the host's own use (TD_PARAMS, posted-interrupt
    /// descriptors). Answered by [`ToVmm::Pages`].
    SharedPages {
        /// The VM they are for, and are freed with.
        vm: VmId,
        /// How many, at most [`MAX_PAGES`].
        count: u8,
    },
    /// Give the VM guest memory from `gpa` on. Answered by [`ToVmm::Done`].
    AddSlot {
        /// The VM.
        vm: VmId,
        /// First guest physical address, 4 KiB aligned, no stolen bits.
        gpa: u64,
        /// Length in bytes, a multiple of 4 KiB.
        len: u64,
    },
    /// TDH.MEM.PAGE.ADD `pages` pages from `gpa` on, with the content at `source` on.
    /// Only before TDH.MR.FINALIZE. Answered by [`ToVmm::Done`].
    Populate {
        /// The VM.
        vm: VmId,
        /// First guest physical address, private.
        gpa: u64,
        /// Host physical address of the first source page (in the guest image region).
        source: u64,
        /// How many 4 KiB pages.
        pages: u32,
    },
    /// A VM that is no TD: map its memory from `gpa` on and say where it is, so that it can be
    /// filled. Answered by [`ToVmm::Pages`].
    Back {
        /// The VM.
        vm: VmId,
        /// First guest physical address, 4 KiB aligned, no stolen bits.
        gpa: u64,
        /// How many 4 KiB pages, at most [`MAX_PAGES`].
        pages: u8,
    },
    /// The TD is finalized: from now on pages are added on demand (TDH.MEM.PAGE.AUG).
    /// Answered by [`ToVmm::Done`].
    Finalized {
        /// The VM.
        vm: VmId,
    },
    /// The guest's TDVMCALL MapGPA: make the range what the SHARED bit of `gpa` says.
    /// Answered by [`ToVmm::Done`].
    MapGpa {
        /// The VM.
        vm: VmId,
        /// First guest physical address, with the SHARED bit.
        gpa: u64,
        /// Length in bytes.
        len: u64,
    },
    /// TDH.PHYMEM.CACHE.WB, after TDH.MNG.VPFLUSHDONE. Answered by [`ToVmm::Done`].
    CacheWriteback {
        /// The VM.
        vm: VmId,
    },
    /// After TDH.MNG.KEY.FREEID: reclaim every page of the VM, the TDR last, and forget it.
    /// Answered by [`ToVmm::Done`].
    Destroy {
        /// The VM.
        vm: VmId,
    },
    /// Ask for the counters of the VM. Answered by [`ToVmm::Stats`].
    Stats {
        /// The VM.
        vm: VmId,
    },
}

impl ToMmu {
    /// The VM that the request is about.
    pub fn vm(&self) -> VmId {
        match *self {
            Self::Create { vm, .. }
            | Self::ControlPages { vm, .. }
            | Self::SharedPages { vm, .. }
            | Self::AddSlot { vm, .. }
            | Self::Populate { vm, .. }
            | Self::Back { vm, .. }
            | Self::Finalized { vm }
            | Self::MapGpa { vm, .. }
            | Self::CacheWriteback { vm }
            | Self::Destroy { vm }
            | Self::Stats { vm } => vm,
        }
    }
}

/// What a VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A TD.
    Td {
        /// GPAW of TD_PARAMS: guest physical addresses have 52 bits and not 48, the SHARED bit
        /// is 51 and not 47.
        gpaw: bool,
        /// The key that its private pages are cached under.
        hkid: u16,
    },
    /// No TD: all of its memory is shared with the host. Addresses have 48 bits.
    Plain,
}

/// Why a request was not carried out. Nothing has changed then, unless it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Error {
    /// No such VM.
    UnknownVm,
    /// There is no such kind of VM: stolen bits out of place, no such finder.
    BadConfig,
    /// There is a VM of that number already, or as many VMs as there can be.
    NoVmSlot,
    /// The address is not aligned, beyond the guest's width, or the range wraps.
    BadRange,
    /// The range is not (wholly) guest memory of the VM, or overlaps other memory of it.
    NoSlot,
    /// The request is not possible in the VM's present state.
    BadState,
    /// The pool of private pages, shared pages, control pages or table pages is used up.
    NoMemory,
    /// More was asked for than one answer can hold.
    TooMany,
    /// The VM is still working on the request before this one.
    Busy,
    /// The TDX module refused (its completion status); what was done before stays.
    Module(u64),
}

/// Counters of a VM's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Private 4 KiB pages mapped.
    pub private_4k: u64,
    /// Private 2 MiB pages mapped.
    pub private_2m: u64,
    /// Shared 4 KiB pages mapped.
    pub shared_4k: u64,
    /// Table pages in use (Secure EPT and shared EPT).
    pub tables: u64,
    /// EPT violations answered.
    pub faults: u64,
    /// MapGPA requests carried out.
    pub conversions: u64,
    /// SEAMCALLs made for the VM's memory.
    pub seamcalls: u64,
}

/// From pd-mmu to pd-vmm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToVmm {
    /// pd-mmu takes requests.
    Ready,
    /// The VM exists.
    Created {
        /// The VM.
        vm: VmId,
        /// Host physical address of the page for its TDR; for a VM that is no TD, the same as
        /// `shared_eptp`.
        tdr: u64,
        /// Host physical address of the root of its shared EPT: for the TDVPS field of every
        /// vCPU (TDH.VP.WR). A VM that is no TD has no other EPT.
        shared_eptp: u64,
    },
    /// Pages, by host physical address.
    Pages {
        /// The VM.
        vm: VmId,
        /// The pages.
        pages: Vec<u64, MAX_PAGES>,
    },
    /// The request was carried out.
    Done {
        /// The VM.
        vm: VmId,
    },
    /// The counters.
    Stats {
        /// The VM.
        vm: VmId,
        /// Its counters.
        stats: Stats,
    },
    /// The request was not carried out.
    Failed {
        /// The VM.
        vm: VmId,
        /// Why not.
        error: Error,
    },
}
