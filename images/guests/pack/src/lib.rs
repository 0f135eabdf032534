//! Packs a guest image: everything that is in a TD's memory before its first instruction.
//!
//! ```text
//! main       the command line
//!  └ pack    one image from files: hello TD, or Linux (kernel, initrd, command line)
//!     ├ kernel       a Linux kernel's parts in memory; bzimage: what its file says of itself
//!     ├ boot_params  Linux's "zero page", filled in here rather than in the TD
//!     ├ acpi         the tables that describe the machine; aml: the bytes of the DSDT
//!     ├ td_binary    the loader's or the hello TD's pages
//!     └ measure      MRTD as the TDX module will compute it
//! ```
#![forbid(unsafe_code)]

pub mod acpi;
pub mod aml;
pub mod boot_params;
pub mod bzimage;
pub mod kernel;
pub mod measure;
pub mod pack;
pub mod td_binary;
