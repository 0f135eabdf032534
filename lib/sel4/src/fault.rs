//! Faults as they arrive at a fault endpoint.

use core::fmt;

use crate::{IpcBuffer, MessageInfo};

/// Why a capability could not be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupFailure(pub u64);

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "no CSpace",
            2 => "empty slot",
            3 => "wrong depth",
            4 => "wrong guard",
            _ => "unknown reason",
        })
    }
}

/// A thread's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A system call named a capability that isn't there.
    Capability {
        /// Instruction address.
        ip: u64,
        /// Capability pointer.
        address: u64,
        /// Why.
        reason: LookupFailure,
    },
    /// A system call the kernel doesn't know.
    UnknownSyscall {
        /// Instruction address.
        ip: u64,
        /// Its number.
        number: u64,
    },
    /// A CPU exception other than a page fault.
    Exception {
        /// Instruction address.
        ip: u64,
        /// Stack pointer.
        sp: u64,
        /// Vector.
        vector: u64,
        /// Error code.
        code: u64,
    },
    /// A page fault.
    Memory {
        /// Instruction address.
        ip: u64,
        /// The low 32 bits of the address accessed: seL4 5.0.0 cuts it off.
        address_low: u32,
        /// The CPU's page fault error code.
        status: u64,
    },
    /// None of these.
    Other {
        /// The message's label.
        label: u64,
    },
}

impl Fault {
    /// Reads a fault message.
    pub fn read(info: MessageInfo, buffer: &IpcBuffer) -> Self {
        let mr = &buffer.registers;
        match info.label() {
            1 => Self::Capability {
                ip: mr[0],
                address: mr[1],
                reason: LookupFailure(mr[3]),
            },
            2 => Self::UnknownSyscall {
                ip: mr[15],
                number: mr[18],
            },
            3 => Self::Exception {
                ip: mr[0],
                sp: mr[1],
                vector: mr[3],
                code: mr[4],
            },
            5 => Self::Memory {
                ip: mr[0],
                address_low: mr[1] as u32,
                status: mr[3],
            },
            label => Self::Other { label },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Capability {
                ip,
                address,
                reason,
            } => {
                write!(f, "capability {address:#x}: {reason}, at ip {ip:#x}")
            }
            Self::UnknownSyscall { ip, number } => {
                write!(f, "unknown system call {}, at ip {ip:#x}", number as i64)
            }
            Self::Exception {
                ip,
                sp,
                vector,
                code,
            } => {
                write!(
                    f,
                    "exception {vector} (code {code:#x}), at ip {ip:#x}, sp {sp:#x}"
                )
            }
            Self::Memory {
                ip,
                address_low,
                status,
            } => {
                let access = match status {
                    s if s & 0x10 != 0 => "execute",
                    s if s & 2 != 0 => "write",
                    _ => "read",
                };
                let why = if status & 1 != 0 {
                    "not allowed"
                } else {
                    "not mapped"
                };
                write!(
                    f,
                    "{access} of an address ending in {address_low:08x}: {why}, at ip {ip:#x}"
                )
            }
            Self::Other { label } => write!(f, "message with label {label}"),
        }
    }
}
