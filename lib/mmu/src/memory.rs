//! Where table pages live: a contiguous run of pages, reached entry by entry.

use ::memory::PhysMemory;
use core::cell::Cell;
use ept::{ENTRIES, Entry};
use gpa::{Hpa, PAGE_SHIFT, PAGE_SIZE};

/// The number of a table page within its [`TableMemory`].
pub type Table = u16;

/// No table.
pub const NO_TABLE: Table = u16::MAX;

/// A contiguous run of table pages. Hardware may read the entries at any time and set accessed
/// and dirty bits in them: so accesses take `&self`, and [`swap`](Self::swap) is atomic.
///
/// `table` is below [`count`](Self::count) and `index` below 512 in every call; an
/// implementation answers other values as it likes, but doesn't panic.
pub trait TableMemory {
    /// Host physical address of table 0.
    fn base(&self) -> Hpa;
    /// How many table pages there are.
    fn count(&self) -> usize;
    /// Reads an entry.
    fn load(&self, table: Table, index: usize) -> u64;
    /// Writes an entry.
    fn store(&self, table: Table, index: usize, value: u64);
    /// Writes an entry and gives what was there, as one atomic step.
    fn swap(&self, table: Table, index: usize, value: u64) -> u64;

    /// Host physical address of a table.
    #[inline]
    fn hpa(&self, table: Table) -> Hpa {
        Hpa::new(self.base().get() + ((table as u64) << PAGE_SHIFT))
    }
    /// The table at a host physical address that an entry of ours names.
    #[inline]
    fn table_at(&self, hpa: Hpa) -> Table {
        (hpa.get().wrapping_sub(self.base().get()) >> PAGE_SHIFT) as Table
    }
}

/// Table pages in a stretch of host physical memory: what runs on seL4.
///
/// The MMU's empty entry is 0. For the CPU of a TD that would mean: turn a violation here into a
/// #VE. So every word is stored with [`Entry::SUPPRESS_VE`] flipped: what is empty exits to the
/// host, and an entry of nothing but that bit ([`crate::Mmu::map_device`]) gives the guest a #VE.
#[derive(Debug)]
pub struct PhysTables<M> {
    memory: M,
    base: Hpa,
    count: usize,
}

impl<M: PhysMemory> PhysTables<M> {
    /// The `count` pages from `base` (page aligned) on. `None` where that isn't all memory, or
    /// more than a [`Table`] can number.
    pub fn new(memory: M, base: Hpa, count: usize) -> Option<Self> {
        let whole = memory.contains(base, count as u64 * PAGE_SIZE);
        if !whole || !base.is_aligned(PAGE_SIZE) || count >= NO_TABLE as usize {
            return None;
        }
        let tables = Self {
            memory,
            base,
            count,
        };
        for table in 0..count {
            for index in 0..ENTRIES {
                tables.store(table as Table, index, 0);
            }
        }
        Some(tables)
    }
    #[inline]
    fn at(&self, table: Table, index: usize) -> Hpa {
        Hpa::new(self.base.get() + ((table as u64) << PAGE_SHIFT) + index as u64 * 8)
    }
}

impl<M: PhysMemory> TableMemory for PhysTables<M> {
    fn base(&self) -> Hpa {
        self.base
    }
    fn count(&self) -> usize {
        self.count
    }
    #[inline]
    fn load(&self, table: Table, index: usize) -> u64 {
        self.memory.read_u64(self.at(table, index)) ^ Entry::SUPPRESS_VE
    }
    #[inline]
    fn store(&self, table: Table, index: usize, value: u64) {
        self.memory
            .write_u64(self.at(table, index), value ^ Entry::SUPPRESS_VE);
    }
    #[inline]
    fn swap(&self, table: Table, index: usize, value: u64) -> u64 {
        let old = self
            .memory
            .swap_u64(self.at(table, index), value ^ Entry::SUPPRESS_VE);
        old ^ Entry::SUPPRESS_VE
    }
}

/// One table page of a [`CellTables`].
pub type CellPage = [Cell<u64>; ENTRIES];

/// Table pages in plain memory that no hardware walks: tests, benchmarks, VMs of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct CellTables<'a> {
    pages: &'a [CellPage],
    base: Hpa,
}

impl<'a> CellTables<'a> {
    /// These pages, known to entries as the host physical memory from `base` on.
    pub fn new(pages: &'a [CellPage], base: Hpa) -> Self {
        Self { pages, base }
    }
}

impl TableMemory for CellTables<'_> {
    #[inline]
    fn base(&self) -> Hpa {
        self.base
    }
    #[inline]
    fn count(&self) -> usize {
        self.pages.len()
    }
    #[inline]
    fn load(&self, table: Table, index: usize) -> u64 {
        match self.pages.get(table as usize) {
            Some(page) => page[index % ENTRIES].get(),
            None => 0,
        }
    }
    #[inline]
    fn store(&self, table: Table, index: usize, value: u64) {
        if let Some(page) = self.pages.get(table as usize) {
            page[index % ENTRIES].set(value);
        }
    }
    #[inline]
    fn swap(&self, table: Table, index: usize, value: u64) -> u64 {
        match self.pages.get(table as usize) {
            Some(page) => page[index % ENTRIES].replace(value),
            None => 0,
        }
    }
}
