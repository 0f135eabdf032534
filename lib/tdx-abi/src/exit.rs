//! VMX basic exit reasons as TDH.VP.ENTER returns them, and their qualifications.

macro_rules! reasons {
    ($($name:ident = $number:literal;)*) => {
        /// VMX basic exit reasons (bits 15:0).
        #[allow(missing_docs)]
        pub mod reason {
            $(pub const $name: u32 = $number;)*
        }
    };
}

reasons! {
    EXCEPTION_OR_NMI = 0;
    INTERRUPT = 1;
    TRIPLE_FAULT = 2;
    INIT_EVENT = 3;
    SIPI_EVENT = 4;
    SMI_IO_EVENT = 5;
    SMI_OTHER_EVENT = 6;
    INTERRUPT_WINDOW = 7;
    NMI_WINDOW = 8;
    TASK_SWITCH = 9;
    CPUID_INSTRUCTION = 10;
    GETSEC_INSTRUCTION = 11;
    HLT_INSTRUCTION = 12;
    INVD_INSTRUCTION = 13;
    INVLPG_INSTRUCTION = 14;
    RDPMC_INSTRUCTION = 15;
    RDTSC_INSTRUCTION = 16;
    RSM_INSTRUCTION = 17;
    VMCALL_INSTRUCTION = 18;
    VMCLEAR_INSTRUCTION = 19;
    VMLAUNCH_INSTRUCTION = 20;
    VMPTRLD_INSTRUCTION = 21;
    VMPTRST_INSTRUCTION = 22;
    VMREAD_INSTRUCTION = 23;
    VMRESUME_INSTRUCTION = 24;
    VMWRITE_INSTRUCTION = 25;
    VMXOFF_INSTRUCTION = 26;
    VMXON_INSTRUCTION = 27;
    CR_ACCESS = 28;
    DR_ACCESS = 29;
    IO_INSTRUCTION = 30;
    MSR_READ = 31;
    MSR_WRITE = 32;
    FAILED_VMENTER_GS = 33;
    FAILED_VMENTER_MSR = 34;
    VMEXIT_FAILURE = 35;
    MWAIT_INSTRUCTION = 36;
    MTF = 37;
    MONITOR_INSTRUCTION = 39;
    PAUSE_INSTRUCTION = 40;
    FAILED_VMENTER_MC = 41;
    C_STATE_SMI = 42;
    TPR_BELOW_THRESHOLD = 43;
    APIC_ACCESS = 44;
    VIRTUALIZED_EOI = 45;
    GDTR_IDTR_ACCESS = 46;
    LDTR_TR_ACCESS = 47;
    EPT_VIOLATION = 48;
    EPT_MISCONFIGURATION = 49;
    INVLEPT = 50;
    RDTSCP = 51;
    PREEMPTION_TIMER_EXPIRED = 52;
    INVLVPID = 53;
    WBINVD_INSTRUCTION = 54;
    XSETBV_INSTRUCTION = 55;
    APIC_WRITE = 56;
    RDRAND_INSTRUCTION = 57;
    INVPCID_INSTRUCTION = 58;
    VMFUNC_INSTRUCTION = 59;
    ENCLS_INSTRUCTION = 60;
    RDSEED_INSTRUCTION = 61;
    EPT_PML_FULL = 62;
    XSAVES_INSTRUCTION = 63;
    XRSTORS_INSTRUCTION = 64;
    PCONFIG = 65;
    SPP_INDUCED = 66;
    UMWAIT = 67;
    TPAUSE = 68;
    LOADIWK_INSTRUCTION = 69;
    ENCLV_INSTRUCTION = 70;
    SGX_CONFLICT = 71;
    ENQCMD_PASID_TRANSLATION_FAILURE = 72;
    ENQCMDS_PASID_TRANSLATION_FAILURE = 73;
    BUS_LOCK = 74;
    NOTIFICATION = 75;
    SEAMCALL = 76;
    TDCALL = 77;
}

/// Extended exit qualification types (RDX bits 3:0 after TDH.VP.ENTER).
pub mod extended {
    /// Nothing more is known.
    pub const NONE: u64 = 0;
    /// TDG.MEM.PAGE.ACCEPT; information in bits 63:32.
    pub const ACCEPT: u64 = 1;
    /// GPA details.
    pub const GPA_DETAILS: u64 = 2;
    /// An MSR could not be loaded on TD entry; bits 63:32 hold its index.
    pub const TD_ENTRY_MSR_LOAD_FAILURE: u64 = 3;
    /// The extended state could not be loaded on TD entry.
    pub const TD_ENTRY_XSTATE_LOAD_FAILURE: u64 = 4;
    /// TDG.MEM.PAGE.ATTR.WR; information as for ACCEPT.
    pub const ATTR_WR: u64 = 5;
    /// The guest touched a PENDING page while PENDING_VE_DISABLE is set.
    pub const PENDING_EPT_VIOLATION: u64 = 6;
}

/// VMX EPT-violation qualification bits (SDM, "Exit Qualification for EPT Violations").
pub mod ept_violation {
    /// The access was a data read.
    pub const READ: u64 = 1 << 0;
    /// The access was a data write.
    pub const WRITE: u64 = 1 << 1;
    /// The access was an instruction fetch.
    pub const FETCH: u64 = 1 << 2;
    /// The guest linear address is valid.
    pub const GLA_VALID: u64 = 1 << 7;
    /// It was an access to a shadow stack.
    pub const SHADOW_STACK: u64 = 1 << 13;
}
