//! x87 and SSE state and arithmetic
#![no_std]
#![forbid(unsafe_code)]
