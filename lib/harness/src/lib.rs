//! The four PD cores in one process, deterministic (host only)
#![no_std]
#![forbid(unsafe_code)]
