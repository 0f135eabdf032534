//! Messages between pd-console and every other PD.
#![no_std]
#![forbid(unsafe_code)]
// Messages live on the stack for a moment; there is no heap to box the long ones.
#![allow(clippy::large_enum_variant)]

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// The longest line of a PD, in bytes.
pub const MAX_LINE: usize = 240;
/// The most guest bytes in one message.
pub const MAX_BYTES: usize = 240;

/// From a PD to the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToConsole {
    /// The PD has started and takes messages.
    Ready,
    /// One line of the PD's own, without a line end.
    Line(String<MAX_LINE>),
    /// What a guest wrote to its serial port.
    Guest {
        /// The VM.
        vm: u16,
        /// The bytes.
        bytes: Vec<u8, MAX_BYTES>,
    },
    /// The run is over: show what is left and end the machine (0 = the goal was reached).
    /// Only pd-vmm's is heeded.
    End {
        /// Exit status of the run.
        status: u8,
    },
}

/// From the console to a PD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromConsole {
    /// What was typed for a guest.
    Input {
        /// The VM.
        vm: u16,
        /// The bytes.
        bytes: Vec<u8, MAX_BYTES>,
    },
    /// The operator asks for the PD's counters: answered by [`ToConsole::Line`]s.
    Report,
}
