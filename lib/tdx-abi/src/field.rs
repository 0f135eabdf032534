//! Metadata field identifiers and the table of fields with their access masks.

/// A 64-bit metadata field identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct FieldId(pub u64);

impl FieldId {
    /// Field code, bits 23:0.
    pub const fn field_code(self) -> u32 {
        self.0 as u32 & 0xff_ffff
    }
    /// Element size as a power of two, bits 33:32 (0 = 1 byte .. 3 = 8 bytes).
    pub const fn element_size_code(self) -> u32 {
        (self.0 >> 32) as u32 & 3
    }
    /// Index of the last element of the field, bits 37:34.
    pub const fn last_element_in_field(self) -> u32 {
        (self.0 >> 34) as u32 & 0xf
    }
    /// Index of the last field of the sequence, bits 46:38.
    pub const fn last_field_in_sequence(self) -> u32 {
        (self.0 >> 38) as u32 & 0x1ff
    }
    /// Increment size, bit 50.
    pub const fn inc_size(self) -> bool {
        self.0 >> 50 & 1 != 0
    }
    /// Whether the write mask is valid, bit 51.
    pub const fn write_mask_valid(self) -> bool {
        self.0 >> 51 & 1 != 0
    }
    /// Context: 0 system, 1 TD, 2 vCPU; bits 54:52.
    pub const fn context_code(self) -> u32 {
        (self.0 >> 52) as u32 & 7
    }
    /// Class, bits 61:56.
    pub const fn class_code(self) -> u32 {
        (self.0 >> 56) as u32 & 0x3f
    }
    /// Not architectural, bit 63.
    pub const fn non_arch(self) -> bool {
        self.0 >> 63 != 0
    }
}

impl core::fmt::Debug for FieldId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FieldId({:#018x})", self.0)
    }
}

/// One field (or array of fields) of the metadata: its first identifier and access masks.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The first identifier.
    pub id: FieldId,
    /// Elements of one field.
    pub elements: u16,
    /// Fields in the array.
    pub fields: u16,
    /// Offset within its structure in bytes.
    pub offset: u16,
    /// What the host may read of a production TD.
    pub prod_read: u64,
    /// What the host may write of a production TD.
    pub prod_write: u64,
    /// What the host may read of a debug TD.
    pub debug_read: u64,
    /// What the host may write of a debug TD.
    pub debug_write: u64,
    /// What the guest may read.
    pub guest_read: u64,
    /// What the guest may write.
    pub guest_write: u64,
}

const fn field(id: u64, elements: u16, fields: u16, offset: u16, masks: [u64; 6]) -> Field {
    Field {
        id: FieldId(id),
        elements,
        fields,
        offset,
        prod_read: masks[0],
        prod_write: masks[1],
        debug_read: masks[2],
        debug_write: masks[3],
        guest_read: masks[4],
        guest_write: masks[5],
    }
}

const M: u64 = u64::MAX;

/// System fields (TDH.SYS.RD, TDG.SYS.RD).
#[rustfmt::skip]
pub const SYS: &[Field] = &[
    field(0x0000000200000000, 1, 1, 0x0, [0xffffffff, 0, 0, 0, 0, 0]), // NUM_PKGS
    field(0x0000000200000001, 1, 8, 0x0, [0xffffffff, 0, 0, 0, 0, 0]), // PKG_FMS
    field(0x0800000200000000, 1, 1, 0x0, [0xffffffff, 0, 0, 0, 0xffffffff, 0]), // VENDOR_ID
    field(0x8800000200000001, 1, 1, 0x0, [0xffffffff, 0, 0, 0, 0, 0]), // BUILD_DATE
    field(0x8800000100000002, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // BUILD_NUM
    field(0x0800000100000003, 1, 1, 0x0, [0xffff, 0, 0, 0, 0xffff, 0]), // MINOR_VERSION
    field(0x0800000100000004, 1, 1, 0x0, [0xffff, 0, 0, 0, 0xffff, 0]), // MAJOR_VERSION
    field(0x0800000100000005, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // UPDATE_VERSION
    field(0x0800000100000006, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // INTERNAL_VERSION
    field(0x8900000100000000, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // MODULE_HV
    field(0x8900000100000001, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // MIN_UPDATE_HV
    field(0x8900000000000002, 1, 1, 0x0, [0xff, 0, 0, 0, 0, 0]), // NO_DOWNGRADE
    field(0x8900000100000003, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // NUM_HANDOFF_PAGES
    field(0x8900000000000004, 1, 1, 0x0, [0xff, 0, 0, 0, 0, 0]), // HANDOFF_DATA_VALID
    field(0x8900000100000005, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // HANDOFF_DATA_HV
    field(0x8900000200000006, 1, 1, 0x0, [0xffffffff, 0, 0, 0, 0, 0]), // HANDOFF_DATA_SIZE
    field(0x0a00000200000000, 1, 1, 0x0, [0xffffffff, 0, 0, 0, 0xffffffff, 0]), // SYS_ATTRIBUTES
    field(0x0a00000000000001, 1, 1, 0x0, [0xff, 0, 0, 0, 0xff, 0]), // NUM_TDX_FEATURES
    field(0x0a00000300000008, 1, 1, 0x0, [M, 0, 0, 0, M, 0]), // TDX_FEATURES0
    field(0x9000000100000000, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // NUM_CMRS
    field(0x9000000300000080, 1, 32, 0x0, [M, 0, 0, 0, 0, 0]), // CMR_BASE
    field(0x9000000300000100, 1, 32, 0x0, [M, 0, 0, 0, 0, 0]), // CMR_SIZE
    field(0x9100000100000008, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // MAX_TDMRS
    field(0x9100000100000009, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // MAX_RESERVED_PER_TDMR
    field(0x9100000100000010, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // PAMT_4K_ENTRY_SIZE
    field(0x9100000100000011, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // PAMT_2M_ENTRY_SIZE
    field(0x9100000100000012, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // PAMT_1G_ENTRY_SIZE
    field(0x9800000100000000, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // TDR_BASE_SIZE
    field(0x9800000100000100, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // TDCS_BASE_SIZE
    field(0x9800000100000101, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // TDCS_SIZE_PER_L2_VM
    field(0x9800000100000200, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // TDVPS_BASE_SIZE
    field(0x9800000100000201, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // TDVPS_SIZE_PER_L2_VM
    field(0x1900000300000000, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // ATTRIBUTES_FIXED0
    field(0x1900000300000001, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // ATTRIBUTES_FIXED1
    field(0x1900000300000002, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // XFAM_FIXED0
    field(0x1900000300000003, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // XFAM_FIXED1
    field(0x9900000100000004, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // NUM_CPUID_CONFIG
    field(0x9900000300000006, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // CONFIG_FLAGS_FIXED0
    field(0x9900000300000007, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // CONFIG_FLAGS_FIXED1
    field(0x9900000300000400, 1, 32, 0x0, [M, 0, 0, 0, 0, 0]), // CPUID_CONFIG_LEAVES
    field(0x9900000300000500, 2, 32, 0x0, [M, 0, 0, 0, 0, 0]), // CPUID_CONFIG_VALUES
    field(0x9900000300000600, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // IA32_ARCH_CAPABILITIES_CONFIG_MASK
    field(0x9900000100000800, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // NUM_ALLOWED_FMS
    field(0x9900000100000801, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // NUM_DISALLOWED_FMS
    field(0x9900000300000810, 1, 64, 0x0, [M, 0, 0, 0, 0, 0]), // ALLOWED_FMS
    field(0x9900000300000850, 1, 64, 0x0, [M, 0, 0, 0, 0, 0]), // DISALLOWED_FMS
    field(0xa000000300000000, 1, 1, 0x0, [M, 0, 0, 0, M, 0]), // MIG_ATTRIBUTES
    field(0x2000000100000001, 1, 1, 0x0, [0xffff, 0, 0, 0, 0xffff, 0]), // MIN_EXPORT_VERSION
    field(0x2000000100000002, 1, 1, 0x0, [0xffff, 0, 0, 0, 0xffff, 0]), // MAX_EXPORT_VERSION
    field(0x2000000100000003, 1, 1, 0x0, [0xffff, 0, 0, 0, 0xffff, 0]), // MIN_IMPORT_VERSION
    field(0x2000000100000004, 1, 1, 0x0, [0xffff, 0, 0, 0, 0xffff, 0]), // MAX_IMPORT_VERSION
    field(0xa000000100000010, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // MAX_MIGS
    field(0xa000000000000020, 1, 1, 0x0, [0xff, 0, 0, 0, 0, 0]), // NUM_IMMUTABLE_STATE_PAGES
    field(0xa000000000000021, 1, 1, 0x0, [0xff, 0, 0, 0, 0, 0]), // NUM_TD_STATE_PAGES
    field(0xa000000000000022, 1, 1, 0x0, [0xff, 0, 0, 0, 0, 0]), // NUM_VP_STATE_PAGES
    field(0xa100000100000000, 1, 1, 0x0, [0xffff, 0, 0, 0, 0, 0]), // MAX_SERV_TDS
    field(0xa100000300000001, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // SERVTD_ATTR_FIXED0
    field(0xa100000300000002, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // SERVTD_ATTR_FIXED1
    field(0xa200000100000000, 1, 1, 0x0, [0xffff, 0, 0, 0, 0xffff, 0]), // GUEST_L2_GPA_ATTR_MASK
    field(0xa200000300000001, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // VM_CTLS_FIXED0
    field(0xa200000300000002, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // VM_CTLS_FIXED1
    field(0xa200000300000003, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // VPCU_L2_CTLS_FIXED0
    field(0xa200000300000004, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // VCPU_L2_CTLS_FIXED1
    field(0xa200000300000005, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // VPCU_L2_DEBUG_CTLS_FIXED0
    field(0xa200000300000006, 1, 1, 0x0, [M, 0, 0, 0, 0, 0]), // VCPU_L2_DEBUG_CTLS_FIXED1
];

/// TD fields (TDH.MNG.RD/WR, TDG.VM.RD/WR); offsets are within TDR or TDCS.
#[rustfmt::skip]
pub const TD: &[Field] = &[
    field(0x8010000000000001, 1, 1, 0x0, [0xff, 0, 0xff, 0, 0, 0]), // FATAL
    field(0x8010000200000002, 1, 1, 0x4, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // NUM_TDCX
    field(0x8010000300000004, 1, 1, 0x8, [M, 0, M, 0, 0, 0]), // CHLDCNT
    field(0x8010000200000005, 1, 1, 0x10, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // LIFECYCLE_STATE
    field(0x8010000300000010, 1, 9, 0x18, [M, 0, M, 0, 0, 0]), // TDCX_PA
    field(0x8010000300000020, 4, 1, 0x60, [M, 0, M, 0, M, 0]), // TD_UUID
    field(0x8110000100000001, 1, 1, 0x100, [0xffff, 0, 0xffff, 0, 0, 0]), // HKID
    field(0x8110000300000002, 1, 1, 0x108, [M, 0, M, 0, 0, 0]), // PKG_CONFIG_BITMAP
    field(0x8210000100000000, 1, 1, 0x140, [0xffff, 0, 0xffff, 0, 0, 0]), // HANDOFF_VERSION
    field(0x8210000300000001, 1, 1, 0x148, [M, 0, M, 0, 0, 0]), // SEAMDB_INDEX
    field(0x8210000300000002, 4, 1, 0x150, [0, 0, 0, 0, 0, 0]), // SEAMDB_NONCE
    field(0x9010000200000001, 1, 1, 0x0, [0xffffffff, 0, 0xffffffff, 0, 0xffffffff, 0]), // NUM_VCPUS
    field(0x9010000200000002, 1, 1, 0x4, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // NUM_ASSOC_VCPUS
    field(0x9010000200000004, 1, 1, 0x8, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // OP_STATE
    field(0x9010000100000005, 1, 1, 0x10, [0xffff, 0, 0xffff, 0, 0xffff, 0]), // NUM_L2_VMS
    field(0x1110000300000000, 1, 1, 0x80, [M, 0, M, 0, M, 0]), // ATTRIBUTES
    field(0x1110000300000001, 1, 1, 0x88, [M, 0, M, 0, M, 0]), // XFAM
    field(0x1110000200000002, 1, 1, 0x90, [0xffffffff, 0, 0xffffffff, 0, 0xffffffff, 0]), // MAX_VCPUS
    field(0x1110000000000003, 1, 1, 0x94, [0xff, 0, 0xff, 0, 0xff, 0]), // GPAW
    field(0x1110000300000004, 1, 1, 0x98, [M, 0, M, 0, 0, 0]), // EPTP
    field(0x111000030000000a, 1, 1, 0xa8, [M, 0, M, 0, 0, 0]), // TSC_OFFSET
    field(0x111000030000000b, 1, 1, 0xb0, [M, 0, M, 0, 0, 0]), // TSC_MULTIPLIER
    field(0x111000010000000c, 1, 1, 0xb8, [0xffff, 0, 0xffff, 0, 0xffff, 0]), // TSC_FREQUENCY
    field(0x111000030000000d, 1, 1, 0xb8, [0, 0, 0, 0, 0, 0]), // VIRTUAL_TSC
    field(0x911000010000000e, 1, 1, 0xb8, [0xffff, 0, 0xffff, 0, 0, 0]), // NUM_CPUID_VALUES
    field(0x911000020000000f, 1, 1, 0xdc, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // XBUFF_SIZE
    field(0x9110000300000010, 1, 1, 0xe0, [0, 0, M, 0x1, 0x1, 0x1]), // NOTIFY_ENABLES
    field(0x9110000300000011, 1, 1, 0xe8, [M, M, M, M, 0, 0]), // HP_LOCK_TIMEOUT
    field(0x9110000300000012, 1, 4, 0xf0, [M, 0x1, M, 0x1, 0, 0]), // VM_CTLS
    field(0x1110000300000016, 1, 1, 0x118, [M, 0, M, 0, M, 0]), // CONFIG_FLAGS
    field(0x1110000300000017, 1, 1, 0x120, [0, 0, M, 0, M, 0x1]), // TD_CTLS
    field(0x9110000000000080, 1, 80, 0x134, [0, 0, 0xff, 0, 0, 0]), // CPUID_VALID
    field(0x9110000200000800, 1, 19, 0x190, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // XBUFF_OFFSETS
    field(0x9210000300000000, 1, 1, 0x200, [M, 0, M, 0, 0, 0]), // TD_EPOCH
    field(0x9210000100000001, 1, 2, 0x208, [0xffff, 0, 0xffff, 0, 0, 0]), // REFCOUNT
    field(0x1310000300000000, 6, 1, 0x240, [M, 0, M, 0, M, 0]), // MRTD
    field(0x1310000300000010, 6, 1, 0x270, [M, 0, M, 0, M, 0]), // MRCONFIGID
    field(0x1310000300000018, 6, 1, 0x2a0, [M, 0, M, 0, M, 0]), // MROWNER
    field(0x1310000300000020, 6, 1, 0x2d0, [M, 0, M, 0, M, 0]), // MROWNERCONFIG
    field(0x1310000300000040, 6, 4, 0x300, [0, 0, M, 0, M, 0]), // RTMR
    field(0x9410000300000000, 2, 80, 0x800, [M, 0, M, 0, 0, 0]), // CPUID_VALUES
    field(0x961000030000010a, 1, 1, 0x778, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_ARCH_CAPABILITIES
    field(0x9610000300000480, 1, 1, 0x700, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_BASIC
    field(0x9610000300000485, 1, 1, 0x708, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_MISC
    field(0x9610000300000486, 1, 1, 0x710, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_CR0_FIXED0
    field(0x9610000300000487, 1, 1, 0x718, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_CR0_FIXED1
    field(0x9610000300000488, 1, 1, 0x720, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_CR4_FIXED0
    field(0x9610000300000489, 1, 1, 0x728, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_CR4_FIXED1
    field(0x961000030000048b, 1, 1, 0x730, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_PROCBASED_CTLS2
    field(0x961000030000048c, 1, 1, 0x738, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_EPT_VPID_CAP
    field(0x961000030000048d, 1, 1, 0x740, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_TRUE_PINBASED_CTLS
    field(0x961000030000048e, 1, 1, 0x748, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_TRUE_PROCBASED_CTLS
    field(0x961000030000048f, 1, 1, 0x750, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_TRUE_EXIT_CTLS
    field(0x9610000300000490, 1, 1, 0x758, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_TRUE_ENTRY_CTLS
    field(0x9610000300000491, 1, 1, 0x760, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_VMFUNC
    field(0x9610000300000492, 1, 1, 0x768, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_PROCBASED_CTLS3
    field(0x9610000300000493, 1, 1, 0x770, [0, 0, M, 0, 0, 0]), // VIRTUAL_IA32_VMX_EXIT_CTLS2
    field(0x9810000000000001, 1, 1, 0x580, [0xff, 0, 0xff, 0, 0, 0]), // MIG_DEC_KEY_SET
    field(0x9810000200000002, 1, 1, 0x584, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // EXPORT_COUNT
    field(0x9810000200000003, 1, 1, 0x588, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // IMPORT_COUNT
    field(0x9810000200000004, 1, 1, 0x58c, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // MIG_EPOCH
    field(0x9810000300000005, 1, 1, 0x590, [M, 0, M, 0, 0, 0]), // BW_EPOCH
    field(0x9810000300000006, 1, 1, 0x598, [M, 0, M, 0, 0, 0]), // TOTAL_MB_COUNT
    field(0x9810000300000010, 4, 1, 0x5a0, [0, 0, M, 0, 0, 0]), // MIG_DEC_KEY
    field(0x9810000300000014, 4, 1, 0x5c0, [0, 0, M, 0, 0, 0]), // MIG_DEC_WORKING_KEY
    field(0x9810000300000018, 4, 1, 0x5e0, [0, 0, M, 0, 0, 0]), // MIG_ENC_KEY
    field(0x981000030000001c, 4, 1, 0x600, [0, 0, M, 0, 0, 0]), // MIG_ENC_WORKING_KEY
    field(0x9810000100000020, 1, 1, 0x620, [0xffff, 0, 0xffff, 0, 0, 0]), // MIG_VERSION
    field(0x9810000100000021, 1, 1, 0x622, [0xffff, 0, 0xffff, 0, 0, 0]), // MIG_WORKING_VERSION
    field(0x9810000300000030, 1, 1, 0x628, [M, 0, M, 0, 0, 0]), // DIRTY_COUNT
    field(0x9810000300000031, 1, 1, 0x630, [M, 0, M, 0, 0, 0]), // MIG_COUNT
    field(0x9810000100000032, 1, 1, 0x638, [0xffff, 0, 0xffff, 0, 0, 0]), // NUM_MIGS
    field(0x9810000200000034, 1, 1, 0x63c, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // NUM_MIGRATED_VCPUS
    field(0x9810000300000040, 4, 1, 0x640, [M, 0, M, 0, M, 0]), // PRE_IMPORT_UUID
    field(0x9910000300000000, 6, 1, 0xd00, [M, 0, M, 0, M, 0]), // SERVTD_HASH
    field(0x9910000100000006, 1, 1, 0xd30, [0xffff, 0, 0xffff, 0, 0xffff, 0]), // SERVTD_NUM
    field(0x9910000300000080, 16, 1, 0xd90, [M, 0, M, 0, M, 0]), // SERVTD_BINDINGS_TABLE
    field(0x9a10000300000000, 1, 512, 0x5000, [M, 0, M, 0, 0, 0]), // MIGSC_LINKS
    field(0x2010000300000000, 1, 512, 0x2000, [0, 0, M, 0, 0, 0]), // MSR_BITMAPS
    field(0x2110000300000000, 1, 512, 0x3000, [0, 0, M, 0, 0, 0]), // SEPT_ROOT
    field(0x2510000300000000, 1, 512, 0x6000, [0, 0, M, 0, 0, 0]), // L2_SEPT_ROOT_1
    field(0x2910000300000000, 1, 512, 0x7000, [0, 0, M, 0, 0, 0]), // L2_SEPT_ROOT_2
    field(0x2d10000300000000, 1, 512, 0x8000, [0, 0, M, 0, 0, 0]), // L2_SEPT_ROOT_3
];

/// vCPU fields (TDH.VP.RD/WR, TDG.VP.RD/WR); offsets are within TDVPS.
#[rustfmt::skip]
pub const VP: &[Field] = &[
    field(0x0120000300000000, 1, 128, 0x2000, [0, 0, M, 0, 0, 0]), // VAPIC
    field(0x0220000200000000, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // EXIT_REASON
    field(0x0220000200000001, 1, 1, 0x4, [0, 0, 0xffffffff, 0, 0, 0]), // VALID
    field(0x0220000300000002, 1, 1, 0x8, [0, 0, M, 0, 0, 0]), // EXIT_QUALIFICATION
    field(0x0220000300000003, 1, 1, 0x10, [0, 0, M, 0, 0, 0]), // GLA
    field(0x0220000300000004, 1, 1, 0x18, [0, 0, M, 0, 0, 0]), // GPA
    field(0x0220000100000005, 1, 1, 0x20, [0, 0, 0xffff, 0, 0, 0]), // EPTP_INDEX
    field(0x8220000200000010, 1, 1, 0x24, [0, 0, 0xffffffff, 0, 0, 0]), // INSTRUCTION_LENGTH
    field(0x8220000200000011, 1, 1, 0x28, [0, 0, 0xffffffff, 0, 0, 0]), // INSTRUCTION_INFORMATION
    field(0x1020000300000000, 1, 1, 0x980, [0, 0, M, M, 0, 0]), // RAX
    field(0x1020000300000001, 1, 1, 0x988, [0, 0, M, M, 0, 0]), // RCX
    field(0x1020000300000002, 1, 1, 0x990, [0, 0, M, M, 0, 0]), // RDX
    field(0x1020000300000003, 1, 1, 0x998, [0, 0, M, M, 0, 0]), // RBX
    field(0x1020000300000004, 1, 1, 0x9a0, [0, 0, 0, 0, 0, 0]), // RSP_PLACEHOLDER
    field(0x1020000300000005, 1, 1, 0x9a8, [0, 0, M, M, 0, 0]), // RBP
    field(0x1020000300000006, 1, 1, 0x9b0, [0, 0, M, M, 0, 0]), // RSI
    field(0x1020000300000007, 1, 1, 0x9b8, [0, 0, M, M, 0, 0]), // RDI
    field(0x1020000300000008, 1, 1, 0x9c0, [0, 0, M, M, 0, 0]), // R8
    field(0x1020000300000009, 1, 1, 0x9c8, [0, 0, M, M, 0, 0]), // R9
    field(0x102000030000000a, 1, 1, 0x9d0, [0, 0, M, M, 0, 0]), // R10
    field(0x102000030000000b, 1, 1, 0x9d8, [0, 0, M, M, 0, 0]), // R11
    field(0x102000030000000c, 1, 1, 0x9e0, [0, 0, M, M, 0, 0]), // R12
    field(0x102000030000000d, 1, 1, 0x9e8, [0, 0, M, M, 0, 0]), // R13
    field(0x102000030000000e, 1, 1, 0x9f0, [0, 0, M, M, 0, 0]), // R14
    field(0x102000030000000f, 1, 1, 0x9f8, [0, 0, M, M, 0, 0]), // R15
    field(0x1120000300000000, 1, 1, 0xa00, [0, 0, M, M, 0, 0]), // DR0
    field(0x1120000300000001, 1, 1, 0xa08, [0, 0, M, M, 0, 0]), // DR1
    field(0x1120000300000002, 1, 1, 0xa10, [0, 0, M, M, 0, 0]), // DR2
    field(0x1120000300000003, 1, 1, 0xa18, [0, 0, M, M, 0, 0]), // DR3
    field(0x1120000300000006, 1, 1, 0xa20, [0, 0, M, 0xffffffff, 0, 0]), // DR6
    field(0x1120000300000020, 1, 1, 0xa28, [0, 0, M, 0, 0, 0]), // XCR0
    field(0x1120000300000028, 1, 1, 0xa30, [0, 0, M, M, 0, 0]), // CR2
    field(0x9120000300000100, 1, 1, 0xa78, [M, 0, M, 0, 0, 0]), // VCPU_STATE_DETAILS
    field(0x1220000300000000, 1, 1536, 0x3000, [0, 0, M, M, 0, 0]), // XBUFF
    field(0x1320000300000048, 1, 1, 0xa80, [0, 0, M, M, 0, 0]), // IA32_SPEC_CTRL
    field(0x13200003000000e1, 1, 1, 0xa88, [0, 0, M, M, 0, 0]), // IA32_UMWAIT_CONTROL
    field(0x1320000300000122, 1, 1, 0xa90, [0, 0, M, M, 0, 0]), // IA32_TSX_CTRL
    field(0x1320000300000186, 1, 8, 0xa98, [0, 0, M, M, 0, 0]), // IA32_PERFEVTSELx
    field(0x13200003000001a6, 1, 2, 0xad8, [0, 0, M, M, 0, 0]), // MSR_OFFCORE_RSPx
    field(0x13200003000001c4, 1, 1, 0xae8, [0, 0, M, 0, 0, 0]), // IA32_XFD
    field(0x13200003000001c5, 1, 1, 0xaf0, [0, 0, M, 0, 0, 0]), // IA32_XFD_ERR
    field(0x1320000300000309, 1, 7, 0xaf8, [0, 0, M, M, 0, 0]), // IA32_FIXED_CTRx
    field(0x1320000300000329, 1, 1, 0xb30, [0, 0, M, M, 0, 0]), // IA32_PERF_METRICS
    field(0x132000030000038d, 1, 1, 0xb38, [0, 0, M, M, 0, 0]), // IA32_FIXED_CTR_CTRL
    field(0x132000030000038e, 1, 1, 0xb40, [0, 0, M, 0, 0, 0]), // IA32_PERF_GLOBAL_STATUS
    field(0x13200003000003f1, 1, 1, 0xb48, [0, 0, M, M, 0, 0]), // IA32_PEBS_ENABLE
    field(0x13200003000003f2, 1, 1, 0xb50, [0, 0, M, M, 0, 0]), // MSR_PEBS_DATA_CFG
    field(0x13200003000003f6, 1, 1, 0xb58, [0, 0, M, M, 0, 0]), // MSR_PEBS_LD_LAT
    field(0x13200003000003f7, 1, 1, 0xb60, [0, 0, M, M, 0, 0]), // MSR_PEBS_FRONTEND
    field(0x13200003000004c1, 1, 8, 0xb68, [0, 0, M, M, 0, 0]), // IA32_A_PMCx
    field(0x1320000300000600, 1, 1, 0xba8, [0, 0, M, M, 0, 0]), // IA32_DS_AREA
    field(0x1320000300000da0, 1, 1, 0xc70, [0, 0, M, 0, 0, 0]), // IA32_XSS
    field(0x13200003000014cf, 1, 1, 0xc78, [0, 0, M, M, 0, 0]), // IA32_LBR_DEPTH
    field(0x1320000300001b01, 1, 1, 0xc80, [0, 0, M, M, 0, 0]), // IA32_UARCH_MISC_CTL
    field(0x1320000300002081, 1, 1, 0xc88, [0, 0, M, 0, 0, 0]), // IA32_STAR
    field(0x1320000300002082, 1, 1, 0xc90, [0, 0, M, 0, 0, 0]), // IA32_LSTAR
    field(0x1320000300002084, 1, 1, 0xc98, [0, 0, M, 0, 0, 0]), // IA32_FMASK
    field(0x1320000300002102, 1, 1, 0xca0, [0, 0, M, 0, 0, 0]), // IA32_KERNEL_GS_BASE
    field(0x1320000300002103, 1, 1, 0xca8, [0, 0, M, M, 0, 0]), // IA32_TSC_AUX
    field(0xa020000000000000, 1, 1, 0x100, [0, 0, 0xff, 0, 0, 0]), // VCPU_STATE
    field(0xa020000200000002, 1, 1, 0x102, [0xffffffff, 0, 0xffffffff, 0, 0xffffffff, 0]), // VCPU_INDEX
    field(0xa020000000000003, 1, 1, 0x107, [0xff, 0, 0xff, 0, 0, 0]), // NUM_TDVPS_PAGES
    field(0xa020000200000004, 1, 1, 0x1c8, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // ASSOC_LPID
    field(0xa020000300000006, 1, 1, 0x1d0, [M, 0, M, 0, 0, 0]), // VCPU_EPOCH
    field(0xa020000000000007, 1, 1, 0x1d8, [0xff, 0, 0xff, 0, 0xff, 0xff]), // CPUID_SUPERVISOR_VE
    field(0xa020000000000008, 1, 1, 0x1d9, [0xff, 0, 0xff, 0, 0xff, 0xff]), // CPUID_USER_VE
    field(0xa02000030000000a, 1, 1, 0x1e0, [0, 0, M, 0, 0, 0]), // LAST_EXIT_TSC
    field(0x202000000000000b, 1, 1, 0x1e8, [0xff, 0xff, 0xff, 0xff, 0, 0]), // PEND_NMI
    field(0x202000030000000c, 1, 1, 0x1f0, [M, 0, M, M, 0, 0]), // XFAM
    field(0xa02000000000000d, 1, 1, 0x1f8, [0, 0, 0xff, 0, 0, 0]), // LAST_EPF_GPA_LIST_IDX
    field(0xa02000000000000e, 1, 1, 0x1f9, [0, 0, 0xff, 0, 0, 0]), // POSSIBLY_EPF_STEPPING
    field(0xa02000000000000f, 1, 1, 0x101, [0, 0, 0xff, 0, 0, 0]), // LAST_TD_EXIT
    field(0xa020000300000010, 1, 15, 0x108, [M, 0, M, 0, 0, 0]), // TDVPS_PAGE_PA
    field(0xa020000300000030, 1, 1, 0x200, [0, 0, M, 0, 0, 0]), // HP_LOCK_BUSY_START
    field(0xa020000000000031, 1, 1, 0x208, [0, 0, 0xff, 0, 0, 0]), // HP_LOCK_BUSY
    field(0xa020000300000032, 1, 1, 0x20e, [0, 0, M, 0, 0, 0]), // LAST_SEAMDB_INDEX
    field(0xa020000000000040, 1, 1, 0x1e9, [0, 0, 0xff, 0, 0, 0]), // NMI_UNBLOCKING_DUE_TO_IRET
    field(0xa020000100000041, 1, 1, 0x216, [0, 0, 0xffff, 0, 0, 0]), // CURR_VM
    field(0xa020000000000042, 1, 1, 0x218, [0, 0, 0xff, 0, 0, 0]), // L2_EXIT_HOST_ROUTING
    field(0xa020000000000044, 1, 4, 0x21a, [0, 0, 0xff, 0, 0, 0]), // VM_LAUNCHED
    field(0xa020000000000048, 1, 4, 0x21e, [0, 0, 0xff, 0, 0, 0]), // LP_DEPENDENT_HPA_UPDATED
    field(0xa02000000000004c, 1, 4, 0x222, [0, 0, 0xff, 0, 0, 0]), // MODULE_DEPENDENT_FIELDS_UPDATED
    field(0xa020000300000050, 1, 4, 0x228, [0, 0, M, 0x7, M, 0x7]), // L2_CTLS
    field(0xa020000300000054, 1, 4, 0x248, [0, 0, M, 0x7, 0, 0]), // L2_DEBUG_CTLS
    field(0xa020000300000058, 1, 4, 0x268, [0, 0, M, 0, M, M]), // TSC_DEADLINE
    field(0xa02000030000005c, 1, 4, 0x288, [0, 0, M, 0, 0, 0]), // SHADOW_TSC_DEADLINE
    field(0xa020000300000080, 1, 1, 0x2a8, [0, 0, M, 0xffffffff9fffffdf, 0, 0]), // BASE_L2_CR0_GUEST_HOST_MASK
    field(0xa020000300000081, 1, 1, 0x2b0, [0, 0, M, 0xffffffff9fffffdf, 0, 0]), // BASE_L2_CR0_READ_SHADOW
    field(0xa020000300000082, 1, 1, 0x2b8, [0, 0, M, 0xffffffffffff9fbf, 0, 0]), // BASE_L2_CR4_GUEST_HOST_MASK
    field(0xa020000300000083, 1, 1, 0x2c0, [0, 0, M, 0xffffffff9fffffdf, 0, 0]), // BASE_L2_CR4_READ_SHADOW
    field(0xa020000300000084, 1, 4, 0x2c8, [0, 0, M, 0, 0, 0]), // SHADOW_CR0_GUEST_HOST_MASK
    field(0xa020000300000088, 1, 4, 0x2e8, [0, 0, M, 0, 0, 0]), // SHADOW_CR0_READ_SHADOW
    field(0xa02000030000008c, 1, 4, 0x308, [0, 0, M, 0, 0, 0]), // SHADOW_CR4_GUEST_HOST_MASK
    field(0xa020000300000090, 1, 4, 0x328, [0, 0, M, 0, 0, 0]), // SHADOW_CR4_READ_SHADOW
    field(0xa020000200000094, 1, 4, 0x348, [0, 0, 0xffffffff, 0, 0, 0]), // SHADOW_INSTRUCTION_TIMEOUT_CONTROL
    field(0xa020000300000098, 1, 4, 0x358, [0, 0, M, 0, 0, 0]), // SHADOW_PID_HPA
    field(0xa02000020000009c, 1, 4, 0x378, [0, 0, 0xffffffff, 0, 0, 0]), // SHADOW_PINBASED_EXEC_CTLS
    field(0xa0200002000000a4, 1, 4, 0x388, [0, 0, 0xffffffff, 0, 0, 0]), // SHADOW_PLE_GAP
    field(0xa0200002000000a8, 1, 4, 0x398, [0, 0, 0xffffffff, 0, 0, 0]), // SHADOW_PLE_WINDOW
    field(0xa0200001000000ac, 1, 4, 0x3a8, [0, 0, 0xffff, 0, 0, 0]), // SHADOW_POSTED_INT_NOTIFICATION_VECTOR
    field(0xa0200002000000b0, 1, 4, 0x3b0, [0, 0, 0xffffffff, 0, 0, 0]), // SHADOW_PROCBASED_EXEC_CTLS2
    field(0xa0200003000000b4, 1, 4, 0x3c0, [0, 0, M, 0, 0, 0]), // SHADOW_SHARED_EPTP
    field(0xa020000300000100, 1, 4, 0x3e0, [0, 0, M, 0, 0, 0]), // L2_ENTER_GUEST_STATE_GPA
    field(0xa020000300000104, 1, 4, 0x400, [0, 0, M, 0, 0, 0]), // L2_ENTER_GUEST_STATE_HPA
    field(0xa020000300000108, 1, 4, 0x420, [0, 0, M, 0, 0, 0]), // VE_INFO_GPA
    field(0xa02000030000010c, 1, 4, 0x440, [0, 0, M, 0, 0, 0]), // VE_INFO_HPA
    field(0xa020000300000110, 1, 4, 0x460, [0, 0, M, 0, 0, 0]), // L2_VAPIC_GPA
    field(0xa020000300000114, 1, 4, 0x480, [0, 0, M, 0, 0, 0]), // L2_VAPIC_HPA
    field(0xa120000000000000, 1, 128, 0x900, [0, 0, 0xff, 0, 0xff, 0x3]), // CPUID_CONTROL
    field(0xa220000300000200, 1, 32, 0x700, [0, 0, M, 0, 0, 0]), // LAST_EPF_GPA_LIST
    field(0x2420000000000000, 1, 4096, 0x6000, [0, 0, 0, 0, 0, 0]), // L2_VMCS_1
    field(0x2520000300000000, 1, 512, 0x7000, [0, 0, M, M, M, M]), // L2_MSR_BITMAPS_1
    field(0xa620000300000000, 1, 512, 0x8000, [0, 0, M, 0, 0, 0]), // L2_SHADOW_MSR_BITMAPS_1
    field(0x2c20000000000000, 1, 4096, 0x9000, [0, 0, 0, 0, 0, 0]), // L2_VMCS_2
    field(0x2d20000300000000, 1, 512, 0xa000, [0, 0, M, M, M, M]), // L2_MSR_BITMAPS_2
    field(0xae20000300000000, 1, 512, 0xb000, [0, 0, M, 0, 0, 0]), // L2_SHADOW_MSR_BITMAPS_2
    field(0x3420000000000000, 1, 4096, 0xc000, [0, 0, 0, 0, 0, 0]), // L2_VMCS_3
    field(0x3520000300000000, 1, 512, 0xd000, [0, 0, M, M, M, M]), // L2_MSR_BITMAPS_3
    field(0xb620000300000000, 1, 512, 0xe000, [0, 0, M, 0, 0, 0]), // L2_SHADOW_MSR_BITMAPS_3
];

/// TD VMCS fields; the field code is the VMCS encoding.
#[rustfmt::skip]
pub const VP_VMCS: &[Field] = &[
    field(0x0024000100000000, 1, 1, 0x0, [0, 0, 0xffff, 0, 0, 0]), // VPID
    field(0x0024000100000002, 1, 1, 0x0, [0xffff, 0xffff, 0xffff, 0xffff, 0, 0]), // Posted-interrupt notification vector
    field(0x0024000100000004, 1, 1, 0x0, [0, 0, 0xffff, 0, 0, 0]), // EPTP index
    field(0x0024000100000006, 1, 1, 0x0, [0, 0, 0xffff, 0, 0, 0]), // HLAT prefix size
    field(0x0024000100000800, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest ES selector
    field(0x0024000100000802, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest CS selector
    field(0x0024000100000804, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest SS selector
    field(0x0024000100000806, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest DS selector
    field(0x0024000100000808, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest FS selector
    field(0x002400010000080a, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest GS selector
    field(0x002400010000080c, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest LDTR selector
    field(0x002400010000080e, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest TR selector
    field(0x0024000100000810, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest Interrupt Status
    field(0x0024000100000812, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // PML Index
    field(0x0024000100000814, 1, 1, 0x0, [0, 0, 0xffff, 0xffff, 0, 0]), // Guest UINV
    field(0x0024000300002000, 1, 2, 0x0, [0, 0, M, 0, 0, 0]), // I/O-Bitmap Address n
    field(0x0024000300002004, 1, 1, 0x0, [M, 0, M, 0, 0, 0]), // MSR-Bitmap Address
    field(0x0024000300002006, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // VM-exit MSR-store address
    field(0x0024000300002008, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // VM-exit MSR-load address
    field(0x002400030000200a, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // VM-entry MSR-load address
    field(0x002400030000200c, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // Executive-VMCS Pointer
    field(0x002400030000200e, 1, 1, 0x0, [M, 0, M, 0xfffffffffffff000, 0, 0]), // PML address
    field(0x0024000300002010, 1, 1, 0x0, [M, 0, M, M, 0, 0]), // Time-Stamp Counter Offset
    field(0x0024000300002012, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // Virtual-APIC address
    field(0x0024000300002014, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // APIC-access address
    field(0x0024000300002016, 1, 1, 0x0, [M, 0xffffffffffffffc0, M, 0xffffffffffffffc0, 0, 0]), // Posted-interrupt descriptor address
    field(0x0024000300002018, 1, 1, 0x0, [M, 0, M, 0, 0, 0]), // VM-Function Controls
    field(0x002400030000201a, 1, 1, 0x0, [M, 0, M, 0, 0, 0]), // EPTP
    field(0x002400030000201c, 1, 4, 0x0, [0, 0, M, 0, 0, 0]), // EOI-exit bitmap n
    field(0x0024000300002024, 1, 1, 0x0, [M, 0, M, 0, 0, 0]), // EPTP-list address
    field(0x0024000300002026, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // VMREAD-bitmap address
    field(0x0024000300002028, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // VMWRITE-bitmap address
    field(0x002400030000202a, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // Virtualization-exception information address
    field(0x002400030000202c, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // XSS-Exiting Bitmap
    field(0x002400030000202e, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // ENCLS-Exiting Bitmap
    field(0x0024000300002032, 1, 1, 0x0, [M, 0, M, M, 0, 0]), // Time-Stamp Counter Multiplier
    field(0x0024000300002034, 1, 1, 0x0, [0, 0, M, 0x1, 0, 0]), // Tertiary Processor-Based VM-Exection Controls
    field(0x0024000300002036, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // ENCLV-Exiting Bitmap
    field(0x0024000300002038, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // low PASID directory address
    field(0x002400030000203a, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // high PASID directory address
    field(0x002400030000203c, 1, 1, 0x0, [0xffffffffff000, 0xffffffffff000, M, 0xffffffffff000, 0, 0]), // Shared EPTP
    field(0x002400030000203e, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // PCONFIG-Exiting Bitmap
    field(0x0024000300002040, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // HLAT pointer
    field(0x002400030000204a, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // IA32_SPEC_CTRL mask
    field(0x002400030000204c, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // IA32_SPEC_CTRL shadow
    field(0x0024000300002400, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // Guest-physical Address
    field(0x0024000300002800, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // VMCS Link Pointer
    field(0x0024000300002802, 1, 1, 0x0, [0, 0, M, 0xffc7, 0, 0]), // IA32_DEBUGCTL
    field(0x0024000300002804, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_PAT
    field(0x0024000300002806, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_EFER
    field(0x0024000300002808, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_PERF_GLOBAL_CTRL
    field(0x002400030000280a, 1, 4, 0x0, [0, 0, M, 0, 0, 0]), // PDPTEn
    field(0x0024000300002814, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_RTIT_CTL
    field(0x0024000300002816, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_LBR_CTL
    field(0x0024000300002818, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_GUEST_PKRS
    field(0x0024000200004000, 1, 1, 0x0, [0x80, 0x80, 0xffffffff, 0x80, 0, 0]), // Pin-Based VM-Exection Controls
    field(0x0024000200004002, 1, 1, 0x0, [0, 0, 0xffffffff, 0x69999a04, 0, 0]), // Primary Processor-Based VM-Exection Controls
    field(0x0024000200004004, 1, 1, 0x0, [0, 0, 0xffffffff, 0xfffbffff, 0, 0]), // Exception Bitmap
    field(0x0024000200004006, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Page-fault error-code mask
    field(0x0024000200004008, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Page-fault error-code match
    field(0x002400020000400a, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // CR3-Target Count
    field(0x002400020000400c, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-Exit Controls
    field(0x002400020000400e, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-exit MSR-store count
    field(0x0024000200004010, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-exit MSR-load count
    field(0x0024000200004012, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-Entry Controls
    field(0x0024000200004014, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-entry MSR-load count
    field(0x0024000200004016, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-entry interruption information
    field(0x0024000200004018, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-entry exception error code
    field(0x002400020000401a, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-entry instruction length
    field(0x002400020000401c, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // TPR threshold
    field(0x002400020000401e, 1, 1, 0x0, [0xc0000000, 0xc0000000, 0xffffffff, 0xc0130c04, 0, 0]), // Secondary Processor-Based VM-Exection Controls
    field(0x0024000200004020, 1, 1, 0x0, [0xffffffff, 0, 0xffffffff, 0xffffffff, 0, 0]), // PLE_GAP
    field(0x0024000200004022, 1, 1, 0x0, [0xffffffff, 0, 0xffffffff, 0xffffffff, 0, 0]), // PLE_Window
    field(0x0024000200004024, 1, 1, 0x0, [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0, 0]), // Instruction Timeout Control
    field(0x0024000200004026, 1, 1, 0x0, [0xffffffff, 0, 0xffffffff, 0, 0, 0]), // TD HKID
    field(0x0024000200004400, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-instruction error
    field(0x0024000200004402, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // Exit reason
    field(0x0024000200004404, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-exit interruption information
    field(0x0024000200004406, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-exit interruption error code
    field(0x0024000200004408, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // IDT-vectoring information
    field(0x002400020000440a, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // IDT-vectoring error code
    field(0x002400020000440c, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-exit instruction length
    field(0x002400020000440e, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // VM-exit instruction information
    field(0x0024000200004800, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest ES limit
    field(0x0024000200004802, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest CS limit
    field(0x0024000200004804, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest SS limit
    field(0x0024000200004806, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest DS limit
    field(0x0024000200004808, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest FS limit
    field(0x002400020000480a, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest GS limit
    field(0x002400020000480c, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest LDTR limit
    field(0x002400020000480e, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest TR limit
    field(0x0024000200004810, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest GDTR limit
    field(0x0024000200004812, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest IDTR limit
    field(0x0024000200004814, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest ES access rights
    field(0x0024000200004816, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest CS access rights
    field(0x0024000200004818, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest SS access rights
    field(0x002400020000481a, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest DS access rights
    field(0x002400020000481c, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest FS access rights
    field(0x002400020000481e, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest GS access rights
    field(0x0024000200004820, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest LDTR access rights
    field(0x0024000200004822, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Guest TR access rights
    field(0x0024000200004824, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // Interruptibility State
    field(0x0024000200004826, 1, 1, 0x0, [0, 0, 0xffffffff, 0, 0, 0]), // Activity State
    field(0x0024000200004828, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // Guest SMBASE
    field(0x002400020000482a, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // IA32_SYSENTER_CS
    field(0x002400020000482e, 1, 1, 0x0, [0, 0, 0xffffffff, 0xffffffff, 0, 0]), // VMX-Preemption Timer Value
    field(0x0024000300006000, 1, 1, 0x0, [0, 0, M, 0xffffffff9fffffde, 0, 0]), // CR0 Guest/Host Mask
    field(0x0024000300006002, 1, 1, 0x0, [0, 0, M, 0xffffffffffff9fbf, 0, 0]), // CR4 Guest/Host Mask
    field(0x0024000300006004, 1, 1, 0x0, [0, 0, M, 0xffffffffffffffde, 0, 0]), // CR0 Read Shadow
    field(0x0024000300006006, 1, 1, 0x0, [0, 0, M, 0xffffffffffffffbf, 0, 0]), // CR4 Read Shadow
    field(0x0024000300006008, 1, 4, 0x0, [0, 0, M, M, 0, 0]), // CR3-Target Values
    field(0x0024000300006400, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // Exit qualification
    field(0x0024000300006402, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // I/O RCX
    field(0x0024000300006404, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // I/O RSI
    field(0x0024000300006406, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // I/O RDI
    field(0x0024000300006408, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // I/O RIP
    field(0x002400030000640a, 1, 1, 0x0, [0, 0, M, 0, 0, 0]), // Guest-Linear Address
    field(0x0024000300006800, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest CR0
    field(0x0024000300006802, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest CR3
    field(0x0024000300006804, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest CR4
    field(0x0024000300006806, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest ES base
    field(0x0024000300006808, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest CS base
    field(0x002400030000680a, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest SS base
    field(0x002400030000680c, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest DS base
    field(0x002400030000680e, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest FS base
    field(0x0024000300006810, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest GS base
    field(0x0024000300006812, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest LDTR base
    field(0x0024000300006814, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest TR base
    field(0x0024000300006816, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest GDTR base
    field(0x0024000300006818, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest IDTR base
    field(0x002400030000681a, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest DR7
    field(0x002400030000681c, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest RSP
    field(0x002400030000681e, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest RIP
    field(0x0024000300006820, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Guest RFLAGS
    field(0x0024000300006822, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // Pending Debug Exceptions
    field(0x0024000300006824, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_SYSENTER_ESP
    field(0x0024000300006826, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // IA32_SYSENTER_EIP
    field(0x0024000300006828, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // GUEST_IA32_S_CET
    field(0x002400030000682a, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // GUEST_SSP
    field(0x002400030000682c, 1, 1, 0x0, [0, 0, M, M, 0, 0]), // GUEST_IA32_INTERRUPT_SSP_TABLE_ADDR
    field(0x0024000300006c08, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // Host GS Base
    field(0x0024000300006c14, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // Host RSP
    field(0x0024000300006c16, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // Host RIP
    field(0x0024000300006c1a, 1, 1, 0x0, [0, 0, 0, 0, 0, 0]), // HOST_SSP
];

/// Identifiers of single fields by name.
#[allow(missing_docs)]
pub mod id {
    use super::FieldId;
    pub const SYS_NUM_PKGS: FieldId = FieldId(0x0000000200000000);
    pub const SYS_PKG_FMS: FieldId = FieldId(0x0000000200000001);
    pub const SYS_VENDOR_ID: FieldId = FieldId(0x0800000200000000);
    pub const SYS_BUILD_DATE: FieldId = FieldId(0x8800000200000001);
    pub const SYS_BUILD_NUM: FieldId = FieldId(0x8800000100000002);
    pub const SYS_MINOR_VERSION: FieldId = FieldId(0x0800000100000003);
    pub const SYS_MAJOR_VERSION: FieldId = FieldId(0x0800000100000004);
    pub const SYS_UPDATE_VERSION: FieldId = FieldId(0x0800000100000005);
    pub const SYS_INTERNAL_VERSION: FieldId = FieldId(0x0800000100000006);
    pub const SYS_MODULE_HV: FieldId = FieldId(0x8900000100000000);
    pub const SYS_MIN_UPDATE_HV: FieldId = FieldId(0x8900000100000001);
    pub const SYS_NO_DOWNGRADE: FieldId = FieldId(0x8900000000000002);
    pub const SYS_NUM_HANDOFF_PAGES: FieldId = FieldId(0x8900000100000003);
    pub const SYS_HANDOFF_DATA_VALID: FieldId = FieldId(0x8900000000000004);
    pub const SYS_HANDOFF_DATA_HV: FieldId = FieldId(0x8900000100000005);
    pub const SYS_HANDOFF_DATA_SIZE: FieldId = FieldId(0x8900000200000006);
    pub const SYS_ATTRIBUTES: FieldId = FieldId(0x0a00000200000000);
    pub const SYS_NUM_TDX_FEATURES: FieldId = FieldId(0x0a00000000000001);
    pub const SYS_TDX_FEATURES0: FieldId = FieldId(0x0a00000300000008);
    pub const SYS_NUM_CMRS: FieldId = FieldId(0x9000000100000000);
    pub const SYS_CMR_BASE: FieldId = FieldId(0x9000000300000080);
    pub const SYS_CMR_SIZE: FieldId = FieldId(0x9000000300000100);
    pub const SYS_MAX_TDMRS: FieldId = FieldId(0x9100000100000008);
    pub const SYS_MAX_RESERVED_PER_TDMR: FieldId = FieldId(0x9100000100000009);
    pub const SYS_PAMT_4K_ENTRY_SIZE: FieldId = FieldId(0x9100000100000010);
    pub const SYS_PAMT_2M_ENTRY_SIZE: FieldId = FieldId(0x9100000100000011);
    pub const SYS_PAMT_1G_ENTRY_SIZE: FieldId = FieldId(0x9100000100000012);
    pub const SYS_TDR_BASE_SIZE: FieldId = FieldId(0x9800000100000000);
    pub const SYS_TDCS_BASE_SIZE: FieldId = FieldId(0x9800000100000100);
    pub const SYS_TDCS_SIZE_PER_L2_VM: FieldId = FieldId(0x9800000100000101);
    pub const SYS_TDVPS_BASE_SIZE: FieldId = FieldId(0x9800000100000200);
    pub const SYS_TDVPS_SIZE_PER_L2_VM: FieldId = FieldId(0x9800000100000201);
    pub const SYS_ATTRIBUTES_FIXED0: FieldId = FieldId(0x1900000300000000);
    pub const SYS_ATTRIBUTES_FIXED1: FieldId = FieldId(0x1900000300000001);
    pub const SYS_XFAM_FIXED0: FieldId = FieldId(0x1900000300000002);
    pub const SYS_XFAM_FIXED1: FieldId = FieldId(0x1900000300000003);
    pub const SYS_NUM_CPUID_CONFIG: FieldId = FieldId(0x9900000100000004);
    pub const SYS_CONFIG_FLAGS_FIXED0: FieldId = FieldId(0x9900000300000006);
    pub const SYS_CONFIG_FLAGS_FIXED1: FieldId = FieldId(0x9900000300000007);
    pub const SYS_CPUID_CONFIG_LEAVES: FieldId = FieldId(0x9900000300000400);
    pub const SYS_CPUID_CONFIG_VALUES: FieldId = FieldId(0x9900000300000500);
    pub const SYS_IA32_ARCH_CAPABILITIES_CONFIG_MASK: FieldId = FieldId(0x9900000300000600);
    pub const SYS_NUM_ALLOWED_FMS: FieldId = FieldId(0x9900000100000800);
    pub const SYS_NUM_DISALLOWED_FMS: FieldId = FieldId(0x9900000100000801);
    pub const SYS_ALLOWED_FMS: FieldId = FieldId(0x9900000300000810);
    pub const SYS_DISALLOWED_FMS: FieldId = FieldId(0x9900000300000850);
    pub const SYS_MIG_ATTRIBUTES: FieldId = FieldId(0xa000000300000000);
    pub const SYS_MIN_EXPORT_VERSION: FieldId = FieldId(0x2000000100000001);
    pub const SYS_MAX_EXPORT_VERSION: FieldId = FieldId(0x2000000100000002);
    pub const SYS_MIN_IMPORT_VERSION: FieldId = FieldId(0x2000000100000003);
    pub const SYS_MAX_IMPORT_VERSION: FieldId = FieldId(0x2000000100000004);
    pub const SYS_MAX_MIGS: FieldId = FieldId(0xa000000100000010);
    pub const SYS_NUM_IMMUTABLE_STATE_PAGES: FieldId = FieldId(0xa000000000000020);
    pub const SYS_NUM_TD_STATE_PAGES: FieldId = FieldId(0xa000000000000021);
    pub const SYS_NUM_VP_STATE_PAGES: FieldId = FieldId(0xa000000000000022);
    pub const SYS_MAX_SERV_TDS: FieldId = FieldId(0xa100000100000000);
    pub const SYS_SERVTD_ATTR_FIXED0: FieldId = FieldId(0xa100000300000001);
    pub const SYS_SERVTD_ATTR_FIXED1: FieldId = FieldId(0xa100000300000002);
    pub const SYS_GUEST_L2_GPA_ATTR_MASK: FieldId = FieldId(0xa200000100000000);
    pub const SYS_VM_CTLS_FIXED0: FieldId = FieldId(0xa200000300000001);
    pub const SYS_VM_CTLS_FIXED1: FieldId = FieldId(0xa200000300000002);
    pub const SYS_VPCU_L2_CTLS_FIXED0: FieldId = FieldId(0xa200000300000003);
    pub const SYS_VCPU_L2_CTLS_FIXED1: FieldId = FieldId(0xa200000300000004);
    pub const SYS_VPCU_L2_DEBUG_CTLS_FIXED0: FieldId = FieldId(0xa200000300000005);
    pub const SYS_VCPU_L2_DEBUG_CTLS_FIXED1: FieldId = FieldId(0xa200000300000006);
    pub const TD_FATAL: FieldId = FieldId(0x8010000000000001);
    pub const TD_NUM_TDCX: FieldId = FieldId(0x8010000200000002);
    pub const TD_CHLDCNT: FieldId = FieldId(0x8010000300000004);
    pub const TD_LIFECYCLE_STATE: FieldId = FieldId(0x8010000200000005);
    pub const TD_TDCX_PA: FieldId = FieldId(0x8010000300000010);
    pub const TD_UUID: FieldId = FieldId(0x8010000300000020);
    pub const TD_HKID: FieldId = FieldId(0x8110000100000001);
    pub const TD_PKG_CONFIG_BITMAP: FieldId = FieldId(0x8110000300000002);
    pub const TD_HANDOFF_VERSION: FieldId = FieldId(0x8210000100000000);
    pub const TD_SEAMDB_INDEX: FieldId = FieldId(0x8210000300000001);
    pub const TD_SEAMDB_NONCE: FieldId = FieldId(0x8210000300000002);
    pub const TD_NUM_VCPUS: FieldId = FieldId(0x9010000200000001);
    pub const TD_NUM_ASSOC_VCPUS: FieldId = FieldId(0x9010000200000002);
    pub const TD_OP_STATE: FieldId = FieldId(0x9010000200000004);
    pub const TD_NUM_L2_VMS: FieldId = FieldId(0x9010000100000005);
    pub const TD_ATTRIBUTES: FieldId = FieldId(0x1110000300000000);
    pub const TD_XFAM: FieldId = FieldId(0x1110000300000001);
    pub const TD_MAX_VCPUS: FieldId = FieldId(0x1110000200000002);
    pub const TD_GPAW: FieldId = FieldId(0x1110000000000003);
    pub const TD_EPTP: FieldId = FieldId(0x1110000300000004);
    pub const TD_TSC_OFFSET: FieldId = FieldId(0x111000030000000a);
    pub const TD_TSC_MULTIPLIER: FieldId = FieldId(0x111000030000000b);
    pub const TD_TSC_FREQUENCY: FieldId = FieldId(0x111000010000000c);
    pub const TD_VIRTUAL_TSC: FieldId = FieldId(0x111000030000000d);
    pub const TD_NUM_CPUID_VALUES: FieldId = FieldId(0x911000010000000e);
    pub const TD_XBUFF_SIZE: FieldId = FieldId(0x911000020000000f);
    pub const TD_NOTIFY_ENABLES: FieldId = FieldId(0x9110000300000010);
    pub const TD_HP_LOCK_TIMEOUT: FieldId = FieldId(0x9110000300000011);
    pub const TD_VM_CTLS: FieldId = FieldId(0x9110000300000012);
    pub const TD_CONFIG_FLAGS: FieldId = FieldId(0x1110000300000016);
    pub const TD_CTLS: FieldId = FieldId(0x1110000300000017);
    pub const TD_CPUID_VALID: FieldId = FieldId(0x9110000000000080);
    pub const TD_XBUFF_OFFSETS: FieldId = FieldId(0x9110000200000800);
    pub const TD_EPOCH: FieldId = FieldId(0x9210000300000000);
    pub const TD_REFCOUNT: FieldId = FieldId(0x9210000100000001);
    pub const TD_MRTD: FieldId = FieldId(0x1310000300000000);
    pub const TD_MRCONFIGID: FieldId = FieldId(0x1310000300000010);
    pub const TD_MROWNER: FieldId = FieldId(0x1310000300000018);
    pub const TD_MROWNERCONFIG: FieldId = FieldId(0x1310000300000020);
    pub const TD_RTMR: FieldId = FieldId(0x1310000300000040);
    pub const TD_CPUID_VALUES: FieldId = FieldId(0x9410000300000000);
    pub const TD_VIRTUAL_IA32_ARCH_CAPABILITIES: FieldId = FieldId(0x961000030000010a);
    pub const TD_VIRTUAL_IA32_VMX_BASIC: FieldId = FieldId(0x9610000300000480);
    pub const TD_VIRTUAL_IA32_VMX_MISC: FieldId = FieldId(0x9610000300000485);
    pub const TD_VIRTUAL_IA32_VMX_CR0_FIXED0: FieldId = FieldId(0x9610000300000486);
    pub const TD_VIRTUAL_IA32_VMX_CR0_FIXED1: FieldId = FieldId(0x9610000300000487);
    pub const TD_VIRTUAL_IA32_VMX_CR4_FIXED0: FieldId = FieldId(0x9610000300000488);
    pub const TD_VIRTUAL_IA32_VMX_CR4_FIXED1: FieldId = FieldId(0x9610000300000489);
    pub const TD_VIRTUAL_IA32_VMX_PROCBASED_CTLS2: FieldId = FieldId(0x961000030000048b);
    pub const TD_VIRTUAL_IA32_VMX_EPT_VPID_CAP: FieldId = FieldId(0x961000030000048c);
    pub const TD_VIRTUAL_IA32_VMX_TRUE_PINBASED_CTLS: FieldId = FieldId(0x961000030000048d);
    pub const TD_VIRTUAL_IA32_VMX_TRUE_PROCBASED_CTLS: FieldId = FieldId(0x961000030000048e);
    pub const TD_VIRTUAL_IA32_VMX_TRUE_EXIT_CTLS: FieldId = FieldId(0x961000030000048f);
    pub const TD_VIRTUAL_IA32_VMX_TRUE_ENTRY_CTLS: FieldId = FieldId(0x9610000300000490);
    pub const TD_VIRTUAL_IA32_VMX_VMFUNC: FieldId = FieldId(0x9610000300000491);
    pub const TD_VIRTUAL_IA32_VMX_PROCBASED_CTLS3: FieldId = FieldId(0x9610000300000492);
    pub const TD_VIRTUAL_IA32_VMX_EXIT_CTLS2: FieldId = FieldId(0x9610000300000493);
    pub const TD_MIG_DEC_KEY_SET: FieldId = FieldId(0x9810000000000001);
    pub const TD_EXPORT_COUNT: FieldId = FieldId(0x9810000200000002);
    pub const TD_IMPORT_COUNT: FieldId = FieldId(0x9810000200000003);
    pub const TD_MIG_EPOCH: FieldId = FieldId(0x9810000200000004);
    pub const TD_BW_EPOCH: FieldId = FieldId(0x9810000300000005);
    pub const TD_TOTAL_MB_COUNT: FieldId = FieldId(0x9810000300000006);
    pub const TD_MIG_DEC_KEY: FieldId = FieldId(0x9810000300000010);
    pub const TD_MIG_DEC_WORKING_KEY: FieldId = FieldId(0x9810000300000014);
    pub const TD_MIG_ENC_KEY: FieldId = FieldId(0x9810000300000018);
    pub const TD_MIG_ENC_WORKING_KEY: FieldId = FieldId(0x981000030000001c);
    pub const TD_MIG_VERSION: FieldId = FieldId(0x9810000100000020);
    pub const TD_MIG_WORKING_VERSION: FieldId = FieldId(0x9810000100000021);
    pub const TD_DIRTY_COUNT: FieldId = FieldId(0x9810000300000030);
    pub const TD_MIG_COUNT: FieldId = FieldId(0x9810000300000031);
    pub const TD_NUM_MIGS: FieldId = FieldId(0x9810000100000032);
    pub const TD_NUM_MIGRATED_VCPUS: FieldId = FieldId(0x9810000200000034);
    pub const TD_PRE_IMPORT_UUID: FieldId = FieldId(0x9810000300000040);
    pub const TD_SERVTD_HASH: FieldId = FieldId(0x9910000300000000);
    pub const TD_SERVTD_NUM: FieldId = FieldId(0x9910000100000006);
    pub const TD_SERVTD_BINDINGS_TABLE: FieldId = FieldId(0x9910000300000080);
    pub const TD_MIGSC_LINKS: FieldId = FieldId(0x9a10000300000000);
    pub const TD_MSR_BITMAPS: FieldId = FieldId(0x2010000300000000);
    pub const TD_SEPT_ROOT: FieldId = FieldId(0x2110000300000000);
    pub const TD_L2_SEPT_ROOT_1: FieldId = FieldId(0x2510000300000000);
    pub const TD_L2_SEPT_ROOT_2: FieldId = FieldId(0x2910000300000000);
    pub const TD_L2_SEPT_ROOT_3: FieldId = FieldId(0x2d10000300000000);
    pub const VP_VAPIC: FieldId = FieldId(0x0120000300000000);
    pub const VP_EXIT_REASON: FieldId = FieldId(0x0220000200000000);
    pub const VP_VALID: FieldId = FieldId(0x0220000200000001);
    pub const VP_EXIT_QUALIFICATION: FieldId = FieldId(0x0220000300000002);
    pub const VP_GLA: FieldId = FieldId(0x0220000300000003);
    pub const VP_GPA: FieldId = FieldId(0x0220000300000004);
    pub const VP_EPTP_INDEX: FieldId = FieldId(0x0220000100000005);
    pub const VP_INSTRUCTION_LENGTH: FieldId = FieldId(0x8220000200000010);
    pub const VP_INSTRUCTION_INFORMATION: FieldId = FieldId(0x8220000200000011);
    pub const VP_RAX: FieldId = FieldId(0x1020000300000000);
    pub const VP_RCX: FieldId = FieldId(0x1020000300000001);
    pub const VP_RDX: FieldId = FieldId(0x1020000300000002);
    pub const VP_RBX: FieldId = FieldId(0x1020000300000003);
    pub const VP_RSP_PLACEHOLDER: FieldId = FieldId(0x1020000300000004);
    pub const VP_RBP: FieldId = FieldId(0x1020000300000005);
    pub const VP_RSI: FieldId = FieldId(0x1020000300000006);
    pub const VP_RDI: FieldId = FieldId(0x1020000300000007);
    pub const VP_R8: FieldId = FieldId(0x1020000300000008);
    pub const VP_R9: FieldId = FieldId(0x1020000300000009);
    pub const VP_R10: FieldId = FieldId(0x102000030000000a);
    pub const VP_R11: FieldId = FieldId(0x102000030000000b);
    pub const VP_R12: FieldId = FieldId(0x102000030000000c);
    pub const VP_R13: FieldId = FieldId(0x102000030000000d);
    pub const VP_R14: FieldId = FieldId(0x102000030000000e);
    pub const VP_R15: FieldId = FieldId(0x102000030000000f);
    pub const VP_DR0: FieldId = FieldId(0x1120000300000000);
    pub const VP_DR1: FieldId = FieldId(0x1120000300000001);
    pub const VP_DR2: FieldId = FieldId(0x1120000300000002);
    pub const VP_DR3: FieldId = FieldId(0x1120000300000003);
    pub const VP_DR6: FieldId = FieldId(0x1120000300000006);
    pub const VP_XCR0: FieldId = FieldId(0x1120000300000020);
    pub const VP_CR2: FieldId = FieldId(0x1120000300000028);
    pub const VP_VCPU_STATE_DETAILS: FieldId = FieldId(0x9120000300000100);
    pub const VP_XBUFF: FieldId = FieldId(0x1220000300000000);
    pub const VP_IA32_SPEC_CTRL: FieldId = FieldId(0x1320000300000048);
    pub const VP_IA32_UMWAIT_CONTROL: FieldId = FieldId(0x13200003000000e1);
    pub const VP_IA32_TSX_CTRL: FieldId = FieldId(0x1320000300000122);
    pub const VP_IA32_PERFEVTSELX: FieldId = FieldId(0x1320000300000186);
    pub const VP_MSR_OFFCORE_RSPX: FieldId = FieldId(0x13200003000001a6);
    pub const VP_IA32_XFD: FieldId = FieldId(0x13200003000001c4);
    pub const VP_IA32_XFD_ERR: FieldId = FieldId(0x13200003000001c5);
    pub const VP_IA32_FIXED_CTRX: FieldId = FieldId(0x1320000300000309);
    pub const VP_IA32_PERF_METRICS: FieldId = FieldId(0x1320000300000329);
    pub const VP_IA32_FIXED_CTR_CTRL: FieldId = FieldId(0x132000030000038d);
    pub const VP_IA32_PERF_GLOBAL_STATUS: FieldId = FieldId(0x132000030000038e);
    pub const VP_IA32_PEBS_ENABLE: FieldId = FieldId(0x13200003000003f1);
    pub const VP_MSR_PEBS_DATA_CFG: FieldId = FieldId(0x13200003000003f2);
    pub const VP_MSR_PEBS_LD_LAT: FieldId = FieldId(0x13200003000003f6);
    pub const VP_MSR_PEBS_FRONTEND: FieldId = FieldId(0x13200003000003f7);
    pub const VP_IA32_A_PMCX: FieldId = FieldId(0x13200003000004c1);
    pub const VP_IA32_DS_AREA: FieldId = FieldId(0x1320000300000600);
    pub const VP_IA32_XSS: FieldId = FieldId(0x1320000300000da0);
    pub const VP_IA32_LBR_DEPTH: FieldId = FieldId(0x13200003000014cf);
    pub const VP_IA32_UARCH_MISC_CTL: FieldId = FieldId(0x1320000300001b01);
    pub const VP_IA32_STAR: FieldId = FieldId(0x1320000300002081);
    pub const VP_IA32_LSTAR: FieldId = FieldId(0x1320000300002082);
    pub const VP_IA32_FMASK: FieldId = FieldId(0x1320000300002084);
    pub const VP_IA32_KERNEL_GS_BASE: FieldId = FieldId(0x1320000300002102);
    pub const VP_IA32_TSC_AUX: FieldId = FieldId(0x1320000300002103);
    pub const VP_VCPU_STATE: FieldId = FieldId(0xa020000000000000);
    pub const VP_VCPU_INDEX: FieldId = FieldId(0xa020000200000002);
    pub const VP_NUM_TDVPS_PAGES: FieldId = FieldId(0xa020000000000003);
    pub const VP_ASSOC_LPID: FieldId = FieldId(0xa020000200000004);
    pub const VP_VCPU_EPOCH: FieldId = FieldId(0xa020000300000006);
    pub const VP_CPUID_SUPERVISOR_VE: FieldId = FieldId(0xa020000000000007);
    pub const VP_CPUID_USER_VE: FieldId = FieldId(0xa020000000000008);
    pub const VP_LAST_EXIT_TSC: FieldId = FieldId(0xa02000030000000a);
    pub const VP_PEND_NMI: FieldId = FieldId(0x202000000000000b);
    pub const VP_XFAM: FieldId = FieldId(0x202000030000000c);
    pub const VP_LAST_EPF_GPA_LIST_IDX: FieldId = FieldId(0xa02000000000000d);
    pub const VP_POSSIBLY_EPF_STEPPING: FieldId = FieldId(0xa02000000000000e);
    pub const VP_LAST_TD_EXIT: FieldId = FieldId(0xa02000000000000f);
    pub const VP_TDVPS_PAGE_PA: FieldId = FieldId(0xa020000300000010);
    pub const VP_HP_LOCK_BUSY_START: FieldId = FieldId(0xa020000300000030);
    pub const VP_HP_LOCK_BUSY: FieldId = FieldId(0xa020000000000031);
    pub const VP_LAST_SEAMDB_INDEX: FieldId = FieldId(0xa020000300000032);
    pub const VP_NMI_UNBLOCKING_DUE_TO_IRET: FieldId = FieldId(0xa020000000000040);
    pub const VP_CURR_VM: FieldId = FieldId(0xa020000100000041);
    pub const VP_L2_EXIT_HOST_ROUTING: FieldId = FieldId(0xa020000000000042);
    pub const VP_VM_LAUNCHED: FieldId = FieldId(0xa020000000000044);
    pub const VP_LP_DEPENDENT_HPA_UPDATED: FieldId = FieldId(0xa020000000000048);
    pub const VP_MODULE_DEPENDENT_FIELDS_UPDATED: FieldId = FieldId(0xa02000000000004c);
    pub const VP_L2_CTLS: FieldId = FieldId(0xa020000300000050);
    pub const VP_L2_DEBUG_CTLS: FieldId = FieldId(0xa020000300000054);
    pub const VP_TSC_DEADLINE: FieldId = FieldId(0xa020000300000058);
    pub const VP_SHADOW_TSC_DEADLINE: FieldId = FieldId(0xa02000030000005c);
    pub const VP_BASE_L2_CR0_GUEST_HOST_MASK: FieldId = FieldId(0xa020000300000080);
    pub const VP_BASE_L2_CR0_READ_SHADOW: FieldId = FieldId(0xa020000300000081);
    pub const VP_BASE_L2_CR4_GUEST_HOST_MASK: FieldId = FieldId(0xa020000300000082);
    pub const VP_BASE_L2_CR4_READ_SHADOW: FieldId = FieldId(0xa020000300000083);
    pub const VP_SHADOW_CR0_GUEST_HOST_MASK: FieldId = FieldId(0xa020000300000084);
    pub const VP_SHADOW_CR0_READ_SHADOW: FieldId = FieldId(0xa020000300000088);
    pub const VP_SHADOW_CR4_GUEST_HOST_MASK: FieldId = FieldId(0xa02000030000008c);
    pub const VP_SHADOW_CR4_READ_SHADOW: FieldId = FieldId(0xa020000300000090);
    pub const VP_SHADOW_INSTRUCTION_TIMEOUT_CONTROL: FieldId = FieldId(0xa020000200000094);
    pub const VP_SHADOW_PID_HPA: FieldId = FieldId(0xa020000300000098);
    pub const VP_SHADOW_PINBASED_EXEC_CTLS: FieldId = FieldId(0xa02000020000009c);
    pub const VP_SHADOW_PLE_GAP: FieldId = FieldId(0xa0200002000000a4);
    pub const VP_SHADOW_PLE_WINDOW: FieldId = FieldId(0xa0200002000000a8);
    pub const VP_SHADOW_POSTED_INT_NOTIFICATION_VECTOR: FieldId = FieldId(0xa0200001000000ac);
    pub const VP_SHADOW_PROCBASED_EXEC_CTLS2: FieldId = FieldId(0xa0200002000000b0);
    pub const VP_SHADOW_SHARED_EPTP: FieldId = FieldId(0xa0200003000000b4);
    pub const VP_L2_ENTER_GUEST_STATE_GPA: FieldId = FieldId(0xa020000300000100);
    pub const VP_L2_ENTER_GUEST_STATE_HPA: FieldId = FieldId(0xa020000300000104);
    pub const VP_VE_INFO_GPA: FieldId = FieldId(0xa020000300000108);
    pub const VP_VE_INFO_HPA: FieldId = FieldId(0xa02000030000010c);
    pub const VP_L2_VAPIC_GPA: FieldId = FieldId(0xa020000300000110);
    pub const VP_L2_VAPIC_HPA: FieldId = FieldId(0xa020000300000114);
    pub const VP_CPUID_CONTROL: FieldId = FieldId(0xa120000000000000);
    pub const VP_LAST_EPF_GPA_LIST: FieldId = FieldId(0xa220000300000200);
    pub const VP_L2_VMCS_1: FieldId = FieldId(0x2420000000000000);
    pub const VP_L2_MSR_BITMAPS_1: FieldId = FieldId(0x2520000300000000);
    pub const VP_L2_SHADOW_MSR_BITMAPS_1: FieldId = FieldId(0xa620000300000000);
    pub const VP_L2_VMCS_2: FieldId = FieldId(0x2c20000000000000);
    pub const VP_L2_MSR_BITMAPS_2: FieldId = FieldId(0x2d20000300000000);
    pub const VP_L2_SHADOW_MSR_BITMAPS_2: FieldId = FieldId(0xae20000300000000);
    pub const VP_L2_VMCS_3: FieldId = FieldId(0x3420000000000000);
    pub const VP_L2_MSR_BITMAPS_3: FieldId = FieldId(0x3520000300000000);
    pub const VP_L2_SHADOW_MSR_BITMAPS_3: FieldId = FieldId(0xb620000300000000);
    pub const VMCS_POSTED_INTERRUPT_NOTIFICATION_VECTOR: FieldId = FieldId(0x0024000100000002);
    pub const VMCS_POSTED_INTERRUPT_DESCRIPTOR: FieldId = FieldId(0x0024000300002016);
    pub const VMCS_SHARED_EPTP: FieldId = FieldId(0x002400030000203c);
    pub const VMCS_PIN_BASED_CONTROLS: FieldId = FieldId(0x0024000200004000);
}
