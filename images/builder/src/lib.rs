//! Checks system.xml and builds the bootable image
#![no_std]
