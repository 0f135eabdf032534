//! x87, MMX and SSE state and arithmetic, in integer arithmetic only.
//!
//! The crate knows registers and values, no memory and no instruction fetch. The software CPU
//! decodes an instruction, asks [`VectorForm::of`] or [`X87Form::of`] what kind of operands it
//! has, fetches them, calls [`vector`] or [`X87::execute`], and puts the result where the form
//! says. Nothing here panics, allocates, or uses the floating-point unit of the machine it runs
//! on, so the results are those of the SDM whatever that machine is.
//!
//! # How a vector instruction is executed
//! 1. `form = VectorForm::of(&instruction)` once, at decode time (the form is small and `Copy`).
//! 2. If `form.mmx`: [`X87::enter_mmx`] first (`#MF` when an x87 exception is pending).
//! 3. Source: `form.src` says from where. A memory operand is `form.bytes` long and must be
//!    16-byte aligned (else `#GP(0)`) where `form.aligned`. The value is zero-extended.
//! 4. Destination register before: only where `form.reads_dst`.
//! 5. [`vector`] gives the result; an `Err` is `#XM` (or `#UD` while `CR4.OSXMMEXCPT` is 0).
//! 6. `form.dst` says where it goes: all 128 bits of an XMM register, the low 64 of an MM
//!    register, a zero-extended general register, the low `form.bytes` bytes of memory, or
//!    RFLAGS (the six arithmetic flags, at their places, replace the old ones).
//!
//! Instructions with other shapes have functions of their own: [`pcmpstr()`], [`crc32`],
//! [`X87::emms`], and the images in [`image`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod cipher;
mod environment;
mod execute;
pub mod image;
mod lanes;
mod pcmpstr;
mod simd;
mod soft;
mod transcendental;
mod vector;
mod vector_form;
mod wide;
mod x87;
mod x87_form;

pub use pcmpstr::{PcmpStr, pcmpstr};
pub use vector::{SimdException, crc32, vector};
pub use vector_form::{Place, VectorForm, VectorOp};
pub use x87::{Env, MathFault, Pointers, X87, X87Output};
pub use x87_form::{X87Form, X87Memory, X87Op};

/// MXCSR after reset and `INIT` (SDM Vol. 1, 10.2.3): all exceptions masked.
pub const MXCSR_RESET: u32 = 0x1f80;
/// The MXCSR bits that exist; setting another one is `#GP(0)`.
pub const MXCSR_MASK: u32 = 0xffff;

/// The state components x87 and SSE of one virtual CPU (XFAM = 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FpuState {
    /// x87 and MMX.
    pub x87: X87,
    /// XMM0 to XMM15.
    pub xmm: [u128; 16],
    /// SSE control and status.
    pub mxcsr: u32,
}

impl FpuState {
    /// The state after reset or `INIT` (SDM Vol. 3, table 10-1: XSAVE's initial configuration).
    pub const fn new() -> Self {
        Self {
            x87: X87::new(),
            xmm: [0; 16],
            mxcsr: MXCSR_RESET,
        }
    }
}

impl Default for FpuState {
    fn default() -> Self {
        Self::new()
    }
}
