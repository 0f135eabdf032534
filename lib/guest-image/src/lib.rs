//! The guest image format: what is measured into a TD, and where
#![no_std]
#![forbid(unsafe_code)]
