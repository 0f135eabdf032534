//! One SEAMCALL: its registers, the locks it holds, and the checks that leaves share.

use gpa::Hpa;
use heapless::Vec;
use memory::PhysMemory;
use tdx_abi::{
    HostLeaf, Operand, PageType, Status, op_state,
    sept::{self, EntryInfo, GpaMapping, State, bit},
};

use crate::lock::{Lock, Mode};
use crate::machine::{Machine, Regs, reg::*};
use crate::module::{Module, Step};
use crate::page::{Tdcs, Tdr, Tdvps, lifecycle};

/// Locks one call holds at most: 5 pages with their PAMT ancestors, and the TD's.
const MAX_HELD: usize = 24;

pub(crate) struct Call<'a, M: Machine> {
    pub module: &'a mut Module,
    pub machine: &'a mut M,
    pub lp: usize,
    pub r: &'a mut Regs,
    held: Vec<(Lock, Mode), MAX_HELD>,
}

/// What a KEYS_CONFIGURED TD is made of.
pub(crate) struct Td<Mem> {
    pub tdr: Tdr<Mem>,
    pub tdcs: Tdcs<Mem>,
}

/// How far a Secure EPT walk came.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    /// Where the entry is.
    pub at: Hpa,
    /// The entry.
    pub entry: u64,
    /// Its level.
    pub level: u8,
}

impl Walk {
    pub fn state(&self) -> State {
        State::of(self.entry).unwrap_or(State::Free)
    }
}

impl<'a, M: Machine> Call<'a, M> {
    pub fn new(module: &'a mut Module, machine: &'a mut M, lp: usize, r: &'a mut Regs) -> Self {
        Self {
            module,
            machine,
            lp,
            r,
            held: Vec::new(),
        }
    }

    pub fn mem(&self) -> M::Memory {
        self.machine.memory()
    }

    // ---- locks ----

    pub fn acquire(&mut self, lock: Lock, mode: Mode) -> Result<(), Status> {
        lock.acquire(&self.mem(), mode)?;
        self.note(lock, mode)
    }

    pub fn note(&mut self, lock: Lock, mode: Mode) -> Result<(), Status> {
        if self.held.push((lock, mode)).is_err() {
            lock.release(&self.mem(), mode);
            return Err(Status::OPERAND_BUSY);
        }
        Ok(())
    }

    /// Turns the hold taken last into an exclusive one.
    pub fn promote_last(&mut self) -> Result<(), Status> {
        let memory = self.mem();
        if let Some((lock, mode)) = self.held.last_mut() {
            lock.promote(&memory)?;
            *mode = Mode::Exclusive;
        }
        Ok(())
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Releases the locks taken since there were `from` of them.
    pub fn release_since(&mut self, from: usize) {
        while self.held.len() > from {
            if let Some((lock, mode)) = self.held.pop() {
                lock.release(&self.mem(), mode);
            }
        }
    }

    /// Releases one lock out of order.
    pub fn release_lock(&mut self, lock: Lock) {
        if let Some(i) = self.held.iter().position(|(l, _)| *l == lock) {
            let (lock, mode) = self.held.remove(i);
            lock.release(&self.mem(), mode);
        }
    }

    pub fn release_all(&mut self) {
        self.release_since(0);
    }

    /// Keeps the locks: the LP goes inside.
    pub fn keep_locks(&mut self) {
        self.held.clear();
    }

    // ---- operands ----

    /// A host physical address that stays the host's: aligned, with a shared KeyID.
    pub fn check_shared(&self, pa: u64, align: u64, operand: Operand) -> Result<(), Status> {
        let p = &self.module.platform;
        let invalid = Status::OPERAND_INVALID.with(operand);
        if pa & (align - 1) != 0 || pa >> p.max_pa != 0 {
            return Err(invalid);
        }
        let address = pa & !p.key_id_mask();
        let seam = p.seam_range;
        if address < seam.base + seam.size && seam.base < address + align {
            return Err(invalid);
        }
        if p.key_id(pa) >= p.private_key_id_min {
            return Err(invalid);
        }
        Ok(())
    }

    /// Where an operand of the host is, once [`Self::check_shared`] accepted it. `None` where the
    /// page is a TD's or the module's: the host would see and write but ciphertext there, so
    /// reading gives zeros, and what is written is dropped.
    pub fn host_memory(&self, pa: u64) -> Option<Hpa> {
        let open = !self.module.is_private(&self.mem(), pa);
        open.then(|| Hpa::new(pa & !self.module.platform.key_id_mask()))
    }

    /// The address of a page that is to be (or is) private: aligned, without KeyID.
    pub fn check_private(&self, pa: u64, align: u64, operand: Operand) -> Result<(), Status> {
        let p = &self.module.platform;
        if pa & (align - 1) != 0 || pa >> p.max_pa != 0 || p.key_id(pa) != 0 {
            return Err(Status::OPERAND_INVALID.with(operand));
        }
        Ok(())
    }

    /// A page with its KeyID.
    pub fn with_key(&self, pa: u64, key_id: u16) -> u64 {
        pa & !self.module.platform.key_id_mask()
            | (key_id as u64) << self.module.platform.key_id_start
    }

    // ---- TD ----

    /// Locks the TDR that an operand names.
    pub fn lock_tdr(
        &mut self,
        pa: u64,
        operand: Operand,
        mode: Mode,
    ) -> Result<Tdr<M::Memory>, Status> {
        self.lock_page(pa, operand, mode, PageType::Tdr)?;
        Ok(Tdr::new(self.mem(), pa))
    }

    /// The checks of a TD that leaves make before they use TDCS, with OP_STATE locked where
    /// the leaf asks for it.
    pub fn check_td(
        &mut self,
        tdr: Tdr<M::Memory>,
        op_state_lock: Option<Mode>,
        leaf: HostLeaf,
    ) -> Result<Tdcs<M::Memory>, Status> {
        if tdr.fatal() != 0 {
            return Err(Status::TD_FATAL);
        }
        if tdr.lifecycle() != lifecycle::KEYS_CONFIGURED {
            return Err(Status::TD_KEYS_NOT_CONFIGURED);
        }
        if tdr.num_tdcx() < tdx_abi::td::MIN_TDCS_PAGES {
            return Err(Status::TDCS_NOT_ALLOCATED);
        }
        let tdcs = tdr.tdcs();
        if let Some(mode) = op_state_lock {
            self.acquire(tdcs.op_state_lock(), mode)
                .map_err(|s| s.with(Operand::OP_STATE))?;
        }
        if !op_state::allows(leaf, tdcs.op_state()) {
            return Err(Status::OP_STATE_INCORRECT);
        }
        Ok(tdcs)
    }

    /// [`Self::lock_tdr`] and [`Self::check_td`].
    pub fn lock_td(
        &mut self,
        pa: u64,
        operand: Operand,
        mode: Mode,
        op_state_lock: Option<Mode>,
        leaf: HostLeaf,
    ) -> Result<Td<M::Memory>, Status> {
        let tdr = self.lock_tdr(pa, operand, mode)?;
        let tdcs = self.check_td(tdr, op_state_lock, leaf)?;
        Ok(Td { tdr, tdcs })
    }

    /// Locks a TDVPR given in RCX, and the TDR that owns it.
    pub fn lock_vcpu(
        &mut self,
        pa: u64,
        operand: Operand,
        mode: Mode,
    ) -> Result<Tdr<M::Memory>, Status> {
        let pamt = self.lock_page(pa, operand, mode, PageType::Tdvpr)?;
        let owner = self.pamt_owner(pamt);
        self.lock_implicit(owner, 0, Mode::Shared)
            .map_err(|s| s.with(Operand::TDR))?;
        Ok(Tdr::new(self.mem(), owner))
    }

    /// The vCPU at `pa`, if it has all its pages.
    pub fn tdvps(&self, pa: u64, num_l2_vms: u16) -> Result<Tdvps<M::Memory>, Status> {
        let tdvps = Tdvps::new(self.mem(), pa);
        if u16::from(tdvps.num_pages()) < 6 + 3 * num_l2_vms {
            return Err(Status::TDCX_NUM_INCORRECT);
        }
        Ok(tdvps)
    }

    // ---- Secure EPT ----

    /// Checks a "GPA and level" operand.
    pub fn check_mapping(raw: u64, levels: core::ops::RangeInclusive<u8>) -> Result<u64, Status> {
        let mapping = GpaMapping(raw);
        let level = mapping.level();
        if !mapping.reserved_are_zero()
            || !levels.contains(&level)
            || mapping.gpa() & (tdx_abi::page::level_size(level) - 1) != 0
        {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        Ok(mapping.gpa())
    }

    /// Locks the Secure EPT, walks to `level` and locks the entry; RCX and RDX say how far it
    /// came where it fails.
    pub fn lock_walk(
        &mut self,
        tdcs: Tdcs<M::Memory>,
        gpa: u64,
        level: u8,
        mode: Mode,
    ) -> Result<Walk, Status> {
        if !is_valid_gpa(gpa, tdcs.gpaw(), true) {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        self.acquire(tdcs.sept_lock(), mode)
            .map_err(|s| s.with(Operand::SEPT_TREE))?;
        let walk = walk(tdcs, gpa, level);
        if walk.level != level {
            self.release_lock(tdcs.sept_lock());
            self.report_entry(walk.entry, walk.level);
            return Err(Status::EPT_WALK_FAILED.with(Operand::RCX));
        }
        self.lock_entry(&walk)?;
        Ok(walk)
    }

    /// Finds a Secure EPT entry's lock free, for the host.
    pub fn lock_entry(&mut self, walk: &Walk) -> Result<(), Status> {
        if walk.entry & bit::TDEL != 0 {
            self.mem().write_u64(walk.at, walk.entry | bit::TDHP);
            self.report_entry(walk.entry, walk.level);
            return Err(Status::OPERAND_BUSY.with(Operand::RCX));
        }
        if walk.entry & bit::TDHP != 0 {
            self.mem().write_u64(walk.at, walk.entry & !bit::TDHP);
        }
        Ok(())
    }

    /// Writes what the host may know of an entry to RCX and RDX.
    pub fn report_entry(&mut self, entry: u64, level: u8) {
        const LEAF: u64 =
            bit::R | bit::W | bit::X | 7 << 3 | sept::HPA_MASK | bit::IPAT | bit::PS | bit::SVE;
        const NON_LEAF: u64 = bit::R | bit::W | bit::X | bit::PS;
        let state = State::of(entry).unwrap_or(State::Free);
        self.r[RCX] = if state == State::Free {
            bit::SVE
        } else if entry & bit::PS != 0 {
            entry & LEAF
        } else {
            entry & NON_LEAF
        };
        self.r[RDX] = EntryInfo::new(level, state).0;
    }

    /// `status` blaming RCX, with the entry in RCX and RDX.
    pub fn entry_error(&mut self, status: Status, entry: u64, level: u8) -> Status {
        self.report_entry(entry, level);
        status.with(Operand::RCX)
    }

    /// Whether all vCPUs that could have cached a translation blocked in `block_epoch` left.
    pub fn is_tracked(&self, tdcs: Tdcs<M::Memory>, block_epoch: u64) -> bool {
        if block_epoch >> 63 != 0 {
            return false;
        }
        let previous = tdcs.epoch().wrapping_sub(1);
        let left = tdcs.ref_count(block_epoch) == 0 || !self.module.does(Step::PreviousEpochLeft);
        block_epoch < previous || block_epoch == previous && left
    }

    /// TLB tracking of an entry that is to go or to change.
    pub fn check_tracking(
        &mut self,
        tdcs: Tdcs<M::Memory>,
        walk: &Walk,
        level: u8,
        pamt: Hpa,
    ) -> Result<(), Status> {
        let state = walk.state();
        if !state.needs_tlb_tracking() || !tdcs.op_state().tlb_tracking_required() {
            return Ok(());
        }
        if !state.is_blocked() && self.module.does(Step::Blocked) {
            return Err(self.entry_error(Status::GPA_RANGE_NOT_BLOCKED, walk.entry, level));
        }
        if !self.is_tracked(tdcs, self.pamt_epoch(pamt)) && self.module.does(Step::Tracked) {
            return Err(Status::TLB_TRACKING_NOT_DONE.with(Operand::RCX));
        }
        Ok(())
    }
}

/// Whether a guest physical address is within the TD's width, and private where asked.
pub(crate) fn is_valid_gpa(gpa: u64, gpaw: bool, private: bool) -> bool {
    let width = if gpaw { 52 } else { 48 };
    let shared = tdx_abi::td::shared_bit(gpaw);
    gpa >> width == 0 && !(private && gpa & shared != 0)
}

/// Walks the Secure EPT towards `level`, as far as there are tables.
pub(crate) fn walk<Mem: PhysMemory + Copy>(tdcs: Tdcs<Mem>, gpa: u64, level: u8) -> Walk {
    let mut table = tdcs.eptp() & sept::HPA_MASK;
    let mut at_level = tdcs.top_level();
    loop {
        let index = gpa >> (12 + 9 * at_level) & 511;
        let at = Hpa::new(table + 8 * index);
        let entry = tdcs.memory().read_u64(at);
        let mapped = entry & (bit::R | bit::W | bit::X) != 0 && entry & bit::PS == 0;
        if at_level <= level || !mapped || at_level == 0 {
            return Walk {
                at,
                entry,
                level: at_level,
            };
        }
        table = entry & sept::HPA_MASK;
        at_level -= 1;
    }
}

/// The host physical address a leaf entry gives `gpa`.
pub(crate) fn leaf_hpa(entry: u64, gpa: u64, level: u8) -> u64 {
    let offset = tdx_abi::page::level_size(level) - 1;
    entry & sept::HPA_MASK & !offset | gpa & offset
}

/// A leaf entry.
pub(crate) const fn leaf_entry(hpa: u64, permissions: u64, state: State) -> u64 {
    permissions | state.bits() | sept::MT_WB | hpa | bit::SVE
}

/// An entry that points to a table.
pub(crate) const fn table_entry(hpa: u64) -> u64 {
    RWX | hpa | bit::SVE
}

pub(crate) const RWX: u64 = bit::R | bit::W | bit::X;

/// The entry with another state.
pub(crate) const fn with_state(entry: u64, state: State) -> u64 {
    entry & !sept::STATE_MASK | state.bits() | bit::SVE
}

/// What a blocked entry becomes when it is unblocked.
pub(crate) fn unblocked(entry: u64) -> u64 {
    const MT: u64 = 7 << 3;
    match State::of(entry) {
        Some(State::NlBlocked) => (with_state(entry, State::NlMapped) | RWX) & !MT,
        Some(State::Blocked) => (with_state(entry, State::Mapped) | RWX) & !MT | sept::MT_WB,
        Some(State::PendingBlocked) => with_state(entry, State::Pending),
        _ => entry,
    }
}
