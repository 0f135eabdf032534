//! Where a protection domain finds things: the capability slots are those of
//! libmicrokit, the rest is this house's own.

/// Address of the IPC buffer: the last page of user space.
pub const IPC_BUFFER: u64 = 0x7fff_ffff_f000;
/// First address past the stack. A page stays free between it and the IPC
/// buffer, and the pages under the stack are free too.
pub const STACK_TOP: u64 = 0x7fff_ffff_e000;

/// The endpoint that the PD waits on; its notification is bound to the thread.
pub const INPUT_SLOT: u64 = 1;
/// Where the PD's faults go.
pub const FAULT_SLOT: u64 = 5;
/// Slot of the notification of channel 0; the others follow.
pub const NOTIFICATION_BASE: u64 = 10;
/// Slot of the endpoint of channel 0; the others follow.
pub const ENDPOINT_BASE: u64 = 74;
/// Slot of the interrupt handler of channel 0; the others follow.
pub const IRQ_BASE: u64 = 138;
/// Slot of the I/O port capability 0; the others follow.
pub const IO_PORT_BASE: u64 = 394;
/// Slots of a PD's CSpace as a power of two.
pub const CNODE_BITS: u32 = 9;

/// Highest channel: seL4 5.0.0 badges have 28 bits, one for each channel and
/// the top one to tell calls from signals.
pub const MAX_CHANNEL: u32 = 26;
/// Badge bit of a protected procedure call; the caller's channel is in the
/// bits below, as a number.
pub const CALL_BADGE: u64 = 1 << 27;
/// Highest I/O port id, as in Microkit.
pub const MAX_IO_PORT: u32 = 62;
