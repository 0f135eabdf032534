//! Structures in memory that host, module and guest exchange.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian as le};

macro_rules! layout {
    (
        $(#[$doc:meta])*
        $name:ident = $size:literal, align $align:literal {
            $($(#[$fdoc:meta])* $offset:literal $field:ident: $ty:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $ty,)*
        }
        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };
        impl $name {
            /// Alignment in bytes the ABI asks of its address.
            pub const ALIGN: u64 = $align;
            /// Size in bytes.
            pub const SIZE: u64 = $size;
        }
    };
}

layout! {
    /// EAX, EBX, ECX, EDX of one CPUID leaf.
    CpuidValues = 16, align 4 {
        /// EAX.
        0 eax: le::U32,
        /// EBX.
        4 ebx: le::U32,
        /// ECX.
        8 ecx: le::U32,
        /// EDX.
        12 edx: le::U32,
    }
}

layout! {
    /// TD_PARAMS: what TDH.MNG.INIT reads.
    TdParams = 1024, align 1024 {
        /// See [`crate::td::attributes`].
        0x00 attributes: le::U64,
        /// See [`crate::td::xfam`].
        0x08 xfam: le::U64,
        /// 1 to 65535.
        0x10 max_vcpus: le::U16,
        /// 0 to 3.
        0x12 num_l2_vms: u8,
        /// Bit 0: `arch_capabilities` is given.
        0x13 msr_config_ctls: u8,
        /// Must be 0.
        0x14 reserved_0: [u8; 4],
        /// See [`crate::td::eptp_controls`].
        0x18 eptp_controls: le::U64,
        /// See [`crate::td::config_flags`].
        0x20 config_flags: le::U64,
        /// In units of 25 MHz.
        0x28 tsc_frequency: le::U16,
        /// Must be 0.
        0x2a reserved_1: [u8; 38],
        /// Software-defined, reported.
        0x50 mr_config_id: [u8; 48],
        /// Software-defined, reported.
        0x80 mr_owner: [u8; 48],
        /// Software-defined, reported.
        0xb0 mr_owner_config: [u8; 48],
        /// The configurable bits of IA32_ARCH_CAPABILITIES.
        0xe0 arch_capabilities: le::U64,
        /// Must be 0.
        0xe8 reserved_2: [u8; 24],
        /// In the order of CPUID_CONFIG.
        0x100 cpuid: [CpuidValues; 12],
        /// Must be 0.
        0x1c0 reserved_3: [u8; 576],
    }
}

layout! {
    /// One reserved area of a TDMR.
    ReservedArea = 16, align 8 {
        /// Offset from the TDMR's base in bytes.
        0 offset: le::U64,
        /// Size in bytes; 0 ends the list.
        8 size: le::U64,
    }
}

layout! {
    /// TDMR_INFO: one memory region for TDH.SYS.CONFIG.
    TdmrInfo = 320, align 512 {
        /// 1 GiB aligned.
        0x00 base: le::U64,
        /// Multiple of 1 GiB.
        0x08 size: le::U64,
        /// PAMT of 1 GiB entries.
        0x10 pamt_1g_base: le::U64,
        /// In bytes.
        0x18 pamt_1g_size: le::U64,
        /// PAMT of 2 MiB entries.
        0x20 pamt_2m_base: le::U64,
        /// In bytes.
        0x28 pamt_2m_size: le::U64,
        /// PAMT of 4 KiB entries.
        0x30 pamt_4k_base: le::U64,
        /// In bytes.
        0x38 pamt_4k_size: le::U64,
        /// Ascending.
        0x40 reserved: [ReservedArea; 16],
    }
}

layout! {
    /// A convertible memory range.
    CmrInfo = 16, align 512 {
        /// First byte.
        0 base: le::U64,
        /// Bytes.
        8 size: le::U64,
    }
}

layout! {
    /// CPUID_CONFIG: one leaf TD_PARAMS may configure, with the bits that may be set.
    CpuidConfig = 24, align 4 {
        /// EAX of CPUID.
        0 leaf: le::U32,
        /// ECX of CPUID, all ones where there are no sub-leaves.
        4 subleaf: le::U32,
        /// Configurable bits.
        8 values: CpuidValues,
    }
}

layout! {
    /// TDSYSINFO_STRUCT: what TDH.SYS.INFO writes.
    TdSysInfo = 1024, align 1024 {
        /// Bit 31: debug module.
        0x00 attributes: le::U32,
        /// 0x8086.
        0x04 vendor_id: le::U32,
        /// yyyymmdd as decimal digits.
        0x08 build_date: le::U32,
        /// Build number.
        0x0c build_num: le::U16,
        /// Minor version.
        0x0e minor_version: le::U16,
        /// Major version.
        0x10 major_version: le::U16,
        /// 1: TDH.SYS.RD is there.
        0x12 sys_rd: u8,
        /// Zero.
        0x13 reserved_0: [u8; 13],
        /// TDMRs at most.
        0x20 max_tdmrs: le::U16,
        /// Reserved areas of a TDMR at most.
        0x22 max_reserved_per_tdmr: le::U16,
        /// Bytes.
        0x24 pamt_entry_size: le::U16,
        /// Zero.
        0x26 reserved_1: [u8; 10],
        /// Bytes.
        0x30 tdcs_base_size: le::U16,
        /// Zero.
        0x32 reserved_2: [u8; 2],
        /// Bytes.
        0x34 tdvps_base_size: le::U16,
        /// Bytes.
        0x36 tdvps_xfam_dependent_size: u8,
        /// Zero.
        0x37 reserved_3: [u8; 9],
        /// A 0 bit must be 0.
        0x40 attributes_fixed0: le::U64,
        /// A 1 bit must be 1.
        0x48 attributes_fixed1: le::U64,
        /// A 0 bit must be 0.
        0x50 xfam_fixed0: le::U64,
        /// A 1 bit must be 1.
        0x58 xfam_fixed1: le::U64,
        /// Zero.
        0x60 reserved_4: [u8; 32],
        /// Entries in use.
        0x80 num_cpuid_config: le::U32,
        /// The configurable leaves.
        0x84 cpuid_config: [CpuidConfig; 12],
        /// Zero.
        0x1a4 reserved_5: [u8; 604],
    }
}

layout! {
    /// VE_INFO: what TDG.VP.VEINFO.GET returns.
    VeInfo = 128, align 4096 {
        /// VMX exit reason.
        0x00 exit_reason: le::U32,
        /// All ones while the information waits to be fetched.
        0x04 valid: le::U32,
        /// Exit qualification.
        0x08 exit_qualification: le::U64,
        /// Guest linear address.
        0x10 gla: le::U64,
        /// Guest physical address.
        0x18 gpa: le::U64,
        /// EPTP index.
        0x20 eptp_index: le::U16,
        /// Zero.
        0x22 reserved_0: [u8; 2],
        /// Bytes.
        0x24 instruction_length: le::U32,
        /// VM-exit instruction information.
        0x28 instruction_info: le::U32,
        /// Zero.
        0x2c reserved_1: [u8; 84],
    }
}

layout! {
    /// REPORTTYPE.
    ReportType = 4, align 1 {
        /// 0x81: TDX.
        0 kind: u8,
        /// 0.
        1 subtype: u8,
        /// 0, or 1 where a service TD is bound.
        2 version: u8,
        /// Zero.
        3 reserved: u8,
    }
}

layout! {
    /// REPORTMACSTRUCT: the head of a TDREPORT, with the MAC.
    ReportMac = 256, align 256 {
        /// What made the report.
        0x00 report_type: ReportType,
        /// Zero.
        0x04 reserved_0: [u8; 12],
        /// Security version of the CPU.
        0x10 cpu_svn: [u8; 16],
        /// SHA-384 of the TEE_TCB_INFO.
        0x20 tee_tcb_info_hash: [u8; 48],
        /// SHA-384 of the TDINFO.
        0x50 tee_info_hash: [u8; 48],
        /// What the guest gave.
        0x80 report_data: [u8; 64],
        /// Zero.
        0xc0 reserved_1: [u8; 32],
        /// HMAC of the bytes before.
        0xe0 mac: [u8; 32],
    }
}

layout! {
    /// TEE_TCB_INFO: the module's own identity.
    TeeTcbInfo = 256, align 8 {
        /// Which fields are valid.
        0x00 valid: le::U64,
        /// Security version of the module.
        0x08 tee_tcb_svn: [u8; 16],
        /// Measurement of the module.
        0x18 mr_seam: [u8; 48],
        /// Its signer.
        0x48 mr_signer_seam: [u8; 48],
        /// Its attributes.
        0x78 attributes: le::U64,
        /// Zero.
        0x80 reserved: [u8; 128],
    }
}

layout! {
    /// TDINFO: the TD's identity.
    TdInfo = 512, align 8 {
        /// ATTRIBUTES.
        0x00 attributes: le::U64,
        /// XFAM.
        0x08 xfam: le::U64,
        /// MRTD.
        0x10 mr_td: [u8; 48],
        /// MRCONFIGID.
        0x40 mr_config_id: [u8; 48],
        /// MROWNER.
        0x70 mr_owner: [u8; 48],
        /// MROWNERCONFIG.
        0xa0 mr_owner_config: [u8; 48],
        /// RTMR 0 to 3.
        0xd0 rtmr: [[u8; 48]; 4],
        /// SERVTD_HASH.
        0x190 servtd_hash: [u8; 48],
        /// Zero.
        0x1c0 reserved: [u8; 64],
    }
}

layout! {
    /// TDREPORT_STRUCT.
    TdReport = 1024, align 1024 {
        /// Head with MAC.
        0x000 mac: ReportMac,
        /// The module.
        0x100 tee_tcb_info: TeeTcbInfo,
        /// The TD.
        0x200 td_info: TdInfo,
    }
}

/// REPORTTYPE.kind of a TD.
pub const REPORT_TYPE_TDX: u8 = 0x81;
/// Bytes of REPORTDATA.
pub const REPORT_DATA_SIZE: u64 = 64;
/// TDMRs at most.
pub const MAX_TDMRS: usize = 64;
/// CMRs at most.
pub const MAX_CMRS: usize = 32;
/// Reserved areas of a TDMR at most.
pub const MAX_RESERVED_AREAS: usize = 16;
/// Bytes of one PAMT entry, at every level.
pub const PAMT_ENTRY_SIZE: u64 = 16;
