//! A SEAMCALL as a message, and many of them: the register-level ABI between the domains.
//!
//! Nothing here is trusted by the receiver: pd-tdx asks its leaf firewall about every leaf, and
//! the TDX module checks every operand.
#![no_std]
#![forbid(unsafe_code)]

use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The most calls in one batch.
pub const MAX_BATCH: usize = 32;

/// The input registers of one SEAMCALL (TDX module ABI: RAX is the leaf and its version;
/// leaves that take more than R9 are only ever called alone, as [`Registers`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Leaf number in bits 15:0, version in bits 23:16.
    pub rax: u64,
    /// First operand.
    pub rcx: u64,
    /// Second operand.
    pub rdx: u64,
    /// Third operand.
    pub r8: u64,
    /// Fourth operand.
    pub r9: u64,
}

/// All general-purpose registers of a call but RSP, in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Leaf and version in, completion status out.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RBX.
    pub rbx: u64,
    /// RBP.
    pub rbp: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// R8 to R15.
    pub r8_r15: [u64; 8],
}

impl From<Call> for Registers {
    fn from(call: Call) -> Self {
        let mut r8_r15 = [0; 8];
        r8_r15[0] = call.r8;
        r8_r15[1] = call.r9;
        Self {
            rax: call.rax,
            rcx: call.rcx,
            rdx: call.rdx,
            r8_r15,
            ..Self::default()
        }
    }
}

/// Calls made in order; the first that does not succeed ends the batch.
pub type Batch = Vec<Call, MAX_BATCH>;

/// The most calls of one [`Sweep`]: some milliseconds of the TDX module's time.
pub const MAX_SWEEP: u16 = 512;

/// One call for a row of operands: RCX ascends. Made in order; the first that does not succeed
/// ends the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The first call.
    pub call: Call,
    /// How much RCX grows from one call to the next.
    pub step: u64,
    /// How many calls; those beyond [`MAX_SWEEP`] are not made.
    pub times: u16,
}

impl Sweep {
    /// The calls.
    pub fn calls(self) -> impl Iterator<Item = Call> {
        (0..self.times.min(MAX_SWEEP)).map(move |n| self.from(n).call)
    }

    /// What is left of it after the first `done` calls.
    pub const fn from(self, done: u16) -> Self {
        Self {
            call: Call {
                rcx: self
                    .call
                    .rcx
                    .wrapping_add(self.step.wrapping_mul(done as u64)),
                ..self.call
            },
            times: self.times.saturating_sub(done),
            ..self
        }
    }
}

/// How a batch, a sweep or a program of pd-mmu's ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchResult {
    /// Calls (or steps) that succeeded, from the first on.
    pub succeeded: u16,
    /// Output registers of the last call made: the failed one, or the last of all.
    pub last: Call,
    /// The failed call was not made: the leaf firewall refused it.
    pub refused: bool,
}
