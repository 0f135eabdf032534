//! From guest bytes to ops.

use crate::decode_forms::*;
use crate::decode_operands::{operands, register, size_of_bytes};
use crate::op::*;
use fpu::{VectorForm, X87Form};
use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic as Mn, OpKind};

/// Decoding modes; they are part of a block's key.
pub(crate) mod mode {
    /// 64-bit code; else 32-bit.
    pub const LONG: u8 = 1;
    /// 16-bit code segment (D = 0) outside of 64-bit mode.
    pub const SMALL: u8 = 2;
    /// One instruction per block.
    pub const SINGLE: u8 = 4;
}

/// Conditional jumps of a block: it goes on behind those that aren't taken.
const BRANCHES: usize = 3;

/// What a call of [`decode_block`] made.
pub(crate) struct Decoded {
    pub ops: usize,
    pub instructions: usize,
    /// The first instruction isn't complete in the bytes.
    pub incomplete: bool,
}

/// Decodes a block from the start of `bytes` into `ops`.
pub(crate) fn decode_block(bytes: &[u8], mode: u8, ops: &mut [Op]) -> Decoded {
    let bits = match mode & (mode::LONG | mode::SMALL) {
        mode::LONG => 64,
        mode::SMALL => 16,
        _ => 32,
    };
    let long = bits == 64;
    // RIP 0: RIP-relative operands and branch targets come out relative to the block.
    let mut decoder = Decoder::with_ip(bits, bytes, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut done = Decoded {
        ops: 0,
        instructions: 0,
        incomplete: false,
    };
    let mut branches = 0;
    while done.ops < ops.len() && done.instructions < Place::MOST_AFTER && branches < BRANCHES {
        if !decoder.can_decode() {
            done.incomplete = done.ops == 0;
            break;
        }
        let start = decoder.position();
        decoder.decode_out(&mut instruction);
        let incomplete =
            decoder.last_error() == DecoderError::NoMoreBytes && bytes.len() - start < 15;
        if incomplete {
            done.incomplete = done.ops == 0;
            break;
        }
        let (mut op, ends) = translate(&instruction, long);
        op.offset = start as u8;
        op.next = (start + instruction.len()) as u8;
        if long {
            op.place = op.place.simplified();
        }
        if op.kind == Kind::X87 {
            op.immediate |= x87_opcode(&bytes[start..start + instruction.len()]);
        }
        done.instructions += 1;
        if done.ops > 0 {
            let before = &mut ops[done.ops - 1];
            if fuse(before, &op) {
                branches += 1;
                before.place = before.place.with_instructions_after(done.instructions);
                continue;
            }
            if before.kind == Kind::Nop {
                // Only its length mattered, and this op knows where it stands.
                done.ops -= 1;
            } else if op.kind == Kind::Nop {
                // The op before reaches over it.
                before.next = op.next;
                continue;
            }
        }
        branches += op.is_branch() as usize;
        // For now those up to it: the block's length isn't known.
        op.place = op.place.with_instructions_after(done.instructions);
        ops[done.ops] = op;
        done.ops += 1;
        if ends || mode & mode::SINGLE != 0 {
            break;
        }
    }
    for op in &mut ops[..done.ops] {
        let up_to = op.place.instructions_after() as usize;
        op.place = op.place.with_instructions_after(done.instructions - up_to);
    }
    done
}

/// What an x87 instruction leaves in FOP: 3 bits of its first opcode byte and ModRM.
fn x87_opcode(bytes: &[u8]) -> u64 {
    // No prefix has one of these values.
    bytes
        .windows(2)
        .find(|pair| pair[0] & 0xf8 == 0xd8)
        .map_or(0, |pair| (pair[0] as u64 & 7) << 8 | pair[1] as u64)
}

/// Merges a conditional jump into the compare before it.
fn fuse(compare: &mut Op, jump: &Op) -> bool {
    if !jump.is_branch() {
        return false;
    }
    let condition = jump.kind as u8 - Kind::Jo as u8;
    // The parity conditions aren't worth it.
    if condition >> 1 == 5 || jump.immediate as i64 != jump.immediate as i32 as i64 {
        return false;
    }
    compare.kind = match compare.kind {
        Kind::CmpRr8 => Kind::CmpRr8Jcc,
        Kind::CmpRr32 => Kind::CmpRr32Jcc,
        Kind::CmpRr64 => Kind::CmpRr64Jcc,
        Kind::CmpRi8 => Kind::CmpRi8Jcc,
        Kind::CmpRi32 => Kind::CmpRi32Jcc,
        Kind::CmpRi64 => Kind::CmpRi64Jcc,
        Kind::CmpRm32 => Kind::CmpRm32Jcc,
        Kind::CmpRm64 => Kind::CmpRm64Jcc,
        Kind::CmpMr32 => Kind::CmpMr32Jcc,
        Kind::CmpMr64 => Kind::CmpMr64Jcc,
        Kind::CmpMi8 => Kind::CmpMi8Jcc,
        Kind::CmpMi32 => Kind::CmpMi32Jcc,
        Kind::CmpMi64 => Kind::CmpMi64Jcc,
        Kind::TestRr8 => Kind::TestRr8Jcc,
        Kind::TestRr32 => Kind::TestRr32Jcc,
        Kind::TestRr64 => Kind::TestRr64Jcc,
        Kind::TestRi8 => Kind::TestRi8Jcc,
        Kind::TestRi32 => Kind::TestRi32Jcc,
        Kind::TestMi8 => Kind::TestMi8Jcc,
        _ => return false,
    };
    compare.sub = condition;
    compare.immediate = compare.immediate & 0xffff_ffff | jump.immediate << 32;
    compare.next = jump.next;
    true
}

/// The op for an instruction, and whether the block ends with it.
fn translate(i: &Instruction, long: bool) -> (Op, bool) {
    let mut op = operands(i, long);
    let memory0 = op.has(flag::MEMORY0);
    let memory1 = op.has(flag::MEMORY1);
    let immediate1 = op.has(flag::IMMEDIATE1);
    let size = op.size();
    let absolute = op.place.base() == REG_ABSOLUTE;
    let mut ends = false;
    // Sets the kind (and the variant).
    macro_rules! kind {
        ($kind:ident) => {
            op.kind = Kind::$kind
        };
        ($kind:ident, $sub:expr) => {{
            op.kind = Kind::$kind;
            op.sub = $sub;
        }};
    }
    // A kind after which the block ends.
    macro_rules! last {
        ($kind:ident) => {{
            op.kind = Kind::$kind;
            ends = true;
        }};
        ($kind:ident, $sub:expr) => {{
            op.kind = Kind::$kind;
            op.sub = $sub;
            ends = true;
        }};
    }
    macro_rules! exit {
        ($reason:ident, $privileged:expr) => {{
            op.immediate = crate::exit::reason::$reason as u64;
            last!(ExitOp, $privileged);
        }};
    }
    macro_rules! rare {
        () => {{
            op.immediate = op.immediate & 0xffff_ffff_ffff | (i.code() as u64) << 48;
            op.kind = Kind::Rare;
            ends = true;
        }};
    }
    let code = i.code();
    let mnemonic = i.mnemonic();
    // Stack accesses of 64-bit code report #SS.
    let stack = crate::state::seg::SS as u8;

    if let Some(kind) = alu_kind(mnemonic) {
        op.kind = alu_form(&op, kind);
        if op.kind == Kind::Alu {
            op.sub = kind as u8;
        }
        return (op, false);
    }
    if i.is_jcc_short_or_near() {
        let condition = (i.condition_code() as usize).wrapping_sub(1);
        op.kind = JCC[condition & 15];
        return (op, false);
    }
    if let Some(condition) = setcc_condition(i) {
        kind!(Setcc, condition);
        if !memory0 {
            op.kind = Kind::SetccR;
        }
        return (op, false);
    }
    if let Some(condition) = cmov_condition(i) {
        kind!(Cmov, condition);
        if size == 3 && !memory1 {
            op.kind = Kind::Cmov64R;
        }
        return (op, false);
    }
    match mnemonic {
        Mn::Nop | Mn::Pause | Mn::Endbr32 | Mn::Endbr64 | Mn::Lfence | Mn::Mfence | Mn::Sfence => {
            kind!(Nop)
        }
        Mn::Prefetch
        | Mn::Prefetchnta
        | Mn::Prefetcht0
        | Mn::Prefetcht1
        | Mn::Prefetcht2
        | Mn::Prefetchw
        | Mn::Prefetchwt1
        | Mn::Prefetchit0
        | Mn::Prefetchit1
        | Mn::Cldemote
        | Mn::Reservednop
        | Mn::Rdsspd
        | Mn::Rdsspq
        | Mn::Serialize => kind!(Nop),

        // `sub`: 1 writes the system register, 0 reads it.
        Mn::Mov if is_system_move(i) => match code {
            Code::Mov_cr_r32 | Code::Mov_cr_r64 => last!(MovCr, 1),
            Code::Mov_r32_cr | Code::Mov_r64_cr => last!(MovCr, 0),
            Code::Mov_dr_r32 | Code::Mov_dr_r64 => last!(MovDr, 1),
            Code::Mov_r32_dr | Code::Mov_r64_dr => last!(MovDr, 0),
            _ => rare!(),
        },
        Mn::Mov => {
            op.kind = match (memory0, memory1, immediate1, size) {
                _ if absolute => Kind::Mov,
                (true, _, false, 0) => Kind::Store8,
                (true, _, false, 1) => Kind::Store16,
                (true, _, false, 2) => Kind::Store32,
                (true, _, false, _) => Kind::Store64,
                (true, _, true, 0) => Kind::StoreI8,
                (true, _, true, 2) => Kind::StoreI32,
                (true, _, true, 3) => Kind::StoreI64,
                (_, true, _, 0) => Kind::Load8,
                (_, true, _, 2) => Kind::Load32,
                (_, true, _, 3) => Kind::Load64,
                (false, false, true, 2) => {
                    op.immediate &= 0xffff_ffff;
                    Kind::MovRi
                }
                (false, false, true, 3) => Kind::MovRi,
                (false, false, false, 2) => Kind::MovRr32,
                (false, false, false, 3) => Kind::MovRr64,
                _ => Kind::Mov,
            };
        }
        Mn::Movzx | Mn::Movsx | Mn::Movsxd => {
            let from = if memory1 {
                i.memory_size().size()
            } else {
                i.op_register(1).size()
            };
            op.sub = size_of_bytes(from) as u8;
            let zero = mnemonic == Mn::Movzx;
            op.kind = match (zero, op.sub, memory1) {
                (true, 0, true) if size >= 2 => Kind::LoadZx8,
                (true, 1, true) if size >= 2 => Kind::LoadZx16,
                (true, 0, false) if size >= 2 => Kind::MovzxRr8,
                (true, 1, false) if size >= 2 => Kind::MovzxRr16,
                (false, 2, true) if size == 3 => Kind::LoadSx32,
                (false, 2, false) if size == 3 => Kind::MovsxRr32,
                (true, ..) => Kind::Movzx,
                (false, ..) => Kind::Movsx,
            };
        }
        Mn::Movnti => kind!(Mov),
        Mn::Movbe => rare!(),
        Mn::Lea => {
            op.kind = match size {
                1 => Kind::Lea,
                2 => Kind::Lea32,
                _ => Kind::Lea64,
            };
        }
        Mn::Not => match (memory0, size) {
            (false, 2) => kind!(Not32),
            (false, 3) => kind!(Not64),
            _ => kind!(Unary, unary::NOT),
        },
        Mn::Neg => match (memory0, size) {
            (false, 2) => kind!(Neg32),
            (false, 3) => kind!(Neg64),
            _ => kind!(Unary, unary::NEG),
        },
        Mn::Inc => match (memory0, size) {
            (false, 2) => kind!(Inc32),
            (false, 3) => kind!(Inc64),
            (true, 2) => kind!(IncM32),
            (true, 3) => kind!(IncM64),
            _ => kind!(Unary, unary::INC),
        },
        Mn::Dec => match (memory0, size) {
            (false, 2) => kind!(Dec32),
            (false, 3) => kind!(Dec64),
            (true, 2) => kind!(DecM32),
            (true, 3) => kind!(DecM64),
            _ => kind!(Unary, unary::DEC),
        },
        Mn::Rol => kind!(Shift, shift::ROL),
        Mn::Ror => kind!(Shift, shift::ROR),
        Mn::Rcl => kind!(Shift, shift::RCL),
        Mn::Rcr => kind!(Shift, shift::RCR),
        Mn::Shl | Mn::Sal => kind!(Shift, shift::SHL),
        Mn::Shr => kind!(Shift, shift::SHR),
        Mn::Sar => kind!(Shift, shift::SAR),
        Mn::Shld => kind!(ShiftDouble, cl_count(i)),
        Mn::Shrd => kind!(ShiftDouble, 1 | cl_count(i)),
        Mn::Imul => match i.op_count() {
            1 => kind!(Wide, wide::IMUL),
            2 => kind!(Imul),
            _ => kind!(ImulImmediate),
        },
        Mn::Mul => kind!(Wide, wide::MUL),
        Mn::Div => kind!(Wide, wide::DIV),
        Mn::Idiv => kind!(Wide, wide::IDIV),
        Mn::Bt => kind!(BitTest, bit::BT),
        Mn::Bts => kind!(BitTest, bit::BTS),
        Mn::Btr => kind!(BitTest, bit::BTR),
        Mn::Btc => kind!(BitTest, bit::BTC),
        Mn::Bsf => kind!(BitScan, scan::BSF),
        Mn::Bsr => kind!(BitScan, scan::BSR),
        Mn::Tzcnt => kind!(BitScan, scan::TZCNT),
        Mn::Lzcnt => kind!(BitScan, scan::LZCNT),
        Mn::Popcnt => kind!(BitScan, scan::POPCNT),
        Mn::Bswap => kind!(Bswap),
        Mn::Cbw | Mn::Cwde | Mn::Cdqe => {
            kind!(SignExtendA);
            op.flags = op.flags & !flag::SIZE
                | match mnemonic {
                    Mn::Cbw => 1,
                    Mn::Cwde => 2,
                    _ => 3,
                };
        }
        Mn::Cwd | Mn::Cdq | Mn::Cqo => {
            kind!(SignExtendD);
            op.flags = op.flags & !flag::SIZE
                | match mnemonic {
                    Mn::Cwd => 1,
                    Mn::Cdq => 2,
                    _ => 3,
                };
        }
        Mn::Xchg => {
            kind!(Xchg);
            // XCHG with memory locks without being told; encoders put memory second too.
            if memory1 {
                op.b = op.a;
                op.flags = op.flags & !flag::MEMORY1 | flag::MEMORY0;
            }
            if op.has(flag::MEMORY0) {
                op.flags |= flag::LOCK;
            }
        }
        Mn::Xadd => kind!(Xadd),
        Mn::Cmpxchg => kind!(Cmpxchg),
        Mn::Cmpxchg8b | Mn::Cmpxchg16b => {
            kind!(CmpxchgWide);
            op.flags = op.flags & !flag::SIZE | if mnemonic == Mn::Cmpxchg16b { 3 } else { 2 };
        }
        Mn::Adcx => kind!(Adx, 0),
        Mn::Adox => kind!(Adx, 1),
        Mn::Andn
        | Mn::Bextr
        | Mn::Blsi
        | Mn::Blsmsk
        | Mn::Blsr
        | Mn::Bzhi
        | Mn::Mulx
        | Mn::Pdep
        | Mn::Pext
        | Mn::Rorx
        | Mn::Sarx
        | Mn::Shlx
        | Mn::Shrx => {
            kind!(Bmi);
            // Three register operands: the third goes where the immediate has room.
            let third = if i.op_count() > 2 && i.op_kind(2) == OpKind::Register {
                register(i.op_register(2)) as u64
            } else {
                op.immediate & 0xff
            };
            if i.op_count() > 2 && i.op_kind(2) == OpKind::Memory {
                op.flags |= flag::MEMORY1;
            }
            op.immediate = third | (code as u64) << 48;
        }
        Mn::Clc => kind!(FlagOp, flag_op::CLC),
        Mn::Stc => kind!(FlagOp, flag_op::STC),
        Mn::Cmc => kind!(FlagOp, flag_op::CMC),
        Mn::Cld => kind!(FlagOp, flag_op::CLD),
        Mn::Std => kind!(FlagOp, flag_op::STD),
        Mn::Lahf => kind!(FlagOp, flag_op::LAHF),
        Mn::Sahf => kind!(FlagOp, flag_op::SAHF),

        Mn::Push => {
            let bytes = i.stack_pointer_increment().unsigned_abs() as usize;
            let segment =
                i.op_kind(0) == OpKind::Register && i.op_register(0).is_segment_register();
            let register = i.op_kind(0) == OpKind::Register;
            op.flags = op.flags & !flag::SIZE | size_of_bytes(bytes);
            match () {
                _ if segment => rare!(),
                _ if long && bytes == 8 && register => kind!(PushR64),
                _ if long && bytes == 8 && !memory0 => kind!(PushI64),
                _ => {
                    kind!(Push);
                    op.sub = (!register && !memory0) as u8;
                }
            }
            if !memory0 {
                op.place = op.place.with_segment(stack);
            }
        }
        Mn::Pop => {
            let bytes = i.stack_pointer_increment().unsigned_abs() as usize;
            let segment =
                i.op_kind(0) == OpKind::Register && i.op_register(0).is_segment_register();
            op.flags = op.flags & !flag::SIZE | size_of_bytes(bytes);
            match () {
                _ if segment => rare!(),
                _ if long && bytes == 8 && !memory0 => kind!(PopR64),
                _ => kind!(Pop),
            }
            if !memory0 {
                op.place = op.place.with_segment(stack);
            }
        }
        Mn::Pushf | Mn::Pushfd | Mn::Pushfq => {
            kind!(PushFlags);
            op.flags = op.flags & !flag::SIZE | stack_size(i);
            op.place = op.place.with_segment(stack);
        }
        Mn::Popf | Mn::Popfd | Mn::Popfq => {
            last!(PopFlags);
            op.flags = op.flags & !flag::SIZE | stack_size(i);
            op.place = op.place.with_segment(stack);
        }
        Mn::Leave => {
            kind!(Leave);
            op.flags = op.flags & !flag::SIZE
                | match code {
                    Code::Leavew => 1,
                    Code::Leaved => 2,
                    _ => 3,
                };
            op.place = op.place.with_segment(stack);
        }
        Mn::Enter => {
            kind!(Enter);
            op.flags = op.flags & !flag::SIZE
                | match code {
                    Code::Enterw_imm16_imm8 => 1,
                    Code::Enterd_imm16_imm8 => 2,
                    _ => 3,
                };
            op.immediate = i.immediate16() as u64 | (i.immediate8_2nd() as u64) << 16;
            op.place = op.place.with_segment(stack);
        }
        Mn::Pusha | Mn::Pushad | Mn::Popa | Mn::Popad => rare!(),

        Mn::Jmp | Mn::Call => {
            let call = mnemonic == Mn::Call;
            let near = |jump, called| if call { called } else { jump };
            let (kind, sub) = match code {
                Code::Jmp_rel8_64 | Code::Jmp_rel32_64 | Code::Jmp_rel8_32 | Code::Jmp_rel32_32 => {
                    (Kind::Jmp, 0)
                }
                Code::Call_rel32_64 => (Kind::Call, 0),
                Code::Jmp_rm64 | Code::Call_rm64 if memory0 => {
                    near((Kind::JmpM, 0), (Kind::CallM, 0))
                }
                Code::Jmp_rm64 | Code::Call_rm64 => near((Kind::JmpR, 0), (Kind::CallR, 0)),
                Code::Jmp_ptr1616 | Code::Call_ptr1616 | Code::Jmp_ptr1632 | Code::Call_ptr1632 => {
                    let wide = matches!(code, Code::Jmp_ptr1632 | Code::Call_ptr1632);
                    op.flags = op.flags & !flag::SIZE | if wide { 2 } else { 1 };
                    near((Kind::FarJmp, 0), (Kind::FarCall, 0))
                }
                _ => match far_pointer_size(code) {
                    // 1: the pointer is in memory.
                    Some(size) => {
                        op.flags = op.flags & !flag::SIZE | size;
                        near((Kind::FarJmp, 1), (Kind::FarCall, 1))
                    }
                    None => {
                        // 16- and 32-bit near transfers; 1: relative.
                        let relative = i.is_jmp_short_or_near() || i.is_call_near();
                        let narrow = matches!(
                            code,
                            Code::Jmp_rel8_16
                                | Code::Jmp_rel16
                                | Code::Jmp_rm16
                                | Code::Call_rel16
                                | Code::Call_rm16
                        );
                        op.flags = op.flags & !flag::SIZE | if narrow { 1 } else { 2 };
                        let sub = relative as u8;
                        near((Kind::JmpNarrow, sub), (Kind::CallNarrow, sub))
                    }
                },
            };
            op.kind = kind;
            op.sub = sub;
            ends = true;
        }
        Mn::Ret => {
            if i.op_count() == 0 {
                op.immediate = 0;
            }
            op.immediate &= 0xffff;
            op.place = op.place.with_segment(stack);
            match code {
                Code::Retnq | Code::Retnq_imm16 => last!(Ret),
                _ => {
                    let wide = matches!(code, Code::Retnd | Code::Retnd_imm16);
                    op.flags = op.flags & !flag::SIZE | if wide { 2 } else { 1 };
                    last!(RetNarrow)
                }
            }
        }
        Mn::Retf => {
            op.immediate = if i.op_count() == 0 {
                0
            } else {
                op.immediate & 0xffff
            };
            op.place = op.place.with_segment(stack);
            op.flags = op.flags & !flag::SIZE
                | match code {
                    Code::Retfw | Code::Retfw_imm16 => 1,
                    Code::Retfd | Code::Retfd_imm16 => 2,
                    _ => 3,
                };
            last!(FarRet)
        }
        Mn::Loop | Mn::Loope | Mn::Loopne | Mn::Jcxz | Mn::Jecxz | Mn::Jrcxz => {
            let kind = match mnemonic {
                Mn::Loopne => looping::LOOPNE,
                Mn::Loope => looping::LOOPE,
                Mn::Loop => looping::LOOP,
                _ => looping::JRCXZ,
            };
            match count_register_bytes(code) {
                2 => op.flags |= flag::ADDRESS16,
                4 => op.flags |= flag::ADDRESS32,
                _ => {}
            }
            last!(Loop, kind)
        }
        Mn::Syscall => last!(Syscall),
        Mn::Sysret => last!(Sysret, 0),
        Mn::Sysretq => last!(Sysret, 1),
        Mn::Sysenter => last!(Sysenter),
        Mn::Sysexit => last!(Sysexit, 0),
        Mn::Sysexitq => last!(Sysexit, 1),
        Mn::Iret | Mn::Iretd | Mn::Iretq => {
            op.flags = op.flags & !flag::SIZE
                | match code {
                    Code::Iretw => 1,
                    Code::Iretd => 2,
                    _ => 3,
                };
            op.place = op.place.with_segment(stack);
            last!(Iret)
        }
        Mn::Int => {
            op.immediate &= 0xff;
            last!(SoftwareInterrupt, 4)
        }
        Mn::Int1 => {
            op.immediate = 1;
            last!(SoftwareInterrupt, 5)
        }
        Mn::Int3 => {
            op.immediate = 3;
            last!(SoftwareInterrupt, 6)
        }
        Mn::Into => {
            op.immediate = 4;
            last!(SoftwareInterrupt, 6)
        }

        Mn::Movsb | Mn::Movsw | Mn::Movsq => kind!(Movs),
        Mn::Movsd if code == Code::Movsd_m32_m32 => kind!(Movs),
        Mn::Stosb | Mn::Stosw | Mn::Stosd | Mn::Stosq => kind!(Stos),
        Mn::Lodsb | Mn::Lodsw | Mn::Lodsd | Mn::Lodsq => kind!(Lods),
        Mn::Scasb | Mn::Scasw | Mn::Scasd | Mn::Scasq => kind!(Scas),
        Mn::Cmpsb | Mn::Cmpsw | Mn::Cmpsq => kind!(Cmps),
        Mn::Cmpsd if code == Code::Cmpsd_m32_m32 => kind!(Cmps),
        Mn::In | Mn::Out | Mn::Insb | Mn::Insw | Mn::Insd | Mn::Outsb | Mn::Outsw | Mn::Outsd => {
            io(i, &mut op);
            ends = true;
        }

        Mn::Cli => kind!(Cli),
        Mn::Sti => last!(Sti),
        Mn::Clac => last!(Clac),
        Mn::Stac => last!(Stac),
        Mn::Swapgs => kind!(Swapgs),
        Mn::Rdtsc => kind!(Rdtsc, 0),
        Mn::Rdtscp => kind!(Rdtsc, 1),
        Mn::Rdpid => kind!(Rdpid),
        Mn::Rdrand | Mn::Rdseed => kind!(Rdrand),
        Mn::Rdmsr => last!(Rdmsr),
        Mn::Wrmsr | Mn::Wrmsrns => last!(Wrmsr),
        Mn::Rdfsbase => kind!(FsGsBase, 0),
        Mn::Rdgsbase => kind!(FsGsBase, 1),
        Mn::Wrfsbase => kind!(FsGsBase, 2),
        Mn::Wrgsbase => kind!(FsGsBase, 3),
        Mn::Xgetbv => kind!(Xgetbv),
        Mn::Xsetbv => last!(Xsetbv),
        Mn::Clflush | Mn::Clflushopt | Mn::Clwb => kind!(Flush),

        Mn::Cpuid => exit!(CPUID, 0),
        Mn::Hlt => exit!(HLT, 1),
        Mn::Invd => exit!(INVD, 1),
        Mn::Wbinvd | Mn::Wbnoinvd => exit!(WBINVD, 1),
        Mn::Rdpmc => exit!(RDPMC, 0),
        Mn::Monitor => exit!(MONITOR, 2),
        Mn::Mwait => exit!(MWAIT, 2),
        Mn::Getsec => exit!(GETSEC, 0),
        Mn::Vmcall => exit!(VMCALL, 0),
        Mn::Tdcall => exit!(TDCALL, 1),
        Mn::Seamcall => exit!(SEAMCALL, 1),
        Mn::Ud0 | Mn::Ud1 | Mn::Ud2 => last!(Undefined),
        // VMX instructions other than VMCALL, SMX, SGX, UINTR, monitorless waiting: a TD has
        // none of them.
        Mn::Vmclear
        | Mn::Vmlaunch
        | Mn::Vmresume
        | Mn::Vmptrld
        | Mn::Vmptrst
        | Mn::Vmread
        | Mn::Vmwrite
        | Mn::Vmxoff
        | Mn::Vmxon
        | Mn::Invept
        | Mn::Invvpid
        | Mn::Vmfunc
        | Mn::Encls
        | Mn::Enclu
        | Mn::Enclv
        | Mn::Rsm
        | Mn::Vmmcall
        | Mn::Pconfig
        | Mn::Umonitor
        | Mn::Umwait
        | Mn::Tpause
        | Mn::Seamret
        | Mn::Seamops => last!(Undefined),

        Mn::Crc32 => {
            let from = if memory1 {
                i.memory_size().size()
            } else {
                i.op_register(1).size()
            };
            kind!(Crc32, size_of_bytes(from) as u8)
        }
        Mn::Pcmpestri
        | Mn::Pcmpestrm
        | Mn::Pcmpistri
        | Mn::Pcmpistrm
        | Mn::Pcmpestri64
        | Mn::Pcmpestrm64 => {
            op.immediate = i.immediate8() as u64 | (code as u64) << 48;
            kind!(PcmpStr)
        }
        Mn::Ldmxcsr => kind!(MxCsr, 0),
        Mn::Stmxcsr => kind!(MxCsr, 1),
        Mn::Emms => kind!(Emms),
        Mn::Maskmovq | Mn::Maskmovdqu => {
            // Operand 0 is the memory at rDI.
            op.a = register(i.op_register(1));
            op.b = register(i.op_register(2));
            kind!(MaskMov, (mnemonic == Mn::Maskmovdqu) as u8);
        }
        Mn::Fxsave
        | Mn::Fxsave64
        | Mn::Fxrstor
        | Mn::Fxrstor64
        | Mn::Xsave
        | Mn::Xsave64
        | Mn::Xsaveopt
        | Mn::Xsaveopt64
        | Mn::Xsavec
        | Mn::Xsavec64
        | Mn::Xsaves
        | Mn::Xsaves64
        | Mn::Xrstor
        | Mn::Xrstor64
        | Mn::Xrstors
        | Mn::Xrstors64 => {
            op.immediate = (code as u64) << 48;
            kind!(FpuImage)
        }
        _ if is_rare(mnemonic) => rare!(),
        Mn::INVALID => last!(Undefined),
        _ => {
            if let Some(form) = VectorForm::of(i) {
                vector(form, &mut op);
            } else if let Some(form) = X87Form::of(i) {
                let _ = form;
                op.immediate = (code as u64) << 48;
                kind!(X87);
            } else {
                last!(Unknown);
            }
        }
    }
    // Forms of frequent shifts.
    if op.kind == Kind::Shift && !memory0 && immediate1 && size >= 2 {
        op.immediate &= if size == 3 { 63 } else { 31 };
        let narrow = size == 2;
        op.kind = match (op.sub, op.immediate) {
            (_, 0) => op.kind,
            (shift::ROL, _) if narrow => Kind::RolRi32,
            (shift::ROL, _) => Kind::RolRi64,
            (shift::ROR, _) if narrow => Kind::RorRi32,
            (shift::ROR, _) => Kind::RorRi64,
            (shift::SHL, _) if narrow => Kind::ShlRi32,
            (shift::SHL, _) => Kind::ShlRi64,
            (shift::SHR, _) if narrow => Kind::ShrRi32,
            (shift::SHR, _) => Kind::ShrRi64,
            (shift::SAR, _) if narrow => Kind::SarRi32,
            (shift::SAR, _) => Kind::SarRi64,
            _ => op.kind,
        };
    }
    if op.kind == Kind::Shift && !memory0 && !immediate1 && size >= 2 {
        op.kind = match (op.sub, size) {
            (shift::SHL, 2) => Kind::ShlRc32,
            (shift::SHL, _) => Kind::ShlRc64,
            (shift::SHR, 2) => Kind::ShrRc32,
            (shift::SHR, _) => Kind::ShrRc64,
            _ => op.kind,
        };
    }
    (op, ends)
}

const JCC: [Kind; 16] = [
    Kind::Jo,
    Kind::Jno,
    Kind::Jb,
    Kind::Jae,
    Kind::Je,
    Kind::Jne,
    Kind::Jbe,
    Kind::Ja,
    Kind::Js,
    Kind::Jns,
    Kind::Jp,
    Kind::Jnp,
    Kind::Jl,
    Kind::Jge,
    Kind::Jle,
    Kind::Jg,
];
