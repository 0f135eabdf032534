//! TDH.MEM.PAGE.*: private pages of a TD.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    HostLeaf, Operand, PageType, Status,
    page::level_size,
    sept::{self, State, bit},
};

use super::mem::call_cleanup;
use crate::call::{self, Call, RWX, Walk, leaf_entry, leaf_hpa, table_entry, unblocked};
use crate::lock::Mode;
use crate::machine::{Machine, reg::*};
use crate::measure;
use crate::module::{Done, SUCCESS, Step};

impl<M: Machine> Call<'_, M> {
    /// The checks of a leaf that works on one leaf entry, up to its state.
    fn lock_leaf_entry(
        &mut self,
        tdcs: crate::page::Tdcs<M::Memory>,
        mapping: u64,
        levels: core::ops::RangeInclusive<u8>,
        leaf: HostLeaf,
    ) -> Result<(u64, Walk), Status> {
        let gpa = Self::check_mapping(mapping, levels)?;
        let level = (mapping & 7) as u8;
        let walk = self.lock_walk(tdcs, gpa, level, Mode::Shared)?;
        let allowed = sept::host_leaf_allows(leaf, walk.state());
        let any = leaf == HostLeaf::MemPageAug && !self.module.does(Step::EntryFree);
        if !allowed && !any {
            let wrong = Status::EPT_ENTRY_STATE_INCORRECT;
            return Err(self.entry_error(wrong, walk.entry, level));
        }
        Ok((gpa, walk))
    }

    pub fn mem_page_add(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemPageAdd;
        let (mapping, tdr) = self.take_mapping();
        let (page, source) = (self.r[R8], self.r[R9]);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Exclusive, None, leaf)?;
        let gpa = Self::check_mapping(mapping, 0..=0)?;
        if !call::is_valid_gpa(gpa, td.tdcs.gpaw(), true) {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        let walk = call::walk(td.tdcs, gpa, 0);
        if walk.level != 0 {
            return Err(self.entry_error(Status::EPT_WALK_FAILED, walk.entry, walk.level));
        }
        if !sept::host_leaf_allows(leaf, walk.state()) {
            let wrong = Status::EPT_ENTRY_STATE_INCORRECT;
            return Err(self.entry_error(wrong, walk.entry, 0));
        }
        self.check_shared(source, 4096, Operand::R9)?;
        let pamt = self.lock_page(page, Operand::R8, Mode::Exclusive, PageType::Nda)?;
        let memory = self.mem();
        match self.host_memory(source) {
            Some(source) => memory.copy_page(source, Hpa::new(page)),
            None => memory.zero(Hpa::new(page), 4096),
        }
        memory.write_u64(walk.at, leaf_entry(page, RWX, State::Mapped));
        measure::extend(td.tdcs, &[measure::page_add(gpa)]);
        td.tdr.add_children(1);
        self.assign(pamt, PageType::Reg, td.tdr.hpa());
        self.set_pamt_epoch(pamt, 0);
        SUCCESS
    }

    pub fn mem_page_aug(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemPageAug;
        let (mapping, tdr) = self.take_mapping();
        let page = self.r[R8];
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let (_, walk) = self.lock_leaf_entry(td.tdcs, mapping, 0..=1, leaf)?;
        let free = PageType::Nda;
        let pamt = self.lock_page_of_size(page, Operand::R8, Mode::Exclusive, free, walk.level)?;
        self.mem()
            .write_u64(walk.at, leaf_entry(page, 0, State::Pending));
        td.tdr.add_children(1 << (9 * walk.level));
        self.assign(pamt, PageType::Reg, td.tdr.hpa());
        self.set_pamt_epoch(pamt, 0);
        SUCCESS
    }

    pub fn mem_page_remove(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemPageRemove;
        let (mapping, tdr) = self.take_mapping();
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let (gpa, walk) = self.lock_leaf_entry(td.tdcs, mapping, 0..=2, leaf)?;
        let level = walk.level;
        let entry = call_cleanup(walk.entry, walk.state(), level);
        let page = leaf_hpa(entry, gpa, level);
        let pamt = self
            .lock_implicit(page, level, Mode::Exclusive)
            .map_err(|s| s.with(Operand::RCX))?;
        self.check_tracking(td.tdcs, &Walk { entry, ..walk }, level, pamt)?;
        self.mem().write_u64(walk.at, sept::FREE_ENTRY);
        td.tdr.add_children(-(1 << (9 * level)));
        self.set_pamt_type(pamt, PageType::Nda);
        self.r[RCX] = page;
        SUCCESS
    }

    pub fn mem_page_demote(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemPageDemote;
        let original = (self.r[RCX], self.r[RDX]);
        let (mapping, handle) = self.take_mapping();
        if handle & !(sept::HPA_MASK | 1) != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        let shared = Some(Mode::Shared);
        let td = self.lock_td(handle & !1, Operand::RDX, Mode::Shared, shared, leaf)?;
        let (gpa, walk) = self.lock_leaf_entry(td.tdcs, mapping, 1..=2, leaf)?;
        let level = walk.level;
        let entry = call_cleanup(walk.entry, walk.state(), level);
        let page = leaf_hpa(entry, gpa, level);
        let pamt = self.pamt_implicit(page, level)?;
        if self.module.does(Step::DemoteTracked) {
            self.check_tracking(td.tdcs, &Walk { entry, ..walk }, level, pamt)?;
        }
        let table = self.r[R8];
        let table_pamt = self.lock_page(table, Operand::R8, Mode::Exclusive, PageType::Nda)?;
        let parts = unblocked(entry) & !bit::TDEL;
        let memory = self.mem();
        let part_size = level_size(level - 1);
        for i in 0..sept::ENTRIES as u64 {
            let part = parts & !sept::HPA_MASK | (page + i * part_size);
            memory.write_u64(Hpa::new(table + 8 * i), part);
        }
        if self.machine.interrupt_pending(self.lp) {
            (self.r[RCX], self.r[RDX]) = original;
            return Err(Status::INTERRUPTED_RESTARTABLE);
        }
        self.pamt_demote(page, level)
            .map_err(|s| s.with(Operand::RCX))?;
        memory.write_u64(walk.at, table_entry(table));
        self.assign(table_pamt, PageType::Ept, td.tdr.hpa());
        td.tdr.add_children(1);
        SUCCESS
    }

    pub fn mem_page_promote(&mut self, version: u8) -> Result<Done, Status> {
        let leaf = HostLeaf::MemPagePromote;
        let original = (self.r[RCX], self.r[RDX]);
        let (mapping, tdr) = self.take_mapping();
        if version > 0 {
            self.r.0[R9..=R11].fill(u64::MAX);
        }
        if version > leaf.max_version() {
            return Err(Status::OPERAND_INVALID.with(Operand::RAX));
        }
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let (_, walk) = self.lock_leaf_entry(td.tdcs, mapping, 1..=2, leaf)?;
        let level = walk.level;
        let table = walk.entry & sept::HPA_MASK;
        let pamt = self
            .lock_implicit(table, 0, Mode::Exclusive)
            .map_err(|s| s.with(Operand::RCX))?;
        if self.module.does(Step::PromoteTracked) {
            self.check_tracking(td.tdcs, &walk, level, pamt)?;
        }
        let Some(merged) = self.merged(table, level) else {
            let status = Status::EPT_INVALID_PROMOTE_CONDITIONS;
            return Err(self.entry_error(status, walk.entry, level));
        };
        if self.machine.interrupt_pending(self.lp) {
            (self.r[RCX], self.r[RDX]) = original;
            return Err(Status::INTERRUPTED_RESTARTABLE);
        }
        let page = leaf_hpa(merged, 0, level);
        self.pamt_promote(page, level)
            .map_err(|s| s.with(Operand::RCX))?;
        self.mem().write_u64(walk.at, merged);
        td.tdr.add_children(-1);
        self.set_pamt_type(pamt, PageType::Nda);
        self.r[RCX] = table;
        SUCCESS
    }

    /// The one entry that says what the 512 entries of a table say, if there is one.
    fn merged(&self, table: u64, level: u8) -> Option<u64> {
        let part_size = level_size(level - 1);
        let read = |i: u64| {
            let entry = self.mem().read_u64(Hpa::new(table + 8 * i)) & !bit::TDHP;
            let state = State::of(entry)?;
            Some(call_cleanup(entry, state, level - 1))
        };
        let first = read(0)?;
        let state = State::of(first)?;
        let aligned = leaf_hpa(first, 0, level - 1) & (level_size(level) - 1) == 0;
        if !aligned || !matches!(state, State::Mapped | State::Pending) {
            return None;
        }
        (1..sept::ENTRIES as u64)
            .all(|i| read(i) == Some(first + i * part_size))
            .then_some(first)
    }

    pub fn mem_page_relocate(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemPageRelocate;
        let (mapping, tdr) = self.take_mapping();
        let target = self.r[R8];
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let (gpa, walk) = self.lock_leaf_entry(td.tdcs, mapping, 0..=0, leaf)?;
        let source = leaf_hpa(walk.entry, gpa, 0);
        if source == target & ((1 << 52) - 1) {
            return Err(Status::OPERAND_INVALID.with(Operand::R8));
        }
        let source_pamt = self
            .lock_implicit(source, 0, Mode::Exclusive)
            .map_err(|s| s.with(Operand::RCX))?;
        if self.module.does(Step::RelocateTracked) {
            self.check_tracking(td.tdcs, &walk, 0, source_pamt)?;
        }
        let pamt = self.lock_page(target, Operand::R8, Mode::Exclusive, PageType::Nda)?;
        let memory = self.mem();
        if !walk.state().is_pending() {
            memory.copy_page(Hpa::new(source), Hpa::new(target));
        }
        self.set_pamt_type(source_pamt, PageType::Nda);
        self.assign(pamt, PageType::Reg, td.tdr.hpa());
        self.set_pamt_epoch(pamt, 0);
        let entry = unblocked(walk.entry & !sept::HPA_MASK | target);
        memory.write_u64(walk.at, entry);
        self.r[RCX] = source;
        SUCCESS
    }
}
