//! The initial task: the kernel starts it with all rights; it makes the
//! protection domains out of the system image behind it, starts them, and from
//! then on reports their faults.
#![no_std]
#![no_main]

mod builder;
mod console;
mod kernel_memory;
mod service;

use core::panic::PanicInfo;

use sel4::{BootInfo, initial_slot};
use system_image::SystemImage;

const STACK_BYTES: usize = 64 << 10;

#[repr(C, align(4096))]
struct Stack(core::cell::UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the one thread's stack pointer refers to it.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(core::cell::UnsafeCell::new([0; STACK_BYTES]));

/// Address and bytes of the system image: the image builder writes them.
#[used]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static SYSTEM_IMAGE: [u64; 2] = [0; 2];

core::arch::global_asm!(
    ".pushsection .text._start, \"ax\", @progbits",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "lea rsp, [{stack} + {size}]",
    "call {main}",
    "ud2",
    ".popsection",
    stack = sym STACK,
    size = const STACK_BYTES,
    main = sym main,
);

extern "C" fn main(boot_info: *const u8) -> ! {
    // SAFETY: the kernel hands the address of the boot information over in rdi.
    let boot_info = unsafe { BootInfo::new(boot_info) };
    // SAFETY: the kernel mapped the buffer there; only this reference to it is
    // ever made.
    let buffer = unsafe { &mut *boot_info.ipc_buffer() };
    // The compiler must not assume the value that it sees in the source.
    // SAFETY: a plain static that nobody writes while the program runs.
    let [address, length] = unsafe { (&raw const SYSTEM_IMAGE).read_volatile() };
    // SAFETY: the image builder placed these bytes behind this program, in a
    // segment that the kernel loaded; nobody writes them.
    let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, length as usize) };
    let image = match SystemImage::parse(bytes) {
        Ok(image) => image,
        Err(error) => panic!("no system image at {address:#x}: {error:?}"),
    };
    let memory = kernel_memory::KernelMemory::new(&boot_info, &image);
    let mut system = builder::System::build(&boot_info, &image, memory, buffer);
    system.start(buffer);
    service::serve(&system, buffer)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("init: {info}");
    println!("init: the system does not start");
    // SAFETY: the buffer's address isn't known here; suspending oneself needs
    // no message registers beyond those that a buffer of our own holds.
    let mut buffer: sel4::IpcBuffer = unsafe { core::mem::zeroed() };
    let _ = sel4::Tcb(initial_slot::TCB).suspend(&mut buffer);
    loop {
        sel4::syscall::yield_now();
    }
}
