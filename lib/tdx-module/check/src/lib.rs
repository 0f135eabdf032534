//! A machine and a host for tests of the software TDX module.
//!
//! [`Bed`] is a platform with a module, 2 GiB of memory and 4 logical processors. It is cheap to
//! copy and to compare, so that a test can go back to any state and can see whether a call
//! changed anything.
#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "an entry is no error, but the other way for a call to end"
)]

mod host;
pub mod invariant;
mod memory;

pub use host::{Bed, Cpu, Defects, LPS, TD_PARAMS, TDMR, Ways};
pub use memory::Pages;
