/*
 * A stand-in for libsel4 (MCS, x86-64): what lib/sel4-microkit uses of it, as the
 * seL4 manual has it. It compiles; nothing runs on it.
 */
#pragma once

#define CONFIG_ARCH_X86_64 1
#define CONFIG_KERNEL_MCS 1

typedef signed char seL4_Int8;
typedef unsigned char seL4_Uint8;
typedef unsigned short seL4_Uint16;
typedef unsigned int seL4_Uint32;
typedef unsigned long seL4_Uint64;
typedef unsigned long seL4_Word;
typedef seL4_Word seL4_CPtr;
typedef seL4_Int8 seL4_Bool;


/* A message's tag: label, capabilities, length. */
typedef struct seL4_MessageInfo {
    seL4_Uint64 words[1];
} seL4_MessageInfo_t;

seL4_MessageInfo_t seL4_Recv(seL4_CPtr source, seL4_Word *sender, seL4_CPtr reply);
seL4_MessageInfo_t seL4_ReplyRecv(seL4_CPtr source, seL4_MessageInfo_t answer, seL4_Word *sender,
                                  seL4_CPtr reply);
