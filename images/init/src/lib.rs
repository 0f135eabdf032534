//! The initial task's decisions that need no kernel: where free memory is taken
//! from, and which pages a waiting protection domain waits for.
//!
//! The program itself is `main.rs`.
#![no_std]

pub mod late;
pub mod watermark;
