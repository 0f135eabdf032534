//! Conversions between private and shared (MapGPA), population, promotion, merging.

use crate::error::Error;
use crate::fault::leaf_pages;
use crate::memory::TableMemory;
use crate::mmu::{Mmu, Next};
use crate::slot::Slot;
use crate::step::Program;
use crate::step::Step;
use crate::tables::Kind;
use crate::vm::{Alias, Work};
use gpa::{Gfn, Gpa, Hpa, PAGE_SIZE};

impl<M: TableMemory> Mmu<'_, M> {
    /// Checks that a range lies in one slot of a TD, and that nothing is running.
    fn td_range(&mut self, vm: u8, gfn: Gfn, pages: u64) -> Result<(Slot, u64, u64), Error> {
        let range = self.range(vm, gfn, pages)?;
        let found = self.idle(vm)?;
        if !found.is_td() {
            return Err(Error::Unsupported);
        }
        if !range.0.config.private {
            return Err(Error::Unsupported);
        }
        Ok(range)
    }

    /// The same, and every page of the range is private.
    fn private_range(&mut self, vm: u8, gfn: Gfn, pages: u64) -> Result<(u64, u64), Error> {
        let (slot, first, end) = self.td_range(vm, gfn, pages)?;
        let private = |gfn| self.bits.get(slot.attributes, &slot, gfn);
        if !(first..end).all(private) {
            return Err(Error::WrongKind);
        }
        Ok((first, end))
    }

    /// Maps private pages of a range ahead of the guest's faults, 2 MiB where it can be.
    ///
    /// # Errors
    /// `NoSuchVm`, `NoSlot`, `BadRange`, `Busy`, `Unsupported`, `WrongKind` (a page of the
    /// range is shared), `NoMemory`.
    pub fn populate(&mut self, vm: u8, gfn: Gfn, pages: u64) -> Result<Next, Error> {
        self.populate_by(vm, gfn, pages, 1)
    }

    /// The same with leaves of at most `cap`: 0 = 4 KiB, 1 = 2 MiB.
    ///
    /// # Errors
    /// As [`populate`](Self::populate).
    pub fn populate_by(&mut self, vm: u8, gfn: Gfn, pages: u64, cap: u8) -> Result<Next, Error> {
        let (at, end) = self.private_range(vm, gfn, pages)?;
        let work = Work::Populate {
            at,
            end,
            cap: cap.min(1),
            source: None,
            measure: false,
        };
        self.start(vm, work)
    }

    /// Adds measured pages before the TD is finalized, copied from host memory at `source` on;
    /// `extend`: their content goes into the measurement, too. After a refusal the measurement
    /// is that of a part: the TD is to be given up.
    ///
    /// # Errors
    /// As [`populate`](Self::populate); `BadRange` where `source` isn't page aligned or wraps;
    /// `ForeignFrame` where it lies in memory that is the TDX module's; `Occupied` where a page is
    /// mapped already.
    pub fn add_image(
        &mut self,
        vm: u8,
        gfn: Gfn,
        pages: u64,
        source: Hpa,
        extend: bool,
    ) -> Result<Next, Error> {
        let (at, end) = self.private_range(vm, gfn, pages)?;
        let last = pages
            .checked_mul(PAGE_SIZE)
            .and_then(|b| source.checked_add(b));
        if source.offset() != 0 || last.is_none() {
            return Err(Error::BadRange);
        }
        let owned = [self.private.stretch(), self.control.stretch()];
        let from = source.get();
        if owned
            .iter()
            .any(|pool| from < pool.end && pool.start < from + pages * PAGE_SIZE)
        {
            return Err(Error::ForeignFrame);
        }
        if self.next_private(vm, at, end).is_some() {
            return Err(Error::Occupied);
        }
        let work = Work::Populate {
            at,
            end,
            cap: 0,
            source: Some(source),
            measure: extend,
        };
        self.start(vm, work)
    }

    /// TDG.VP.VMCALL<MapGPA>: `bytes` from `gpa` on become what the SHARED bit of `gpa` says.
    ///
    /// # Errors
    /// As [`convert`](Self::convert), and `BeyondWidth`, `NoSuchAlias`.
    pub fn map_gpa(&mut self, vm: u8, gpa: Gpa, bytes: u64) -> Result<Next, Error> {
        let (alias, gfn) = self.split(vm, gpa)?;
        if gpa.offset() != 0 || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(Error::BadRange);
        }
        self.convert(vm, gfn, bytes / PAGE_SIZE, !alias.is_private())
    }

    /// Makes a range of a TD's memory shared or private. The old side is gone, TLBs included,
    /// before the new side can appear; the new side is mapped by the guest's faults.
    ///
    /// # Errors
    /// `NoSuchVm`, `NoSlot`, `BadRange`, `Busy`, `Unsupported`, `NoMemory` (a large page at an
    /// end of the range has to be split).
    pub fn convert(
        &mut self,
        vm: u8,
        gfn: Gfn,
        pages: u64,
        to_shared: bool,
    ) -> Result<Next, Error> {
        let (slot, first, end) = self.td_range(vm, gfn, pages)?;
        let changing = (first..end)
            .filter(|&g| self.bits.get(slot.attributes, &slot, g) == to_shared)
            .count() as u64;
        if to_shared {
            let work = Work::Zap {
                first,
                end,
                at: first,
                removing: false,
            };
            let next = self.start(vm, work)?;
            self.bits
                .set_range(slot.attributes, &slot, first, end, false);
            self.vms[vm as usize].stats.to_shared += changing;
            return Ok(next);
        }
        self.split_shared_edges(vm, first, end)?;
        self.zap_shared(vm, first, end, true);
        self.vms[vm as usize].stats.to_private += changing;
        if !self.vms[vm as usize].unflushed {
            self.bits
                .set_range(slot.attributes, &slot, first, end, true);
            return Ok(Next::Done);
        }
        self.start(vm, Work::Flush { first, end })
    }

    /// A shared TLB flush that a conversion waited for is done: now the pages are private.
    pub(crate) fn become_private(&mut self, vm: u8, first: u64, end: u64) {
        if let Ok(slot) = self.vms[vm as usize].slot(Gfn::new(first)) {
            self.bits
                .set_range(slot.attributes, &slot, first, end, true);
        }
    }

    /// Splits the large shared leaves that stick out of a range, under every alias. On an error
    /// nothing that a guest could see has changed.
    fn split_shared_edges(&mut self, vm: u8, first: u64, end: u64) -> Result<(), Error> {
        for alias in self.vms[vm as usize].shared_aliases() {
            for gfn in [first, end - 1] {
                self.split_around(vm, alias, gfn, |start, pages| {
                    start < first || start + pages > end
                })?;
            }
        }
        Ok(())
    }

    /// Splits the leaf at `gfn` under `alias` as long as `too_large` says so.
    pub(crate) fn split_around(
        &mut self,
        vm: u8,
        alias: Alias,
        gfn: u64,
        too_large: impl Fn(u64, u64) -> bool,
    ) -> Result<(), Error> {
        loop {
            let Self { tables, vms, .. } = self;
            let found = &mut vms[vm as usize];
            let at = found.bits.join(alias.stolen, Gfn::new(gfn));
            let root = &mut found.roots[alias.root];
            let spot = tables.walk(root, at, 0);
            let pages = leaf_pages(spot.level);
            if !spot.is_leaf() || spot.level == 0 || !too_large(gfn & !(pages - 1), pages) {
                return Ok(());
            }
            tables.split(root, &spot, at, Kind::Hardware)?;
            found.unflushed = true;
            found.stats.shared += 511;
        }
    }

    /// Unmaps a range under every shared alias; with `retire` its frames are freed, too, after
    /// the next flush.
    pub(crate) fn zap_shared(&mut self, vm: u8, first: u64, end: u64, retire: bool) {
        let aliases = self.vms[vm as usize].shared_aliases();
        for alias in aliases {
            let Self {
                tables,
                vms,
                shared,
                ..
            } = self;
            let found = &mut vms[vm as usize];
            let from = found.bits.join(alias.stolen, Gfn::new(first));
            let to = Gpa::new(from.get() + ((end - first) << 12));
            let mut gone = 0;
            let mut frames = found.limbo_frames;
            found.limbo_tables = tables.zap(
                &mut found.roots[alias.root],
                from,
                to,
                found.limbo_tables,
                |_, level, entry| {
                    gone += 1;
                    let frame = entry.hpa().frame();
                    // Another alias may have retired it already.
                    if retire && shared.owner(frame).is_some_and(|(owner, _)| owner == vm) {
                        frames = shared.retire(frame, level, frames);
                    }
                },
            );
            found.limbo_frames = frames;
            found.stats.shared -= gone;
            found.unflushed |= gone != 0;
        }
        if retire && self.vms[vm as usize].evicted {
            // Frames that were owned, but not mapped.
            for gfn in first..end {
                if let Some(frame) = self.shared.find(vm, Gfn::new(gfn)) {
                    let found = &mut self.vms[vm as usize];
                    found.limbo_frames = self.shared.retire(frame, 0, found.limbo_frames);
                    found.unflushed = true;
                }
            }
        }
    }

    /// Makes one 2 MiB page of a private region whose 512 pages are all mapped. The module
    /// refuses where the guest hasn't accepted them all; then they stay as they are.
    ///
    /// # Errors
    /// `NoSuchVm`, `NoSlot`, `Busy`, `Unsupported` (not 512 mapped pages).
    pub fn promote(&mut self, vm: u8, gfn: Gfn) -> Result<Next, Error> {
        let gfn = gfn.get() & !511;
        self.td_range(vm, Gfn::new(gfn), 512)?;
        if !self.is_promotable(vm, gfn) {
            return Err(Error::Unsupported);
        }
        let refused = false;
        self.start(vm, Work::Promote { gfn, refused })
    }

    /// The first region at or after `gfn` that [`promote`](Self::promote) takes.
    ///
    /// # Errors
    /// `NoSuchVm`.
    pub fn next_promotable(&self, vm: u8, gfn: Gfn) -> Result<Option<Gfn>, Error> {
        let found = self.vm(vm)?;
        let slots = found.slots.iter().flatten().filter(|s| s.config.private);
        let regions = slots.flat_map(|slot| {
            let start = slot.first().max(gfn.get()).next_multiple_of(512);
            (start..slot.end()).step_by(512)
        });
        Ok(regions
            .filter(|&region| found.is_td() && self.is_promotable(vm, region))
            .min()
            .map(Gfn::new))
    }

    /// Merges shared or plain leaves around `gfn`, under the alias of `gpa`, into one of
    /// `level` (1 or 2) where they are alike and contiguous. `false`: they aren't.
    ///
    /// # Errors
    /// `NoSuchVm`, `BeyondWidth`, `NoSuchAlias`, `Busy`, `WrongKind` (private memory).
    pub fn merge_shared(&mut self, vm: u8, gpa: Gpa, level: u8) -> Result<bool, Error> {
        let (alias, gfn) = self.split(vm, gpa)?;
        self.idle(vm)?;
        if alias.is_private() {
            return Err(Error::WrongKind);
        }
        let Self { tables, vms, .. } = self;
        let found = &mut vms[vm as usize];
        let at = found.bits.join(alias.stolen, gfn);
        let root = &mut found.roots[alias.root];
        let spot = tables.walk(root, at, level);
        if spot.level != level {
            return Ok(false);
        }
        let Some(limbo) = tables.merge(root, &spot, found.limbo_tables) else {
            return Ok(false);
        };
        found.limbo_tables = limbo;
        found.unflushed = true;
        found.stats.shared -= 511;
        Ok(true)
    }

    /// Runs what waits for a flush of the shared TLB.
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`.
    pub fn flush(&mut self, vm: u8) -> Result<Next, Error> {
        self.idle(vm)?;
        Ok(self.flush_program(vm))
    }

    /// A program of one step that others plan (TDH.MNG.INIT, TDH.MR.FINALIZE, …).
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`.
    pub fn run_once(&mut self, vm: u8, step: Step) -> Result<Next, Error> {
        self.idle(vm)?;
        let mut program = Program::new();
        let _ = program.push(step);
        Ok(self.start_once(vm, program))
    }
}
