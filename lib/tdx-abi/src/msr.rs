//! MSR virtualisation of an L1 TD guest, as a table.

/// When RDMSR or WRMSR of an MSR is native (no exit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Native {
    Always,
    Never,
    Perfmon,
    Umwait,
    Tsx,
    Xfd,
    XfamPt,
    XfamCet,
    XfamUli,
    XfamLbr,
    Pks,
    /// By MSR: PERF_METRICS and PERF_CAPABILITIES.
    Other,
}

/// What the module does when the access is not native.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// #VE.
    Ve,
    /// #GP(0).
    Gp,
    /// #VE if the CPUID bit that announces the MSR is set, #GP(0) if not.
    GpOrVe,
    /// The module emulates it.
    Emulate,
    /// Cannot happen: always native.
    Unreachable,
}

/// One row: MSRs `first..=last`.
#[derive(Clone, Copy, Debug)]
pub struct MsrRule {
    /// First MSR of the range.
    pub first: u32,
    /// Last MSR of the range.
    pub last: u32,
    /// RDMSR.
    pub read: (Native, Action),
    /// WRMSR.
    pub write: (Native, Action),
}

const fn rule(first: u32, last: u32, read: (Native, Action), write: (Native, Action)) -> MsrRule {
    MsrRule {
        first,
        last,
        read,
        write,
    }
}

use Action::*;
use Native::*;

/// The rule for `msr`; MSRs in no row give #VE.
pub fn rule_of(msr: u32) -> Option<&'static MsrRule> {
    MSRS.iter().find(|r| (r.first..=r.last).contains(&msr))
}

/// The table, ascending.
#[rustfmt::skip]
pub const MSRS: &[MsrRule] = &[
    rule(0x10, 0x10, (Always, Unreachable), (Never, Ve)), // IA32_TIME_STAMP_COUNTER
    rule(0x48, 0x48, (Always, Unreachable), (Always, Unreachable)), // IA32_SPEC_CTRL
    rule(0x49, 0x49, (Always, Unreachable), (Always, Unreachable)), // IA32_PRED_CMD
    rule(0x87, 0x87, (Never, GpOrVe), (Never, GpOrVe)), // IA32_MKTME_PARTITIONING
    rule(0x8c, 0x8f, (Never, Gp), (Never, Gp)), // IA32_SGXLEPUBKEYHASHx
    rule(0x98, 0x98, (Never, Gp), (Never, Gp)), // MSR_WBINVDP
    rule(0x99, 0x99, (Never, Gp), (Never, Gp)), // MSR_WBNOINVDP
    rule(0x9a, 0x9a, (Never, Gp), (Never, Gp)), // MSR_INTR_PENDING
    rule(0x9b, 0x9b, (Never, Gp), (Never, Gp)), // IA32_SMM_MONITOR_CTL
    rule(0x9e, 0x9e, (Never, Gp), (Never, Gp)), // IA32_SMBASE
    rule(0xbc, 0xbc, (Always, Unreachable), (Never, Ve)), // IA32_MISC_PACKAGE_CTLS
    rule(0xbd, 0xbd, (Never, Emulate), (Always, Unreachable)), // IA32_XAPIC_DISABLE_STATUS
    rule(0xc1, 0xc8, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PMCx
    rule(0xe1, 0xe1, (Umwait, Gp), (Umwait, Gp)), // IA32_UMWAIT_CONTROL
    rule(0x10a, 0x10a, (Never, Emulate), (Always, Unreachable)), // IA32_ARCH_CAPABILITIES
    rule(0x10b, 0x10b, (Always, Unreachable), (Always, Unreachable)), // IA32_FLUSH_CMD
    rule(0x122, 0x122, (Tsx, Gp), (Tsx, Gp)), // IA32_TSX_CTRL
    rule(0x174, 0x174, (Always, Unreachable), (Always, Unreachable)), // IA32_SYSENTER_CS
    rule(0x175, 0x175, (Always, Unreachable), (Always, Unreachable)), // IA32_SYSENTER_ESP
    rule(0x176, 0x176, (Always, Unreachable), (Always, Unreachable)), // IA32_SYSENTER_EIP
    rule(0x186, 0x18d, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PERFEVTSELx
    rule(0x195, 0x195, (Never, Gp), (Never, Gp)), // IA32_OVERCLOCKING_STATUS
    rule(0x1a0, 0x1a0, (Perfmon, Emulate), (Never, Ve)), // IA32_MISC_ENABLE
    rule(0x1a6, 0x1a7, (Perfmon, Gp), (Perfmon, Gp)), // MSR_OFFCORE_RSPx
    rule(0x1c4, 0x1c4, (Xfd, Gp), (Xfd, Gp)), // IA32_XFD
    rule(0x1c5, 0x1c5, (Xfd, Gp), (Xfd, Gp)), // IA32_XFD_ERR
    rule(0x1d9, 0x1d9, (Never, Emulate), (Never, Emulate)), // IA32_DEBUGCTL
    rule(0x1f8, 0x1f8, (Never, GpOrVe), (Never, GpOrVe)), // IA32_PLATFORM_DCA_CAP
    rule(0x1f9, 0x1f9, (Never, GpOrVe), (Never, GpOrVe)), // IA32_CPU_DCA_CAP
    rule(0x1fa, 0x1fa, (Never, GpOrVe), (Never, GpOrVe)), // IA32_DCA_0_CAP
    rule(0x276, 0x276, (Never, Gp), (Never, Gp)), // MSR_SLAM_ENABLE
    rule(0x277, 0x277, (Always, Unreachable), (Always, Unreachable)), // IA32_PAT
    rule(0x309, 0x310, (Perfmon, Gp), (Perfmon, Gp)), // IA32_FIXED_CTRx
    rule(0x329, 0x329, (Other, Gp), (Other, Gp)), // IA32_PERF_METRICS
    rule(0x345, 0x345, (Other, Emulate), (Perfmon, Gp)), // IA32_PERF_CAPABILITIES
    rule(0x38d, 0x38d, (Perfmon, Gp), (Perfmon, Gp)), // IA32_FIXED_CTR_CTRL
    rule(0x38e, 0x38e, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PERF_GLOBAL_STATUS
    rule(0x38f, 0x38f, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PERF_GLOBAL_CTRL
    rule(0x390, 0x390, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PERF_GLOBAL_STATUS_RESET
    rule(0x391, 0x391, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PERF_GLOBAL_STATUS_SET
    rule(0x392, 0x392, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PERF_GLOBAL_INUSE
    rule(0x3f1, 0x3f1, (Perfmon, Gp), (Perfmon, Gp)), // IA32_PEBS_ENABLE
    rule(0x3f2, 0x3f2, (Perfmon, Gp), (Perfmon, Gp)), // MSR_PEBS_MATRIX_VECT
    rule(0x3f6, 0x3f6, (Perfmon, Gp), (Perfmon, Gp)), // MSR_PEBS_LD_LATENCY
    rule(0x3f7, 0x3f7, (Perfmon, Gp), (Perfmon, Gp)), // MSR_PEBS_FRONTEND
    rule(0x480, 0x480, (Never, Emulate), (Never, Gp)), // IA32_VMX_BASIC
    rule(0x481, 0x481, (Never, Ve), (Never, Gp)), // IA32_VMX_PINBASED_CTLS
    rule(0x482, 0x482, (Never, Ve), (Never, Gp)), // IA32_VMX_PROCBASED_CTLS
    rule(0x483, 0x483, (Never, Ve), (Never, Gp)), // IA32_VMX_EXIT_CTLS
    rule(0x484, 0x484, (Never, Ve), (Never, Gp)), // IA32_VMX_ENTRY_CTLS
    rule(0x485, 0x485, (Never, Emulate), (Never, Gp)), // IA32_VMX_MISC
    rule(0x486, 0x486, (Never, Emulate), (Never, Gp)), // IA32_VMX_CR0_FIXED0
    rule(0x487, 0x487, (Never, Emulate), (Never, Gp)), // IA32_VMX_CR0_FIXED1
    rule(0x488, 0x488, (Never, Emulate), (Never, Gp)), // IA32_VMX_CR4_FIXED0
    rule(0x489, 0x489, (Never, Emulate), (Never, Gp)), // IA32_VMX_CR4_FIXED1
    rule(0x48a, 0x48a, (Never, Ve), (Never, Gp)), // IA32_VMX_VMCS_ENUM
    rule(0x48b, 0x48b, (Never, Emulate), (Never, Gp)), // IA32_VMX_PROCBASED_CTLS2
    rule(0x48c, 0x48c, (Never, Emulate), (Never, Gp)), // IA32_VMX_EPT_VPID_CAP
    rule(0x48d, 0x48d, (Never, Emulate), (Never, Gp)), // IA32_VMX_TRUE_PINBASED_CTLS
    rule(0x48e, 0x48e, (Never, Emulate), (Never, Gp)), // IA32_VMX_TRUE_PROCBASED_CTLS
    rule(0x48f, 0x48f, (Never, Emulate), (Never, Gp)), // IA32_VMX_TRUE_EXIT_CTLS
    rule(0x490, 0x490, (Never, Emulate), (Never, Gp)), // IA32_VMX_TRUE_ENTRY_CTLS
    rule(0x491, 0x491, (Never, Emulate), (Never, Gp)), // IA32_VMX_VMFUNC
    rule(0x492, 0x492, (Never, Emulate), (Never, Gp)), // IA32_VMX_PROCBASED_CTLS3
    rule(0x4c1, 0x4c8, (Perfmon, Gp), (Perfmon, Gp)), // IA32_A_PMCx
    rule(0x500, 0x500, (Never, Gp), (Never, Gp)), // IA32_SGX_SVN_STATUS
    rule(0x560, 0x560, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_OUTPUT_BASE
    rule(0x561, 0x561, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_OUTPUT_MASK_PTRS
    rule(0x570, 0x570, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_CTL
    rule(0x571, 0x571, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_STATUS
    rule(0x572, 0x572, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_CR3_MATCH
    rule(0x580, 0x580, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR0_A
    rule(0x581, 0x581, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR0_B
    rule(0x582, 0x582, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR1_A
    rule(0x583, 0x583, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR1_B
    rule(0x584, 0x584, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR2_A
    rule(0x585, 0x585, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR2_B
    rule(0x586, 0x586, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR3_A
    rule(0x587, 0x587, (XfamPt, Gp), (XfamPt, Gp)), // IA32_RTIT_ADDR3_B
    rule(0x600, 0x600, (Always, Unreachable), (Always, Unreachable)), // IA32_DS_AREA
    rule(0x6a0, 0x6a0, (XfamCet, Gp), (XfamCet, Gp)), // IA32_U_CET
    rule(0x6a2, 0x6a2, (XfamCet, Gp), (XfamCet, Gp)), // IA32_S_CET
    rule(0x6a4, 0x6a4, (XfamCet, Gp), (XfamCet, Gp)), // IA32_PL0_SSP
    rule(0x6a5, 0x6a5, (XfamCet, Gp), (XfamCet, Gp)), // IA32_PL1_SSP
    rule(0x6a6, 0x6a6, (XfamCet, Gp), (XfamCet, Gp)), // IA32_PL2_SSP
    rule(0x6a7, 0x6a7, (XfamCet, Gp), (XfamCet, Gp)), // IA32_PL3_SSP
    rule(0x6a8, 0x6a8, (XfamCet, Gp), (XfamCet, Gp)), // IA32_INTERRUPT_SSP_TABLE_ADDR
    rule(0x6e0, 0x6e0, (Never, GpOrVe), (Never, GpOrVe)), // IA32_TSC_DEADLINE
    rule(0x6e1, 0x6e1, (Pks, Gp), (Pks, Gp)), // IA32_PKRS
    rule(0x800, 0x801, (Never, Gp), (Never, Gp)), // Reserved for xAPIC MSRs
    rule(0x804, 0x807, (Never, Gp), (Never, Gp)), // Reserved for xAPIC MSRs
    rule(0x808, 0x808, (Always, Unreachable), (Always, Unreachable)), // IA32_X2APIC_TPR
    rule(0x809, 0x809, (Always, Unreachable), (Always, Unreachable)), // Reserved for xAPIC MSRs
    rule(0x80a, 0x80a, (Always, Unreachable), (Always, Unreachable)), // IA32_X2APIC_PPR
    rule(0x80b, 0x80b, (Always, Unreachable), (Always, Unreachable)), // IA32_X2APIC_EOI
    rule(0x80c, 0x80c, (Always, Unreachable), (Always, Unreachable)), // Reserved for xAPIC MSRs
    rule(0x80e, 0x80e, (Always, Unreachable), (Always, Unreachable)), // Reserved for xAPIC MSRs
    rule(0x810, 0x817, (Always, Unreachable), (Always, Unreachable)), // IA32_X2APIC_ISRx
    rule(0x818, 0x81f, (Always, Unreachable), (Always, Unreachable)), // IA32_X2APIC_TMRx
    rule(0x820, 0x827, (Always, Unreachable), (Always, Unreachable)), // IA32_X2APIC_IRRx
    rule(0x829, 0x82e, (Never, Gp), (Never, Gp)), // Reserved for xAPIC MSRs
    rule(0x831, 0x831, (Never, Gp), (Never, Gp)), // Reserved for xAPIC MSRs
    rule(0x83f, 0x83f, (Always, Unreachable), (Always, Unreachable)), // IA32_X2APIC_SELF_IPI
    rule(0x840, 0x87f, (Never, Gp), (Never, Gp)), // Reserved for xAPIC MSRs
    rule(0x880, 0x8bf, (Never, Gp), (Never, Gp)), // Reserved for xAPIC MSRs
    rule(0x8c0, 0x8ff, (Never, Gp), (Never, Gp)), // Reserved for xAPIC MSRs
    rule(0x981, 0x981, (Never, GpOrVe), (Never, GpOrVe)), // IA32_TME_CAPABILITY
    rule(0x982, 0x982, (Never, GpOrVe), (Never, GpOrVe)), // IA32_TME_ACTIVATE
    rule(0x983, 0x983, (Never, GpOrVe), (Never, GpOrVe)), // IA32_TME_EXCLUDE_MASK
    rule(0x984, 0x984, (Never, GpOrVe), (Never, GpOrVe)), // IA32_TME_EXCLUDE_BASE
    rule(0x985, 0x985, (XfamUli, Gp), (XfamUli, Gp)), // IA32_UINTR_RR
    rule(0x986, 0x986, (XfamUli, Gp), (XfamUli, Gp)), // IA32_UINTR_HANDLER
    rule(0x987, 0x987, (XfamUli, Gp), (XfamUli, Gp)), // IA32_UINTR_STACKADJUST
    rule(0x988, 0x988, (XfamUli, Gp), (XfamUli, Gp)), // IA32_UINTR_MISC
    rule(0x989, 0x989, (XfamUli, Gp), (XfamUli, Gp)), // IA32_UINTR_PD
    rule(0x98a, 0x98a, (XfamUli, Gp), (XfamUli, Gp)), // IA32_UINTR_TT
    rule(0xc80, 0xc80, (Always, Unreachable), (Never, Ve)), // IA32_DEBUG_INTERFACE
    rule(0xd90, 0xd90, (Never, Gp), (Never, Gp)), // IA32_BNDCFGS
    rule(0xd93, 0xd93, (Never, Gp), (Never, Gp)), // IA32_PASID
    rule(0xda0, 0xda0, (Always, Unreachable), (Never, Emulate)), // IA32_XSS
    rule(0x1200, 0x12ff, (XfamLbr, Gp), (XfamLbr, Gp)), // IA32_LBR_INFO
    rule(0x14ce, 0x14ce, (XfamLbr, Gp), (XfamLbr, Gp)), // IA32_LBR_CTL
    rule(0x14cf, 0x14cf, (XfamLbr, Gp), (XfamLbr, Gp)), // IA32_LBR_DEPTH
    rule(0x1500, 0x15ff, (XfamLbr, Gp), (XfamLbr, Gp)), // IA32_LBR_x_FROM_IP
    rule(0x1600, 0x16ff, (XfamLbr, Gp), (XfamLbr, Gp)), // IA32_LBR_x_TO_IP
    rule(0x1b01, 0x1b01, (Always, Unreachable), (Always, Unreachable)), // IA32_UARCH_MISC_CTL
    rule(0xc0000080, 0xc0000080, (Always, Unreachable), (Never, Emulate)), // IA32_EFER
    rule(0xc0000081, 0xc0000081, (Always, Unreachable), (Always, Unreachable)), // IA32_STAR
    rule(0xc0000082, 0xc0000082, (Always, Unreachable), (Always, Unreachable)), // IA32_LSTAR
    rule(0xc0000084, 0xc0000084, (Always, Unreachable), (Always, Unreachable)), // IA32_FMASK
    rule(0xc0000100, 0xc0000100, (Always, Unreachable), (Always, Unreachable)), // IA32_FSBASE
    rule(0xc0000101, 0xc0000101, (Always, Unreachable), (Always, Unreachable)), // IA32_GSBASE
    rule(0xc0000102, 0xc0000102, (Always, Unreachable), (Always, Unreachable)), // IA32_KERNEL_GS_BASE
    rule(0xc0000103, 0xc0000103, (Always, Unreachable), (Always, Unreachable)), // IA32_TSC_AUX
];
