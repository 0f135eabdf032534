//! Stolen bits: address bits of a GPA that say *what kind* of access this is, not *where*.

use crate::{Gfn, Gpa, PAGE_SHIFT};

/// The stolen bits of one address, moved down so that the lowest one a VM steals is bit 0.
///
/// Twelve bits are enough for every use so far and make room for a packed key: a frame number
/// has at most 40 bits, so `gfn:52 / stolen:12` is one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Stolen(u16);

impl Stolen {
    /// No stolen bit set: the address as every VM knows it.
    pub const NONE: Self = Self(0);

    /// The bits as a number below 4096.
    pub const fn get(self) -> u16 {
        self.0
    }
    /// Whether all of `bits` are set.
    pub const fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
    /// The bits of either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// The bits of both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Whether no bit is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why an address or a set of stolen bits was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StolenError {
    /// The address has a bit set at or above the VM's GPA width.
    BeyondWidth,
    /// The stolen bits lie outside of the address width, below bit 21, or more than 12 apart.
    BadBits,
}

impl core::fmt::Display for StolenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BeyondWidth => "guest physical address beyond the VM's address width",
            Self::BadBits => "stolen bits must lie within 12 bits of each other, in 21..width",
        })
    }
}

/// Which address bits a VM steals, and how wide its addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StolenBits {
    mask: u64,
    width: u8,
    shift: u8,
}

impl StolenBits {
    /// A VM whose addresses are `width` bits wide and that steals the bits of `mask`
    /// (`mask` 0: steals none).
    ///
    /// # Errors
    /// [`StolenError::BadBits`] unless all bits of `mask` are within 12 bits of each other, at
    /// or above bit 21 (a 2 MiB page must not straddle an alias), below `width`, and `width` is
    /// in 22..=52.
    pub const fn new(width: u8, mask: u64) -> Result<Self, StolenError> {
        if width < 22 || width > 52 || mask >> width != 0 {
            return Err(StolenError::BadBits);
        }
        let shift = if mask == 0 { 0 } else { mask.trailing_zeros() };
        if mask != 0 && (shift < 21 || mask >> shift >= 1 << 12) {
            return Err(StolenError::BadBits);
        }
        Ok(Self {
            mask,
            width,
            shift: shift as u8,
        })
    }

    /// THE function that takes a raw address apart into its stolen bits and its frame.
    ///
    /// # Errors
    /// [`StolenError::BeyondWidth`] for an address with bits at or above the width.
    #[inline]
    pub const fn split(self, gpa: Gpa) -> Result<(Stolen, Gfn), StolenError> {
        let raw = gpa.get();
        if raw >> self.width != 0 {
            return Err(StolenError::BeyondWidth);
        }
        let stolen = Stolen(((raw & self.mask) >> self.shift) as u16);
        Ok((stolen, Gfn::new((raw & !self.mask) >> PAGE_SHIFT)))
    }

    /// THE function that puts stolen bits and a frame together: the first address of the frame.
    /// Bits that the VM doesn't steal are dropped.
    #[inline]
    pub const fn join(self, stolen: Stolen, gfn: Gfn) -> Gpa {
        Gpa::new(gfn.get() << PAGE_SHIFT | ((stolen.0 as u64) << self.shift) & self.mask)
    }

    /// The stolen value whose address bits are `mask`; `None` if the VM doesn't steal them all.
    pub const fn value(self, mask: u64) -> Option<Stolen> {
        if mask & !self.mask != 0 {
            return None;
        }
        Some(Stolen((mask >> self.shift) as u16))
    }

    /// The stolen bits as a mask over the address.
    pub const fn mask(self) -> u64 {
        self.mask
    }
    /// Address width in bits, stolen bits included.
    pub const fn width(self) -> u8 {
        self.width
    }
    /// One past the highest frame number that the VM can have: frames end where the lowest
    /// stolen bit (or the width) begins, so a frame number never looks like a stolen bit.
    pub const fn end(self) -> Gfn {
        let bit = if self.mask == 0 {
            self.width
        } else {
            self.shift
        };
        Gfn::new(1 << (bit as u32 - PAGE_SHIFT))
    }
    /// Every stolen value of the VM, from [`Stolen::NONE`] on.
    pub fn values(self) -> impl Iterator<Item = Stolen> {
        let mask = (self.mask >> self.shift) as u16;
        let mut next = Some(0u16);
        core::iter::from_fn(move || {
            let value = next?;
            // The next subset of the mask; the full mask is the last.
            next = (value != mask).then(|| (value | !mask).wrapping_add(1) & mask);
            Some(Stolen(value))
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn split_and_join_are_inverse() {
        let bits = StolenBits::new(48, 1 << 47 | 1 << 45).unwrap();
        for raw in [
            0,
            0x1000,
            1 << 47 | 0x5000,
            1 << 45,
            1 << 47 | 1 << 45 | 0x7f_f000,
        ] {
            let (stolen, gfn) = bits.split(Gpa::new(raw)).unwrap();
            assert!(gfn < bits.end());
            assert_eq!(bits.join(stolen, gfn).get(), raw);
        }
        assert_eq!(bits.value(1 << 47).unwrap().get(), 4);
        assert_eq!(bits.value(1 << 46), None);
        assert_eq!(bits.end().get(), 1 << 33);
        let all: Vec<u16> = bits.values().map(Stolen::get).collect();
        assert_eq!(all, [0, 1, 4, 5]);
        assert_eq!(StolenBits::new(48, 0).unwrap().values().count(), 1);
    }

    #[test]
    fn bad_input_is_named() {
        let bits = StolenBits::new(48, 1 << 47).unwrap();
        assert_eq!(bits.split(Gpa::new(1 << 48)), Err(StolenError::BeyondWidth));
        assert_eq!(
            bits.split(Gpa::new(u64::MAX)),
            Err(StolenError::BeyondWidth)
        );
        assert_eq!(StolenBits::new(48, 1 << 48), Err(StolenError::BadBits));
        assert_eq!(StolenBits::new(48, 1 << 20), Err(StolenError::BadBits));
        assert_eq!(
            StolenBits::new(48, 1 << 47 | 1 << 35),
            Err(StolenError::BadBits)
        );
        assert!(StolenBits::new(48, 1 << 47 | 1 << 36).is_ok());
        assert_eq!(StolenBits::new(53, 0), Err(StolenError::BadBits));
    }
}
