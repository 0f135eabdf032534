//! The system calls themselves.
//!
//! Register convention: number in rdx, capability in rdi (badge comes back
//! there), tag in rsi, message registers 0..4 in r10, r8, r9, r15. The kernel
//! destroys rsp, rcx and r11; rsp is kept in r14.

use crate::{CapPtr, IpcBuffer, MessageInfo};

// The kernel's names as in object.rs.
const CALL: i64 = -1; // SysCall
const REPLY_RECV: i64 = -2; // SysReplyRecv
const SEND: i64 = -3; // SysSend
const RECV: i64 = -5; // SysRecv
const REPLY: i64 = -6; // SysReply
const YIELD: i64 = -7; // SysYield
const NB_RECV: i64 = -8; // SysNBRecv
const DEBUG_PUT_CHAR: i64 = -9; // SysDebugPutChar

/// What arrived: the badge of the capability it came through, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Badge of the sender's capability, or the notification's word.
    pub badge: u64,
    /// Tag of the message; of no meaning for a notification.
    pub info: MessageInfo,
}

fn exchange(number: i64, cap: CapPtr, info: MessageInfo, buffer: &mut IpcBuffer) -> Received {
    let (badge, tag): (u64, u64);
    let [mut mr0, mut mr1, mut mr2, mut mr3] = [
        buffer.registers[0],
        buffer.registers[1],
        buffer.registers[2],
        buffer.registers[3],
    ];
    // SAFETY: the kernel writes no memory of this thread but its IPC buffer,
    // which is `buffer` (or unused by the call), and the registers named here.
    unsafe {
        core::arch::asm!(
            "mov r14, rsp",
            "syscall",
            "mov rsp, r14",
            in("rdx") number,
            // Not for the kernel: tells the compiler that the call reads and
            // writes the buffer, which else it may keep in registers.
            in("rax") &raw mut *buffer,
            inlateout("rdi") cap => badge,
            inlateout("rsi") info.word() => tag,
            inlateout("r10") mr0,
            inlateout("r8") mr1,
            inlateout("r9") mr2,
            inlateout("r15") mr3,
            lateout("rcx") _,
            lateout("r11") _,
            lateout("r14") _,
        );
    }
    buffer.registers[..4].copy_from_slice(&[mr0, mr1, mr2, mr3]);
    Received {
        badge,
        info: MessageInfo::from_word(tag),
    }
}

fn plain(number: i64, arg: u64, info: MessageInfo) {
    // SAFETY: these calls change registers only, all of them named here.
    unsafe {
        core::arch::asm!(
            "mov r14, rsp",
            "syscall",
            "mov rsp, r14",
            in("rdx") number,
            inlateout("rdi") arg => _,
            inlateout("rsi") info.word() => _,
            lateout("r10") _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r15") _,
            lateout("rcx") _,
            lateout("r11") _,
            lateout("r14") _,
        );
    }
}

/// Sends the message in `buffer` and waits for the answer, which replaces it.
pub fn call(cap: CapPtr, info: MessageInfo, buffer: &mut IpcBuffer) -> MessageInfo {
    exchange(CALL, cap, info, buffer).info
}

/// Answers the last caller and waits for the next message.
pub fn reply_recv(cap: CapPtr, info: MessageInfo, buffer: &mut IpcBuffer) -> Received {
    exchange(REPLY_RECV, cap, info, buffer)
}

/// Waits for a message or for the bound notification.
pub fn recv(cap: CapPtr, buffer: &mut IpcBuffer) -> Received {
    exchange(RECV, cap, MessageInfo::default(), buffer)
}

/// Takes a message or the bound notification's word if there is one; a badge
/// of 0 says that there was none.
pub fn nb_recv(cap: CapPtr, buffer: &mut IpcBuffer) -> Received {
    exchange(NB_RECV, cap, MessageInfo::default(), buffer)
}

/// Answers the last caller.
pub fn reply(info: MessageInfo, buffer: &mut IpcBuffer) {
    exchange(REPLY, 0, info, buffer);
}

/// Signals a notification.
pub fn signal(cap: CapPtr) {
    plain(SEND, cap, MessageInfo::default());
}

/// Gives up the rest of this thread's time slice.
pub fn yield_now() {
    plain(YIELD, 0, MessageInfo::default());
}

/// Puts one character out on the kernel's console.
pub fn debug_put_char(c: u8) {
    plain(DEBUG_PUT_CHAR, u64::from(c), MessageInfo::default());
}
