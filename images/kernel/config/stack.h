/*
 * seL4 5.0.0 finds the top of its stack by rounding the stack pointer up to the
 * stack's size when it leaves the kernel with an interrupt pending, but does
 * not align the stack: the stack then runs over its neighbours, the interrupt
 * table among them. This declaration, read before all of the kernel's C code,
 * aligns it.
 */
#define SEPTUM_STACK_BYTES (1ul << 12) /* CONFIG_KERNEL_STACK_BITS */
extern char kernel_stack_alloc[1][SEPTUM_STACK_BYTES] __attribute__((aligned(SEPTUM_STACK_BYTES)));
