//! x87 instructions on the register stack (SDM Vol. 1, chapter 8).

use crate::soft::{
    self, Control, DE, DOUBLE, EXTENDED, Format, IE, INTEGER, Kind, Number, OE, PE, QUIET, Rounded,
    Rounding, SINGLE, UE, ZE,
};
use crate::x87::fsw;
use crate::{MathFault, Pointers, X87, X87Form, X87Memory, X87Op, X87Output};
use core::cmp::Ordering;

/// What an unmasked overflow or underflow adds to the exponent: 3 · 2^13.
const WRAP: i32 = 24576;
/// An empty register was read or a full one pushed onto: the flags of a stack fault.
const STACK: u32 = IE | fsw::SF as u32;
/// The packed decimal indefinite.
const BCD_INDEFINITE: u128 = 0xffff_c000_0000_0000_0000;

impl X87 {
    /// Executes an instruction whose form isn't one of `Ldenv`, `Stenv`, `Rstor` and `Save`.
    ///
    /// `operand` is the memory operand, zero-extended, where the form loads one; `rflags` is for
    /// `FCMOVcc`. `Err` is `#MF`, before anything was done. Unmasked exceptions that this
    /// instruction itself raises are kept for the next one, as the SDM has it.
    pub fn execute(
        &mut self,
        form: X87Form,
        operand: u128,
        rflags: u64,
        at: &Pointers,
    ) -> Result<X87Output, MathFault> {
        use X87Op as O;
        let mut output = X87Output::default();
        // Instructions that control the unit and don't look for pending exceptions.
        match form.op {
            O::Ignored => {}
            O::Stcw => output.memory = Some(u128::from(self.fcw)),
            O::Stsw => output.memory = Some(u128::from(self.fsw)),
            O::StswAx => output.ax = Some(self.fsw),
            O::Clex => self.fsw &= !(0x7f | fsw::ES | fsw::B),
            O::Init => self.initialize(),
            O::Ldcw => {
                self.check()?;
                self.fcw = operand as u16;
                self.normalize_control();
            }
            O::Wait | O::Ldenv | O::Stenv | O::Rstor | O::Save => self.check()?,
            _ => {
                self.check()?;
                self.fip = at.ip;
                self.compute(form, operand, rflags, &mut output);
                if self.pending() {
                    self.fop = at.opcode & 0x7ff;
                    if form.memory != X87Memory::None {
                        self.fdp = at.data;
                    }
                }
            }
        }
        Ok(output)
    }

    /// `FNINIT`: registers keep their contents, but all are empty.
    pub(crate) fn initialize(&mut self) {
        *self = Self {
            regs: self.regs,
            ..Self::new()
        };
    }

    fn index(&self, st: u8) -> u8 {
        self.top().wrapping_add(st) & 7
    }

    pub(crate) fn is_empty(&self, st: u8) -> bool {
        self.valid >> self.index(st) & 1 == 0
    }

    fn raw(&self, st: u8) -> u128 {
        self.regs[usize::from(self.index(st))]
    }

    pub(crate) fn set_raw(&mut self, st: u8, bits: u128) {
        let index = self.index(st);
        self.regs[usize::from(index)] = bits;
        self.valid |= 1 << index;
    }

    pub(crate) fn number(&self, st: u8) -> Number {
        soft::unpack_extended(self.raw(st))
    }

    pub(crate) fn set(&mut self, st: u8, number: Number) {
        self.set_raw(st, soft::pack_extended(number));
    }

    fn free(&mut self, st: u8) {
        self.valid &= !(1 << self.index(st));
    }

    fn pop(&mut self, times: u8) {
        for _ in 0..times {
            self.free(0);
            self.set_top(self.top().wrapping_add(1));
        }
    }

    pub(crate) fn set_c1(&mut self, up: bool) {
        self.fsw = self.fsw & !fsw::C1 | if up { fsw::C1 } else { 0 };
    }

    fn set_condition(&mut self, bits: u16) {
        self.fsw = self.fsw & !fsw::CONDITION | bits;
    }

    /// Flags exceptions; gives those that aren't masked.
    pub(crate) fn raise(&mut self, flags: u32) -> u32 {
        self.fsw |= flags as u16;
        self.update_summary();
        flags & !u32::from(self.fcw) & 0x3f
    }

    fn rounding(&self) -> Rounding {
        Rounding::from_bits(u32::from(self.fcw >> 10))
    }

    pub(crate) fn control(&self, format: Format) -> Control {
        Control {
            rounding: self.rounding(),
            format,
            flush: false,
            unmasked: !u32::from(self.fcw) & 0x3f,
            wrap: WRAP,
        }
    }

    /// Precision control: applies to add, subtract, multiply, divide and square root.
    fn arithmetic_control(&self) -> Control {
        let precision = match self.fcw >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        };
        self.control(Format {
            precision,
            max: EXTENDED.max,
        })
    }

    /// A stack fault: gives whether the masked response is due.
    pub(crate) fn stack_fault(&mut self, overflow: bool) -> bool {
        self.set_c1(overflow);
        self.raise(STACK) == 0
    }

    /// Stack underflow where the result would have gone to `ST(st)`.
    pub(crate) fn underflow(&mut self, st: u8, pops: u8) {
        if self.stack_fault(false) {
            self.set(st, Number::indefinite());
            self.pop(pops);
        }
    }

    /// Writes a result, unless an exception found beforehand is unmasked.
    pub(crate) fn deliver(&mut self, st: u8, result: Rounded, pops: u8) -> bool {
        self.set_c1(result.up);
        if self.raise(result.flags) & (IE | DE | ZE) != 0 {
            return false;
        }
        self.set(st, result.number);
        self.pop(pops);
        true
    }

    /// Pushes a result, unless the stack is full or an exception found beforehand is unmasked.
    fn push(&mut self, result: Rounded) {
        if !self.is_empty(7) {
            if self.stack_fault(true) {
                self.set_top(self.top().wrapping_sub(1));
                self.set(0, Number::indefinite());
            }
            return;
        }
        self.set_c1(result.up);
        if self.raise(result.flags) & IE == 0 {
            self.set_top(self.top().wrapping_sub(1));
            self.set(0, result.number);
        }
    }

    fn compute(&mut self, form: X87Form, operand: u128, rflags: u64, output: &mut X87Output) {
        use X87Op as O;
        let st = form.st;
        match form.op {
            O::Add | O::Mul | O::Sub | O::Subr | O::Div | O::Divr => self.arithmetic(form, operand),
            O::Com | O::Ucom | O::Comi | O::Ucomi | O::Tst => {
                self.compare(form, operand, output);
            }
            O::Xam => self.examine(),
            O::Ld => self.load(form, operand),
            O::Stpnce if self.is_empty(0) => {
                // "No check for empty": nothing is moved and nothing flagged.
                self.set_c1(false);
                self.pop(1);
            }
            O::St | O::Stpnce => output.memory = self.store(form),
            O::Ist => output.memory = self.store_integer(form, self.rounding()),
            O::Istt => output.memory = self.store_integer(form, Rounding::Zero),
            O::Xch => self.exchange(st),
            O::Free => {
                self.set_c1(false);
                self.free(st);
                self.pop(form.pops);
            }
            O::Incstp => {
                self.set_c1(false);
                self.set_top(self.top().wrapping_add(1));
            }
            O::Decstp => {
                self.set_c1(false);
                self.set_top(self.top().wrapping_sub(1));
            }
            O::Chs | O::Abs => {
                if self.is_empty(0) {
                    return self.underflow(0, 0);
                }
                self.set_c1(false);
                let sign = 1 << 79;
                let bits = self.raw(0);
                self.set_raw(
                    0,
                    if form.op == O::Chs {
                        bits ^ sign
                    } else {
                        bits & !sign
                    },
                );
            }
            O::Sqrt => self.unary(|unit, x| soft::square_root(&unit.arithmetic_control(), x)),
            O::Rndint => {
                self.unary(|unit, x| Some(soft::round_to_integral(unit.rounding(), x)));
            }
            O::Scale => self.scale(),
            O::Xtract => self.extract(),
            O::Prem => self.remainder(false),
            O::Prem1 => self.remainder(true),
            O::F2xm1 | O::Yl2x | O::Yl2xp1 | O::Ptan | O::Patan | O::Sin | O::Cos | O::Sincos => {
                self.transcendental(form.op);
            }
            O::Ld1 => self.push(Rounded::exact(Number::finite(false, 0, INTEGER))),
            O::Ldz => self.push(Rounded::exact(Number::zero(false))),
            O::Ldl2t => self.constant(1, 0xd49a_784b_cd1b_8afe, false),
            O::Ldl2e => self.constant(0, 0xb8aa_3b29_5c17_f0bb, true),
            O::Ldpi => self.constant(1, 0xc90f_daa2_2168_c234, true),
            O::Ldlg2 => self.constant(-2, 0x9a20_9a84_fbcf_f798, true),
            O::Ldln2 => self.constant(-1, 0xb172_17f7_d1cf_79ab, true),
            O::Cmovb => self.conditional_move(st, rflags & 1 != 0),
            O::Cmovnb => self.conditional_move(st, rflags & 1 == 0),
            O::Cmove => self.conditional_move(st, rflags & 0x40 != 0),
            O::Cmovne => self.conditional_move(st, rflags & 0x40 == 0),
            O::Cmovbe => self.conditional_move(st, rflags & 0x41 != 0),
            O::Cmovnbe => self.conditional_move(st, rflags & 0x41 == 0),
            O::Cmovu => self.conditional_move(st, rflags & 4 != 0),
            O::Cmovnu => self.conditional_move(st, rflags & 4 == 0),
            // Control instructions are done by `execute`.
            O::Nop
            | O::Ignored
            | O::Wait
            | O::Ldcw
            | O::Stcw
            | O::Stsw
            | O::StswAx
            | O::Clex
            | O::Init
            | O::Ldenv
            | O::Stenv
            | O::Rstor
            | O::Save => {}
        }
    }

    /// Pushes a constant; `above`: its tail is more than half a unit in the last place.
    fn constant(&mut self, exponent: i32, significand: u64, above: bool) {
        let up = match self.rounding() {
            Rounding::Nearest => above,
            Rounding::Up => true,
            Rounding::Down | Rounding::Zero => false,
        };
        let number = Number::finite(false, exponent, significand + u64::from(up));
        self.push(Rounded::exact(number));
    }

    fn arithmetic(&mut self, form: X87Form, operand: u128) {
        use X87Op as O;
        let target = if form.to_sti { form.st } else { 0 };
        let other = match form.memory {
            X87Memory::None if self.is_empty(form.st) => None,
            X87Memory::None => Some(self.number(form.st)),
            memory => Some(from_memory(memory, operand)),
        };
        let Some(other) = other.filter(|_| !self.is_empty(0)) else {
            return self.underflow(target, form.pops);
        };
        let st0 = self.number(0);
        let (a, b) = match form.op {
            // "Reversed" is seen from the destination.
            O::Sub | O::Div if form.to_sti => (other, st0),
            O::Subr | O::Divr if !form.to_sti => (other, st0),
            _ => (st0, other),
        };
        let result = match invalid_or_nan(a, b) {
            Some(result) => result,
            None => {
                let control = self.arithmetic_control();
                let result = match form.op {
                    O::Add => soft::add(&control, a, b),
                    O::Mul => soft::multiply(&control, a, b),
                    O::Sub | O::Subr => soft::add(&control, a, b.negated()),
                    _ => soft::divide(&control, a, b),
                };
                self.with_denormals(result, &[a, b])
            }
        };
        self.deliver(target, result, form.pops);
    }

    /// Adds DE; where that is unmasked nothing is computed. `None` is an invalid operation.
    pub(crate) fn with_denormals(&self, result: Option<Rounded>, operands: &[Number]) -> Rounded {
        let Some(result) = result else {
            return Rounded::raised(Number::indefinite(), IE);
        };
        if !operands.iter().any(|number| number.denormal) || result.flags & ZE != 0 {
            return result;
        }
        if self.fcw & DE as u16 == 0 {
            return Rounded::raised(result.number, DE);
        }
        result.with(DE)
    }

    /// An operation on `ST(0)`; `None` from `f` is an invalid operation.
    pub(crate) fn unary(&mut self, f: impl Fn(&Self, Number) -> Option<Rounded>) {
        if self.is_empty(0) {
            return self.underflow(0, 0);
        }
        let x = self.number(0);
        let result = match invalid_or_nan(x, x) {
            Some(result) => result,
            None => self.with_denormals(f(self, x), &[x]),
        };
        self.deliver(0, result, 0);
    }

    fn compare(&mut self, form: X87Form, operand: u128, output: &mut X87Output) {
        use X87Op as O;
        let to_flags = matches!(form.op, O::Comi | O::Ucomi);
        let quiet = matches!(form.op, O::Ucom | O::Ucomi);
        let other = match form.memory {
            _ if form.op == O::Tst => Some(Number::zero(false)),
            X87Memory::None if form.pops == 2 => (!self.is_empty(1)).then(|| self.number(1)),
            X87Memory::None => (!self.is_empty(form.st)).then(|| self.number(form.st)),
            memory => Some(from_memory(memory, operand)),
        };
        let (order, flags) = match other.filter(|_| !self.is_empty(0)) {
            None => (None, STACK),
            Some(other) => {
                let st0 = self.number(0);
                let pair = [st0, other];
                let refused = |n: &Number| {
                    n.kind == Kind::Unsupported || n.is_signaling() || n.is_nan() && !quiet
                };
                if pair.iter().any(refused) {
                    (None, IE)
                } else {
                    let order = soft::compare(st0, other);
                    let denormal = order.is_some() && pair.iter().any(|n| n.denormal);
                    (order, if denormal { DE } else { 0 })
                }
            }
        };
        // The flags are set even where an unmasked exception keeps the operands on the stack.
        let unmasked = self.raise(flags);
        if to_flags {
            if flags & STACK == STACK {
                self.set_c1(false);
            }
            output.flags = Some(match order {
                None => 0x45,
                Some(Ordering::Less) => 1,
                Some(Ordering::Equal) => 0x40,
                Some(Ordering::Greater) => 0,
            });
        } else {
            self.set_condition(match order {
                None => fsw::C3 | fsw::C2 | fsw::C0,
                Some(Ordering::Less) => fsw::C0,
                Some(Ordering::Equal) => fsw::C3,
                Some(Ordering::Greater) => 0,
            });
        }
        if unmasked == 0 {
            self.pop(form.pops);
        }
    }

    fn examine(&mut self) {
        let x = self.number(0);
        let class = if self.is_empty(0) {
            fsw::C3 | fsw::C0
        } else {
            match x.kind {
                Kind::Unsupported => 0,
                Kind::QuietNan | Kind::SignalingNan => fsw::C0,
                Kind::Finite if x.denormal => fsw::C3 | fsw::C2,
                Kind::Finite => fsw::C2,
                Kind::Infinity => fsw::C2 | fsw::C0,
                Kind::Zero => fsw::C3,
            }
        };
        let sign = if self.raw(0) >> 79 & 1 != 0 {
            fsw::C1
        } else {
            0
        };
        self.set_condition(class | sign);
    }

    fn load(&mut self, form: X87Form, operand: u128) {
        match form.memory {
            // Whole registers are moved as they are.
            X87Memory::F80 | X87Memory::None => {
                let from_register = form.memory == X87Memory::None;
                let source_empty = from_register && self.is_empty(form.st);
                let bits = if from_register {
                    self.raw(form.st)
                } else {
                    operand
                };
                if source_empty {
                    if self.stack_fault(false) {
                        self.set_top(self.top().wrapping_sub(1));
                        self.set(0, Number::indefinite());
                    }
                    return;
                }
                if !self.is_empty(7) {
                    return self.push(Rounded::exact(Number::zero(false)));
                }
                self.set_c1(false);
                self.set_top(self.top().wrapping_sub(1));
                self.set_raw(0, bits & ((1 << 80) - 1));
            }
            memory => {
                let number = from_memory(memory, operand);
                let flags = if number.denormal { DE } else { 0 };
                let result = match number.kind {
                    Kind::SignalingNan => Rounded::raised(number.quieted(), IE),
                    _ => Rounded::raised(
                        Number {
                            denormal: false,
                            ..number
                        },
                        flags,
                    ),
                };
                self.push(result);
            }
        }
    }

    fn store(&mut self, form: X87Form) -> Option<u128> {
        let empty = self.is_empty(0);
        if form.memory == X87Memory::None {
            if empty {
                self.underflow(form.st, form.pops);
            } else {
                self.set_c1(false);
                self.set_raw(form.st, self.raw(0));
                self.pop(form.pops);
            }
            return None;
        }
        if empty {
            let value = match form.memory {
                X87Memory::Bcd => BCD_INDEFINITE,
                memory => to_memory(memory, Number::indefinite()),
            };
            return self.stack_fault(false).then(|| {
                self.pop(form.pops);
                value
            });
        }
        let x = self.number(0);
        let (value, flags, up) = match form.memory {
            X87Memory::F80 => (self.raw(0), 0, false),
            X87Memory::Bcd => packed_decimal(self.rounding(), x),
            memory => {
                let format = if memory == X87Memory::F32 {
                    SINGLE
                } else {
                    DOUBLE
                };
                let result = match invalid_or_nan(x, x) {
                    Some(result) => result,
                    None => soft::convert(&self.control(format), x),
                };
                (to_memory(memory, result.number), result.flags, result.up)
            }
        };
        self.finish_store(form, value, flags, up)
    }

    /// Memory keeps its value where an exception other than inexact is unmasked.
    fn finish_store(&mut self, form: X87Form, value: u128, flags: u32, up: bool) -> Option<u128> {
        // Where nothing is stored, nothing was rounded.
        let kept = flags & !u32::from(self.fcw) & 0x3f & !PE != 0;
        let unmasked = self.raise(if kept { flags & !PE } else { flags });
        self.set_c1(up && !kept);
        (unmasked & !PE == 0).then(|| {
            self.pop(form.pops);
            value
        })
    }

    fn store_integer(&mut self, form: X87Form, rounding: Rounding) -> Option<u128> {
        let bits = 8 * form.memory.bytes() as u32;
        let indefinite = 1u64 << (bits - 1);
        if self.is_empty(0) {
            return self.stack_fault(false).then(|| {
                self.pop(form.pops);
                u128::from(indefinite)
            });
        }
        let x = self.number(0);
        let rounded = match x.kind {
            Kind::Zero | Kind::Finite => soft::to_integer(rounding, x),
            _ => None,
        };
        let (value, flags, up) = match rounded {
            Some((magnitude, inexact, up))
                if magnitude < indefinite || magnitude == indefinite && x.negative =>
            {
                let signed = if x.negative {
                    magnitude.wrapping_neg()
                } else {
                    magnitude
                };
                let value = signed & (u64::MAX >> (64 - bits));
                (value, if inexact { PE } else { 0 }, up)
            }
            _ => (indefinite, IE, false),
        };
        self.finish_store(form, u128::from(value), flags, up)
    }

    fn exchange(&mut self, st: u8) {
        if self.is_empty(0) || self.is_empty(st) {
            if !self.stack_fault(false) {
                return;
            }
            for place in [0, st] {
                if self.is_empty(place) {
                    self.set(place, Number::indefinite());
                }
            }
        } else {
            self.set_c1(false);
        }
        let (a, b) = (self.raw(0), self.raw(st));
        self.set_raw(0, b);
        self.set_raw(st, a);
    }

    fn conditional_move(&mut self, st: u8, condition: bool) {
        if self.is_empty(0) || self.is_empty(st) {
            return self.underflow(0, 0);
        }
        if condition {
            self.set_raw(0, self.raw(st));
        }
    }

    fn scale(&mut self) {
        if self.is_empty(0) || self.is_empty(1) {
            return self.underflow(0, 0);
        }
        let (x, by) = (self.number(0), self.number(1));
        let result = match invalid_or_nan(x, by) {
            Some(result) => result,
            None => {
                let result = match (x.kind, by.kind) {
                    (Kind::Zero, Kind::Infinity) if !by.negative => None,
                    (Kind::Infinity, Kind::Infinity) if by.negative => None,
                    (Kind::Zero | Kind::Infinity, _) | (_, Kind::Zero) => Some(Rounded::exact(x)),
                    (_, Kind::Infinity) if by.negative => {
                        Some(Rounded::exact(Number::zero(x.negative)))
                    }
                    (_, Kind::Infinity) => Some(Rounded::exact(Number::infinity(x.negative))),
                    _ => {
                        // Beyond 2^16 every result over- or underflows.
                        let distance = soft::to_integer(Rounding::Zero, by)
                            .map_or(1 << 16, |(magnitude, ..)| magnitude.min(1 << 16) as i32);
                        let distance = if by.negative { -distance } else { distance };
                        let exponent = x.exponent + distance;
                        let scaled = Number { exponent, ..x };
                        Some(self.in_range(soft::convert(&self.control(EXTENDED), scaled)))
                    }
                };
                self.with_denormals(result, &[x, by])
            }
        };
        self.deliver(0, result, 0);
    }

    /// A result that even the wrapped exponent can't hold is an infinity or a zero.
    fn in_range(&self, result: Rounded) -> Rounded {
        let negative = result.number.negative;
        let number = match result.number.kind {
            Kind::Finite if result.number.exponent > EXTENDED.max => Number::infinity(negative),
            Kind::Finite if result.flags & UE != 0 && result.number.exponent < -16445 => {
                Number::zero(negative)
            }
            _ => return result,
        };
        let up = number.kind == Kind::Infinity;
        Rounded {
            number,
            flags: result.flags | PE,
            up,
        }
    }

    fn extract(&mut self) {
        if self.is_empty(0) {
            if self.stack_fault(false) {
                self.set(0, Number::indefinite());
                self.set_top(self.top().wrapping_sub(1));
                self.set(0, Number::indefinite());
            }
            return;
        }
        if !self.is_empty(7) {
            if self.stack_fault(true) {
                self.set(0, Number::indefinite());
                self.set_top(self.top().wrapping_sub(1));
                self.set(0, Number::indefinite());
            }
            return;
        }
        self.set_c1(false);
        let x = self.number(0);
        let (exponent, significand, flags) = match invalid_or_nan(x, x) {
            Some(result) => (result.number, result.number, result.flags),
            None => match x.kind {
                Kind::Zero => (Number::infinity(true), x, ZE),
                Kind::Infinity => (Number::infinity(false), x, 0),
                _ => (
                    Number::from_i64(i64::from(x.exponent)),
                    Number::finite(x.negative, 0, x.significand),
                    if x.denormal { DE } else { 0 },
                ),
            },
        };
        if self.raise(flags) & (IE | DE | ZE) != 0 {
            return;
        }
        self.set(0, exponent);
        self.set_top(self.top().wrapping_sub(1));
        self.set(0, significand);
    }

    /// `FPREM` (truncating) and `FPREM1` (`nearest`).
    fn remainder(&mut self, nearest: bool) {
        self.fsw &= !fsw::C2;
        if self.is_empty(0) || self.is_empty(1) {
            return self.underflow(0, 0);
        }
        let (x, y) = (self.number(0), self.number(1));
        if let Some(result) = invalid_or_nan(x, y) {
            self.deliver(0, result, 0);
            return;
        }
        let (result, quotient) = match (x.kind, y.kind) {
            (Kind::Infinity, _) | (_, Kind::Zero) => (None, Some(0)),
            (Kind::Zero, _) | (_, Kind::Infinity) => (Some(Rounded::exact(x)), Some(0)),
            _ => {
                let (number, quotient) = divide_step(x, y, nearest);
                let rounded = soft::convert(&self.control(EXTENDED), number);
                (Some(rounded), quotient)
            }
        };
        let result = self.with_denormals(result, &[x, y]);
        let delivered = self.deliver(0, result, 0);
        if result.flags & IE == 0 && delivered {
            self.set_condition(match quotient {
                None => fsw::C2,
                Some(q) => {
                    let bit = |from: u64, to: u16| if q & from != 0 { to } else { 0 };
                    bit(1, fsw::C1) | bit(2, fsw::C3) | bit(4, fsw::C0)
                }
            });
        }
    }
}

/// Remainder of finite numbers. The quotient's low bits, or `None` where the reduction is
/// partial because the exponents differ by 64 or more.
fn divide_step(x: Number, y: Number, nearest: bool) -> (Number, Option<u64>) {
    let distance = x.exponent - y.exponent;
    if distance < -1 || distance == -1 && !nearest {
        return (x, Some(0));
    }
    // A partial step reduces the exponent by 32 to 63.
    let (steps, partial) = if distance < 64 {
        (distance, false)
    } else {
        (distance & 31 | 32, true)
    };
    let divisor = u128::from(y.significand);
    let mut rest = u128::from(x.significand);
    let mut quotient = 0u64;
    // Long division; `rest` stays below twice the divisor.
    if steps < 0 {
        // |x| < |y|, but x may be nearer to y than to zero: compare at y's scale.
        let double = u128::from(x.significand);
        if double > divisor {
            // |y| - |x|, at the scale of x.
            return (
                signed(2 * divisor - double, x.exponent - 63, !x.negative),
                Some(1),
            );
        }
        return (x, Some(0));
    }
    for step in 0..=steps {
        quotient <<= 1;
        if rest >= divisor {
            rest -= divisor;
            quotient |= 1;
        }
        if step != steps {
            rest <<= 1;
        }
    }
    let scale = if partial {
        x.exponent - steps
    } else {
        y.exponent
    } - 63;
    let mut negative = x.negative;
    if nearest && !partial {
        let twice = 2 * rest;
        if twice > divisor || twice == divisor && quotient & 1 != 0 {
            rest = divisor - rest;
            negative = !negative;
            quotient = quotient.wrapping_add(1);
        }
    }
    let number = if rest == 0 {
        Number::zero(x.negative)
    } else {
        signed(rest, scale, negative)
    };
    (number, if partial { None } else { Some(quotient) })
}

/// `magnitude · 2^scale`; the magnitude has at most 65 bits, the 65th only with a zero last one.
fn signed(magnitude: u128, scale: i32, negative: bool) -> Number {
    let shift = magnitude.leading_zeros() as i32 - 64;
    let significand = if shift >= 0 {
        magnitude << shift
    } else {
        magnitude >> -shift
    } as u64;
    Number::finite(negative, scale + 63 - shift, significand)
}

/// The result where an operand is unsupported or NaN (SDM Vol. 1, table 4-7, x87 column).
pub(crate) fn invalid_or_nan(a: Number, b: Number) -> Option<Rounded> {
    if a.kind == Kind::Unsupported || b.kind == Kind::Unsupported {
        return Some(Rounded::raised(Number::indefinite(), IE));
    }
    let flags = if a.is_signaling() || b.is_signaling() {
        IE
    } else {
        0
    };
    let larger = || match a.significand.cmp(&b.significand) {
        Ordering::Greater => a,
        Ordering::Less => b,
        Ordering::Equal if a.negative => b,
        Ordering::Equal => a,
    };
    let chosen = match (a.is_nan(), b.is_nan()) {
        (false, false) => return None,
        (true, false) => a,
        (false, true) => b,
        (true, true) => match (a.is_signaling(), b.is_signaling()) {
            (true, false) => b,
            (false, true) => a,
            _ => larger(),
        },
    };
    Some(Rounded::raised(chosen.quieted(), flags))
}

fn from_memory(memory: X87Memory, operand: u128) -> Number {
    match memory {
        X87Memory::F32 => soft::unpack_single(operand as u32),
        X87Memory::F64 => soft::unpack_double(operand as u64),
        X87Memory::I16 => Number::from_i64(i64::from(operand as i16)),
        X87Memory::I32 => Number::from_i64(i64::from(operand as i32)),
        X87Memory::I64 => Number::from_i64(operand as i64),
        X87Memory::Bcd => {
            // Digits beyond 9 are undefined (SDM Vol. 1, 4.7); they count what their bits say.
            let magnitude = (0..18).rev().fold(0u64, |value, digit| {
                value
                    .wrapping_mul(10)
                    .wrapping_add((operand >> (4 * digit)) as u64 & 15)
            });
            let negative = operand >> 79 & 1 != 0;
            Number {
                negative,
                ..Number::from_i64(magnitude as i64)
            }
        }
        _ => soft::unpack_extended(operand),
    }
}

fn to_memory(memory: X87Memory, number: Number) -> u128 {
    match memory {
        X87Memory::F32 => u128::from(soft::pack_single(number)),
        X87Memory::F64 => u128::from(soft::pack_double(number)),
        _ => soft::pack_extended(number),
    }
}

fn packed_decimal(rounding: Rounding, x: Number) -> (u128, u32, bool) {
    let rounded = match x.kind {
        Kind::Zero | Kind::Finite => soft::to_integer(rounding, x),
        _ => None,
    };
    let Some((mut magnitude, inexact, up)) =
        rounded.filter(|(magnitude, ..)| *magnitude < 1_000_000_000_000_000_000)
    else {
        return (BCD_INDEFINITE, IE, false);
    };
    let mut digits = 0;
    for place in 0..18 {
        digits |= u128::from(magnitude % 10) << (4 * place);
        magnitude /= 10;
    }
    let sign = u128::from(x.negative) << 79;
    (digits | sign, if inexact { PE } else { 0 }, up)
}

const _: () = assert!(IE | DE | ZE | OE | UE | PE == 0x3f && QUIET < INTEGER);
