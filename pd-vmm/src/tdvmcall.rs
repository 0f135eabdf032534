//! TDG.VP.VMCALL: what the guest asks for, out of registers that it filled as it pleased.
//!
//! Numbers and register use are those of the guest-host communication interface (GHCI).
//! A request is checked as far as that is possible without knowing the machine; what is
//! wrong then is answered with the error code that the GHCI gives for it.

use gpa::PAGE_SIZE;
use ipc_vmm_tdx::Registers;
use tdx_abi::tdvmcall::{Subfunction, result};

/// Size of an access in bytes: 1, 2, 4 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(pub(crate) u8);

impl Width {
    fn new(bytes: u64, max: u64) -> Result<Self, Error> {
        match bytes {
            1 | 2 | 4 | 8 if bytes <= max => Ok(Self(bytes as u8)),
            _ => Err(Error::InvalidOperand),
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// The bits of a value of this width.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.0 as u32)
    }
}

/// A direction, with the value where one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Write this value, cut to the width.
    Write(u64),
}

impl Access {
    fn new(direction: u64, value: u64, width: Width) -> Result<Self, Error> {
        match direction {
            0 => Ok(Self::Read),
            1 => Ok(Self::Write(value & width.mask())),
            _ => Err(Error::InvalidOperand),
        }
    }
}

/// A request of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Instruction.CPUID.
    Cpuid {
        /// EAX.
        leaf: u32,
        /// ECX.
        subleaf: u32,
    },
    /// Instruction.HLT.
    Halt {
        /// The guest had interrupts disabled: what is pending in its APIC does not wake it.
        blocked: bool,
    },
    /// Instruction.IO.
    Io {
        /// 1, 2 or 4 bytes.
        width: Width,
        /// Direction.
        access: Access,
        /// First port.
        port: u16,
    },
    /// Instruction.RDMSR.
    ReadMsr(u32),
    /// Instruction.WRMSR.
    WriteMsr(u32, u64),
    /// Memory-mapped I/O.
    Mmio {
        /// 1, 2, 4 or 8 bytes.
        width: Width,
        /// Direction.
        access: Access,
        /// Guest physical address without the SHARED bit.
        gpa: u64,
    },
    /// GetTdVmCallInfo, leaf 0: is the GHCI's base set there?
    Info,
    /// GetTdVmCallInfo, leaf 1: which optional sub-functions are there?
    OptionalInfo,
    /// MapGPA.
    MapGpa {
        /// First guest physical address, with the SHARED bit.
        gpa: u64,
        /// Length in bytes, a multiple of 4 KiB, not 0; the range doesn't wrap or leave the
        /// guest's address space.
        len: u64,
    },
    /// ReportFatalError: the guest gives up.
    FatalError {
        /// The error code.
        code: u64,
        /// The message, padded with zeros.
        message: [u8; 64],
    },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// TDG.VP.VMCALL_INVALID_OPERAND.
    InvalidOperand,
    /// TDG.VP.VMCALL_ALIGN_ERROR.
    Align,
    /// TDG.VP.VMCALL_SUBFUNC_UNSUPPORTED.
    Unsupported,
}

impl Error {
    /// The code for R10.
    pub const fn code(self) -> u64 {
        match self {
            Self::InvalidOperand => result::INVALID_OPERAND,
            Self::Align => result::ALIGN_ERROR,
            Self::Unsupported => result::SUBFUNC_UNSUPPORTED,
        }
    }
}

/// Position of a register in [`Registers::r8_r15`].
const fn at(register: usize) -> usize {
    register - 8
}

impl Request {
    /// Decodes what TDH.VP.ENTER returned for a TDG.VP.VMCALL. `shared` is the SHARED bit,
    /// the highest bit of a guest physical address.
    pub fn decode(registers: &Registers, shared: u64) -> Result<Self, Error> {
        let r = |register: usize| registers.r8_r15[at(register)];
        if r(10) != 0 {
            // A vendor's own calls; there are none.
            return Err(Error::Unsupported);
        }
        let small = |value: u64| u32::try_from(value).map_err(|_| Error::InvalidOperand);
        let subfunction = Subfunction::from_number(r(11)).ok_or(Error::Unsupported)?;
        Ok(match subfunction {
            Subfunction::Cpuid => Self::Cpuid {
                leaf: small(r(12))?,
                subleaf: small(r(13))?,
            },
            Subfunction::Hlt => Self::Halt {
                blocked: r(12) & 1 != 0,
            },
            Subfunction::Io => {
                let width = Width::new(r(12), 4)?;
                Self::Io {
                    width,
                    access: Access::new(r(13), r(15), width)?,
                    port: u16::try_from(r(14)).map_err(|_| Error::InvalidOperand)?,
                }
            }
            Subfunction::Rdmsr => Self::ReadMsr(small(r(12))?),
            Subfunction::Wrmsr => Self::WriteMsr(small(r(12))?, r(13)),
            Subfunction::Mmio => {
                let width = Width::new(r(12), 8)?;
                let access = Access::new(r(13), r(15), width)?;
                let last = r(14).checked_add(width.bytes() - 1);
                let inside = |gpa: u64| gpa & shared != 0 && gpa & !(shared | (shared - 1)) == 0;
                if !inside(r(14)) || !last.is_some_and(inside) {
                    return Err(Error::InvalidOperand);
                }
                Self::Mmio {
                    width,
                    access,
                    gpa: r(14) & !shared,
                }
            }
            Subfunction::GetTdVmCallInfo => match r(12) {
                0 => Self::Info,
                1 => Self::OptionalInfo,
                _ => return Err(Error::InvalidOperand),
            },
            Subfunction::MapGpa => Self::map_gpa(r(12), r(13), shared)?,
            Subfunction::GetQuote if r(12) & shared == 0 => return Err(Error::InvalidOperand),
            Subfunction::SetupEventNotifyInterrupt if !(32..256).contains(&r(12)) => {
                return Err(Error::InvalidOperand);
            }
            // Nobody here can sign a quote, nor has events to tell.
            Subfunction::GetQuote | Subfunction::SetupEventNotifyInterrupt => {
                return Err(Error::Unsupported);
            }
            Subfunction::ReportFatalError => {
                let words = [
                    r(14),
                    r(15),
                    registers.rbx,
                    registers.rdi,
                    registers.rsi,
                    r(8),
                    r(9),
                    registers.rdx,
                ];
                let mut message = [0; 64];
                for (bytes, word) in message.chunks_exact_mut(8).zip(words) {
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
                Self::FatalError {
                    code: r(12),
                    message,
                }
            }
        })
    }

    fn map_gpa(gpa: u64, len: u64, shared: u64) -> Result<Self, Error> {
        let end = gpa.checked_add(len).ok_or(Error::InvalidOperand)?;
        // The range is all private or all shared, and ends with the address space at most.
        let limit = match gpa & shared {
            0 => shared,
            _ => shared << 1,
        };
        if len == 0 || gpa >= limit || end > limit {
            return Err(Error::InvalidOperand);
        }
        if !gpa.is_multiple_of(PAGE_SIZE) || !len.is_multiple_of(PAGE_SIZE) {
            return Err(Error::Align);
        }
        Ok(Self::MapGpa { gpa, len })
    }
}

/// The answer to a request: registers for the next TDH.VP.ENTER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// R10: the result code.
    pub code: u64,
    /// R11 to R15 where the answer says something there.
    pub values: [Option<u64>; 5],
}

impl Reply {
    /// Success without a value.
    pub const fn success() -> Self {
        Self {
            code: result::SUCCESS,
            values: [None; 5],
        }
    }

    /// Success with a value in R11.
    pub const fn value(value: u64) -> Self {
        Self::with_r11(result::SUCCESS, value)
    }

    /// A result code with R11.
    pub const fn with_r11(code: u64, value: u64) -> Self {
        Self {
            code,
            values: [Some(value), None, None, None, None],
        }
    }

    /// Writes the answer over the registers that the guest gave: the others stay.
    pub fn apply(&self, registers: &mut Registers) {
        registers.r8_r15[at(10)] = self.code;
        for (register, value) in registers.r8_r15[at(11)..].iter_mut().zip(self.values) {
            if let Some(value) = value {
                *register = value;
            }
        }
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        // The value of a failed read is nothing the guest may use.
        Self::with_r11(error.code(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHARED: u64 = 1 << 47;

    fn call(r10_15: [u64; 6]) -> Result<Request, Error> {
        let mut registers = Registers::default();
        registers.r8_r15[2..].copy_from_slice(&r10_15);
        Request::decode(&registers, SHARED)
    }

    #[test]
    fn io() {
        assert_eq!(
            call([0, 0x1e, 1, 1, 0x3f8, 0x141]),
            Ok(Request::Io {
                width: Width(1),
                access: Access::Write(0x41),
                port: 0x3f8
            })
        );
        for wrong in [
            [0, 0x1e, 3, 0, 0x3f8, 0],
            [0, 0x1e, 8, 0, 0x3f8, 0],
            [0, 0x1e, 0, 0, 0x3f8, 0],
            [0, 0x1e, 1, 2, 0x3f8, 0],
            [0, 0x1e, 1, 0, 0x1_0000, 0],
        ] {
            assert_eq!(call(wrong), Err(Error::InvalidOperand), "{wrong:x?}");
        }
    }

    #[test]
    fn mmio_must_be_shared_and_within_the_width() {
        let gpa = SHARED | 0xfec0_0010;
        assert_eq!(
            call([0, 0x30, 4, 0, gpa, 0]),
            Ok(Request::Mmio {
                width: Width(4),
                access: Access::Read,
                gpa: 0xfec0_0010
            })
        );
        for (size, gpa) in [
            (4, 0xfec0_0010),
            (4, 1 << 48 | gpa),
            (4, 2 * SHARED - 2),
            (8, u64::MAX - 3),
            (16, gpa),
        ] {
            let wrong = call([0, 0x30, size, 0, gpa, 0]);
            assert_eq!(wrong, Err(Error::InvalidOperand), "{size} {gpa:#x}");
        }
    }

    #[test]
    fn map_gpa() {
        let call = |gpa, len| call([0, 0x1_0001, gpa, len, 0, 0]);
        for (gpa, len) in [
            (0x20_0000, 0x1000),
            (SHARED | 0x20_0000, SHARED - 0x20_0000),
        ] {
            assert_eq!(call(gpa, len), Ok(Request::MapGpa { gpa, len }));
        }
        for (gpa, len) in [
            (0x1000, 0),
            (SHARED - 0x1000, 0x2000),
            (2 * SHARED - 0x1000, 0x2000),
            (2 * SHARED, 0x1000),
            (0x1000, u64::MAX),
        ] {
            assert_eq!(call(gpa, len), Err(Error::InvalidOperand), "{gpa:#x}");
        }
        assert_eq!(call(0x800, 0x1000), Err(Error::Align));
        assert_eq!(call(0x1000, 0x800), Err(Error::Align));
    }

    #[test]
    fn the_rest() {
        assert_eq!(call([1, 0x1e, 1, 0, 0, 0]), Err(Error::Unsupported));
        for number in [0, 0x1_0005, 0x24, 0x27, 0x41, u64::MAX] {
            assert_eq!(call([0, number, 0, 0, 0, 0]), Err(Error::Unsupported));
        }
        assert_eq!(
            call([0, 0xc, 1, 0, 0, 0]),
            Ok(Request::Halt { blocked: true })
        );
        assert_eq!(
            call([0, 0x1f, 1 << 32, 0, 0, 0]),
            Err(Error::InvalidOperand)
        );
        assert_eq!(call([0, 0x1_0000, 0, 0, 0, 0]), Ok(Request::Info));
        assert_eq!(call([0, 0x1_0000, 2, 0, 0, 0]), Err(Error::InvalidOperand));
        assert_eq!(
            call([0, 0x1_0002, SHARED, 0x2000, 0, 0]),
            Err(Error::Unsupported)
        );
        assert_eq!(
            call([0, 0x1_0002, 0x1000, 0x2000, 0, 0]),
            Err(Error::InvalidOperand)
        );
        assert_eq!(call([0, 0x1_0004, 31, 0, 0, 0]), Err(Error::InvalidOperand));
        assert_eq!(call([0, 0x1_0004, 32, 0, 0, 0]), Err(Error::Unsupported));
    }

    #[test]
    fn fatal_error_message() {
        let word = |text: &[u8; 8]| u64::from_le_bytes(*text);
        let registers = Registers {
            rbx: word(b"nothing "),
            rdi: word(b"else wor"),
            rsi: word(b"ks here."),
            rdx: 0,
            r8_r15: [
                0,
                0,
                0,
                0x1_0003,
                5,
                0,
                word(b"Because "),
                word(b"I know, "),
            ],
            ..Registers::default()
        };
        let Ok(Request::FatalError { code: 5, message }) = Request::decode(&registers, SHARED)
        else {
            panic!("no fatal error");
        };
        assert_eq!(&message[..40], b"Because I know, nothing else works here.");
    }

    proptest! {
        /// Whatever the registers, a decoded request keeps its promises.
        #[test]
        fn any_registers(
            number in prop_oneof![
                Just(0x1e), Just(0x30), Just(0x1_0001), 0u64..0x50, 0x1_0000u64..0x1_0008
            ],
            r10 in prop_oneof![9 => Just(0u64), 1 => any::<u64>()],
            rest in prop::array::uniform4(prop_oneof![0u64..16, any::<u64>(), (0u64..1 << 37).prop_map(|p| p << 12)]),
        ) {
            let [r12, r13, r14, r15] = rest;
            match call([r10, number, r12, r13, r14, r15]) {
                Ok(Request::Mmio { width, gpa, .. }) => {
                    prop_assert!(gpa + width.bytes() <= SHARED)
                }
                Ok(Request::MapGpa { gpa, len }) => {
                    prop_assert!(gpa % 4096 == 0 && len % 4096 == 0 && len > 0);
                    let first = gpa & SHARED;
                    prop_assert_eq!(first, (gpa + len - 1) & SHARED);
                    prop_assert!(gpa + len <= 2 * SHARED);
                }
                _ => {}
            }
        }
    }
}
