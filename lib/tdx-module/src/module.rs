//! The module's own state, and the dispatcher of SEAMCALL.

use tdx_abi::layout::{MAX_RESERVED_AREAS, MAX_TDMRS};
use tdx_abi::{HostLeaf, Operand, Status, cpuid};

use crate::call::Call;
use crate::machine::{
    MAX_KEY_IDS, MAX_LPS, MAX_PACKAGES, Machine, Platform, Range, Regs, VcpuState,
    reg::{RAX, RCX},
};

/// State of the whole module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysState {
    /// TDH.SYS.INIT comes next.
    InitPending,
    /// TDH.SYS.LP.INIT on every LP, then TDH.SYS.CONFIG.
    InitDone,
    /// TDH.SYS.KEY.CONFIG on every package.
    ConfigDone,
    /// TDs can be made.
    Ready,
    /// Nothing more.
    Shutdown,
}

/// State of a KeyID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// No TD has it.
    Free,
    /// A TD has it.
    Assigned,
    /// Its TD is blocked, caches are to be written back.
    Flushed,
    /// The module's own.
    Reserved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub state: KeyState,
    /// Packages whose caches are not written back yet.
    pub write_back: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tdmr {
    pub base: u64,
    pub size: u64,
    pub initialized: u64,
    /// PAMT areas of 4 KiB, 2 MiB and 1 GiB entries.
    pub pamt: [Range; 3],
    pub reserved: [Range; MAX_RESERVED_AREAS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteBack {
    pub next_block: u64,
    /// Bit per KeyID.
    pub key_ids: u64,
}

/// What a logical processor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lp {
    pub initialized: bool,
    /// TDVPR of the vCPU that is inside, 0 where none is.
    pub inside: u64,
    /// TDR of its TD.
    pub tdr: u64,
    /// Registers of the pending TDH.VP.ENTER.
    pub regs: Regs,
    /// TDVPR of the last vCPU that entered.
    pub last_tdvpr: u64,
    /// TSC when it entered.
    pub entry_tsc: u64,
    /// RIP when it entered.
    pub entry_rip: u64,
    /// An exit with a bus lock was handled inside.
    pub bus_lock: bool,
}

/// Steps of the TLB tracking protocol. With the feature `mutants` a test can switch one off, to
/// see that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A page that goes must be blocked.
    Blocked,
    /// Its blocking must be tracked.
    Tracked,
    /// The vCPUs of the previous epoch must have left.
    PreviousEpochLeft,
    /// TDH.MEM.TRACK waits for the epoch before.
    TrackWaits,
    /// TDH.VP.ENTER counts the vCPU in.
    EntryCounts,
    /// TDH.VP.ENTER in a new epoch flushes.
    EntryFlushes,
    /// TDH.VP.ENTER notes the epoch.
    EntryNotesEpoch,
    /// An exit counts the vCPU out of the epoch in which it entered.
    ExitCounts,
    /// TDH.MEM.RANGE.BLOCK notes the epoch.
    BlockNotesEpoch,
    /// TDH.MEM.RANGE.BLOCK takes the access rights away.
    BlockRevokes,
    /// A page given must be free.
    PageFree,
    /// A page is augmented where there is none.
    EntryFree,
    /// A page that is split must be tracked.
    DemoteTracked,
    /// Pages that are merged must be tracked.
    PromoteTracked,
    /// A page that is relocated must be tracked.
    RelocateTracked,
}

/// The software TDX module.
///
/// It holds what Intel's module holds in its own memory. What belongs to a TD, a vCPU or a page
/// is in control pages and PAMTs in host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    pub(crate) platform: Platform,
    pub(crate) sys_state: SysState,
    pub(crate) init_lps: usize,
    pub(crate) package_bitmap: u32,
    pub(crate) key_id: u16,
    pub(crate) keys: [Key; MAX_KEY_IDS],
    pub(crate) tdmrs: [Tdmr; MAX_TDMRS],
    pub(crate) num_tdmrs: usize,
    pub(crate) write_backs: [WriteBack; MAX_PACKAGES as usize],
    pub(crate) lps: [Lp; MAX_LPS],
    /// CPUID values of the platform, later with fixed bits applied.
    pub(crate) cpuid: [[u32; 4]; cpuid::LEAVES.len()],
    pub(crate) xcr0_mask: u64,
    pub(crate) xss_mask: u64,
    pub(crate) platform_fms: u32,
    pub(crate) sys_attributes: u64,
    /// Handoff data is valid: TDH.SYS.SHUTDOWN was done.
    pub(crate) handoff: bool,
    #[cfg(feature = "mutants")]
    off: Option<Step>,
}

/// What became of a SEAMCALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeamOutcome {
    /// The registers hold the result.
    Done,
    /// TDH.VP.ENTER: the LP is inside a TD now.
    Entered(Entry),
}

/// A vCPU that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The address of its TDVPR: its identity.
    pub tdvpr: u64,
    /// The address of its TD's TDR.
    pub tdr: u64,
    /// Cached translations of the vCPU must go.
    pub flush_tlb: bool,
    /// Its general-purpose registers.
    pub gprs: Regs,
    /// XMM registers to take from the host (bit per register), as TDG.VP.VMCALL asked.
    pub xmm_from_host: u16,
    /// An event to deliver.
    pub event: Option<crate::machine::Event>,
}

impl Module {
    /// A module as it is after it was loaded.
    pub const fn new(platform: Platform) -> Self {
        const NO_RANGE: Range = Range { base: 0, size: 0 };
        Self {
            platform,
            sys_state: SysState::InitPending,
            init_lps: 0,
            package_bitmap: 0,
            key_id: 0,
            keys: [Key {
                state: KeyState::Free,
                write_back: 0,
            }; MAX_KEY_IDS],
            tdmrs: [Tdmr {
                base: 0,
                size: 0,
                initialized: 0,
                pamt: [NO_RANGE; 3],
                reserved: [NO_RANGE; MAX_RESERVED_AREAS],
            }; MAX_TDMRS],
            num_tdmrs: 0,
            write_backs: [WriteBack {
                next_block: 0,
                key_ids: 0,
            }; MAX_PACKAGES as usize],
            lps: [Lp {
                initialized: false,
                inside: 0,
                tdr: 0,
                regs: Regs([0; 16]),
                last_tdvpr: 0,
                entry_tsc: 0,
                entry_rip: 0,
                bus_lock: false,
            }; MAX_LPS],
            cpuid: [[0; 4]; cpuid::LEAVES.len()],
            xcr0_mask: 0,
            xss_mask: 0,
            platform_fms: 0,
            sys_attributes: 0,
            handoff: false,
            #[cfg(feature = "mutants")]
            off: None,
        }
    }

    /// Leaves out a step from now on.
    #[cfg(feature = "mutants")]
    pub fn switch_off(&mut self, step: Step) {
        self.off = Some(step);
    }

    /// Whether a step is done: always, but in a test of the tests.
    #[cfg(feature = "mutants")]
    pub(crate) fn does(&self, step: Step) -> bool {
        self.off != Some(step)
    }

    /// Whether a step is done: always, but in a test of the tests.
    #[cfg(not(feature = "mutants"))]
    pub(crate) const fn does(&self, _step: Step) -> bool {
        true
    }

    /// The state of the whole module.
    pub fn sys_state(&self) -> SysState {
        self.sys_state
    }

    /// The platform it was made for.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// What the platform's time-stamp counter ticks in a second, where that was not known when
    /// the module was made. TDs initialised before keep their scale.
    pub fn set_tsc_frequency(&mut self, hz: u64) {
        self.platform.tsc_hz = hz.max(1);
    }

    /// The address of the TDVPR of the vCPU that is inside on `lp`.
    pub fn inside(&self, lp: usize) -> Option<u64> {
        let tdvpr = self.lps.get(lp)?.inside;
        (tdvpr != 0).then_some(tdvpr)
    }

    /// SEAMCALL on `lp`. Leaf and version are in RAX, the result replaces the registers.
    ///
    /// An LP that is inside a TD cannot call; such a call answers `TDX_SYS_BUSY`.
    pub fn seamcall<M: Machine>(
        &mut self,
        lp: usize,
        regs: &mut Regs,
        machine: &mut M,
    ) -> SeamOutcome {
        let busy = self.lps.get(lp).is_none_or(|l| l.inside != 0) || lp >= self.platform.lps;
        if busy {
            regs[RAX] = Status::SYS_BUSY.0;
            return SeamOutcome::Done;
        }
        let mut call = Call::new(self, machine, lp, regs);
        let result = dispatch(&mut call);
        call.release_all();
        match result {
            Ok(Done::Status(status)) | Err(status) => {
                regs[RAX] = status.0;
                SeamOutcome::Done
            }
            Ok(Done::Entered(entry)) => SeamOutcome::Entered(entry),
        }
    }
}

/// What a leaf handler achieved.
pub(crate) enum Done {
    Status(Status),
    Entered(Entry),
}

pub(crate) const SUCCESS: Result<Done, Status> = Ok(Done::Status(Status::SUCCESS));

fn dispatch<M: Machine>(c: &mut Call<'_, M>) -> Result<Done, Status> {
    use HostLeaf as L;
    let bad_rax = Status::OPERAND_INVALID.with(Operand::RAX);
    let rax = c.r[RAX];
    let version = (rax >> 16) as u8;
    if rax & !0xff_ffff != 0 {
        return Err(bad_rax);
    }
    let leaf = HostLeaf::from_number(rax as u16);
    if version > 0 && leaf.is_none_or(|l| l.max_version() == 0) {
        return Err(bad_rax);
    }
    if c.module.sys_state == SysState::Shutdown && leaf != Some(L::SysLpShutdown) {
        return Err(Status::SYS_SHUTDOWN);
    }
    let before_ready = matches!(
        leaf,
        Some(
            L::SysInfo
                | L::SysRd
                | L::SysRdall
                | L::SysInit
                | L::SysLpInit
                | L::SysConfig
                | L::SysKeyConfig
                | L::SysLpShutdown
                | L::SysUpdate
        )
    );
    if c.module.sys_state != SysState::Ready && !before_ready {
        return Err(Status::SYS_NOT_READY);
    }
    let Some(leaf) = leaf else {
        return Err(bad_rax);
    };
    match leaf {
        L::SysInit => c.sys_init(),
        L::SysLpInit => c.sys_lp_init(),
        L::SysConfig => c.sys_config(),
        L::SysKeyConfig => c.sys_key_config(),
        L::SysInfo => c.sys_info(),
        L::SysRd => c.sys_rd(),
        L::SysRdall => c.sys_rdall(),
        L::SysTdmrInit => c.sys_tdmr_init(),
        L::SysLpShutdown => SUCCESS,
        L::SysShutdown => c.sys_shutdown(),
        L::SysUpdate => c.sys_update(),
        L::MngCreate => c.mng_create(),
        L::MngAddcx => c.mng_addcx(),
        L::MngKeyConfig => c.mng_key_config(),
        L::MngInit => c.mng_init(),
        L::MngVpflushdone => c.mng_vpflushdone(),
        L::MngKeyFreeid => c.mng_key_freeid(),
        L::MngKeyReclaimid => SUCCESS,
        L::MngRd => c.mng_rd(version),
        L::MngWr => c.mng_wr(),
        L::VpCreate => c.vp_create(),
        L::VpAddcx => c.vp_addcx(),
        L::VpInit => c.vp_init(),
        L::VpEnter => c.vp_enter(),
        L::VpFlush => c.vp_flush(),
        L::VpRd => c.vp_rd(version),
        L::VpWr => c.vp_wr(),
        L::MemSeptAdd => c.mem_sept_add(version),
        L::MemSeptRemove => c.mem_sept_remove(version),
        L::MemSeptRd => c.mem_sept_rd(),
        L::MemPageAdd => c.mem_page_add(),
        L::MemPageAug => c.mem_page_aug(),
        L::MemPageRemove => c.mem_page_remove(),
        L::MemPageDemote => c.mem_page_demote(),
        L::MemPagePromote => c.mem_page_promote(version),
        L::MemPageRelocate => c.mem_page_relocate(),
        L::MemRangeBlock => c.mem_range_block(),
        L::MemRangeUnblock => c.mem_range_unblock(),
        L::MemTrack => c.mem_track(),
        L::MemRd => c.mem_rd_wr(false),
        L::MemWr => c.mem_rd_wr(true),
        L::MrExtend => c.mr_extend(),
        L::MrFinalize => c.mr_finalize(),
        L::PhymemPageRdmd => c.phymem_page_rdmd(),
        L::PhymemPageReclaim => c.phymem_page_reclaim(),
        L::PhymemCacheWb => c.phymem_cache_wb(),
        L::PhymemPageWbinvd => c.phymem_page_wbinvd(),
        // A module that does not enumerate service TDs and migration does not know these.
        L::ServtdBind
        | L::ServtdPrebind
        | L::ExportAbort
        | L::ExportBlockw
        | L::ExportRestore
        | L::ExportMem
        | L::ExportPause
        | L::ExportTrack
        | L::ExportStateImmutable
        | L::ExportStateTd
        | L::ExportStateVp
        | L::ExportUnblockw
        | L::ImportAbort
        | L::ImportEnd
        | L::ImportCommit
        | L::ImportMem
        | L::ImportTrack
        | L::ImportStateImmutable
        | L::ImportStateTd
        | L::ImportStateVp
        | L::MigStreamCreate => Err(bad_rax),
    }
}

impl Module {
    /// Whether RCX of a pending TDH.VP.ENTER on `lp` names the vCPU at `tdvpr`.
    pub fn entered_with(&self, lp: usize) -> Option<u64> {
        self.inside(lp).map(|_| self.lps[lp].regs[RCX])
    }

    /// Copies the saved state of the vCPU at `tdvpr` into `vcpu`, all of it but the
    /// general-purpose registers (these come with [`Entry`]). To be done once, when a vCPU is
    /// entered that has no virtual CPU yet, and after TDH.VP.WR of a field that
    /// [`is_guest_state`](crate::is_guest_state) (a debug TD's).
    pub fn load_state<M: Machine>(&self, tdvpr: u64, machine: &M, vcpu: &mut impl VcpuState) {
        crate::vmcs::load(machine.memory(), tdvpr, vcpu);
    }
}
