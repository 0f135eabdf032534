//! Operand sizes as types.

use gpa::Hpa;
use memory::PhysMemory;

/// An operand of 8, 16, 32 or 64 bits.
pub(crate) trait Word: Copy + PartialEq {
    const BITS: u32;
    const BYTES: u64 = Self::BITS as u64 / 8;
    fn new(value: u64) -> Self;
    fn get(self) -> u64;
    /// The value sign-extended to 64 bits.
    fn sext(self) -> u64;
    fn load<P: PhysMemory>(memory: &P, hpa: Hpa) -> Self;
    fn store<P: PhysMemory>(self, memory: &P, hpa: Hpa);
}

macro_rules! word {
    ($ty:ty, $signed:ty, $read:ident, $write:ident) => {
        impl Word for $ty {
            const BITS: u32 = <$ty>::BITS;
            #[inline(always)]
            fn new(value: u64) -> Self {
                value as $ty
            }
            #[inline(always)]
            fn get(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn sext(self) -> u64 {
                self as $signed as i64 as u64
            }
            #[inline(always)]
            fn load<P: PhysMemory>(memory: &P, hpa: Hpa) -> Self {
                memory.$read(hpa)
            }
            #[inline(always)]
            fn store<P: PhysMemory>(self, memory: &P, hpa: Hpa) {
                memory.$write(hpa, self)
            }
        }
    };
}
word!(u8, i8, read_u8, write_u8);
word!(u16, i16, read_u16, write_u16);
word!(u32, i32, read_u32, write_u32);
word!(u64, i64, read_u64, write_u64);
