//! Memory slots: which frame numbers a VM has, and of which kind each page is.

use gpa::Gfn;

/// Slots per VM.
pub const SLOTS: usize = 8;

/// What a slot is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotConfig {
    /// First frame number.
    pub gfn: Gfn,
    /// Pages.
    pub pages: u64,
    /// Every page begins as private (a TD's RAM); `false`: all shared, for good in a plain VM.
    pub private: bool,
    /// Largest leaf for shared or plain pages: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB.
    pub max_level: u8,
    /// The guest may not write (shared or plain pages).
    pub read_only: bool,
    /// Memory type of shared or plain pages.
    pub memory: ept::MemoryType,
}

impl SlotConfig {
    /// Private RAM of a TD.
    pub const fn private(gfn: Gfn, pages: u64) -> Self {
        Self {
            private: true,
            ..Self::plain(gfn, pages, 0)
        }
    }
    /// Memory without secrets, mapped by leaves up to `max_level`.
    pub const fn plain(gfn: Gfn, pages: u64, max_level: u8) -> Self {
        Self {
            gfn,
            pages,
            private: false,
            max_level,
            read_only: false,
            memory: ept::MemoryType::WriteBack,
        }
    }
}

/// A slot in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) config: SlotConfig,
    /// Where its attribute bits are among the words: one bit per page, 1 = private, starting at
    /// the 2 MiB boundary at or below its first page.
    pub(crate) attributes: u32,
    /// Where its dirty bits are, while it is logged.
    pub(crate) dirty: Option<u32>,
}

impl Slot {
    pub(crate) fn first(&self) -> u64 {
        self.config.gfn.get()
    }
    pub(crate) fn end(&self) -> u64 {
        self.config.gfn.get() + self.config.pages
    }
    pub(crate) fn contains(&self, gfn: u64) -> bool {
        gfn >= self.first() && gfn < self.end()
    }
    fn origin(&self) -> u64 {
        self.first() & !511
    }
    /// Words for one bit per page.
    pub(crate) fn words(&self) -> usize {
        ((self.end() - self.origin()).next_multiple_of(512) / 64) as usize
    }
    /// Word and bit of a page, counted from the first word of the slot.
    fn place(&self, gfn: u64) -> (usize, u64) {
        let bit = gfn - self.origin();
        ((bit / 64) as usize, 1 << (bit % 64))
    }
}

/// One bit per page for every slot of every VM, in words that the caller handed in.
#[derive(Debug)]
pub(crate) struct PageBits<'a> {
    pub(crate) words: &'a mut [u64],
}

impl PageBits<'_> {
    pub(crate) fn get(&self, at: u32, slot: &Slot, gfn: u64) -> bool {
        let (word, bit) = slot.place(gfn);
        self.words
            .get(at as usize + word)
            .is_some_and(|word| word & bit != 0)
    }
    pub(crate) fn set(&mut self, at: u32, slot: &Slot, gfn: u64, value: bool) {
        let (word, bit) = slot.place(gfn);
        if let Some(word) = self.words.get_mut(at as usize + word) {
            if value {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
    }
    pub(crate) fn set_range(&mut self, at: u32, slot: &Slot, from: u64, to: u64, value: bool) {
        for gfn in from..to {
            self.set(at, slot, gfn, value);
        }
    }
    /// Whether all (`value`) or none (`!value`) of the 512 pages at the aligned `gfn` are set;
    /// pages beyond the slot count as neither.
    pub(crate) fn region_is(&self, slot: &Slot, gfn: u64, value: bool) -> bool {
        if gfn < slot.first() || gfn + 512 > slot.end() {
            return false;
        }
        let start = slot.attributes as usize + slot.place(gfn).0;
        let want = if value { u64::MAX } else { 0 };
        self.words
            .get(start..start + 8)
            .is_some_and(|words| words.iter().all(|word| *word == want))
    }
}
