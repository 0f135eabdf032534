//! Private memory: plans SEAMCALL programs from the state of the mirror, and records in the
//! mirror what the module has done.
//!
//! Planning looks at the mirror and at the goal only, so a retry after a failure is just
//! another plan. Two rules keep mirror and Secure EPT together:
//! * what a step *adds* is in the mirror from planning on, marked [`PLANNED`]; the mark goes
//!   when the step was successful, the addition goes when it was not;
//! * what a step *takes away* leaves the mirror when the step was successful.

use crate::control::{NO_CONTROL, Role};
use crate::error::{Error, Resource};
use crate::frames::{Block, NO_BLOCK};
use crate::memory::{NO_TABLE, Table, TableMemory};
use crate::mmu::Mmu;
use crate::step::{PROGRAM_STEPS, Program, Step};
use crate::tables::Kind;
use crate::tree::{Root, Spot};
use crate::vm::{Cleaning, PRIVATE, Work};
use ept::{Access, ENTRIES, Entry, MemoryType, level_shift};
use gpa::{Gfn, Gpa, Hpa};

/// Mirror: the entry is blocked; bits 61:53 hold the epoch of that.
pub(crate) const BLOCKED: u64 = 1 << 52;
const EPOCH_SHIFT: u32 = 53;
const EPOCH: u64 = 0x1ff << EPOCH_SHIFT;
/// Mirror: a program that is to add this is running.
const PLANNED: u64 = 1 << 62;
/// Mirror entries that lead nowhere for the guest.
pub(crate) const UNUSABLE: u64 = BLOCKED | PLANNED;

const REGION: u64 = 512;

fn at(gfn: u64) -> Gpa {
    Gfn::new(gfn).base()
}

fn pages(level: u8) -> u64 {
    1 << (level_shift(level) - 12)
}

fn is_blocked(spot: &Spot) -> bool {
    spot.entry.0 & BLOCKED != 0
}

fn private_leaf(hpa: Hpa, level: u8) -> Entry {
    Entry::leaf(hpa, level, Access::ALL, MemoryType::WriteBack)
}

impl<M: TableMemory> Mmu<'_, M> {
    pub(crate) fn mirror(&self, vm: u8) -> Root {
        self.vms[vm as usize].roots[PRIVATE]
    }
    /// The mirror's entry of `level` for a frame, or the one above where it ends earlier.
    pub(crate) fn private_spot(&self, vm: u8, gfn: u64, level: u8) -> Spot {
        self.tables.walk(&self.mirror(vm), at(gfn), level)
    }
    pub(crate) fn next_private(&self, vm: u8, from: u64, end: u64) -> Option<(u64, Spot)> {
        let (gpa, spot) = self.tables.next_leaf(&self.mirror(vm), at(from), at(end))?;
        Some((gpa.frame().get(), spot))
    }
    fn child(&self, spot: &Spot) -> Table {
        self.tables.memory.table_at(spot.entry.hpa())
    }
    /// Whether the blocking of this entry was followed by a TRACK.
    fn is_tracked(&self, vm: u8, spot: &Spot) -> bool {
        let epoch = self.vms[vm as usize].epoch << EPOCH_SHIFT & EPOCH;
        spot.entry.0 & EPOCH != epoch
    }
    fn push_track(&self, program: &mut Program) {
        let _ = program.push(Step::Track);
        let _ = program.push(Step::Kick);
    }
    fn room(program: &Program) -> usize {
        PROGRAM_STEPS - program.len()
    }

    /// Maps private pages until the range or the program is full.
    pub(crate) fn plan_populate(&mut self, vm: u8, program: &mut Program) -> Result<(), Error> {
        let Work::Populate {
            at: from,
            end,
            cap,
            source,
            measure,
        } = self.vms[vm as usize].work
        else {
            return Ok(());
        };
        let started = program.len();
        let per_page = match (source, measure) {
            (Some(_), true) => 17,
            _ => 1,
        };
        let mut gfn = from;
        while gfn < end && Self::room(program) >= 4 + per_page {
            // The range was checked at the start, and nothing changes attributes since.
            let slot = self.vms[vm as usize].slot(Gfn::new(gfn))?;
            let region = gfn & !(REGION - 1);
            let middle = self.private_spot(vm, gfn, 1);
            if middle.is_table() && is_blocked(&middle) {
                self.plan_unblock(vm, region, &middle, program);
                break;
            }
            let spot = self.private_spot(vm, gfn, 0);
            if spot.is_leaf() {
                if is_blocked(&spot) {
                    self.plan_unblock(vm, gfn & !(pages(spot.level) - 1), &spot, program);
                    break;
                }
                gfn = (gfn | (pages(spot.level) - 1)) + 1;
                continue;
            }
            let whole = cap >= 1 && self.bits.region_is(&slot, region, true);
            let emptied = spot.level == 0 && self.tables.meta(spot.table).live == 0;
            if whole && emptied && !self.is_planned_table(&middle) {
                if program.len() == started {
                    self.plan_sept_remove(vm, region, &middle, program);
                }
                break;
            }
            let level = u8::from(whole && spot.level > 0);
            let content = source.map(|hpa| Hpa::new(hpa.get() + ((gfn - from) << 12)));
            match self.plan_page(vm, gfn, level, &spot, content, program) {
                Ok(true) => {}
                // The block must be cleaned first.
                Ok(false) if program.len() == started => {
                    self.plan_cleaning(vm, program);
                    return Ok(());
                }
                Ok(false) => {
                    self.drop_cleaning(vm);
                    break;
                }
                Err(error) if program.len() == started => return Err(error),
                Err(_) => break,
            }
            if measure && content.is_some() {
                for chunk in 0..16 {
                    let gpa = Gpa::new(at(gfn).get() + chunk * 256);
                    let _ = program.push(Step::MrExtend { gpa });
                }
            }
            gfn = (gfn | (pages(level) - 1)) + 1;
        }
        // Blocked ways and emptied tables are dealt with by programs of their own, after which
        // this page is planned again.
        let source = source.map(|hpa| Hpa::new(hpa.get() + ((gfn - from) << 12)));
        self.vms[vm as usize].next = if gfn < end {
            Work::Populate {
                at: gfn,
                end,
                cap,
                source,
                measure,
            }
        } else {
            Work::Idle
        };
        Ok(())
    }

    fn is_planned_table(&self, spot: &Spot) -> bool {
        spot.entry.0 & PLANNED != 0
    }

    /// Plans one page with the Secure EPT pages that it needs. `Ok(false)`: its block must be
    /// cleaned first. On an error nothing was taken.
    fn plan_page(
        &mut self,
        vm: u8,
        gfn: u64,
        level: u8,
        spot: &Spot,
        source: Option<Hpa>,
        program: &mut Program,
    ) -> Result<bool, Error> {
        let missing = usize::from(spot.level - level);
        if self.tables.available() < missing {
            return Err(Error::NoMemory(Resource::Tables));
        }
        if self.control.available() < missing {
            return Err(Error::NoMemory(Resource::Control));
        }
        let region = gfn & !(REGION - 1);
        let home = if spot.level == 0 {
            self.tables.meta(spot.table).home
        } else {
            NO_BLOCK
        };
        let block = if home == NO_BLOCK {
            match self.take_block(vm, region)? {
                Some(block) => block,
                None => return Ok(false),
            }
        } else {
            home
        };
        let mut spot = *spot;
        while spot.level > level {
            let child = self
                .tables
                .take(vm, PRIVATE as u8, spot.level - 1, Kind::Mirror)
                .ok_or(Error::NoMemory(Resource::Tables))?;
            let page = self.control.take(vm, Role::Sept)?;
            self.tables.edit(child, |meta| meta.sept = page);
            let root = self.mirror(vm);
            self.tables.link(&root, &spot, child, at(gfn));
            let planned = Entry(Entry::table(self.tables.memory.hpa(child)).0 | PLANNED);
            self.tables.set(&spot, planned);
            let _ = program.push(Step::SeptAdd {
                gpa: at(gfn & !(pages(spot.level) - 1)),
                level: spot.level,
                page: self.control.hpa(page),
            });
            spot = self.private_spot(vm, gfn, spot.level - 1);
        }
        if level == 0 {
            self.tables.edit(spot.table, |meta| meta.home = block);
        }
        let offset = if level == 0 { gfn - region } else { 0 };
        let page = Gfn::new(self.private.frame(block).get() + offset).base();
        let page = Hpa::new(page.get());
        let entry = Entry(private_leaf(page, level).0 | PLANNED);
        self.tables.set(&spot, entry);
        self.tables.edit(spot.table, |meta| meta.live += 1);
        let gpa = at(gfn & !(pages(level) - 1));
        let _ = program.push(match source {
            Some(source) => Step::PageAdd { gpa, page, source },
            None => Step::PageAug { gpa, level, page },
        });
        Ok(true)
    }

    /// A block that may be used at once; `None` if one was set aside for cleaning.
    fn take_block(&mut self, vm: u8, region: u64) -> Result<Option<Block>, Error> {
        if let Some(cleaning) = self.vms[vm as usize].cleaning {
            if u64::from(cleaning.at) < REGION {
                return Ok(None);
            }
            self.vms[vm as usize].cleaning = None;
            self.private.assign(cleaning.block, Gfn::new(region));
            return Ok(Some(cleaning.block));
        }
        let (block, stale) = self.private.take(vm, Gfn::new(region))?;
        if let Some(stale) = stale {
            self.vms[vm as usize].cleaning = Some(Cleaning {
                block,
                stale,
                at: 0,
            });
            return Ok(None);
        }
        Ok(Some(block))
    }

    /// Writes back the cache lines of another VM's key, a program's worth of pages at a time.
    fn plan_cleaning(&mut self, vm: u8, program: &mut Program) {
        let Some(Cleaning { block, stale, at }) = self.vms[vm as usize].cleaning else {
            return;
        };
        let hkid = self.vms[stale as usize].config.hkid;
        let first = self.private.frame(block).base().get();
        for page in (u64::from(at)..REGION).take(Self::room(program)) {
            let page = Hpa::new(first + (page << 12));
            let _ = program.push(Step::PageWbinvd { page, hkid });
        }
        let found = &mut self.vms[vm as usize];
        found.next = found.work;
    }

    fn drop_cleaning(&mut self, vm: u8) {
        let found = &mut self.vms[vm as usize];
        if let Some(cleaning) = found.cleaning
            && cleaning.at == 0
        {
            found.cleaning = None;
            self.private.give_stale(cleaning.block, cleaning.stale);
        }
    }

    /// Makes a blocked entry usable again.
    fn plan_unblock(&self, vm: u8, gfn: u64, spot: &Spot, program: &mut Program) {
        if Self::room(program) < 3 {
            return;
        }
        if !self.is_tracked(vm, spot) {
            self.push_track(program);
        }
        let _ = program.push(Step::RangeUnblock {
            gpa: at(gfn),
            level: spot.level,
        });
    }

    /// Gives up an empty Secure EPT page of 4 KiB entries, so that a 2 MiB page fits there.
    fn plan_sept_remove(&self, vm: u8, gfn: u64, middle: &Spot, program: &mut Program) {
        if !is_blocked(middle) {
            let _ = program.push(Step::RangeBlock {
                gpa: at(gfn),
                level: 1,
            });
        }
        if !is_blocked(middle) || !self.is_tracked(vm, middle) {
            self.push_track(program);
        }
        let _ = program.push(Step::SeptRemove {
            gpa: at(gfn),
            level: 1,
        });
    }

    /// Blocks all pages of the range, then one TRACK, then removes them.
    pub(crate) fn plan_zap(&mut self, vm: u8, program: &mut Program) -> Result<(), Error> {
        let Work::Zap {
            first,
            end,
            at: from,
            removing,
        } = self.vms[vm as usize].work
        else {
            return Ok(());
        };
        let mut cursor = from;
        let mut removing = removing;
        if !removing {
            if self.plan_edges(vm, first, end, program)? {
                let found = &mut self.vms[vm as usize];
                found.next = found.work;
                return Ok(());
            }
            let mut blocked = self.vms[vm as usize].untracked;
            let mut finished = true;
            while let Some((gfn, spot)) = self.next_private(vm, cursor, end) {
                if !is_blocked(&spot) {
                    if Self::room(program) == 0 {
                        finished = false;
                        break;
                    }
                    let _ = program.push(Step::RangeBlock {
                        gpa: at(gfn),
                        level: spot.level,
                    });
                    blocked = true;
                }
                cursor = gfn + pages(spot.level);
            }
            if finished && (Self::room(program) >= 2 || !blocked) {
                if blocked {
                    self.push_track(program);
                }
                removing = true;
                cursor = first;
            }
        }
        if removing {
            while Self::room(program) > 0
                && let Some((gfn, spot)) = self.next_private(vm, cursor, end)
            {
                let _ = program.push(Step::PageRemove {
                    gpa: at(gfn),
                    level: spot.level,
                });
                cursor = gfn + pages(spot.level);
            }
        }
        let over = removing && self.next_private(vm, cursor, end).is_none();
        self.vms[vm as usize].next = if over {
            Work::Idle
        } else {
            Work::Zap {
                first,
                end,
                at: cursor,
                removing,
            }
        };
        Ok(())
    }

    /// 2 MiB pages that stick out of the range are demoted first. `true` if there were any.
    fn plan_edges(
        &mut self,
        vm: u8,
        first: u64,
        end: u64,
        program: &mut Program,
    ) -> Result<bool, Error> {
        let mut edges: heapless::Vec<(u64, Spot), 2> = heapless::Vec::new();
        for gfn in [first, end - 1] {
            let spot = self.private_spot(vm, gfn, 0);
            let start = gfn & !(pages(spot.level) - 1);
            let sticks_out = start < first || start + pages(spot.level) > end;
            if spot.is_leaf() && sticks_out && edges.iter().all(|(known, _)| *known != start) {
                let _ = edges.push((start, spot));
            }
        }
        self.plan_demotions(vm, &edges, program)?;
        Ok(!edges.is_empty())
    }

    /// Splits the 2 MiB page at `gfn`.
    pub(crate) fn plan_demote(
        &mut self,
        vm: u8,
        gfn: u64,
        program: &mut Program,
    ) -> Result<(), Error> {
        let spot = self.private_spot(vm, gfn, 0);
        if spot.is_leaf() && spot.level == 1 {
            self.plan_demotions(vm, &[(gfn & !(REGION - 1), spot)], program)?;
        }
        Ok(())
    }

    fn plan_demotions(
        &mut self,
        vm: u8,
        pages: &[(u64, Spot)],
        program: &mut Program,
    ) -> Result<(), Error> {
        if pages.is_empty() {
            return Ok(());
        }
        if self.tables.available() < pages.len() {
            return Err(Error::NoMemory(Resource::Tables));
        }
        if self.control.available() < pages.len() {
            return Err(Error::NoMemory(Resource::Control));
        }
        let mut untracked = false;
        for (gfn, spot) in pages {
            if !is_blocked(spot) {
                let (gpa, level) = (at(*gfn), spot.level);
                let _ = program.push(Step::RangeBlock { gpa, level });
            }
            untracked |= !is_blocked(spot) || !self.is_tracked(vm, spot);
        }
        if untracked {
            self.push_track(program);
        }
        for (gfn, spot) in pages {
            let table = self
                .tables
                .take(vm, PRIVATE as u8, 0, Kind::Mirror)
                .ok_or(Error::NoMemory(Resource::Tables))?;
            let _ = self.vms[vm as usize].spare.push(table);
            let page = self.control.take(vm, Role::Sept)?;
            let _ = program.push(Step::PageDemote {
                gpa: at(*gfn),
                level: spot.level,
                page: self.control.hpa(page),
            });
        }
        Ok(())
    }

    /// Makes one 2 MiB page of 512, or (`refused`) makes them usable again.
    pub(crate) fn plan_promote(&mut self, vm: u8, gfn: u64, refused: bool, program: &mut Program) {
        let spot = self.private_spot(vm, gfn, 1);
        if !spot.is_table() {
            return;
        }
        if refused {
            if is_blocked(&spot) {
                self.plan_unblock(vm, gfn, &spot, program);
            }
            return;
        }
        if !is_blocked(&spot) {
            let _ = program.push(Step::RangeBlock {
                gpa: at(gfn),
                level: 1,
            });
        }
        if !is_blocked(&spot) || !self.is_tracked(vm, &spot) {
            self.push_track(program);
        }
        let _ = program.push(Step::PagePromote {
            gpa: at(gfn),
            level: 1,
        });
    }

    /// Whether the region's 512 pages are all mapped, none blocked: fit for promotion, as far
    /// as the host can know (it doesn't know what the guest has accepted).
    pub(crate) fn is_promotable(&self, vm: u8, gfn: u64) -> bool {
        let spot = self.private_spot(vm, gfn, 1);
        if !spot.is_table() || spot.level != 1 || is_blocked(&spot) {
            return false;
        }
        let table = self.child(&spot);
        self.tables.meta(table).live as usize == ENTRIES
            && (0..ENTRIES).all(|i| self.tables.memory.load(table, i) & UNUSABLE == 0)
    }

    /// Records a step that was successful.
    pub(crate) fn apply(&mut self, vm: u8, step: &Step) {
        if step.is_seamcall() {
            self.vms[vm as usize].stats.seamcalls += 1;
        }
        match *step {
            Step::SeptAdd { gpa, level, page } => {
                let spot = self.private_spot(vm, gpa.frame().get(), level);
                self.tables.set(&spot, Entry(spot.entry.0 & !PLANNED));
                self.own(page);
                self.vms[vm as usize].stats.sept_pages += 1;
            }
            Step::PageAug { gpa, level, .. } => self.apply_page(vm, gpa, level),
            Step::PageAdd { gpa, .. } => self.apply_page(vm, gpa, 0),
            Step::RangeBlock { gpa, level } => {
                let spot = self.private_spot(vm, gpa.frame().get(), level);
                let found = &mut self.vms[vm as usize];
                let epoch = found.epoch << EPOCH_SHIFT & EPOCH;
                found.untracked = true;
                let entry = spot.entry.0 & !EPOCH | BLOCKED | epoch;
                self.tables.set(&spot, Entry(entry));
            }
            Step::RangeUnblock { gpa, level } => {
                let spot = self.private_spot(vm, gpa.frame().get(), level);
                let entry = spot.entry.0 & !(EPOCH | BLOCKED);
                self.tables.set(&spot, Entry(entry));
            }
            Step::Track => {
                let found = &mut self.vms[vm as usize];
                found.epoch += 1;
                found.untracked = false;
                found.stats.tracks += 1;
            }
            Step::PageRemove { gpa, level } => self.apply_remove(vm, gpa, level),
            Step::SeptRemove { gpa, level } => {
                let spot = self.private_spot(vm, gpa.frame().get(), level);
                let child = self.child(&spot);
                self.drop_table(vm, &spot, child);
                self.vms[vm as usize].stats.sept_pages -= 1;
            }
            Step::PageDemote { gpa, level, page } => self.apply_demote(vm, gpa, level, page),
            Step::PagePromote { gpa, level } => self.apply_promote(vm, gpa, level),
            Step::PageWbinvd { .. } => {
                if let Some(cleaning) = &mut self.vms[vm as usize].cleaning {
                    cleaning.at += 1;
                }
            }
            Step::Flush => self.flushed(vm),
            Step::MngCreate { tdr, .. } => self.own(tdr),
            Step::MngAddCx { page } | Step::VpAddCx { page, .. } => self.own(page),
            Step::VpCreate { tdvpr } => self.own(tdvpr),
            Step::PageReclaim { page } => self.apply_reclaim(vm, page),
            Step::VpFlushDone | Step::CacheWb | Step::KeyFreeId => {
                self.vms[vm as usize].key_steps += 1;
            }
            Step::VpFlush { .. } | Step::MngKeyConfig | Step::Kick => {}
            Step::MrExtend { .. } | Step::MrFinalize => {}
            Step::MngInit { .. } | Step::VpInit { .. } => {}
        }
    }

    /// Takes back what planning a step had added; the step wasn't done. Called for the last
    /// step first.
    pub(crate) fn cancel(&mut self, vm: u8, step: &Step) {
        match *step {
            Step::SeptAdd { gpa, level, .. } => {
                let spot = self.private_spot(vm, gpa.frame().get(), level);
                let child = self.child(&spot);
                self.drop_table(vm, &spot, child);
            }
            Step::PageAug { gpa, level, .. } => self.drop_page(vm, gpa, level),
            Step::PageAdd { gpa, .. } => self.drop_page(vm, gpa, 0),
            Step::PageDemote { page, .. } => {
                if let Some(table) = self.vms[vm as usize].spare.pop() {
                    self.tables.give(table);
                }
                self.disown(page);
            }
            Step::MngCreate { tdr, .. } => {
                self.vms[vm as usize].tdr = NO_CONTROL;
                self.disown(tdr);
            }
            Step::MngAddCx { page } | Step::VpAddCx { page, .. } => self.disown(page),
            Step::VpCreate { tdvpr } => self.disown(tdvpr),
            _ => {}
        }
    }

    fn own(&mut self, hpa: Hpa) {
        if let Some(page) = self.control.page_at(hpa) {
            self.control.set_owned(page);
        }
    }
    fn disown(&mut self, hpa: Hpa) {
        if let Some(page) = self.control.page_at(hpa) {
            self.control.give(page);
        }
    }

    fn apply_page(&mut self, vm: u8, gpa: Gpa, level: u8) {
        let spot = self.private_spot(vm, gpa.frame().get(), level);
        self.tables.set(&spot, Entry(spot.entry.0 & !PLANNED));
        self.count_page(vm, level, 1);
    }
    fn count_page(&mut self, vm: u8, level: u8, change: i64) {
        let stats = &mut self.vms[vm as usize].stats;
        let counter = if level == 0 {
            &mut stats.private_4k
        } else {
            &mut stats.private_2m
        };
        *counter = counter.wrapping_add_signed(change);
    }
    fn apply_remove(&mut self, vm: u8, gpa: Gpa, level: u8) {
        self.drop_page(vm, gpa, level);
        self.count_page(vm, level, -1);
    }
    /// Takes a leaf out of the mirror; its block is free when nothing of it is mapped.
    fn drop_page(&mut self, vm: u8, gpa: Gpa, level: u8) {
        let spot = self.private_spot(vm, gpa.frame().get(), level);
        self.tables.set(&spot, Entry::EMPTY);
        self.tables.edit(spot.table, |meta| meta.live -= 1);
        let block = if spot.level == 0 {
            let meta = self.tables.meta(spot.table);
            if meta.live != 0 {
                return;
            }
            self.tables.edit(spot.table, |meta| meta.home = NO_BLOCK);
            Some(meta.home)
        } else {
            self.private.block_of(spot.entry.hpa().frame())
        };
        if let Some(block) = block {
            self.private.give(block);
        }
    }
    /// Takes an empty table out of the mirror, and its Secure EPT page back.
    fn drop_table(&mut self, _vm: u8, spot: &Spot, child: Table) {
        let meta = self.tables.meta(child);
        self.tables.set(spot, Entry::EMPTY);
        self.tables.edit(spot.table, |meta| meta.live -= 1);
        if meta.home != NO_BLOCK {
            self.private.give(meta.home);
        }
        self.control.give(meta.sept);
        self.tables.give(child);
    }
    fn apply_demote(&mut self, vm: u8, gpa: Gpa, level: u8, page: Hpa) {
        let spot = self.private_spot(vm, gpa.frame().get(), level);
        let found = &mut self.vms[vm as usize];
        // Steps are applied in order, set aside in order: the first one is the oldest.
        let child = if found.spare.is_empty() {
            NO_TABLE
        } else {
            found.spare.remove(0)
        };
        let first = spot.entry.hpa();
        for i in 0..ENTRIES {
            let hpa = Hpa::new(first.get() + ((i as u64) << 12));
            self.tables.memory.store(child, i, private_leaf(hpa, 0).0);
        }
        let home = self.private.block_of(first.frame()).unwrap_or(NO_BLOCK);
        let sept = self.control.page_at(page).unwrap_or(NO_CONTROL);
        self.tables.edit(child, |meta| {
            meta.live = ENTRIES as u16;
            meta.home = home;
            meta.sept = sept;
            meta.parent = spot.table;
            meta.index = spot.index as u16;
        });
        let table = Entry::table(self.tables.memory.hpa(child));
        self.tables.set(&spot, table);
        let root = self.mirror(vm);
        self.tables.enter(&root, 0, child, gpa);
        self.own(page);
        self.count_page(vm, 1, -1);
        self.count_page(vm, 0, ENTRIES as i64);
        let stats = &mut self.vms[vm as usize].stats;
        stats.demotions += 1;
        stats.sept_pages += 1;
    }
    fn apply_promote(&mut self, vm: u8, gpa: Gpa, level: u8) {
        let spot = self.private_spot(vm, gpa.frame().get(), level);
        let child = self.child(&spot);
        let meta = self.tables.meta(child);
        let page = Hpa::new(self.private.frame(meta.home).base().get());
        self.tables.set(&spot, private_leaf(page, level));
        self.tables.give(child);
        // The module frees the Secure EPT page that it merged.
        self.control.give(meta.sept);
        self.count_page(vm, 0, -(ENTRIES as i64));
        self.count_page(vm, 1, 1);
        let stats = &mut self.vms[vm as usize].stats;
        stats.promotions += 1;
        stats.sept_pages -= 1;
    }
}
