//! The translation lookaside buffer: guest-linear pages to host frames.

use crate::directory::Directory;
use gpa::{PAGE_SHIFT, PAGE_SIZE};

const ENTRIES: usize = 1024;
const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// Who accesses memory, and how: each pair is a bit in an entry's tag that *denies* it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// CPL 3.
    User,
    /// CPL 0 to 2, user pages refused if SMAP is on.
    Supervisor,
    /// CPL 0 to 2 with RFLAGS.AC: user pages allowed.
    SupervisorAc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Fetch,
}

/// The tag bits in which an entry must agree with the wanted page and which it must not deny.
pub(crate) const fn mask(access: Access, mode: Mode) -> u64 {
    let bit = match (access, mode) {
        (Access::Read, Mode::User) => 0,
        (Access::Write, Mode::User) => 1,
        (Access::Fetch, Mode::User) => 2,
        (Access::Read, Mode::Supervisor) => 3,
        (Access::Write, Mode::Supervisor) => 4,
        (Access::Fetch, Mode::Supervisor | Mode::SupervisorAc) => 5,
        (Access::Read, Mode::SupervisorAc) => 6,
        (Access::Write, Mode::SupervisorAc) => 7,
    };
    PAGE_MASK | 1 << bit
}

const ALL_MODES: u64 = 0xff;
const ALL_WRITES: u64 = 1 << 1 | 1 << 4 | 1 << 7;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Linear page and denied accesses; all ones is no entry.
    tag: u64,
    /// Host frame base, and the bits below.
    data: u64,
}

/// In [`Entry::data`]: survives a CR3 write.
const GLOBAL: u64 = 1 << 0;
/// In [`Entry::data`]: part of a larger guest page.
const LARGE: u64 = 1 << 1;

#[derive(Clone)]
pub(crate) struct Tlb {
    /// The guest's page directories, which every flush concerns (SDM vol. 3A, 4.10.4.1).
    pub directories: Directory,
    entries: [Entry; ENTRIES],
    has_large: bool,
}

impl Tlb {
    pub const fn new() -> Self {
        Self {
            directories: Directory::new(),
            entries: [Entry { tag: !0, data: 0 }; ENTRIES],
            has_large: false,
        }
    }

    /// The host physical address for an access to `linear..linear + bytes`, all in one page,
    /// whose tag must match under `mask`.
    #[inline(always)]
    pub fn get(&self, linear: u64, bytes: u64, mask: u64) -> Option<u64> {
        let entry = &self.entries[(linear >> PAGE_SHIFT) as usize % ENTRIES];
        let last = linear.wrapping_add(bytes - 1) & PAGE_MASK;
        if (entry.tag ^ last) & mask == 0 {
            Some(entry.data & PAGE_MASK | linear & !PAGE_MASK)
        } else {
            None
        }
    }

    /// Enters a translation; `allowed` is the set of accesses by the bits of their masks.
    pub fn insert(&mut self, linear: u64, hpa: u64, allowed: u64, global: bool, large: bool) {
        self.has_large |= large;
        self.entries[(linear >> PAGE_SHIFT) as usize % ENTRIES] = Entry {
            tag: linear & PAGE_MASK | (!allowed & ALL_MODES),
            data: hpa & PAGE_MASK | (global as u64 * GLOBAL) | (large as u64 * LARGE),
        };
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.directories.flush();
        self.entries.fill(Entry { tag: !0, data: 0 });
        self.has_large = false;
    }

    /// Forgets all but global translations.
    pub fn flush_non_global(&mut self) {
        self.directories.flush();
        for entry in &mut self.entries {
            if entry.data & GLOBAL == 0 {
                entry.tag = !0;
            }
        }
    }

    /// Forgets the translation of a page, and those of larger pages that may hold it.
    pub fn flush_page(&mut self, linear: u64) {
        self.directories.flush();
        let entry = &mut self.entries[(linear >> PAGE_SHIFT) as usize % ENTRIES];
        if (entry.tag ^ linear) & PAGE_MASK == 0 {
            entry.tag = !0;
        }
        if self.has_large {
            for entry in &mut self.entries {
                if entry.data & LARGE != 0 && (entry.tag ^ linear) >> 30 == 0 {
                    entry.tag = !0;
                }
            }
        }
    }

    /// Refuses writes to the frame at `hpa`, or to all frames, until they are walked again.
    pub fn deny_writes(&mut self, hpa: Option<u64>) {
        for entry in &mut self.entries {
            if hpa.is_none_or(|hpa| (entry.data ^ hpa) & PAGE_MASK == 0) {
                entry.tag |= ALL_WRITES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_that_leaves_the_page_misses() {
        let mut tlb = Tlb::new();
        let read = mask(Access::Read, Mode::Supervisor);
        tlb.insert(0x5000, 0x9_9000, read, false, false);
        assert_eq!(tlb.get(0x5ff8, 8, read), Some(0x9_9ff8));
        assert_eq!(tlb.get(0x5ff9, 8, read), None);
        assert_eq!(tlb.get(0x5000, 1, mask(Access::Read, Mode::User)), None);
        assert_eq!(
            tlb.get(0x5000, 1, mask(Access::Write, Mode::Supervisor)),
            None
        );
        assert_eq!(tlb.get(0x5000 + ((ENTRIES as u64) << 12), 1, read), None);
    }

    #[test]
    fn flushes_take_what_they_say() {
        let read = mask(Access::Read, Mode::User);
        let write = mask(Access::Write, Mode::User);
        let mut tlb = Tlb::new();
        tlb.insert(0x1000, 0x1000, read | write, true, false);
        tlb.insert(0x2000, 0x2000, read | write, false, false);
        tlb.insert(0x3000, 0x3000, read | write, false, true);
        tlb.deny_writes(Some(0x2abc));
        assert!(tlb.get(0x2000, 1, write).is_none());
        assert!(tlb.get(0x2000, 1, read).is_some());
        assert!(tlb.get(0x1000, 1, write).is_some());
        tlb.flush_page(0x20_0000);
        assert!(tlb.get(0x3000, 1, read).is_none(), "may be one large page");
        assert!(tlb.get(0x2000, 1, read).is_some());
        tlb.flush_non_global();
        assert!(tlb.get(0x2000, 1, read).is_none());
        assert!(tlb.get(0x1000, 1, read).is_some());
        tlb.flush_page(0x1fff);
        assert!(tlb.get(0x1000, 1, read).is_none());
    }
}
