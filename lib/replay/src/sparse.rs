//! Memory of many gigabytes of which little is used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gpa::Hpa;
use memory::PhysMemory;
use zerocopy::FromZeros;

/// Zeroed memory from address 0 on; the host gives pages as they are touched.
pub(crate) struct Sparse {
    words: Box<[AtomicU64]>,
}

impl Sparse {
    /// `len` bytes.
    ///
    /// # Errors
    /// There is not that much address space.
    pub fn new(len: u64) -> Result<Self, String> {
        let words = usize::try_from(len / 8).map_err(|e| e.to_string())?;
        <[AtomicU64]>::new_box_zeroed_with_elems(words)
            .map(|words| Self { words })
            .map_err(|_| format!("cannot reserve {len} bytes"))
    }

    fn word(&self, index: u64) -> Option<&AtomicU64> {
        self.words.get(usize::try_from(index).ok()?)
    }

    fn load(&self, hpa: Hpa, bytes: u64) -> u64 {
        if !self.contains(hpa, bytes) {
            return u64::MAX >> (64 - 8 * bytes);
        }
        let at = |index| self.word(index).map_or(0, |w| w.load(Relaxed));
        let (index, shift) = (hpa.get() / 8, 8 * (hpa.get() % 8));
        let both = u128::from(at(index)) | u128::from(at(index + 1)) << 64;
        (both >> shift) as u64 & (u64::MAX >> (64 - 8 * bytes))
    }

    fn store(&self, hpa: Hpa, bytes: u64, value: u64) {
        if !self.contains(hpa, bytes) {
            return;
        }
        let (index, shift) = (hpa.get() / 8, 8 * (hpa.get() % 8));
        let mask = u128::from(u64::MAX >> (64 - 8 * bytes)) << shift;
        let value = u128::from(value) << shift & mask;
        for half in 0..2 {
            let (mask, value) = ((mask >> (64 * half)) as u64, (value >> (64 * half)) as u64);
            if mask != 0
                && let Some(word) = self.word(index + half)
            {
                word.store(word.load(Relaxed) & !mask | value, Relaxed);
            }
        }
    }
}

impl PhysMemory for Sparse {
    fn contains(&self, hpa: Hpa, len: u64) -> bool {
        let size = self.words.len() as u64 * 8;
        len <= size && hpa.get() <= size - len
    }
    fn read_u8(&self, hpa: Hpa) -> u8 {
        self.load(hpa, 1) as u8
    }
    fn read_u16(&self, hpa: Hpa) -> u16 {
        self.load(hpa, 2) as u16
    }
    fn read_u32(&self, hpa: Hpa) -> u32 {
        self.load(hpa, 4) as u32
    }
    fn read_u64(&self, hpa: Hpa) -> u64 {
        self.load(hpa, 8)
    }
    fn write_u8(&self, hpa: Hpa, value: u8) {
        self.store(hpa, 1, value.into());
    }
    fn write_u16(&self, hpa: Hpa, value: u16) {
        self.store(hpa, 2, value.into());
    }
    fn write_u32(&self, hpa: Hpa, value: u32) {
        self.store(hpa, 4, value.into());
    }
    fn write_u64(&self, hpa: Hpa, value: u64) {
        self.store(hpa, 8, value);
    }
    fn compare_exchange_u64(&self, hpa: Hpa, old: u64, new: u64) -> Result<u64, u64> {
        let found = self.read_u64(hpa);
        if found != old || !hpa.is_aligned(8) {
            return Err(found);
        }
        self.write_u64(hpa, new);
        Ok(found)
    }
    fn swap_u64(&self, hpa: Hpa, new: u64) -> u64 {
        let old = self.read_u64(hpa);
        self.write_u64(hpa, new);
        old
    }
    fn fetch_or_u64(&self, hpa: Hpa, bits: u64) -> u64 {
        let old = self.read_u64(hpa);
        self.write_u64(hpa, old | bits);
        old
    }
}
