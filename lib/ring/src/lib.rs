//! Single-producer single-consumer frames in shared memory
#![no_std]
#![forbid(unsafe_code)]
