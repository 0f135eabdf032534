//! Host physical memory as a trait, and the one implementation behind which pointers live.
//!
//! Everything above works on host physical addresses and safe code. Memory is shared: with the
//! guest, with other protection domains, with hardware. So every access takes `&self`, is done
//! exactly once (volatile or atomic), and hands out values, never references.
//!
//! An access outside of memory does what a bus without a device does: reads give all ones,
//! writes are dropped. Callers for whom that is an error ask [`PhysMemory::contains`] first.
#![cfg_attr(not(any(test, feature = "host")), no_std)]
// The one place that turns a host physical address into a pointer.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};
use gpa::{Hpa, PAGE_SIZE};

/// Host physical memory. Addresses need not be aligned, except where it says so.
pub trait PhysMemory {
    /// Whether all of `len` bytes from `hpa` on are memory.
    fn contains(&self, hpa: Hpa, len: u64) -> bool;
    /// Reads one byte.
    fn read_u8(&self, hpa: Hpa) -> u8;
    /// Reads 2 bytes, little endian.
    fn read_u16(&self, hpa: Hpa) -> u16;
    /// Reads 4 bytes, little endian.
    fn read_u32(&self, hpa: Hpa) -> u32;
    /// Reads 8 bytes, little endian.
    fn read_u64(&self, hpa: Hpa) -> u64;
    /// Writes one byte.
    fn write_u8(&self, hpa: Hpa, value: u8);
    /// Writes 2 bytes, little endian.
    fn write_u16(&self, hpa: Hpa, value: u16);
    /// Writes 4 bytes, little endian.
    fn write_u32(&self, hpa: Hpa, value: u32);
    /// Writes 8 bytes, little endian.
    fn write_u64(&self, hpa: Hpa, value: u64);
    /// Atomically replaces the 8-byte aligned word at `hpa` if it is `old`.
    /// `Ok(old)` where it was, `Err(found)` where not (also outside of memory or unaligned).
    fn compare_exchange_u64(&self, hpa: Hpa, old: u64, new: u64) -> Result<u64, u64>;
    /// Atomically exchanges the 8-byte aligned word at `hpa`; all ones outside of memory.
    fn swap_u64(&self, hpa: Hpa, new: u64) -> u64;
    /// Atomically ORs into the 8-byte aligned word at `hpa`, gives the word before.
    fn fetch_or_u64(&self, hpa: Hpa, bits: u64) -> u64;

    /// Copies memory out; all ones where there is none.
    fn read_bytes(&self, hpa: Hpa, out: &mut [u8]) {
        let mut at = hpa.get();
        let mut chunks = out.chunks_exact_mut(8);
        for chunk in &mut chunks {
            chunk.copy_from_slice(&self.read_u64(Hpa::new(at)).to_le_bytes());
            at = at.wrapping_add(8);
        }
        for byte in chunks.into_remainder() {
            *byte = self.read_u8(Hpa::new(at));
            at = at.wrapping_add(1);
        }
    }

    /// Copies into memory; dropped where there is none.
    fn write_bytes(&self, hpa: Hpa, bytes: &[u8]) {
        let mut at = hpa.get();
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.write_u64(Hpa::new(at), u64::from_le_bytes(word));
            at = at.wrapping_add(8);
        }
        for &byte in chunks.remainder() {
            self.write_u8(Hpa::new(at), byte);
            at = at.wrapping_add(1);
        }
    }

    /// Fills `len` bytes (a multiple of 8) with zero.
    fn zero(&self, hpa: Hpa, len: u64) {
        slow::zero(self, hpa, len);
    }

    /// Copies one 4 KiB page.
    fn copy_page(&self, from: Hpa, to: Hpa) {
        slow::copy_page(self, from, to);
    }
}

/// Word by word, each checked.
mod slow {
    use super::PhysMemory;
    use gpa::{Hpa, PAGE_SIZE};

    pub fn zero(memory: &(impl PhysMemory + ?Sized), hpa: Hpa, len: u64) {
        for at in (0..len).step_by(8) {
            memory.write_u64(Hpa::new(hpa.get().wrapping_add(at)), 0);
        }
    }

    pub fn copy_page(memory: &(impl PhysMemory + ?Sized), from: Hpa, to: Hpa) {
        for at in (0..PAGE_SIZE).step_by(8) {
            let word = memory.read_u64(Hpa::new(from.get().wrapping_add(at)));
            memory.write_u64(Hpa::new(to.get().wrapping_add(at)), word);
        }
    }
}

impl<M: PhysMemory + ?Sized> PhysMemory for &M {
    fn contains(&self, hpa: Hpa, len: u64) -> bool {
        (**self).contains(hpa, len)
    }
    fn read_u8(&self, hpa: Hpa) -> u8 {
        (**self).read_u8(hpa)
    }
    fn read_u16(&self, hpa: Hpa) -> u16 {
        (**self).read_u16(hpa)
    }
    fn read_u32(&self, hpa: Hpa) -> u32 {
        (**self).read_u32(hpa)
    }
    fn read_u64(&self, hpa: Hpa) -> u64 {
        (**self).read_u64(hpa)
    }
    fn write_u8(&self, hpa: Hpa, value: u8) {
        (**self).write_u8(hpa, value);
    }
    fn write_u16(&self, hpa: Hpa, value: u16) {
        (**self).write_u16(hpa, value);
    }
    fn write_u32(&self, hpa: Hpa, value: u32) {
        (**self).write_u32(hpa, value);
    }
    fn write_u64(&self, hpa: Hpa, value: u64) {
        (**self).write_u64(hpa, value);
    }
    fn compare_exchange_u64(&self, hpa: Hpa, old: u64, new: u64) -> Result<u64, u64> {
        (**self).compare_exchange_u64(hpa, old, new)
    }
    fn swap_u64(&self, hpa: Hpa, new: u64) -> u64 {
        (**self).swap_u64(hpa, new)
    }
    fn fetch_or_u64(&self, hpa: Hpa, bits: u64) -> u64 {
        (**self).fetch_or_u64(hpa, bits)
    }
    fn read_bytes(&self, hpa: Hpa, out: &mut [u8]) {
        (**self).read_bytes(hpa, out);
    }
    fn write_bytes(&self, hpa: Hpa, bytes: &[u8]) {
        (**self).write_bytes(hpa, bytes);
    }
    fn zero(&self, hpa: Hpa, len: u64) {
        (**self).zero(hpa, len);
    }
    fn copy_page(&self, from: Hpa, to: Hpa) {
        (**self).copy_page(from, to);
    }
}

/// A stretch of host physical memory `[base, base + len)` that is mapped at `pointer`.
#[derive(Debug)]
pub struct Window {
    base: u64,
    len: u64,
    pointer: *mut u8,
}

#[repr(C, packed)]
struct Unaligned<T>(T);

impl Window {
    /// A window onto `len` bytes at `pointer`, known as `base` on.
    ///
    /// # Safety
    /// The `len` bytes at `pointer` must stay mapped, readable and (where it will be written)
    /// writable as long as the window lives, `pointer` must be 4 KiB aligned,
    /// and no Rust reference to any of those bytes may exist in that time.
    pub const unsafe fn new(base: Hpa, len: u64, pointer: *mut u8) -> Self {
        Self {
            base: base.get(),
            len,
            pointer,
        }
    }

    /// The first address.
    pub const fn base(&self) -> Hpa {
        Hpa::new(self.base)
    }
    /// The length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }
    /// Whether the window shows nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    fn at<T>(&self, hpa: Hpa) -> Option<*mut Unaligned<T>> {
        let offset = hpa.get().wrapping_sub(self.base);
        let size = size_of::<T>() as u64;
        if self.len < size || offset > self.len - size {
            return None;
        }
        Some(self.pointer.wrapping_add(offset as usize).cast())
    }

    /// `len` bytes in words, `None` unless all of them are inside.
    fn words(&self, hpa: Hpa, len: u64) -> Option<impl Iterator<Item = *mut Unaligned<u64>>> {
        if !self.contains(hpa, len) {
            return None;
        }
        let first = self.pointer.wrapping_add((hpa.get() - self.base) as usize);
        Some(
            (0..len as usize / 8)
                .map(move |word| first.cast::<Unaligned<u64>>().wrapping_add(word)),
        )
    }

    #[inline(always)]
    fn atomic(&self, hpa: Hpa) -> Option<&AtomicU64> {
        if !hpa.is_aligned(8) {
            return None;
        }
        // SAFETY: inside the window, aligned (the window's pointer is page aligned as its base
        // is), and only ever accessed as an atomic or a volatile word.
        self.at::<u64>(hpa)
            .map(|p| unsafe { AtomicU64::from_ptr(p.cast()) })
    }
}

macro_rules! volatile {
    ($read:ident, $write:ident, $ty:ty) => {
        #[inline(always)]
        fn $read(&self, hpa: Hpa) -> $ty {
            match self.at::<$ty>(hpa) {
                // SAFETY: inside the window by `at`; the packed type has no alignment.
                Some(p) => unsafe { p.read_volatile().0 },
                None => <$ty>::MAX,
            }
        }
        #[inline(always)]
        fn $write(&self, hpa: Hpa, value: $ty) {
            if let Some(p) = self.at::<$ty>(hpa) {
                // SAFETY: as above.
                unsafe { p.write_volatile(Unaligned(value)) }
            }
        }
    };
}

impl PhysMemory for Window {
    #[inline(always)]
    fn contains(&self, hpa: Hpa, len: u64) -> bool {
        let offset = hpa.get().wrapping_sub(self.base);
        len <= self.len && offset <= self.len - len
    }
    volatile!(read_u8, write_u8, u8);
    volatile!(read_u16, write_u16, u16);
    volatile!(read_u32, write_u32, u32);
    volatile!(read_u64, write_u64, u64);

    // Checked once, not for each word.
    fn zero(&self, hpa: Hpa, len: u64) {
        match self.words(hpa, len) {
            // SAFETY: inside the window by `words`; the packed type has no alignment.
            Some(words) => words.for_each(|p| unsafe { p.write_volatile(Unaligned(0)) }),
            None => slow::zero(self, hpa, len),
        }
    }
    fn copy_page(&self, from: Hpa, to: Hpa) {
        match (self.words(from, PAGE_SIZE), self.words(to, PAGE_SIZE)) {
            (Some(from), Some(to)) => from
                .zip(to)
                // SAFETY: as above.
                .for_each(|(from, to)| unsafe { to.write_volatile(from.read_volatile()) }),
            _ => slow::copy_page(self, from, to),
        }
    }

    fn compare_exchange_u64(&self, hpa: Hpa, old: u64, new: u64) -> Result<u64, u64> {
        match self.atomic(hpa) {
            Some(word) => word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst),
            None => Err(u64::MAX),
        }
    }
    fn swap_u64(&self, hpa: Hpa, new: u64) -> u64 {
        self.atomic(hpa)
            .map_or(u64::MAX, |word| word.swap(new, Ordering::SeqCst))
    }
    fn fetch_or_u64(&self, hpa: Hpa, bits: u64) -> u64 {
        self.atomic(hpa)
            .map_or(u64::MAX, |word| word.fetch_or(bits, Ordering::SeqCst))
    }
}

#[cfg(any(test, feature = "host"))]
mod host {
    use super::Window;
    use gpa::{Hpa, PAGE_SIZE};

    #[derive(Clone)]
    #[repr(C, align(4096))]
    struct Page([u8; PAGE_SIZE as usize]);

    /// Zeroed memory of the host process that plays host physical memory from `base` on.
    pub struct HostMemory {
        window: Window,
        _pages: Box<[core::mem::MaybeUninit<Page>]>,
    }

    impl HostMemory {
        /// `len` bytes (rounded up to pages) of zeroed memory from `base` on.
        pub fn new(base: Hpa, len: u64) -> Self {
            let mut pages = Box::new_zeroed_slice(len.div_ceil(PAGE_SIZE) as usize);
            let pointer = pages.as_mut_ptr().cast::<u8>();
            // SAFETY: the allocation is page aligned, lives as long as `self`, and is reached
            // through the window only.
            let window = unsafe { Window::new(base, pages.len() as u64 * PAGE_SIZE, pointer) };
            Self {
                window,
                _pages: pages,
            }
        }

        /// The window onto this memory.
        pub fn window(&self) -> &Window {
            &self.window
        }
    }
}
#[cfg(any(test, feature = "host"))]
pub use host::HostMemory;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_at_the_edges() {
        let memory = HostMemory::new(Hpa::new(0x10_0000), 0x2000);
        let m = memory.window();
        m.write_u64(Hpa::new(0x10_0ffc), 0x1122_3344_5566_7788);
        assert_eq!(m.read_u32(Hpa::new(0x10_1000)), 0x1122_3344);
        assert_eq!(m.read_u8(Hpa::new(0x10_0ffc)), 0x88);
        m.write_u64(Hpa::new(0x10_1ff9), 0);
        assert_eq!(
            m.read_u64(Hpa::new(0x10_1ff9)),
            u64::MAX,
            "straddles the end"
        );
        assert_eq!(m.read_u8(Hpa::new(0x0f_ffff)), 0xff, "below the base");
        assert_eq!(m.read_u16(Hpa::new(u64::MAX)), 0xffff, "wraps");
        assert!(m.contains(Hpa::new(0x10_0000), 0x2000));
        assert!(!m.contains(Hpa::new(0x10_0001), 0x2000));
        assert!(!m.contains(Hpa::new(0x10_0000), u64::MAX));
    }

    #[test]
    fn atomics_refuse_the_unaligned() {
        let memory = HostMemory::new(Hpa::new(0), 0x1000);
        let m = memory.window();
        assert_eq!(m.compare_exchange_u64(Hpa::new(8), 0, 5), Ok(0));
        assert_eq!(m.compare_exchange_u64(Hpa::new(8), 0, 6), Err(5));
        assert_eq!(m.fetch_or_u64(Hpa::new(8), 2), 5);
        assert_eq!(m.swap_u64(Hpa::new(8), 1), 7);
        assert_eq!(m.swap_u64(Hpa::new(9), 1), u64::MAX);
        assert_eq!(m.read_u64(Hpa::new(8)), 1);
    }

    #[test]
    fn bytes_of_any_length() {
        let memory = HostMemory::new(Hpa::new(0x1000), 0x2000);
        let m = memory.window();
        let data: Vec<u8> = (0..77).collect();
        m.write_bytes(Hpa::new(0x1fe3), &data);
        let mut back = vec![0; 77];
        m.read_bytes(Hpa::new(0x1fe3), &mut back);
        assert_eq!(back, data);
        m.copy_page(Hpa::new(0x1000), Hpa::new(0x2000));
        assert_eq!(m.read_u8(Hpa::new(0x2fe3)), 0);
        m.zero(Hpa::new(0x1000), 0x2000);
        // Half of it outside: what is inside is done.
        m.write_u64(Hpa::new(0x2ff8), 5);
        m.copy_page(Hpa::new(0x2800), Hpa::new(0x1000));
        assert_eq!(m.read_u64(Hpa::new(0x17f8)), 5);
        assert_eq!(m.read_u64(Hpa::new(0x1800)), u64::MAX, "from nowhere");
        m.zero(Hpa::new(0x2ff8), 0x1000);
        assert_eq!(m.read_u64(Hpa::new(0x2ff8)), 0);
        m.zero(Hpa::new(0x1000), 0x2000);
        m.read_bytes(Hpa::new(0x1fe3), &mut back);
        assert!(back.iter().all(|&b| b == 0));
    }
}
