//! Replays recorded calls into the software TDX module and says where it answers otherwise.
//!
//! A trace is gzip'ed JSON lines: a header, then one event a line, from power-on. See the
//! README of `lib/tdx-module` for the format.
#![forbid(unsafe_code)]

mod cpu;
mod machine;
mod run;
mod sparse;
pub mod trace;

pub use machine::Tables;
pub use run::{Count, Disagreement, Report, Scene, replay, watch};
pub use trace::{Event, Header, Trace};
