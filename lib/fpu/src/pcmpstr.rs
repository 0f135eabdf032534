//! `PCMPESTRI`, `PCMPESTRM`, `PCMPISTRI`, `PCMPISTRM` (SDM Vol. 2, 4.1).

/// What the four string comparisons give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmpStr {
    /// The index for ECX (`…I` forms).
    pub index: u32,
    /// The mask for XMM0 (`…M` forms).
    pub mask: u128,
    /// CF, ZF, SF and OF at their places in RFLAGS; AF and PF become 0.
    pub flags: u32,
}

/// Compares the strings in `a` (operand 1) and `b` (operand 2).
///
/// `lengths` are those of the explicit forms (`PCMPESTRx`): EAX and EDX sign-extended, or RAX and
/// RDX with REX.W; `None` for the implicit forms.
pub fn pcmpstr(a: u128, b: u128, lengths: Option<(i64, i64)>, imm: u8) -> PcmpStr {
    let bytes = imm & 1 == 0;
    let count = if bytes { 16 } else { 8 };
    let signed = imm & 2 != 0;
    let element = |value: u128, index: usize| -> i32 {
        match (bytes, signed) {
            (true, false) => i32::from((value >> (8 * index)) as u8),
            (true, true) => i32::from((value >> (8 * index)) as i8),
            (false, false) => i32::from((value >> (16 * index)) as u16),
            (false, true) => i32::from((value >> (16 * index)) as i16),
        }
    };
    let length = |value: u128, explicit: Option<i64>| -> usize {
        match explicit {
            Some(length) => length.unsigned_abs().min(count as u64) as usize,
            None => (0..count)
                .position(|index| element(value, index) == 0)
                .unwrap_or(count),
        }
    };
    let length_a = length(a, lengths.map(|pair| pair.0));
    let length_b = length(b, lengths.map(|pair| pair.1));

    let mut result = 0u32;
    for j in 0..count {
        let bit = match imm >> 2 & 3 {
            // Equal any: some character of the set A is at B[j].
            0 => j < length_b && (0..length_a).any(|i| element(a, i) == element(b, j)),
            // Ranges: A holds pairs of bounds.
            1 => {
                j < length_b
                    && (0..length_a / 2).any(|pair| {
                        element(a, 2 * pair) <= element(b, j)
                            && element(b, j) <= element(a, 2 * pair + 1)
                    })
            }
            // Equal each: both past their end counts as equal.
            2 => match (j < length_a, j < length_b) {
                (true, true) => element(a, j) == element(b, j),
                (false, false) => true,
                _ => false,
            },
            // Equal ordered: A is found at position j of B, as far as both reach.
            _ => (0..count - j)
                .all(|i| i >= length_a || i + j < length_b && element(a, i) == element(b, i + j)),
        };
        result |= u32::from(bit) << j;
    }
    let all = (1u32 << count) - 1;
    result = match imm >> 4 & 3 {
        1 => !result & all,
        // Only the valid characters of B are inverted.
        3 => result ^ ((1u32 << length_b) - 1),
        _ => result,
    };

    let index = match (result, imm & 0x40 != 0) {
        (0, _) => count as u32,
        (bits, false) => bits.trailing_zeros(),
        (bits, true) => 31 - bits.leading_zeros(),
    };
    let mask = if imm & 0x40 == 0 {
        u128::from(result)
    } else {
        let (width, ones) = if bytes { (8, 0xff) } else { (16, 0xffff) };
        (0..count)
            .filter(|index| result >> index & 1 != 0)
            .fold(0u128, |mask, index| mask | ones << (width * index))
    };
    let flags = u32::from(result != 0)
        | u32::from(length_b < count) << 6
        | u32::from(length_a < count) << 7
        | (result & 1) << 11;
    PcmpStr { index, mask, flags }
}
