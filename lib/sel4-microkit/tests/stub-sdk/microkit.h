/*
 * A stand-in for the Microkit SDK's header: what lib/sel4-microkit uses of it, as
 * Microkit's manual has it. It compiles; nothing runs on it.
 */
#pragma once

#include <sel4/sel4.h>

typedef unsigned int microkit_channel;
typedef unsigned int microkit_child;
typedef unsigned int microkit_ioport;
typedef seL4_MessageInfo_t microkit_msginfo;

/* What a protection domain has: init is the entry in the Rust code. */
void init(void);
void notified(microkit_channel channel);

void microkit_notify(microkit_channel channel);
void microkit_irq_ack(microkit_channel channel);
microkit_msginfo microkit_ppcall(microkit_channel channel, microkit_msginfo message);

seL4_Word microkit_mr_get(seL4_Uint8 index);
void microkit_mr_set(seL4_Uint8 index, seL4_Word value);

void microkit_dbg_putc(int c);

seL4_Uint8 microkit_x86_ioport_read_8(microkit_ioport id, seL4_Word port);
seL4_Uint16 microkit_x86_ioport_read_16(microkit_ioport id, seL4_Word port);
seL4_Uint32 microkit_x86_ioport_read_32(microkit_ioport id, seL4_Word port);
void microkit_x86_ioport_write_8(microkit_ioport id, seL4_Word port, seL4_Word data);
void microkit_x86_ioport_write_16(microkit_ioport id, seL4_Word port, seL4_Word data);
void microkit_x86_ioport_write_32(microkit_ioport id, seL4_Word port, seL4_Word data);
