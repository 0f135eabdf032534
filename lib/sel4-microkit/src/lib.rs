//! The PD runtime: rust-sel4's sel4-microkit API over the kernel underneath
#![no_std]
#![forbid(unsafe_code)]
