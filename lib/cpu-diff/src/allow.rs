//! What may differ at an exception: traces that processors leave and the SDM doesn't define.

use crate::layout::PAGE;
use crate::state::{End, Outcome};
use iced_x86::{Instruction, Mnemonic};

/// Makes `software` equal to `native` in those things that the instruction at which both ended in
/// an exception leaves open. Everything else stays, to be compared.
pub fn forgive(instruction: &Instruction, native: &Outcome, software: &mut Outcome) {
    let End::Fault { address, .. } = native.end else {
        return;
    };
    let uses_mmx = (0..instruction.op_count()).any(|i| instruction.op_register(i).is_mm());
    if uses_mmx {
        forgive_mmx(native, software);
    }
    // Which byte of a long operand that leaves a page is met first is the processor's choice.
    let long = matches!(
        instruction.mnemonic(),
        Mnemonic::Fldenv
            | Mnemonic::Frstor
            | Mnemonic::Fnsave
            | Mnemonic::Fsave
            | Mnemonic::Fnstenv
            | Mnemonic::Fstenv
            | Mnemonic::Fxsave
            | Mnemonic::Fxsave64
            | Mnemonic::Fxrstor
            | Mnemonic::Fxrstor64
    );
    // So it is where a masked store begins (its address may wrap at 32 bits).
    let masked = matches!(
        instruction.mnemonic(),
        Mnemonic::Maskmovdqu | Mnemonic::Maskmovq
    );
    if let End::Fault { address: ours, .. } = &mut software.end
        && (long && *ours / PAGE == address / PAGE
            || masked && (address as u32).wrapping_sub(*ours as u32) < 16)
    {
        *ours = address;
    }
    // A long operand is stored in parts, of which some may have been written.
    let size = instruction.memory_size().size().min(PAGE as usize);
    if long || size == 10 {
        let part = PAGE as usize - size;
        for (from, to) in [
            (&native.data, &mut software.data),
            (&native.stack, &mut software.stack),
        ] {
            to[part..].copy_from_slice(&from[part..]);
        }
    }
}

/// An MMX instruction sets TOP to 0 and the tags to valid (SDM Vol. 1, 9.5.1); processors do so
/// before they meet an exception of the instruction. The registers must still be the same.
fn forgive_mmx(native: &Outcome, software: &mut Outcome) {
    let (ours, theirs) = (&mut software.registers.image, &native.registers.image);
    let top = |image: &[u8; 512]| usize::from(image[3] >> 3 & 7);
    let place = |i: usize| 32 + 16 * (i & 7);
    let mut moved = *ours;
    for i in 0..8 {
        // Physical register R(i).
        let from = place(i + 8 - top(ours));
        let to = place(i + 8 - top(theirs));
        moved[to..to + 16].copy_from_slice(&ours[from..from + 16]);
    }
    moved[3] = moved[3] & !0x38 | theirs[3] & 0x38;
    moved[4] = theirs[4];
    *ours = moved;
}
