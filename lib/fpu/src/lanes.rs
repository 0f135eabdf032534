//! Integer operations on the lanes of a 128-bit value.

pub fn bytes(value: u128) -> [u8; 16] {
    value.to_le_bytes()
}
pub fn from_bytes(lanes: [u8; 16]) -> u128 {
    u128::from_le_bytes(lanes)
}
pub fn words(value: u128) -> [u16; 8] {
    core::array::from_fn(|i| (value >> (16 * i)) as u16)
}
pub fn from_words(lanes: [u16; 8]) -> u128 {
    lanes
        .iter()
        .rev()
        .fold(0, |value, &lane| value << 16 | u128::from(lane))
}
pub fn dwords(value: u128) -> [u32; 4] {
    core::array::from_fn(|i| (value >> (32 * i)) as u32)
}
pub fn from_dwords(lanes: [u32; 4]) -> u128 {
    lanes
        .iter()
        .rev()
        .fold(0, |value, &lane| value << 32 | u128::from(lane))
}
pub fn qwords(value: u128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}
pub fn from_qwords(lanes: [u64; 2]) -> u128 {
    u128::from(lanes[0]) | u128::from(lanes[1]) << 64
}

/// Applies `f` to the byte lanes of both operands.
pub fn zip8(a: u128, b: u128, f: impl Fn(u8, u8) -> u8) -> u128 {
    let (a, b) = (bytes(a), bytes(b));
    from_bytes(core::array::from_fn(|i| f(a[i], b[i])))
}
/// Applies `f` to the word lanes of both operands.
pub fn zip16(a: u128, b: u128, f: impl Fn(u16, u16) -> u16) -> u128 {
    let (a, b) = (words(a), words(b));
    from_words(core::array::from_fn(|i| f(a[i], b[i])))
}
/// Applies `f` to the doubleword lanes of both operands.
pub fn zip32(a: u128, b: u128, f: impl Fn(u32, u32) -> u32) -> u128 {
    let (a, b) = (dwords(a), dwords(b));
    from_dwords(core::array::from_fn(|i| f(a[i], b[i])))
}
/// Applies `f` to the quadword lanes of both operands.
pub fn zip64(a: u128, b: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
    let (a, b) = (qwords(a), qwords(b));
    from_qwords([f(a[0], b[0]), f(a[1], b[1])])
}

/// All ones where `condition`.
pub fn ones8(condition: bool) -> u8 {
    if condition { u8::MAX } else { 0 }
}
/// All ones where `condition`.
pub fn ones16(condition: bool) -> u16 {
    if condition { u16::MAX } else { 0 }
}
/// All ones where `condition`.
pub fn ones32(condition: bool) -> u32 {
    if condition { u32::MAX } else { 0 }
}
/// All ones where `condition`.
pub fn ones64(condition: bool) -> u64 {
    if condition { u64::MAX } else { 0 }
}

/// A signed word saturated to a signed byte.
pub fn signed_byte(value: u16) -> u8 {
    (value as i16).clamp(-128, 127) as u8
}
/// A signed word saturated to an unsigned byte.
pub fn unsigned_byte(value: u16) -> u8 {
    (value as i16).clamp(0, 255) as u8
}
/// A signed doubleword saturated to a signed word.
pub fn signed_word(value: u32) -> u16 {
    (value as i32).clamp(-0x8000, 0x7fff) as u16
}
/// A signed doubleword saturated to an unsigned word.
pub fn unsigned_word(value: u32) -> u16 {
    (value as i32).clamp(0, 0xffff) as u16
}

/// Narrows the words of `dst`, then those of `src`, to bytes.
pub fn pack_words(mmx: bool, dst: u128, src: u128, narrow: fn(u16) -> u8) -> u128 {
    let half = if mmx { 4 } else { 8 };
    let (a, b) = (words(dst), words(src));
    from_bytes(core::array::from_fn(|i| {
        if i < half {
            narrow(a[i])
        } else if i < 2 * half {
            narrow(b[i - half])
        } else {
            0
        }
    }))
}

/// Narrows the doublewords of `dst`, then those of `src`, to words.
pub fn pack_dwords(mmx: bool, dst: u128, src: u128, narrow: fn(u32) -> u16) -> u128 {
    let half = if mmx { 2 } else { 4 };
    let (a, b) = (dwords(dst), dwords(src));
    from_words(core::array::from_fn(|i| {
        if i < half {
            narrow(a[i])
        } else if i < 2 * half {
            narrow(b[i - half])
        } else {
            0
        }
    }))
}

/// Interleaves the low halves of `dst` and `src` in lanes of `width` bits.
pub fn interleave_low(dst: u128, src: u128, width: u32) -> u128 {
    let mask = (1u128 << width) - 1;
    let mut result = 0;
    for lane in 0..64 / width {
        let pair = dst >> (lane * width) & mask | (src >> (lane * width) & mask) << width;
        result |= pair << (2 * lane * width);
    }
    result
}

/// Interleaves the high halves; of 64-bit operands for MM registers.
pub fn interleave_high(mmx: bool, dst: u128, src: u128, width: u32) -> u128 {
    if mmx {
        interleave_low(dst, src, width) >> 64
    } else {
        interleave_low(dst >> 64, src >> 64, width)
    }
}

/// `PSHUFB`.
pub fn shuffle_bytes(mmx: bool, dst: u128, src: u128) -> u128 {
    let lanes = bytes(dst);
    let last = if mmx { 7 } else { 15 };
    from_bytes(bytes(src).map(|index| {
        if index & 0x80 != 0 {
            0
        } else {
            lanes[usize::from(index & last)]
        }
    }))
}

/// Picks four words (from lane `base` on) as the 2-bit fields of `imm` say; the others stay.
pub fn shuffle_words(src: u128, base: usize, imm: u8) -> u128 {
    let lanes = words(src);
    from_words(core::array::from_fn(|i| {
        if (base..base + 4).contains(&i) {
            lanes[base + usize::from(imm >> (2 * (i - base)) & 3)]
        } else {
            lanes[i]
        }
    }))
}

/// Combines neighbouring words of `dst`, then of `src`.
pub fn horizontal_words(mmx: bool, dst: u128, src: u128, f: fn(i16, i16) -> i16) -> u128 {
    let half = if mmx { 2 } else { 4 };
    let (a, b) = (words(dst), words(src));
    from_words(core::array::from_fn(|i| {
        let lanes = if i < half { &a } else { &b };
        let at = 2 * (i % half);
        if i < 2 * half {
            f(lanes[at] as i16, lanes[at + 1] as i16) as u16
        } else {
            0
        }
    }))
}

/// Combines neighbouring doublewords of `dst`, then of `src`.
pub fn horizontal_dwords(mmx: bool, dst: u128, src: u128, f: fn(u32, u32) -> u32) -> u128 {
    let half = if mmx { 1 } else { 2 };
    let (a, b) = (dwords(dst), dwords(src));
    from_dwords(core::array::from_fn(|i| {
        let lanes = if i < half { &a } else { &b };
        let at = 2 * (i % half);
        if i < 2 * half {
            f(lanes[at], lanes[at + 1])
        } else {
            0
        }
    }))
}

/// `PALIGNR`: `dst:src` shifted right by `imm` bytes.
pub fn align(mmx: bool, dst: u128, src: u128, imm: u8) -> u128 {
    let distance = u32::from(imm) * 8;
    if mmx {
        let joined = dst << 64 | src & u128::from(u64::MAX);
        return joined.unbounded_shr(distance);
    }
    match distance {
        0 => src,
        1..=127 => src >> distance | dst << (128 - distance),
        _ => dst.unbounded_shr(distance - 128),
    }
}

/// `PSADBW`: sums of absolute differences of eight bytes each.
pub fn sum_differences(a: u128, b: u128) -> u128 {
    let (a, b) = (bytes(a), bytes(b));
    let sum = |from: usize| {
        (from..from + 8)
            .map(|i| u64::from(a[i].abs_diff(b[i])))
            .sum::<u64>()
    };
    from_qwords([sum(0), sum(8)])
}

/// `MPSADBW`: eight sums over four bytes each.
pub fn multiple_differences(dst: u128, src: u128, imm: u8) -> u128 {
    let (a, b) = (bytes(dst), bytes(src));
    let (a_at, b_at) = (usize::from(imm >> 2 & 1) * 4, usize::from(imm & 3) * 4);
    from_words(core::array::from_fn(|i| {
        (0..4)
            .map(|k| u16::from(a[a_at + i + k].abs_diff(b[b_at + k])))
            .sum()
    }))
}

/// The most significant bits of the bytes.
pub fn byte_mask(value: u128) -> u128 {
    bytes(value)
        .iter()
        .rev()
        .fold(0, |mask, &lane| mask << 1 | u128::from(lane >> 7))
}

/// `PHMINPOSUW`: the smallest word and its index.
pub fn minimum_position(value: u128) -> u128 {
    let lanes = words(value);
    let mut best = 0;
    for i in 1..8 {
        if lanes[i] < lanes[best] {
            best = i;
        }
    }
    u128::from(lanes[best]) | (best as u128) << 16
}

/// Sign- or zero-extends lanes of `from` bits to lanes of `to` bits.
pub fn widen(value: u128, from: u32, to: u32, signed: bool) -> u128 {
    let mut result = 0;
    for lane in 0..128 / to {
        let part = (value >> (lane * from)) as u64;
        let unused = 64 - from;
        let wide = if signed {
            ((part << unused) as i64 >> unused) as u64
        } else {
            part << unused >> unused
        };
        result |= (u128::from(wide) & ((1 << to) - 1)) << (lane * to);
    }
    result
}

/// Takes each lane of `width` bits from `src` where its bit in `select` is set.
pub fn blend(dst: u128, src: u128, width: u32, select: u8) -> u128 {
    let lane = (1u128 << width) - 1;
    (0..128 / width)
        .filter(|i| select >> i & 1 != 0)
        .fold(dst, |value, i| {
            let mask = lane << (i * width);
            value & !mask | src & mask
        })
}
