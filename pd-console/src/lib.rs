//! Serial port, operator commands, guest consoles
#![no_std]
#![forbid(unsafe_code)]
