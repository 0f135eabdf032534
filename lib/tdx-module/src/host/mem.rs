//! TDH.MEM.*: Secure EPT pages, blocking and tracking, debug access.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    HostLeaf, Operand, PageType, Status,
    page::LEVEL_2M,
    sept::{self, State, bit},
};

use crate::call::{self, Call, leaf_hpa, table_entry, unblocked, with_state};
use crate::lock::Mode;
use crate::machine::{Machine, reg::*};
use crate::module::{Done, SUCCESS, Step};

/// "No physical address" in R9 to R11.
const NULL_PA: u64 = u64::MAX;
const FLAG: u64 = 1 << 63;

impl<M: Machine> Call<'_, M> {
    /// Clears RCX and RDX, where TDH.MEM.* return details.
    pub fn take_mapping(&mut self) -> (u64, u64) {
        let operands = (self.r[RCX], self.r[RDX]);
        self.r[RCX] = 0;
        self.r[RDX] = 0;
        operands
    }

    pub fn mem_sept_add(&mut self, version: u8) -> Result<Done, Status> {
        let mut pages = [self.r[R8], NULL_PA, NULL_PA, NULL_PA];
        if version > 0 {
            pages[1..].copy_from_slice(&[self.r[R9], self.r[R10], self.r[R11]]);
        } else {
            pages[1..].fill(0);
        }
        for page in &mut pages {
            if *page != NULL_PA {
                *page &= !FLAG;
            }
        }
        let result = self.sept_add(version, &mut pages);
        if version == 1 {
            self.r.0[R8..=R11].copy_from_slice(&pages);
        }
        result
    }

    fn sept_add(&mut self, version: u8, pages: &mut [u64; 4]) -> Result<Done, Status> {
        let leaf = HostLeaf::MemSeptAdd;
        let (mapping, handle) = self.take_mapping();
        if version > leaf.max_version() {
            return Err(Status::OPERAND_INVALID.with(Operand::RAX));
        }
        let allow_existing = handle & 1 != 0;
        if handle & !(sept::HPA_MASK | 1) != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        let shared = Some(Mode::Shared);
        let td = self.lock_td(handle & !1, Operand::RDX, Mode::Shared, shared, leaf)?;
        let gpa = Self::check_mapping(mapping, 1..=td.tdcs.top_level())?;
        let level = (mapping & 7) as u8;
        let walk = self.lock_walk(td.tdcs, gpa, level, Mode::Shared)?;
        let state = walk.state();
        let wrong = Status::EPT_ENTRY_STATE_INCORRECT;
        if !sept::host_leaf_allows(leaf, state) {
            return Err(self.entry_error(wrong, walk.entry, level));
        }
        let page = pages[0];
        let mut new_page = None;
        if page == NULL_PA {
            if version == 0 {
                return Err(Status::OPERAND_INVALID.with(Operand::R8));
            }
            if state != State::NlMapped {
                return Err(self.entry_error(wrong, walk.entry, level));
            }
        } else if state == State::Free {
            let pamt = self.lock_page(page, Operand::R8, Mode::Exclusive, PageType::Nda)?;
            new_page = Some(pamt);
        } else if allow_existing {
            pages[0] |= FLAG;
        } else {
            return Err(self.entry_error(wrong, walk.entry, level));
        }
        if version > 0 {
            // There are no L2 VMs here: no page can be given for one.
            for (vm, &page) in pages.iter().enumerate().skip(1) {
                if page != NULL_PA {
                    return Err(Status::OPERAND_INVALID.with_details(Operand::R8.0 + vm as u32));
                }
            }
        }
        if let Some(pamt) = new_page {
            let memory = self.mem();
            for i in 0..sept::ENTRIES as u64 {
                memory.write_u64(Hpa::new(page + 8 * i), sept::FREE_ENTRY);
            }
            self.assign(pamt, PageType::Ept, td.tdr.hpa());
            self.set_pamt_epoch(pamt, 0);
            td.tdr.add_children(1);
            memory.write_u64(walk.at, table_entry(page));
            pages[0] = NULL_PA;
        }
        SUCCESS
    }

    pub fn mem_sept_remove(&mut self, version: u8) -> Result<Done, Status> {
        let leaf = HostLeaf::MemSeptRemove;
        let (mapping, tdr) = self.take_mapping();
        if version > 0 {
            self.r.0[R9..=R11].fill(NULL_PA);
        }
        if version > leaf.max_version() {
            return Err(Status::OPERAND_INVALID.with(Operand::RAX));
        }
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let gpa = Self::check_mapping(mapping, 1..=td.tdcs.top_level())?;
        let level = (mapping & 7) as u8;
        let walk = self.lock_walk(td.tdcs, gpa, level, Mode::Exclusive)?;
        if !sept::host_leaf_allows(leaf, walk.state()) {
            let wrong = Status::EPT_ENTRY_STATE_INCORRECT;
            return Err(self.entry_error(wrong, walk.entry, level));
        }
        let page = walk.entry & sept::HPA_MASK;
        let pamt = self
            .lock_implicit(page, 0, Mode::Exclusive)
            .map_err(|s| s.with(Operand::RCX))?;
        self.check_tracking(td.tdcs, &walk, level, pamt)?;
        let memory = self.mem();
        let all_free = (0..sept::ENTRIES as u64)
            .all(|i| State::of(memory.read_u64(Hpa::new(page + 8 * i))) == Some(State::Free));
        if !all_free {
            return Err(self.entry_error(Status::EPT_PAGE_NOT_FREE, walk.entry, level));
        }
        memory.write_u64(walk.at, sept::FREE_ENTRY);
        td.tdr.add_children(-1);
        self.set_pamt_type(pamt, PageType::Nda);
        self.r[RCX] = page;
        SUCCESS
    }

    pub fn mem_sept_rd(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemSeptRd;
        let (mapping, handle) = self.take_mapping();
        let l2_attributes = handle & 1 != 0;
        let shared = Some(Mode::Shared);
        let td = self.lock_td(handle & !1, Operand::RDX, Mode::Shared, shared, leaf)?;
        if l2_attributes && !td.tdcs.is_debug() {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        let gpa = Self::check_mapping(mapping, 0..=td.tdcs.top_level())?;
        let level = (mapping & 7) as u8;
        let walk = self.lock_walk(td.tdcs, gpa, level, Mode::Shared)?;
        if l2_attributes {
            self.r[R8] = 0;
        }
        self.report_entry(walk.entry, level);
        SUCCESS
    }

    pub fn mem_range_block(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemRangeBlock;
        let (mapping, tdr) = self.take_mapping();
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let gpa = Self::check_mapping(mapping, 0..=td.tdcs.top_level())?;
        let level = (mapping & 7) as u8;
        let walk = self.lock_walk(td.tdcs, gpa, level, Mode::Exclusive)?;
        let state = walk.state();
        if !sept::host_leaf_allows(leaf, state) {
            let status = if state.is_blocked() {
                Status::GPA_RANGE_ALREADY_BLOCKED
            } else {
                Status::EPT_ENTRY_STATE_INCORRECT
            };
            return Err(self.entry_error(status, walk.entry, level));
        }
        let entry = call_cleanup(walk.entry, state, level);
        let blocked = match state {
            State::NlMapped => with_state(entry, State::NlBlocked) & !call::RWX,
            State::Pending | State::PendingBlockedw => with_state(entry, State::PendingBlocked),
            _ if !self.module.does(Step::BlockRevokes) => with_state(entry, State::Blocked),
            _ => with_state(entry, State::Blocked) & !call::RWX,
        };
        self.mem().write_u64(walk.at, blocked);
        let page_level = if state.is_leaf() { level } else { 0 };
        let pamt = self.pamt_implicit(walk.entry & sept::HPA_MASK, page_level)?;
        if self.module.does(Step::BlockNotesEpoch) {
            self.set_pamt_epoch(pamt, td.tdcs.epoch());
        }
        SUCCESS
    }

    pub fn mem_range_unblock(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MemRangeUnblock;
        let (mapping, tdr) = self.take_mapping();
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let gpa = Self::check_mapping(mapping, 0..=td.tdcs.top_level())?;
        let level = (mapping & 7) as u8;
        let walk = self.lock_walk(td.tdcs, gpa, level, Mode::Exclusive)?;
        let state = walk.state();
        if !sept::host_leaf_allows(leaf, state) {
            let wrong = Status::EPT_ENTRY_STATE_INCORRECT;
            return Err(self.entry_error(wrong, walk.entry, level));
        }
        if state.needs_tlb_tracking() && td.tdcs.op_state().tlb_tracking_required() {
            let pamt = if state.is_leaf() {
                self.pamt_implicit(leaf_hpa(walk.entry, gpa, level), level)?
            } else {
                self.pamt_implicit(walk.entry & sept::HPA_MASK, 0)?
            };
            if !self.is_tracked(td.tdcs, self.pamt_epoch(pamt)) {
                return Err(Status::TLB_TRACKING_NOT_DONE.with(Operand::SEPT_TREE));
            }
        }
        self.mem().write_u64(walk.at, unblocked(walk.entry));
        SUCCESS
    }

    pub fn mem_track(&mut self) -> Result<Done, Status> {
        let shared = Some(Mode::Shared);
        let leaf = HostLeaf::MemTrack;
        let td = self.lock_td(self.r[RCX], Operand::RCX, Mode::Shared, shared, leaf)?;
        self.acquire(td.tdcs.epoch_lock(), Mode::Exclusive)
            .map_err(|s| s.with(Operand::TD_EPOCH))?;
        let epoch = td.tdcs.epoch();
        let before = td.tdcs.ref_count(epoch.wrapping_add(1));
        if before != 0 && self.module.does(Step::TrackWaits) {
            return Err(Status::PREVIOUS_TLB_EPOCH_BUSY);
        }
        td.tdcs.set_epoch(epoch.wrapping_add(1));
        SUCCESS
    }

    /// TDH.MEM.RD and TDH.MEM.WR.
    pub fn mem_rd_wr(&mut self, write: bool) -> Result<Done, Status> {
        let leaf = if write {
            HostLeaf::MemWr
        } else {
            HostLeaf::MemRd
        };
        let (gpa, tdr) = self.take_mapping();
        let data = self.r[R8];
        self.r[R8] = 0;
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        if !td.tdcs.is_debug() {
            return Err(Status::TD_NON_DEBUG);
        }
        let invalid = Status::OPERAND_INVALID.with(Operand::RCX);
        if gpa & 7 != 0 {
            return Err(invalid);
        }
        self.acquire(td.tdcs.sept_lock(), Mode::Shared)
            .map_err(|s| s.with(Operand::SEPT_TREE))?;
        if !call::is_valid_gpa(gpa, td.tdcs.gpaw(), true) {
            return Err(invalid);
        }
        let walk = self.walk_to_leaf(td.tdcs, gpa)?;
        self.lock_entry(&walk)?;
        if !sept::host_leaf_allows(leaf, walk.state()) {
            let wrong = Status::EPT_ENTRY_STATE_INCORRECT;
            return Err(self.entry_error(wrong, walk.entry, walk.level));
        }
        let hpa = Hpa::new(leaf_hpa(walk.entry, gpa, walk.level));
        self.r[R8] = self.mem().read_u64(hpa);
        if write {
            self.mem().write_u64(hpa, data);
        }
        SUCCESS
    }

    /// Walks to a present leaf, whatever its level.
    pub fn walk_to_leaf(
        &mut self,
        tdcs: crate::page::Tdcs<M::Memory>,
        gpa: u64,
    ) -> Result<call::Walk, Status> {
        let walk = call::walk(tdcs, gpa, 0);
        if walk.entry & bit::PS == 0 || walk.entry & call::RWX == 0 {
            return Err(self.entry_error(Status::EPT_ENTRY_NOT_PRESENT, walk.entry, walk.level));
        }
        Ok(walk)
    }
}

/// Takes the count of pages an interrupted TDG.MEM.PAGE.ACCEPT keeps in a pending 2 MiB entry
/// out of it.
pub(crate) fn call_cleanup(entry: u64, state: State, level: u8) -> u64 {
    if state.is_pending_acceptable() && level == LEVEL_2M {
        entry & !ACCEPT_COUNTER
    } else {
        entry
    }
}

/// Where that count is: bits 20:12, which a 2 MiB entry's address does not use.
pub(crate) const ACCEPT_COUNTER: u64 = 0x1ff << 12;
