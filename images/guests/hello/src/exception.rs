//! The interrupt table and the handler of virtualisation exceptions (#VE).

use crate::{accept, fail, say};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use tdx_abi::exit::reason;

/// What the entry code saved, ascending addresses.
#[repr(C)]
struct Frame {
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    rbp: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    vector: u64,
    error: u64,
    rip: u64,
}

// One entry per exception, 16 bytes each: push an error code where the processor didn't, the
// vector, and go on to what they have in common. It keeps all registers, x87 and SSE included.
global_asm!(
    ".text",
    ".balign 16",
    ".globl hello_exceptions",
    "hello_exceptions:",
    ".set vector, 0",
    ".rept 32",
    ".balign 16",
    // Vectors with an error code: 8, 10..14, 17, 21, 29, 30.
    ".if ((0x60227d00 >> vector) & 1) == 0",
    "push 0",
    ".endif",
    "push vector",
    "jmp hello_exception",
    ".set vector, vector + 1",
    ".endr",
    "hello_exception:",
    "push r15",
    "push r14",
    "push r13",
    "push r12",
    "push r11",
    "push r10",
    "push r9",
    "push r8",
    "push rbp",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rbx",
    "push rax",
    "mov rdi, rsp",
    "mov rbx, rsp",
    "sub rsp, 512",
    "and rsp, -16",
    "fxsave64 [rsp]",
    "cld",
    "call {handler}",
    "fxrstor64 [rsp]",
    "mov rsp, rbx",
    "pop rax",
    "pop rbx",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "pop rbp",
    "pop r8",
    "pop r9",
    "pop r10",
    "pop r11",
    "pop r12",
    "pop r13",
    "pop r14",
    "pop r15",
    "add rsp, 16",
    "iretq",
    handler = sym handle,
);

unsafe extern "C" {
    static hello_exceptions: [[u8; 16]; 32];
}

/// Virtualisation exception.
const VE: u64 = 20;

/// Invalid opcode.
const UD: u64 = 6;

static COUNT: AtomicU64 = AtomicU64::new(0);
/// Where #UD is expected, and where to go on then; 0: nowhere.
static EXPECTED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Executes an AVX instruction (`VADDPS ymm0, ymm0, ymm0`), which XFAM doesn't let a TD of ours
/// have; whether it gave #UD.
pub fn avx_is_invalid() -> bool {
    let before = count();
    // SAFETY: the instruction isn't executed: its #UD goes on behind it. If it were, it would
    // change a register that is declared.
    unsafe {
        asm!(
            "lea {address}, [rip + 2f]",
            "mov [{expected}], {address}",
            "lea {address}, [rip + 3f]",
            "mov [{expected} + 8], {address}",
            "2: vaddps ymm0, ymm0, ymm0",
            "3:",
            address = out(reg) _,
            expected = in(reg) &raw const EXPECTED,
            out("xmm0") _,
        );
    }
    EXPECTED[0].store(0, Ordering::SeqCst);
    count() == before + 1
}

/// How many exceptions there have been.
pub fn count() -> u64 {
    COUNT.load(Ordering::SeqCst)
}

#[repr(C, align(16))]
struct Stack([u8; 16 << 10]);

/// Exceptions have a stack of their own: below the interrupted code's stack pointer there may
/// be data of its own, the red zone.
static mut STACK: Stack = Stack([0; 16 << 10]);
/// The task state segment: of all it holds, only the first interrupt stack is used.
static mut TASK: [u32; 26] = [0; 26];
/// The start code's segments, and the task state segment at 0x20.
static mut SEGMENTS: [u64; 6] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0];
static mut TABLE: [[u64; 2]; 32] = [[0; 2]; 32];

/// What LGDT and LIDT read.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Installs the interrupt table.
///
/// # Safety
/// Once, on the only vCPU that runs Rust.
pub unsafe fn install() {
    let limit = |bytes: usize| (bytes - 1) as u16;
    // SAFETY: nobody else uses these tables, which stay where they are.
    unsafe {
        let stack_top = &raw const STACK as u64 + size_of::<Stack>() as u64;
        let task = &raw mut TASK;
        // IST1 stands at offset 36.
        (*task)[9] = stack_top as u32;
        (*task)[10] = (stack_top >> 32) as u32;
        let base = task as u64;
        let segments = &raw mut SEGMENTS;
        // Available 64-bit TSS, present.
        (*segments)[4] = u64::from(limit(size_of::<[u32; 26]>()))
            | (base & 0xff_ffff) << 16
            | 0x89 << 40
            | (base >> 24 & 0xff) << 56;
        (*segments)[5] = base >> 32;

        let table = &raw mut TABLE;
        let entries = &raw const hello_exceptions;
        for vector in 0..32 {
            let address = (&raw const (*entries)[vector]) as u64;
            // Interrupt gate, present, ring 0, code segment 0x10, IST1.
            (*table)[vector] = [
                address & 0xffff | 0x10 << 16 | 0x8e01 << 32 | (address >> 16 & 0xffff) << 48,
                address >> 32,
            ];
        }
        let gdt = Pointer {
            limit: limit(size_of::<[u64; 6]>()),
            base: segments as u64,
        };
        let idt = Pointer {
            limit: limit(size_of::<[[u64; 2]; 32]>()),
            base: table as u64,
        };
        asm!(
            "lgdt [{gdt}]",
            "ltr {task:x}",
            "lidt [{idt}]",
            gdt = in(reg) &raw const gdt,
            idt = in(reg) &raw const idt,
            task = in(reg) 0x20,
            options(nostack, preserves_flags),
        );
    }
}

extern "C" fn handle(frame: &mut Frame) {
    COUNT.fetch_add(1, Ordering::SeqCst);
    if frame.vector == UD && frame.rip == EXPECTED[0].load(Ordering::SeqCst) {
        frame.rip = EXPECTED[1].load(Ordering::SeqCst);
        return;
    }
    if frame.vector != VE {
        say!(
            "exception {} at {:#x}, error code {:#x}",
            frame.vector,
            frame.rip,
            frame.error
        );
        fail("unexpected exception");
    }
    let info = match tdcall::ve_info() {
        Ok(info) => info,
        Err(status) => {
            say!("TDG.VP.VEINFO.GET: {status:?}");
            fail("no #VE information");
        }
    };
    match info.reason {
        reason::EPT_VIOLATION => {
            say!("#VE: EPT violation at {:#x}", info.gpa);
            accept(info.gpa - info.gpa % 4096);
        }
        reason::CPUID_INSTRUCTION => {
            let (leaf, subleaf) = (frame.rax as u32, frame.rcx as u32);
            say!("#VE: CPUID {leaf:#x}");
            match tdcall::cpuid(leaf, subleaf) {
                Ok([eax, ebx, ecx, edx]) => {
                    frame.rax = eax.into();
                    frame.rbx = ebx.into();
                    frame.rcx = ecx.into();
                    frame.rdx = edx.into();
                }
                Err(code) => {
                    say!("the host answered {code:#x}");
                    fail("the host refused CPUID");
                }
            }
            frame.rip += u64::from(info.instruction_length);
        }
        other => {
            say!("#VE: exit reason {other} at {:#x}", frame.rip);
            fail("unexpected #VE");
        }
    }
}
