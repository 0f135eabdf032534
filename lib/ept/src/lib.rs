//! EPT entry format, levels and geometry (SDM vol. 3C, 30.3 "The extended page table mechanism").
#![no_std]
#![forbid(unsafe_code)]

use gpa::{Hpa, PAGE_SHIFT};

/// Entries in one table page.
pub const ENTRIES: usize = 512;
/// log2 of [`ENTRIES`].
pub const INDEX_BITS: u32 = 9;

/// log2 of the bytes that one entry of `level` maps; level 0 is the table of 4 KiB pages
/// (the TDX module counts levels the same way: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB).
pub const fn level_shift(level: u8) -> u32 {
    PAGE_SHIFT + INDEX_BITS * level as u32
}

/// Index into a table of `level` for the guest physical address `gpa`.
pub const fn index(gpa: u64, level: u8) -> usize {
    ((gpa >> level_shift(level)) & (ENTRIES as u64 - 1)) as usize
}

/// One EPT entry, as the hardware reads it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(pub u64);

impl Entry {
    /// Read permission.
    pub const READ: u64 = 1 << 0;
    /// Write permission.
    pub const WRITE: u64 = 1 << 1;
    /// Execute permission (supervisor-mode linear addresses under mode-based control).
    pub const EXECUTE: u64 = 1 << 2;
    /// Memory type of a leaf, bits 5:3 (6 = write-back).
    pub const MEMORY_TYPE_SHIFT: u32 = 3;
    /// Ignore the guest's PAT (leaf).
    pub const IGNORE_PAT: u64 = 1 << 6;
    /// The entry maps a page although its level is not 0.
    pub const LEAF: u64 = 1 << 7;
    /// Accessed.
    pub const ACCESSED: u64 = 1 << 8;
    /// Dirty (leaf).
    pub const DIRTY: u64 = 1 << 9;
    /// A violation at this entry is not convertible to a #VE.
    pub const SUPPRESS_VE: u64 = 1 << 63;
    /// The host physical address field, bits 51:12.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// Whether any of read, write, execute is set: only then the hardware goes on.
    pub const fn is_present(self) -> bool {
        self.0 & (Self::READ | Self::WRITE | Self::EXECUTE) != 0
    }
    /// Whether this present entry maps a page (and not a table) at `level`.
    pub const fn is_leaf(self, level: u8) -> bool {
        level == 0 || self.0 & Self::LEAF != 0
    }
    /// The frame or table that the entry points to.
    pub const fn hpa(self) -> Hpa {
        Hpa::new(self.0 & Self::ADDRESS)
    }
    /// Whether a violation here stays a VM exit (and is not turned into a #VE).
    pub const fn suppresses_ve(self) -> bool {
        self.0 & Self::SUPPRESS_VE != 0
    }
}
