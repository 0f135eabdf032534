//! Binary floating point in integers: unpack, compute exactly, round once.
//!
//! Numbers of every width are unpacked to a 64-bit significand, results are computed to 128 bits
//! with the last bit sticky, and [`round`] turns those into the target format. Exceptions use the
//! bits that FSW and MXCSR have in common.

/// Exception flags as they stand in FSW and MXCSR.
pub const IE: u32 = 1;
pub const DE: u32 = 2;
pub const ZE: u32 = 4;
pub const OE: u32 = 8;
pub const UE: u32 = 0x10;
pub const PE: u32 = 0x20;

/// The explicit integer bit of a left-aligned significand.
pub const INTEGER: u64 = 1 << 63;
/// The quiet bit of a NaN's left-aligned significand.
pub const QUIET: u64 = 1 << 62;

/// What an encoding stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Zero,
    /// A number other than zero.
    Finite,
    Infinity,
    QuietNan,
    SignalingNan,
    /// An 80-bit encoding that the 80387 and later refuse (SDM Vol. 1, table 8-3).
    Unsupported,
}

/// A number of any width. Finite: `significand · 2^(exponent - 63)` with bit 63 set. NaN: the
/// significand left-aligned with its integer bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub kind: Kind,
    pub negative: bool,
    pub exponent: i32,
    pub significand: u64,
    /// The encoding was denormal (or pseudo-denormal).
    pub denormal: bool,
}

impl Number {
    pub const fn zero(negative: bool) -> Self {
        Self {
            kind: Kind::Zero,
            negative,
            exponent: 0,
            significand: 0,
            denormal: false,
        }
    }
    pub const fn infinity(negative: bool) -> Self {
        Self {
            kind: Kind::Infinity,
            negative,
            exponent: 0,
            significand: INTEGER,
            denormal: false,
        }
    }
    /// The real indefinite: what masked invalid operations give.
    pub const fn indefinite() -> Self {
        Self {
            kind: Kind::QuietNan,
            negative: true,
            exponent: 0,
            significand: INTEGER | QUIET,
            denormal: false,
        }
    }
    pub const fn finite(negative: bool, exponent: i32, significand: u64) -> Self {
        Self {
            kind: Kind::Finite,
            negative,
            exponent,
            significand,
            denormal: false,
        }
    }
    pub fn is_nan(&self) -> bool {
        matches!(self.kind, Kind::QuietNan | Kind::SignalingNan)
    }
    pub fn is_signaling(&self) -> bool {
        self.kind == Kind::SignalingNan
    }
    pub fn is_zero(&self) -> bool {
        self.kind == Kind::Zero
    }
    pub fn negated(self) -> Self {
        Self {
            negative: !self.negative,
            ..self
        }
    }
    /// A NaN made quiet.
    pub fn quieted(self) -> Self {
        Self {
            kind: Kind::QuietNan,
            significand: self.significand | QUIET,
            ..self
        }
    }
    /// Signed integer, exactly.
    pub fn from_i64(value: i64) -> Self {
        if value == 0 {
            return Self::zero(false);
        }
        let magnitude = value.unsigned_abs();
        let shift = magnitude.leading_zeros();
        Self::finite(value < 0, 63 - shift as i32, magnitude << shift)
    }
}

/// A target of rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Significand bits including the integer bit.
    pub precision: u32,
    /// Largest exponent; the smallest of a normal number is `1 - max`.
    pub max: i32,
}

pub const SINGLE: Format = Format {
    precision: 24,
    max: 127,
};
pub const DOUBLE: Format = Format {
    precision: 53,
    max: 1023,
};
pub const EXTENDED: Format = Format {
    precision: 64,
    max: 16383,
};

/// Rounding control, as encoded in FCW and MXCSR (SDM Vol. 1, table 4-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Nearest,
    Down,
    Up,
    Zero,
}

impl Rounding {
    pub fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }

    /// Whether a discarded remainder makes the magnitude grow by one. `half`: the remainder is
    /// compared with one half.
    fn grows(self, negative: bool, odd: bool, half: core::cmp::Ordering) -> bool {
        match self {
            Self::Nearest => half.is_gt() || half.is_eq() && odd,
            Self::Down => negative,
            Self::Up => !negative,
            Self::Zero => false,
        }
    }
}

/// How results are rounded and what happens at the ends of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    pub rounding: Rounding,
    pub format: Format,
    /// Tiny results become zero (MXCSR.FTZ with underflow masked).
    pub flush: bool,
    /// Exceptions that are not masked.
    pub unmasked: u32,
    /// What is added to the exponent when an unmasked overflow (negated) or underflow delivers a
    /// result: 24576 for x87 registers; 0 where no result is delivered.
    pub wrap: i32,
}

/// A rounded result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded {
    pub number: Number,
    /// Exceptions raised.
    pub flags: u32,
    /// The magnitude was rounded up (C1).
    pub up: bool,
}

impl Rounded {
    pub fn exact(number: Number) -> Self {
        Self {
            number,
            flags: 0,
            up: false,
        }
    }
    pub fn raised(number: Number, flags: u32) -> Self {
        Self {
            number,
            flags,
            up: false,
        }
    }
    pub fn with(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }
}

/// Shifts right, ORing what falls out into the last bit.
pub fn shift_right_jam(value: u128, distance: u32) -> u128 {
    match distance {
        0 => value,
        1..=127 => value >> distance | u128::from(value << (128 - distance) != 0),
        _ => u128::from(value != 0),
    }
}

/// Rounds `value · 2^(exponent - 127)`, bit 127 set, bit 0 sticky.
pub fn round(control: &Control, negative: bool, exponent: i32, value: u128) -> Rounded {
    let format = control.format;
    let min = 1 - format.max;
    let drop = 128 - format.precision;
    // Rounds `value` to a multiple of 2^drop; gives (significand, carried, inexact, up).
    let to_precision = |value: u128| {
        let kept = value >> drop;
        let rest = value << format.precision;
        let up = rest != 0
            && control
                .rounding
                .grows(negative, kept & 1 != 0, rest.cmp(&(1 << 127)));
        let kept = kept + u128::from(up);
        let carried = kept >> format.precision != 0;
        (kept, carried, rest != 0, up)
    };
    let left_aligned = |kept: u128| (kept << (64 - format.precision)) as u64;

    let (kept, carried, inexact, up) = to_precision(value);
    let rounded_exponent = exponent.saturating_add(i32::from(carried));
    let significand = if carried { INTEGER } else { left_aligned(kept) };
    let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };

    if rounded_exponent > format.max {
        if control.unmasked & OE != 0 {
            return Rounded {
                number: Number::finite(negative, rounded_exponent - control.wrap, significand),
                flags: OE | flag(inexact, PE),
                up,
            };
        }
        let to_infinity = match control.rounding {
            Rounding::Nearest => true,
            Rounding::Down => negative,
            Rounding::Up => !negative,
            Rounding::Zero => false,
        };
        let number = if to_infinity {
            Number::infinity(negative)
        } else {
            let all_ones = u64::MAX << (64 - format.precision);
            Number::finite(negative, format.max, all_ones)
        };
        return Rounded {
            number,
            flags: OE | PE,
            up: to_infinity,
        };
    }
    if rounded_exponent < min && control.unmasked & UE != 0 {
        return Rounded {
            number: Number::finite(negative, rounded_exponent + control.wrap, significand),
            flags: UE | flag(inexact, PE),
            up,
        };
    }
    if exponent >= min {
        return Rounded {
            number: Number::finite(negative, rounded_exponent, significand),
            flags: flag(inexact, PE),
            up,
        };
    }
    // Tininess is detected after rounding: a number that rounds up to the smallest normal one
    // with an unbounded exponent isn't tiny.
    let tiny = rounded_exponent < min;
    if tiny && control.flush {
        return Rounded::raised(Number::zero(negative), UE | PE);
    }
    let distance = u32::try_from(min.saturating_sub(exponent)).unwrap_or(u32::MAX);
    let (kept, _, inexact, up) = to_precision(shift_right_jam(value, distance));
    let flags = flag(inexact, PE) | flag(inexact && tiny, UE);
    let number = if kept == 0 {
        Number::zero(negative)
    } else {
        let aligned = left_aligned(kept);
        let shift = aligned.leading_zeros();
        Number {
            denormal: shift != 0,
            ..Number::finite(negative, min - shift as i32, aligned << shift)
        }
    };
    Rounded { number, flags, up }
}

/// Rounds an exact number to the target format; zeros and infinities stay.
pub fn convert(control: &Control, number: Number) -> Rounded {
    match number.kind {
        Kind::Finite => round(
            control,
            number.negative,
            number.exponent,
            u128::from(number.significand) << 64,
        ),
        _ => Rounded::exact(number),
    }
}

/// Sum of two numbers that aren't NaN. `Err`: infinities of opposite signs (invalid).
pub fn add(control: &Control, a: Number, b: Number) -> Option<Rounded> {
    match (a.kind, b.kind) {
        (Kind::Infinity, Kind::Infinity) if a.negative != b.negative => None,
        (Kind::Infinity, _) => Some(Rounded::exact(Number::infinity(a.negative))),
        (_, Kind::Infinity) => Some(Rounded::exact(Number::infinity(b.negative))),
        (Kind::Zero, Kind::Zero) => {
            let negative = if a.negative == b.negative {
                a.negative
            } else {
                control.rounding == Rounding::Down
            };
            Some(Rounded::exact(Number::zero(negative)))
        }
        (Kind::Zero, _) => Some(convert(control, b)),
        (_, Kind::Zero) => Some(convert(control, a)),
        _ => {
            let (large, small) = if (a.exponent, a.significand) >= (b.exponent, b.significand) {
                (a, b)
            } else {
                (b, a)
            };
            let distance = large.exponent.abs_diff(small.exponent);
            let high = u128::from(large.significand) << 63;
            let low = shift_right_jam(u128::from(small.significand) << 63, distance);
            let sum = if large.negative == small.negative {
                high + low
            } else {
                high - low
            };
            if sum == 0 {
                let zero = Number::zero(control.rounding == Rounding::Down);
                return Some(Rounded::exact(zero));
            }
            let shift = sum.leading_zeros();
            let exponent = large.exponent + 1 - shift as i32;
            Some(round(control, large.negative, exponent, sum << shift))
        }
    }
}

/// Product of two numbers that aren't NaN. `None`: zero times infinity (invalid).
pub fn multiply(control: &Control, a: Number, b: Number) -> Option<Rounded> {
    let negative = a.negative != b.negative;
    match (a.kind, b.kind) {
        (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => None,
        (Kind::Infinity, _) | (_, Kind::Infinity) => {
            Some(Rounded::exact(Number::infinity(negative)))
        }
        (Kind::Zero, _) | (_, Kind::Zero) => Some(Rounded::exact(Number::zero(negative))),
        _ => {
            let product = u128::from(a.significand) * u128::from(b.significand);
            let shift = product.leading_zeros();
            let exponent = a.exponent + b.exponent + 1 - shift as i32;
            Some(round(control, negative, exponent, product << shift))
        }
    }
}

/// Quotient of two numbers that aren't NaN. `None`: 0/0 or ∞/∞ (invalid). Division of a finite
/// number by zero raises ZE.
pub fn divide(control: &Control, a: Number, b: Number) -> Option<Rounded> {
    let negative = a.negative != b.negative;
    match (a.kind, b.kind) {
        (Kind::Infinity, Kind::Infinity) | (Kind::Zero, Kind::Zero) => None,
        (Kind::Infinity, _) => Some(Rounded::exact(Number::infinity(negative))),
        (_, Kind::Zero) => Some(Rounded::raised(Number::infinity(negative), ZE)),
        (Kind::Zero, _) | (_, Kind::Infinity) => Some(Rounded::exact(Number::zero(negative))),
        _ => {
            let divisor = u128::from(b.significand);
            let less = a.significand < b.significand;
            // The quotient has exactly 64 bits.
            let dividend = u128::from(a.significand) << if less { 64 } else { 63 };
            let (quotient, rest) = (dividend / divisor, dividend % divisor);
            let exponent = a.exponent - b.exponent - i32::from(less);
            let value = quotient << 64 | below_last_place(rest, divisor);
            Some(round(control, negative, exponent, value))
        }
    }
}

/// The bits below a quotient: half of the last place, and sticky.
fn below_last_place(rest: u128, divisor: u128) -> u128 {
    let half = u128::from(2 * rest >= divisor) << 63;
    half | u128::from(rest != 0 && 2 * rest != divisor)
}

/// Square root of a number that isn't NaN. `None`: negative and not zero (invalid).
pub fn square_root(control: &Control, a: Number) -> Option<Rounded> {
    match a.kind {
        Kind::Zero => Some(Rounded::exact(a)),
        _ if a.negative => None,
        Kind::Infinity => Some(Rounded::exact(a)),
        _ => {
            let odd = a.exponent & 1 != 0;
            let radicand = u128::from(a.significand) << if odd { 64 } else { 63 };
            let root = radicand.isqrt();
            let rest = radicand - root * root;
            let half = u128::from(rest > root) << 63;
            let value = root << 64 | half | u128::from(rest != 0);
            Some(round(control, false, a.exponent >> 1, value))
        }
    }
}

/// How two numbers compare; `None` if either is NaN.
pub fn compare(a: Number, b: Number) -> Option<core::cmp::Ordering> {
    use core::cmp::Ordering;
    if a.is_nan() || b.is_nan() {
        return None;
    }
    let magnitude = |n: Number| match n.kind {
        Kind::Zero => (0, 0, 0),
        Kind::Infinity => (2, 0, 0),
        _ => (1, n.exponent, n.significand),
    };
    if a.is_zero() && b.is_zero() {
        return Some(Ordering::Equal);
    }
    Some(match (a.negative, b.negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => magnitude(a).cmp(&magnitude(b)),
        (true, true) => magnitude(b).cmp(&magnitude(a)),
    })
}

/// Rounds a finite number or zero to an integer. Gives (magnitude, inexact, up);
/// `None` where the magnitude doesn't fit 64 bits.
pub fn to_integer(rounding: Rounding, number: Number) -> Option<(u64, bool, bool)> {
    if number.is_zero() {
        return Some((0, false, false));
    }
    if number.exponent > 63 {
        return None;
    }
    let distance = (63 - number.exponent) as u32;
    let wide = if number.exponent < -1 {
        1
    } else {
        shift_right_jam(u128::from(number.significand) << 64, distance)
    };
    let whole = (wide >> 64) as u64;
    let rest = wide as u64;
    let up = rest != 0 && rounding.grows(number.negative, whole & 1 != 0, rest.cmp(&INTEGER));
    let magnitude = whole.checked_add(u64::from(up))?;
    Some((magnitude, rest != 0, up))
}

/// Rounds to an integral number in the same format.
pub fn round_to_integral(rounding: Rounding, number: Number) -> Rounded {
    if number.kind != Kind::Finite || number.exponent >= 63 {
        return Rounded::exact(number);
    }
    let Some((magnitude, inexact, up)) = to_integer(rounding, number) else {
        return Rounded::exact(number);
    };
    let flags = if inexact { PE } else { 0 };
    let number = if magnitude == 0 {
        Number::zero(number.negative)
    } else {
        let shift = magnitude.leading_zeros();
        Number::finite(number.negative, 63 - shift as i32, magnitude << shift)
    };
    Rounded { number, flags, up }
}

/// Unpacks a 32- or 64-bit encoding with `fraction` fraction bits.
fn unpack(bits: u64, fraction: u32, max: i32, sign: u32) -> Number {
    let negative = bits >> sign & 1 != 0;
    let field = (bits >> fraction) as i32 & (2 * max + 1);
    let left = bits << (63 - fraction) & !INTEGER;
    if field == 2 * max + 1 {
        return match left {
            0 => Number::infinity(negative),
            _ => Number {
                kind: if left & QUIET != 0 {
                    Kind::QuietNan
                } else {
                    Kind::SignalingNan
                },
                negative,
                exponent: 0,
                significand: left | INTEGER,
                denormal: false,
            },
        };
    }
    if field == 0 {
        if left == 0 {
            return Number::zero(negative);
        }
        let shift = left.leading_zeros();
        return Number {
            denormal: true,
            ..Number::finite(negative, 1 - max - shift as i32, left << shift)
        };
    }
    Number::finite(negative, field - max, left | INTEGER)
}

/// Packs into a 32- or 64-bit encoding. The number has been rounded to that format.
fn pack(number: Number, fraction: u32, max: i32, sign: u32) -> u64 {
    let high = u64::from(number.negative) << sign;
    let all = (2 * max as u64 + 1) << fraction;
    let part = (number.significand & !INTEGER) >> (63 - fraction);
    match number.kind {
        Kind::Zero => high,
        Kind::Infinity => high | all,
        Kind::Finite if number.exponent < 1 - max => {
            let shift = (1 - max - number.exponent) as u32;
            high | (number.significand >> (63 - fraction)).unbounded_shr(shift)
        }
        // An exponent beyond the range stands for a result that isn't delivered.
        Kind::Finite => high | ((number.exponent + max) as u64) << fraction & all | part,
        _ => high | all | part,
    }
}

pub fn unpack_single(bits: u32) -> Number {
    unpack(u64::from(bits), 23, 127, 31)
}
pub fn unpack_double(bits: u64) -> Number {
    unpack(bits, 52, 1023, 63)
}
pub fn pack_single(number: Number) -> u32 {
    pack(number, 23, 127, 31) as u32
}
pub fn pack_double(number: Number) -> u64 {
    pack(number, 52, 1023, 63)
}

/// Unpacks an 80-bit encoding in the low bits.
pub fn unpack_extended(bits: u128) -> Number {
    let negative = bits >> 79 & 1 != 0;
    let field = (bits >> 64) as i32 & 0x7fff;
    let significand = bits as u64;
    if field == 0 {
        if significand == 0 {
            return Number::zero(negative);
        }
        // Without the integer bit a denormal, with it a pseudo-denormal of the same exponent.
        let shift = significand.leading_zeros();
        return Number {
            denormal: true,
            ..Number::finite(negative, -16382 - shift as i32, significand << shift)
        };
    }
    let unsupported = Number {
        kind: Kind::Unsupported,
        ..Number::indefinite()
    };
    if significand & INTEGER == 0 {
        return unsupported;
    }
    if field == 0x7fff {
        return match significand << 1 {
            0 => Number::infinity(negative),
            _ => Number {
                kind: if significand & QUIET != 0 {
                    Kind::QuietNan
                } else {
                    Kind::SignalingNan
                },
                negative,
                exponent: 0,
                significand,
                denormal: false,
            },
        };
    }
    Number::finite(negative, field - 16383, significand)
}

/// Packs into an 80-bit encoding. The number has been rounded to extended precision or less.
pub fn pack_extended(number: Number) -> u128 {
    let sign = u128::from(number.negative) << 79;
    match number.kind {
        Kind::Zero => sign,
        Kind::Infinity => sign | 0x7fff << 64 | u128::from(INTEGER),
        Kind::Finite if number.exponent < -16382 => {
            let shift = (-16382 - number.exponent) as u32;
            sign | u128::from(number.significand.unbounded_shr(shift))
        }
        Kind::Finite => {
            let field = (number.exponent + 16383) as u128 & 0x7fff;
            sign | field << 64 | u128::from(number.significand)
        }
        _ => sign | 0x7fff << 64 | u128::from(number.significand),
    }
}
