//! The #[protection_domain] attribute
#![no_std]
