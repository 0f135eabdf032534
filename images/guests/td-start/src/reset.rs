//! Reset vector, page tables, segments, and where the other vCPUs wait.

use core::arch::global_asm;
use guest_image::{layout, ports};

global_asm!(
    // The last page below 4 GiB: 32-bit code, reached from its own last 16 bytes.
    ".section .reset_vector, \"ax\"",
    ".code32",
    "jmp td_start32",
    ".balign 16, 0xf4",

    ".section .reset_code, \"ax\"",
    ".globl td_start32",
    "td_start32:",
    "cli",
    "cld",
    "lgdt [td_gdt_pointer]",
    "mov eax, offset td_pml4",
    "mov cr3, eax",
    // PAE, OSFXSR, OSXMMEXCPT; MCE, which a TD can't clear, stays. EFER.LME is set already.
    "mov eax, cr4",
    "or eax, {cr4}",
    "mov cr4, eax",
    // PG, WP, MP, PE on; TS, EM off; NE, which a TD can't clear, stays.
    "mov eax, cr0",
    "and eax, {cr0_off}",
    "or eax, {cr0_on}",
    "mov cr0, eax",
    // ljmp 0x10:td_start64
    ".byte 0xea",
    ".long td_start64",
    ".word 0x10",

    ".code64",
    "td_start64:",
    "mov eax, 0x18",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    // ESI: the vCPU's index, EBX: the width of guest physical addresses.
    "mov esi, esi",
    "test esi, esi",
    "jnz td_wait",
    "mov edi, ebx",
    "lea rsp, [rip + td_stack_top]",
    "call td_main",
    "ud2",

    // The other vCPUs need no stack. A vCPU's APIC ID is its index, as the MADT says, too.
    "td_wait:",
    "mov edi, {mailbox}",
    "2:",
    "mov edx, 64",
    "3:",
    "pause",
    // Command 1: wake up. The APIC ID and the vector were written before the command.
    "cmp word ptr [rdi], 1",
    "jne 4f",
    "cmp dword ptr [rdi + 4], esi",
    "jne 4f",
    "mov rax, [rdi + 8]",
    // Command 0: taken.
    "mov word ptr [rdi], 0",
    "jmp rax",
    "4:",
    "dec edx",
    "jnz 3b",
    // Leave the TD now and then (TDG.VP.VMCALL, Instruction.IO, one byte out): on a host
    // with fewer processors than vCPUs the one that is to wake us must get to run.
    "xor eax, eax",
    "mov ecx, 0xfc00",
    "xor r10d, r10d",
    "mov r11d, {io}",
    "mov r12d, 1",
    "mov r13d, 1",
    "mov r14d, {yield_port}",
    "xor r15d, r15d",
    "tdcall",
    "jmp 2b",

    // Flat segments where Linux's boot protocol wants them: code 0x10, data 0x18.
    ".balign 8",
    "td_gdt:",
    ".quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff",
    "td_gdt_pointer:",
    ".word 31",
    ".long td_gdt",

    // 4 GiB identity mapped in 2 MiB pages: present, writable, accessed, dirty.
    ".section .page_tables, \"aw\"",
    ".globl td_pdpt",
    "td_pml4:",
    ".quad td_pdpt + 0x63",
    ".zero 8 * 511",
    "td_pdpt:",
    ".quad td_pd + 0x63, td_pd + 0x1063, td_pd + 0x2063, td_pd + 0x3063",
    ".zero 8 * 508",
    "td_pd:",
    ".set td_page, 0",
    ".rept 4 * 512",
    ".quad (td_page << 21) + 0xe3",
    ".set td_page, td_page + 1",
    ".endr",
    ".text",
    cr4 = const 1 << 5 | 1 << 9 | 1 << 10,
    cr0_off = const !(1u32 << 2 | 1 << 3) as i32,
    cr0_on = const (1u32 << 31 | 1 << 16 | 1 << 1 | 1) as i32,
    mailbox = const layout::MAILBOX.get() as u32 as i32,
    io = const tdx_abi::tdvmcall::Subfunction::Io as u32,
    yield_port = const ports::YIELD,
);
