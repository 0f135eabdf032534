//! What walks remember of the directories: entries that stand for 2 MiB.

/// Addresses in `1 << SHIFT` bytes share an entry.
const SHIFT: u32 = 21;
const ENTRIES: usize = 64;

/// Level-1 entries of one kind of tree, by the address that leads to them: leaves of 2 MiB and
/// references to a table of 4 KiB leaves. What the levels above say about permissions is folded
/// into the entry.
///
/// The processors' paging-structure caches (SDM vol. 3A, 4.10.3; vol. 3C, 29.4) are like this:
/// an entry stays until its owner is told to forget it, whatever is in memory.
#[derive(Clone)]
pub(crate) struct Directory {
    /// The addresses, without their low bits; all ones is none.
    tags: [u64; ENTRIES],
    entries: [u64; ENTRIES],
}

impl Directory {
    pub const fn new() -> Self {
        Self {
            tags: [!0; ENTRIES],
            entries: [0; ENTRIES],
        }
    }

    #[inline(always)]
    fn slot(tag: u64) -> usize {
        (tag ^ tag >> 7 ^ tag >> 15) as usize % ENTRIES
    }

    /// The entry for `address`.
    #[inline(always)]
    pub fn get(&self, address: u64) -> Option<u64> {
        let tag = address >> SHIFT;
        let slot = Self::slot(tag);
        (self.tags[slot] == tag).then_some(self.entries[slot])
    }

    /// Enters the entry for `address`.
    pub fn insert(&mut self, address: u64, entry: u64) {
        let tag = address >> SHIFT;
        let slot = Self::slot(tag);
        self.tags[slot] = tag;
        self.entries[slot] = entry;
    }

    /// Forgets the entry for `address`.
    pub fn forget(&mut self, address: u64) {
        let tag = address >> SHIFT;
        let slot = Self::slot(tag);
        if self.tags[slot] == tag {
            self.tags[slot] = !0;
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.tags = [!0; ENTRIES];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_within_its_2_mib_until_it_is_forgotten() {
        let mut directory = Directory::new();
        directory.insert(0x1234_5678, 7);
        directory.insert(0xffff_8000_0020_0000, 9);
        assert_eq!(directory.get(0x1220_0000), Some(7));
        assert_eq!(directory.get(0x123f_ffff), Some(7));
        assert_eq!(directory.get(0x1240_0000), None);
        assert_eq!(directory.get(0x11ff_ffff), None);
        directory.forget(0x1240_0000);
        directory.forget(0x1220_0000);
        assert_eq!(directory.get(0x1234_5678), None);
        assert_eq!(directory.get(0xffff_8000_003f_ffff), Some(9));
        directory.flush();
        assert_eq!(directory.get(0xffff_8000_003f_ffff), None);
    }

    #[test]
    fn addresses_that_share_a_slot_are_told_apart() {
        let mut directory = Directory::new();
        let mut places = std::collections::HashMap::new();
        for i in 0..4096u64 {
            let address = i << SHIFT;
            places.insert(Directory::slot(i), address);
            directory.insert(address, !address);
        }
        for i in 0..4096u64 {
            let address = i << SHIFT;
            let last = places[&Directory::slot(i)] == address;
            assert_eq!(directory.get(address), last.then_some(!address));
        }
    }
}
