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

/// Memory types of a leaf (SDM vol. 3C, 30.3.7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MemoryType {
    /// Uncacheable.
    Uncacheable = 0,
    /// Write combining.
    WriteCombining = 1,
    /// Write through.
    WriteThrough = 4,
    /// Write protected.
    WriteProtected = 5,
    /// Write back.
    WriteBack = 6,
}

/// A set of read, write, execute: what an entry permits, or what an access wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Access(u8);

impl Access {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Read.
    pub const READ: Self = Self(1);
    /// Write.
    pub const WRITE: Self = Self(2);
    /// Execute; as a permission of its own: an execute-only page.
    pub const EXECUTE: Self = Self(4);
    /// Read, write and execute.
    pub const ALL: Self = Self(7);

    /// The set whose bits 0, 1, 2 are read, write, execute (as in an EPT entry and in the exit
    /// qualification of an EPT violation); other bits are dropped.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits as u8 & 7)
    }
    /// The bits as in an EPT entry.
    pub const fn bits(self) -> u64 {
        self.0 as u64
    }
    /// Whether all of `wanted` is in the set.
    pub const fn permits(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
    /// The set of both.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// The set without `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// One EPT entry, as the hardware reads it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
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

    /// An entry that maps nothing.
    pub const EMPTY: Self = Self(0);

    /// A leaf of `level` that maps `hpa` (aligned to the size of the leaf).
    pub const fn leaf(hpa: Hpa, level: u8, access: Access, memory: MemoryType) -> Self {
        let large = if level == 0 { 0 } else { Self::LEAF };
        Self(
            hpa.get() & Self::ADDRESS
                | access.bits()
                | (memory as u64) << Self::MEMORY_TYPE_SHIFT
                | large,
        )
    }
    /// An entry that points to the table page at `hpa`; it grants all, the leaf decides.
    pub const fn table(hpa: Hpa) -> Self {
        Self(hpa.get() & Self::ADDRESS | Access::ALL.bits())
    }
    /// What the entry permits.
    pub const fn access(self) -> Access {
        Access(self.0 as u8 & 7)
    }
    /// The same entry with other permissions.
    pub const fn with_access(self, access: Access) -> Self {
        Self(self.0 & !7 | access.bits())
    }
    /// Whether the hardware takes this entry at `level` without an EPT misconfiguration
    /// (SDM vol. 3C, 30.3.3.1), on a CPU with execute-only support and 1 GiB pages and
    /// `width` physical address bits.
    pub const fn is_legal(self, level: u8, width: u8) -> bool {
        if !self.is_present() {
            return true;
        }
        let writable_unreadable = self.0 & (Self::READ | Self::WRITE) == Self::WRITE;
        let address_ok = (self.0 & Self::ADDRESS) >> width == 0;
        let shape_ok = if self.is_leaf(level) {
            let kind = self.0 >> Self::MEMORY_TYPE_SHIFT & 7;
            level <= 2
                && matches!(kind, 0 | 1 | 4 | 5 | 6)
                && (self.0 & Self::ADDRESS) & ((1 << level_shift(level)) - 1) == 0
        } else {
            // Bits 7:3 of an entry that points to a table are reserved.
            self.0 & 0xf8 == 0
        };
        !writable_unreadable && address_ok && shape_ok
    }
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

const _: () = assert!(size_of::<Entry>() == 8);
const _: () = assert!(level_shift(0) == 12 && level_shift(1) == 21 && level_shift(2) == 30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry() {
        let gpa = 1 << 47 | 3 << 39 | 5 << 30 | 7 << 21 | 9 << 12;
        assert_eq!(index(gpa, 0), 9);
        assert_eq!(index(gpa, 1), 7);
        assert_eq!(index(gpa, 2), 5);
        assert_eq!(index(gpa, 3), 256 + 3);
        assert_eq!(index(gpa, 4), 0);
    }

    #[test]
    fn legal_entries() {
        let page = Hpa::new(0x20_0000);
        for level in 0..=2 {
            let at = Hpa::new(0x4000_0000);
            for access in [Access::ALL, Access::EXECUTE, Access::READ] {
                assert!(Entry::leaf(at, level, access, MemoryType::WriteBack).is_legal(level, 46));
            }
            let unreadable = Entry::leaf(at, level, Access::WRITE, MemoryType::WriteBack);
            assert!(!unreadable.is_legal(level, 46));
        }
        assert!(!Entry::leaf(page, 2, Access::ALL, MemoryType::WriteBack).is_legal(2, 46));
        assert!(!Entry::leaf(page, 3, Access::ALL, MemoryType::WriteBack).is_legal(3, 46));
        assert!(Entry::table(page).is_legal(3, 46));
        assert!(!Entry::table(page).is_legal(3, 21));
        assert!(!Entry(Entry::table(page).0 | 1 << 3).is_legal(1, 46));
        assert!(Entry(Entry::ADDRESS).is_legal(0, 46), "not present");
    }
}
