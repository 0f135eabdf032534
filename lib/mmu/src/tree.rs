//! One tree of tables: walk, map, unmap, split, merge. Knows levels and entries, but neither
//! VMs' memory nor what an address means.
//!
//! ```text
//! root.top = 3 (or 4)   [....|e|....]          entry e of level 3 points to a table of level 2
//!                             '-> level 2: 1 GiB each, leaf or table
//!                                    '-> level 1: 2 MiB each, leaf or table
//!                                           '-> level 0: 4 KiB each, leaf
//! ```
//! The index at every level comes from the *whole* address, stolen bits included, as the
//! hardware takes it: aliases of one frame live side by side in the same tree.
//!
//! Every store leaves a tree that the hardware may walk at once: a table is linked when it is
//! complete, and unlinked before anything in it goes away for good.

use crate::error::{Error, Resource};
use crate::keys::Key;
use crate::memory::{NO_TABLE, Table, TableMemory};
use crate::tables::{Kind, Tables};
use crate::vm::{Finder, PRIVATE};
use ept::{ENTRIES, Entry, INDEX_BITS, index, level_shift};
use gpa::Gpa;

/// The root of a tree, and the way that was taken last: what a paging-structure cache is to the
/// hardware. Whoever unlinks a table forgets it.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    pub(crate) table: Table,
    pub(crate) top: u8,
    pub(crate) id: u8,
    pub(crate) vm: u8,
    /// The table of 4 KiB entries that was used last, and of which 2 MiB.
    last: Table,
    tag: u64,
    /// The table of 2 MiB entries above it, and of which 1 GiB.
    middle: Table,
    middle_tag: u64,
    /// How tables of 4 KiB entries are found.
    finder: Finder,
    /// The VM's stolen bits (as an address mask), where they are found by key.
    stolen: u64,
    /// The execute-only bit among them.
    execute_only: u64,
}

const NO_TAG: u64 = u64::MAX;

impl Root {
    /// No tree.
    pub(crate) const NONE: Self = Self {
        table: NO_TABLE,
        top: 3,
        id: 0,
        vm: 0,
        last: NO_TABLE,
        tag: NO_TAG,
        middle: NO_TABLE,
        middle_tag: NO_TAG,
        finder: Finder::Walk,
        stolen: 0,
        execute_only: 0,
    };
    /// Whether there is a tree.
    pub fn exists(&self) -> bool {
        self.table != NO_TABLE
    }
    /// The root's table page.
    pub fn table(&self) -> Table {
        self.table
    }
    /// Level of the root's entries: 3 for a tree of 4 levels, 4 for 5.
    pub fn top(&self) -> u8 {
        self.top
    }
    /// Has the tables of this tree found by key. `stolen` and `execute_only` are address masks.
    pub(crate) fn keyed(mut self, finder: Finder, stolen: u64, execute_only: u64) -> Self {
        self.finder = finder;
        self.stolen = stolen;
        self.execute_only = execute_only;
        self
    }
    /// The key of the table of 4 KiB entries around `gpa`.
    fn key(&self, gpa: Gpa) -> Key {
        let kind = gpa.get() & self.stolen;
        Key {
            gfn: (gpa.get() & !self.stolen) >> level_shift(1) << 9,
            stolen: kind,
            shift: self.stolen.trailing_zeros().min(63) as u8,
            level: 0,
            vm: self.vm,
            private: self.id == PRIVATE as u8,
            execute_only: kind & self.execute_only != 0,
        }
    }
    pub(crate) fn forget(&mut self) {
        self.tag = NO_TAG;
        self.middle_tag = NO_TAG;
    }
    /// Notes where the 4 KiB entries around `gpa` are, and the 2 MiB entries above them.
    pub(crate) fn remember(&mut self, gpa: Gpa, table: Table, middle: Table) {
        self.tag = gpa.get() >> level_shift(1);
        self.last = table;
        self.middle_tag = gpa.get() >> level_shift(2);
        self.middle = middle;
    }
    /// The lowest table on the way to `gpa` that is known, of level 1 or above, and the shift
    /// of its level.
    #[inline]
    fn nearest(&self, gpa: Gpa) -> (Table, u32) {
        if gpa.get() >> level_shift(2) == self.middle_tag {
            (self.middle, level_shift(1))
        } else {
            (self.table, level_shift(self.top))
        }
    }
}

/// An entry and where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    /// The table that holds the entry.
    pub table: Table,
    /// Its place in the table.
    pub index: usize,
    /// The table's level.
    pub level: u8,
    /// The entry.
    pub entry: Entry,
}

impl Spot {
    /// Whether the entry maps a page.
    pub fn is_leaf(&self) -> bool {
        self.entry.is_present() && self.entry.is_leaf(self.level)
    }
    /// Whether the entry points to a table.
    pub fn is_table(&self) -> bool {
        self.entry.is_present() && !self.entry.is_leaf(self.level)
    }
}

/// Whether an entry above level 0 is present and no leaf: any of bits 2:0 set, bit 7 clear.
#[inline]
fn points_to_table(entry: u64) -> bool {
    (entry & (Entry::LEAF | 7)).wrapping_sub(1) < 7
}

impl<M: TableMemory> Tables<'_, M> {
    /// Makes an empty tree with entries of level `top` in its root.
    ///
    /// # Errors
    /// `NoMemory(Tables)`.
    pub fn plant(&mut self, vm: u8, id: u8, top: u8, kind: Kind) -> Result<Root, Error> {
        let table = self
            .take(vm, id, top, kind)
            .ok_or(Error::NoMemory(Resource::Tables))?;
        Ok(Root {
            table,
            top,
            id,
            vm,
            ..Root::NONE
        })
    }

    /// The deepest entry on the way to `gpa`, at `floor` or above.
    #[inline]
    pub fn walk(&self, root: &Root, gpa: Gpa, floor: u8) -> Spot {
        if floor == 0
            && let Some(table) = self.known_table(root, gpa)
        {
            let index = index(gpa.get(), 0);
            return Spot {
                table,
                index,
                level: 0,
                entry: Entry(self.memory.load(table, index)),
            };
        }
        self.descend(root, gpa, floor)
    }

    /// The table of 4 KiB entries around `gpa`, if it can be had without a walk.
    #[inline]
    fn known_table(&self, root: &Root, gpa: Gpa) -> Option<Table> {
        if gpa.get() >> level_shift(1) == root.tag {
            return Some(root.last);
        }
        match root.finder {
            Finder::Walk => None,
            finder => self.keys.find(finder, &root.key(gpa)),
        }
    }

    /// The table of 4 KiB entries around `gpa`, if there is one: by key where the tree has
    /// keys, else by walk.
    fn leaf_table(&self, root: &mut Root, gpa: Gpa) -> Option<Table> {
        if root.finder != Finder::Walk {
            return self.keys.find(root.finder, &root.key(gpa));
        }
        let (mut table, mut shift) = root.nearest(gpa);
        let mut middle = table;
        while shift > level_shift(0) {
            middle = table;
            let entry = self
                .memory
                .load(table, (gpa.get() >> shift) as usize % ENTRIES);
            if !points_to_table(entry) {
                return None;
            }
            table = self.memory.table_at(Entry(entry).hpa());
            shift -= INDEX_BITS;
        }
        root.remember(gpa, table, middle);
        Some(table)
    }

    /// The walk itself.
    #[inline]
    fn descend(&self, root: &Root, gpa: Gpa, floor: u8) -> Spot {
        let stop = level_shift(floor);
        let (mut table, mut shift) = root.nearest(gpa);
        if stop > shift {
            (table, shift) = (root.table, level_shift(root.top));
        }
        loop {
            let index = (gpa.get() >> shift) as usize % ENTRIES;
            let entry = self.memory.load(table, index);
            if shift <= stop || !points_to_table(entry) {
                return Spot {
                    table,
                    index,
                    level: ((shift - level_shift(0)) / INDEX_BITS) as u8,
                    entry: Entry(entry),
                };
            }
            table = self.memory.table_at(Entry(entry).hpa());
            shift -= INDEX_BITS;
        }
    }

    /// The first leaf at or after `gpa` and before `end`, with the first address it maps.
    pub fn next_leaf(&self, root: &Root, gpa: Gpa, end: Gpa) -> Option<(Gpa, Spot)> {
        let mut at = gpa.get();
        while at < end.get() {
            let spot = self.walk(root, Gpa::new(at), 0);
            let size = 1u64 << level_shift(spot.level);
            if spot.is_leaf() {
                return Some((Gpa::new(at & !(size - 1)), spot));
            }
            at = (at | (size - 1)).checked_add(1)?;
        }
        None
    }

    /// Maps one leaf of `level` at `gpa`.
    ///
    /// # Errors
    /// `Occupied` where an entry (leaf or table) is in the way, `NoMemory(Tables)` without
    /// having changed anything.
    #[inline]
    pub fn map(&mut self, root: &mut Root, gpa: Gpa, level: u8, entry: Entry) -> Result<(), Error> {
        let table = if level != 0 {
            self.grow(root, gpa, level, Kind::Hardware)?
        } else if gpa.get() >> level_shift(1) == root.tag {
            root.last
        } else {
            match self.leaf_table(root, gpa) {
                Some(table) => table,
                None => self.grow(root, gpa, level, Kind::Hardware)?,
            }
        };
        let index = index(gpa.get(), level);
        if self.memory.load(table, index) != 0 {
            return Err(Error::Occupied);
        }
        self.memory.store(table, index, entry.0);
        if let Some(meta) = self.meta.get_mut(table as usize) {
            meta.live += 1;
        }
        Ok(())
    }

    /// The table of `level` on the way to `gpa`, with what is missing above it.
    #[inline(never)]
    pub(crate) fn grow(
        &mut self,
        root: &mut Root,
        gpa: Gpa,
        level: u8,
        kind: Kind,
    ) -> Result<Table, Error> {
        if level > root.top {
            return Err(Error::Unsupported);
        }
        let mut spot = self.walk(root, gpa, level);
        if spot.level > level && spot.is_leaf() {
            return Err(Error::Occupied);
        }
        if usize::from(spot.level - level) > self.available() {
            return Err(Error::NoMemory(Resource::Tables));
        }
        while spot.level > level {
            let child = self
                .take(root.vm, root.id, spot.level - 1, kind)
                .ok_or(Error::NoMemory(Resource::Tables))?;
            self.link(root, &spot, child, gpa);
            spot = Spot {
                table: child,
                index: index(gpa.get(), spot.level - 1),
                level: spot.level - 1,
                entry: Entry::EMPTY,
            };
        }
        if level == 0 {
            let middle = self.meta(spot.table).parent;
            root.remember(gpa, spot.table, middle);
        }
        Ok(spot.table)
    }

    /// Points an empty entry, on the way to `gpa`, to a complete table.
    pub(crate) fn link(&mut self, root: &Root, spot: &Spot, child: Table, gpa: Gpa) {
        self.enter(root, spot.level - 1, child, gpa);
        self.edit(child, |meta| {
            meta.parent = spot.table;
            meta.index = spot.index as u16;
        });
        let entry = Entry::table(self.memory.hpa(child));
        self.memory.store(spot.table, spot.index, entry.0);
        self.edit(spot.table, |meta| meta.live += 1);
    }

    /// Enters a table of 4 KiB entries into the tree's index, if it has one.
    pub(crate) fn enter(&mut self, root: &Root, level: u8, child: Table, gpa: Gpa) {
        if level == 0 && root.finder != Finder::Walk {
            self.keys.insert(root.finder, child, &root.key(gpa));
        }
    }

    /// Sets an entry that is in use already to another value in use.
    pub(crate) fn set(&mut self, spot: &Spot, entry: Entry) {
        self.memory.store(spot.table, spot.index, entry.0);
    }

    /// Maps 4 KiB pages at `gpa` and after: page `i` with `first` moved up by `i` pages.
    /// Gives how many were mapped: fewer than `pages` where an entry was in the way or table
    /// pages ran out.
    pub fn map_range(&mut self, root: &mut Root, gpa: Gpa, pages: u64, first: Entry) -> u64 {
        let mut done = 0;
        while done < pages {
            let at = Gpa::new(gpa.get() + (done << 12));
            let Ok(table) = self.grow(root, at, 0, Kind::Hardware) else {
                break;
            };
            let start = index(at.get(), 0);
            let stop = (start as u64 + (pages - done)).min(ENTRIES as u64) as usize;
            let mut entry = first.0 + (done << 12);
            let mut filled = start;
            while filled < stop && self.memory.load(table, filled) == 0 {
                self.memory.store(table, filled, entry);
                entry += 1 << 12;
                filled += 1;
            }
            let count = filled - start;
            self.edit(table, |meta| meta.live += count as u16);
            done += count as u64;
            if filled < stop {
                break;
            }
        }
        done
    }

    /// Unmaps the one leaf that maps `gpa`; gives its level and what it was. Its table stays,
    /// even if empty, for the next page.
    #[inline]
    pub fn unmap(&mut self, root: &mut Root, gpa: Gpa) -> Option<(u8, Entry)> {
        let known = gpa.get() >> level_shift(1) == root.tag;
        let known = known.then_some(root.last);
        let (table, level) = match known.or_else(|| self.leaf_table(root, gpa)) {
            Some(table) => (table, 0),
            None => {
                let spot = self.descend(root, gpa, 0);
                if !spot.is_leaf() {
                    return None;
                }
                (spot.table, spot.level)
            }
        };
        let old = self.memory.swap(table, index(gpa.get(), level), 0);
        if old == 0 {
            return None;
        }
        if let Some(meta) = self.meta.get_mut(table as usize) {
            meta.live -= 1;
        }
        Some((level, Entry(old)))
    }

    /// Unmaps every leaf in `gpa..end` (no leaf may straddle an end: [`split`](Self::split)
    /// first) and tells `each` of it. Tables that get empty go into limbo; gives its new head.
    pub(crate) fn zap(
        &mut self,
        root: &mut Root,
        gpa: Gpa,
        end: Gpa,
        mut limbo: Table,
        mut each: impl FnMut(Gpa, u8, Entry),
    ) -> Table {
        let mut at = gpa;
        while let Some((start, spot)) = self.next_leaf(root, at, end) {
            let size = 1u64 << level_shift(spot.level);
            let mut next = start.get();
            let mut index = spot.index;
            let mut cleared = 0;
            while index < ENTRIES && next < end.get() {
                let entry = Entry(self.memory.load(spot.table, index));
                if !entry.is_present() || !entry.is_leaf(spot.level) {
                    break;
                }
                // Swapped, so that a dirty bit set since the load is seen.
                let old = Entry(self.memory.swap(spot.table, index, 0));
                each(Gpa::new(next), spot.level, old);
                cleared += 1;
                index += 1;
                next += size;
            }
            self.edit(spot.table, |meta| meta.live -= cleared);
            limbo = self.prune(root, spot.table, limbo);
            at = Gpa::new(next);
        }
        limbo
    }

    /// Unlinks `table`, and what is above it, as far as it is empty. Gives the new limbo.
    pub(crate) fn prune(&mut self, root: &mut Root, mut table: Table, mut limbo: Table) -> Table {
        loop {
            let meta = self.meta(table);
            if meta.live != 0 || table == root.table || meta.parent == NO_TABLE {
                return limbo;
            }
            self.memory.store(meta.parent, meta.index as usize, 0);
            self.edit(meta.parent, |parent| parent.live -= 1);
            root.forget();
            limbo = self.retire(table, limbo);
            table = meta.parent;
        }
    }

    /// Replaces the leaf at `spot`, which maps `gpa`, by a table of 512 smaller leaves that map the same.
    ///
    /// # Errors
    /// `NoMemory(Tables)`; `Unsupported` where `spot` isn't a leaf above level 0.
    pub(crate) fn split(
        &mut self,
        root: &mut Root,
        spot: &Spot,
        gpa: Gpa,
        kind: Kind,
    ) -> Result<(), Error> {
        if !spot.is_leaf() || spot.level == 0 {
            return Err(Error::Unsupported);
        }
        let child_level = spot.level - 1;
        let child = self
            .take(root.vm, root.id, child_level, kind)
            .ok_or(Error::NoMemory(Resource::Tables))?;
        let large = if child_level == 0 { Entry::LEAF } else { 0 };
        let step = 1u64 << level_shift(child_level);
        let first = spot.entry.0 & !large;
        for i in 0..ENTRIES {
            self.memory.store(child, i, first + i as u64 * step);
        }
        self.edit(child, |meta| {
            meta.live = ENTRIES as u16;
            meta.parent = spot.table;
            meta.index = spot.index as u16;
        });
        let table = Entry::table(self.memory.hpa(child));
        let old = self.memory.swap(spot.table, spot.index, table.0);
        // The hardware may have set accessed or dirty while the table was filled.
        let late = old & !spot.entry.0 & (Entry::ACCESSED | Entry::DIRTY);
        if late != 0 {
            for i in 0..ENTRIES {
                let entry = self.memory.load(child, i);
                self.memory.store(child, i, entry | late);
            }
        }
        self.enter(root, child_level, child, gpa);
        root.forget();
        Ok(())
    }

    /// Replaces a full table of like leaves, contiguous and aligned in host memory, by one leaf
    /// of the level above (at most 1 GiB). `spot` is the entry that points to the table. Gives
    /// the new limbo, or `None` where the leaves don't allow it.
    pub(crate) fn merge(&mut self, root: &mut Root, spot: &Spot, limbo: Table) -> Option<Table> {
        if !spot.is_table() || spot.level > 2 {
            return None;
        }
        let child = self.memory.table_at(spot.entry.hpa());
        let ad = Entry::ACCESSED | Entry::DIRTY;
        let first = self.memory.load(child, 0);
        let step = 1u64 << level_shift(spot.level - 1);
        let aligned = (first & Entry::ADDRESS) & ((1 << level_shift(spot.level)) - 1) == 0;
        if !aligned || !Entry(first).is_present() || !Entry(first).is_leaf(spot.level - 1) {
            return None;
        }
        let mut seen = 0;
        for i in 0..ENTRIES {
            let entry = self.memory.load(child, i);
            if entry & !ad != (first & !ad) + i as u64 * step {
                return None;
            }
            seen |= entry & ad;
        }
        let leaf = first & !ad | seen | Entry::LEAF;
        self.memory.store(spot.table, spot.index, leaf);
        root.forget();
        Some(self.retire(child, limbo))
    }

    /// Takes a whole tree apart: every leaf is told to `each`, every page (the root's too) goes
    /// to the free list. Only for a tree that no TLB knows any more.
    pub(crate) fn fell(&mut self, root: &mut Root, each: impl FnMut(Gpa, u8, Entry)) {
        if !root.exists() {
            return;
        }
        let end = Gpa::new(1 << level_shift(root.top + 1));
        let limbo = self.zap(root, Gpa::new(0), end, NO_TABLE, each);
        self.release(limbo);
        // What is left holds no leaf: linked but empty tables.
        for table in 0..self.meta.len() as Table {
            let meta = self.meta(table);
            let ours = meta.vm == root.vm && meta.root == root.id;
            if ours && matches!(meta.kind, Kind::Mirror | Kind::Hardware) {
                self.give(table);
            }
        }
        *root = Root::NONE;
    }
}
