/*
 * Starts Microkit's kernel with a shorter list of RAM: QEMU's -kernel loads this,
 * the kernel and the image are its modules.
 *
 * Memory from REGIONS_FROM on belongs to the regions of system.xml that have a phys_addr.
 * RAM a kernel clears before its first use, which takes seconds under TCG for half a
 * GiB; what it doesn't see as RAM it hands out as it is. From an ISO, GRUB's cutmem
 * does the same (see images/iso).
 */
#include <regions_from.h>

typedef unsigned int u32;
typedef unsigned long long u64;

/* Multiboot 1 (gnu.org/software/grub/manual/multiboot), as far as it is used here. */
#define AREA_RAM 1

struct information {
    u32 flags, memory_lower, memory_upper, boot_device, command_line, modules, first_module;
    u32 symbols[4];
    u32 areas_bytes, first_area;
};

struct module {
    u32 start, end, name, reserved;
};

struct area {
    u32 size; /* of what follows */
    u64 base, length;
    u32 type;
} __attribute__((packed));

/* ELF, 32 bits. */
struct elf {
    unsigned char ident[16];
    unsigned short type, machine;
    u32 version, entry, segments_at, sections_at, flags;
    unsigned short header_size, segment_size, segments;
};

struct segment {
    u32 type, offset, vaddr, paddr, file_bytes, memory_bytes, flags, align;
};
#define SEGMENT_LOAD 1

/* The header's flags: modules on page boundaries, list of memory. */
__asm__(".section .head, \"a\"\n"
        ".align 4\n"
        ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
        ".text\n"
        ".globl _start\n"
        "_start:\n"
        "mov $stack_top, %esp\n"
        "cld\n"
        "push %ebx\n"
        "call front\n"
        "pop %ebx\n"
        "mov %eax, %ecx\n"
        "mov $0x2badb002, %eax\n"
        "jmp *%ecx\n"
        ".bss\n"
        ".skip 4096\n"
        "stack_top:\n"
        ".text\n");

static void copy(u32 to, u32 from, u32 bytes)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static void clear(u32 to, u32 bytes)
{
    u32 words = bytes / 4;
    __asm__ volatile("rep stosl" : "+D"(to), "+c"(words) : "a"(0) : "memory");
}

/* Loads the first module, the kernel, and takes it off the list. Its first instruction. */
u32 front(struct information *information)
{
    struct module *kernel = (struct module *)information->first_module;
    struct elf *elf = (struct elf *)kernel->start;
    struct segment *segments = (struct segment *)(kernel->start + elf->segments_at);
    for (u32 i = 0; i < elf->segments; i++) {
        struct segment *segment = &segments[i];
        if (segment->type == SEGMENT_LOAD) {
            u32 rest = segment->memory_bytes - segment->file_bytes;
            copy(segment->paddr, kernel->start + segment->offset, segment->file_bytes);
            clear(segment->paddr + segment->file_bytes, rest + 3);
        }
    }
    information->modules--;
    information->first_module += sizeof(struct module);

    u32 end = information->first_area + information->areas_bytes;
    for (u32 at = information->first_area; at < end;) {
        struct area *area = (struct area *)at;
        if (area->type == AREA_RAM && area->base + area->length > REGIONS_FROM) {
            area->length = area->base < REGIONS_FROM ? REGIONS_FROM - area->base : 0;
        }
        at += area->size + sizeof area->size;
    }
    return elf->entry;
}
