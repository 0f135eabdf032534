//! The software x86-64 CPU: one virtual CPU of a TD, as the TDX module drives it.
//!
//! A [`Cpu`] runs guest code out of host physical memory, through the guest's page tables and
//! then the EPT that the SHARED bit of the guest physical address selects, until something
//! happens that isn't the CPU's business: [`Cpu::run`] gives a VMX-shaped [`Exit`], with RIP at
//! the instruction. The caller changes registers, moves RIP on ([`Cpu::advance`]), injects an
//! event ([`Cpu::inject`]), and runs it again.
//!
//! # What exits, what doesn't
//! As in a TD on hardware (TDX module ABI, "VMX controls"): `TDCALL`, `CPUID`, `HLT`, I/O,
//! `WBINVD`, `INVD`, `MONITOR`, `MWAIT`, `RDPMC`, `XSETBV`, `VMCALL`, `SEAMCALL`, CR0 and CR4
//! writes to bits the caller owns, MSRs that aren't plain state, EPT violations, triple faults.
//! TSC, debug registers, CR3, CR8, the x2APIC's priorities, EOI and self-IPI are native.
//!
//! # How it is fast
//! Code is decoded once, by iced-x86, into [`Op`]s: operands resolved, frequent forms with a
//! kind of their own, a compare fused with the jump after it. Each kind has a function that ends
//! in a jump to the next op's. A block goes on behind conditional jumps that aren't taken; the
//! [`CodeCache`] keeps blocks by *host* physical address, shared by all CPUs. Linear pages are
//! found in a direct-mapped TLB with one compare. Flags are computed when somebody asks.
//!
//! # What it leaves out
//! Real and virtual-8086 mode, 32-bit and PAE paging, task switches, call gates, segment limits
//! and types outside of 64-bit mode (bases count): a TD starts in protected mode and Linux turns
//! long mode on at once, with no use for any of them. Hardware breakpoints: the debug registers
//! are state that nothing matches. VEX and EVEX except BMI: XFAM has no AVX. An instruction that
//! is none of its own is `#UD` in the guest and [`Machine::unknown_instruction`] for the caller.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod access;
mod apic;
mod code_cache;
mod decode;
mod decode_forms;
mod decode_operands;
mod directory;
mod exec;
mod exit;
mod flags;
mod handlers;
mod integer;
mod interrupt;
mod machine;
mod op;
mod rare;
mod run;
mod segment;
mod state;
mod string;
mod system;
mod tlb;
mod vector;
mod walk;
mod word;

pub use apic::Apic;
pub use code_cache::{Block, CACHED_LIMIT, CodeCache, CodeStorage};
pub use exit::{Event, EventKind, Exit, VmExit, ept_violation, reason};
pub use flags::rflags;
pub use iced_x86::Mnemonic;
pub use machine::Machine;
pub use op::Op;
pub use state::{Controls, Cpu, Msrs, Segment, Table, cr0, cr4, efer, gpr, seg};

/// What executing an instruction may touch besides the CPU.
pub(crate) struct Env<'a, 'c, M> {
    pub machine: &'a mut M,
    pub index: &'a mut code_cache::Index<'c>,
}
