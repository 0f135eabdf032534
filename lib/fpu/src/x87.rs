//! The x87 register file, its environment, and the MMX registers that alias it.

/// An unmasked x87 exception is pending: `#MF` (SDM Vol. 1, 8.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MathFault;

/// What an x87 instruction notes about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    /// The low 3 bits of the first opcode byte and the ModRM byte: 11 bits.
    pub opcode: u16,
    /// Linear offset of the instruction (of its first prefix).
    pub ip: u64,
    /// Effective address of the memory operand; 0 where there is none.
    pub data: u64,
}

/// What an x87 instruction leaves for the CPU to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct X87Output {
    /// To be stored to the memory operand, as many low bytes as it has. An instruction that
    /// stores gives `None` where an unmasked exception keeps memory as it is.
    pub memory: Option<u128>,
    /// To be loaded into AX.
    pub ax: Option<u16>,
    /// The new ZF, PF and CF at their places in RFLAGS; OF, SF and AF become 0.
    pub flags: Option<u32>,
}

/// Layout of the environment image (SDM Vol. 1, 8.1.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Env {
    /// 14 bytes, real mode and virtual-8086 mode.
    Real16,
    /// 14 bytes, protected mode.
    Protected16,
    /// 28 bytes, real mode with a 32-bit operand size.
    Real32,
    /// 28 bytes, protected and 64-bit mode.
    Protected32,
}

/// The x87 state. Register numbers are physical (`R0`…), `ST(i)` is `R[(TOP + i) % 8]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X87 {
    /// R0 to R7: 80 bits, sign and exponent above the 64-bit significand.
    pub regs: [u128; 8],
    /// Control word.
    pub fcw: u16,
    /// Status word with TOP in bits 13:11.
    pub fsw: u16,
    /// One bit per physical register: 0 where it is empty (FXSAVE's abridged tag word).
    pub valid: u8,
    /// Opcode of the last non-control instruction with an unmasked exception, 11 bits.
    pub fop: u16,
    /// Instruction pointer of the last non-control instruction.
    pub fip: u64,
    /// Operand pointer of the last non-control instruction with an unmasked exception.
    pub fdp: u64,
}

/// FSW bits (SDM Vol. 1, figure 8-4); the low six are the exceptions, as in FCW.
pub(crate) mod fsw {
    #![allow(dead_code)]
    pub const IE: u16 = 1;
    pub const DE: u16 = 2;
    pub const ZE: u16 = 4;
    pub const OE: u16 = 8;
    pub const UE: u16 = 0x10;
    pub const PE: u16 = 0x20;
    pub const SF: u16 = 0x40;
    pub const ES: u16 = 0x80;
    pub const C0: u16 = 0x100;
    pub const C1: u16 = 0x200;
    pub const C2: u16 = 0x400;
    pub const C3: u16 = 0x4000;
    pub const B: u16 = 0x8000;
    pub const CONDITION: u16 = C0 | C1 | C2 | C3;
}

/// Bits 79:64 of an MM register that was written.
const MMX_EXPONENT: u128 = 0xffff << 64;

impl X87 {
    /// The state after `FNINIT`.
    pub const fn new() -> Self {
        Self {
            regs: [0; 8],
            fcw: 0x37f,
            fsw: 0,
            valid: 0,
            fop: 0,
            fip: 0,
            fdp: 0,
        }
    }

    /// The number of the register that is `ST(0)`.
    pub const fn top(&self) -> u8 {
        (self.fsw >> 11) as u8 & 7
    }

    pub(crate) fn set_top(&mut self, top: u8) {
        self.fsw = self.fsw & !0x3800 | u16::from(top & 7) << 11;
    }

    /// Whether an unmasked exception waits for the next instruction that looks (FSW.ES).
    pub const fn pending(&self) -> bool {
        self.fsw & fsw::ES != 0
    }

    /// `#MF` while an unmasked exception is pending: what waiting instructions do first.
    pub fn check(&self) -> Result<(), MathFault> {
        if self.pending() {
            Err(MathFault)
        } else {
            Ok(())
        }
    }

    /// What every MMX instruction except `EMMS` does first: `#MF` while an x87 exception is
    /// pending, then TOP becomes 0 and all registers valid (SDM Vol. 1, 9.5.1). To be called
    /// when nothing else of the instruction can fault any more.
    pub fn enter_mmx(&mut self) -> Result<(), MathFault> {
        self.check()?;
        self.set_top(0);
        self.valid = 0xff;
        Ok(())
    }

    /// `EMMS`: all registers become empty.
    pub fn emms(&mut self) -> Result<(), MathFault> {
        self.check()?;
        self.set_top(0);
        self.valid = 0;
        Ok(())
    }

    /// Brings FCW and FSW that were loaded into a possible state: reserved bits, and ES and B,
    /// which follow from the exceptions and their masks.
    pub(crate) fn normalize_control(&mut self) {
        self.fcw = self.fcw & !0xe080 | 0x40;
        self.update_summary();
    }

    /// ES and B: some exception is flagged and unmasked.
    pub(crate) fn update_summary(&mut self) {
        if self.fsw & !self.fcw & 0x3f != 0 {
            self.fsw |= fsw::ES | fsw::B;
        } else {
            self.fsw &= !(fsw::ES | fsw::B);
        }
    }

    /// Reads an MM register; only the low 3 bits of the number count.
    pub fn mm(&self, number: u8) -> u64 {
        self.regs[usize::from(number & 7)] as u64
    }

    /// Writes an MM register; only the low 3 bits of the number count.
    pub fn set_mm(&mut self, number: u8, value: u64) {
        self.regs[usize::from(number & 7)] = u128::from(value) | MMX_EXPONENT;
    }
}

impl Default for X87 {
    fn default() -> Self {
        Self::new()
    }
}
