//! Micro-operations: guest instructions with everything resolved that decoding can resolve.

use zerocopy::FromZeros;

/// One decoded guest instruction in the [`crate::CodeCache`].
#[derive(Clone, Copy, Debug, FromZeros)]
#[repr(C)]
pub struct Op {
    pub(crate) kind: Kind,
    /// Variant of a kind: ALU operation, condition code, operand size of the source…
    pub(crate) sub: u8,
    /// Register of operand 0.
    pub(crate) a: u8,
    /// Register of operand 1.
    pub(crate) b: u8,
    /// See [`flag`].
    pub(crate) flags: u16,
    /// Offset of the instruction from the start of the block.
    pub(crate) offset: u8,
    /// Offset of the instruction after it.
    pub(crate) next: u8,
    /// The memory operand.
    pub(crate) place: Place,
    /// Immediate operand, branch target relative to the block, or a packed form.
    pub(crate) immediate: u64,
}

const _: () = assert!(size_of::<Op>() == 24);

/// Bits of [`Op::flags`].
pub(crate) mod flag {
    /// log2 of the operand size in bytes.
    pub const SIZE: u16 = 3;
    /// Operand 0 is in memory.
    pub const MEMORY0: u16 = 1 << 2;
    /// Operand 1 is in memory.
    pub const MEMORY1: u16 = 1 << 3;
    /// Operand 1 is the immediate.
    pub const IMMEDIATE1: u16 = 1 << 4;
    /// Address size is 32 bits.
    pub const ADDRESS32: u16 = 1 << 6;
    /// Address size is 16 bits.
    pub const ADDRESS16: u16 = 1 << 7;
    /// `LOCK`, or an `XCHG` with memory.
    pub const LOCK: u16 = 1 << 8;
    /// `REP`/`REPE`.
    pub const REP: u16 = 1 << 9;
    /// `REPNE`.
    pub const REPNE: u16 = 1 << 10;
}

/// Pseudo-register: RIP of the block's start.
pub(crate) const REG_BLOCK: u8 = 16;
/// Pseudo-register: always zero.
pub(crate) const REG_ZERO: u8 = 17;
/// As the base: the address is the immediate (`MOV` with a 64-bit offset).
pub(crate) const REG_ABSOLUTE: u8 = 18;
/// Bit in a register number: the high byte AH, CH, DH or BH.
pub(crate) const REG_HIGH: u8 = 0x20;
/// Segment number whose base is always 0.
pub(crate) const SEG_ZERO: u8 = 6;

impl Op {
    /// Nothing decoded yet: all zeroes, as storage is at first.
    pub const EMPTY: Self = Self {
        kind: Kind::Undefined,
        sub: 0,
        a: 0,
        b: 0,
        flags: 0,
        offset: 0,
        next: 0,
        place: Place(0),
        immediate: 0,
    };

    #[inline(always)]
    pub(crate) fn size(&self) -> u16 {
        self.flags & flag::SIZE
    }
    #[inline(always)]
    pub(crate) fn has(&self, bits: u16) -> bool {
        self.flags & bits != 0
    }
    /// Length of the instruction in bytes (and of no-operations that follow it).
    pub(crate) fn length(&self) -> u8 {
        self.next - self.offset
    }
    /// The target of a conditional jump, if it is `taken`.
    #[inline(always)]
    pub(crate) fn target(&self, taken: bool) -> Option<u64> {
        taken.then_some(self.immediate)
    }
    /// Whether it is a conditional jump (and not a fused one).
    pub(crate) fn is_branch(&self) -> bool {
        (Kind::Jo as u8..=Kind::Jg as u8).contains(&(self.kind as u8))
    }
    /// How many instructions it is: 2 if it is fused.
    pub(crate) fn instructions(&self) -> u32 {
        let fused = Kind::CmpRr8Jcc as u8..=Kind::TestMi8Jcc as u8;
        1 + fused.contains(&(self.kind as u8)) as u32
    }
    /// Offset of the next instruction from the start of the block.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.next as u64
    }
}

/// Where a memory operand lies, in one word, because loads are what costs most where this CPU
/// itself is emulated: base register (bits 4:0), index register (12:8), scale (17:16), segment
/// (20:18), [`Place::SIMPLE`], [`Place::ODD`], displacement (63:32). And, as there is room for
/// it, how many instructions of the block come after the op (31:26).
#[derive(Clone, Copy, Debug, FromZeros)]
pub(crate) struct Place(u64);

impl Place {
    /// Address 0.
    pub const ZERO: Self = Self(0)
        .with_base(REG_ZERO)
        .with_index(REG_ZERO)
        .with_segment(SEG_ZERO);
    /// No index, and a segment base of 0.
    pub const SIMPLE: u64 = 1 << 24;
    /// The address needs masking or a segment base of a mode other than plain 64-bit.
    pub const ODD: u64 = 1 << 25;

    const fn with(self, shift: u32, mask: u64, value: u64) -> Self {
        Self(self.0 & !(mask << shift) | (value & mask) << shift)
    }
    pub const fn with_base(self, register: u8) -> Self {
        self.with(0, 0x1f, register as u64)
    }
    pub const fn with_index(self, register: u8) -> Self {
        self.with(8, 0x1f, register as u64)
    }
    pub const fn with_scale(self, scale: u8) -> Self {
        self.with(16, 3, scale as u64)
    }
    pub const fn with_segment(self, segment: u8) -> Self {
        self.with(18, 7, segment as u64)
    }
    pub const fn with_displacement(self, displacement: i32) -> Self {
        self.with(32, u32::MAX as u64, displacement as u32 as u64)
    }
    pub const fn odd(self) -> Self {
        Self(self.0 | Self::ODD)
    }
    /// Says whether it is [`Place::SIMPLE`], in 64-bit code.
    pub const fn simplified(self) -> Self {
        // FS and GS alone have bases there.
        if self.index() == REG_ZERO && self.segment() & 6 != 4 && !self.is(Self::ODD) {
            Self(self.0 | Self::SIMPLE)
        } else {
            self
        }
    }

    /// Most that [`Place::with_instructions_after`] takes.
    pub const MOST_AFTER: usize = 0x3f;
    pub const fn with_instructions_after(self, count: usize) -> Self {
        self.with(26, Self::MOST_AFTER as u64, count as u64)
    }
    #[inline(always)]
    pub const fn instructions_after(self) -> u32 {
        (self.0 >> 26) as u32 & Self::MOST_AFTER as u32
    }

    #[inline(always)]
    pub const fn base(self) -> u8 {
        self.0 as u8 & 0x1f
    }
    #[inline(always)]
    pub const fn index(self) -> u8 {
        (self.0 >> 8) as u8 & 0x1f
    }
    #[inline(always)]
    pub const fn scale(self) -> u32 {
        (self.0 >> 16) as u32 & 3
    }
    #[inline(always)]
    pub const fn segment(self) -> u8 {
        (self.0 >> 18) as u8 & 7
    }
    #[inline(always)]
    pub const fn displacement(self) -> u64 {
        (self.0 as i64 >> 32) as u64
    }
    #[inline(always)]
    pub const fn is(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
}

/// The two-operand arithmetic, with the numbers of the instruction encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alu {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    Cmp,
    Test,
}

impl Alu {
    pub const ALL: [Self; 9] = [
        Self::Add,
        Self::Or,
        Self::Adc,
        Self::Sbb,
        Self::And,
        Self::Sub,
        Self::Xor,
        Self::Cmp,
        Self::Test,
    ];
}

/// What [`Kind::Unary`] does.
pub(crate) mod unary {
    pub const NOT: u8 = 0;
    pub const NEG: u8 = 1;
    pub const INC: u8 = 2;
    pub const DEC: u8 = 3;
}

/// What [`Kind::Shift`] does, with the numbers of the instruction encoding.
pub(crate) mod shift {
    pub const ROL: u8 = 0;
    pub const ROR: u8 = 1;
    pub const RCL: u8 = 2;
    pub const RCR: u8 = 3;
    pub const SHL: u8 = 4;
    pub const SHR: u8 = 5;
    pub const SAR: u8 = 7;
}

/// What [`Kind::Wide`] does.
pub(crate) mod wide {
    pub const MUL: u8 = 0;
    pub const IMUL: u8 = 1;
    pub const DIV: u8 = 2;
    pub const IDIV: u8 = 3;
}

/// What [`Kind::BitTest`] does, with the numbers of the instruction encoding.
pub(crate) mod bit {
    pub const BT: u8 = 0;
    pub const BTS: u8 = 1;
    pub const BTR: u8 = 2;
    pub const BTC: u8 = 3;
}

/// What [`Kind::BitScan`] does.
pub(crate) mod scan {
    pub const BSF: u8 = 0;
    pub const BSR: u8 = 1;
    pub const TZCNT: u8 = 2;
    pub const LZCNT: u8 = 3;
    pub const POPCNT: u8 = 4;
}

/// What [`Kind::FlagOp`] does.
pub(crate) mod flag_op {
    pub const CLC: u8 = 0;
    pub const STC: u8 = 1;
    pub const CMC: u8 = 2;
    pub const CLD: u8 = 3;
    pub const STD: u8 = 4;
    pub const LAHF: u8 = 5;
    pub const SAHF: u8 = 6;
}

/// What [`Kind::Loop`] does.
pub(crate) mod looping {
    pub const LOOPNE: u8 = 0;
    pub const LOOPE: u8 = 1;
    pub const LOOP: u8 = 2;
    pub const JRCXZ: u8 = 3;
}

/// How an op is executed. Names say operands: `R` register, `I` immediate, `M` memory, the
/// destination first; a number is the operand size. Kinds without a form read it from the op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromZeros)]
#[repr(u8)]
#[rustfmt::skip]
pub(crate) enum Kind {
    /// Not an instruction: `#UD`. Zero, as storage is at first.
    Undefined,
    /// An instruction this CPU should know and doesn't: `#UD`, and reported.
    Unknown,
    Nop,
    // Moves. A move to memory has its source in `b`.
    MovRr32, MovRr64, MovRi,
    Load8, Load32, Load64, LoadZx8, LoadZx16, LoadSx32,
    Store8, Store16, Store32, Store64, StoreI8, StoreI32, StoreI64,
    MovzxRr8, MovzxRr16, MovsxRr32,
    Lea32, Lea64, Lea,
    /// Any move of one size.
    Mov,
    /// `sub` is log2 of the source's size.
    Movzx, Movsx,
    // Arithmetic, the forms worth their own arm. Immediates are 32 bits, sign-extended.
    AddRr32, AddRr64, AddRi32, AddRi64, AddRm32, AddRm64, AddMr32, AddMr64, AddMi32, AddMi64,
    OrRr32, OrRr64, OrRi32, OrRi64, OrRm32, OrRm64,
    AndRr32, AndRr64, AndRi32, AndRi64, AndRm32, AndRm64,
    SubRr32, SubRr64, SubRi32, SubRi64, SubRm32, SubRm64, SubMi32,
    XorRr32, XorRr64, XorRi32, XorRi64, XorRm32, XorRm64,
    CmpRr8, CmpRr32, CmpRr64, CmpRi8, CmpRi32, CmpRi64, CmpRm32, CmpRm64, CmpMr32, CmpMr64,
    CmpMi8, CmpMi16, CmpMi32, CmpMi64,
    TestRr8, TestRr32, TestRr64, TestRi8, TestRi32, TestRi64, TestMi8, TestMi32,
    // A compare or test with the conditional jump after it: its condition is `sub`, its target
    // the immediate's high half.
    CmpRr8Jcc, CmpRr32Jcc, CmpRr64Jcc, CmpRi8Jcc, CmpRi32Jcc, CmpRi64Jcc,
    CmpRm32Jcc, CmpRm64Jcc, CmpMr32Jcc, CmpMr64Jcc, CmpMi8Jcc, CmpMi32Jcc, CmpMi64Jcc,
    TestRr8Jcc, TestRr32Jcc, TestRr64Jcc, TestRi8Jcc, TestRi32Jcc, TestMi8Jcc,
    ShlRi32, ShlRi64, ShrRi32, ShrRi64, SarRi32, SarRi64,
    // By CL; rotations by an immediate.
    ShlRc32, ShlRc64, ShrRc32, ShrRc64, RolRi32, RolRi64, RorRi32, RorRi64,
    Inc32, Inc64, Dec32, Dec64, IncM32, IncM64, DecM32, DecM64, Not32, Not64, Neg32, Neg64,
    /// Any [`Alu`] (in `sub`) in any form.
    Alu,
    Unary,
    Shift,
    /// `SHLD` (`sub` 0) and `SHRD` (1); count in the immediate, or CL (`REP` flag clear, `sub` + 2).
    ShiftDouble,
    Imul, ImulImmediate,
    Wide,
    BitTest,
    BitScan,
    Bswap,
    /// `CBW`, `CWDE`, `CDQE`.
    SignExtendA,
    /// `CWD`, `CDQ`, `CQO`.
    SignExtendD,
    Setcc, SetccR, Cmov, Cmov64R,
    Xchg, Xadd, Cmpxchg,
    /// `CMPXCHG8B`, or `CMPXCHG16B` if the size is 8 bytes.
    CmpxchgWide,
    /// `ADCX` (`sub` 0), `ADOX` (1).
    Adx,
    /// BMI1 and BMI2, by the iced code in the immediate's top 16 bits.
    Bmi,
    FlagOp,
    // Stack.
    PushR64, PopR64, PushI64,
    Push, Pop, PushFlags, PopFlags, Enter, Leave,
    // Control flow: ends a block. Targets are relative to the block.
    Jmp, Call, JmpR, JmpM, CallR, CallM, Ret, RetNarrow, CallNarrow, JmpNarrow,
    Jo, Jno, Jb, Jae, Je, Jne, Jbe, Ja, Js, Jns, Jp, Jnp, Jl, Jge, Jle, Jg,
    Loop,
    Syscall, Sysret, Sysenter, Sysexit, Iret,
    /// `sub` is the event kind, the immediate the vector; 4 with kind 6 only if OF is set.
    SoftwareInterrupt,
    FarJmp, FarCall, FarRet,
    // Strings; `REP` in the flags.
    Movs, Stos, Lods, Scas, Cmps,
    // System.
    Cli, Sti, Clac, Stac, Swapgs, Rdmsr, Wrmsr, Rdpid, Rdrand,
    /// `sub` 1 is `RDTSCP`.
    Rdtsc,
    FsGsBase, Io,
    /// A VM exit with the reason in the immediate, `#GP(0)` before it unless CPL 0 if `sub` is 1.
    ExitOp,
    MovCr, MovDr, Xsetbv, Xgetbv,
    /// `CLFLUSH` and its family.
    Flush,
    /// Rare instructions by their iced code in the immediate's top 16 bits.
    Rare,
    // Floating point and vectors.
    Sse, SseMove, X87, Crc32, PcmpStr, FpuImage, MxCsr, Emms, MaskMov,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = Self::MaskMov as usize + 1;
}
