//! Memory that is cheap to copy: pages are shared until written.

use std::cell::RefCell;
use std::sync::Arc;

use ::memory::PhysMemory;
use gpa::Hpa;

const PAGES_PER_CHUNK: usize = 512;

type Page = [u64; 512];
type Chunk = [Option<Arc<Page>>; PAGES_PER_CHUNK];

/// Zeroed memory from address 0 on.
#[derive(Clone)]
pub struct Pages {
    chunks: RefCell<Vec<Option<Arc<Chunk>>>>,
}

impl Pages {
    /// `len` bytes, a multiple of 2 MiB.
    pub fn new(len: u64) -> Self {
        let chunks = vec![None; (len >> 21) as usize];
        Self {
            chunks: RefCell::new(chunks),
        }
    }

    fn word(&self, at: u64) -> u64 {
        let chunks = self.chunks.borrow();
        match chunks.get((at >> 21) as usize) {
            Some(Some(chunk)) => match &chunk[(at >> 12) as usize % PAGES_PER_CHUNK] {
                Some(page) => page[(at >> 3) as usize % 512],
                None => 0,
            },
            Some(None) => 0,
            None => u64::MAX,
        }
    }

    fn set_word(&self, at: u64, value: u64) {
        if self.word(at) == value {
            return;
        }
        let mut chunks = self.chunks.borrow_mut();
        if let Some(chunk) = chunks.get_mut((at >> 21) as usize) {
            let empty = || Arc::new([const { None }; PAGES_PER_CHUNK]);
            let chunk = Arc::make_mut(chunk.get_or_insert_with(empty));
            let page = &mut chunk[(at >> 12) as usize % PAGES_PER_CHUNK];
            let page = Arc::make_mut(page.get_or_insert_with(|| Arc::new([0; 512])));
            page[(at >> 3) as usize % 512] = value;
        }
    }

    /// The addresses of the pages that differ.
    pub fn difference(&self, other: &Self) -> Vec<u64> {
        let (a, b) = (self.chunks.borrow(), other.chunks.borrow());
        let mut pages = Vec::new();
        for (i, (x, y)) in a.iter().zip(b.iter()).enumerate() {
            match (x, y) {
                (None, None) => continue,
                (Some(x), Some(y)) if Arc::ptr_eq(x, y) => continue,
                _ => {}
            }
            for k in 0..PAGES_PER_CHUNK {
                let page = |chunk: &Option<Arc<Chunk>>| chunk.as_ref().and_then(|c| c[k].clone());
                let same = match (page(x), page(y)) {
                    (None, None) => true,
                    (Some(p), Some(q)) => Arc::ptr_eq(&p, &q) || p == q,
                    (Some(p), None) | (None, Some(p)) => p.iter().all(|&w| w == 0),
                };
                if !same {
                    pages.push((i * PAGES_PER_CHUNK + k) as u64 * 4096);
                }
            }
        }
        pages
    }

    /// The words of a page.
    pub fn page(&self, at: u64) -> [u64; 512] {
        std::array::from_fn(|i| self.word((at & !0xfff) + 8 * i as u64))
    }

    fn load(&self, at: u64, bytes: u64) -> u64 {
        let shift = 8 * (at % 8);
        let low = self.word(at & !7);
        let value = if shift + 8 * bytes > 64 {
            let both = u128::from(low) | u128::from(self.word((at & !7).wrapping_add(8))) << 64;
            (both >> shift) as u64
        } else {
            low >> shift
        };
        value & (u64::MAX >> (64 - 8 * bytes))
    }

    fn store(&self, at: u64, bytes: u64, value: u64) {
        for i in 0..bytes {
            let at = at.wrapping_add(i);
            let shift = 8 * (at % 8);
            let old = self.word(at & !7) & !(0xff << shift);
            self.set_word(at & !7, old | (value >> (8 * i) & 0xff) << shift);
        }
    }
}

impl PartialEq for Pages {
    fn eq(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }
}

impl PhysMemory for Pages {
    fn contains(&self, hpa: Hpa, len: u64) -> bool {
        let size = (self.chunks.borrow().len() as u64) << 21;
        len <= size && hpa.get() <= size - len
    }
    fn read_u8(&self, hpa: Hpa) -> u8 {
        self.load(hpa.get(), 1) as u8
    }
    fn read_u16(&self, hpa: Hpa) -> u16 {
        self.load(hpa.get(), 2) as u16
    }
    fn read_u32(&self, hpa: Hpa) -> u32 {
        self.load(hpa.get(), 4) as u32
    }
    fn read_u64(&self, hpa: Hpa) -> u64 {
        self.load(hpa.get(), 8)
    }
    fn write_u8(&self, hpa: Hpa, value: u8) {
        self.store(hpa.get(), 1, value.into());
    }
    fn write_u16(&self, hpa: Hpa, value: u16) {
        self.store(hpa.get(), 2, value.into());
    }
    fn write_u32(&self, hpa: Hpa, value: u32) {
        self.store(hpa.get(), 4, value.into());
    }
    fn write_u64(&self, hpa: Hpa, value: u64) {
        if hpa.is_aligned(8) {
            self.set_word(hpa.get(), value);
        } else {
            self.store(hpa.get(), 8, value);
        }
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
