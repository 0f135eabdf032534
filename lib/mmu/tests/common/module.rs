//! A naive TDX module for memory: maps instead of tables, rules as the ABI states them. Shares
//! no code with the MMU.

use mmu::Step;
use std::collections::{BTreeMap, HashMap, HashSet};

pub const BUSY: u64 = 0x8000_0200_0000_0092;
pub const INVALID: u64 = 0xc000_0100_0000_0001;
const EPOCH_BUSY: u64 = 0x8000_0201_0000_0000;
const NOT_TRACKED: u64 = 0xc000_0b08_0000_0001;
const WALK_FAILED: u64 = 0xc000_0b00_0000_0001;
const NOT_FREE: u64 = 0xc000_0b02_0000_0001;
const NOT_BLOCKED: u64 = 0xc000_0b06_0000_0001;
const ALREADY_BLOCKED: u64 = 0x0000_0b07_0000_0001;
const STATE: u64 = 0xc000_0b0d_0000_0001;
const PROMOTE: u64 = 0xc000_0b09_0000_0001;
const PAGE_NOT_FREE: u64 = 0xc000_0300_0000_0008;
const NOT_ASSOCIATED: u64 = 0x8000_0702_0000_0000;
const LIFECYCLE: u64 = 0xc000_0607_0000_0000;
const FLUSH_NOT_DONE: u64 = 0x8000_0824_0000_0000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaf {
    pub hpa: u64,
    pub pending: bool,
    pub blocked: Option<u64>,
}

#[derive(Default)]
pub struct Td {
    tdr: u64,
    top: u8,
    /// Leaves by first page number, with their level.
    pub leaves: BTreeMap<u64, (u8, Leaf)>,
    /// Entries that point to Secure EPT pages, by level and first page number.
    tables: HashMap<(u8, u64), (u64, Option<u64>)>,
    epoch: u64,
    /// In which epoch each vCPU entered.
    vcpus: Vec<(u64, u64)>,
    flushed: HashSet<u64>,
    keys: u8,
}

/// All TDs, and who has each 4 KiB page.
#[derive(Default)]
pub struct Module {
    pub tds: HashMap<u8, Td>,
    pub owned: HashMap<u64, u8>,
    pub calls: u64,
    pub counts: BTreeMap<&'static str, u64>,
}

fn size(level: u8) -> u64 {
    1 << (9 * level)
}

impl Td {
    fn has_table(&self, level: u8, page: u64) -> bool {
        level == self.top
            || self
                .tables
                .contains_key(&(level + 1, page & !(size(level + 1) - 1)))
    }
    fn leaf(&self, page: u64) -> Option<(u64, u8, Leaf)> {
        let (&start, &(level, leaf)) = self.leaves.range(..=page).next_back()?;
        (page < start + size(level)).then_some((start, level, leaf))
    }
    fn is_free(&self, level: u8, page: u64) -> bool {
        self.leaf(page).is_none() && !self.tables.contains_key(&(level, page))
    }
    fn tracked(&self, blocked: u64) -> bool {
        self.epoch > blocked && self.vcpus.iter().all(|&(_, epoch)| epoch > blocked)
    }
    /// What the guest reaches at a private page: its host page. Pending counts as reached.
    pub fn reach(&self, page: u64) -> Option<u64> {
        let (start, level, leaf) = self.leaf(page)?;
        let way = (level + 1..=self.top).all(|l| {
            self.tables
                .get(&(l, page & !(size(l) - 1)))
                .is_some_and(|(_, blocked)| blocked.is_none())
        });
        (way && leaf.blocked.is_none()).then(|| leaf.hpa + ((page - start) << 12))
    }
    pub fn accept_all(&mut self) {
        for (_, leaf) in self.leaves.values_mut() {
            leaf.pending = false;
        }
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::SeptAdd { .. } => "SEPT.ADD",
        Step::PageAdd { .. } => "PAGE.ADD",
        Step::PageAug { .. } => "PAGE.AUG",
        Step::RangeBlock { .. } => "RANGE.BLOCK",
        Step::RangeUnblock { .. } => "RANGE.UNBLOCK",
        Step::Track => "TRACK",
        Step::MrExtend { .. } => "MR.EXTEND",
        Step::PageRemove { .. } => "PAGE.REMOVE",
        Step::SeptRemove { .. } => "SEPT.REMOVE",
        Step::PageDemote { .. } => "PAGE.DEMOTE",
        Step::PagePromote { .. } => "PAGE.PROMOTE",
        Step::PageWbinvd { .. } => "PAGE.WBINVD",
        Step::PageReclaim { .. } => "PAGE.RECLAIM",
        Step::Kick => "kick",
        Step::Flush => "flush",
        _ => "other",
    }
}

impl Module {
    fn own(&mut self, hpa: u64, pages: u64, vm: u8) -> Result<(), u64> {
        let pages = || (0..pages).map(|i| hpa + (i << 12));
        if pages().any(|page| self.owned.contains_key(&page)) {
            return Err(PAGE_NOT_FREE);
        }
        self.owned.extend(pages().map(|page| (page, vm)));
        Ok(())
    }
    fn disown(&mut self, hpa: u64, pages: u64) {
        for i in 0..pages {
            self.owned.remove(&(hpa + (i << 12)));
        }
    }

    /// Runs one step; `Err` is RAX.
    pub fn run(&mut self, vm: u8, top: u8, step: &Step) -> Result<(), u64> {
        *self.counts.entry(name(step)).or_default() += 1;
        if step.is_seamcall() {
            self.calls += 1;
        }
        match *step {
            Step::MngCreate { tdr, .. } => {
                self.own(tdr.get(), 1, vm)?;
                let td = Td {
                    tdr: tdr.get(),
                    top,
                    epoch: 1,
                    ..Td::default()
                };
                self.tds.insert(vm, td);
                return Ok(());
            }
            Step::PageReclaim { page } => return self.reclaim(vm, page.get()),
            Step::Flush => return Ok(()),
            _ => {}
        }
        let td = self.tds.get_mut(&vm).ok_or(LIFECYCLE)?;
        let teardown_step = matches!(
            step,
            Step::VpFlush { .. } | Step::VpFlushDone | Step::CacheWb | Step::KeyFreeId
        );
        if td.keys > 0 && !teardown_step && *step != Step::Kick {
            return Err(LIFECYCLE);
        }
        match *step {
            Step::MngKeyConfig | Step::MngInit { .. } | Step::VpInit { .. } => Ok(()),
            Step::MrExtend { .. } | Step::MrFinalize | Step::PageWbinvd { .. } => Ok(()),
            Step::MngAddCx { page } | Step::VpAddCx { page, .. } => self.own(page.get(), 1, vm),
            Step::VpCreate { tdvpr } => {
                td.vcpus.push((tdvpr.get(), td.epoch));
                self.own(tdvpr.get(), 1, vm)
            }
            Step::SeptAdd { gpa, level, page } => {
                let at = gpa.get() >> 12;
                assert_eq!(at % size(level), 0, "unaligned SEPT.ADD");
                if !td.has_table(level, at) {
                    return Err(WALK_FAILED);
                }
                if !td.is_free(level, at) || level == 0 {
                    return Err(NOT_FREE);
                }
                td.tables.insert((level, at), (page.get(), None));
                if let Err(status) = self.own(page.get(), 1, vm) {
                    self.tds.get_mut(&vm).unwrap().tables.remove(&(level, at));
                    return Err(status);
                }
                Ok(())
            }
            Step::PageAug { gpa, level, page } => self.add(vm, gpa.get(), level, page.get(), true),
            Step::PageAdd { gpa, page, .. } => self.add(vm, gpa.get(), 0, page.get(), false),
            Step::RangeBlock { gpa, level } => {
                let at = gpa.get() >> 12;
                let epoch = td.epoch;
                if let Some((_, blocked)) = td.tables.get_mut(&(level, at)) {
                    if blocked.is_some() {
                        return Err(ALREADY_BLOCKED);
                    }
                    *blocked = Some(epoch);
                    return Ok(());
                }
                match td.leaves.get_mut(&at) {
                    Some((l, leaf)) if *l == level && leaf.blocked.is_none() => {
                        leaf.blocked = Some(epoch);
                        Ok(())
                    }
                    Some((l, _)) if *l == level => Err(ALREADY_BLOCKED),
                    _ => Err(WALK_FAILED),
                }
            }
            Step::RangeUnblock { gpa, level } => {
                let at = gpa.get() >> 12;
                let state = match td.tables.get(&(level, at)) {
                    Some((_, blocked)) => *blocked,
                    None => td.leaves.get(&at).and_then(|(_, leaf)| leaf.blocked),
                };
                let blocked = state.ok_or(NOT_BLOCKED)?;
                if !td.tracked(blocked) {
                    return Err(NOT_TRACKED);
                }
                match td.tables.get_mut(&(level, at)) {
                    Some((_, blocked)) => *blocked = None,
                    None => td.leaves.get_mut(&at).unwrap().1.blocked = None,
                }
                Ok(())
            }
            Step::Track => {
                if td.vcpus.iter().any(|&(_, epoch)| epoch < td.epoch) {
                    return Err(EPOCH_BUSY);
                }
                td.epoch += 1;
                Ok(())
            }
            Step::Kick => {
                for (_, epoch) in &mut td.vcpus {
                    *epoch = td.epoch;
                }
                Ok(())
            }
            Step::PageRemove { gpa, level } => {
                let at = gpa.get() >> 12;
                let &(l, leaf) = td.leaves.get(&at).ok_or(WALK_FAILED)?;
                if l != level {
                    return Err(WALK_FAILED);
                }
                let blocked = leaf.blocked.ok_or(NOT_BLOCKED)?;
                if !td.tracked(blocked) {
                    return Err(NOT_TRACKED);
                }
                td.leaves.remove(&at);
                self.disown(leaf.hpa, size(level));
                Ok(())
            }
            Step::SeptRemove { gpa, level } => {
                let at = gpa.get() >> 12;
                let &(page, blocked) = td.tables.get(&(level, at)).ok_or(WALK_FAILED)?;
                let blocked = blocked.ok_or(NOT_BLOCKED)?;
                if !td.tracked(blocked) {
                    return Err(NOT_TRACKED);
                }
                if td.leaves.range(at..at + size(level)).next().is_some() {
                    return Err(STATE);
                }
                td.tables.remove(&(level, at));
                self.disown(page, 1);
                Ok(())
            }
            Step::PageDemote { gpa, level, page } => {
                let at = gpa.get() >> 12;
                let &(l, leaf) = td.leaves.get(&at).ok_or(WALK_FAILED)?;
                if l != level || level != 1 {
                    return Err(WALK_FAILED);
                }
                let blocked = leaf.blocked.ok_or(NOT_BLOCKED)?;
                if !td.tracked(blocked) {
                    return Err(NOT_TRACKED);
                }
                self.own(page.get(), 1, vm)?;
                let td = self.tds.get_mut(&vm).unwrap();
                td.tables.insert((1, at), (page.get(), None));
                for i in 0..512 {
                    let small = Leaf {
                        hpa: leaf.hpa + (i << 12),
                        pending: leaf.pending,
                        blocked: None,
                    };
                    td.leaves.insert(at + i, (0, small));
                }
                Ok(())
            }
            Step::PagePromote { gpa, level } => {
                let at = gpa.get() >> 12;
                let &(page, blocked) = td.tables.get(&(level, at)).ok_or(WALK_FAILED)?;
                let blocked = blocked.ok_or(NOT_BLOCKED)?;
                if !td.tracked(blocked) {
                    return Err(NOT_TRACKED);
                }
                let first = td
                    .leaves
                    .get(&at)
                    .map(|(_, leaf)| leaf.hpa)
                    .ok_or(PROMOTE)?;
                let whole = (0..512).all(|i| {
                    td.leaves.get(&(at + i)).is_some_and(|(l, leaf)| {
                        *l == 0
                            && leaf.hpa == first + (i << 12)
                            && !leaf.pending
                            && leaf.blocked.is_none()
                    })
                });
                if !whole || first % (512 << 12) != 0 {
                    return Err(PROMOTE);
                }
                td.tables.remove(&(level, at));
                for i in 0..512 {
                    td.leaves.remove(&(at + i));
                }
                let large = Leaf {
                    hpa: first,
                    pending: false,
                    blocked: None,
                };
                td.leaves.insert(at, (1, large));
                self.disown(page, 1);
                Ok(())
            }
            Step::VpFlush { tdvpr } => {
                if !td.flushed.insert(tdvpr.get()) {
                    return Err(NOT_ASSOCIATED);
                }
                Ok(())
            }
            Step::VpFlushDone => {
                if td.flushed.len() < td.vcpus.len() {
                    return Err(FLUSH_NOT_DONE);
                }
                self.key(vm, 0)
            }
            Step::CacheWb => self.key(vm, 1),
            Step::KeyFreeId => self.key(vm, 2),
            Step::MngCreate { .. } | Step::PageReclaim { .. } | Step::Flush => unreachable!(),
        }
    }

    fn key(&mut self, vm: u8, before: u8) -> Result<(), u64> {
        let td = self.tds.get_mut(&vm).unwrap();
        if td.keys != before {
            return Err(LIFECYCLE);
        }
        td.keys += 1;
        Ok(())
    }

    fn add(&mut self, vm: u8, gpa: u64, level: u8, hpa: u64, pending: bool) -> Result<(), u64> {
        let at = gpa >> 12;
        assert_eq!(at % size(level), 0, "unaligned page");
        assert_eq!(hpa >> 12 & (size(level) - 1), 0, "unaligned frame");
        let td = self.tds.get_mut(&vm).unwrap();
        if !td.has_table(level, at) {
            return Err(WALK_FAILED);
        }
        if !td.is_free(level, at) || td.leaves.range(at..at + size(level)).next().is_some() {
            return Err(NOT_FREE);
        }
        self.own(hpa, size(level), vm)?;
        let leaf = Leaf {
            hpa,
            pending,
            blocked: None,
        };
        let td = self.tds.get_mut(&vm).unwrap();
        td.leaves.insert(at, (level, leaf));
        Ok(())
    }

    fn reclaim(&mut self, vm: u8, hpa: u64) -> Result<(), u64> {
        let td = self.tds.get_mut(&vm).ok_or(LIFECYCLE)?;
        if td.keys != 3 {
            return Err(LIFECYCLE);
        }
        let found = td.leaves.iter().find(|(_, (_, leaf))| leaf.hpa == hpa);
        if let Some((&at, &(level, _))) = found {
            td.leaves.remove(&at);
            self.disown(hpa, size(level));
            return Ok(());
        }
        if self.owned.get(&hpa) != Some(&vm) {
            return Err(PAGE_NOT_FREE);
        }
        if hpa == td.tdr {
            // Last of all.
            if self.owned.values().filter(|owner| **owner == vm).count() != 1 {
                return Err(STATE);
            }
            self.tds.remove(&vm);
        }
        self.disown(hpa, 1);
        Ok(())
    }
}
