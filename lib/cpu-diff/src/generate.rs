//! Random sequences of instructions and the states they start from.

use crate::layout::{DATA, HOT, PAGE, STACK};
use crate::random::Random;
use crate::state::{Page, Registers};
use crate::undefined;
use iced_x86::{
    Code, Encoder, FlowControl, Instruction, Mnemonic, OpAccess, OpCodeOperandKind, OpKind,
    Register,
};

/// A sequence, and what it starts from.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The seed that it was made from.
    pub seed: u64,
    /// The instructions; those that branch have the index of their target as operand.
    pub instructions: Vec<Instruction>,
    /// Registers at the start.
    pub registers: Registers,
    /// The data page at the start.
    pub data: Page,
    /// The stack page at the start.
    pub stack: Page,
}

/// Machine code of a sequence.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Offset of each instruction, and of the end.
    pub offsets: Vec<usize>,
}

/// RFLAGS bits.
pub mod flags {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Parity.
    pub const PF: u64 = 1 << 2;
    /// Auxiliary carry.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
    /// CF, PF, AF, ZF, SF and OF.
    pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
    /// DF.
    pub const DIRECTION: u64 = 0x400;
    /// IF and the bit that is always one: what user code has.
    pub const USER: u64 = 0x202;
}

/// Turns iced's flag bits into RFLAGS bits.
pub fn rflags(bits: u32) -> u64 {
    use iced_x86::RflagsBits as R;
    [
        (R::CF, 0),
        (R::PF, 2),
        (R::AF, 4),
        (R::ZF, 6),
        (R::SF, 7),
        (R::DF, 10),
        (R::OF, 11),
    ]
    .into_iter()
    .filter(|(flag, _)| bits & flag != 0)
    .fold(0, |flags, (_, bit)| flags | 1 << bit)
}

/// Registers that hold addresses at first.
const POINTERS: [Register; 6] = [
    Register::RBX,
    Register::RSI,
    Register::RDI,
    Register::RBP,
    Register::R12,
    Register::R13,
];

const GPR8: [Register; 20] = [
    Register::AL,
    Register::CL,
    Register::DL,
    Register::BL,
    Register::AH,
    Register::CH,
    Register::DH,
    Register::BH,
    Register::SPL,
    Register::BPL,
    Register::SIL,
    Register::DIL,
    Register::R8L,
    Register::R9L,
    Register::R10L,
    Register::R11L,
    Register::R12L,
    Register::R13L,
    Register::R14L,
    Register::R15L,
];

fn nth(first: Register, number: u64) -> Register {
    // Registers of a class follow each other in iced's numbering.
    first + number as u32
}

/// Makes one instruction after the other, knowing which flags and pointers are still good.
struct Maker<'a> {
    random: &'a mut Random,
    pointers: Vec<Register>,
    undefined: u64,
    branched: bool,
}

impl Maker<'_> {
    /// A register of the class; seldom the stack pointer.
    fn register(&mut self, first: Register) -> Register {
        let number = match self.random.below(16) {
            4 if self.random.below(8) != 0 => 0,
            number => number,
        };
        nth(first, number)
    }

    fn memory(&mut self, instruction: &mut Instruction, operand: u32) {
        instruction.set_op_kind(operand, OpKind::Memory);
        let size = instruction.memory_size().size() as u64;
        let aligned = size >= 16 && self.random.below(8) != 0;
        let jitter = if aligned {
            self.random.below(16) * 16
        } else {
            self.random.below(256)
        };
        // Now and then at a page's end or beyond.
        let at = match self.random.below(24) {
            0 => DATA + PAGE - self.random.below(2 * size.max(4)),
            1 => DATA - self.random.below(size.max(4)),
            _ => HOT + jitter,
        };
        if self.pointers.is_empty() || self.random.once_in(6) {
            if self.random.once_in(2) {
                instruction.set_memory_base(Register::RIP);
            }
            instruction.set_memory_displacement64(at);
            instruction.set_memory_displ_size(if instruction.memory_base() == Register::RIP {
                8
            } else {
                4
            });
            return;
        }
        let choice = self.random.below(self.pointers.len() as u64) as usize;
        let base = self.pointers[choice];
        let value = pointer_value(base);
        let narrow = self.random.once_in(12);
        instruction.set_memory_base(if narrow { low32(base) } else { base });
        // RCX is small more often than not.
        if self.random.once_in(5) && !narrow {
            let index = self
                .random
                .pick(&[Register::RCX, Register::RAX, Register::R9]);
            instruction.set_memory_index(index);
            instruction.set_memory_index_scale(self.random.pick(&[1, 2, 4, 8]));
        }
        instruction.set_memory_displacement64(at.wrapping_sub(value));
        instruction.set_memory_displ_size(4);
    }

    /// Sets one operand; false where it can't be made.
    fn operand(
        &mut self,
        instruction: &mut Instruction,
        number: u32,
        kind: OpCodeOperandKind,
        memory: bool,
    ) -> bool {
        use OpCodeOperandKind as K;
        let first = match kind {
            K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::mm_or_mem
            | K::xmm_or_mem
            | K::mem
                if memory =>
            {
                self.memory(instruction, number);
                return true;
            }
            K::mem => return false,
            K::r8_or_mem | K::r8_reg | K::r8_opcode => {
                let register = self.random.pick(&GPR8);
                instruction.set_op_kind(number, OpKind::Register);
                instruction.set_op_register(number, register);
                return true;
            }
            K::r16_or_mem | K::r16_reg | K::r16_rm | K::r16_opcode | K::r16_reg_mem => Register::AX,
            K::r32_or_mem
            | K::r32_vvvv
            | K::r32_reg
            | K::r32_rm
            | K::r32_opcode
            | K::r32_reg_mem => Register::EAX,
            K::r64_or_mem
            | K::r64_vvvv
            | K::r64_reg
            | K::r64_rm
            | K::r64_opcode
            | K::r64_reg_mem => Register::RAX,
            K::xmm_or_mem | K::xmm_reg | K::xmm_rm => {
                let register = nth(Register::XMM0, self.random.below(16));
                instruction.set_op_kind(number, OpKind::Register);
                instruction.set_op_register(number, register);
                return true;
            }
            K::mm_or_mem
            | K::mm_reg
            | K::mm_rm
            | K::sti_opcode
            | K::cr_reg
            | K::dr_reg
            | K::seg_reg => {
                let (first, count) = match kind {
                    K::sti_opcode => (Register::ST0, 8),
                    K::cr_reg => (Register::CR0, 1),
                    K::dr_reg => (Register::DR0, 8),
                    K::seg_reg => (Register::ES, 4),
                    _ => (Register::MM0, 8),
                };
                let register = nth(first, self.random.below(count));
                instruction.set_op_kind(number, OpKind::Register);
                instruction.set_op_register(number, register);
                return true;
            }
            K::es
            | K::cs
            | K::ss
            | K::ds
            | K::fs
            | K::gs
            | K::al
            | K::cl
            | K::ax
            | K::dx
            | K::eax
            | K::rax
            | K::st0 => {
                let register = match kind {
                    K::es => Register::ES,
                    K::cs => Register::CS,
                    K::ss => Register::SS,
                    K::ds => Register::DS,
                    K::fs => Register::FS,
                    K::gs => Register::GS,
                    K::al => Register::AL,
                    K::cl => Register::CL,
                    K::ax => Register::AX,
                    K::dx => Register::DX,
                    K::eax => Register::EAX,
                    K::rax => Register::RAX,
                    _ => Register::ST0,
                };
                instruction.set_op_kind(number, OpKind::Register);
                instruction.set_op_register(number, register);
                return true;
            }
            K::imm8 => {
                let second = number > 0 && instruction.op_kind(number - 1) == OpKind::Immediate16;
                instruction.set_op_kind(
                    number,
                    if second {
                        OpKind::Immediate8_2nd
                    } else {
                        OpKind::Immediate8
                    },
                );
                let value = if second {
                    self.random.below(4)
                } else {
                    self.random.integer()
                };
                if second {
                    instruction.set_immediate8_2nd(value as u8);
                } else {
                    instruction.set_immediate8(value as u8);
                }
                return true;
            }
            K::imm8_const_1 => {
                instruction.set_op_kind(number, OpKind::Immediate8);
                instruction.set_immediate8(1);
                return true;
            }
            K::imm8sex16
            | K::imm8sex32
            | K::imm8sex64
            | K::imm16
            | K::imm32
            | K::imm32sex64
            | K::imm64 => {
                instruction.set_op_kind(
                    number,
                    match kind {
                        K::imm8sex16 => OpKind::Immediate8to16,
                        K::imm8sex32 => OpKind::Immediate8to32,
                        K::imm8sex64 => OpKind::Immediate8to64,
                        K::imm16 => OpKind::Immediate16,
                        K::imm32 => OpKind::Immediate32,
                        K::imm32sex64 => OpKind::Immediate32to64,
                        _ => OpKind::Immediate64,
                    },
                );
                let mut value = self.random.integer();
                if instruction.mnemonic() == Mnemonic::Enter {
                    value &= 0x3f;
                }
                let value = match kind {
                    K::imm8sex16 | K::imm8sex32 | K::imm8sex64 => value as i8 as i64,
                    K::imm16 => i64::from(value as u16),
                    K::imm32 => i64::from(value as u32),
                    K::imm32sex64 => i64::from(value as i32),
                    _ => value as i64,
                };
                match kind {
                    K::imm8sex16 => instruction.set_immediate8to16(value as i16),
                    K::imm8sex32 => instruction.set_immediate8to32(value as i32),
                    K::imm8sex64 => instruction.set_immediate8to64(value),
                    K::imm16 => instruction.set_immediate16(value as u16),
                    K::imm32 => instruction.set_immediate32(value as u32),
                    K::imm32sex64 => instruction.set_immediate32to64(value),
                    _ => instruction.set_immediate64(value as u64),
                }
                return true;
            }
            K::seg_rSI | K::es_rDI | K::seg_rDI => {
                let narrow = self.random.once_in(8);
                instruction.set_op_kind(
                    number,
                    match (kind, narrow) {
                        (K::seg_rSI, false) => OpKind::MemorySegRSI,
                        (K::seg_rSI, true) => OpKind::MemorySegESI,
                        (K::es_rDI, false) => OpKind::MemoryESRDI,
                        (K::es_rDI, true) => OpKind::MemoryESEDI,
                        (_, false) => OpKind::MemorySegRDI,
                        (_, true) => OpKind::MemorySegEDI,
                    },
                );
                // Both operands of a string instruction have the same address size.
                if number == 1 {
                    let wide = matches!(
                        instruction.op_kind(0),
                        OpKind::MemoryESRDI | OpKind::MemorySegRSI
                    );
                    let fixed = match (kind, instruction.op_kind(0)) {
                        (_, OpKind::Register) => None,
                        (K::seg_rSI, _) if wide => Some(OpKind::MemorySegRSI),
                        (K::seg_rSI, _) => Some(OpKind::MemorySegESI),
                        _ if wide => Some(OpKind::MemoryESRDI),
                        _ => Some(OpKind::MemoryESEDI),
                    };
                    if let Some(fixed) = fixed {
                        instruction.set_op_kind(1, fixed);
                    }
                }
                return true;
            }
            K::seg_rBX_al => {
                instruction.set_op_kind(number, OpKind::Memory);
                instruction.set_memory_base(Register::RBX);
                instruction.set_memory_index(Register::AL);
                return true;
            }
            K::mem_offs => {
                instruction.set_op_kind(number, OpKind::Memory);
                instruction.set_memory_displacement64(HOT + self.random.below(256));
                instruction.set_memory_displ_size(8);
                return true;
            }
            K::br64_1 | K::br64_4 => {
                instruction.set_op_kind(number, OpKind::NearBranch64);
                return true;
            }
            _ => return false,
        };
        let register = self.register(first);
        instruction.set_op_kind(number, OpKind::Register);
        instruction.set_op_register(number, register);
        true
    }

    /// An instruction of the form, or `None` where this draw came to nothing.
    fn instruction(&mut self, code: Code) -> Option<Instruction> {
        let info = code.op_code();
        let mut instruction = Instruction::new();
        instruction.set_code(code);
        let memory = self.random.below(2) == 0
            || crate::forms::operands(code).any(|kind| kind == OpCodeOperandKind::mem);
        for number in 0..info.op_count() {
            if !self.operand(&mut instruction, number, info.op_kind(number), memory) {
                return None;
            }
        }
        if info.can_use_rep_prefix() && info.can_use_repne_prefix() {
            match self.random.below(3) {
                0 => instruction.set_has_rep_prefix(true),
                1 => instruction.set_has_repne_prefix(true),
                _ => {}
            }
        } else if info.can_use_rep_prefix() && self.random.below(2) == 0 {
            instruction.set_has_rep_prefix(true);
        }
        let locked = instruction.op_count() > 0 && instruction.op_kind(0) == OpKind::Memory;
        if info.can_use_lock_prefix() && locked && self.random.once_in(4) {
            instruction.set_has_lock_prefix(true);
        }
        // Flags that the SDM leaves undefined must not decide anything.
        if rflags(instruction.rflags_read()) & self.undefined != 0
            || self.undefined != 0
                && matches!(
                    code.mnemonic(),
                    Mnemonic::Pushf | Mnemonic::Pushfq | Mnemonic::Lahf
                )
        {
            return None;
        }
        self.follow(&instruction);
        Some(instruction)
    }

    /// Keeps track of flags and pointers.
    fn follow(&mut self, instruction: &Instruction) {
        self.undefined = undefined_after(instruction, self.undefined, self.branched);
        self.branched |= instruction.flow_control() != FlowControl::Next;
        let mut factory = iced_x86::InstructionInfoFactory::new();
        for used in factory.info(instruction).used_registers() {
            if !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
            ) {
                let full = used.register().full_register();
                self.pointers.retain(|&pointer| pointer != full);
            }
        }
    }
}

/// The flags that are undefined after an instruction. One that may not be executed, or may do
/// nothing, doesn't define any.
fn undefined_after(instruction: &Instruction, before: u64, branched: bool) -> u64 {
    let counted = (0..instruction.op_count()).any(|i| {
        instruction.op_kind(i) == OpKind::Register && instruction.op_register(i) == Register::CL
    }) || instruction.has_rep_prefix()
        || instruction.has_repne_prefix();
    let defined = if branched || counted {
        0
    } else {
        rflags(instruction.rflags_modified())
    };
    before & !defined | undefined::not_compared(instruction)
}

fn low32(register: Register) -> Register {
    nth(Register::EAX, register as u64 - Register::RAX as u64)
}

/// What a pointer register holds at the start.
fn pointer_value(register: Register) -> u64 {
    match register {
        Register::RBX => HOT,
        Register::RSI => HOT + 0x40,
        Register::RDI => HOT + 0x80,
        Register::RBP => HOT + 0xc8,
        Register::R12 => HOT - 0x111,
        _ => HOT + 3,
    }
}

/// Registers and pages to start from.
fn start(random: &mut Random) -> (Registers, Page, Page) {
    let mut registers = Registers::ZERO;
    for (number, value) in registers.gpr.iter_mut().enumerate() {
        let register = nth(Register::RAX, number as u64);
        *value = match register {
            Register::RSP => {
                STACK + PAGE / 2 + random.below(8) * if random.once_in(4) { 1 } else { 8 }
            }
            _ if POINTERS.contains(&register) => {
                // Now and then an address that only 32-bit addressing can use.
                let high = if random.once_in(40) {
                    random.bits() << 32
                } else {
                    0
                };
                pointer_value(register) | high
            }
            Register::RCX if random.below(4) != 0 => random.below(40),
            Register::RAX | Register::R9 if random.below(2) == 0 => random.below(32),
            _ => random.integer(),
        };
    }
    registers.rflags = flags::USER | random.bits() & flags::ARITHMETIC;
    if random.once_in(6) {
        registers.rflags |= flags::DIRECTION;
    }
    fill_image(random, &mut registers.image);
    let mut data = [0; PAGE as usize];
    let mut stack = [0; PAGE as usize];
    let hot = (HOT - DATA) as usize;
    for chunk in data[hot - 0x40..hot + 0x140].chunks_mut(16) {
        chunk.copy_from_slice(&random.vector().to_le_bytes());
    }
    if random.once_in(2) {
        data[hot + 0x40..hot + 0x4a].copy_from_slice(&random.extended().to_le_bytes()[..10]);
    }
    for chunk in stack[PAGE as usize / 2 - 0x20..PAGE as usize / 2 + 0x60].chunks_mut(8) {
        chunk.copy_from_slice(&random.integer().to_le_bytes());
    }
    (registers, data, stack)
}

/// A valid FXSAVE image in which no x87 exception is pending.
fn fill_image(random: &mut Random, image: &mut [u8; 512]) {
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let fcw = match random.below(4) {
        0 | 1 => 0x37f,
        2 => 0x37f & !0xf00 | (random.bits() as u16 & 0xf00),
        _ => random.bits() as u16 & 0x1f3f | 0x40,
    };
    // Precision control 1 is reserved.
    let fcw = if fcw >> 8 & 3 == 1 { fcw | 0x200 } else { fcw };
    put(0, &fcw.to_le_bytes());
    put(
        2,
        &(random.bits() as u16 & 0x7f00 | random.bits() as u16 & 0x3f & fcw).to_le_bytes(),
    );
    put(
        4,
        &[if random.below(2) == 0 {
            0xff
        } else {
            random.bits() as u8
        }],
    );
    put(6, &(random.bits() as u16 & 0x7ff).to_le_bytes());
    put(8, &random.below(1 << 47).to_le_bytes());
    put(16, &random.below(1 << 47).to_le_bytes());
    let mxcsr = match random.below(4) {
        0 | 1 => 0x1f80,
        2 => 0x1f80 | random.bits() as u32 & 0xe07f,
        _ => random.bits() as u32 & 0xffff,
    };
    put(24, &mxcsr.to_le_bytes());
    put(28, &fpu::MXCSR_MASK.to_le_bytes());
    for i in 0..8 {
        put(32 + 16 * i, &random.extended().to_le_bytes()[..10]);
    }
    for i in 0..16 {
        put(160 + 16 * i, &random.vector().to_le_bytes());
    }
}

impl Sequence {
    /// The sequence of a seed: its first instruction is of the given form, the others of any.
    pub fn new(seed: u64, first: Code, forms: &[Code]) -> Self {
        let mut random = Random::new(seed);
        let (registers, data, stack) = start(&mut random);
        let length = 1 + random.below(6) as usize;
        let mut maker = Maker {
            random: &mut random,
            pointers: POINTERS.to_vec(),
            undefined: 0,
            branched: false,
        };
        let mut instructions = Vec::with_capacity(length);
        for _ in 0..4 * length {
            if instructions.len() == length {
                break;
            }
            let code = if instructions.is_empty() {
                first
            } else {
                maker.random.pick(forms)
            };
            instructions.extend(maker.instruction(code));
        }
        let count = instructions.len();
        for (i, instruction) in instructions.iter_mut().enumerate() {
            if instruction.op_count() > 0 && instruction.op_kind(0) == OpKind::NearBranch64 {
                let target = i as u64 + 1 + random.below((count - i) as u64);
                instruction.set_near_branch64(target);
            }
        }
        Self {
            seed,
            instructions,
            registers,
            data,
            stack,
        }
    }

    /// Machine code for `address`; `None` where iced can't encode it (operands that exclude each
    /// other, such as AH with a REX prefix).
    pub fn assemble(&self, address: u64) -> Option<Assembled> {
        let mut assembled = Assembled::default();
        // Branches have the same length whatever their target, so two passes do.
        for pass in 0..2 {
            let offsets = std::mem::take(&mut assembled.offsets);
            assembled.bytes.clear();
            for instruction in &self.instructions {
                let at = address + assembled.bytes.len() as u64;
                assembled.offsets.push(assembled.bytes.len());
                let mut instruction = *instruction;
                if instruction.op_count() > 0 && instruction.op_kind(0) == OpKind::NearBranch64 {
                    let index = instruction.near_branch64() as usize;
                    let target = match pass {
                        0 => at + 6,
                        _ => address + *offsets.get(index)? as u64,
                    };
                    instruction.set_near_branch64(target);
                }
                let mut encoder = Encoder::new(64);
                encoder.encode(&instruction, at).ok()?;
                assembled.bytes.extend(encoder.take_buffer());
            }
            assembled.offsets.push(assembled.bytes.len());
        }
        Some(assembled)
    }

    /// For each instruction, and for the end: the flags that are undefined before it.
    pub fn undefined_flags(&self) -> Vec<u64> {
        let (mut undefined, mut branched) = (0, false);
        let mut all = vec![0];
        for instruction in &self.instructions {
            undefined = undefined_after(instruction, undefined, branched);
            branched |= instruction.flow_control() != FlowControl::Next;
            all.push(undefined);
        }
        all
    }
}
