//! The execute-only guest: runs code by an alias through which it can neither read nor write it.
//!
//! A VM that is no TD: a TD's processor fetches no code from shared memory, and private memory
//! has no execute-only alias (see `docs/stolen-bits.md`). Built as the TDs are, see
//! `images/guests/build`. Which address bit is the execute-only bit CPUID 0x4000_0101 says.
#![no_std]
#![no_main]
// An interrupt table, raw memory outside of the binary: a machine without an operating system.
#![allow(unsafe_code)]

// The start code.
use td_start as _;

mod fault;
mod memory;

use core::arch::x86_64::__cpuid;
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use fault::Refusal;
use guest_image::ports;

/// First leaf of the host's own CPUID interface; the next one has the execute-only bit in EAX.
const HOST: u32 = 0x4000_0100;
const HOST_NAME: &[u8; 12] = b"SeptumSeptum";
/// Where the code is put.
const CODE: u64 = 2 << 20;
/// What the code answers: it stands nowhere but in its instructions.
const SECRET: u64 = 0x5345_5054_554d_584f;

// The code: position independent, one word of a secret.
global_asm!(
    ".section .rodata",
    "xo_code:",
    "mov rax, {secret}",
    "ret",
    "xo_code_end:",
    ".text",
    secret = const SECRET,
);

unsafe extern "C" {
    static xo_code: u8;
    static xo_code_end: u8;
}

fn out(port: u16, byte: u8) {
    // SAFETY: the machine's ports have no effect on memory.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") byte, options(nostack, preserves_flags));
    }
}

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| out(ports::UART, byte));
        Ok(())
    }
}

macro_rules! say {
    ($($what:tt)*) => {{
        let _ = writeln!(Uart, "xo: {}", format_args!($($what)*));
    }};
}

/// Powers off; without the last line, which is the goal, the run has failed.
fn end() -> ! {
    out(ports::SLEEP_CONTROL, ports::POWER_OFF);
    loop {
        // SAFETY: stops the processor, if the machine still runs.
        unsafe { asm!("hlt", options(nomem, nostack, preserves_flags)) };
    }
}

fn check(holds: bool, what: &str) {
    if !holds {
        say!("error: {what}");
        end();
    }
}

/// Called by the start code, with the width of guest physical addresses in bits.
#[unsafe(no_mangle)]
extern "C" fn td_main(gpa_width: u64) -> ! {
    let name = __cpuid(HOST);
    let name = [name.ebx, name.ecx, name.edx].map(u32::to_le_bytes);
    check(name.as_flattened() == HOST_NAME, "another host");
    let bit = u64::from(__cpuid(HOST + 1).eax);
    check(bit > 0 && bit < gpa_width, "no execute-only bit");
    say!("{gpa_width}-bit guest physical addresses, bit {bit} is execute-only");

    // SAFETY: once.
    unsafe { fault::install() };
    // SAFETY: once, with that bit.
    let alias = unsafe { memory::execute_only_window(1 << bit) } + CODE;

    let (start, stop) = (&raw const xo_code, &raw const xo_code_end);
    // SAFETY: the code is there, between these; and the binary uses nothing of the memory that
    // it is copied to.
    unsafe {
        let length = stop as usize - start as usize;
        core::ptr::copy_nonoverlapping(start, CODE as *mut u8, length);
    }
    say!("code at {CODE:#x}, execute-only at {alias:#x}");

    // SAFETY: that is the code, which is a function without arguments.
    let run: extern "C" fn() -> u64 = unsafe { core::mem::transmute(alias as *const u8) };
    let answer = run();
    check(answer == SECRET, "the code gave another answer");
    say!("ran: it answers {answer:#x}");

    // SAFETY: mapped, and there is nothing but that code.
    let refusals = unsafe {
        [
            fault::try_read(alias).err(),
            fault::try_write(alias, 0).err(),
        ]
    };
    for (refusal, (what, error)) in refusals.into_iter().zip([("read", 1), ("write", 3)]) {
        let address = alias;
        check(
            refusal == Some(Refusal { address, error }),
            "execute-only memory was accessible",
        );
        say!("{what} refused: page fault at {address:#x}, error code {error}");
    }

    // SAFETY: as above; the ordinary alias of the same frame.
    let first = unsafe { fault::try_read(CODE) };
    check(first.is_ok(), "ordinary memory isn't readable");
    check(run() == SECRET, "the code changed");
    say!("still runs; the ordinary alias is readable");
    say!("all done");
    end()
}
