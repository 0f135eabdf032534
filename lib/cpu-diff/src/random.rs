//! Reproducible randomness.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Everything that follows depends on the seed alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which isn't 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// An integer of any size, often at an edge.
    pub fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(4).wrapping_sub(2),
            1 => 1 << self.below(64),
            2 => (1u64 << self.below(64)).wrapping_sub(self.below(3)),
            3 => self.pick(&[
                0x7f,
                0x80,
                0x7fff,
                0x8000,
                0x7fff_ffff,
                0x8000_0000,
                1 << 63,
                u64::MAX >> 1,
            ]),
            4 => self.bits() >> self.below(64),
            5 => (self.bits() as i64 >> self.below(64)) as u64,
            _ => self.bits(),
        }
    }

    /// A floating-point encoding with `exponent` and `fraction` bits, often at an edge.
    pub fn float(&mut self, exponent: u32, fraction: u32) -> u64 {
        let sign = self.below(2) << (exponent + fraction);
        let ones = (1u64 << exponent) - 1;
        let bias = ones >> 1;
        let field = match self.below(10) {
            0 => 0,
            1 => ones,
            2 => 1 + self.below(3),
            3 => ones - 1 - self.below(3),
            4..=6 => bias.wrapping_add(self.below(12)).wrapping_sub(4),
            7 => bias.wrapping_add(self.below(80)).wrapping_sub(8),
            _ => self.bits(),
        } & ones;
        let mask = (1u64 << fraction) - 1;
        let part = match self.below(6) {
            0 => 0,
            1 => 1 << self.below(u64::from(fraction)),
            2 => mask >> self.below(u64::from(fraction)),
            3 => mask << self.below(u64::from(fraction)),
            _ => self.bits(),
        } & mask;
        sign | field << fraction | part
    }

    /// An 80-bit floating-point encoding, sometimes one that isn't supported.
    pub fn extended(&mut self) -> u128 {
        let head = self.float(15, 16) >> 16;
        let tail = match self.below(8) {
            0 => 1 << 63,
            1 => self.bits() >> self.below(64),
            2 => 1 << 63 | 1 << self.below(63),
            3 => u64::MAX << self.below(64),
            _ => self.bits() | 1 << 63,
        };
        u128::from(head) << 64 | u128::from(tail)
    }

    /// Sixteen bytes: floats, small lanes or anything.
    pub fn vector(&mut self) -> u128 {
        match self.below(10) {
            0..=2 => (0..4).fold(0, |value, _| value << 32 | u128::from(self.float(8, 23))),
            3..=5 => (0..2).fold(0, |value, _| value << 64 | u128::from(self.float(11, 52))),
            6 => (0..16).fold(0, |value, _| {
                value << 8 | u128::from(self.pick(&[0u8, 1, 0x7f, 0x80, 0xff, 0x81]))
            }),
            7 => u128::from(self.integer()),
            _ => u128::from(self.bits()) << 64 | u128::from(self.bits()),
        }
    }
}
