//! Page faults: accesses that may be refused, and the interrupt table that says whether.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

/// The page fault's vector.
const PAGE_FAULT: usize = 14;

static COUNT: AtomicU64 = AtomicU64::new(0);
static ERROR: AtomicU64 = AtomicU64::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
static RESUME: AtomicU64 = AtomicU64::new(0);

// Notes what happened and goes on behind the access that was tried.
global_asm!(
    ".text",
    "xo_page_fault:",
    "push rax",
    "mov rax, cr2",
    "mov [rip + {address}], rax",
    "mov rax, [rsp + 8]",
    "mov [rip + {error}], rax",
    "mov rax, [rip + {resume}]",
    "mov [rsp + 16], rax",
    "inc qword ptr [rip + {count}]",
    "pop rax",
    "add rsp, 8",
    "iretq",
    address = sym ADDRESS,
    error = sym ERROR,
    resume = sym RESUME,
    count = sym COUNT,
);

unsafe extern "C" {
    static xo_page_fault: u8;
}

static mut TABLE: [[u64; 2]; PAGE_FAULT + 1] = [[0; 2]; PAGE_FAULT + 1];

/// What LIDT reads.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Installs the interrupt table. All other exceptions end the VM.
///
/// # Safety
/// Once.
pub unsafe fn install() {
    // SAFETY: nobody else uses the table, which stays where it is.
    unsafe {
        let table = &raw mut TABLE;
        let address = &raw const xo_page_fault as u64;
        // Interrupt gate, present, ring 0, the start code's code segment.
        (*table)[PAGE_FAULT] = [
            address & 0xffff | 0x10 << 16 | 0x8e00 << 32 | (address >> 16 & 0xffff) << 48,
            address >> 32,
        ];
        let pointer = Pointer {
            limit: (size_of::<[[u64; 2]; PAGE_FAULT + 1]>() - 1) as u16,
            base: table as u64,
        };
        asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags));
    }
}

/// A page fault that an access met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The address (CR2).
    pub address: u64,
    /// The error code: bit 0 = the page is there, bit 1 = it was a write.
    pub error: u64,
}

fn refusal(before: u64) -> Option<Refusal> {
    (COUNT.load(Ordering::SeqCst) != before).then(|| Refusal {
        address: ADDRESS.load(Ordering::SeqCst),
        error: ERROR.load(Ordering::SeqCst),
    })
}

/// Reads a word, if that is let.
///
/// # Safety
/// The address must be mapped by the page tables; [`install`] was called.
pub unsafe fn try_read(address: u64) -> Result<u64, Refusal> {
    let before = COUNT.load(Ordering::SeqCst);
    let mut value = 0u64;
    // SAFETY: reading changes nothing. A fault uses the stack, which this block may.
    unsafe {
        asm!(
            "lea {next}, [rip + 2f]",
            "mov [rip + {resume}], {next}",
            "mov {value}, [{address}]",
            "2:",
            next = out(reg) _,
            value = inout(reg) value,
            address = in(reg) address,
            resume = sym RESUME,
        );
    }
    refusal(before).map_or(Ok(value), Err)
}

/// Writes a word, if that is let.
///
/// # Safety
/// As for [`try_read`], and nothing that Rust knows of may be there.
pub unsafe fn try_write(address: u64, value: u64) -> Result<(), Refusal> {
    let before = COUNT.load(Ordering::SeqCst);
    // SAFETY: the caller's promise. A fault uses the stack, which this block may.
    unsafe {
        asm!(
            "lea {next}, [rip + 2f]",
            "mov [rip + {resume}], {next}",
            "mov [{address}], {value}",
            "2:",
            next = out(reg) _,
            value = in(reg) value,
            address = in(reg) address,
            resume = sym RESUME,
        );
    }
    refusal(before).map_or(Ok(()), Err)
}
