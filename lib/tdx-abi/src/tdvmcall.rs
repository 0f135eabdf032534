//! TDG.VP.VMCALL: sub-functions in R11 and return codes in R10 (R10 = 0 on the way in).

/// A sub-function of the guest-host communication interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Subfunction {
    /// CPUID: R12 = EAX, R13 = ECX; back R12..R15 = EAX, EBX, ECX, EDX.
    Cpuid = 0xa,
    /// HLT: R12 = 1 where interrupts are blocked.
    Hlt = 0xc,
    /// Port I/O: R12 = size, R13 = 1 for a write, R14 = port, R15 = value; back R11 = value.
    Io = 0x1e,
    /// RDMSR: R12 = index; back R11 = value.
    Rdmsr = 0x1f,
    /// WRMSR: R12 = index, R13 = value.
    Wrmsr = 0x20,
    /// MMIO: R12 = size, R13 = 1 for a write, R14 = shared GPA, R15 = value; back R11 = value.
    Mmio = 0x30,
    /// R12 = leaf.
    GetTdVmCallInfo = 0x1_0000,
    /// R12 = first GPA (SHARED bit = target state), R13 = bytes; back R11 = first not converted.
    MapGpa = 0x1_0001,
    /// R12 = shared GPA of the buffer, R13 = bytes.
    GetQuote = 0x1_0002,
    /// R12 = error code.
    ReportFatalError = 0x1_0003,
    /// R12 = vector 32..255.
    SetupEventNotifyInterrupt = 0x1_0004,
}

impl Subfunction {
    /// The sub-function with this number (R11).
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0xa => Self::Cpuid,
            0xc => Self::Hlt,
            0x1e => Self::Io,
            0x1f => Self::Rdmsr,
            0x20 => Self::Wrmsr,
            0x30 => Self::Mmio,
            0x1_0000 => Self::GetTdVmCallInfo,
            0x1_0001 => Self::MapGpa,
            0x1_0002 => Self::GetQuote,
            0x1_0003 => Self::ReportFatalError,
            0x1_0004 => Self::SetupEventNotifyInterrupt,
            _ => return None,
        })
    }
}

/// Return codes in R10.
pub mod result {
    /// Done.
    pub const SUCCESS: u64 = 0;
    /// Call again, with what R11 names.
    pub const RETRY: u64 = 1;
    /// An operand is wrong.
    pub const INVALID_OPERAND: u64 = 1 << 63;
    /// A GPA is already mapped or in use.
    pub const GPA_INUSE: u64 = 1 << 63 | 1;
    /// An address is not aligned.
    pub const ALIGN_ERROR: u64 = 1 << 63 | 2;
    /// This host has no such sub-function.
    pub const SUBFUNC_UNSUPPORTED: u64 = 1 << 63 | 3;
}

/// The register mask (RCX) bits that must be 0: RAX, RCX, RSP.
pub const MASK_FORBIDDEN: u64 = 1 << 0 | 1 << 1 | 1 << 4;
/// The bit of RBP, forbidden as well where CONFIG_FLAGS.NO_RBP_MOD is set.
pub const MASK_RBP: u64 = 1 << 5;
