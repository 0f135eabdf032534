//! Faults: what an EPT violation asks for, and what it gets.

use crate::error::{Error, Resource};
use crate::memory::TableMemory;
use crate::mmu::{Mmu, Next};
use crate::slot::Slot;
use crate::step::{Program, Step};
use crate::tables::Kind;
use crate::vm::{Alias, Work};
use ept::{Access, ENTRIES, Entry, index, level_shift};
use gpa::{Gfn, Gpa, Hfn, Hpa};

/// Pages that a leaf of `level` maps.
pub(crate) const fn leaf_pages(level: u8) -> u64 {
    1 << (level_shift(level) - 12)
}

impl<M: TableMemory> Mmu<'_, M> {
    /// An EPT violation at `gpa`. `accept_level`: the guest was accepting a page of that level
    /// (extended exit qualification ACCEPT), which a larger page that is there doesn't suit.
    ///
    /// # Errors
    /// `NoSuchVm`, `BeyondWidth`, `NoSuchAlias`, `NoSlot`, `Busy` (a program of this VM is
    /// running: let the vCPU fault again), `WrongKind` (the page is of the other kind),
    /// `NotPermitted` (a read of an execute-only alias, a write to a read-only slot),
    /// `NoMemory`. No error changes anything.
    pub fn fault(
        &mut self,
        vm: u8,
        gpa: Gpa,
        access: Access,
        accept_level: Option<u8>,
    ) -> Result<Next, Error> {
        let (alias, gfn) = self.split(vm, gpa)?;
        let slot = self.vm(vm)?.slot(gfn)?;
        self.idle(vm)?;
        let private = self.bits.get(slot.attributes, &slot, gfn.get());
        if alias.is_private() != private {
            return Err(Error::WrongKind);
        }
        let next = if private {
            self.private_fault(vm, gfn, accept_level)
        } else {
            self.shared_fault(vm, alias, gfn, access, &slot)
        };
        if next.is_ok() {
            self.vms[vm as usize].stats.faults += 1;
        }
        next
    }

    fn private_fault(&mut self, vm: u8, gfn: Gfn, accept: Option<u8>) -> Result<Next, Error> {
        let gfn = gfn.get();
        let spot = self.private_spot(vm, gfn, 0);
        if spot.is_leaf() && spot.level > accept.unwrap_or(spot.level) {
            return self.start(vm, Work::Demote { gfn: gfn & !511 });
        }
        let work = Work::Populate {
            at: gfn,
            end: gfn + 1,
            cap: accept.unwrap_or(1).min(1),
            source: None,
            measure: false,
        };
        self.start(vm, work)
    }

    fn shared_fault(
        &mut self,
        vm: u8,
        alias: Alias,
        gfn: Gfn,
        access: Access,
        slot: &Slot,
    ) -> Result<Next, Error> {
        if !alias.access.permits(access) {
            return Err(Error::NotPermitted);
        }
        let writes = access.permits(Access::WRITE);
        if writes && slot.config.read_only {
            return Err(Error::NotPermitted);
        }
        let found = &self.vms[vm as usize];
        if found.is_td() && self.private_spot(vm, gfn.get(), 0).is_leaf() {
            // An earlier conversion broke off: the private side goes first.
            let first = gfn.get();
            return self.start(
                vm,
                Work::Zap {
                    first,
                    end: first + 1,
                    at: first,
                    removing: false,
                },
            );
        }
        let found = &self.vms[vm as usize];
        let root = found.roots[alias.root];
        let gpa = found.bits.join(alias.stolen, gfn);
        let spot = self.tables.walk(&root, gpa, 0);
        if spot.is_leaf() {
            if spot.entry.access().permits(access) {
                return Ok(Next::Done);
            }
            return self.first_write(vm, alias, gfn, slot);
        }
        let flush = match self.map_shared(vm, alias, gfn, slot, writes) {
            Err(Error::NoMemory(Resource::Tables)) => {
                // The pool is empty: the tables of another place make room, once they are
                // flushed. The guest faults again and then finds it.
                if !self.evict(vm, alias, gfn) {
                    return Err(Error::NoMemory(Resource::Tables));
                }
                true
            }
            Err(error) => return Err(error),
            Ok(()) => false,
        };
        if flush {
            return Ok(self.flush_program(vm));
        }
        Ok(Next::Done)
    }

    /// Maps a page of a VM that is no TD ahead of the guest's faults; where it is. Doesn't evict.
    ///
    /// # Errors
    /// `NoSuchVm`, `BeyondWidth`, `NoSuchAlias`, `NoSlot`, `Busy`, `NoMemory`; `Unsupported`
    /// for a TD.
    pub fn back(&mut self, vm: u8, gpa: Gpa) -> Result<Hpa, Error> {
        let (alias, gfn) = self.split(vm, gpa)?;
        let slot = self.vm(vm)?.slot(gfn)?;
        if self.idle(vm)?.is_td() {
            return Err(Error::Unsupported);
        }
        if self.translate(vm, gpa)?.is_none() {
            self.map_shared(vm, alias, gfn, &slot, true)?;
        }
        let found = self.translate(vm, gpa)?;
        found.map(|found| found.hpa).ok_or(Error::NoSlot)
    }

    /// A program that flushes the VM's shared TLB, if anything waits for that.
    pub(crate) fn flush_program(&mut self, vm: u8) -> Next {
        if !self.vms[vm as usize].unflushed {
            return Next::Done;
        }
        let mut program = Program::new();
        let _ = program.push(Step::Flush);
        self.start_once(vm, program)
    }

    pub(crate) fn plan_flush(&mut self, vm: u8, program: &mut Program) {
        let _ = program.push(Step::Flush);
        self.vms[vm as usize].next = Work::Idle;
    }

    /// Largest leaf for `gfn` in a slot, before looking at what is mapped.
    fn level_allowed(&self, vm: u8, gfn: u64, slot: &Slot) -> u8 {
        if slot.dirty.is_some() {
            return 0;
        }
        let td = self.vms[vm as usize].is_td();
        let mut level = slot.config.max_level;
        while level > 0 {
            let size = leaf_pages(level);
            let start = gfn & !(size - 1);
            let inside = start >= slot.first() && start + size <= slot.end();
            let shared = !td
                || (start..start + size)
                    .step_by(512)
                    .all(|region| self.bits.region_is(slot, region, false));
            if inside && shared {
                break;
            }
            level -= 1;
        }
        level
    }

    /// Maps `gfn` under one alias. Another alias that maps it already gives frame and level.
    fn map_shared(
        &mut self,
        vm: u8,
        alias: Alias,
        gfn: Gfn,
        slot: &Slot,
        writes: bool,
    ) -> Result<(), Error> {
        let mut level = self.level_allowed(vm, gfn.get(), slot);
        let mut known: Option<(Hfn, u8)> = None;
        for other in self.vms[vm as usize].shared_aliases() {
            let found = &self.vms[vm as usize];
            let at = found.bits.join(other.stolen, gfn);
            let spot = self.tables.walk(&found.roots[other.root], at, 0);
            level = level.min(spot.level);
            if spot.is_leaf() {
                known = Some((spot.entry.hpa().frame(), spot.level));
            }
        }
        if known.is_none() && self.vms[vm as usize].evicted {
            // The page, or a neighbour of it, may have a frame that isn't mapped.
            let whole = match self.shared.find(vm, gfn) {
                Some(frame) => {
                    let whole = self.shared.level_of(frame);
                    known = Some((Hfn::new(frame.get() & !(leaf_pages(whole) - 1)), whole));
                    whole
                }
                None => 0,
            };
            level = level.min(whole);
        }
        let frame = match known {
            Some((frame, whole)) => {
                let start = gfn.get() & !(leaf_pages(level) - 1);
                Hfn::new(frame.get() + (start & (leaf_pages(whole) - 1)))
            }
            None => self.take_shared(vm, gfn, &mut level)?,
        };
        let start = gfn.get() & !(leaf_pages(level) - 1);
        let mut permitted = alias.access;
        let traps_writes = slot.dirty.is_some() && !self.vms[vm as usize].config.accessed_dirty;
        if slot.config.read_only || (traps_writes && !writes) {
            permitted = permitted.without(Access::WRITE);
        }
        let hpa = Hpa::new(frame.base().get());
        let entry = Entry::leaf(hpa, level, permitted, slot.config.memory);
        let found = &mut self.vms[vm as usize];
        let at = found.bits.join(alias.stolen, Gfn::new(start));
        let mapped = self
            .tables
            .map(&mut found.roots[alias.root], at, level, entry);
        if mapped.is_err() && known.is_none() {
            self.shared.give(frame, level);
        }
        mapped?;
        self.vms[vm as usize].stats.shared += 1;
        if writes {
            self.mark_dirty(vm, gfn.get());
        }
        Ok(())
    }

    /// Frames for the leaf around `gfn`, smaller than `level` where no frames that large are
    /// free.
    fn take_shared(&mut self, vm: u8, gfn: Gfn, level: &mut u8) -> Result<Hfn, Error> {
        loop {
            let start = gfn.get() & !(leaf_pages(*level) - 1);
            match self.shared.take(vm, Gfn::new(start), *level) {
                Err(Error::NoMemory(_)) if *level > 0 => *level -= 1,
                other => return other,
            }
        }
    }

    /// Takes one table of 4 KiB entries out of the VM's shared trees, other than the one that
    /// `gfn` needs. Its frames stay owned, and are found again by the next fault.
    fn evict(&mut self, vm: u8, alias: Alias, gfn: Gfn) -> bool {
        let found = &self.vms[vm as usize];
        let keep = self
            .tables
            .walk(
                &found.roots[alias.root],
                found.bits.join(alias.stolen, gfn),
                0,
            )
            .table;
        let victim = (0..self.tables.meta.len()).find(|&table| {
            let meta = &self.tables.meta[table];
            let ours = meta.vm == vm && meta.kind == Kind::Hardware && meta.level == 0;
            ours && table != keep as usize
        });
        let Some(victim) = victim else {
            return false;
        };
        let root = self.tables.meta[victim].root as usize;
        self.evict_table(vm, root, victim as u16);
        true
    }

    fn evict_table(&mut self, vm: u8, root: usize, table: u16) {
        let start = self.table_address(table);
        let end = Gpa::new(start.get() + (1 << level_shift(1)));
        let Self { tables, vms, .. } = self;
        let found = &mut vms[vm as usize];
        let mut gone = 0;
        let mut dirty = [false; ENTRIES];
        found.limbo_tables = tables.zap(
            &mut found.roots[root],
            start,
            end,
            found.limbo_tables,
            |gpa, _, entry| {
                gone += 1;
                dirty[index(gpa.get(), 0)] = entry.0 & Entry::DIRTY != 0;
            },
        );
        if gone == 0 {
            found.limbo_tables = tables.prune(&mut found.roots[root], table, found.limbo_tables);
        }
        found.evicted = true;
        found.unflushed = true;
        found.stats.evictions += 1;
        found.stats.shared -= gone;
        if let Ok((_, first)) = found.bits.split(start) {
            let pages = (first.get()..).zip(dirty);
            for (page, _) in pages.filter(|(_, dirty)| *dirty) {
                self.mark_dirty(vm, page);
            }
        }
    }

    /// The first address under a table.
    pub(crate) fn table_address(&self, mut table: u16) -> Gpa {
        let mut address = 0u64;
        for _ in 0..5 {
            let meta = self.tables.meta(table);
            if meta.parent == crate::memory::NO_TABLE {
                break;
            }
            address |= u64::from(meta.index) << level_shift(meta.level + 1);
            table = meta.parent;
        }
        Gpa::new(address)
    }
}
