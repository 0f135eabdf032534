//! Programs: the SEAMCALLs (and TLB flushes) that carry out one operation on private memory.
//!
//! The MMU never calls the TDX module. It answers with a [`Program`]; whoever holds SEAMCALL
//! runs the steps in order, stops at the first that isn't successful, and reports an
//! [`Outcome`]. The MMU then knows exactly what the module did, and what it did not.

use gpa::{Gpa, Hpa};

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

/// Leaf numbers (TDX module ABI, host-side interface functions).
mod leaf {
    pub const MNG_ADDCX: u64 = 1;
    pub const PAGE_ADD: u64 = 2;
    pub const SEPT_ADD: u64 = 3;
    pub const VP_ADDCX: u64 = 4;
    pub const PAGE_AUG: u64 = 6;
    pub const RANGE_BLOCK: u64 = 7;
    pub const KEY_CONFIG: u64 = 8;
    pub const MNG_CREATE: u64 = 9;
    pub const VP_CREATE: u64 = 10;
    pub const PAGE_DEMOTE: u64 = 15;
    pub const MR_EXTEND: u64 = 16;
    pub const MR_FINALIZE: u64 = 17;
    pub const VP_FLUSH: u64 = 18;
    pub const VPFLUSHDONE: u64 = 19;
    pub const KEY_FREEID: u64 = 20;
    pub const MNG_INIT: u64 = 21;
    pub const VP_INIT: u64 = 22;
    pub const PAGE_PROMOTE: u64 = 23;
    pub const PAGE_RECLAIM: u64 = 28;
    pub const PAGE_REMOVE: u64 = 29;
    pub const SEPT_REMOVE: u64 = 30;
    pub const TRACK: u64 = 38;
    pub const RANGE_UNBLOCK: u64 = 39;
    pub const CACHE_WB: u64 = 40;
    pub const PAGE_WBINVD: u64 = 41;
}

/// The lowest bit of the key id in a physical address, when a page is named with its key.
pub type HkidShift = u8;

impl Step {
    /// The registers of the SEAMCALL, for the TD whose root is `tdr`; `None` for
    /// [`Kick`](Self::Kick) and [`Flush`](Self::Flush), which are no SEAMCALLs.
    pub fn to_regs(&self, tdr: Hpa, hkid_shift: HkidShift) -> Option<Registers> {
        let tdr = tdr.get();
        let regs = |rax, rcx, rdx, r8, r9| {
            Some(Registers {
                rax,
                rcx,
                rdx,
                r8,
                r9,
            })
        };
        let at = |gpa: Gpa, level: u8| gpa.frame().base().get() | u64::from(level);
        match *self {
            Self::MngCreate { tdr, hkid } => {
                regs(leaf::MNG_CREATE, tdr.get(), u64::from(hkid), 0, 0)
            }
            Self::MngKeyConfig => regs(leaf::KEY_CONFIG, tdr, 0, 0, 0),
            Self::MngAddCx { page } => regs(leaf::MNG_ADDCX, page.get(), tdr, 0, 0),
            Self::MngInit { params } => regs(leaf::MNG_INIT, tdr, params.get(), 0, 0),
            Self::VpCreate { tdvpr } => regs(leaf::VP_CREATE, tdvpr.get(), tdr, 0, 0),
            Self::VpAddCx { tdvpr, page } => regs(leaf::VP_ADDCX, page.get(), tdvpr.get(), 0, 0),
            Self::VpInit { tdvpr, rcx } => regs(leaf::VP_INIT, tdvpr.get(), rcx, 0, 0),
            Self::SeptAdd { gpa, level, page } => {
                regs(leaf::SEPT_ADD, at(gpa, level), tdr, page.get(), 0)
            }
            Self::PageAdd { gpa, page, source } => {
                regs(leaf::PAGE_ADD, at(gpa, 0), tdr, page.get(), source.get())
            }
            Self::MrExtend { gpa } => regs(leaf::MR_EXTEND, gpa.get(), tdr, 0, 0),
            Self::MrFinalize => regs(leaf::MR_FINALIZE, tdr, 0, 0, 0),
            Self::PageAug { gpa, level, page } => {
                regs(leaf::PAGE_AUG, at(gpa, level), tdr, page.get(), 0)
            }
            Self::RangeBlock { gpa, level } => regs(leaf::RANGE_BLOCK, at(gpa, level), tdr, 0, 0),
            Self::RangeUnblock { gpa, level } => {
                regs(leaf::RANGE_UNBLOCK, at(gpa, level), tdr, 0, 0)
            }
            Self::Track => regs(leaf::TRACK, tdr, 0, 0, 0),
            Self::Kick | Self::Flush => None,
            Self::PageRemove { gpa, level } => regs(leaf::PAGE_REMOVE, at(gpa, level), tdr, 0, 0),
            Self::SeptRemove { gpa, level } => regs(leaf::SEPT_REMOVE, at(gpa, level), tdr, 0, 0),
            Self::PageDemote { gpa, level, page } => {
                regs(leaf::PAGE_DEMOTE, at(gpa, level), tdr, page.get(), 0)
            }
            Self::PagePromote { gpa, level } => regs(leaf::PAGE_PROMOTE, at(gpa, level), tdr, 0, 0),
            Self::PageWbinvd { page, hkid } => {
                let keyed = page.get() | u64::from(hkid) << hkid_shift;
                regs(leaf::PAGE_WBINVD, keyed, 0, 0, 0)
            }
            Self::VpFlush { tdvpr } => regs(leaf::VP_FLUSH, tdvpr.get(), 0, 0, 0),
            Self::VpFlushDone => regs(leaf::VPFLUSHDONE, tdr, 0, 0, 0),
            Self::CacheWb => regs(leaf::CACHE_WB, 0, 0, 0, 0),
            Self::KeyFreeId => regs(leaf::KEY_FREEID, tdr, 0, 0, 0),
            Self::PageReclaim { page } => regs(leaf::PAGE_RECLAIM, page.get(), 0, 0, 0),
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

/// Status classes that the MMU reacts to; bits 63:32 of RAX.
pub mod status {
    /// An operand is locked: try again.
    pub const OPERAND_BUSY: u32 = 0x8000_0200;
    /// vCPUs still run in the epoch before: kick them, try again.
    pub const PREVIOUS_TLB_EPOCH_BUSY: u32 = 0x8000_0201;
    /// The module is busy.
    pub const SYS_BUSY: u32 = 0x8000_0202;
    /// No entropy now.
    pub const RND_NO_ENTROPY: u32 = 0x8000_0203;
    /// A host with priority holds the operand.
    pub const OPERAND_BUSY_HOST_PRIORITY: u32 = 0x8000_0204;
    /// Long leaf, was interrupted: call again.
    pub const INTERRUPTED_RESUMABLE: u32 = 0x8000_0003;
    /// Somebody may still hold a translation.
    pub const TLB_TRACKING_NOT_DONE: u32 = 0xc000_0b08;
    /// The range is blocked already.
    pub const GPA_RANGE_ALREADY_BLOCKED: u32 = 0x0000_0b07;
    /// A vCPU that no processor has: nothing to flush.
    pub const VCPU_NOT_ASSOCIATED: u32 = 0x8000_0702;
    /// The pages under the entry can't become one page.
    pub const INVALID_PROMOTE_CONDITIONS: u32 = 0xc000_0b09;
    /// A vCPU must be flushed first.
    pub const FLUSHVP_NOT_DONE: u32 = 0x8000_0824;

    /// The page isn't what it must be; of a page to reclaim: the module does not have it.
    pub const PAGE_METADATA_INCORRECT: u32 = 0xc000_0300;

    /// Bits 63:32 of a status.
    pub const fn class(status: u64) -> u32 {
        (status >> 32) as u32
    }
    /// Whether the call may be repeated as it is, after a kick.
    pub const fn is_busy(status: u64) -> bool {
        matches!(
            class(status),
            OPERAND_BUSY
                | PREVIOUS_TLB_EPOCH_BUSY
                | SYS_BUSY
                | RND_NO_ENTROPY
                | OPERAND_BUSY_HOST_PRIORITY
                | INTERRUPTED_RESUMABLE
                | TLB_TRACKING_NOT_DONE
        )
    }
    /// Whether the module did what it was asked (bit 63 of a status is set for errors).
    pub const fn is_success(status: u64) -> bool {
        status >> 63 == 0
    }
}
