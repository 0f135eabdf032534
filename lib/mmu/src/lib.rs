//! Shadow pages, stolen-bit roots, rmap, slots and SEAMCALL programs
#![no_std]
#![forbid(unsafe_code)]
