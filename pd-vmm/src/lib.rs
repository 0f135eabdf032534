//! VM life cycle, exits, devices
#![no_std]
#![forbid(unsafe_code)]
