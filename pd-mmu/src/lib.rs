//! Guest memory, shadow pages, stolen-bit roots
#![no_std]
#![forbid(unsafe_code)]
