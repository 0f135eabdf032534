//! The TDX module ABI: leaves, status codes, layouts
#![no_std]
#![forbid(unsafe_code)]
