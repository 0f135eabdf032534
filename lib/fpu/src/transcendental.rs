//! Transcendental functions of the x87 (SDM Vol. 1, 8.3.10).
//!
//! Results are rounded from 128 bits as FCW says, so they are within half a unit in the last
//! place where the SDM asks for one; trigonometric arguments are reduced by the processor's
//! 66-bit π, as hardware does.

use crate::execute::invalid_or_nan;
use crate::soft::{DE, EXTENDED, IE, INTEGER, Kind, Number, PE, Rounded, ZE};
use crate::wide::Wide;
use crate::x87::fsw;
use crate::{X87, X87Op};

/// π/2 in units of 2^-65: 66 bits, the value that argument reduction uses.
const HALF_PI: u128 = 0xc_90fd_aa22_168c_234c >> 2;

/// A quotient rounded to nearest and what remains.
struct Reduced {
    quarter: u32,
    rest: Wide,
}

fn one() -> Number {
    Number::finite(false, 0, INTEGER)
}

/// Reduces |x| < 2^63 to quarter turns and a rest of at most π/4.
fn reduce(x: Number) -> Reduced {
    if x.exponent < -1 {
        return Reduced {
            quarter: 0,
            rest: Wide::from_number(x),
        };
    }
    // In units of 2^-65 the argument is an integer of at most 128 bits.
    let whole = u128::from(x.significand) << (x.exponent + 2);
    let (mut quotient, mut rest) = (whole / HALF_PI, whole % HALF_PI);
    let mut negative = x.negative;
    if rest > HALF_PI / 2 {
        rest = HALF_PI - rest;
        quotient += 1;
        negative = !negative;
    }
    let turns = quotient as u32 & 3;
    Reduced {
        quarter: if x.negative {
            turns.wrapping_neg() & 3
        } else {
            turns
        },
        rest: Wide::scaled(rest, -65).with_sign(negative),
    }
}

impl Reduced {
    fn sine(&self) -> Wide {
        let value = if self.quarter & 1 == 0 {
            self.rest.sine()
        } else {
            self.rest.cosine()
        };
        if self.quarter & 2 == 0 {
            value
        } else {
            value.negated()
        }
    }

    fn cosine(&self) -> Wide {
        let value = if self.quarter & 1 == 0 {
            self.rest.cosine()
        } else {
            self.rest.sine()
        };
        if matches!(self.quarter, 1 | 2) {
            value.negated()
        } else {
            value
        }
    }
}

impl X87 {
    pub(crate) fn transcendental(&mut self, op: X87Op) {
        match op {
            X87Op::F2xm1 => self.unary(|unit, x| {
                Some(match x.kind {
                    Kind::Infinity if x.negative => Rounded::exact(one().negated()),
                    // Beyond ±1 the result is undefined: the operand stays.
                    Kind::Finite if x.exponent >= 0 => {
                        let minus_one = x.negative && x.exponent == 0 && x.significand == INTEGER;
                        let half = Number {
                            exponent: -1,
                            ..one()
                        }
                        .negated();
                        Rounded::raised(if minus_one { half } else { x }, PE)
                    }
                    Kind::Finite => Wide::from_number(x)
                        .multiply(Wide::LN_2)
                        .exp_minus_one()
                        .rounded(&unit.control(EXTENDED)),
                    _ => Rounded::exact(x),
                })
            }),
            X87Op::Yl2x => self.binary(Self::log),
            X87Op::Yl2xp1 => self.binary(Self::log_one_plus),
            X87Op::Patan => self.binary(Self::arc_tangent),
            _ => self.trigonometric(op),
        }
    }

    /// An operation on `ST(1)` and `ST(0)` that pops and leaves its result in the new `ST(0)`.
    fn binary(&mut self, f: impl Fn(&Self, Number, Number) -> Option<Rounded>) {
        if self.is_empty(0) || self.is_empty(1) {
            return self.underflow(1, 1);
        }
        let (y, x) = (self.number(1), self.number(0));
        let result = match invalid_or_nan(y, x) {
            Some(result) => result,
            None => self.with_denormals(f(self, y, x), &[y, x]),
        };
        self.deliver(1, result, 1);
    }

    /// `y · log2 x`.
    fn log(&self, y: Number, x: Number) -> Option<Rounded> {
        if x.negative && x.kind != Kind::Zero {
            return None;
        }
        let infinity = |negative: bool| Rounded::exact(Number::infinity(negative));
        let is_one = x.kind == Kind::Finite && x.exponent == 0 && x.significand == INTEGER;
        // The logarithm's sign, where it isn't zero.
        let below_one = x.kind == Kind::Zero || x.kind == Kind::Finite && x.exponent < 0;
        let negative = y.negative != below_one;
        Some(match (x.kind, y.kind) {
            (Kind::Zero | Kind::Infinity, Kind::Zero) => return None,
            (Kind::Zero, Kind::Finite) => infinity(negative).with(ZE),
            (Kind::Zero | Kind::Infinity, _) => infinity(negative),
            (_, Kind::Infinity) if is_one => return None,
            (_, Kind::Infinity) => infinity(negative),
            _ if is_one => Rounded::exact(Number::zero(y.negative)),
            (_, Kind::Zero) => Rounded::exact(Number::zero(negative)),
            _ if x.significand == INTEGER => {
                // A power of two: the logarithm is an integer, and the product may be exact. It
                // is flagged as inexact nevertheless.
                let log = Number::from_i64(i64::from(x.exponent));
                return crate::soft::multiply(&self.control(EXTENDED), y, log)
                    .map(|result| result.with(PE));
            }
            _ => {
                // 1 + z between 2/3 and 4/3 keeps the series short and exact near one.
                let lower = x.significand >= 0xaaaa_aaaa_aaaa_aaaa;
                let exponent = x.exponent + i32::from(lower);
                let mantissa = Number {
                    exponent: -i32::from(lower),
                    negative: false,
                    ..x
                };
                let z = Wide::from_number(mantissa).subtract(Wide::ONE);
                let log = z
                    .log_one_plus()
                    .multiply(Wide::LOG2_E)
                    .add(Wide::from_integer(exponent));
                log.multiply(Wide::from_number(y))
                    .rounded(&self.control(EXTENDED))
            }
        })
    }

    /// `y · log2(x + 1)` for x between √½ - 1 and √2 - 1; beyond, as far as it makes sense.
    fn log_one_plus(&self, y: Number, x: Number) -> Option<Rounded> {
        let negative = y.negative != x.negative;
        Some(match (x.kind, y.kind) {
            (Kind::Zero, Kind::Infinity) | (Kind::Infinity, Kind::Zero) => return None,
            (Kind::Infinity, _) if x.negative => return None,
            (Kind::Zero, _) | (_, Kind::Zero) => Rounded::exact(Number::zero(negative)),
            (Kind::Infinity, _) | (_, Kind::Infinity) => Rounded::exact(Number::infinity(negative)),
            // The result is undefined outside: the operand stays.
            _ if x.exponent >= 0 => Rounded::raised(x, PE),
            _ => Wide::from_number(x)
                .log_one_plus()
                .multiply(Wide::LOG2_E)
                .multiply(Wide::from_number(y))
                .rounded(&self.control(EXTENDED)),
        })
    }

    /// The angle of the point (x, y).
    fn arc_tangent(&self, y: Number, x: Number) -> Option<Rounded> {
        let control = self.control(EXTENDED);
        let angle = |numerator: i32, shift: i32| {
            Wide::PI
                .multiply(Wide::from_integer(numerator))
                .shifted(shift)
                .with_sign(y.negative)
                .rounded(&control)
        };
        Some(match (y.kind, x.kind) {
            (Kind::Infinity, Kind::Infinity) if x.negative => angle(3, -2),
            (Kind::Infinity, Kind::Infinity) => angle(1, -2),
            (Kind::Zero, _) | (_, Kind::Infinity) if x.negative => angle(1, 0),
            (Kind::Zero, _) | (_, Kind::Infinity) => Rounded::exact(Number::zero(y.negative)),
            (Kind::Infinity, _) | (_, Kind::Zero) => angle(1, -1),
            _ => {
                let (a, b) = (
                    Wide::from_number(y).magnitude(),
                    Wide::from_number(x).magnitude(),
                );
                let steep = b.is_smaller(a);
                let ratio = if steep { b.divide(a) } else { a.divide(b) };
                let mut angle = ratio.arc_tangent();
                if steep {
                    angle = Wide::PI.shifted(-1).subtract(angle);
                }
                if x.negative {
                    angle = Wide::PI.subtract(angle);
                }
                angle.with_sign(y.negative).rounded(&control)
            }
        })
    }

    fn trigonometric(&mut self, op: X87Op) {
        let pushes = matches!(op, X87Op::Ptan | X87Op::Sincos);
        self.fsw &= !fsw::C2;
        let fault = if self.is_empty(0) {
            Some(false)
        } else if pushes && !self.is_empty(7) {
            Some(true)
        } else {
            None
        };
        if let Some(overflow) = fault {
            if self.stack_fault(overflow) {
                self.set(0, Number::indefinite());
                if pushes {
                    self.set_top(self.top().wrapping_sub(1));
                    self.set(0, Number::indefinite());
                }
            }
            return;
        }
        let x = self.number(0);
        if x.kind == Kind::Finite && x.exponent >= 63 {
            // Out of range: C2 says that nothing was done.
            self.set_c1(false);
            self.fsw |= fsw::C2;
            return;
        }
        let control = self.control(EXTENDED);
        let nan = invalid_or_nan(x, x).or_else(|| {
            (x.kind == Kind::Infinity).then(|| Rounded::raised(Number::indefinite(), IE))
        });
        let (first, second) = match nan {
            Some(result) => (result, result),
            None if x.kind == Kind::Zero => match op {
                X87Op::Cos => (Rounded::exact(one()), Rounded::exact(one())),
                _ => (Rounded::exact(x), Rounded::exact(one())),
            },
            None => {
                let reduced = reduce(x);
                let (sine, cosine) = (reduced.sine(), reduced.cosine());
                let denormal = if x.denormal { DE } else { 0 };
                let (first, second) = match op {
                    X87Op::Cos => (cosine.rounded(&control), Rounded::exact(one())),
                    X87Op::Ptan => (sine.divide(cosine).rounded(&control), Rounded::exact(one())),
                    _ => (sine.rounded(&control), cosine.rounded(&control)),
                };
                (first.with(denormal), second)
            }
        };
        let flags = if op == X87Op::Sincos {
            first.flags | second.flags
        } else {
            first.flags
        };
        self.set_c1(if op == X87Op::Sincos {
            second.up
        } else {
            first.up
        });
        if self.blocks(flags) {
            return;
        }
        self.set(0, first.number);
        if pushes {
            self.set_top(self.top().wrapping_sub(1));
            self.set(0, second.number);
        }
    }

    /// Flags exceptions; whether one that keeps the operands as they are is unmasked.
    fn blocks(&mut self, flags: u32) -> bool {
        self.raise(flags) & (IE | DE | ZE) != 0
    }
}
