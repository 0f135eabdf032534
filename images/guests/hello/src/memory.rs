//! Memory outside of the binary.

use core::arch::{asm, global_asm};

/// A word of memory that others (the host, the TDX module) may change.
#[derive(Clone, Copy)]
pub struct Word(*mut u64);

impl Word {
    /// The word at this address.
    ///
    /// # Safety
    /// It must be mapped, aligned, and outside of all that Rust knows of.
    pub unsafe fn at(address: u64) -> Self {
        Self(address as *mut u64)
    }
    /// Reads it, exactly once.
    pub fn read(self) -> u64 {
        // SAFETY: `at`'s promise.
        unsafe { self.0.read_volatile() }
    }
    /// Writes it, exactly once.
    pub fn write(self, value: u64) {
        // SAFETY: `at`'s promise.
        unsafe { self.0.write_volatile(value) }
    }
}

// A page table for 1 GiB in 2 MiB pages, to be filled in: present, writable, accessed, dirty.
global_asm!(
    ".section .page_tables, \"aw\"",
    ".balign 4096",
    "hello_shared_pd:",
    ".set hello_page, 0",
    ".rept 512",
    ".quad (hello_page << 21) + 0xe3",
    ".set hello_page, hello_page + 1",
    ".endr",
    ".text",
);

unsafe extern "C" {
    static mut td_pdpt: [u64; 512];
    static mut hello_shared_pd: [u64; 512];
}

/// Where the shared window begins: the first GiB that the start code doesn't map.
const WINDOW: u64 = 4 << 30;

/// Maps the lowest GiB of guest physical memory once more, as shared; gives the address.
///
/// # Safety
/// Once, with the TD's SHARED bit.
pub unsafe fn shared_window(shared_bit: u64) -> u64 {
    // SAFETY: nobody else writes to these tables, and they aren't in use yet, so there is
    // nothing to flush.
    unsafe {
        let pd = &raw mut hello_shared_pd;
        for entry in &mut *pd {
            *entry |= shared_bit;
        }
        let pdpt = &raw mut td_pdpt;
        // Page tables themselves are private: no SHARED bit here.
        (*pdpt)[(WINDOW >> 30) as usize] = pd as u64 | 0x63;
        // The tables are memory that only the processor reads: keep the writes.
        asm!("", options(nostack, preserves_flags));
    }
    WINDOW
}
