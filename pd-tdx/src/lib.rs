//! The only holder of SEAMCALL
#![no_std]
#![forbid(unsafe_code)]
