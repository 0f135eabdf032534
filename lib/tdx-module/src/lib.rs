//! The software TDX module.
//!
//! It answers SEAMCALL and TDCALL as Intel's TDX module 1.5 does, at the level of registers, and
//! keeps a TD's state where the ABI says it lives: in control pages, PAMTs and Secure EPT pages
//! in host memory. It knows no operating system and no CPU: memory, CPUID, time and randomness
//! come from a [`Machine`], the guest's registers from a [`VcpuState`].
//!
//! ```text
//!   host  --- Module::seamcall(lp, regs) ---> Done: registers hold the result
//!                                       `--> Entered: the LP is inside a TD
//!   guest --- Module::tdcall / td_exit -----> Resume, Inject, Retry: the guest goes on
//!                                       `--> ExitToHost: TDH.VP.ENTER returns
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "what ends a guest's call carries its registers"
)]

mod call;
mod caps;
#[allow(
    clippy::result_large_err,
    reason = "an error that ends a call carries its registers"
)]
mod guest;
mod host;
pub mod inspect;
mod lock;
pub mod machine;
mod measure;
mod metadata;
mod metadata_list;
mod module;
mod msr;
mod page;
mod pamt;
mod vmcs;

pub use guest::GuestOutcome;
pub use inspect::{LockName, VcpuView};
pub use lock::Mode as LockMode;
pub use machine::{Event, Field, Machine, Platform, Regs, VcpuState, VmExit, reg};
pub use module::{Entry, Module, SeamOutcome, Step, SysState};
pub use vmcs::is_guest_state;
