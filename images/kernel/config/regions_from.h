/*
 * Memory from here on is for the regions of system.xml that have a phys_addr.
 * Read by the kernel, by what cuts the list of RAM before Microkit's
 * (images/sdk/front.c), and by images/iso.
 */
#define REGIONS_FROM 0x08000000ul
