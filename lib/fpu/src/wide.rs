//! Floating point with 128 significant bits: what the transcendental functions compute in.
//!
//! Operations truncate; the error of a whole function stays below 2^-115, so that rounding its
//! result to 64 bits errs by less than one unit in the last place, and hardly ever at all.

use crate::soft::{Control, Kind, Number, Rounded, round};

/// `±significand · 2^(exponent - 127)`, bit 127 set; zero has a significand of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    negative: bool,
    exponent: i32,
    significand: u128,
}

impl Wide {
    pub const ONE: Self = Self::new(0, 1 << 127);
    pub const PI: Self = Self::new(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
    pub const LN_2: Self = Self::new(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
    pub const LOG2_E: Self = Self::new(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89);
    const ZERO: Self = Self::new(0, 0);

    const fn new(exponent: i32, significand: u128) -> Self {
        Self {
            negative: false,
            exponent,
            significand,
        }
    }

    /// A positive number of 128 bits scaled by `2^scale`.
    pub fn scaled(value: u128, scale: i32) -> Self {
        if value == 0 {
            return Self::ZERO;
        }
        let shift = value.leading_zeros();
        Self::new(127 - shift as i32 + scale, value << shift)
    }

    /// A finite number or zero.
    pub fn from_number(number: Number) -> Self {
        match number.kind {
            Kind::Finite => Self {
                negative: number.negative,
                exponent: number.exponent,
                significand: u128::from(number.significand) << 64,
            },
            _ => Self::ZERO,
        }
    }

    pub fn from_integer(value: i32) -> Self {
        let number = Self::scaled(u128::from(value.unsigned_abs()), 0);
        if value < 0 { number.negated() } else { number }
    }

    pub fn is_zero(self) -> bool {
        self.significand == 0
    }

    pub fn negated(self) -> Self {
        Self {
            negative: !self.negative,
            ..self
        }
    }

    pub fn with_sign(self, negative: bool) -> Self {
        Self { negative, ..self }
    }

    /// Times a power of two.
    pub fn shifted(self, by: i32) -> Self {
        Self {
            exponent: self.exponent + by,
            ..self
        }
    }

    pub fn magnitude(self) -> Self {
        self.with_sign(false)
    }

    /// Whether the magnitude is less than `other`'s.
    pub fn is_smaller(self, other: Self) -> bool {
        match (self.is_zero(), other.is_zero()) {
            (_, true) => false,
            (true, false) => true,
            _ => (self.exponent, self.significand) < (other.exponent, other.significand),
        }
    }

    pub fn add(self, other: Self) -> Self {
        let (large, small) = if self.is_smaller(other) {
            (other, self)
        } else {
            (self, other)
        };
        if small.is_zero() {
            return large;
        }
        let distance = large.exponent.abs_diff(small.exponent);
        let low = small.significand.unbounded_shr(distance);
        if large.negative == small.negative {
            let (sum, carry) = large.significand.overflowing_add(low);
            if carry {
                return Self {
                    significand: sum >> 1 | 1 << 127,
                    exponent: large.exponent + 1,
                    ..large
                };
            }
            return Self {
                significand: sum,
                ..large
            };
        }
        // What was shifted out makes the difference smaller: truncate it, too.
        let lost = low.unbounded_shl(distance) != small.significand;
        let difference = large.significand - low - u128::from(lost);
        if difference == 0 {
            return Self::ZERO;
        }
        let shift = difference.leading_zeros();
        Self {
            significand: difference << shift,
            exponent: large.exponent - shift as i32,
            ..large
        }
    }

    pub fn subtract(self, other: Self) -> Self {
        self.add(other.negated())
    }

    pub fn multiply(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::ZERO;
        }
        let half = |value: u128| (value >> 64, value & u128::from(u64::MAX));
        let ((a, b), (c, d)) = (half(self.significand), half(other.significand));
        let middle = a * d;
        let carries = half(middle).1 + half(b * c).1 + half(b * d).0;
        let high = a * c + half(middle).0 + half(b * c).0 + half(carries).0;
        let shift = high.leading_zeros();
        let low = u128::from(shift != 0 && carries >> 63 & 1 != 0);
        Self {
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent + 1 - shift as i32,
            significand: high << shift | low,
        }
    }

    /// Quotient; the divisor isn't zero.
    pub fn divide(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::ZERO;
        }
        // Long division of significands: `rest` stays below the divisor, but may need a 129th bit.
        let divisor = other.significand;
        let less = self.significand < divisor;
        let mut rest = if less {
            self.significand
        } else {
            self.significand - divisor
        };
        let mut quotient = u128::from(!less);
        for _ in 0..if less { 128 } else { 127 } {
            let carry = rest >> 127 != 0;
            rest <<= 1;
            quotient <<= 1;
            if carry || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient |= 1;
            }
        }
        Self {
            negative: self.negative != other.negative,
            exponent: self.exponent - other.exponent - i32::from(less),
            significand: quotient,
        }
    }

    /// Quotient by a small integer.
    pub fn divide_by(self, divisor: u32) -> Self {
        let quotient = Self::scaled(self.significand / u128::from(divisor.max(1)), 0);
        Self {
            negative: self.negative,
            exponent: self.exponent + quotient.exponent - 127,
            ..quotient
        }
    }

    /// Rounds; the result is taken to be inexact.
    pub fn rounded(self, control: &Control) -> Rounded {
        if self.is_zero() {
            return Rounded::exact(Number::zero(self.negative));
        }
        round(control, self.negative, self.exponent, self.significand | 1)
    }

    /// Sums `first` and the terms that follow it, until they no longer count.
    fn series(first: Self, mut next: impl FnMut(u32) -> Self) -> Self {
        let mut sum = first;
        for k in 1..200 {
            let term = next(k);
            sum = sum.add(term);
            // The first term too small to count still decides the direction of rounding.
            if term.is_zero() || term.exponent < sum.exponent - 130 {
                break;
            }
        }
        sum
    }

    /// `e^x - 1` for |x| < 1.
    pub fn exp_minus_one(self) -> Self {
        let mut term = self;
        Self::series(self, |k| {
            term = term.multiply(self).divide_by(k + 1);
            term
        })
    }

    /// `sin x` for |x| < 1.
    pub fn sine(self) -> Self {
        let square = self.multiply(self).negated();
        let mut term = self;
        Self::series(self, |k| {
            term = term.multiply(square).divide_by(2 * k * (2 * k + 1));
            term
        })
    }

    /// `cos x` for |x| < 1.
    pub fn cosine(self) -> Self {
        let square = self.multiply(self).negated();
        let mut term = Self::ONE;
        Self::series(Self::ONE, |k| {
            term = term.multiply(square).divide_by((2 * k - 1) * 2 * k);
            term
        })
    }

    /// Sum over odd k of `x^k / k`, with alternating signs if `square` is `-x²`.
    fn odd_series(self, square: Self) -> Self {
        let mut power = self;
        Self::series(self, |k| {
            power = power.multiply(square);
            power.divide_by(2 * k + 1)
        })
    }

    /// `ln(1 + x)` where `1 + x` is between 1/2 and 2.
    pub fn log_one_plus(self) -> Self {
        let z = self.divide(self.add(Self::from_integer(2)));
        z.odd_series(z.multiply(z)).shifted(1)
    }

    /// `arctan x` for 0 ≤ x ≤ 1.
    pub fn arc_tangent(self) -> Self {
        // The nearest eighth below leaves an argument of at most 1/8.
        let eighth = match self.exponent {
            0 => 8,
            exponent if exponent < -3 || self.is_zero() => 0,
            exponent => (self.significand >> (124 - exponent)) as i32,
        };
        let (Some(&(exponent, significand)), true) = (
            ARC_TANGENTS.get(eighth.unsigned_abs().wrapping_sub(1) as usize),
            eighth > 0,
        ) else {
            return self.odd_series(self.multiply(self).negated());
        };
        let c = Self::from_integer(eighth).shifted(-3);
        let rest = self.subtract(c).divide(Self::ONE.add(self.multiply(c)));
        let small = rest.odd_series(rest.multiply(rest).negated());
        Self::new(exponent, significand).add(small)
    }
}

/// Exponent and significand of `arctan(k/8)` for k = 1 to 8.
const ARC_TANGENTS: [(i32, u128); 8] = [
    (-4, 0xfead_d4d5_617b_6e32_c897_989f_3e88_8ef8),
    (-3, 0xfadb_afc9_6406_eb15_6dc7_9ef5_f7a2_17e6),
    (-2, 0xb7b0_ca0f_26f7_8473_8aa3_2122_dcfe_4483),
    (-2, 0xed63_382b_0dda_7b45_6fe4_45ec_bc3a_8d03),
    (-1, 0x8f00_5d5e_f7f5_9f9b_5c83_5e16_65c4_3748),
    (-1, 0xa4bc_7d19_34f7_0924_19a8_7f2a_457d_ac9f),
    (-1, 0xb805_3e2b_c231_9e73_cb2d_a552_10a4_443d),
    (-1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
];
