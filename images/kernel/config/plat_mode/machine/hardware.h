/*
 * Memory from PADDR_TOP on is no kernel memory. The initial task gets it as
 * device memory, which the kernel neither uses nor clears; RAM it would clear
 * wholly at its first use, half a GiB of it, before a protection domain could
 * run. All regions of system.xml that have a phys_addr lie there.
 *
 * The kernel still maps it: it maps memory by the GiB (CONFIG_HUGE_PAGE).
 */
#include_next <plat_mode/machine/hardware.h>
#include <regions_from.h>
#undef PADDR_TOP
#define PADDR_TOP REGIONS_FROM
