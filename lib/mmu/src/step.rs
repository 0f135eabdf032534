//! Programs: the SEAMCALLs (and TLB flushes) that carry out one operation on private memory.
//!
//! The MMU never calls the TDX module. It answers with a [`Program`]; whoever holds SEAMCALL
//! runs the steps in order, stops at the first that isn't successful, and reports an
//! [`Outcome`]. The MMU then knows exactly what the module did, and what it did not.

use gpa::{Gpa, Hpa};
use tdx_abi::HostLeaf;

/// Most steps of one program.
pub const PROGRAM_STEPS: usize = 64;

/// One step. Addresses of guest pages carry no stolen bits: private memory has none set.
/// Levels are Secure EPT levels: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// TDH.MNG.CREATE: make `tdr` the root of a TD with key `hkid`.
    MngCreate {
        /// Page for the TDR.
        tdr: Hpa,
        /// Host key id.
        hkid: u16,
    },
    /// TDH.MNG.KEY.CONFIG on every package.
    MngKeyConfig,
    /// TDH.MNG.ADDCX.
    MngAddCx {
        /// Page to add.
        page: Hpa,
    },
    /// TDH.MNG.INIT with the TD_PARAMS at `params`.
    MngInit {
        /// Where the TD_PARAMS are.
        params: Hpa,
    },
    /// TDH.VP.CREATE.
    VpCreate {
        /// Page for the TDVPR.
        tdvpr: Hpa,
    },
    /// TDH.VP.ADDCX.
    VpAddCx {
        /// The vCPU.
        tdvpr: Hpa,
        /// Page to add.
        page: Hpa,
    },
    /// TDH.VP.INIT.
    VpInit {
        /// The vCPU.
        tdvpr: Hpa,
        /// Initial RCX of the guest.
        rcx: u64,
    },
    /// TDH.MEM.SEPT.ADD: the entry of `level` at `gpa` shall point to `page`.
    SeptAdd {
        /// Any address under the entry.
        gpa: Gpa,
        /// Level of the entry, 1 or more.
        level: u8,
        /// The new Secure EPT page.
        page: Hpa,
    },
    /// TDH.MEM.PAGE.ADD: a measured page, copied from `source`.
    PageAdd {
        /// Where in the guest.
        gpa: Gpa,
        /// The private page.
        page: Hpa,
        /// What to copy.
        source: Hpa,
    },
    /// TDH.MR.EXTEND over 256 bytes at `gpa`.
    MrExtend {
        /// Where in the guest.
        gpa: Gpa,
    },
    /// TDH.MR.FINALIZE.
    MrFinalize,
    /// TDH.MEM.PAGE.AUG: a page that the guest must accept.
    PageAug {
        /// Where in the guest.
        gpa: Gpa,
        /// 0 or 1.
        level: u8,
        /// The private page or block.
        page: Hpa,
    },
    /// TDH.MEM.RANGE.BLOCK.
    RangeBlock {
        /// Where in the guest.
        gpa: Gpa,
        /// Level of the entry.
        level: u8,
    },
    /// TDH.MEM.RANGE.UNBLOCK.
    RangeUnblock {
        /// Where in the guest.
        gpa: Gpa,
        /// Level of the entry.
        level: u8,
    },
    /// TDH.MEM.TRACK: begins a new TLB epoch.
    Track,
    /// Not a SEAMCALL: make every vCPU of the VM leave the guest once, so that none still runs
    /// in the old epoch.
    Kick,
    /// Not a SEAMCALL: make every vCPU of the VM leave the guest, and drop what the TLBs hold
    /// of the VM's shared or plain EPT (INVEPT).
    Flush,
    /// TDH.MEM.PAGE.REMOVE.
    PageRemove {
        /// Where in the guest.
        gpa: Gpa,
        /// Level of the entry.
        level: u8,
    },
    /// TDH.MEM.SEPT.REMOVE of an empty Secure EPT page.
    SeptRemove {
        /// Where in the guest.
        gpa: Gpa,
        /// Level of the entry that points to it.
        level: u8,
    },
    /// TDH.MEM.PAGE.DEMOTE: 2 MiB to 512 of 4 KiB.
    PageDemote {
        /// Where in the guest.
        gpa: Gpa,
        /// Level of the page, 1.
        level: u8,
        /// The new Secure EPT page.
        page: Hpa,
    },
    /// TDH.MEM.PAGE.PROMOTE: 512 of 4 KiB to 2 MiB.
    PagePromote {
        /// Where in the guest.
        gpa: Gpa,
        /// Level of the new page, 1.
        level: u8,
    },
    /// TDH.PHYMEM.PAGE.WBINVD of one 4 KiB page under `hkid`.
    PageWbinvd {
        /// The page.
        page: Hpa,
        /// Under which key its lines may be cached.
        hkid: u16,
    },
    /// TDH.VP.FLUSH.
    VpFlush {
        /// The vCPU.
        tdvpr: Hpa,
    },
    /// TDH.MNG.VPFLUSHDONE.
    VpFlushDone,
    /// TDH.PHYMEM.CACHE.WB on every package, resumed until it is done.
    CacheWb,
    /// TDH.MNG.KEY.FREEID.
    KeyFreeId,
    /// TDH.PHYMEM.PAGE.RECLAIM: a page of any size or kind.
    PageReclaim {
        /// The page.
        page: Hpa,
    },
}

/// Input registers of a SEAMCALL; the ones that aren't here are 0.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Registers {
    /// Leaf number and version.
    pub rax: u64,
    /// First operand.
    pub rcx: u64,
    /// Second operand.
    pub rdx: u64,
    /// Third operand.
    pub r8: u64,
    /// Fourth operand.
    pub r9: u64,
}

/// The lowest bit of the key id in a physical address, when a page is named with its key.
pub type HkidShift = u8;

impl Step {
    /// The registers of the SEAMCALL, for the TD whose root is `tdr`; `None` for
    /// [`Kick`](Self::Kick) and [`Flush`](Self::Flush), which are no SEAMCALLs.
    pub fn to_regs(&self, tdr: Hpa, hkid_shift: HkidShift) -> Option<Registers> {
        let tdr = tdr.get();
        let regs = |leaf: HostLeaf, rcx, rdx, r8, r9| {
            Some(Registers {
                rax: u64::from(leaf.number()),
                rcx,
                rdx,
                r8,
                r9,
            })
        };
        let at = |gpa: Gpa, level: u8| gpa.frame().base().get() | u64::from(level);
        match *self {
            Self::MngCreate { tdr, hkid } => {
                regs(HostLeaf::MngCreate, tdr.get(), u64::from(hkid), 0, 0)
            }
            Self::MngKeyConfig => regs(HostLeaf::MngKeyConfig, tdr, 0, 0, 0),
            Self::MngAddCx { page } => regs(HostLeaf::MngAddcx, page.get(), tdr, 0, 0),
            Self::MngInit { params } => regs(HostLeaf::MngInit, tdr, params.get(), 0, 0),
            Self::VpCreate { tdvpr } => regs(HostLeaf::VpCreate, tdvpr.get(), tdr, 0, 0),
            Self::VpAddCx { tdvpr, page } => regs(HostLeaf::VpAddcx, page.get(), tdvpr.get(), 0, 0),
            Self::VpInit { tdvpr, rcx } => regs(HostLeaf::VpInit, tdvpr.get(), rcx, 0, 0),
            Self::SeptAdd { gpa, level, page } => {
                regs(HostLeaf::MemSeptAdd, at(gpa, level), tdr, page.get(), 0)
            }
            Self::PageAdd { gpa, page, source } => regs(
                HostLeaf::MemPageAdd,
                at(gpa, 0),
                tdr,
                page.get(),
                source.get(),
            ),
            Self::MrExtend { gpa } => regs(HostLeaf::MrExtend, gpa.get(), tdr, 0, 0),
            Self::MrFinalize => regs(HostLeaf::MrFinalize, tdr, 0, 0, 0),
            Self::PageAug { gpa, level, page } => {
                regs(HostLeaf::MemPageAug, at(gpa, level), tdr, page.get(), 0)
            }
            Self::RangeBlock { gpa, level } => {
                regs(HostLeaf::MemRangeBlock, at(gpa, level), tdr, 0, 0)
            }
            Self::RangeUnblock { gpa, level } => {
                regs(HostLeaf::MemRangeUnblock, at(gpa, level), tdr, 0, 0)
            }
            Self::Track => regs(HostLeaf::MemTrack, tdr, 0, 0, 0),
            Self::Kick | Self::Flush => None,
            Self::PageRemove { gpa, level } => {
                regs(HostLeaf::MemPageRemove, at(gpa, level), tdr, 0, 0)
            }
            Self::SeptRemove { gpa, level } => {
                regs(HostLeaf::MemSeptRemove, at(gpa, level), tdr, 0, 0)
            }
            Self::PageDemote { gpa, level, page } => {
                regs(HostLeaf::MemPageDemote, at(gpa, level), tdr, page.get(), 0)
            }
            Self::PagePromote { gpa, level } => {
                regs(HostLeaf::MemPagePromote, at(gpa, level), tdr, 0, 0)
            }
            Self::PageWbinvd { page, hkid } => {
                let keyed = page.get() | u64::from(hkid) << hkid_shift;
                regs(HostLeaf::PhymemPageWbinvd, keyed, 0, 0, 0)
            }
            Self::VpFlush { tdvpr } => regs(HostLeaf::VpFlush, tdvpr.get(), 0, 0, 0),
            Self::VpFlushDone => regs(HostLeaf::MngVpflushdone, tdr, 0, 0, 0),
            Self::CacheWb => regs(HostLeaf::PhymemCacheWb, 0, 0, 0, 0),
            Self::KeyFreeId => regs(HostLeaf::MngKeyFreeid, tdr, 0, 0, 0),
            Self::PageReclaim { page } => regs(HostLeaf::PhymemPageReclaim, page.get(), 0, 0, 0),
        }
    }
    /// Whether the step is a SEAMCALL.
    pub fn is_seamcall(&self) -> bool {
        !matches!(self, Self::Kick | Self::Flush)
    }
}

/// Steps to run in order.
pub type Program = heapless::Vec<Step, PROGRAM_STEPS>;

/// What became of a program: the first `done` steps were successful; if that isn't all, the
/// next one ended with these registers and nothing after it was tried.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    /// How many steps were successful.
    pub done: usize,
    /// RAX of the step that wasn't; 0 if all were.
    pub status: u64,
    /// Its RCX.
    pub rcx: u64,
    /// Its RDX.
    pub rdx: u64,
}

/// What the MMU makes of completion statuses.
pub mod status {
    use tdx_abi::Status;

    /// Whether the call may be repeated as it is, after a kick.
    pub const fn is_busy(status: Status) -> bool {
        status.is(Status::OPERAND_BUSY)
            || status.is(Status::PREVIOUS_TLB_EPOCH_BUSY)
            || status.is(Status::SYS_BUSY)
            || status.is(Status::RND_NO_ENTROPY)
            || status.is(Status::OPERAND_BUSY_HOST_PRIORITY)
            || status.is(Status::INTERRUPTED_RESUMABLE)
            || status.is(Status::TLB_TRACKING_NOT_DONE)
    }
}
