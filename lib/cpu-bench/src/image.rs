//! The flat binary: 64 KiB that serve as a boot ROM for Bochs and QEMU. From the reset vector
//! it copies itself to [`BASE`], goes to 64-bit mode, and runs the three kernels; the software
//! CPU, which has no real mode, begins at [`entry`] with the same registers.
//!
//! Before and after each kernel a byte goes to port 0xe9, which both emulators take for a debug
//! console: 1, 2, 3, 4.
//!
//! ```text
//! 0x1_0000  this image: boot code, page tables for 1 GiB in 2 MiB pages, kernels
//! 0x6_0000  interrupt table        0x8_0000  top of the stack
//! 0x20_0000 page tables of 4 KiB pages for the memory kernel: 16 MiB to 48 MiB
//! ```
// The image is assembled into this program's own read-only data.
#![allow(unsafe_code)]

use core::arch::global_asm;

/// Bytes of the image.
pub const BYTES: usize = 0x1_0000;
/// Where it runs.
pub const BASE: u64 = 0x1_0000;
/// The page-map level-4 table.
pub const PAGE_MAP: u64 = BASE + 0x1000;
/// Code and data selectors of the image's GDT.
pub const CODE_SELECTOR: u16 = 8;
/// See [`CODE_SELECTOR`].
pub const DATA_SELECTOR: u16 = 16;
/// The debug console of Bochs and QEMU.
pub const MARKER_PORT: u16 = 0xe9;
/// Offset of the byte that isn't 0 where there is a TDCALL.
const HAS_TDCALL: usize = 0xf00;

global_asm!(
    ".pushsection .rodata.cpu_bench, \"a\"",
    ".balign 4096",
    ".globl cpu_bench_image",
    "cpu_bench_image:",
    // From the reset vector, in real mode: CS is at 0xffff0000.
    ".code16",
    "boot:",
    "cli",
    "cld",
    "mov ax, 0x1000",
    "mov es, ax",
    "xor si, si",
    "xor di, di",
    "mov cx, 0x8000",
    ".byte 0xf3, 0x2e, 0xa5", // rep movsw es:[di], cs:[si]
    ".byte 0xea",             // jmp 0x1000:copied
    ".short copied - cpu_bench_image, 0x1000",
    "copied:",
    ".byte 0x2e, 0x66, 0x0f, 0x01, 0x16", // lgdt cs:[gdt_pointer]
    ".short gdt_pointer - cpu_bench_image",
    // PAE, OSFXSR, OSXMMEXCPT
    "mov eax, 0x620",
    "mov cr4, eax",
    "mov eax, 0x11000",
    "mov cr3, eax",
    // EFER.LME
    "mov ecx, 0xc0000080",
    "rdmsr",
    "or eax, 0x100",
    "wrmsr",
    // PE, ET, NE, WP, PG
    "mov eax, 0x80010031",
    "mov cr0, eax",
    ".byte 0x66, 0xea", // jmp 8:start
    ".long start - cpu_bench_image + 0x10000",
    ".short 8",
    ".balign 8",
    "gdt:",
    ".quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "gdt_pointer:",
    ".short gdt_pointer - gdt - 1",
    ".long gdt - cpu_bench_image + 0x10000",
    ".org cpu_bench_image + 0xf00",
    "has_tdcall: .byte 0",
    // Present, writable, accessed, dirty: as ROM nobody could set the latter two.
    ".org cpu_bench_image + 0x1000",
    ".quad 0x12063",
    ".org cpu_bench_image + 0x2000",
    ".quad 0x13063",
    ".org cpu_bench_image + 0x3000",
    ".set page, 0",
    ".rept 512",
    ".quad (page << 21) + 0xe3",
    ".set page, page + 1",
    ".endr",
    ".code64",
    ".globl cpu_bench_start",
    "cpu_bench_start:",
    "start:",
    "mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov esp, 0x80000",
    "mov edi, 0x60000",
    "xor eax, eax",
    "mov ecx, 512",
    "rep stosq",
    // Interrupt gates: 3, 6, 14.
    "lea rax, [rip + breakpoint]",
    "mov edi, 0x60000 + 3 * 16",
    "call gate",
    "lea rax, [rip + invalid_opcode]",
    "mov edi, 0x60000 + 6 * 16",
    "call gate",
    "lea rax, [rip + page_fault]",
    "mov edi, 0x60000 + 14 * 16",
    "call gate",
    "lidt [rip + idt_pointer]",
    "mov al, 1",
    "out 0xe9, al",
    "call integer",
    "mov al, 2",
    "out 0xe9, al",
    "call small_pages",
    "call memory",
    "mov al, 3",
    "out 0xe9, al",
    "call exceptions",
    "mov al, 4",
    "out 0xe9, al",
    "1: hlt",
    "jmp 1b",
    "idt_pointer:",
    ".short 0xfff",
    ".quad 0x60000",
    // The gate at rdi gets the handler at rax.
    "gate:",
    "mov word ptr [rdi], ax",
    "mov word ptr [rdi + 2], 8",
    "mov word ptr [rdi + 4], 0x8e00",
    "shr eax, 16",
    "mov word ptr [rdi + 6], ax",
    "ret",
    "breakpoint:",
    "inc r8",
    "iretq",
    "invalid_opcode:",
    "add qword ptr [rsp], 2",
    "iretq",
    "page_fault:",
    "add rsp, 8",
    "add qword ptr [rsp], 3",
    "iretq",
    // A xorshift generator, a product and a branch that depends on it.
    "integer:",
    "mov ecx, 4000000",
    "mov rax, 0x123456789abcdef",
    "xor ebx, ebx",
    "2:",
    "mov rdx, rax",
    "shl rdx, 13",
    "xor rax, rdx",
    "mov rdx, rax",
    "shr rdx, 7",
    "xor rax, rdx",
    "mov rdx, rax",
    "shl rdx, 17",
    "xor rax, rdx",
    "imul rdx, rax",
    "add rbx, rdx",
    "test al, 1",
    "jz 3f",
    "inc r8",
    "3:",
    "dec ecx",
    "jnz 2b",
    "ret",
    // 4 KiB pages from 16 MiB to 48 MiB.
    "small_pages:",
    "mov edi, 0x200000",
    "mov eax, 0x1000063",
    "mov ecx, 8192",
    "4:",
    "mov [rdi], rax",
    "add rdi, 8",
    "add rax, 4096",
    "dec ecx",
    "jnz 4b",
    "mov edi, 0x13000 + 8 * 8",
    "mov eax, 0x200063",
    "mov ecx, 16",
    "5:",
    "mov [rdi], rax",
    "add rdi, 8",
    "add rax, 4096",
    "dec ecx",
    "jnz 5b",
    "mov rax, cr3",
    "mov cr3, rax",
    "ret",
    // 256 KiB by a string instruction, 64 KiB by a loop, then 8192 pages after the TLB was flushed.
    "memory:",
    "mov r9d, 300",
    "6:",
    "mov esi, 0x1000000",
    // Other low bits than the source's, or direct-mapped TLBs would show nothing but conflicts.
    "mov edi, 0x2085000",
    "mov ecx, 32768",
    "rep movsq",
    "mov ecx, 8192",
    "7:",
    "mov rax, [rsi + 8 * rcx]",
    "mov [rdi + 8 * rcx], rax",
    "dec ecx",
    "jnz 7b",
    "mov rax, cr3",
    "mov cr3, rax",
    "mov esi, 0x1000000",
    "mov ecx, 8192",
    "8:",
    "add rdx, [rsi]",
    "add rsi, 4096",
    "dec ecx",
    "jnz 8b",
    "dec r9d",
    "jnz 6b",
    "ret",
    // #BP, #UD, #PF and an exit.
    "exceptions:",
    "mov r10d, 400000",
    "mov r9d, 0x40000000",
    "9:",
    "int3",
    "ud2",
    ".byte 0x41, 0x8a, 0x01", // mov al, [r9]: nothing is mapped there
    "xor eax, eax",
    "xor ecx, ecx",
    "cmp byte ptr [rip + has_tdcall], 0",
    "jne 10f",
    "cpuid",
    "jmp 11f",
    "10:",
    ".byte 0x66, 0x0f, 0x01, 0xcc", // tdcall
    "11:",
    "dec r10d",
    "jnz 9b",
    "ret",
    // The reset vector.
    ".org cpu_bench_image + 0xfff0",
    ".byte 0xe9", // jmp boot
    ".short boot - cpu_bench_image + 0x10000 - 0xfff3",
    ".org cpu_bench_image + 0x10000",
    ".popsection",
);

unsafe extern "C" {
    static cpu_bench_image: [u8; BYTES];
    static cpu_bench_start: u8;
}

/// The image; with TDCALL, it makes TDCALLs where it makes CPUIDs else.
pub fn image(tdcall: bool) -> Vec<u8> {
    // SAFETY: constant bytes, as many as the last .org says.
    let mut image = unsafe { (&raw const cpu_bench_image).read() }.to_vec();
    image[HAS_TDCALL] = tdcall.into();
    image
}

/// Where 64-bit code begins.
pub fn entry() -> u64 {
    // Only addresses are taken.
    let (start, image) = (&raw const cpu_bench_start, &raw const cpu_bench_image);
    BASE + (start as u64 - image as u64)
}
