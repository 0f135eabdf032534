//! What a sequence starts from and what it leaves.

use crate::layout::PAGE;

/// Registers.
#[repr(C, align(64))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The FXSAVE64 image.
    pub image: [u8; 512],
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gpr: [u64; 16],
    /// RIP: where a sequence ended.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
}

impl Registers {
    /// All zero.
    pub const ZERO: Self = Self {
        image: [0; 512],
        gpr: [0; 16],
        rip: 0,
        rflags: 2,
    };
}

/// How a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ran to its end.
    Finished,
    /// An exception.
    Fault {
        /// Its vector.
        vector: u8,
        /// Its error code; 0 where it has none.
        error_code: u32,
        /// CR2 for a page fault; 0 else.
        address: u64,
    },
    /// It didn't end in time.
    Timeout,
    /// Software only: a VM exit for this basic reason, which user code shouldn't cause.
    Exit(u16),
}

/// A page of memory.
pub type Page = [u8; PAGE as usize];

/// Everything that both sides have in common at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Registers; RIP only counts for faults.
    pub registers: Registers,
    /// How it ended.
    pub end: End,
    /// The data page.
    pub data: Page,
    /// The stack page.
    pub stack: Page,
}

impl Outcome {
    /// Nothing has happened.
    pub const EMPTY: Self = Self {
        registers: Registers::ZERO,
        end: End::Finished,
        data: [0; PAGE as usize],
        stack: [0; PAGE as usize],
    };
}
