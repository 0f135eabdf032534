//! Differential tests of the software CPU against the machine's own (host only)
#![no_std]
#![forbid(unsafe_code)]
