//! What the image builder writes and the initial task reads
#![no_std]
