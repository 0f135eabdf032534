//! Bits and limits of a TD's configuration (TD_PARAMS).

/// ATTRIBUTES.
pub mod attributes {
    /// The TD can be debugged by the host: no secrets.
    pub const DEBUG: u64 = 1 << 0;
    /// EPT violations on PENDING pages exit to the host instead of giving #VE.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// The TD may be migrated.
    pub const MIGRATABLE: u64 = 1 << 29;
    /// Supervisor protection keys.
    pub const PKS: u64 = 1 << 30;
    /// Key locker.
    pub const KL: u64 = 1 << 31;
    /// Performance monitoring.
    pub const PERFMON: u64 = 1 << 63;
    /// A bit that is 0 here must be 0.
    pub const FIXED0: u64 = 0x8000_0000_7000_0001;
    /// A bit that is 1 here must be 1.
    pub const FIXED1: u64 = 0;
}

/// XFAM: the extended features the TD may use (as XCR0 | IA32_XSS).
pub mod xfam {
    /// x87.
    pub const X87: u64 = 1 << 0;
    /// SSE.
    pub const SSE: u64 = 1 << 1;
    /// AVX.
    pub const AVX: u64 = 1 << 2;
    /// The three AVX-512 components.
    pub const AVX512: u64 = 7 << 5;
    /// Processor trace.
    pub const PT: u64 = 1 << 8;
    /// User protection keys.
    pub const PKRU: u64 = 1 << 9;
    /// Both CET components.
    pub const CET: u64 = 3 << 11;
    /// User interrupts.
    pub const UINTR: u64 = 1 << 14;
    /// Last branch records.
    pub const LBR: u64 = 1 << 15;
    /// Both AMX components.
    pub const AMX: u64 = 3 << 17;
    /// A bit that is 0 here must be 0.
    pub const FIXED0: u64 = 0x6_dbe7;
    /// A bit that is 1 here must be 1.
    pub const FIXED1: u64 = 3;
    /// The components that XCR0 governs; the others belong to IA32_XSS.
    pub const XCR0_MASK: u64 = 0x6_02ff;
    /// The components that IA32_XSS governs.
    pub const XSS_MASK: u64 = 0x1_fd00;
}

/// CONFIG_FLAGS (named EXEC_CONTROLS in older specifications).
pub mod config_flags {
    /// GPA width 52 with SHARED = bit 51; clear: 48 and bit 47.
    pub const GPAW: u64 = 1 << 0;
    /// The guest may change TD_CTLS.PENDING_VE_DISABLE.
    pub const FLEXIBLE_PENDING_VE: u64 = 1 << 1;
    /// TDH.VP.ENTER and TDG.VP.VMCALL leave RBP alone.
    pub const NO_RBP_MOD: u64 = 1 << 2;
    /// A bit that is 0 here must be 0.
    pub const FIXED0: u64 = 7;
    /// A bit that is 1 here must be 1.
    pub const FIXED1: u64 = 0;
}

/// EPTP_CONTROLS.
pub mod eptp_controls {
    /// Memory type write-back in bits 2:0.
    pub const WB: u64 = 6;
    /// 4-level walk in bits 5:3.
    pub const WALK_4: u64 = 3 << 3;
    /// 5-level walk in bits 5:3.
    pub const WALK_5: u64 = 4 << 3;
}

/// TD_CTLS.
pub mod td_ctls {
    /// EPT violations on PENDING pages exit to the host; starts as ATTRIBUTES.SEPT_VE_DISABLE.
    pub const PENDING_VE_DISABLE: u64 = 1 << 0;
}

/// The SHARED bit of a guest physical address.
pub const fn shared_bit(gpaw: bool) -> u64 {
    if gpaw { 1 << 51 } else { 1 << 47 }
}

/// Pages of TDCS that TDH.MNG.ADDCX must have given before TDH.MNG.INIT.
pub const MIN_TDCS_PAGES: u32 = 6;
/// Pages of TDCS at most.
pub const MAX_TDCS_PAGES: u32 = 9;
/// TDCX pages of one vCPU (besides TDVPR) before TDH.VP.INIT.
pub const MIN_TDVPS_CHILDREN: u32 = 5;
/// Pages of TDVPS (with TDVPR) at most.
pub const MAX_TDVPS_PAGES: u32 = 15;
/// L2 VMs at most.
pub const MAX_L2_VMS: u8 = 3;
/// TSC frequency bounds in units of 25 MHz.
pub const TSC_FREQUENCY: core::ops::RangeInclusive<u16> = 4..=400;
/// The virtual crystal clock in Hz (CPUID 0x15 ECX).
pub const CRYSTAL_HZ: u32 = 25_000_000;
/// IA32_ARCH_CAPABILITIES bits TD_PARAMS configures.
pub const ARCH_CAPABILITIES_CONFIG: u64 = 0x118_0010;
