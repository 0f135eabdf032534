/*
 * The kernel reserves room for as many IOMMUs as its device window has pages
 * for, 6 MiB in all, which whoever boots it copies. We configure none.
 */
#include_next <plat/machine/devices.h>
#undef MAX_NUM_DRHU
#define MAX_NUM_DRHU 1
