//! RFLAGS, with the six arithmetic flags computed only when somebody asks.

use crate::word::Word;

/// RFLAGS bits (SDM vol. 1, 3.4.3).
pub mod rflags {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Always one.
    pub const FIXED: u64 = 1 << 1;
    /// Parity of the low byte.
    pub const PF: u64 = 1 << 2;
    /// Carry out of bit 3.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Single-step trap.
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// String direction.
    pub const DF: u64 = 1 << 10;
    /// Signed overflow.
    pub const OF: u64 = 1 << 11;
    /// I/O privilege level, 2 bits.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume: no instruction breakpoint on the next instruction.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check; with SMAP: access to user pages allowed.
    pub const AC: u64 = 1 << 18;
    /// Virtual interrupt flag.
    pub const VIF: u64 = 1 << 19;
    /// Virtual interrupt pending.
    pub const VIP: u64 = 1 << 20;
    /// `CPUID` exists.
    pub const ID: u64 = 1 << 21;
    /// The six arithmetic flags.
    pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
    /// All flags that exist.
    pub const ALL: u64 = ARITHMETIC | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
}

/// The arithmetic flags as what the last arithmetic instruction left.
///
/// ZF, SF and PF follow from `res`; CF, AF and OF are in `rest`, at their places in RFLAGS.
/// What no `res` can say (say ZF and SF, after `POPF`) is said by correction bits in `rest`,
/// which every arithmetic instruction overwrites. Two words, because stores are what costs most
/// where this CPU itself is emulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    /// The result, sign-extended.
    res: u64,
    /// CF, AF, OF; bits 39:32 flip `res`'s low byte for PF; bit 63 flips SF.
    rest: u64,
}

/// The bits of [`Flags::rest`] that are flags themselves.
const OWN: u64 = rflags::CF | rflags::AF | rflags::OF;
const OF_SHIFT: u32 = 11;
const PF_FLIP: u32 = 32;

impl Flags {
    /// The flags of RFLAGS = 2: `res` isn't zero and has odd parity.
    pub const ZERO: Self = Self { res: 1, rest: 0 };

    #[inline(always)]
    pub fn cf(&self) -> bool {
        self.rest & 1 != 0
    }
    #[inline(always)]
    pub fn zf(&self) -> bool {
        self.res == 0
    }
    #[inline(always)]
    pub fn sf(&self) -> bool {
        (self.res ^ self.rest) >> 63 != 0
    }
    #[inline(always)]
    pub fn of(&self) -> bool {
        self.rest >> OF_SHIFT & 1 != 0
    }
    /// SF != OF.
    #[inline(always)]
    pub fn less(&self) -> bool {
        self.sf() != self.of()
    }
    #[inline(always)]
    pub fn pf(&self) -> bool {
        ((self.res ^ self.rest >> PF_FLIP) as u8).count_ones() & 1 == 0
    }
    #[inline(always)]
    pub fn af(&self) -> bool {
        self.rest & rflags::AF != 0
    }

    /// The six flags at their places in RFLAGS.
    pub fn get(&self) -> u64 {
        self.rest & OWN
            | (self.pf() as u64) << 2
            | (self.zf() as u64) << 6
            | (self.sf() as u64) << 7
    }

    /// Takes the six flags out of an RFLAGS value.
    pub fn set(&mut self, value: u64) {
        let zf = value & rflags::ZF != 0;
        // With a zero result SF reads 0 and PF 1; with result 1, SF 0 and PF 0.
        self.res = !zf as u64;
        let flip_sf = value & rflags::SF != 0;
        let flip_pf = (value & rflags::PF != 0) != zf;
        self.rest = value & OWN | (flip_pf as u64) << PF_FLIP | (flip_sf as u64) << 63;
    }

    /// The condition with code `cc` (SDM vol. 1, appendix B).
    #[inline(always)]
    pub fn condition(&self, cc: u8) -> bool {
        let met = match cc >> 1 & 7 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() | self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.less(),
            _ => self.zf() | self.less(),
        };
        met ^ (cc & 1 != 0)
    }

    /// As [`Flags::condition`], without branches, for all but the parity conditions.
    #[inline(always)]
    pub fn condition_no_parity(&self, cc: u8) -> bool {
        let (of, cf) = (self.rest >> OF_SHIFT & 1, self.rest & 1);
        let zf = self.zf() as u64;
        let sf = (self.res ^ self.rest) >> 63;
        let less = sf ^ of;
        let all = of | cf << 1 | zf << 2 | (cf | zf) << 3 | sf << 4 | less << 6 | (zf | less) << 7;
        (all >> (cc >> 1 & 7) ^ cc as u64) & 1 != 0
    }

    #[inline(always)]
    pub fn add<T: Word>(&mut self, a: T, b: T) -> T {
        let (x, y) = (a.sext(), b.sext());
        let r = T::new(x.wrapping_add(y));
        let res = r.sext();
        self.res = res;
        let carry = r.get() < a.get();
        self.rest = overflow((x ^ res) & (y ^ res)) | (x ^ y ^ res) & rflags::AF | carry as u64;
        r
    }

    #[inline(always)]
    pub fn adc<T: Word>(&mut self, a: T, b: T) -> T {
        let (x, y, c) = (a.sext(), b.sext(), self.rest & 1);
        let r = T::new(x.wrapping_add(y).wrapping_add(c));
        let res = r.sext();
        self.res = res;
        let carry = r.get() < a.get() || (c != 0 && r.get() == a.get());
        self.rest = overflow((x ^ res) & (y ^ res)) | (x ^ y ^ res) & rflags::AF | carry as u64;
        r
    }

    #[inline(always)]
    pub fn sub<T: Word>(&mut self, a: T, b: T) -> T {
        let (x, y) = (a.sext(), b.sext());
        let r = T::new(x.wrapping_sub(y));
        let res = r.sext();
        self.res = res;
        let carry = a.get() < b.get();
        self.rest = overflow((x ^ y) & (x ^ res)) | (x ^ y ^ res) & rflags::AF | carry as u64;
        r
    }

    #[inline(always)]
    pub fn sbb<T: Word>(&mut self, a: T, b: T) -> T {
        let (x, y, c) = (a.sext(), b.sext(), self.rest & 1);
        let r = T::new(x.wrapping_sub(y).wrapping_sub(c));
        let res = r.sext();
        self.res = res;
        let carry = a.get() < b.get() || (c != 0 && a.get() == b.get());
        self.rest = overflow((x ^ y) & (x ^ res)) | (x ^ y ^ res) & rflags::AF | carry as u64;
        r
    }

    /// A logical result: CF, OF and AF cleared.
    #[inline(always)]
    pub fn logic<T: Word>(&mut self, r: T) -> T {
        self.res = r.sext();
        self.rest = 0;
        r
    }

    #[inline(always)]
    pub fn and<T: Word>(&mut self, a: T, b: T) -> T {
        self.logic(T::new(a.get() & b.get()))
    }
    #[inline(always)]
    pub fn or<T: Word>(&mut self, a: T, b: T) -> T {
        self.logic(T::new(a.get() | b.get()))
    }
    #[inline(always)]
    pub fn xor<T: Word>(&mut self, a: T, b: T) -> T {
        self.logic(T::new(a.get() ^ b.get()))
    }

    #[inline(always)]
    pub fn inc<T: Word>(&mut self, a: T) -> T {
        let carry = self.rest & 1;
        let r = self.add(a, T::new(1));
        self.rest = self.rest & !1 | carry;
        r
    }

    #[inline(always)]
    pub fn dec<T: Word>(&mut self, a: T) -> T {
        let carry = self.rest & 1;
        let r = self.sub(a, T::new(1));
        self.rest = self.rest & !1 | carry;
        r
    }

    /// Result-dependent flags of `r`, CF and OF as given, AF cleared.
    #[inline(always)]
    pub fn result<T: Word>(&mut self, r: T, cf: bool, of: bool) {
        self.res = r.sext();
        self.rest = cf as u64 | (of as u64) << OF_SHIFT;
    }

    /// Replaces CF alone.
    #[inline(always)]
    pub fn set_cf(&mut self, cf: bool) {
        self.rest = self.rest & !rflags::CF | cf as u64;
    }
    /// Replaces OF alone.
    #[inline(always)]
    pub fn set_of(&mut self, of: bool) {
        self.rest = self.rest & !rflags::OF | (of as u64) << OF_SHIFT;
    }
    /// Replaces ZF alone.
    pub fn set_zf(&mut self, zf: bool) {
        let others = self.get() & !rflags::ZF;
        self.set(others | if zf { rflags::ZF } else { 0 });
    }
}

/// OF at its place, from a word whose sign bit it is.
#[inline(always)]
fn overflow(sign: u64) -> u64 {
    sign >> (63 - OF_SHIFT) & rflags::OF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_survives() {
        for bits in 0..1u64 << 12 {
            let want = bits & rflags::ARITHMETIC;
            let mut flags = Flags::ZERO;
            flags.set(want);
            assert_eq!(flags.get(), want);
            for cc in (0..16).filter(|cc| cc >> 1 != 5) {
                assert_eq!(flags.condition(cc), flags.condition_no_parity(cc));
            }
            flags.set_zf(want & rflags::ZF == 0);
            assert_eq!(flags.get(), want ^ rflags::ZF);
        }
    }

    fn reference(a: u64, b: u64, c: u64, bits: u32, subtract: bool) -> (u64, u64) {
        let mask = u64::MAX >> (64 - bits);
        let (a, b) = (a & mask, b & mask);
        let wide = if subtract {
            (a as i128) - (b as i128) - (c as i128)
        } else {
            (a as i128) + (b as i128) + (c as i128)
        };
        let r = wide as u64 & mask;
        let signed = |v: u64| ((v << (64 - bits)) as i64 >> (64 - bits)) as i128;
        let exact = if subtract {
            signed(a) - signed(b) - c as i128
        } else {
            signed(a) + signed(b) + c as i128
        };
        let nibble = if subtract {
            (a as i64 & 15) - (b as i64 & 15) - c as i64
        } else {
            (a as i64 & 15) + (b as i64 & 15) + c as i64
        };
        let mut f = 0;
        f |= if wide < 0 || wide > mask as i128 {
            rflags::CF
        } else {
            0
        };
        f |= if (r as u8).count_ones().is_multiple_of(2) {
            rflags::PF
        } else {
            0
        };
        f |= if !(0..16).contains(&nibble) {
            rflags::AF
        } else {
            0
        };
        f |= if r == 0 { rflags::ZF } else { 0 };
        f |= if r >> (bits - 1) != 0 { rflags::SF } else { 0 };
        f |= if exact != signed(r) { rflags::OF } else { 0 };
        (r, f)
    }

    fn check<T: Word>(a: u64, b: u64) {
        for c in 0..2 {
            let (x, y) = (T::new(a), T::new(b));
            let mut f = Flags::ZERO;
            let done = |r: T, f: &Flags| (r.get(), f.get());
            f.set(c);
            let r = f.adc(x, y);
            assert_eq!(done(r, &f), reference(a, b, c, T::BITS, false));
            f.set(c);
            let r = f.sbb(x, y);
            assert_eq!(done(r, &f), reference(a, b, c, T::BITS, true));
            let r = f.add(x, y);
            assert_eq!(done(r, &f), reference(a, b, 0, T::BITS, false));
            let r = f.sub(x, y);
            assert_eq!(done(r, &f), reference(a, b, 0, T::BITS, true));
            f.set(c);
            let r = f.inc(x);
            let (want, flags) = reference(a, 1, 0, T::BITS, false);
            assert_eq!(done(r, &f), (want, flags & !1 | c));
            f.set(c);
            let r = f.dec(x);
            let (want, flags) = reference(a, 1, 0, T::BITS, true);
            assert_eq!(done(r, &f), (want, flags & !1 | c));
        }
    }

    proptest::proptest! {
        #[test]
        fn arithmetic_is_as_the_long_way(a: u64, b: u64, small in 0u64..4) {
            for (a, b) in [(a, b), (a, small), (small.wrapping_neg(), b), (small, 1), (1 << 63, small)] {
                check::<u8>(a, b);
                check::<u16>(a, b);
                check::<u32>(a, b);
                check::<u64>(a, b);
            }
        }
    }
}
