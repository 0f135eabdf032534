//! System calls and objects of seL4 5.0.0 (x86-64, non-MCS): the kernel that
//! `images/kernel` builds.
//!
//! Numbers and register assignments follow the kernel's libsel4 in the
//! configuration of `images/kernel/config/autoconf.h` (no VT-x, no IOMMU, no
//! huge pages: optional object types don't shift the others).
#![no_std]

mod boot_info;
mod cap;
mod fault;
mod ipc_buffer;
mod message;
mod object;
#[cfg(feature = "runtime")]
mod runtime;
pub mod syscall;

pub use boot_info::{BootInfo, MAX_UNTYPED, SlotRegion, UntypedDesc, initial_slot};
pub use cap::{Badge, CapPtr, Guard, Rights};
pub use fault::{Fault, LookupFailure};
pub use ipc_buffer::{IpcBuffer, MAX_REGISTERS};
pub use message::MessageInfo;
pub use object::{
    Attributes, CNode, Error, IoPort, IrqControl, IrqHandler, ObjectType, Page, PagingStructure,
    Tcb, Untyped, UserContext,
};

/// Bytes of the smallest page, as a power of two.
pub const PAGE_BITS: u32 = 12;
/// Bytes of a large page (2 MiB), as a power of two.
pub const LARGE_PAGE_BITS: u32 = 21;
/// Bytes of one capability slot, as a power of two.
pub const SLOT_BITS: u32 = 5;
/// Bytes of a TCB object, as a power of two.
pub const TCB_BITS: u32 = 11;
/// Bytes of an endpoint object, as a power of two.
pub const ENDPOINT_BITS: u32 = 4;
/// Bytes of a notification object, as a power of two.
pub const NOTIFICATION_BITS: u32 = 5;
