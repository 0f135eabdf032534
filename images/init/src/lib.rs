//! The initial task's decisions that need no kernel: where free memory is taken
//! from.
//!
//! The program itself is `main.rs`.
#![no_std]

pub mod watermark;
