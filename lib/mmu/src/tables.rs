//! The pool of table pages, with 16 bytes of metadata each.
//!
//! A free table page holds zeros only: a page that gets linked maps nothing, whatever the
//! hardware reads of it and when. A page that was unlinked goes to *limbo*, for a TLB or a
//! paging-structure cache may still know it; it is free again when its VM's TLBs were flushed.

use crate::keys::Keys;
use crate::memory::{NO_TABLE, Table, TableMemory};
use ept::ENTRIES;

/// What is known about one table page beside its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableMeta {
    /// The table that points here; in the free list and in limbo: the next page.
    pub(crate) parent: Table,
    /// Which entry of `parent` points here.
    pub(crate) index: u16,
    /// How many entries aren't zero.
    pub(crate) live: u16,
    /// Private tables: the Secure EPT page that this one mirrors, as a control page number.
    pub(crate) sept: u16,
    /// Private tables of level 0: the 2 MiB block its pages come from.
    pub(crate) home: u16,
    /// Level of the entries: 0 = they map 4 KiB pages.
    pub(crate) level: u8,
    /// The VM it belongs to.
    pub(crate) vm: u8,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Which root it hangs under.
    pub(crate) root: u8,
    /// Private tables of level 0: how often they were seen full, see [`crate::tidy`].
    pub(crate) looks: u8,
    spare: u8,
}

const _: () = assert!(size_of::<TableMeta>() == 16);

/// What a table page is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// For nothing; all zero.
    Free,
    /// Mirror of a Secure EPT page. No hardware reads it.
    Mirror,
    /// Part of an EPT that hardware walks.
    Hardware,
    /// Unlinked, waits for a TLB flush.
    Limbo,
}

impl TableMeta {
    /// A page in no pool yet: what to fill the metadata array with.
    pub const NEW: Self = Self {
        parent: NO_TABLE,
        index: 0,
        live: 0,
        sept: u16::MAX,
        home: u16::MAX,
        level: 0,
        vm: 0,
        kind: Kind::Free,
        root: 0,
        looks: 0,
        spare: 0,
    };
}

/// The table pages of all VMs.
#[derive(Debug)]
pub struct Tables<'a, M> {
    /// The pages.
    pub memory: M,
    pub(crate) meta: &'a mut [TableMeta],
    pub(crate) keys: Keys<'a>,
    free: Table,
    used: usize,
}

impl<'a, M: TableMemory> Tables<'a, M> {
    /// A pool over as many pages as both `memory` and `meta` have. Clears them all.
    pub fn new(memory: M, meta: &'a mut [TableMeta]) -> Self {
        let count = meta.len().min(memory.count()).min(NO_TABLE as usize);
        let (meta, _) = meta.split_at_mut(count);
        for (table, meta) in meta.iter_mut().enumerate() {
            for index in 0..ENTRIES {
                memory.store(table as Table, index, 0);
            }
            let next = table + 1;
            *meta = TableMeta {
                parent: if next < count {
                    next as Table
                } else {
                    NO_TABLE
                },
                ..TableMeta::NEW
            };
        }
        Self {
            memory,
            free: if count == 0 { NO_TABLE } else { 0 },
            meta,
            keys: Keys::NONE,
            used: 0,
        }
    }

    /// The same pool with indexes by key, for VMs that ask for them.
    pub fn with_keys(mut self, keys: Keys<'a>) -> Self {
        self.keys = keys;
        self
    }
    /// The indexes by key.
    pub fn keys(&self) -> &Keys<'a> {
        &self.keys
    }

    /// Pages in use (limbo included).
    pub fn used(&self) -> usize {
        self.used
    }
    /// Free pages.
    pub fn available(&self) -> usize {
        self.meta.len() - self.used
    }

    /// What is known about a page; of a number that is none: about a free one.
    #[inline]
    pub(crate) fn meta(&self, table: Table) -> TableMeta {
        self.meta
            .get(table as usize)
            .copied()
            .unwrap_or(TableMeta::NEW)
    }
    #[inline]
    pub(crate) fn edit(&mut self, table: Table, change: impl FnOnce(&mut TableMeta)) {
        if let Some(meta) = self.meta.get_mut(table as usize) {
            change(meta);
        }
    }

    /// Takes a free page, all zero.
    pub(crate) fn take(&mut self, vm: u8, root: u8, level: u8, kind: Kind) -> Option<Table> {
        let table = self.free;
        let meta = self.meta.get_mut(table as usize)?;
        self.free = meta.parent;
        *meta = TableMeta {
            level,
            vm,
            kind,
            root,
            ..TableMeta::NEW
        };
        self.used += 1;
        Some(table)
    }

    /// Gives back a page that nothing points to and no TLB knows. Clears what is left in it.
    pub(crate) fn give(&mut self, table: Table) {
        self.keys.remove(table);
        let Some(meta) = self.meta.get_mut(table as usize) else {
            return;
        };
        if meta.live != 0 {
            for index in 0..ENTRIES {
                self.memory.store(table, index, 0);
            }
        }
        *meta = TableMeta {
            parent: self.free,
            ..TableMeta::NEW
        };
        self.free = table;
        self.used -= 1;
    }

    /// Puts an unlinked page before `list` (a VM's limbo); gives the new list.
    pub(crate) fn retire(&mut self, table: Table, list: Table) -> Table {
        self.keys.remove(table);
        self.edit(table, |meta| {
            meta.kind = Kind::Limbo;
            meta.parent = list;
        });
        table
    }

    /// Frees a whole limbo list: the VM's TLBs were flushed.
    pub(crate) fn release(&mut self, mut list: Table) {
        while let Some(&meta) = self.meta.get(list as usize) {
            if meta.kind != Kind::Limbo {
                return;
            }
            self.give(list);
            list = meta.parent;
        }
    }
}
