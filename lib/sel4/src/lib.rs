//! System calls and objects of the seL4 5.0.0 kernel (x86-64, non-MCS)
#![no_std]
