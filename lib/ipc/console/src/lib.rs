//! Messages between pd-console and every other PD
#![no_std]
#![forbid(unsafe_code)]
