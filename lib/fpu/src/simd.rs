//! SSE floating point on packed and scalar lanes: exceptions and NaN rules of MXCSR
//! (SDM Vol. 1, 4.8.3.5, 11.5 and appendix E).

use crate::SimdException;
use crate::lanes::{dwords, from_dwords, from_qwords, qwords};
use crate::soft::{self, Control, DE, Format, IE, Kind, Number, PE, Rounded, Rounding, UE};
use core::cmp::Ordering;

const DAZ: u32 = 1 << 6;
const FTZ: u32 = 1 << 15;
/// Exceptions that are found before the result is computed.
const BEFORE: u32 = IE | DE | soft::ZE;

/// The width of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Single,
    Double,
}

use Width::{Double, Single};

/// A binary operation on numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Minimum,
    Maximum,
}

/// One instruction's view of MXCSR and the exceptions it collects.
pub struct Simd {
    mxcsr: u32,
    flags: u32,
    /// Exceptions, all masked, of steps that are complete.
    earlier: u32,
}

impl Simd {
    pub fn new(mxcsr: u32) -> Self {
        Self {
            mxcsr,
            flags: 0,
            earlier: 0,
        }
    }

    /// Moves the exceptions to MXCSR. Where one found beforehand is unmasked, nothing has been
    /// computed, so only those are flagged.
    pub fn finish(self, mxcsr: &mut u32) -> Result<(), SimdException> {
        let unmasked = self.unmasked();
        *mxcsr |= self.earlier;
        *mxcsr |= if unmasked & BEFORE != 0 {
            self.flags & BEFORE
        } else {
            self.flags
        };
        if unmasked != 0 {
            Err(SimdException)
        } else {
            Ok(())
        }
    }

    fn unmasked(&self) -> u32 {
        self.flags & !(self.mxcsr >> 7) & 0x3f
    }

    /// Ends a step of an operation that has several; false where an unmasked exception ends it.
    fn step(&mut self) -> bool {
        if self.unmasked() != 0 {
            return false;
        }
        self.earlier |= core::mem::take(&mut self.flags);
        true
    }

    fn rounding(&self) -> Rounding {
        Rounding::from_bits(self.mxcsr >> 13)
    }

    fn control(&self, width: Width) -> Control {
        let unmasked = !(self.mxcsr >> 7) & 0x3f;
        Control {
            rounding: self.rounding(),
            format: format(width),
            flush: self.mxcsr & FTZ != 0 && unmasked & UE == 0,
            unmasked,
            wrap: 0,
        }
    }

    /// Unpacks an operand; a denormal is a zero where MXCSR.DAZ says so.
    fn unpack(&self, width: Width, bits: u64) -> Number {
        let number = match width {
            Single => soft::unpack_single(bits as u32),
            Double => soft::unpack_double(bits),
        };
        if number.denormal && self.mxcsr & DAZ != 0 {
            return Number::zero(number.negative);
        }
        number
    }

    fn raise(&mut self, flags: u32) {
        self.flags |= flags;
    }

    fn deliver(&mut self, width: Width, result: Option<Rounded>) -> u64 {
        let result = result.unwrap_or(Rounded::raised(Number::indefinite(), IE));
        self.raise(result.flags);
        pack(width, result.number)
    }

    fn denormals(&mut self, numbers: &[Number]) {
        if numbers.iter().any(|number| number.denormal) {
            self.raise(DE);
        }
    }

    pub fn arithmetic(&mut self, width: Width, op: Arithmetic, a: u64, b: u64) -> u64 {
        let (x, y) = (self.unpack(width, a), self.unpack(width, b));
        if matches!(op, Arithmetic::Minimum | Arithmetic::Maximum) {
            return self.extremum(width, op, x, y);
        }
        if x.is_nan() || y.is_nan() {
            if x.is_signaling() || y.is_signaling() {
                self.raise(IE);
            }
            return pack(width, if x.is_nan() { x } else { y }.quieted());
        }
        let control = self.control(width);
        let result = match op {
            Arithmetic::Add => soft::add(&control, x, y),
            Arithmetic::Subtract => soft::add(&control, x, y.negated()),
            Arithmetic::Multiply => soft::multiply(&control, x, y),
            _ => soft::divide(&control, x, y),
        };
        // Invalid and divide-by-zero come before denormal, which then isn't looked for.
        if result.is_some_and(|rounded| rounded.flags & soft::ZE == 0) {
            self.denormals(&[x, y]);
        }
        self.deliver(width, result)
    }

    /// `MIN` and `MAX` give the second operand unless the first is strictly beyond it.
    fn extremum(&mut self, width: Width, op: Arithmetic, x: Number, y: Number) -> u64 {
        let wanted = if op == Arithmetic::Minimum {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        match soft::compare(x, y) {
            None => {
                self.raise(IE);
                pack(width, y)
            }
            Some(order) => {
                self.denormals(&[x, y]);
                pack(width, if order == wanted { x } else { y })
            }
        }
    }

    pub fn square_root(&mut self, width: Width, bits: u64) -> u64 {
        let x = self.unpack(width, bits);
        if x.is_nan() {
            if x.is_signaling() {
                self.raise(IE);
            }
            return pack(width, x.quieted());
        }
        let result = soft::square_root(&self.control(width), x);
        if result.is_some() {
            self.denormals(&[x]);
        }
        self.deliver(width, result)
    }

    /// `CMPPS` and its kin; `predicate` is the immediate's low 3 bits.
    pub fn compare(&mut self, width: Width, a: u64, b: u64, predicate: u8) -> bool {
        let (x, y) = (self.unpack(width, a), self.unpack(width, b));
        let signaling_predicate = matches!(predicate & 3, 1 | 2);
        let order = self.order(x, y, signaling_predicate);
        let holds = match predicate & 3 {
            0 => order == Some(Ordering::Equal),
            1 => order == Some(Ordering::Less),
            2 => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            _ => order.is_none(),
        };
        holds != (predicate & 4 != 0)
    }

    fn order(&mut self, x: Number, y: Number, signaling: bool) -> Option<Ordering> {
        let order = soft::compare(x, y);
        if order.is_some() {
            self.denormals(&[x, y]);
        } else if signaling || x.is_signaling() || y.is_signaling() {
            self.raise(IE);
        }
        order
    }

    /// `COMISx` (`signaling`) and `UCOMISx`: ZF, PF and CF.
    pub fn compare_flags(&mut self, width: Width, a: u64, b: u64, signaling: bool) -> u128 {
        let (x, y) = (self.unpack(width, a), self.unpack(width, b));
        match self.order(x, y, signaling) {
            None => 0x45,
            Some(Ordering::Less) => 1,
            Some(Ordering::Equal) => 0x40,
            Some(Ordering::Greater) => 0,
        }
    }

    /// To a signed integer of `bits` bits; out of range gives the integer indefinite.
    pub fn integer_of(&mut self, width: Width, value: u64, bits: u32, truncate: bool) -> u64 {
        let indefinite = 1u64 << (bits - 1);
        let x = self.unpack(width, value);
        let rounding = if truncate {
            Rounding::Zero
        } else {
            self.rounding()
        };
        let rounded = match x.kind {
            Kind::Zero | Kind::Finite => soft::to_integer(rounding, x),
            _ => None,
        };
        match rounded {
            Some((magnitude, inexact, _))
                if magnitude < indefinite || magnitude == indefinite && x.negative =>
            {
                if inexact {
                    self.raise(PE);
                }
                let signed = if x.negative {
                    magnitude.wrapping_neg()
                } else {
                    magnitude
                };
                signed & (u64::MAX >> (64 - bits))
            }
            _ => {
                self.raise(IE);
                indefinite
            }
        }
    }

    pub fn number_of(&mut self, width: Width, value: i64) -> u64 {
        let result = soft::convert(&self.control(width), Number::from_i64(value));
        self.deliver(width, Some(result))
    }

    /// Between single and double.
    pub fn resize(&mut self, from: Width, to: Width, bits: u64) -> u64 {
        let x = self.unpack(from, bits);
        if x.is_nan() {
            if x.is_signaling() {
                self.raise(IE);
            }
            return pack(to, x.quieted());
        }
        self.denormals(&[x]);
        let result = soft::convert(&self.control(to), x);
        self.deliver(to, Some(result))
    }

    /// `ROUNDxx`: the immediate may override the rounding and silence the inexact exception.
    pub fn round(&mut self, width: Width, bits: u64, imm: u8) -> u64 {
        let x = self.unpack(width, bits);
        if x.is_nan() {
            if x.is_signaling() {
                self.raise(IE);
            }
            return pack(width, x.quieted());
        }
        let rounding = if imm & 4 != 0 {
            self.rounding()
        } else {
            Rounding::from_bits(u32::from(imm))
        };
        let result = soft::round_to_integral(rounding, x);
        if imm & 8 == 0 {
            self.raise(result.flags);
        }
        pack(width, result.number)
    }

    /// Applies `f` to all lanes of `width`.
    pub fn packed(
        &mut self,
        width: Width,
        a: u128,
        b: u128,
        mut f: impl FnMut(&mut Self, u64, u64) -> u64,
    ) -> u128 {
        match width {
            Single => {
                let (a, b) = (dwords(a), dwords(b));
                from_dwords(core::array::from_fn(|i| {
                    f(self, u64::from(a[i]), u64::from(b[i])) as u32
                }))
            }
            Double => {
                let (a, b) = (qwords(a), qwords(b));
                from_qwords([f(self, a[0], b[0]), f(self, a[1], b[1])])
            }
        }
    }

    /// `DPPS` and `DPPD`: the immediate selects factors and places of the sum.
    pub fn dot_product(&mut self, width: Width, a: u128, b: u128, imm: u8) -> u128 {
        let lanes = if width == Single { 4 } else { 2 };
        let mut lane = 0;
        let products = self.packed(width, a, b, |simd, x, y| {
            let chosen = imm >> (4 + lane) & 1 != 0;
            lane += 1;
            if chosen {
                simd.arithmetic(width, Arithmetic::Multiply, x, y)
            } else {
                0
            }
        });
        if !self.step() {
            return 0;
        }
        // Which addend comes first decides which NaN a lane gets; the SDM leaves that open, and
        // this is what Intel's processors do.
        let add = |simd: &mut Self, x: u128, y: u128| {
            simd.packed(width, x, y, |simd, a, b| {
                simd.arithmetic(width, Arithmetic::Add, a, b)
            })
        };
        let sums = match width {
            Single => {
                let p = dwords(products);
                let pairs = add(self, from_dwords([p[1], p[0], p[3], p[2]]), products);
                if !self.step() {
                    return 0;
                }
                add(self, pairs, pairs.rotate_left(64))
            }
            Double => add(self, products, products.rotate_left(64)),
        };
        let bits = 128 / lanes;
        (0..lanes)
            .filter(|lane| imm >> lane & 1 != 0)
            .fold(0, |result, lane| {
                result | sums & ((1u128 << bits) - 1) << (lane * bits)
            })
    }

    /// Reciprocal, or reciprocal of the square root, to at least 12 bits; no exceptions.
    ///
    /// The SDM bounds the error only. Intel's processors look the result up by the top bits of
    /// the significand; their table holds, correctly rounded to 13 bits, the function's value in
    /// the middle of each interval.
    pub fn approximate(&self, value: u32, root: bool) -> u32 {
        // Denormals count as zeros whatever MXCSR says (SDM Vol. 2, RCPPS).
        let x = match soft::unpack_single(value) {
            x if x.denormal => Number::zero(x.negative),
            x => x,
        };
        let exact = Control {
            rounding: Rounding::Nearest,
            format: soft::EXTENDED,
            flush: true,
            unmasked: 0,
            wrap: 0,
        };
        let control = Control {
            format: Format {
                precision: 13,
                ..soft::SINGLE
            },
            ..exact
        };
        let one = Number::finite(false, 0, soft::INTEGER);
        // Ten or eleven fraction bits select the interval.
        let half = 1u64 << if root { 52 } else { 51 };
        let middle = Number {
            significand: x.significand & !(2 * half - 1) | half,
            ..x
        };
        let number = match x.kind {
            _ if x.is_nan() => x.quieted(),
            Kind::Zero => Number::infinity(x.negative),
            _ if root && x.negative => Number::indefinite(),
            Kind::Infinity => Number::zero(x.negative),
            _ => {
                let divisor = if root {
                    soft::square_root(&exact, middle)
                } else {
                    Some(Rounded::exact(middle))
                };
                divisor
                    .and_then(|divisor| soft::divide(&control, one, divisor.number))
                    .map_or(Number::indefinite(), |rounded| rounded.number)
            }
        };
        soft::pack_single(number)
    }
}

fn format(width: Width) -> Format {
    match width {
        Single => soft::SINGLE,
        Double => soft::DOUBLE,
    }
}

fn pack(width: Width, number: Number) -> u64 {
    match width {
        Single => u64::from(soft::pack_single(number)),
        Double => soft::pack_double(number),
    }
}
