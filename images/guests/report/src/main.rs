//! `td-report`: prints this TD's report; exit status 1 and a reason where that can't be.
//! A Linux program without a C library: three system calls are all it needs.
#![no_std]
#![no_main]
// System calls are instructions.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use report::{Request, check, show};
// Its memory functions.
use td_start as _;
use zerocopy::FromZeros;

const DEVICE: &core::ffi::CStr = c"/dev/tdx_guest";

mod call {
    pub const WRITE: u64 = 1;
    pub const OPEN: u64 = 2;
    pub const IOCTL: u64 = 16;
    pub const EXIT: u64 = 60;
}

const O_RDWR: u64 = 2;

// The stack is aligned to 16 bytes at the start, a function wants 8 more.
global_asm!(".globl _start", "_start:", "call {main}", "ud2", main = sym main);

/// A system call: what it gives, or the negated error number.
///
/// # Safety
/// What the arguments point to must be as the kernel expects it.
unsafe fn system_call(number: u64, arguments: [u64; 3]) -> i64 {
    let result: i64;
    // SAFETY: the caller's promise; SYSCALL changes RCX and R11 besides.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") arguments[0],
            in("rsi") arguments[1], in("rdx") arguments[2],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// File descriptor 1.
struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the bytes are there and are only read.
        let written =
            unsafe { system_call(call::WRITE, [1, text.as_ptr() as u64, text.len() as u64]) };
        if written == text.len() as i64 {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

fn exit(status: u64) -> ! {
    loop {
        // SAFETY: nothing is left to be wrong about.
        unsafe { system_call(call::EXIT, [status, 0, 0]) };
    }
}

fn run() -> Result<(), fmt::Error> {
    let mut out = Output;
    // SAFETY: a path with its zero.
    let file = unsafe { system_call(call::OPEN, [DEVICE.as_ptr() as u64, O_RDWR, 0]) };
    if file < 0 {
        writeln!(
            out,
            "td-report: error: /dev/tdx_guest can't be opened (error {}): load tdx-guest.ko",
            -file
        )?;
        return Err(fmt::Error);
    }
    let mut request = Request::new_zeroed();
    for (n, byte) in request.data.iter_mut().enumerate() {
        *byte = n as u8 + 1;
    }
    let given = request.data;
    let arguments = [file as u64, Request::IOCTL.into(), &raw mut request as u64];
    // SAFETY: the kernel writes the report into the request, which is as long as it expects.
    let result = unsafe { system_call(call::IOCTL, arguments) };
    if result != 0 {
        writeln!(
            out,
            "td-report: error: the driver gives no report (error {})",
            -result
        )?;
        return Err(fmt::Error);
    }
    match check(&request, &given) {
        Ok(report) => show(&report, &mut out),
        Err(wrong) => {
            writeln!(out, "td-report: error: {wrong}")?;
            Err(fmt::Error)
        }
    }
}

extern "C" fn main() -> ! {
    exit(u64::from(run().is_err()))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Output, "td-report: {info}");
    exit(101)
}
