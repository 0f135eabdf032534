//! Memory by its execute-only alias.

use core::arch::{asm, global_asm};

// A page table for 1 GiB in 2 MiB pages, to be filled in: present, writable, accessed, dirty.
// What the alias permits is said by the host, not here.
global_asm!(
    ".section .page_tables, \"aw\"",
    ".balign 4096",
    "xo_pd:",
    ".set xo_page, 0",
    ".rept 512",
    ".quad (xo_page << 21) + 0xe3",
    ".set xo_page, xo_page + 1",
    ".endr",
    ".text",
);

unsafe extern "C" {
    static mut td_pdpt: [u64; 512];
    static mut xo_pd: [u64; 512];
}

/// Where the window begins: the first GiB that the start code doesn't map.
const WINDOW: u64 = 4 << 30;

/// Maps the lowest GiB of guest physical memory once more, execute-only; gives the address.
///
/// # Safety
/// Once, with the VM's execute-only bit as an address mask.
pub unsafe fn execute_only_window(bit: u64) -> u64 {
    // SAFETY: nobody else writes to these tables, and they aren't in use yet, so there is
    // nothing to flush.
    unsafe {
        let pd = &raw mut xo_pd;
        for entry in &mut *pd {
            *entry |= bit;
        }
        let pdpt = &raw mut td_pdpt;
        // The page table itself must be read by the processor: no bit here.
        (*pdpt)[(WINDOW >> 30) as usize] = pd as u64 | 0x63;
        // The tables are memory that only the processor reads: keep the writes.
        asm!("", options(nostack, preserves_flags));
    }
    WINDOW
}
