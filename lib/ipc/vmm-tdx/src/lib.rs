//! Messages between pd-vmm and pd-tdx
#![no_std]
#![forbid(unsafe_code)]
