//! From the reset vector to Rust: the start of a TD of our own (loader, hello).
//!
//! Every vCPU begins at 4 GiB - 16 in 32-bit protected mode, paging off, flat segments. It
//! goes to 64-bit mode with the lowest 4 GiB identity mapped by page tables that are part of
//! the binary. vCPU 0 then calls `td_main`; the others wait at the ACPI mailbox until an
//! operating system wakes them (ACPI 6.4 §5.2.12.19).
//!
//! A binary defines `#[unsafe(no_mangle)] extern "C" fn td_main(gpa_width: u64) -> !`, links
//! with `td.ld`, and turns the feature `td` on.
#![no_std]
// A machine's first instructions are assembly.
#![allow(unsafe_code)]

#[cfg(all(feature = "memory-functions", not(test)))]
mod memory_functions;
#[cfg(all(feature = "td", not(test)))]
mod reset;

use guest_image::launch::{LAUNCH_SIZE, Launch, LaunchError};
use guest_image::layout;

/// Reads and checks the launch page.
///
/// # Errors
/// [`LaunchError`] where the page breaks a rule.
///
/// # Safety
/// To be called in a TD whose image has a launch page; nobody may write to that page.
pub unsafe fn launch() -> Result<Launch, LaunchError> {
    let page = layout::LAUNCH.get() as *const [u8; LAUNCH_SIZE];
    // SAFETY: the page is mapped (identity), and nobody writes to it.
    Launch::parse(unsafe { &*page })
}

#[cfg(all(feature = "td", not(test)))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    tdcall::print(format_args!("\n{info}\n"));
    tdcall::report_fatal_error(b"panic, see the console")
}
