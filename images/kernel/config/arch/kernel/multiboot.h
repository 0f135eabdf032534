/*
 * What a boot loader says of the screen is left alone: the kernel takes the
 * 32-bit addresses there for 64-bit pointers and stops. QEMU says nothing of a
 * screen, GRUB does.
 */
#include_next <arch/kernel/multiboot.h>
#undef MULTIBOOT_INFO_GRAPHICS_FLAG
#define MULTIBOOT_INFO_GRAPHICS_FLAG 0
