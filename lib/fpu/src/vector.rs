//! Vector operations: one entry for all of them.

use crate::VectorOp;
use crate::cipher;
use crate::lanes::*;
use crate::simd::{Arithmetic, Simd, Width};
use Arithmetic::{Add, Divide, Maximum, Minimum, Multiply, Subtract};
use Width::{Double, Single};

/// An unmasked SIMD floating-point exception: `#XM`, or `#UD` while `CR4.OSXMMEXCPT` is 0.
/// MXCSR has the flags; no register or memory changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimdException;

const LOW_32: u128 = u32::MAX as u128;
const LOW_64: u128 = u64::MAX as u128;

/// Computes one vector operation.
///
/// `dst` is operand 0's register before (needed where [`crate::VectorForm::reads_dst`]), `src`
/// the second operand zero-extended, `imm` the immediate byte (0 where there is none), `xmm0`
/// the implicit operand of `BLENDVPx`, `PBLENDVB` and `SHA256RNDS2`. `mmx` selects the 64-bit
/// lanes of the MM-register form.
pub fn vector(
    op: VectorOp,
    mmx: bool,
    dst: u128,
    src: u128,
    imm: u8,
    xmm0: u128,
    mxcsr: &mut u32,
) -> Result<u128, SimdException> {
    use VectorOp as V;
    // By kind, the most frequent first; each of the three functions knows its own operations.
    match op {
        V::Move => return Ok(src),
        V::Pxor | V::Xorps | V::Xorpd => return Ok(dst ^ src),
        V::Pand | V::Andps | V::Andpd => return Ok(dst & src),
        V::Por | V::Orps | V::Orpd => return Ok(dst | src),
        V::Pandn | V::Andnps | V::Andnpd => return Ok(!dst & src),
        _ => {}
    }
    if let Some(result) = integer(op, mmx, dst, src, imm, xmm0) {
        return Ok(result);
    }
    let mut simd = Simd::new(*mxcsr);
    let result = floating(&mut simd, op, dst, src, imm);
    simd.finish(mxcsr)?;
    Ok(result)
}

/// Merges a scalar result into the low lane.
fn low32(dst: u128, value: u64) -> u128 {
    dst & !LOW_32 | u128::from(value) & LOW_32
}
fn low64(dst: u128, value: u64) -> u128 {
    dst & !LOW_64 | u128::from(value)
}

/// Moves, shuffles, integer arithmetic and ciphers: what has no floating-point exceptions.
fn integer(op: VectorOp, mmx: bool, dst: u128, src: u128, imm: u8, xmm0: u128) -> Option<u128> {
    use VectorOp as V;
    // Shift counts are the low 64 bits of the source.
    let count = u32::try_from(src as u64).unwrap_or(u32::MAX);
    let high = dst & !LOW_64;
    Some(match op {
        V::Move
        | V::Movaps
        | V::Movapd
        | V::Movups
        | V::Movupd
        | V::Movdqa
        | V::Movdqu
        | V::Lddqu
        | V::Movntps
        | V::Movntpd
        | V::Movntdq
        | V::Movntdqa
        | V::Movntq
        | V::Movd => src,
        V::Movq | V::Movq2dq | V::Movdq2q => src & LOW_64,
        V::HighHalf => src >> 64,
        V::Movss => low32(dst, src as u64),
        V::Movsd | V::Movlps | V::Movlpd => low64(dst, src as u64),
        V::Movhps | V::Movhpd | V::Movlhps => dst & LOW_64 | src << 64,
        V::Movhlps => high | src >> 64,
        V::Movddup => src & LOW_64 | src << 64,
        V::Movsldup => {
            let s = dwords(src);
            from_dwords([s[0], s[0], s[2], s[2]])
        }
        V::Movshdup => {
            let s = dwords(src);
            from_dwords([s[1], s[1], s[3], s[3]])
        }
        V::Pxor | V::Xorps | V::Xorpd => dst ^ src,
        V::Pand | V::Andps | V::Andpd => dst & src,
        V::Por | V::Orps | V::Orpd => dst | src,
        V::Pandn | V::Andnps | V::Andnpd => !dst & src,

        V::Shufps => {
            let (d, s) = (dwords(dst), dwords(src));
            let pick = |field: u32| usize::from(imm >> field & 3);
            from_dwords([d[pick(0)], d[pick(2)], s[pick(4)], s[pick(6)]])
        }
        V::Shufpd => {
            let (d, s) = (qwords(dst), qwords(src));
            from_qwords([d[usize::from(imm & 1)], s[usize::from(imm >> 1 & 1)]])
        }
        V::Unpcklps | V::Punpckldq => interleave_low(dst, src, 32),
        V::Unpckhps | V::Punpckhdq => interleave_high(mmx, dst, src, 32),
        V::Unpcklpd | V::Punpcklqdq => dst & LOW_64 | src << 64,
        V::Unpckhpd | V::Punpckhqdq => dst >> 64 | src & !LOW_64,
        V::Punpcklbw => interleave_low(dst, src, 8),
        V::Punpcklwd => interleave_low(dst, src, 16),
        V::Punpckhbw => interleave_high(mmx, dst, src, 8),
        V::Punpckhwd => interleave_high(mmx, dst, src, 16),
        V::Packsswb => pack_words(mmx, dst, src, signed_byte),
        V::Packuswb => pack_words(mmx, dst, src, unsigned_byte),
        V::Packssdw => pack_dwords(mmx, dst, src, signed_word),
        V::Packusdw => pack_dwords(mmx, dst, src, unsigned_word),
        V::Pshufw => shuffle_words(src, 0, imm),
        V::Pshuflw => shuffle_words(src, 0, imm),
        V::Pshufhw => shuffle_words(src, 4, imm),
        V::Pshufd => {
            let s = dwords(src);
            from_dwords(core::array::from_fn(|i| s[usize::from(imm >> (2 * i) & 3)]))
        }
        V::Pshufb => shuffle_bytes(mmx, dst, src),
        V::Palignr => align(mmx, dst, src, imm),

        V::Pcmpeqb => zip8(dst, src, |a, b| ones8(a == b)),
        V::Pcmpeqw => zip16(dst, src, |a, b| ones16(a == b)),
        V::Pcmpeqd => zip32(dst, src, |a, b| ones32(a == b)),
        V::Pcmpeqq => zip64(dst, src, |a, b| ones64(a == b)),
        V::Pcmpgtb => zip8(dst, src, |a, b| ones8(a as i8 > b as i8)),
        V::Pcmpgtw => zip16(dst, src, |a, b| ones16(a as i16 > b as i16)),
        V::Pcmpgtd => zip32(dst, src, |a, b| ones32(a as i32 > b as i32)),
        V::Pcmpgtq => zip64(dst, src, |a, b| ones64(a as i64 > b as i64)),

        V::Psrlw => zip16(dst, 0, |a, _| a.unbounded_shr(count)),
        V::Psrld => zip32(dst, 0, |a, _| a.unbounded_shr(count)),
        V::Psrlq => zip64(dst, 0, |a, _| a.unbounded_shr(count)),
        V::Psraw => zip16(dst, 0, |a, _| (a as i16).unbounded_shr(count) as u16),
        V::Psrad => zip32(dst, 0, |a, _| (a as i32).unbounded_shr(count) as u32),
        V::Psllw => zip16(dst, 0, |a, _| a.unbounded_shl(count)),
        V::Pslld => zip32(dst, 0, |a, _| a.unbounded_shl(count)),
        V::Psllq => zip64(dst, 0, |a, _| a.unbounded_shl(count)),
        V::Psrldq => dst.unbounded_shr(count.saturating_mul(8)),
        V::Pslldq => dst.unbounded_shl(count.saturating_mul(8)),

        V::Paddb => zip8(dst, src, u8::wrapping_add),
        V::Paddw => zip16(dst, src, u16::wrapping_add),
        V::Paddd => zip32(dst, src, u32::wrapping_add),
        V::Paddq => zip64(dst, src, u64::wrapping_add),
        V::Psubb => zip8(dst, src, u8::wrapping_sub),
        V::Psubw => zip16(dst, src, u16::wrapping_sub),
        V::Psubd => zip32(dst, src, u32::wrapping_sub),
        V::Psubq => zip64(dst, src, u64::wrapping_sub),
        V::Paddsb => zip8(dst, src, |a, b| (a as i8).saturating_add(b as i8) as u8),
        V::Paddsw => zip16(dst, src, |a, b| (a as i16).saturating_add(b as i16) as u16),
        V::Paddusb => zip8(dst, src, u8::saturating_add),
        V::Paddusw => zip16(dst, src, u16::saturating_add),
        V::Psubsb => zip8(dst, src, |a, b| (a as i8).saturating_sub(b as i8) as u8),
        V::Psubsw => zip16(dst, src, |a, b| (a as i16).saturating_sub(b as i16) as u16),
        V::Psubusb => zip8(dst, src, u8::saturating_sub),
        V::Psubusw => zip16(dst, src, u16::saturating_sub),
        V::Pmullw => zip16(dst, src, u16::wrapping_mul),
        V::Pmulhw => zip16(dst, src, |a, b| {
            ((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u16
        }),
        V::Pmulhuw => zip16(dst, src, |a, b| {
            ((u32::from(a) * u32::from(b)) >> 16) as u16
        }),
        V::Pmulhrsw => zip16(dst, src, |a, b| {
            ((((i32::from(a as i16) * i32::from(b as i16)) >> 14) + 1) >> 1) as u16
        }),
        V::Pmulld => zip32(dst, src, u32::wrapping_mul),
        V::Pmuludq => zip64(dst, src, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff)),
        V::Pmuldq => zip64(dst, src, |a, b| {
            (i64::from(a as i32) * i64::from(b as i32)) as u64
        }),
        V::Pmaddwd => zip32(dst, src, |a, b| {
            let low = i32::from(a as i16) * i32::from(b as i16);
            let high = ((a as i32) >> 16) * ((b as i32) >> 16);
            low.wrapping_add(high) as u32
        }),
        V::Pmaddubsw => zip16(dst, src, |a, b| {
            let low = i16::from(a as u8) * i16::from(b as i8);
            let high = (a >> 8) as i16 * i16::from((b >> 8) as i8);
            low.saturating_add(high) as u16
        }),
        V::Psadbw => sum_differences(dst, src),
        V::Mpsadbw => multiple_differences(dst, src, imm),
        V::Pavgb => zip8(dst, src, |a, b| {
            ((u16::from(a) + u16::from(b) + 1) >> 1) as u8
        }),
        V::Pavgw => zip16(dst, src, |a, b| {
            ((u32::from(a) + u32::from(b) + 1) >> 1) as u16
        }),
        V::Pminub => zip8(dst, src, u8::min),
        V::Pmaxub => zip8(dst, src, u8::max),
        V::Pminuw => zip16(dst, src, u16::min),
        V::Pmaxuw => zip16(dst, src, u16::max),
        V::Pminud => zip32(dst, src, u32::min),
        V::Pmaxud => zip32(dst, src, u32::max),
        V::Pminsb => zip8(dst, src, |a, b| (a as i8).min(b as i8) as u8),
        V::Pmaxsb => zip8(dst, src, |a, b| (a as i8).max(b as i8) as u8),
        V::Pminsw => zip16(dst, src, |a, b| (a as i16).min(b as i16) as u16),
        V::Pmaxsw => zip16(dst, src, |a, b| (a as i16).max(b as i16) as u16),
        V::Pminsd => zip32(dst, src, |a, b| (a as i32).min(b as i32) as u32),
        V::Pmaxsd => zip32(dst, src, |a, b| (a as i32).max(b as i32) as u32),
        V::Phminposuw => minimum_position(src),
        V::Phaddw => horizontal_words(mmx, dst, src, i16::wrapping_add),
        V::Phsubw => horizontal_words(mmx, dst, src, i16::wrapping_sub),
        V::Phaddsw => horizontal_words(mmx, dst, src, i16::saturating_add),
        V::Phsubsw => horizontal_words(mmx, dst, src, i16::saturating_sub),
        V::Phaddd => horizontal_dwords(mmx, dst, src, u32::wrapping_add),
        V::Phsubd => horizontal_dwords(mmx, dst, src, u32::wrapping_sub),
        V::Psignb => zip8(dst, src, |a, b| {
            (a as i8).wrapping_mul((b as i8).signum()) as u8
        }),
        V::Psignw => zip16(dst, src, |a, b| {
            (a as i16).wrapping_mul((b as i16).signum()) as u16
        }),
        V::Psignd => zip32(dst, src, |a, b| {
            (a as i32).wrapping_mul((b as i32).signum()) as u32
        }),
        V::Pabsb => zip8(src, 0, |a, _| (a as i8).unsigned_abs()),
        V::Pabsw => zip16(src, 0, |a, _| (a as i16).unsigned_abs()),
        V::Pabsd => zip32(src, 0, |a, _| (a as i32).unsigned_abs()),

        V::Pmovsxbw => widen(src, 8, 16, true),
        V::Pmovsxbd => widen(src, 8, 32, true),
        V::Pmovsxbq => widen(src, 8, 64, true),
        V::Pmovsxwd => widen(src, 16, 32, true),
        V::Pmovsxwq => widen(src, 16, 64, true),
        V::Pmovsxdq => widen(src, 32, 64, true),
        V::Pmovzxbw => widen(src, 8, 16, false),
        V::Pmovzxbd => widen(src, 8, 32, false),
        V::Pmovzxbq => widen(src, 8, 64, false),
        V::Pmovzxwd => widen(src, 16, 32, false),
        V::Pmovzxwq => widen(src, 16, 64, false),
        V::Pmovzxdq => widen(src, 32, 64, false),

        V::Pblendvb => {
            let mask = zip8(xmm0, 0, |m, _| ones8(m & 0x80 != 0));
            dst & !mask | src & mask
        }
        V::Blendvps => {
            let mask = zip32(xmm0, 0, |m, _| ones32(m >> 31 != 0));
            dst & !mask | src & mask
        }
        V::Blendvpd => {
            let mask = zip64(xmm0, 0, |m, _| ones64(m >> 63 != 0));
            dst & !mask | src & mask
        }
        V::Blendps => blend(dst, src, 32, imm),
        V::Blendpd => blend(dst, src, 64, imm),
        V::Pblendw => blend(dst, src, 16, imm),
        V::Ptest => u128::from(src & dst == 0) << 6 | u128::from(src & !dst == 0),

        V::Pmovmskb => byte_mask(src),
        V::Movmskps => dwords(src)
            .iter()
            .rev()
            .fold(0, |m, &lane| m << 1 | u128::from(lane >> 31)),
        V::Movmskpd => src >> 63 & 1 | src >> 126 & 2,
        V::Pextrb => src >> (8 * (imm & 15)) & 0xff,
        V::Pextrw => src >> (16 * (imm & if mmx { 3 } else { 7 })) & 0xffff,
        V::Pextrd | V::Extractps => src >> (32 * (imm & 3)) & LOW_32,
        V::Pextrq => src >> (64 * (imm & 1)) & LOW_64,
        V::Pinsrb => insert(dst, src, 8, imm & 15),
        V::Pinsrw => insert(dst, src, 16, imm & if mmx { 3 } else { 7 }),
        V::Pinsrd => insert(dst, src, 32, imm & 3),
        V::Pinsrq => insert(dst, src, 64, imm & 1),
        V::Insertps | V::InsertpsMemory => {
            let index = if op == V::Insertps { imm >> 6 } else { 0 };
            let mut lanes = dwords(dst);
            lanes[usize::from(imm >> 4 & 3)] = dwords(src)[usize::from(index)];
            for (i, lane) in lanes.iter_mut().enumerate() {
                if imm >> i & 1 != 0 {
                    *lane = 0;
                }
            }
            from_dwords(lanes)
        }

        V::Aesenc => cipher::aes_enc(dst, src),
        V::Aesenclast => cipher::aes_enc_last(dst, src),
        V::Aesdec => cipher::aes_dec(dst, src),
        V::Aesdeclast => cipher::aes_dec_last(dst, src),
        V::Aesimc => cipher::aes_imc(src),
        V::Aeskeygenassist => cipher::aes_keygen_assist(src, imm),
        V::Pclmulqdq => cipher::carryless(dst, src, imm),
        V::Sha1nexte => cipher::sha1_next_e(dst, src),
        V::Sha1msg1 => cipher::sha1_msg1(dst, src),
        V::Sha1msg2 => cipher::sha1_msg2(dst, src),
        V::Sha1rnds4 => cipher::sha1_rounds(dst, src, imm),
        V::Sha256rnds2 => cipher::sha256_rounds(dst, src, xmm0),
        V::Sha256msg1 => cipher::sha256_msg1(dst, src),
        V::Sha256msg2 => cipher::sha256_msg2(dst, src),
        _ => return None,
    })
}

/// Replaces one lane of `width` bits.
fn insert(dst: u128, src: u128, width: u32, lane: u8) -> u128 {
    let mask = ((1u128 << width) - 1) << (width * u32::from(lane));
    dst & !mask | src << (width * u32::from(lane)) & mask
}

/// Floating-point operations.
fn floating(simd: &mut Simd, op: VectorOp, dst: u128, src: u128, imm: u8) -> u128 {
    use VectorOp as V;
    let (d, s) = (dst as u64, src as u64);
    let (d32, s32) = (d & 0xffff_ffff, s & 0xffff_ffff);
    let arithmetic = match op {
        V::Addps | V::Addss | V::Addpd | V::Addsd => Add,
        V::Subps | V::Subss | V::Subpd | V::Subsd => Subtract,
        V::Mulps | V::Mulss | V::Mulpd | V::Mulsd => Multiply,
        V::Divps | V::Divss | V::Divpd | V::Divsd => Divide,
        V::Minps | V::Minss | V::Minpd | V::Minsd => Minimum,
        _ => Maximum,
    };
    match op {
        V::Addps | V::Subps | V::Mulps | V::Divps | V::Minps | V::Maxps => {
            simd.packed(Single, dst, src, |simd, a, b| {
                simd.arithmetic(Single, arithmetic, a, b)
            })
        }
        V::Addpd | V::Subpd | V::Mulpd | V::Divpd | V::Minpd | V::Maxpd => {
            simd.packed(Double, dst, src, |simd, a, b| {
                simd.arithmetic(Double, arithmetic, a, b)
            })
        }
        V::Addss | V::Subss | V::Mulss | V::Divss | V::Minss | V::Maxss => {
            low32(dst, simd.arithmetic(Single, arithmetic, d32, s32))
        }
        V::Addsd | V::Subsd | V::Mulsd | V::Divsd | V::Minsd | V::Maxsd => {
            low64(dst, simd.arithmetic(Double, arithmetic, d, s))
        }
        V::Addsubps | V::Addsubpd => {
            let width = if op == V::Addsubps { Single } else { Double };
            let mut odd = true;
            simd.packed(width, dst, src, |simd, a, b| {
                odd = !odd;
                simd.arithmetic(width, if odd { Add } else { Subtract }, a, b)
            })
        }
        V::Haddps | V::Hsubps => {
            let op = if op == V::Haddps { Add } else { Subtract };
            let (a, b) = (dwords(dst), dwords(src));
            let even = from_dwords([a[0], a[2], b[0], b[2]]);
            let odd = from_dwords([a[1], a[3], b[1], b[3]]);
            simd.packed(Single, even, odd, |simd, a, b| {
                simd.arithmetic(Single, op, a, b)
            })
        }
        V::Haddpd | V::Hsubpd => {
            let op = if op == V::Haddpd { Add } else { Subtract };
            let (a, b) = (qwords(dst), qwords(src));
            let (even, odd) = (from_qwords([a[0], b[0]]), from_qwords([a[1], b[1]]));
            simd.packed(Double, even, odd, |simd, a, b| {
                simd.arithmetic(Double, op, a, b)
            })
        }
        V::Sqrtps => simd.packed(Single, src, 0, |simd, a, _| simd.square_root(Single, a)),
        V::Sqrtpd => simd.packed(Double, src, 0, |simd, a, _| simd.square_root(Double, a)),
        V::Sqrtss => low32(dst, simd.square_root(Single, s32)),
        V::Sqrtsd => low64(dst, simd.square_root(Double, s)),
        V::Rcpps => zip32(src, 0, |a, _| simd.approximate(a, false)),
        V::Rcpss => low32(dst, u64::from(simd.approximate(s as u32, false))),
        V::Rsqrtps => zip32(src, 0, |a, _| simd.approximate(a, true)),
        V::Rsqrtss => low32(dst, u64::from(simd.approximate(s as u32, true))),

        V::Cmpps => simd.packed(Single, dst, src, |simd, a, b| {
            ones64(simd.compare(Single, a, b, imm))
        }),
        V::Cmppd => simd.packed(Double, dst, src, |simd, a, b| {
            ones64(simd.compare(Double, a, b, imm))
        }),
        V::Cmpss => low32(dst, ones64(simd.compare(Single, d32, s32, imm))),
        V::Cmpsd => low64(dst, ones64(simd.compare(Double, d, s, imm))),
        V::Comiss => simd.compare_flags(Single, d32, s32, true),
        V::Comisd => simd.compare_flags(Double, d, s, true),
        V::Ucomiss => simd.compare_flags(Single, d32, s32, false),
        V::Ucomisd => simd.compare_flags(Double, d, s, false),

        V::Roundps => simd.packed(Single, src, 0, |simd, a, _| simd.round(Single, a, imm)),
        V::Roundpd => simd.packed(Double, src, 0, |simd, a, _| simd.round(Double, a, imm)),
        V::Roundss => low32(dst, simd.round(Single, s32, imm)),
        V::Roundsd => low64(dst, simd.round(Double, s, imm)),
        V::Dpps => simd.dot_product(Single, dst, src, imm),
        V::Dppd => simd.dot_product(Double, dst, src, imm),

        V::Cvtsi2ss => low32(dst, simd.number_of(Single, i64::from(s as i32))),
        V::Cvtsi2ss64 => low32(dst, simd.number_of(Single, s as i64)),
        V::Cvtsi2sd => low64(dst, simd.number_of(Double, i64::from(s as i32))),
        V::Cvtsi2sd64 => low64(dst, simd.number_of(Double, s as i64)),
        V::Cvtss2si => u128::from(simd.integer_of(Single, s32, 32, false)),
        V::Cvtss2si64 => u128::from(simd.integer_of(Single, s32, 64, false)),
        V::Cvttss2si => u128::from(simd.integer_of(Single, s32, 32, true)),
        V::Cvttss2si64 => u128::from(simd.integer_of(Single, s32, 64, true)),
        V::Cvtsd2si => u128::from(simd.integer_of(Double, s, 32, false)),
        V::Cvtsd2si64 => u128::from(simd.integer_of(Double, s, 64, false)),
        V::Cvttsd2si => u128::from(simd.integer_of(Double, s, 32, true)),
        V::Cvttsd2si64 => u128::from(simd.integer_of(Double, s, 64, true)),
        V::Cvtss2sd => low64(dst, simd.resize(Single, Double, s32)),
        V::Cvtsd2ss => low32(dst, simd.resize(Double, Single, s)),
        V::Cvtps2pd => {
            let lanes = dwords(src).map(u64::from);
            from_qwords([
                simd.resize(Single, Double, lanes[0]),
                simd.resize(Single, Double, lanes[1]),
            ])
        }
        V::Cvtpd2ps => doubles_to_dwords(src, |lane| simd.resize(Double, Single, lane)),
        V::Cvtpd2dq | V::Cvtpd2pi => {
            doubles_to_dwords(src, |lane| simd.integer_of(Double, lane, 32, false))
        }
        V::Cvttpd2dq | V::Cvttpd2pi => {
            doubles_to_dwords(src, |lane| simd.integer_of(Double, lane, 32, true))
        }
        V::Cvtdq2pd | V::Cvtpi2pd => {
            let lanes = dwords(src).map(|lane| i64::from(lane as i32));
            from_qwords([
                simd.number_of(Double, lanes[0]),
                simd.number_of(Double, lanes[1]),
            ])
        }
        V::Cvtdq2ps => simd.packed(Single, src, 0, |simd, lane, _| {
            simd.number_of(Single, i64::from(lane as i32))
        }),
        V::Cvtpi2ps => {
            let low = simd.packed(Single, src & LOW_64, 0, |simd, lane, _| {
                simd.number_of(Single, i64::from(lane as i32))
            });
            dst & !LOW_64 | low & LOW_64
        }
        V::Cvtps2dq => simd.packed(Single, src, 0, |simd, a, _| {
            simd.integer_of(Single, a, 32, false)
        }),
        V::Cvttps2dq => simd.packed(Single, src, 0, |simd, a, _| {
            simd.integer_of(Single, a, 32, true)
        }),
        // The source's high half isn't an operand: as zero it raises nothing.
        V::Cvtps2pi => simd.packed(Single, src & LOW_64, 0, |simd, a, _| {
            simd.integer_of(Single, a, 32, false)
        }),
        V::Cvttps2pi => simd.packed(Single, src & LOW_64, 0, |simd, a, _| {
            simd.integer_of(Single, a, 32, true)
        }),
        // All others are integer operations.
        _ => src,
    }
}

/// Narrows two doubles to the low two doublewords.
fn doubles_to_dwords(src: u128, mut f: impl FnMut(u64) -> u64) -> u128 {
    let lanes = qwords(src);
    u128::from(f(lanes[0])) | u128::from(f(lanes[1])) << 32
}

/// `CRC32`: accumulates the low `bytes` bytes of `data` into `crc` (polynomial 11EDC6F41H).
pub fn crc32(crc: u32, data: u64, bytes: u8) -> u32 {
    let mut crc = crc;
    for byte in data.to_le_bytes().into_iter().take(usize::from(bytes)) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    crc
}
