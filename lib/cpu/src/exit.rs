//! What ends a run: VM exits as VMX reports them (SDM vol. 3C, chapter 28 and appendix C).

use gpa::Gpa;

/// Basic exit reasons (SDM vol. 3D, appendix C).
pub mod reason {
    /// External interrupt: the machine's kick.
    pub const EXTERNAL_INTERRUPT: u16 = 1;
    /// Triple fault.
    pub const TRIPLE_FAULT: u16 = 2;
    /// `CPUID`.
    pub const CPUID: u16 = 10;
    /// `GETSEC`.
    pub const GETSEC: u16 = 11;
    /// `HLT`.
    pub const HLT: u16 = 12;
    /// `INVD`.
    pub const INVD: u16 = 13;
    /// `RDPMC`.
    pub const RDPMC: u16 = 15;
    /// `VMCALL`.
    pub const VMCALL: u16 = 18;
    /// `VMCLEAR`; the other VMX instructions up to `VMXON` follow.
    pub const VMCLEAR: u16 = 19;
    /// `VMXON`.
    pub const VMXON: u16 = 27;
    /// Control-register access.
    pub const CR_ACCESS: u16 = 28;
    /// I/O instruction.
    pub const IO: u16 = 30;
    /// `RDMSR`.
    pub const RDMSR: u16 = 31;
    /// `WRMSR`.
    pub const WRMSR: u16 = 32;
    /// `MWAIT`.
    pub const MWAIT: u16 = 36;
    /// `MONITOR`.
    pub const MONITOR: u16 = 39;
    /// EPT violation.
    pub const EPT_VIOLATION: u16 = 48;
    /// EPT misconfiguration.
    pub const EPT_MISCONFIGURATION: u16 = 49;
    /// `WBINVD` or `WBNOINVD`.
    pub const WBINVD: u16 = 54;
    /// `XSETBV`.
    pub const XSETBV: u16 = 55;
    /// `SEAMCALL`.
    pub const SEAMCALL: u16 = 76;
    /// `TDCALL`.
    pub const TDCALL: u16 = 77;
}

/// Bits of an EPT violation's exit qualification (SDM vol. 3C, table 28-7).
pub mod ept_violation {
    /// The access was a data read.
    pub const READ: u64 = 1 << 0;
    /// The access was a data write.
    pub const WRITE: u64 = 1 << 1;
    /// The access was an instruction fetch.
    pub const FETCH: u64 = 1 << 2;
    /// The guest-physical address was readable.
    pub const READABLE: u64 = 1 << 3;
    /// The guest-physical address was writable.
    pub const WRITABLE: u64 = 1 << 4;
    /// The guest-physical address was executable.
    pub const EXECUTABLE: u64 = 1 << 5;
    /// The guest-linear address is valid.
    pub const LINEAR_VALID: u64 = 1 << 7;
    /// The access was to the translation of the linear address, not to a paging structure.
    pub const TRANSLATION: u64 = 1 << 8;
}

/// The kind of an event (SDM vol. 3C, table 25-19, bits 10:8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// External interrupt.
    External = 0,
    /// Non-maskable interrupt.
    Nmi = 2,
    /// Hardware exception.
    Exception = 3,
    /// `INT n`.
    SoftwareInterrupt = 4,
    /// `INT1`.
    PrivilegedSoftwareException = 5,
    /// `INT3` or `INTO`.
    SoftwareException = 6,
}

/// An interrupt or exception on its way to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The IDT vector.
    pub vector: u8,
    /// What it is.
    pub kind: EventKind,
    /// The error code it pushes, if it has one.
    pub error_code: Option<u32>,
    /// For software events: the length of the instruction, which the return address is past.
    pub instruction_length: u8,
}

impl Event {
    /// A hardware exception.
    pub const fn exception(vector: u8, error_code: Option<u32>) -> Self {
        Self {
            vector,
            kind: EventKind::Exception,
            error_code,
            instruction_length: 0,
        }
    }

    /// An external interrupt.
    pub const fn external(vector: u8) -> Self {
        Self {
            vector,
            kind: EventKind::External,
            error_code: None,
            instruction_length: 0,
        }
    }

    /// The non-maskable interrupt.
    pub const fn nmi() -> Self {
        Self {
            vector: 2,
            kind: EventKind::Nmi,
            error_code: None,
            instruction_length: 0,
        }
    }

    /// The event from a VM-entry interruption-information field (SDM vol. 3C, table 25-19);
    /// `None` if the field isn't valid (bit 31) or its type is reserved.
    pub const fn from_info(info: u32, error_code: u32, instruction_length: u8) -> Option<Self> {
        if info >> 31 == 0 {
            return None;
        }
        let kind = match info >> 8 & 7 {
            0 => EventKind::External,
            2 => EventKind::Nmi,
            3 => EventKind::Exception,
            4 => EventKind::SoftwareInterrupt,
            5 => EventKind::PrivilegedSoftwareException,
            6 => EventKind::SoftwareException,
            _ => return None,
        };
        Some(Self {
            vector: info as u8,
            kind,
            error_code: if info & 1 << 11 != 0 {
                Some(error_code)
            } else {
                None
            },
            instruction_length,
        })
    }

    /// The event as an interruption-information field (SDM vol. 3C, table 25-19).
    pub const fn info(self) -> u32 {
        let code = if self.error_code.is_some() {
            1 << 11
        } else {
            0
        };
        1 << 31 | code | (self.kind as u32) << 8 | self.vector as u32
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The instruction budget is used up; nothing happened.
    Budget,
    /// A VM exit.
    Vm(VmExit),
}

impl Exit {
    /// The VM exit, if it is one.
    pub fn vm(self) -> Option<VmExit> {
        match self {
            Self::Budget => None,
            Self::Vm(exit) => Some(exit),
        }
    }
}

/// A VM exit. RIP stays at the instruction that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmExit {
    /// Basic exit reason, see [`reason`].
    pub reason: u16,
    /// Exit qualification (SDM vol. 3C, 28.2.1).
    pub qualification: u64,
    /// Guest-physical address (EPT violation and misconfiguration).
    pub gpa: Gpa,
    /// Guest-linear address (EPT violation, string I/O).
    pub gla: u64,
    /// VM-exit instruction length in bytes (exits by instruction); 0 else.
    pub instruction_length: u8,
    /// VM-exit interruption information; 0 else. Not used by the exits of a TD today.
    pub interruption_info: u32,
    /// VM-exit interruption error code.
    pub interruption_error_code: u32,
    /// IDT-vectoring: the event in whose delivery the exit happened. It must be injected again.
    pub vectoring: Option<Event>,
    /// EPT violation: the entry lets it be turned into a `#VE`.
    pub ve_convertible: bool,
}

impl VmExit {
    /// An exit by `reason` and nothing else.
    pub const fn new(reason: u16) -> Self {
        Self {
            reason,
            qualification: 0,
            gpa: Gpa::new(0),
            gla: 0,
            instruction_length: 0,
            interruption_info: 0,
            interruption_error_code: 0,
            vectoring: None,
            ve_convertible: false,
        }
    }
}
