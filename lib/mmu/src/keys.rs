//! Finding a table page by key instead of by walk: the three keys that were proposed.
//!
//! A table page is known by which frames it maps (`gfn`, level), for which VM, and for which
//! kind of access. The designs differ in where the kind goes:
//!
//! | design | key | kind of access |
//! | --- | --- | --- |
//! | [`StolenKey`] | `gfn \| stolen`, role | address bits, as the guest has them |
//! | [`RoleKey`] | `gfn`, role | one role bit per purpose |
//! | [`PackedKey`] | one word `gfn:52 / stolen:12` | the 12 low bits |
//!
//! A VM whose [`Finder`] names one of them uses its index for every lookup of a table of 4 KiB
//! entries; a miss is answered by the walk. The indexes are built into the MMU by
//! [`Tables::with_keys`](crate::Tables::with_keys).

use crate::memory::{NO_TABLE, Table};
use crate::vm::Finder;
use core::cell::Cell;

/// What a table page is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// First frame number that it maps, without stolen bits.
    pub gfn: u64,
    /// The stolen bits of its address, as a mask over the address.
    pub stolen: u64,
    /// How far down the lowest stolen bit is.
    pub shift: u8,
    /// Level of its entries.
    pub level: u8,
    /// The VM, below 64.
    pub vm: u8,
    /// Under the private root.
    pub private: bool,
    /// For an execute-only alias.
    pub execute_only: bool,
}

/// A way to write a [`Key`] down.
pub trait KeyDesign: Copy + PartialEq {
    /// No key.
    const NONE: Self;
    /// Writes a key down.
    fn new(key: &Key) -> Self;
    /// What the bucket comes from.
    fn hash(&self) -> u64;
    /// Whether only the role differs, if anything: what doesn't count as a collision.
    fn same_frame(&self, other: &Self) -> bool;
}

/// Role bits beside a frame number.
fn role(key: &Key) -> u32 {
    u32::from(key.level) | u32::from(key.vm) << 8
}

/// Design 1: frame number and stolen bits as one number, the role beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StolenKey([u32; 3]);

impl KeyDesign for StolenKey {
    const NONE: Self = Self([u32::MAX; 3]);
    #[inline]
    fn new(key: &Key) -> Self {
        let number = key.gfn | key.stolen >> 12;
        Self([number as u32, (number >> 32) as u32, role(key)])
    }
    #[inline]
    fn hash(&self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }
    #[inline]
    fn same_frame(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

/// Design 2: a role bit per purpose; the frame number is the same for every alias.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleKey([u32; 3]);

impl KeyDesign for RoleKey {
    const NONE: Self = Self([u32::MAX; 3]);
    #[inline]
    fn new(key: &Key) -> Self {
        let kind = u32::from(key.private) << 3 | u32::from(key.execute_only) << 4;
        Self([key.gfn as u32, (key.gfn >> 32) as u32, role(key) | kind])
    }
    #[inline]
    fn hash(&self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }
    #[inline]
    fn same_frame(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

/// Design 3: one word. The frame number of a table of 512 pages or more is a multiple of 512:
/// level and VM stand in its nine low bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackedKey(u64);

impl KeyDesign for PackedKey {
    const NONE: Self = Self(u64::MAX);
    #[inline]
    fn new(key: &Key) -> Self {
        let low = u64::from(key.level) | u64::from(key.vm) << 3;
        Self((key.gfn | low) << 12 | key.stolen >> key.shift & 0xfff)
    }
    #[inline]
    fn hash(&self) -> u64 {
        self.0
    }
    #[inline]
    fn same_frame(&self, other: &Self) -> bool {
        self.0 >> 12 == other.0 >> 12
    }
}

/// What lookups met.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeyStats {
    /// Lookups.
    pub lookups: u64,
    /// Those that found a table.
    pub hits: u64,
    /// Pages looked at.
    pub probes: u64,
    /// Pages in the bucket with another frame number (what the kernel's MMU counts as
    /// collisions).
    pub collisions: u64,
    /// Pages in the bucket with the same frame number and another kind.
    pub other_kind: u64,
}

/// Table pages by key, in a chained hash table.
#[derive(Debug)]
pub struct KeyIndex<'a, K> {
    keys: &'a mut [K],
    next: &'a mut [Table],
    buckets: &'a mut [Table],
    stats: Cell<KeyStats>,
}

/// Bytes of index per table page, with as many buckets as pages.
pub const fn index_bytes<K>() -> usize {
    size_of::<K>() + 2 * size_of::<Table>()
}

const _: () = assert!(index_bytes::<StolenKey>() == 16);
const _: () = assert!(index_bytes::<RoleKey>() == 16);
const _: () = assert!(index_bytes::<PackedKey>() == 12);

impl<'a, K: KeyDesign> KeyIndex<'a, K> {
    /// An empty index for as many tables as `keys` and `next` have, over `buckets` (a power of
    /// two) buckets.
    ///
    /// # Errors
    /// `BadRange` where the number of buckets isn't a power of two.
    pub fn new(
        keys: &'a mut [K],
        next: &'a mut [Table],
        buckets: &'a mut [Table],
    ) -> Result<Self, crate::Error> {
        if !buckets.len().is_power_of_two() {
            return Err(crate::Error::BadRange);
        }
        keys.fill(K::NONE);
        next.fill(NO_TABLE);
        buckets.fill(NO_TABLE);
        Ok(Self {
            keys,
            next,
            buckets,
            stats: Cell::default(),
        })
    }

    #[inline]
    fn bucket(&self, key: &K) -> usize {
        // The golden ratio spreads consecutive numbers; the high bits are the good ones.
        let mixed = key.hash().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & (self.buckets.len() - 1)
    }

    /// Enters a table.
    pub fn insert(&mut self, table: Table, key: &Key) {
        let key = K::new(key);
        let bucket = self.bucket(&key);
        let (Some(slot), Some(next)) = (
            self.keys.get_mut(table as usize),
            self.next.get_mut(table as usize),
        ) else {
            return;
        };
        *slot = key;
        *next = self.buckets[bucket];
        self.buckets[bucket] = table;
    }

    /// Takes a table out, if it is in.
    pub fn remove(&mut self, table: Table) {
        let Some(&key) = self.keys.get(table as usize) else {
            return;
        };
        if key == K::NONE {
            return;
        }
        let after = self.next[table as usize];
        let bucket = self.bucket(&key);
        let mut at = self.buckets[bucket];
        if at == table {
            self.buckets[bucket] = after;
        }
        while let Some(next) = self.next.get_mut(at as usize) {
            if *next == table {
                *next = after;
                break;
            }
            at = *next;
        }
        self.keys[table as usize] = K::NONE;
        self.next[table as usize] = NO_TABLE;
    }

    /// The table with this key, without counting.
    #[inline]
    pub fn get(&self, key: &Key) -> Option<Table> {
        let wanted = K::new(key);
        let mut at = self.buckets[self.bucket(&wanted)];
        while let Some(key) = self.keys.get(at as usize) {
            if *key == wanted {
                return Some(at);
            }
            at = self.next[at as usize];
        }
        None
    }

    /// The table with this key, counted.
    pub fn find(&self, key: &Key) -> Option<Table> {
        let wanted = K::new(key);
        let mut stats = self.stats.get();
        stats.lookups += 1;
        let mut at = self.buckets[self.bucket(&wanted)];
        let mut found = None;
        while let Some(key) = self.keys.get(at as usize) {
            stats.probes += 1;
            if *key == wanted {
                stats.hits += 1;
                found = Some(at);
                break;
            }
            if key.same_frame(&wanted) {
                stats.other_kind += 1;
            } else {
                stats.collisions += 1;
            }
            at = self.next[at as usize];
        }
        self.stats.set(stats);
        found
    }

    /// What lookups met so far.
    pub fn stats(&self) -> KeyStats {
        self.stats.get()
    }
}

/// The indexes of an MMU: one of each design that its VMs may ask for.
#[derive(Debug, Default)]
pub struct Keys<'a> {
    /// Design 1.
    pub stolen: Option<KeyIndex<'a, StolenKey>>,
    /// Design 2.
    pub role: Option<KeyIndex<'a, RoleKey>>,
    /// Design 3.
    pub packed: Option<KeyIndex<'a, PackedKey>>,
}

impl Keys<'_> {
    /// No index: all VMs walk.
    pub const NONE: Self = Self {
        stolen: None,
        role: None,
        packed: None,
    };
    /// Whether a VM may ask for this.
    pub fn has(&self, finder: Finder) -> bool {
        match finder {
            Finder::Walk => true,
            Finder::StolenKey => self.stolen.is_some(),
            Finder::RoleKey => self.role.is_some(),
            Finder::PackedKey => self.packed.is_some(),
        }
    }
    pub(crate) fn insert(&mut self, finder: Finder, table: Table, key: &Key) {
        match self {
            Self {
                stolen: Some(index),
                ..
            } if finder == Finder::StolenKey => index.insert(table, key),
            Self {
                role: Some(index), ..
            } if finder == Finder::RoleKey => index.insert(table, key),
            Self {
                packed: Some(index),
                ..
            } if finder == Finder::PackedKey => index.insert(table, key),
            _ => {}
        }
    }
    /// Takes a table out of whichever index has it.
    pub(crate) fn remove(&mut self, table: Table) {
        self.stolen.iter_mut().for_each(|index| index.remove(table));
        self.role.iter_mut().for_each(|index| index.remove(table));
        self.packed.iter_mut().for_each(|index| index.remove(table));
    }
    pub(crate) fn find(&self, finder: Finder, key: &Key) -> Option<Table> {
        match finder {
            Finder::Walk => None,
            Finder::StolenKey => self.stolen.as_ref()?.find(key),
            Finder::RoleKey => self.role.as_ref()?.find(key),
            Finder::PackedKey => self.packed.as_ref()?.find(key),
        }
    }
    /// What lookups of this kind met so far.
    pub fn stats(&self, finder: Finder) -> KeyStats {
        let stats = match finder {
            Finder::Walk => None,
            Finder::StolenKey => self.stolen.as_ref().map(KeyIndex::stats),
            Finder::RoleKey => self.role.as_ref().map(KeyIndex::stats),
            Finder::PackedKey => self.packed.as_ref().map(KeyIndex::stats),
        };
        stats.unwrap_or_default()
    }
}
