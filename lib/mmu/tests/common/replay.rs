//! Table memory that looks at every store as hardware could: each must leave legal tables.

use ept::{ENTRIES, Entry};
use gpa::Hpa;
use mmu::{Table, TableMemory};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

pub const TABLES_BASE: u64 = 0x1000_0000;

pub struct Replay {
    pages: Vec<[Cell<u64>; ENTRIES]>,
    /// Hardware tables, and the root each hangs under; what isn't here is a mirror or free.
    hardware: RefCell<HashMap<Table, Table>>,
    /// Tables that were unlinked from a root and that its paging-structure caches may know.
    cached: RefCell<HashMap<Table, Table>>,
    pub stores: Cell<u64>,
}

impl Replay {
    pub fn new(count: usize) -> &'static Self {
        let page = || std::array::from_fn(|_| Cell::new(0));
        Box::leak(Box::new(Self {
            pages: (0..count).map(|_| page()).collect(),
            hardware: RefCell::default(),
            cached: RefCell::default(),
            stores: Cell::new(0),
        }))
    }
    pub fn add_root(&self, hpa: Hpa) {
        let table = ((hpa.get() - TABLES_BASE) >> 12) as Table;
        self.hardware.borrow_mut().insert(table, table);
    }
    /// The VM with these roots was flushed.
    pub fn flush(&self, roots: &[Hpa]) {
        let roots: HashSet<Table> = roots
            .iter()
            .map(|hpa| ((hpa.get() - TABLES_BASE) >> 12) as Table)
            .collect();
        self.cached
            .borrow_mut()
            .retain(|_, root| !roots.contains(root));
    }
    /// The VM with these roots is gone.
    pub fn drop_roots(&self, roots: &[Hpa]) {
        self.flush(roots);
        let roots: HashSet<Table> = roots
            .iter()
            .map(|hpa| ((hpa.get() - TABLES_BASE) >> 12) as Table)
            .collect();
        self.hardware
            .borrow_mut()
            .retain(|_, root| !roots.contains(root));
    }
    fn child(&self, value: u64) -> Option<Table> {
        let entry = Entry(value);
        let offset = entry.hpa().get().checked_sub(TABLES_BASE)? >> 12;
        (entry.is_present() && (offset as usize) < self.pages.len()).then_some(offset as Table)
    }
    fn check(&self, table: Table, old: u64, new: u64) {
        self.stores.set(self.stores.get() + 1);
        let Some(&root) = self.hardware.borrow().get(&table) else {
            return;
        };
        let entry = Entry(new);
        if let Some(child) = self.child(old)
            && self.child(new) != Some(child)
        {
            self.cached.borrow_mut().insert(child, root);
            self.hardware.borrow_mut().remove(&child);
        }
        match self.child(new) {
            Some(child) => {
                assert!(
                    !self.cached.borrow().contains_key(&child),
                    "table {child} is linked while a TLB may know it from before"
                );
                assert_eq!(new & 0xf8, 0, "reserved bits in a table entry");
                for cell in &self.pages[child as usize] {
                    assert!(Entry(cell.get()).is_legal(0, 46), "linked before complete");
                }
                self.hardware.borrow_mut().insert(child, root);
            }
            None => assert!(
                entry.is_legal(0, 46),
                "entry {new:#x} stored in table {table} is a misconfiguration"
            ),
        }
    }
    /// The independent judge: a walk as hardware does it, from nothing but the root.
    /// `Ok(hpa, permissions, level)` or the violation's level.
    pub fn judge(&self, root: Hpa, gpa: u64, levels: u8) -> Result<(u64, u64, u8), u8> {
        let mut table = root.get();
        let mut permitted = 7;
        for level in (0..levels).rev() {
            let page = &self.pages[((table - TABLES_BASE) >> 12) as usize];
            let shift = 12 + 9 * u32::from(level);
            let entry = page[(gpa >> shift) as usize & 511].get();
            if entry & 7 == 0 {
                return Err(level);
            }
            permitted &= entry & 7;
            let address = entry & 0x000f_ffff_ffff_f000;
            if level == 0 || entry & 0x80 != 0 {
                assert!(level <= 2, "leaf above 1 GiB");
                let mask = (1u64 << shift) - 1;
                assert_eq!(address & mask, 0, "unaligned leaf");
                return Ok((address | gpa & mask, permitted, level));
            }
            table = address;
        }
        unreachable!("level 0 is a leaf")
    }
}

impl TableMemory for &Replay {
    fn base(&self) -> Hpa {
        Hpa::new(TABLES_BASE)
    }
    fn count(&self) -> usize {
        self.pages.len()
    }
    fn load(&self, table: Table, index: usize) -> u64 {
        self.pages[table as usize][index].get()
    }
    fn store(&self, table: Table, index: usize, value: u64) {
        let old = self.pages[table as usize][index].replace(value);
        self.check(table, old, value);
    }
    fn swap(&self, table: Table, index: usize, value: u64) -> u64 {
        let old = self.pages[table as usize][index].replace(value);
        self.check(table, old, value);
        old
    }
}
