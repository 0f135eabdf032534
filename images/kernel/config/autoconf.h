/*
 * The configuration of the seL4 kernel that carries Septum under QEMU.
 * It shadows the kernel's own include/plat/pc99/autoconf.h: `build` puts this
 * folder first on the include path.
 */
#ifndef SEPTUM_KERNEL_AUTOCONF_H
#define SEPTUM_KERNEL_AUTOCONF_H

/* Machine: 64-bit PC with 1 GiB pages, one core, no VT-x, no IOMMU, no PCID. */
#define CONFIG_ARCH_X86 1
#define CONFIG_ARCH_X86_64 1
#define CONFIG_ARCH_X86_GENERIC 1
#define CONFIG_PLAT_PC99 1
#define CONFIG_WORD_SIZE 64
#define CONFIG_CACHE_LN_SZ 64
#define CONFIG_HUGE_PAGE 1
#define CONFIG_MAX_NUM_NODES 1
#define CONFIG_HAVE_FPU 1
#define CONFIG_FXSAVE 1
#define CONFIG_XSAVE_SIZE 512
#define CONFIG_FPU_MAX_RESTORES_SINCE_SWITCH 64
#define CONFIG_SYSCALL 1
#define CONFIG_FSGSBASE_INST 1

/* Interrupts: IOAPIC pins to the PDs that own them, xAPIC timer for slices. */
#define CONFIG_IRQ_IOAPIC 1
#define CONFIG_MAX_NUM_IOAPIC 1
#define CONFIG_XAPIC 1
#define CONFIG_TIMER_TICK_MS 2
#define CONFIG_TIME_SLICE 1

/*
 * Kernel: 256 priorities, one domain; 16384 slots for the initial task: one for
 * each 4 KiB page of its image, guest image included, and some 2000 more.
 */
#define CONFIG_FASTPATH 1
#define CONFIG_NUM_PRIORITIES 256
#define CONFIG_NUM_DOMAINS 1
#define CONFIG_DOMAIN_SCHEDULE ""
#define CONFIG_ROOT_CNODE_SIZE_BITS 14
#define CONFIG_MAX_NUM_BOOTINFO_UNTYPED_CAPS 230
#define CONFIG_RETYPE_FAN_OUT_LIMIT 256
#define CONFIG_MAX_RMRR_ENTRIES 32
#define CONFIG_KERNEL_STACK_BITS 12

/*
 * An untyped is cleared in chunks of 2^n bytes; after each the kernel looks for
 * interrupts (by default: 256 bytes, and a look after each 100 chunks). 64 KiB
 * take some 0.1 ms under TCG.
 */
#define CONFIG_RESET_CHUNK_BITS 16
#define CONFIG_MAX_NUM_WORK_UNITS_PER_PREEMPTION 1

/* Messages of the kernel and seL4_DebugPutChar go to COM1. */
#define CONFIG_PRINTING 1

#endif
