/*
 * A stand-in for libmicrokit: its variables, its entry, and functions that do
 * nothing, so that programs link. They never run.
 */
#include <microkit.h>

char microkit_name[64];
seL4_Bool microkit_passive;
seL4_Word microkit_irqs;
seL4_Word microkit_notifications;
seL4_Word microkit_pps;
seL4_Word microkit_ioports;

void _start(void)
{
    init();
    for (microkit_channel channel = 0;; channel++) {
        notified(channel);
    }
}

seL4_MessageInfo_t seL4_Recv(seL4_CPtr source, seL4_Word *sender, seL4_CPtr reply)
{
    *sender = source + reply;
    return (seL4_MessageInfo_t) { { 0 } };
}

seL4_MessageInfo_t seL4_ReplyRecv(seL4_CPtr source, seL4_MessageInfo_t answer, seL4_Word *sender,
                                  seL4_CPtr reply)
{
    *sender = source + reply;
    return answer;
}

void microkit_notify(microkit_channel channel) { (void)channel; }
void microkit_irq_ack(microkit_channel channel) { (void)channel; }

microkit_msginfo microkit_ppcall(microkit_channel channel, microkit_msginfo message)
{
    (void)channel;
    return message;
}

seL4_Word microkit_mr_get(seL4_Uint8 index) { return index; }
void microkit_mr_set(seL4_Uint8 index, seL4_Word value) { (void)index; (void)value; }
void microkit_dbg_putc(int c) { (void)c; }

#define IO_PORT(bits) \
    seL4_Uint##bits microkit_x86_ioport_read_##bits(microkit_ioport id, seL4_Word port) \
    { \
        return id + port; \
    } \
    void microkit_x86_ioport_write_##bits(microkit_ioport id, seL4_Word port, seL4_Word data) \
    { \
        (void)id; \
        (void)port; \
        (void)data; \
    }
IO_PORT(8)
IO_PORT(16)
IO_PORT(32)
