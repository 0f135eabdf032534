//! Messages between pd-vmm and pd-mmu
#![no_std]
#![forbid(unsafe_code)]
