//! Operands of [`crate::decode`]: registers, immediates, the memory operand.

use crate::op::*;
use iced_x86::{Instruction, OpKind, Register};

pub(crate) fn register(r: Register) -> u8 {
    match r {
        Register::AH | Register::CH | Register::DH | Register::BH => {
            r.full_register().number() as u8 | REG_HIGH
        }
        // SPL to R15B come after AH to BH in iced's numbering of byte registers.
        r if r.is_gpr8() => r.full_register().number() as u8,
        r => r.number() as u8,
    }
}

pub(crate) fn size_of_bytes(bytes: usize) -> u16 {
    match bytes {
        1 => 0,
        2 => 1,
        4 => 2,
        _ => 3,
    }
}

/// Fills in operands 0 and 1 and the memory operand.
pub(crate) fn operands(i: &Instruction, long: bool) -> Op {
    let mut op = Op {
        place: Place::ZERO,
        ..Op::EMPTY
    };
    if !long {
        op.place = op.place.odd();
    }
    for n in 0..i.op_count() {
        match i.op_kind(n) {
            OpKind::Register => {
                let number = register(i.op_register(n));
                match n {
                    0 => op.a = number,
                    1 => op.b = number,
                    _ => {}
                }
            }
            OpKind::Memory => {
                match n {
                    0 => op.flags |= flag::MEMORY0,
                    1 => op.flags |= flag::MEMORY1,
                    _ => {}
                }
                memory_operand(i, long, &mut op);
            }
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                op.immediate = i.near_branch_target();
                if !long {
                    // Relative to the block, backwards too.
                    op.immediate = op.immediate as i32 as i64 as u64;
                }
            }
            OpKind::FarBranch16 | OpKind::FarBranch32 => {
                op.immediate = if i.op_kind(n) == OpKind::FarBranch16 {
                    i.far_branch16() as u64
                } else {
                    i.far_branch32() as u64
                } | (i.far_branch_selector() as u64) << 32;
            }
            OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI => string_operand(i, i.op_kind(n), &mut op),
            _ => {
                if n == 1 {
                    op.flags |= flag::IMMEDIATE1;
                }
                if n < 3 && op.place.base() != REG_ABSOLUTE {
                    op.immediate = i.immediate(n);
                }
            }
        }
    }
    let bytes = match i.op_kind(0) {
        OpKind::Register => i.op_register(0).size(),
        _ => i.memory_size().size(),
    };
    op.flags |= size_of_bytes(bytes);
    if i.has_lock_prefix() {
        op.flags |= flag::LOCK;
    }
    op
}

fn segment_number(r: Register) -> u8 {
    match r {
        Register::ES => 0,
        Register::CS => 1,
        Register::SS => 2,
        Register::FS => 4,
        Register::GS => 5,
        _ => 3,
    }
}

fn memory_operand(i: &Instruction, long: bool, op: &mut Op) {
    let (base, index) = (i.memory_base(), i.memory_index());
    let address_bytes = if base != Register::None {
        base.size()
    } else if index != Register::None {
        index.size()
    } else {
        i.memory_displ_size() as usize
    };
    op.place = op.place.with_base(match base {
        Register::None => REG_ZERO,
        Register::RIP | Register::EIP => REG_BLOCK,
        r => register(r),
    });
    if index != Register::None {
        op.place = op.place.with_index(register(index));
    }
    op.place = op
        .place
        .with_scale(i.memory_index_scale().trailing_zeros() as u8)
        .with_segment(segment_number(i.memory_segment()));
    match address_bytes {
        2 => {
            op.flags |= flag::ADDRESS16;
            op.place = op.place.odd();
        }
        4 => {
            op.flags |= flag::ADDRESS32;
            if long {
                op.place = op.place.odd();
            }
        }
        _ => {}
    }
    let displacement = i.memory_displacement64();
    let fits = displacement as i64 == displacement as i32 as i64;
    if address_bytes == 8 && !fits && base == Register::None && index == Register::None {
        op.place = op.place.with_base(REG_ABSOLUTE).odd();
        op.immediate = displacement;
    } else {
        op.place = op.place.with_displacement(displacement as i32);
    }
}

fn string_operand(i: &Instruction, kind: OpKind, op: &mut Op) {
    match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => {
            op.flags |= flag::ADDRESS16;
        }
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => {
            op.flags |= flag::ADDRESS32;
        }
        _ => {}
    }
    let source = matches!(
        kind,
        OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
    );
    if source {
        op.place = op.place.with_segment(segment_number(i.memory_segment()));
    }
    if i.has_rep_prefix() {
        op.flags |= flag::REP;
    }
    if i.has_repne_prefix() {
        op.flags |= flag::REPNE;
    }
}
