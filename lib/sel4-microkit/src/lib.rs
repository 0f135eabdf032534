//! Runtime of protection domains, with the public API of rust-sel4's
//! `sel4-microkit` crate.
//!
//! ```text
//! #![no_std]
//! #![no_main]
//! use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, protection_domain};
//!
//! const PEER: Channel = Channel::new(1);
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Error = Infallible;
//!     fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
//!         if channels.contains(PEER) {
//!             PEER.notify();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! #[protection_domain]
//! fn init() -> impl Handler {
//!     Echo
//! }
//! ```
//!
//! The kernel's ABI is behind [`kernel`]: one module for each way to run.
#![no_std]

mod channel;
mod entry;
mod handler;
mod io_port;
mod kernel;
mod message;
#[cfg(feature = "runtime")]
mod panicking;
mod printing;
mod symbols;

// For its memory functions, which compiled code calls by name.
#[cfg(feature = "runtime")]
extern crate sel4 as _;

pub use channel::{Channel, ChannelSet, Channels, Child, IrqAckError, MAX_CHANNELS};
pub use core::convert::Infallible;
pub use handler::{Handler, NullHandler};
pub use io_port::IoPort;
pub use message::{MessageInfo, MessageLabel, MessageRegisterValue, get_mr, set_mr};
pub use printing::Console;
pub use sel4_microkit_macros::protection_domain;
pub use symbols::{ImmutableCell, pd_is_passive, pd_name};

#[doc(hidden)]
pub mod _private {
    pub use crate::entry::run;
}
