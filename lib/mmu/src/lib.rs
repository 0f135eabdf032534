//! The stolen-bits MMU: guest memory of confidential and plain VMs.
//!
//! A guest address is split once ([`gpa::StolenBits::split`]) into *where* (frame number) and
//! *what kind* (stolen bits: SHARED, execute-only). What kind leads to a root and a cap on
//! permissions ([`Alias`]); where leads through that root's tree ([`Tables`]).
//!
//! * **Shared and plain memory** is mapped in tables of our own, that the CPU walks.
//! * **Private memory** belongs to the TDX module. The MMU keeps a *mirror* of the Secure EPT
//!   and answers requests with programs of SEAMCALLs ([`Step`]); the one who runs them tells
//!   the [`Outcome`].
//!
//! ```text
//! request (fault, convert, populate, promote, teardown)
//!    -> Next::Run: run mmu.program(vm), then mmu.complete(vm, outcome)   -> Next::Run, …
//!    -> Next::Done
//!    -> Next::Refused: the module won't; what was done stands, the rest is undone
//! ```
//!
//! One program per VM is under way at a time. Nothing is allocated: tables, frames, metadata
//! are handed in, and what runs out is an [`Error`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod control;
mod convert;
mod device;
mod dirty;
mod error;
mod fault;
mod frames;
mod grant;
pub mod keys;
mod lifecycle;
mod memory;
mod mmu;
mod private;
mod rmap;
mod slot;
mod step;
mod tables;
mod tidy;
mod tree;
mod vm;

pub use control::{Control, ControlMeta, ControlPages, Role};
pub use error::{Error, Resource};
pub use frames::{BLOCK_FRAMES, Block, Blocks, Frames, SharedBlock};
pub use keys::Keys;
pub use lifecycle::{TDCX_PAGES, VCPU_PAGES};
pub use memory::{CellPage, CellTables, PhysTables, Table, TableMemory};
pub use mmu::{Mmu, Next, Parts, RETRIES, Translation};
pub use slot::{SLOTS, SlotConfig};
pub use step::{HkidShift, Outcome, PROGRAM_STEPS, Program, Registers, Step, status};
pub use tables::{Kind, TableMeta, Tables};
pub use tree::{Root, Spot};
pub use vm::{Alias, Config, Finder, MAX_VMS, Place, Stats, Vm};
