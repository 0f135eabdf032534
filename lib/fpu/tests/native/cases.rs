//! Inputs that reach the corners.

use crate::forms::{Case, Unit};
use crate::machine::State;

/// SplitMix64: small and reproducible.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// A floating-point number with `exponent` exponent bits and `fraction` fraction bits, often
/// special, often near another.
fn float(random: &mut Random, exponent: u32, fraction: u32) -> u64 {
    let sign = random.below(2) << (exponent + fraction);
    let ones = (1u64 << exponent) - 1;
    let bias = ones >> 1;
    let field = match random.below(10) {
        0 => 0,
        1 => ones,
        2 => 1 + random.below(3),
        3 => ones - 1 - random.below(3),
        4..=6 => bias.wrapping_add(random.below(12)).wrapping_sub(4),
        7 => bias.wrapping_add(random.below(80)).wrapping_sub(8),
        _ => random.next() & ones,
    } & ones;
    let mask = (1u64 << fraction) - 1;
    let part = match random.below(8) {
        0 => 0,
        1 => 1 << random.below(u64::from(fraction)),
        2 => mask,
        3 => mask << random.below(u64::from(fraction)) & mask,
        4 => mask >> random.below(u64::from(fraction)),
        _ => random.next() & mask,
    };
    sign | field << fraction | part
}

/// An 80-bit number.
pub fn extended(random: &mut Random) -> u128 {
    let head = float(random, 15, 47) >> 47;
    let tail = match random.below(8) {
        0 => 1 << 63,
        1 => random.next() >> random.below(64),
        2 => 1 << 63 | 1 << random.below(63),
        3 => u64::MAX << random.below(64),
        4 => random.next() & !(1 << 63),
        5 => 0,
        _ => random.next() | 1 << 63,
    };
    u128::from(head) << 64 | u128::from(tail)
}

fn vector(random: &mut Random) -> u128 {
    let mut lanes = |bits: u32, mut lane: Box<dyn FnMut(&mut Random) -> u64>| {
        (0..128 / bits).fold(0u128, |value, _| value << bits | u128::from(lane(random)))
    };
    match lanes(1, Box::new(|_| 0)) as u64 + random_kind(random) {
        0..=2 => (0..4).fold(0, |value, _| value << 32 | u128::from(float(random, 8, 23))),
        3..=5 => (0..2).fold(0, |value, _| {
            value << 64 | u128::from(float(random, 11, 52))
        }),
        6 => (0..16).fold(0, |value, _| {
            let edge = [0u8, 1, 0x7f, 0x80, 0xff, 0x81][random.below(6) as usize];
            value << 8 | u128::from(edge)
        }),
        7 => random.wide() & 0xff,
        8 => 0,
        _ => random.wide(),
    }
}

fn random_kind(random: &mut Random) -> u64 {
    random.below(12)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A state with everything random; no x87 exception is pending.
pub fn image(random: &mut Random) -> State {
    let mut image = [0; 512];
    let fcw = match random.below(3) {
        0 => 0x37f,
        1 => 0x37f & !0xf00 | (random.next() as u16 & 0xf00),
        _ => random.next() as u16 & 0x1f3f | 0x40,
    };
    // Precision control 1 is reserved.
    let fcw = if fcw >> 8 & 3 == 1 { fcw | 0x200 } else { fcw };
    let flags = random.next() as u16 & 0x7f & (fcw | 0x40);
    let fsw = random.next() as u16 & 0x7f00 | flags;
    let valid = match random.below(3) {
        0 => 0xff,
        1 => random.next() as u8,
        _ => (random.next() | random.next() | random.next()) as u8,
    };
    put(&mut image, 0, &fcw.to_le_bytes());
    put(&mut image, 2, &fsw.to_le_bytes());
    put(&mut image, 4, &[valid]);
    put(&mut image, 6, &(random.next() as u16 & 0x7ff).to_le_bytes());
    put(
        &mut image,
        8,
        &(random.next() & 0x7fff_ffff_ffff).to_le_bytes(),
    );
    put(
        &mut image,
        16,
        &(random.next() & 0x7fff_ffff_ffff).to_le_bytes(),
    );
    // All SIMD exceptions are masked: an unmasked one would be a signal here.
    let mxcsr = match random.below(3) {
        0 => 0x1f80,
        1 => 0x1f80 | random.next() as u32 & 0x603f,
        _ => 0x1f80 | random.next() as u32 & 0xe07f,
    };
    put(&mut image, 24, &mxcsr.to_le_bytes());
    put(&mut image, 28, &fpu::MXCSR_MASK.to_le_bytes());
    for i in 0..8 {
        put(
            &mut image,
            32 + 16 * i,
            &extended(random).to_le_bytes()[..10],
        );
    }
    for i in 0..16 {
        put(&mut image, 160 + 16 * i, &vector(random).to_le_bytes());
    }
    let mut memory = [0; 128];
    for chunk in memory.chunks_mut(16) {
        chunk.copy_from_slice(&vector(random).to_le_bytes());
    }
    State {
        image,
        memory,
        rax: random.next() >> random.below(64),
        rflags: random.next() & 0x8d5 | 0x202,
    }
}

/// A state for one case.
pub fn state(random: &mut Random, case: &Case) -> State {
    let mut state = image(random);
    if case.unit == Unit::X87 {
        // Operands related to each other, and memory of the operand's kind.
        if random.below(4) == 0 {
            let other = state.image[32..42].to_vec();
            put(&mut state.image, 48, &other);
            state.image[48 + random.below(10) as usize] ^= 1 << random.below(8);
        }
        if random.below(4) == 0 {
            // ST(0) and ST(1) near each other in exponent.
            let near = u16::from_le_bytes([state.image[40], state.image[41]])
                .wrapping_add(random.below(140) as u16)
                .wrapping_sub(70);
            put(&mut state.image, 56, &near.to_le_bytes());
        }
        let operand = match case.x87_memory() {
            fpu::X87Memory::F32 => u128::from(float(random, 8, 23)),
            fpu::X87Memory::F64 => u128::from(float(random, 11, 52)),
            fpu::X87Memory::F80 => extended(random),
            fpu::X87Memory::Bcd => {
                (0..18).fold(0, |value, _| value << 4 | u128::from(random.below(10)))
                    | u128::from(random.below(256)) << 72
            }
            _ => u128::from(random.next() >> random.below(64)),
        };
        put(&mut state.memory, 0, &operand.to_le_bytes());
    } else if random.below(3) == 0 {
        // The two operands differ in little.
        let other = state.image[160..176].to_vec();
        put(&mut state.image, 176, &other);
        put(&mut state.memory, 0, &other);
        let bit = 1 << random.below(8);
        state.image[176 + random.below(16) as usize] ^= bit;
        state.memory[random.below(16) as usize] ^= bit;
    }
    state
}
