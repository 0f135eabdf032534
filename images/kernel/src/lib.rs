//! Pins the seL4 5.0.0 source in Cargo.lock; `images/kernel/build` builds it.
//!
//! There is no Rust here: see `build` and `config/autoconf.h` beside this file.
#![no_std]
#![forbid(unsafe_code)]
