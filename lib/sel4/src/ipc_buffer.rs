//! The IPC buffer: message registers past the fourth, and capability arguments.

/// Message registers a message can have.
pub const MAX_REGISTERS: usize = 120;

/// A thread's IPC buffer as the kernel lays it out.
#[repr(C, align(1024))]
pub struct IpcBuffer {
    tag: u64,
    /// Message registers; the first four travel in CPU registers, and
    /// [`crate::syscall`] copies them here.
    pub registers: [u64; MAX_REGISTERS],
    user_data: u64,
    /// Capabilities to send, or badges received.
    pub caps: [u64; 3],
    receive_cnode: u64,
    receive_index: u64,
    receive_depth: u64,
}

const _: () = assert!(core::mem::offset_of!(IpcBuffer, registers) == 8);
const _: () = assert!(core::mem::offset_of!(IpcBuffer, caps) == 8 * 122);
const _: () = assert!(size_of::<IpcBuffer>() == 1024);
