//! The initial task: sets up the protection domains and starts them
#![no_std]
