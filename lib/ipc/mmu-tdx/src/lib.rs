//! Messages between pd-mmu and pd-tdx
#![no_std]
#![forbid(unsafe_code)]
