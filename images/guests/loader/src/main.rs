//! The TD loader. Built for a TD only (see `images/guests/build`).
//!
//! Everything that Linux's boot protocol wants in memory, the packer has put there. What is
//! left to do inside of the TD is to accept the rest of the memory and to jump.
#![no_std]
#![no_main]
// The entry point, and the jump to the kernel.
#![allow(unsafe_code)]

use core::arch::asm;
use guest_image::layout;
use loader::{Accepted, accept_range};

macro_rules! say {
    ($($what:tt)*) => {
        tdcall::print(format_args!("loader: {}\n", format_args!($($what)*)))
    };
}

/// Called by the start code on vCPU 0, with the width of guest physical addresses in bits.
#[unsafe(no_mangle)]
extern "C" fn td_main(_gpa_width: u64) -> ! {
    // SAFETY: the packer gives every image with this loader a launch page.
    let launch = match unsafe { td_start::launch() } {
        Ok(launch) => launch,
        Err(error) => {
            say!("error: {error}");
            tdcall::report_fatal_error(b"loader: wrong launch page")
        }
    };
    let mut accepted = Accepted::default();
    for range in launch.to_accept() {
        if let Err((gpa, status)) = accept_range(range, &mut accepted, &mut tdcall::accept) {
            say!("error: TDG.MEM.PAGE.ACCEPT of {gpa:#x}: {status:?}");
            tdcall::report_fatal_error(b"loader: can't accept memory")
        }
    }
    say!(
        "{} vCPU(s), {} MiB, accepted {} large and {} small pages, Linux at {:#x}",
        launch.vcpus,
        launch.memory.bytes() / layout::MIB,
        accepted.large,
        accepted.small,
        launch.kernel_entry,
    );
    // SAFETY: the 64-bit boot protocol's state: identity mapping, CS 0x10, DS, ES and SS
    // 0x18, interrupts off, RSI the boot parameters. We don't come back.
    unsafe {
        asm!(
            "jmp {kernel}",
            kernel = in(reg) launch.kernel_entry,
            in("rsi") layout::BOOT_PARAMS.get(),
            options(noreturn, nostack),
        )
    }
}
