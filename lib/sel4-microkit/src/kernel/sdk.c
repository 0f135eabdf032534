/*
 * The Microkit SDK's inline functions as functions that sdk.rs can call:
 * microkit.h for what it documents, libsel4's receiving calls for the loop,
 * which is this crate's own, so that a handler sees all channels at once.
 */
#include <microkit.h>

_Static_assert(sizeof(microkit_msginfo) == sizeof(seL4_Word),
               "a message's tag is passed as one word");
_Static_assert(sizeof(seL4_Word) == 8, "64-bit only");

/* Where the microkit tool puts a protection domain's endpoint and reply object. */
enum { INPUT_SLOT = 1, REPLY_SLOT = 4 };

static seL4_Word word(microkit_msginfo info)
{
    return ((union { microkit_msginfo info; seL4_Word word; }) { .info = info }).word;
}

static microkit_msginfo info(seL4_Word word)
{
    return ((union { seL4_Word word; microkit_msginfo info; }) { .word = word }).info;
}

seL4_Word septum_sdk_wait(seL4_Word *badge)
{
    return word(seL4_Recv(INPUT_SLOT, badge, REPLY_SLOT));
}

seL4_Word septum_sdk_answer_and_wait(seL4_Word answer, seL4_Word *badge)
{
    return word(seL4_ReplyRecv(INPUT_SLOT, info(answer), badge, REPLY_SLOT));
}

seL4_Word septum_sdk_call(microkit_channel channel, seL4_Word message)
{
    return word(microkit_ppcall(channel, info(message)));
}

void septum_sdk_notify(microkit_channel channel)
{
    microkit_notify(channel);
}

void septum_sdk_irq_ack(microkit_channel channel)
{
    microkit_irq_ack(channel);
}

seL4_Word septum_sdk_register(seL4_Uint8 index)
{
    return microkit_mr_get(index);
}

void septum_sdk_set_register(seL4_Uint8 index, seL4_Word value)
{
    microkit_mr_set(index, value);
}

seL4_Uint32 septum_sdk_io_port_read(microkit_ioport id, seL4_Word port, seL4_Uint32 bytes)
{
    switch (bytes) {
    case 1:
        return microkit_x86_ioport_read_8(id, port);
    case 2:
        return microkit_x86_ioport_read_16(id, port);
    default:
        return microkit_x86_ioport_read_32(id, port);
    }
}

void septum_sdk_io_port_write(microkit_ioport id, seL4_Word port, seL4_Uint32 bytes, seL4_Word value)
{
    switch (bytes) {
    case 1:
        microkit_x86_ioport_write_8(id, port, value);
        break;
    case 2:
        microkit_x86_ioport_write_16(id, port, value);
        break;
    default:
        microkit_x86_ioport_write_32(id, port, value);
    }
}

/*
 * libmicrokit's own loop calls it for each channel. Here init() never returns
 * to that loop: it would have to be a mistake.
 */
void notified(microkit_channel channel)
{
    (void)channel;
    __builtin_trap();
}
