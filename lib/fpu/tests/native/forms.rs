//! The forms under test, out of iced's tables, and how this crate executes them.

use crate::machine::State;
use fpu::image::{self, Layout};
use fpu::{FpuState, Place, Pointers, VectorForm, X87Form, X87Memory};
use iced_x86::{
    Code, CpuidFeature, EncodingKind, Instruction, MemoryOperand, OpCodeOperandKind, OpKind,
    Register,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Vector,
    X87,
}

pub struct Case {
    pub unit: Unit,
    pub instruction: Instruction,
    vector: Option<VectorForm>,
    x87: Option<X87Form>,
}

pub const LAYOUT: Layout = Layout {
    wide_pointers: true,
    high_xmm: true,
};

pub fn load(image: &[u8; 512]) -> FpuState {
    let mut state = FpuState::new();
    image::fxrstor(&mut state, image, LAYOUT).expect("a valid image");
    state
}

pub fn image_of(state: &FpuState) -> [u8; 512] {
    let mut image = [0; 512];
    image::fxsave(state, &mut image, LAYOUT);
    image
}

/// All instructions of the unit: register and memory operands, several immediates.
pub fn all(unit: Unit) -> Vec<Case> {
    let immediates: &[u8] = &[
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xb, 0xf, 0x10, 0x11, 0x1b, 0x31, 0x4e, 0x72, 0x93, 0xe4,
        0xff,
    ];
    let mut cases = Vec::new();
    for code in Code::values() {
        let info = code.op_code();
        if info.encoding() != EncodingKind::Legacy || !info.mode64() {
            continue;
        }
        if code.cpuid_features().iter().any(|feature| {
            matches!(
                feature,
                CpuidFeature::GFNI
                    | CpuidFeature::SSE4A
                    | CpuidFeature::CYRIX_FPU
                    | CpuidFeature::CYRIX_EMMI
                    | CpuidFeature::D3NOW
            )
        }) {
            continue;
        }
        let sha = code.cpuid_features().contains(&CpuidFeature::SHA);
        if sha && !is_x86_feature_detected!("sha") {
            continue;
        }
        for memory in [false, true] {
            let Some(shape) = shape(code, memory) else {
                continue;
            };
            let vector = VectorForm::of(&shape);
            let x87 = X87Form::of(&shape);
            let wanted = match unit {
                Unit::Vector => vector.is_some(),
                Unit::X87 => x87.is_some() && code != Code::Wait,
            };
            if !wanted {
                continue;
            }
            let last = shape.op_count().wrapping_sub(1);
            let has_immediate = last < 5 && shape.op_kind(last) == OpKind::Immediate8;
            for &immediate in if has_immediate { immediates } else { &[0] } {
                let mut instruction = shape;
                if has_immediate {
                    instruction.set_immediate8(immediate);
                }
                cases.push(Case {
                    unit,
                    instruction,
                    vector,
                    x87,
                });
            }
            // Same register twice.
            if !memory && unit == Unit::X87 && shape.op_count() == 2 {
                for st in 0..8 {
                    let mut instruction = shape;
                    for operand in 0..2 {
                        if matches!(info.op_kind(operand), OpCodeOperandKind::sti_opcode) {
                            instruction.set_op_register(operand, st_register(st));
                        }
                    }
                    let x87 = X87Form::of(&instruction);
                    cases.push(Case {
                        unit,
                        instruction,
                        vector: None,
                        x87,
                    });
                }
            }
        }
    }
    cases
}

fn st_register(st: u32) -> Register {
    Register::values()
        .nth(Register::ST0 as usize + st as usize)
        .expect("ST(i)")
}

/// The instruction with XMM1/XMM2 (MM1/MM2, EAX, ST(1)) or `[rsi]`; `None` where it can't be.
fn shape(code: Code, memory: bool) -> Option<Instruction> {
    use OpCodeOperandKind as K;
    let info = code.op_code();
    let mut instruction = Instruction::new();
    instruction.set_code(code);
    let mut used_memory = false;
    for i in 0..info.op_count() {
        let register = match info.op_kind(i) {
            K::xmm_reg => Some(Register::XMM0),
            K::xmm_rm => Some(Register::XMM1),
            K::mm_reg => Some(Register::MM0),
            K::mm_rm => Some(Register::MM1),
            K::r32_reg | K::r32_rm => Some(Register::EAX),
            K::r64_reg | K::r64_rm => Some(Register::RAX),
            K::st0 => Some(Register::ST0),
            K::sti_opcode => Some(Register::ST1),
            K::ax => None,
            K::imm8 => {
                instruction.set_op_kind(i, OpKind::Immediate8);
                continue;
            }
            K::xmm_or_mem if !memory => Some(Register::XMM1),
            K::mm_or_mem if !memory => Some(Register::MM1),
            K::r32_or_mem if !memory => Some(Register::EAX),
            K::r64_or_mem if !memory => Some(Register::RAX),
            K::xmm_or_mem | K::mm_or_mem | K::r32_or_mem | K::r64_or_mem | K::mem if memory => {
                used_memory = true;
                instruction.set_op_kind(i, OpKind::Memory);
                let operand = MemoryOperand::with_base(Register::RSI);
                instruction.set_memory_base(operand.base);
                continue;
            }
            _ => return None,
        };
        let register = match register {
            Some(register) => register,
            None => Register::AX,
        };
        instruction.set_op_kind(i, OpKind::Register);
        instruction.set_op_register(i, register);
    }
    (used_memory == memory).then_some(instruction)
}

impl Case {
    pub fn x87_memory(&self) -> X87Memory {
        self.x87.map_or(X87Memory::None, |form| form.memory)
    }

    /// What this crate makes of it.
    pub fn model(&self, before: &State, at: &Pointers) -> State {
        match (self.vector, self.x87) {
            (Some(form), _) => self.model_vector(form, before),
            (_, Some(form)) => self.model_x87(form, before, at),
            _ => unreachable!("every case has a form"),
        }
    }

    fn model_vector(&self, form: VectorForm, before: &State) -> State {
        let mut after = before.clone();
        let mut state = load(&before.image);
        let operand = |index: u32, place: Place, state: &FpuState| -> u128 {
            let register = self.instruction.op_register(index);
            match place {
                Place::Xmm => state.xmm[register as usize - Register::XMM0 as usize],
                Place::Mm => u128::from(
                    state
                        .x87
                        .mm((register as usize - Register::MM0 as usize) as u8),
                ),
                Place::Gpr32 => u128::from(before.rax as u32),
                Place::Gpr64 => u128::from(before.rax),
                Place::Immediate => u128::from(self.instruction.immediate8()),
                Place::Memory => {
                    let mut bytes = [0; 16];
                    let size = usize::from(form.bytes);
                    bytes[..size].copy_from_slice(&before.memory[..size]);
                    u128::from_le_bytes(bytes)
                }
                _ => 0,
            }
        };
        if form.mmx {
            state.x87.enter_mmx().expect("nothing is pending");
        }
        let place = if form.dst == Place::Flags {
            Place::Xmm
        } else {
            form.dst
        };
        let dst = if form.reads_dst {
            operand(0, place, &state)
        } else {
            0
        };
        let src = operand(1, form.src, &state);
        let last = self.instruction.op_count() - 1;
        let imm = if last > 0 && self.instruction.op_kind(last) == OpKind::Immediate8 {
            self.instruction.immediate8()
        } else {
            0
        };
        let mut mxcsr = state.mxcsr;
        let result = fpu::vector(form.op, form.mmx, dst, src, imm, state.xmm[0], &mut mxcsr)
            .expect("all exceptions are masked");
        state.mxcsr = mxcsr;
        let register = self.instruction.op_register(0) as usize;
        match form.dst {
            Place::Xmm => state.xmm[register - Register::XMM0 as usize] = result,
            Place::Mm => state
                .x87
                .set_mm((register - Register::MM0 as usize) as u8, result as u64),
            Place::Gpr32 => after.rax = u64::from(result as u32),
            Place::Gpr64 => after.rax = result as u64,
            Place::Memory => {
                let size = usize::from(form.bytes);
                after.memory[..size].copy_from_slice(&result.to_le_bytes()[..size]);
            }
            Place::Flags => after.rflags = before.rflags & !0x8d5 | result as u64,
            _ => {}
        }
        after.image = image_of(&state);
        after
    }

    fn model_x87(&self, form: X87Form, before: &State, at: &Pointers) -> State {
        let mut after = before.clone();
        let mut state = load(&before.image);
        let wide = |memory| matches!(memory, X87Memory::Env28 | X87Memory::State108);
        let env = if wide(form.memory) {
            fpu::Env::Protected32
        } else {
            fpu::Env::Protected16
        };
        match form.op {
            fpu::X87Op::Ldenv => {
                let image = before.memory[..28].try_into().expect("28 bytes");
                state.x87.load_env(env, image).expect("nothing is pending");
            }
            fpu::X87Op::Rstor => {
                let image = before.memory[..108].try_into().expect("108 bytes");
                state.x87.restore(env, image).expect("nothing is pending");
            }
            fpu::X87Op::Stenv => {
                let image = state.x87.store_env(env);
                after.memory[..env.bytes()].copy_from_slice(&image[..env.bytes()]);
            }
            fpu::X87Op::Save => {
                let image = state.x87.save(env);
                let size = env.bytes() + 80;
                after.memory[..size].copy_from_slice(&image[..size]);
            }
            _ => {
                let mut operand = [0; 16];
                let size = form.memory.bytes();
                operand[..size].copy_from_slice(&before.memory[..size]);
                let output = state
                    .x87
                    .execute(form, u128::from_le_bytes(operand), before.rflags, at)
                    .expect("nothing is pending");
                if let Some(value) = output.memory {
                    after.memory[..size].copy_from_slice(&value.to_le_bytes()[..size]);
                }
                if let Some(value) = output.ax {
                    after.rax = before.rax & !0xffff | u64::from(value);
                }
                if let Some(flags) = output.flags {
                    after.rflags = before.rflags & !0x8d5 | u64::from(flags);
                }
            }
        }
        after.image = image_of(&state);
        after
    }

    /// For instructions where results within one unit in the last place will do: the biased
    /// exponent of ST(0) from which on the result is undefined.
    fn transcendental_range(&self) -> Option<u128> {
        use fpu::X87Op as O;
        match self.x87?.op {
            // Beyond 1; beyond √2 - 1 or √½ - 1.
            O::F2xm1 => Some(0x3fff),
            O::Yl2xp1 => Some(0x3ffd),
            O::Yl2x | O::Patan | O::Ptan | O::Sin | O::Cos | O::Sincos => Some(0x7fff),
            _ => None,
        }
    }

    /// What differs, in words.
    pub fn difference(&self, before: &State, expected: &State, actual: &State) -> Option<String> {
        if expected.image == actual.image
            && expected.memory == actual.memory
            && expected.rax == actual.rax
            && (expected.rflags ^ actual.rflags) & 0x8d5 == 0
        {
            return None;
        }
        if self
            .transcendental_range()
            .is_some_and(|range| near(range, before, expected, actual))
        {
            return None;
        }
        let mut lines = Vec::new();
        let field = |state: &State, at: usize, size: usize| {
            let hex: String = state.image[at..at + size]
                .iter()
                .rev()
                .map(|b| format!("{b:02x}"))
                .collect();
            hex
        };
        let names = (0..8)
            .map(|i| (format!("st{i}"), 32 + 16 * i, 10))
            .chain((0..16).map(|i| (format!("xmm{i}"), 160 + 16 * i, 16)))
            .chain(
                [
                    ("fcw", 0, 2),
                    ("fsw", 2, 2),
                    ("valid", 4, 1),
                    ("fop", 6, 2),
                    ("fip", 8, 8),
                    ("fdp", 16, 8),
                    ("mxcsr", 24, 4),
                ]
                .map(|(n, a, s)| (n.to_string(), a, s)),
            );
        let mut context = Vec::new();
        for (name, at, size) in names {
            let (want, got) = (field(expected, at, size), field(actual, at, size));
            if want != got {
                lines.push(format!("  {name}: machine {want}, here {got}"));
            }
            if ["st0", "st1", "xmm0", "xmm1", "fcw", "fsw", "valid", "mxcsr"]
                .contains(&name.as_str())
            {
                context.push(format!("{name}={}", field(before, at, size)));
            }
        }
        if expected.memory != actual.memory {
            lines.push(format!(
                "  memory: machine {:02x?}, here {:02x?}",
                &expected.memory[..32],
                &actual.memory[..32]
            ));
        }
        if expected.rax != actual.rax {
            lines.push(format!(
                "  rax: machine {:x}, here {:x}",
                expected.rax, actual.rax
            ));
        }
        if (expected.rflags ^ actual.rflags) & 0x8d5 != 0 {
            lines.push(format!(
                "  rflags: machine {:x}, here {:x}",
                expected.rflags, actual.rflags
            ));
        }
        (!lines.is_empty()).then(|| {
            let memory = u128::from_le_bytes(before.memory[..16].try_into().expect("16 bytes"));
            format!(
                "{}\n  before: {} memory={memory:032x} rflags={:x}",
                lines.join("\n"),
                context.join(" "),
                before.rflags
            )
        })
    }
}

/// The SDM promises transcendental results within one unit in the last place, and for arguments
/// in the stated ranges only (Vol. 1, 8.3.10): so C1, overflow, underflow and inexact may differ,
/// too, and everything that follows from one of those being unmasked.
fn near(range: u128, before: &State, expected: &State, actual: &State) -> bool {
    const LOOSE: u16 = 0x238;
    let word =
        |state: &State, at: usize| u16::from_le_bytes([state.image[at], state.image[at + 1]]);
    let (a, b) = (word(expected, 2), word(actual, 2));
    if (a ^ b) & LOOSE & !word(before, 0) & 0x3f != 0 {
        return true;
    }
    let exponent = value(before, 0) >> 64 & 0x7fff;
    let out_of_range = exponent >= range && exponent < 0x7fff;
    let place = |bits: u128| bits >> 64 << 63 | bits & u128::from(u64::MAX >> 1);
    let registers = (0..8).all(|i| {
        let (a, b) = (value(expected, i), value(actual, i));
        a == b || out_of_range || place(a).abs_diff(place(b)) <= 1
    });
    registers && (a ^ b) & !LOOSE == 0 && expected.image[160..416] == actual.image[160..416]
}

fn value(state: &State, st: usize) -> u128 {
    let mut bytes = [0; 16];
    bytes[..10].copy_from_slice(&state.image[32 + 16 * st..42 + 16 * st]);
    u128::from_le_bytes(bytes)
}
