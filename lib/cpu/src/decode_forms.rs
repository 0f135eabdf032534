//! Choices of [`crate::decode`] that need some looking at the instruction.

use crate::op::*;
use fpu::{Place, VectorForm, VectorOp};
use iced_x86::{Code, Instruction, Mnemonic as Mn, OpKind};

pub(crate) fn alu_kind(mnemonic: Mn) -> Option<Alu> {
    Some(match mnemonic {
        Mn::Add => Alu::Add,
        Mn::Or => Alu::Or,
        Mn::Adc => Alu::Adc,
        Mn::Sbb => Alu::Sbb,
        Mn::And => Alu::And,
        Mn::Sub => Alu::Sub,
        Mn::Xor => Alu::Xor,
        Mn::Cmp => Alu::Cmp,
        Mn::Test => Alu::Test,
        _ => return None,
    })
}

/// The kind for an arithmetic instruction's form; [`Kind::Alu`] where none is its own.
pub(crate) fn alu_form(op: &Op, alu: Alu) -> Kind {
    use Kind as K;
    #[derive(PartialEq)]
    enum F {
        Rr,
        Ri,
        Rm,
        Mr,
        Mi,
    }
    let form = match (
        op.has(flag::MEMORY0),
        op.has(flag::MEMORY1),
        op.has(flag::IMMEDIATE1),
    ) {
        (true, _, true) => F::Mi,
        (true, _, false) => F::Mr,
        (_, true, _) => F::Rm,
        (_, _, true) => F::Ri,
        _ => F::Rr,
    };
    if form == F::Ri && op.immediate as i64 != op.immediate as i32 as i64 {
        return K::Alu;
    }
    match (alu, form, op.size()) {
        (Alu::Add, F::Rr, 2) => K::AddRr32,
        (Alu::Add, F::Rr, 3) => K::AddRr64,
        (Alu::Add, F::Ri, 2) => K::AddRi32,
        (Alu::Add, F::Ri, 3) => K::AddRi64,
        (Alu::Add, F::Rm, 2) => K::AddRm32,
        (Alu::Add, F::Rm, 3) => K::AddRm64,
        (Alu::Add, F::Mr, 2) => K::AddMr32,
        (Alu::Add, F::Mr, 3) => K::AddMr64,
        (Alu::Add, F::Mi, 2) => K::AddMi32,
        (Alu::Add, F::Mi, 3) => K::AddMi64,
        (Alu::Or, F::Rr, 2) => K::OrRr32,
        (Alu::Or, F::Rr, 3) => K::OrRr64,
        (Alu::Or, F::Ri, 2) => K::OrRi32,
        (Alu::Or, F::Ri, 3) => K::OrRi64,
        (Alu::Or, F::Rm, 2) => K::OrRm32,
        (Alu::Or, F::Rm, 3) => K::OrRm64,
        (Alu::And, F::Rr, 2) => K::AndRr32,
        (Alu::And, F::Rr, 3) => K::AndRr64,
        (Alu::And, F::Ri, 2) => K::AndRi32,
        (Alu::And, F::Ri, 3) => K::AndRi64,
        (Alu::And, F::Rm, 2) => K::AndRm32,
        (Alu::And, F::Rm, 3) => K::AndRm64,
        (Alu::Sub, F::Rr, 2) => K::SubRr32,
        (Alu::Sub, F::Rr, 3) => K::SubRr64,
        (Alu::Sub, F::Ri, 2) => K::SubRi32,
        (Alu::Sub, F::Ri, 3) => K::SubRi64,
        (Alu::Sub, F::Rm, 2) => K::SubRm32,
        (Alu::Sub, F::Rm, 3) => K::SubRm64,
        (Alu::Sub, F::Mi, 2) => K::SubMi32,
        (Alu::Xor, F::Rr, 2) => K::XorRr32,
        (Alu::Xor, F::Rr, 3) => K::XorRr64,
        (Alu::Xor, F::Ri, 2) => K::XorRi32,
        (Alu::Xor, F::Ri, 3) => K::XorRi64,
        (Alu::Xor, F::Rm, 2) => K::XorRm32,
        (Alu::Xor, F::Rm, 3) => K::XorRm64,
        (Alu::Cmp, F::Rr, 0) => K::CmpRr8,
        (Alu::Cmp, F::Rr, 2) => K::CmpRr32,
        (Alu::Cmp, F::Rr, 3) => K::CmpRr64,
        (Alu::Cmp, F::Ri, 0) => K::CmpRi8,
        (Alu::Cmp, F::Ri, 2) => K::CmpRi32,
        (Alu::Cmp, F::Ri, 3) => K::CmpRi64,
        (Alu::Cmp, F::Rm, 2) => K::CmpRm32,
        (Alu::Cmp, F::Rm, 3) => K::CmpRm64,
        (Alu::Cmp, F::Mr, 2) => K::CmpMr32,
        (Alu::Cmp, F::Mr, 3) => K::CmpMr64,
        (Alu::Cmp, F::Mi, 0) => K::CmpMi8,
        (Alu::Cmp, F::Mi, 1) => K::CmpMi16,
        (Alu::Cmp, F::Mi, 2) => K::CmpMi32,
        (Alu::Cmp, F::Mi, 3) => K::CmpMi64,
        (Alu::Test, F::Rr, 0) => K::TestRr8,
        (Alu::Test, F::Rr, 2) => K::TestRr32,
        (Alu::Test, F::Rr, 3) => K::TestRr64,
        (Alu::Test, F::Ri, 0) => K::TestRi8,
        (Alu::Test, F::Ri, 2) => K::TestRi32,
        (Alu::Test, F::Ri, 3) => K::TestRi64,
        (Alu::Test, F::Mi, 0) => K::TestMi8,
        (Alu::Test, F::Mi, 2) => K::TestMi32,
        _ => K::Alu,
    }
}

pub(crate) fn setcc_condition(i: &Instruction) -> Option<u8> {
    let at = (i.code() as u32).checked_sub(Code::Seto_rm8 as u32)?;
    (at < 16).then_some(at as u8)
}

pub(crate) fn cmov_condition(i: &Instruction) -> Option<u8> {
    let at = (i.code() as u32).checked_sub(Code::Cmovo_r16_rm16 as u32)?;
    (at < 48).then_some((at / 3) as u8)
}

/// `MOV` to or from a segment, control or debug register.
pub(crate) fn is_system_move(i: &Instruction) -> bool {
    let system = |n| {
        i.op_kind(n) == OpKind::Register && {
            let r = i.op_register(n);
            r.is_cr() || r.is_dr() || r.is_tr() || r.is_segment_register()
        }
    };
    system(0) || system(1)
}

/// 2 if the count of a double shift is CL.
pub(crate) fn cl_count(i: &Instruction) -> u8 {
    if i.op_kind(2) == OpKind::Register {
        2
    } else {
        0
    }
}

/// log2 of the bytes that a push or pop moves.
pub(crate) fn stack_size(i: &Instruction) -> u16 {
    match i.stack_pointer_increment().unsigned_abs() {
        2 => 1,
        4 => 2,
        _ => 3,
    }
}

/// log2 of the offset size of a far pointer in memory.
pub(crate) fn far_pointer_size(code: Code) -> Option<u16> {
    Some(match code {
        Code::Call_m1616 | Code::Jmp_m1616 => 1,
        Code::Call_m1632 | Code::Jmp_m1632 => 2,
        Code::Call_m1664 | Code::Jmp_m1664 => 3,
        _ => return None,
    })
}

/// Size of the count register of `LOOP` and `JCXZ`, in bytes.
pub(crate) fn count_register_bytes(code: Code) -> usize {
    match code {
        Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Jcxz_rel8_16
        | Code::Jcxz_rel8_32 => 2,
        Code::Loopne_rel8_16_RCX
        | Code::Loopne_rel8_64_RCX
        | Code::Loope_rel8_16_RCX
        | Code::Loope_rel8_64_RCX
        | Code::Loop_rel8_16_RCX
        | Code::Loop_rel8_64_RCX
        | Code::Jrcxz_rel8_16
        | Code::Jrcxz_rel8_64 => 8,
        _ => 4,
    }
}

/// `sub` of an I/O instruction: direction IN (1), string (2), port in the immediate (4).
pub(crate) fn io(i: &Instruction, op: &mut Op) {
    let (sub, size) = match i.code() {
        Code::In_AL_imm8 => (5, 0),
        Code::In_AX_imm8 => (5, 1),
        Code::In_EAX_imm8 => (5, 2),
        Code::In_AL_DX => (1, 0),
        Code::In_AX_DX => (1, 1),
        Code::In_EAX_DX => (1, 2),
        Code::Out_imm8_AL => (4, 0),
        Code::Out_imm8_AX => (4, 1),
        Code::Out_imm8_EAX => (4, 2),
        Code::Out_DX_AL => (0, 0),
        Code::Out_DX_AX => (0, 1),
        Code::Out_DX_EAX => (0, 2),
        Code::Insb_m8_DX => (3, 0),
        Code::Insw_m16_DX => (3, 1),
        Code::Insd_m32_DX => (3, 2),
        Code::Outsb_DX_m8 => (2, 0),
        Code::Outsw_DX_m16 => (2, 1),
        _ => (2, 2),
    };
    op.kind = Kind::Io;
    op.sub = sub;
    op.flags = op.flags & !flag::SIZE | size;
}

/// Instructions of [`crate::Cpu::rare`].
pub(crate) fn is_rare(mnemonic: Mn) -> bool {
    matches!(
        mnemonic,
        Mn::Lgdt
            | Mn::Lidt
            | Mn::Sgdt
            | Mn::Sidt
            | Mn::Lldt
            | Mn::Sldt
            | Mn::Ltr
            | Mn::Str
            | Mn::Lmsw
            | Mn::Smsw
            | Mn::Clts
            | Mn::Invlpg
            | Mn::Invpcid
            | Mn::Lar
            | Mn::Lsl
            | Mn::Verr
            | Mn::Verw
            | Mn::Lss
            | Mn::Lfs
            | Mn::Lgs
            | Mn::Les
            | Mn::Lds
            | Mn::Xlatb
            | Mn::Daa
            | Mn::Das
            | Mn::Aaa
            | Mn::Aas
            | Mn::Aam
            | Mn::Aad
            | Mn::Bound
            | Mn::Arpl
            | Mn::Salc
    )
}

const fn place_number(place: Place) -> u64 {
    match place {
        Place::None => 0,
        Place::Xmm => 1,
        Place::Mm => 2,
        Place::Gpr32 => 3,
        Place::Gpr64 => 4,
        Place::Memory => 5,
        Place::Immediate => 6,
        Place::Flags => 7,
    }
}

const PLACES: [Place; 8] = [
    Place::None,
    Place::Xmm,
    Place::Mm,
    Place::Gpr32,
    Place::Gpr64,
    Place::Memory,
    Place::Immediate,
    Place::Flags,
];

/// Puts a vector instruction's form into an op.
pub(crate) fn vector(form: VectorForm, op: &mut Op) {
    op.kind = Kind::Sse;
    // Whole-register moves are by far the most frequent.
    let sixteen = form.bytes == 16 || form.bytes == 0;
    if form.op == VectorOp::Move && sixteen {
        let sub = match (form.dst, form.src) {
            (Place::Xmm, Place::Xmm) => Some(0),
            (Place::Xmm, Place::Memory) => Some(1),
            (Place::Memory, Place::Xmm) => Some(2),
            _ => None,
        };
        if let Some(sub) = sub {
            op.kind = Kind::SseMove;
            op.sub = sub | (form.aligned as u8) << 2;
            return;
        }
    }
    op.immediate = op.immediate & 0xff
        | (form.op as u64) << 8
        | place_number(form.dst) << 24
        | place_number(form.src) << 28
        | (form.bytes as u64) << 32
        | (form.aligned as u64) << 40
        | (form.reads_dst as u64) << 41
        | (form.mmx as u64) << 42;
}

/// The form that [`vector`] put into an op.
pub(crate) fn vector_form(op: &Op) -> Option<VectorForm> {
    let i = op.immediate;
    Some(VectorForm {
        op: *VectorOp::ALL.get((i >> 8) as u16 as usize)?,
        dst: PLACES[(i >> 24) as usize & 7],
        src: PLACES[(i >> 28) as usize & 7],
        bytes: (i >> 32) as u8,
        aligned: i >> 40 & 1 != 0,
        reads_dst: i >> 41 & 1 != 0,
        mmx: i >> 42 & 1 != 0,
    })
}
