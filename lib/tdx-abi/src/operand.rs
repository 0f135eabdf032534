//! Operand ids: what bits 31:0 of an error status blame.

/// The operand, structure or lock that a status blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand(pub u32);

macro_rules! operands {
    ($($name:ident = $id:literal;)*) => {
        impl Operand {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = Self($id);
            )*
        }

        impl core::fmt::Display for Operand {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.0 {
                    $($id => f.write_str(stringify!($name)),)*
                    other => write!(f, "{other:#x}"),
                }
            }
        }
    };
}

operands! {
    RAX = 0x0;
    RCX = 0x1;
    RDX = 0x2;
    RBX = 0x3;
    RBP = 0x5;
    RSI = 0x6;
    RDI = 0x7;
    R8 = 0x8;
    R9 = 0x9;
    R10 = 0xa;
    R11 = 0xb;
    R12 = 0xc;
    R13 = 0xd;
    R14 = 0xe;
    R15 = 0xf;
    ATTRIBUTES = 0x40;
    XFAM = 0x41;
    EXEC_CONTROLS = 0x42;
    EPTP_CONTROLS = 0x43;
    MAX_VCPUS = 0x44;
    CPUID_CONFIG = 0x45;
    TSC_FREQUENCY = 0x46;
    NUM_L2_VMS = 0x47;
    IA32_ARCH_CAPABILITIES_CONFIG = 0x48;
    PAGE = 0x5f;
    TDMR_INFO_PA = 0x60;
    GPA_LIST_ENTRY = 0x61;
    MIG_BUFF_LIST_ENTRY = 0x62;
    NEW_PAGE_LIST_ENTRY = 0x63;
    TDR = 0x80;
    TDCX = 0x81;
    TDVPR = 0x82;
    REG_PAGE = 0x84;
    TDCS = 0x90;
    TDVPS = 0x91;
    SEPT_TREE = 0x92;
    SEPT_ENTRY = 0x93;
    RTMR = 0xa8;
    TD_EPOCH = 0xa9;
    L2_VAPIC_GPA = 0xaa;
    MIGSC = 0xab;
    OP_STATE = 0xac;
    MIG = 0xad;
    SERVTD_BINDINGS = 0xae;
    METADATA_FIELD = 0xb0;
    SYS = 0xb8;
    TDMR = 0xb9;
    KOT = 0xba;
    KET = 0xbb;
    WBCACHE = 0xbc;
}
