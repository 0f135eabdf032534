//! The software x86-64 CPU
#![no_std]
#![forbid(unsafe_code)]
