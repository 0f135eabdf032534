//! The guest image format: what is measured into a TD, and where.
//!
//! A guest image is one file. The packer (`guest-pack`) writes it, pd-vmm reads it from the
//! `guest_image` memory region and builds the TD from it, and the packer predicts the TD's
//! MRTD from it. The order in which pages are added and measured is defined once, here
//! ([`GuestImage::runs`] and [`Run::steps`]).
//!
//! ```text
//! offset 0      header      magic, version, TD parameters, name, goal
//!        256    segments    up to 32 of { gpa, offset, length, flags }
//!        4096   pages       each segment 4 KiB aligned: every page of the image can be the
//!                           source page of TDH.MEM.PAGE.ADD where it lies
//! ```
//!
//! * [`image`]: the format and its checked reader,
//! * [`layout`]: where things stand in guest physical memory, and how much memory a TD may have,
//! * [`launch`]: the page by which the packer tells the code in the TD what it built,
//! * [`ports`]: the devices' port numbers, as the ACPI tables name them,
//! * [`build`] (feature `std`): the writer.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "std"))]
pub mod build;
pub mod image;
pub mod launch;
pub mod layout;
pub mod ports;

pub use image::{GuestImage, ImageError, MemoryDesign, Run, Segment, Step};
pub use layout::{MemorySize, MemorySizeError};
