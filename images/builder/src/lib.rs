//! From a system description (Microkit 2.3.0's SDF) and programs to one
//! bootable image for seL4 5.0.0.
//!
//! [`sdf`] reads and checks the description, [`program`] the programs,
//! [`layout`] decides where everything goes, [`image`] writes it,
//! [`isolation`] and [`budget`] hold it to Septum's own rules, [`draw`] makes a picture of it.
#![forbid(unsafe_code)]

pub mod budget;
pub mod draw;
pub mod image;
pub mod isolation;
pub mod layout;
pub mod program;
pub mod sdf;
