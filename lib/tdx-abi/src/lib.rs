//! The TDX module ABI: leaves, status codes, layouts.
//!
//! Every number of the interface between host, TDX module 1.5 and guest stands here and nowhere
//! else. Nothing here acts; the crate is constants, enums and zerocopy layouts.
//!
//! | module | content |
//! | --- | --- |
//! | [`leaf`] | leaf numbers and versions |
//! | [`status`], [`operand`] | completion status and what it blames |
//! | [`sept`] | Secure EPT entries, states, the "GPA and level" operand |
//! | [`page`] | PAMT page types |
//! | [`op_state`] | OP_STATE and the leaves it allows |
//! | [`td`] | ATTRIBUTES, XFAM, CONFIG_FLAGS, limits of a TD |
//! | [`layout`] | structures in memory |
//! | [`exit`], [`tdvmcall`] | what TDH.VP.ENTER returns, what TDG.VP.VMCALL asks |
//! | [`field`] | metadata field identifiers and access masks |
//! | [`cpuid`], [`msr`] | virtualisation tables |
#![no_std]
#![forbid(unsafe_code)]

pub mod cpuid;
pub mod exit;
pub mod field;
pub mod layout;
pub mod leaf;
pub mod msr;
pub mod op_state;
pub mod operand;
pub mod page;
pub mod sept;
pub mod status;
pub mod td;
pub mod tdvmcall;

pub use field::FieldId;
pub use leaf::{GuestLeaf, HostLeaf};
pub use op_state::OpState;
pub use operand::Operand;
pub use page::PageType;
pub use sept::{EntryInfo, GpaMapping};
pub use status::Status;

#[cfg(test)]
mod tests;
