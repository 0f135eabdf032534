//! How far an untyped is used up.
//!
//! The kernel makes objects at rising addresses: an untyped has a watermark,
//! and each object begins at the watermark, rounded up to the object's size.
//! To place an object at a given address the gap before it is filled with
//! untypeds.

/// An untyped and its watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Physical address of the first byte.
    pub paddr: u64,
    /// Bytes, as a power of two.
    pub size_bits: u32,
    /// Bytes used, from the first.
    pub used: u64,
}

impl Watermark {
    /// One past the last byte.
    pub const fn end(&self) -> u64 {
        self.paddr + (1 << self.size_bits)
    }

    /// Whether `count` objects of `1 << bits` bytes still fit; if so they are
    /// counted as used.
    pub fn take(&mut self, bits: u32, count: u64) -> bool {
        let start = self.used.next_multiple_of(1 << bits);
        let Some(end) = count
            .checked_mul(1 << bits)
            .and_then(|bytes| bytes.checked_add(start))
        else {
            return false;
        };
        if end > 1 << self.size_bits {
            return false;
        }
        self.used = end;
        true
    }

    /// Size, as a power of two, of the next filler on the way to the address
    /// `target`: `None` when the watermark is there. The filler is counted as
    /// used.
    ///
    /// # Errors
    /// If the watermark is already past `target`, or `target` is not in the
    /// untyped.
    pub fn fill(&mut self, target: u64) -> Result<Option<u32>, Passed> {
        let now = self.paddr + self.used;
        if target < now || target >= self.end() {
            return Err(Passed);
        }
        let gap = target - now;
        if gap == 0 {
            return Ok(None);
        }
        let aligned = if self.used == 0 {
            self.size_bits
        } else {
            self.used.trailing_zeros()
        };
        let bits = aligned.min(gap.ilog2());
        self.used += 1 << bits;
        Ok(Some(bits))
    }
}

/// The memory at that address is used up already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn objects_are_rounded_up_to_their_size() {
        let mut untyped = Watermark {
            paddr: 0,
            size_bits: 16,
            used: 0,
        };
        assert!(untyped.take(4, 1));
        assert!(untyped.take(12, 2));
        assert_eq!(untyped.used, 3 << 12);
        assert!(!untyped.take(12, 14));
        assert!(untyped.take(12, 13));
        assert_eq!(untyped.used, 1 << 16);
    }

    #[test]
    fn fillers_lead_to_the_target_and_are_aligned() {
        for target in [0, 4096, 5 * MIB + 4096, 16 * MIB - 4096] {
            let mut untyped = Watermark {
                paddr: 16 * MIB,
                size_bits: 24,
                used: 0,
            };
            while let Some(bits) = {
                let before = untyped.used;
                let filler = untyped.fill(16 * MIB + target).expect("in the untyped");
                filler.inspect(|bits| assert_eq!(before % (1 << bits), 0))
            } {
                assert!(bits >= 12 && untyped.used <= target);
            }
            assert_eq!(untyped.used, target);
        }
    }

    #[test]
    fn there_is_no_way_back() {
        let mut untyped = Watermark {
            paddr: 16 * MIB,
            size_bits: 24,
            used: 8192,
        };
        assert_eq!(untyped.fill(16 * MIB + 4096), Err(Passed));
        assert_eq!(untyped.fill(32 * MIB), Err(Passed));
    }
}
