//! AES-NI, carry-less multiplication and SHA (SDM Vol. 2; FIPS 197 and 180-4).

use crate::lanes::{bytes, dwords, from_bytes, from_dwords};

/// Multiplication by x in AES's field.
const fn double(value: u8) -> u8 {
    value << 1 ^ if value & 0x80 != 0 { 0x1b } else { 0 }
}

const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0);
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

/// The S-box from its definition: the inverse in the field, then an affine map.
const S_BOX: [u8; 256] = {
    let mut table = [0; 256];
    // 3 generates the multiplicative group; 0xf6 is its inverse.
    let (mut power, mut inverse) = (1u8, 1u8);
    let mut step = 0;
    while step < 255 {
        let i = inverse;
        table[power as usize] =
            i ^ i.rotate_left(1) ^ i.rotate_left(2) ^ i.rotate_left(3) ^ i.rotate_left(4) ^ 0x63;
        power = multiply(power, 3);
        inverse = multiply(inverse, 0xf6);
        step += 1;
    }
    table[0] = 0x63;
    table
};

const INVERSE_S_BOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[S_BOX[i] as usize] = i as u8;
        i += 1;
    }
    table
};

fn shift_rows(state: [u8; 16]) -> [u8; 16] {
    core::array::from_fn(|i| state[(i + 4 * (i % 4)) % 16])
}

fn inverse_shift_rows(state: [u8; 16]) -> [u8; 16] {
    core::array::from_fn(|i| state[(i + 16 - 4 * (i % 4)) % 16])
}

fn mix(state: [u8; 16], factors: [u8; 4]) -> [u8; 16] {
    core::array::from_fn(|i| {
        let column = i & !3;
        (0..4).fold(0, |sum, k| {
            sum ^ multiply(state[column + (i + k) % 4], factors[k])
        })
    })
}

fn substitute(state: [u8; 16], table: &[u8; 256]) -> [u8; 16] {
    state.map(|byte| table[usize::from(byte)])
}

pub fn aes_enc(state: u128, key: u128) -> u128 {
    let state = substitute(shift_rows(bytes(state)), &S_BOX);
    from_bytes(mix(state, [2, 3, 1, 1])) ^ key
}
pub fn aes_enc_last(state: u128, key: u128) -> u128 {
    from_bytes(substitute(shift_rows(bytes(state)), &S_BOX)) ^ key
}
pub fn aes_dec(state: u128, key: u128) -> u128 {
    let state = substitute(inverse_shift_rows(bytes(state)), &INVERSE_S_BOX);
    from_bytes(mix(state, [14, 11, 13, 9])) ^ key
}
pub fn aes_dec_last(state: u128, key: u128) -> u128 {
    from_bytes(substitute(inverse_shift_rows(bytes(state)), &INVERSE_S_BOX)) ^ key
}
pub fn aes_imc(state: u128) -> u128 {
    from_bytes(mix(bytes(state), [14, 11, 13, 9]))
}
pub fn aes_keygen_assist(key: u128, constant: u8) -> u128 {
    let words = dwords(from_bytes(substitute(bytes(key), &S_BOX)));
    let rotated = |word: u32| word.rotate_right(8) ^ u32::from(constant);
    from_dwords([words[1], rotated(words[1]), words[3], rotated(words[3])])
}

/// `PCLMULQDQ`.
pub fn carryless(dst: u128, src: u128, imm: u8) -> u128 {
    let a = if imm & 1 != 0 {
        dst >> 64
    } else {
        dst & u128::from(u64::MAX)
    };
    let b = (if imm & 0x10 != 0 { src >> 64 } else { src }) as u64;
    (0..64)
        .filter(|bit| b >> bit & 1 != 0)
        .fold(0, |product, bit| product ^ a << bit)
}

// The SHA instructions keep the first word of a state or message in the highest lane (SHA-1) or
// the lowest (SHA-256); the arrays below are indexed from lane 0.

pub fn sha1_next_e(dst: u128, src: u128) -> u128 {
    let e = dwords(dst)[3].rotate_left(30);
    let mut lanes = dwords(src);
    lanes[3] = lanes[3].wrapping_add(e);
    from_dwords(lanes)
}

pub fn sha1_msg1(dst: u128, src: u128) -> u128 {
    let (d, s) = (dwords(dst), dwords(src));
    from_dwords([d[0] ^ s[2], d[1] ^ s[3], d[2] ^ d[0], d[3] ^ d[1]])
}

pub fn sha1_msg2(dst: u128, src: u128) -> u128 {
    let (d, s) = (dwords(dst), dwords(src));
    let w16 = (d[3] ^ s[2]).rotate_left(1);
    let w17 = (d[2] ^ s[1]).rotate_left(1);
    let w18 = (d[1] ^ s[0]).rotate_left(1);
    let w19 = (d[0] ^ w16).rotate_left(1);
    from_dwords([w19, w18, w17, w16])
}

pub fn sha1_rounds(dst: u128, src: u128, imm: u8) -> u128 {
    let constant = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6u32][usize::from(imm & 3)];
    let [mut d, mut c, mut b, mut a] = dwords(dst);
    let mut e = 0;
    // E is already added to the first word (SHA1NEXTE).
    for word in dwords(src).into_iter().rev() {
        let f = match imm & 3 {
            0 => b & c ^ !b & d,
            2 => b & c ^ b & d ^ c & d,
            _ => b ^ c ^ d,
        };
        let next = f
            .wrapping_add(a.rotate_left(5))
            .wrapping_add(word)
            .wrapping_add(e)
            .wrapping_add(constant);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    from_dwords([d, c, b, a])
}

pub fn sha256_msg1(dst: u128, src: u128) -> u128 {
    let d = dwords(dst);
    let next = [d[1], d[2], d[3], dwords(src)[0]];
    let sigma0 = |x: u32| x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3;
    from_dwords(core::array::from_fn(|i| d[i].wrapping_add(sigma0(next[i]))))
}

pub fn sha256_msg2(dst: u128, src: u128) -> u128 {
    let (d, s) = (dwords(dst), dwords(src));
    let sigma1 = |x: u32| x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10;
    let w16 = d[0].wrapping_add(sigma1(s[2]));
    let w17 = d[1].wrapping_add(sigma1(s[3]));
    let w18 = d[2].wrapping_add(sigma1(w16));
    let w19 = d[3].wrapping_add(sigma1(w17));
    from_dwords([w16, w17, w18, w19])
}

pub fn sha256_rounds(dst: u128, src: u128, xmm0: u128) -> u128 {
    let [mut h, mut g, mut d, mut c] = dwords(dst);
    let [mut f, mut e, mut b, mut a] = dwords(src);
    for word in dwords(xmm0).into_iter().take(2) {
        let choose = e & f ^ !e & g;
        let majority = a & b ^ a & c ^ b & c;
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t = h.wrapping_add(sum1).wrapping_add(choose).wrapping_add(word);
        (h, g, f, e) = (g, f, e, d.wrapping_add(t));
        (d, c, b, a) = (c, b, a, t.wrapping_add(majority).wrapping_add(sum0));
    }
    from_dwords([f, e, b, a])
}
