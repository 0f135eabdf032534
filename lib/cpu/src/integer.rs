//! Integer instructions in every form: operands in registers, memory, immediates.

use crate::Env;
use crate::flags::{Flags, rflags};
use crate::machine::Machine;
use crate::op::{Alu, Op, bit, flag, flag_op, scan, shift, unary, wide};
use crate::state::{Cpu, Trap, gpr};
use crate::word::Word;

/// Runs the body with `$t` as the op's operand size.
macro_rules! sized {
    ($op:expr, $t:ident => $body:expr) => {
        match $op.size() {
            0 => {
                type $t = u8;
                $body
            }
            1 => {
                type $t = u16;
                $body
            }
            2 => {
                type $t = u32;
                $body
            }
            _ => {
                type $t = u64;
                $body
            }
        }
    };
}
pub(crate) use sized;

impl Flags {
    /// `SHL` by 1 to 63.
    #[inline(always)]
    pub fn shl<T: Word>(&mut self, a: T, count: u32) -> T {
        let wide = (a.get() as u128) << count;
        let r = T::new(wide as u64);
        let carry = wide >> T::BITS & 1 != 0;
        self.result(r, carry, carry != (r.sext() >> 63 != 0));
        r
    }
    /// `SHR` by 1 to 63.
    #[inline(always)]
    pub fn shr<T: Word>(&mut self, a: T, count: u32) -> T {
        let r = T::new(a.get() >> count);
        let carry = a.get() >> (count - 1) & 1 != 0;
        // For a count of 1 OF is the old sign; for more it is undefined, and the same here.
        self.result(r, carry, (a.sext() >> 63 != 0) & (count == 1));
        r
    }
    /// `SAR` by 1 to 63.
    #[inline(always)]
    pub fn sar<T: Word>(&mut self, a: T, count: u32) -> T {
        let r = T::new((a.sext() as i64 >> count) as u64);
        let carry = a.sext() as i64 >> (count - 1) & 1 != 0;
        self.result(r, carry, false);
        r
    }

    /// `ROL` by 1 to 63.
    #[inline(always)]
    pub fn rol<T: Word>(&mut self, a: T, count: u32) -> T {
        let r = rotate_left(a, count % T::BITS);
        let carry = r.get() & 1 != 0;
        self.set_cf(carry);
        self.set_of((r.sext() >> 63 != 0) != carry);
        r
    }
    /// `ROR` by 1 to 63.
    #[inline(always)]
    pub fn ror<T: Word>(&mut self, a: T, count: u32) -> T {
        let r = rotate_left(a, (T::BITS - count % T::BITS) % T::BITS);
        self.set_cf(r.sext() >> 63 != 0);
        self.set_of((r.sext() >> 63 ^ r.get() >> (T::BITS - 2)) & 1 != 0);
        r
    }

    /// Any shift or rotate; `count` is CL or the immediate, not yet masked.
    fn shift<T: Word>(&mut self, kind: u8, a: T, count: u64) -> T {
        let count = count as u32 & if T::BITS == 64 { 63 } else { 31 };
        if count == 0 {
            return a;
        }
        let sign = |r: T| r.sext() >> 63 != 0;
        let below_sign = |r: T| r.get() >> (T::BITS - 2) & 1 != 0;
        match kind {
            shift::ROL => self.rol(a, count),
            shift::ROR => self.ror(a, count),
            shift::RCL | shift::RCR => {
                let n = count % (T::BITS + 1);
                if n == 0 {
                    // Nothing rotates, so no flag changes (the SDM leaves OF open).
                    return a;
                }
                // The carry above the operand: T::BITS + 1 bits that rotate.
                let all = a.get() as u128 | (self.cf() as u128) << T::BITS;
                let mask = (1u128 << (T::BITS + 1)) - 1;
                let left = if kind == shift::RCL {
                    n
                } else {
                    T::BITS + 1 - n
                };
                let rotated = (all << left | all >> (T::BITS + 1 - left)) & mask;
                let r = T::new(rotated as u64);
                let carry = rotated >> T::BITS != 0;
                self.set_cf(carry);
                if kind == shift::RCL {
                    self.set_of(sign(r) != self.cf());
                } else {
                    self.set_of(sign(r) != below_sign(r));
                }
                r
            }
            shift::SHR => self.shr(a, count),
            shift::SAR => self.sar(a, count),
            _ => self.shl(a, count),
        }
    }
}

fn rotate_left<T: Word>(a: T, n: u32) -> T {
    let wide = (a.get() as u128) << n;
    T::new(wide as u64 | (wide >> T::BITS) as u64)
}

impl Cpu {
    #[inline(always)]
    pub(crate) fn operand0<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<T, Trap> {
        if op.has(flag::MEMORY0) {
            self.read(env, self.address(op))
        } else {
            Ok(self.reg(op.a))
        }
    }

    #[inline(always)]
    pub(crate) fn operand1<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<T, Trap> {
        if op.has(flag::MEMORY1) {
            self.read(env, self.address(op))
        } else if op.has(flag::IMMEDIATE1) {
            Ok(T::new(op.immediate))
        } else {
            Ok(self.reg(op.b))
        }
    }

    #[inline(always)]
    pub(crate) fn set_operand0<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        value: T,
    ) -> Result<(), Trap> {
        if op.has(flag::MEMORY0) {
            self.write(env, self.address(op), value)
        } else {
            self.set_reg(op.a, value);
            Ok(())
        }
    }

    /// Replaces operand 0 by what `change` makes of it; gives what it was.
    #[inline(always)]
    fn update0<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        change: impl Fn(&mut Flags, T) -> T,
    ) -> Result<T, Trap> {
        if op.has(flag::MEMORY0) {
            self.modify(env, self.address(op), op.has(flag::LOCK), change)
        } else {
            let old = self.reg(op.a);
            let new = change(&mut self.flags, old);
            self.set_reg(op.a, new);
            Ok(old)
        }
    }

    pub(crate) fn mov<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let value = self.operand1::<T, M>(env, op)?;
            self.set_operand0(env, op, value)
        })
    }

    pub(crate) fn mov_extend<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let signed = op.kind == crate::op::Kind::Movsx;
        macro_rules! from {
            ($t:ty) => {{
                let value = self.operand1::<$t, M>(env, op)?;
                if signed { value.sext() } else { value.get() }
            }};
        }
        let value = match op.sub {
            0 => from!(u8),
            1 => from!(u16),
            _ => from!(u32),
        };
        sized!(op, T => self.set_reg(op.a, T::new(value)));
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn alu<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let y = self.operand1::<T, M>(env, op)?;
            match Alu::ALL[op.sub as usize % Alu::ALL.len()] {
                Alu::Add => self.update0(env, op, |f, x: T| f.add(x, y))?,
                Alu::Or => self.update0(env, op, |f, x: T| f.or(x, y))?,
                Alu::Adc => self.update0(env, op, |f, x: T| f.adc(x, y))?,
                Alu::Sbb => self.update0(env, op, |f, x: T| f.sbb(x, y))?,
                Alu::And => self.update0(env, op, |f, x: T| f.and(x, y))?,
                Alu::Sub => self.update0(env, op, |f, x: T| f.sub(x, y))?,
                Alu::Xor => self.update0(env, op, |f, x: T| f.xor(x, y))?,
                Alu::Cmp => {
                    let x = self.operand0::<T, M>(env, op)?;
                    self.flags.sub(x, y)
                }
                Alu::Test => {
                    let x = self.operand0::<T, M>(env, op)?;
                    self.flags.and(x, y)
                }
            };
            Ok(())
        })
    }

    #[inline(never)]
    pub(crate) fn unary<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            match op.sub {
                unary::NOT => self.update0(env, op, |_, x: T| T::new(!x.get()))?,
                unary::NEG => self.update0(env, op, |f, x: T| f.sub(T::new(0), x))?,
                unary::INC => self.update0(env, op, |f, x: T| f.inc(x))?,
                _ => self.update0(env, op, |f, x: T| f.dec(x))?,
            };
            Ok(())
        })
    }

    #[inline(never)]
    pub(crate) fn shift<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let count = if op.has(flag::IMMEDIATE1) {
            op.immediate
        } else {
            self.regs[gpr::RCX]
        };
        sized!(op, T => {
            self.update0(env, op, |f, x: T| f.shift(op.sub, x, count))?;
            Ok(())
        })
    }

    /// `SHLD`, `SHRD`. `sub` bit 0: right; bit 1: the count is CL, else the immediate.
    #[inline(never)]
    pub(crate) fn shift_double<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let count = if op.sub & 2 != 0 {
            self.regs[gpr::RCX]
        } else {
            op.immediate
        };
        let right = op.sub & 1 != 0;
        sized!(op, T => {
            let bits = T::BITS;
            let count = count as u32 & if bits == 64 { 63 } else { 31 };
            let y = self.reg::<T>(op.b).get() as u128;
            self.update0(env, op, |f, x: T| {
                if count == 0 {
                    return x;
                }
                // A count above the operand size is undefined; 16-bit operands behave as if
                // the pair repeated.
                let x_wide = x.get() as u128;
                let (r, carry) = if right {
                    let pair = if bits == 16 {
                        x_wide | y << 16 | x_wide << 32
                    } else {
                        x_wide | y << bits
                    };
                    (pair >> count, pair >> (count - 1) & 1 != 0)
                } else {
                    let pair = if bits == 16 {
                        x_wide << 32 | y << 16 | x_wide
                    } else {
                        x_wide << bits | y
                    };
                    let top = if bits == 16 { 48 } else { 2 * bits };
                    let shifted = (pair << count) >> (top - bits);
                    (shifted, pair >> (top - count) & 1 != 0)
                };
                let r = T::new(r as u64);
                f.result(r, carry, (r.sext() ^ x.sext()) >> 63 != 0);
                r
            })?;
            Ok(())
        })
    }

    fn multiply<T: Word>(&mut self, a: T, b: T) -> T {
        let exact = a.sext() as i64 as i128 * b.sext() as i64 as i128;
        let r = T::new(exact as u64);
        let overflow = exact != r.sext() as i64 as i128;
        self.flags.result(r, overflow, overflow);
        r
    }

    #[inline(never)]
    pub(crate) fn imul<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let y = self.operand1::<T, M>(env, op)?;
            let r = self.multiply(self.reg::<T>(op.a), y);
            self.set_reg(op.a, r);
            Ok(())
        })
    }

    #[inline(never)]
    pub(crate) fn imul_immediate<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let x = self.operand1::<T, M>(env, op)?;
            let r = self.multiply(x, T::new(op.immediate));
            self.set_reg(op.a, r);
            Ok(())
        })
    }

    /// `MUL`, `IMUL`, `DIV`, `IDIV` with the double-width accumulator.
    #[inline(never)]
    pub(crate) fn wide<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let y = self.operand0::<T, M>(env, op)?;
            match op.sub {
                wide::MUL => {
                    let exact = self.reg::<T>(0).get() as u128 * y.get() as u128;
                    let low = T::new(exact as u64);
                    let high = T::new((exact >> T::BITS) as u64);
                    self.set_accumulator(low, high);
                    self.flags.result(low, high.get() != 0, high.get() != 0);
                }
                wide::IMUL => {
                    let exact = self.reg::<T>(0).sext() as i64 as i128 * y.sext() as i64 as i128;
                    let low = T::new(exact as u64);
                    let high = T::new((exact >> T::BITS) as u64);
                    self.set_accumulator(low, high);
                    let overflow = exact != low.sext() as i64 as i128;
                    self.flags.result(low, overflow, overflow);
                }
                wide::DIV => {
                    let (low, high) = self.accumulator::<T>();
                    let divisor = y.get() as u128;
                    if divisor <= high.get() as u128 {
                        return self.raise(0);
                    }
                    let (quotient, remainder) = if high.get() == 0 {
                        (low.get() / y.get(), low.get() % y.get())
                    } else {
                        let dividend = low.get() as u128 | (high.get() as u128) << T::BITS;
                        ((dividend / divisor) as u64, (dividend % divisor) as u64)
                    };
                    self.set_accumulator(T::new(quotient), T::new(remainder));
                }
                _ => {
                    let (low, high) = self.accumulator::<T>();
                    let dividend = low.get() as i128 | (high.sext() as i64 as i128) << T::BITS;
                    let divisor = y.sext() as i64 as i128;
                    let Some(quotient) = dividend.checked_div(divisor) else {
                        return self.raise(0);
                    };
                    if T::new(quotient as u64).sext() as i64 as i128 != quotient {
                        return self.raise(0);
                    }
                    let remainder = dividend % divisor;
                    self.set_accumulator(T::new(quotient as u64), T::new(remainder as u64));
                }
            }
            Ok(())
        })
    }

    /// Low and high half of xDX:xAX, or of AX for bytes.
    fn accumulator<T: Word>(&self) -> (T, T) {
        if T::BITS == 8 {
            (
                T::new(self.regs[gpr::RAX]),
                T::new(self.regs[gpr::RAX] >> 8),
            )
        } else {
            (T::new(self.regs[gpr::RAX]), T::new(self.regs[gpr::RDX]))
        }
    }

    fn set_accumulator<T: Word>(&mut self, low: T, high: T) {
        if T::BITS == 8 {
            self.set_reg(0, (low.get() | high.get() << 8) as u16);
        } else {
            self.set_reg(gpr::RAX as u8, low);
            self.set_reg(gpr::RDX as u8, high);
        }
    }

    /// `BT`, `BTS`, `BTR`, `BTC`. With a register as the bit number memory is a bit string.
    #[inline(never)]
    pub(crate) fn bit_test<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let number = if op.has(flag::IMMEDIATE1) {
                op.immediate
            } else {
                self.reg::<T>(op.b).sext()
            };
            let mask = 1u64 << (number % T::BITS as u64);
            let change = |_: &mut Flags, x: T| T::new(match op.sub {
                bit::BTS => x.get() | mask,
                bit::BTR => x.get() & !mask,
                bit::BTC => x.get() ^ mask,
                _ => x.get(),
            });
            let old = if op.has(flag::MEMORY0) {
                let mut linear = self.address(op);
                if !op.has(flag::IMMEDIATE1) {
                    let words = number as i64 >> T::BITS.trailing_zeros();
                    // The offset moves the effective address, which wraps at the address size.
                    let base = self.seg_base[(op.place.segment() & 7) as usize];
                    let offset = linear
                        .wrapping_sub(base)
                        .wrapping_add((words * T::BYTES as i64) as u64);
                    linear = self.wrap((offset & Self::address_mask(op)).wrapping_add(base));
                }
                if op.sub == bit::BT {
                    self.read::<T, M>(env, linear)?
                } else {
                    self.modify(env, linear, op.has(flag::LOCK), change)?
                }
            } else if op.sub == bit::BT {
                self.reg::<T>(op.a)
            } else {
                self.update0(env, op, change)?
            };
            self.flags.set_cf(old.get() & mask != 0);
            Ok(())
        })
    }

    #[inline(never)]
    pub(crate) fn bit_scan<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let x = self.operand1::<T, M>(env, op)?;
            let value = x.get();
            let zero = value == 0;
            let leading = value.leading_zeros().wrapping_sub(64 - T::BITS);
            let trailing = value.trailing_zeros().min(T::BITS);
            match op.sub {
                scan::POPCNT => {
                    self.flags.set(if zero { rflags::ZF } else { 0 });
                    self.set_reg(op.a, T::new(value.count_ones() as u64));
                }
                scan::TZCNT | scan::LZCNT => {
                    let count = if op.sub == scan::TZCNT { trailing } else { leading };
                    let r = T::new(count as u64);
                    self.flags.result(r, zero, false);
                    self.set_reg(op.a, r);
                }
                _ => {
                    // With a zero source the destination keeps its value (even its high half).
                    if !zero {
                        let number = if op.sub == scan::BSF { trailing } else { T::BITS - 1 - leading };
                        self.set_reg(op.a, T::new(number as u64));
                    }
                    self.flags.set_zf(zero);
                }
            }
            Ok(())
        })
    }

    pub(crate) fn bswap(&mut self, op: &Op) {
        match op.size() {
            3 => self.set_reg(op.a, self.reg::<u64>(op.a).swap_bytes()),
            2 => self.set_reg(op.a, self.reg::<u32>(op.a).swap_bytes()),
            // Undefined by the SDM; processors clear the register's low 16 bits.
            _ => self.set_reg(op.a, 0u16),
        }
    }

    pub(crate) fn sign_extend_a(&mut self, op: &Op) {
        match op.size() {
            1 => self.set_reg(0, self.reg::<u8>(0).sext() as u16),
            2 => self.set_reg(0, self.reg::<u16>(0).sext() as u32),
            _ => self.set_reg(0, self.reg::<u32>(0).sext()),
        }
    }

    pub(crate) fn sign_extend_d(&mut self, op: &Op) {
        sized!(op, T => {
            let sign = (self.reg::<T>(0).sext() as i64 >> 63) as u64;
            self.set_reg(gpr::RDX as u8, T::new(sign));
        });
    }

    pub(crate) fn setcc<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let value = self.flags.condition(op.sub) as u8;
        self.set_operand0(env, op, value)
    }

    pub(crate) fn cmov<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let met = self.flags.condition(op.sub);
        sized!(op, T => {
            // The source is read in any case, and a 32-bit destination zero-extended.
            let value = self.operand1::<T, M>(env, op)?;
            let old = self.reg::<T>(op.a);
            self.set_reg(op.a, if met { value } else { old });
            Ok(())
        })
    }

    #[inline(never)]
    pub(crate) fn xchg<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let new = self.reg::<T>(op.b);
            let old = self.update0(env, op, |_, _| new)?;
            self.set_reg(op.b, old);
            Ok(())
        })
    }

    #[inline(never)]
    pub(crate) fn xadd<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let y = self.reg::<T>(op.b);
            if op.has(flag::MEMORY0) {
                let old = self.update0(env, op, |f, x: T| f.add(x, y))?;
                self.set_reg(op.b, old);
            } else {
                let x = self.reg::<T>(op.a);
                let sum = self.flags.add(x, y);
                // In this order: with both the same register the sum remains.
                self.set_reg(op.b, x);
                self.set_reg(op.a, sum);
            }
            Ok(())
        })
    }

    #[inline(never)]
    pub(crate) fn cmpxchg<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let expected = self.reg::<T>(gpr::RAX as u8);
            let new = self.reg::<T>(op.b);
            if op.has(flag::MEMORY0) {
                // The destination is written in either case.
                let old = self.update0(env, op, |f, x: T| {
                    f.sub(expected, x);
                    if x == expected { new } else { x }
                })?;
                if old != expected {
                    self.set_reg(gpr::RAX as u8, old);
                }
            } else {
                let old = self.reg::<T>(op.a);
                self.flags.sub(expected, old);
                if old == expected {
                    self.set_reg(op.a, new);
                } else {
                    self.set_reg(gpr::RAX as u8, old);
                }
            }
            Ok(())
        })
    }

    /// `CMPXCHG8B`, `CMPXCHG16B`.
    #[inline(never)]
    pub(crate) fn cmpxchg_wide<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let linear = self.address(op);
        let (ax, dx) = (gpr::RAX as u8, gpr::RDX as u8);
        let equal;
        if op.size() == 3 {
            if !linear.is_multiple_of(16) {
                return self.general_protection();
            }
            self.probe_write(env, linear, 16)?;
            let found = self.read_u128(env, linear)?;
            let expected = self.regs[gpr::RAX] as u128 | (self.regs[gpr::RDX] as u128) << 64;
            equal = found == expected;
            if equal {
                let new = self.regs[gpr::RBX] as u128 | (self.regs[gpr::RCX] as u128) << 64;
                self.write_u128(env, linear, new)?;
            } else {
                self.set_reg(ax, found as u64);
                self.set_reg(dx, (found >> 64) as u64);
            }
        } else {
            let pair = |low: u64, high: u64| low & 0xffff_ffff | high << 32;
            let expected = pair(self.regs[gpr::RAX], self.regs[gpr::RDX]);
            let new = pair(self.regs[gpr::RBX], self.regs[gpr::RCX]);
            let found = self.modify(env, linear, op.has(flag::LOCK), |_, x: u64| {
                if x == expected { new } else { x }
            })?;
            equal = found == expected;
            if !equal {
                self.set_reg(ax, found as u32);
                self.set_reg(dx, (found >> 32) as u32);
            }
        }
        self.flags.set_zf(equal);
        Ok(())
    }

    /// `ADCX`, `ADOX`: an addition with its own carry flag and no other.
    pub(crate) fn adx<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        sized!(op, T => {
            let y = self.operand1::<T, M>(env, op)?;
            let carry = if op.sub == 0 { self.flags.cf() } else { self.flags.of() };
            let sum = self.reg::<T>(op.a).get() as u128 + y.get() as u128 + carry as u128;
            self.set_reg(op.a, T::new(sum as u64));
            let carry = sum >> T::BITS & 1 != 0;
            if op.sub == 0 {
                self.flags.set_cf(carry);
            } else {
                self.flags.set_of(carry);
            }
            Ok(())
        })
    }

    pub(crate) fn flag_op(&mut self, op: &Op) {
        const LAHF_FLAGS: u64 = 0xd5;
        match op.sub {
            flag_op::CLC => self.flags.set_cf(false),
            flag_op::STC => self.flags.set_cf(true),
            flag_op::CMC => self.flags.set_cf(!self.flags.cf()),
            flag_op::CLD => self.rflags &= !rflags::DF,
            flag_op::STD => self.rflags |= rflags::DF,
            flag_op::LAHF => {
                let value = self.flags.get() & LAHF_FLAGS | rflags::FIXED;
                self.set_reg(crate::op::REG_HIGH, value as u8);
            }
            _ => {
                let ah = self.reg::<u8>(crate::op::REG_HIGH) as u64 & LAHF_FLAGS;
                let rest = self.flags.get() & !LAHF_FLAGS;
                self.flags.set(rest | ah);
            }
        }
    }

    pub(crate) fn rdrand(&mut self, op: &Op, value: u64) {
        sized!(op, T => self.set_reg(op.a, T::new(value)));
        self.flags.set(rflags::CF);
    }
}
