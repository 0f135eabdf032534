//! The software TDX module
#![no_std]
#![forbid(unsafe_code)]
