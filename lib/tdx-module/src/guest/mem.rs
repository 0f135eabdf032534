//! TDG.MEM.PAGE.*.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    GpaMapping, GuestLeaf, Operand, Status,
    exit::extended,
    sept::{self, State, bit},
};

use super::{Guest, GuestOutcome, Stop};
use crate::call::{self, Call, RWX, is_valid_gpa, with_state};
use crate::host::ACCEPT_COUNTER;
use crate::machine::{Machine, VcpuState, reg::*};

/// Pages of 4 KiB in one of 2 MiB.
const PAGES: u64 = 512;
/// VMs that attributes are given for: the TD itself and its L2 VMs.
const VMS: u32 = 4;

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    /// Whether the guest may touch an entry that the host may have reserved.
    fn lock_entry(&self, entry: u64) -> Result<(), Stop> {
        let status = if entry & bit::TDEL != 0 {
            Status::OPERAND_BUSY
        } else if entry & bit::TDHP != 0 {
            Status::OPERAND_BUSY_HOST_PRIORITY
        } else {
            return Ok(());
        };
        Err(status.with(Operand::RCX).into())
    }

    pub fn mem_page_accept(&mut self) -> Result<(), Stop> {
        let raw = self.gpr(RCX);
        let gpa = Call::<M>::check_mapping(raw, 0..=1)?;
        let requested = GpaMapping(raw).level();
        if !is_valid_gpa(gpa, self.tdcs.gpaw(), true) {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        let walk = call::walk(self.tdcs, gpa, requested);
        let state = walk.state();
        let violation = |guest: &mut Self| {
            let kind = extended::ACCEPT;
            let outcome = guest.exit_accept(gpa, requested, walk.entry, walk.level, kind);
            Err(Stop::Outcome(outcome))
        };
        let accepted = Status::PAGE_ALREADY_ACCEPTED.with_details(u32::from(walk.level));
        if walk.level != requested {
            return if state.is_guest_accessible() {
                Err(accepted.into())
            } else {
                violation(self)
            };
        }
        self.lock_entry(walk.entry)?;
        if state != State::Free && walk.entry & bit::PS == 0 {
            let mismatch = Status::PAGE_SIZE_MISMATCH.with_details(u32::from(walk.level));
            return Err(mismatch.into());
        }
        if state.is_guest_accessible() {
            return Err(accepted.into());
        }
        if !sept::guest_leaf_allows(GuestLeaf::MemPageAccept, state) {
            return violation(self);
        }
        let mut entry = walk.entry;
        let memory = self.mem();
        if requested == 0 {
            memory.zero(Hpa::new(entry & sept::HPA_MASK), 4096);
        } else {
            // The count of pages done is kept in the entry, so that an interrupt loses nothing.
            loop {
                memory.zero(Hpa::new(entry & sept::HPA_MASK), 4096);
                let done = (entry & ACCEPT_COUNTER) >> 12;
                if done == PAGES - 1 {
                    entry &= !ACCEPT_COUNTER;
                    break;
                }
                entry += 1 << 12;
                if self.machine.interrupt_pending(self.lp) {
                    memory.write_u64(walk.at, entry);
                    return Err(Stop::Outcome(GuestOutcome::Retry));
                }
            }
        }
        let mapped = if state == State::Pending {
            State::Mapped
        } else {
            State::ExportedDirty
        };
        memory.write_u64(walk.at, with_state(entry | RWX, mapped));
        Ok(())
    }

    pub fn mem_page_attr_rd(&mut self) -> Result<(), Stop> {
        let (gpa, rdx) = (self.gpr(RCX), self.gpr(RDX));
        self.vcpu.set_gpr(RCX, 0);
        self.vcpu.set_gpr(RDX, 0);
        if !is_valid_gpa(gpa, self.tdcs.gpaw(), true) {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        let walk = call::walk(self.tdcs, gpa, 0);
        self.lock_entry(walk.entry)?;
        if !sept::guest_leaf_allows(GuestLeaf::MemPageAttrRd, walk.state()) {
            self.vcpu.set_gpr(RCX, gpa);
            self.vcpu.set_gpr(RDX, rdx);
            let outcome = self.exit_ept_violation(gpa, 0, extended::NONE);
            return Err(Stop::Outcome(outcome));
        }
        let base = gpa & !(tdx_abi::page::level_size(walk.level) - 1);
        let pending = u64::from(walk.state().is_pending()) << 62;
        self.vcpu
            .set_gpr(RCX, base | u64::from(walk.level) | pending);
        Ok(())
    }

    pub fn mem_page_attr_wr(&mut self) -> Result<(), Stop> {
        let raw = self.gpr(RCX);
        let (attributes, flags) = (self.gpr(RDX), self.gpr(R8));
        self.vcpu.set_gpr(RCX, 0);
        self.vcpu.set_gpr(RDX, 0);
        // Attributes and flags are those of L2 VMs, 16 bits for each, and there are none.
        for vm in 0..VMS {
            for (value, operand) in [(attributes, Operand::RDX), (flags, Operand::R8)] {
                if value >> (16 * vm) & 0xffff != 0 {
                    return Err(Status::OPERAND_INVALID.with(operand).into());
                }
            }
        }
        let gpa = Call::<M>::check_mapping(raw, 0..=2)?;
        let level = GpaMapping(raw).level();
        if !is_valid_gpa(gpa, self.tdcs.gpaw(), true) {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        let walk = call::walk(self.tdcs, gpa, level);
        if walk.level == level {
            self.lock_entry(walk.entry)?;
            if walk.entry & bit::PS == 0 && walk.state() != State::Free {
                let mismatch = Status::PAGE_SIZE_MISMATCH.with_details(u32::from(level));
                return Err(mismatch.into());
            }
        }
        let leaf = GuestLeaf::MemPageAttrWr;
        if walk.level != level || !sept::guest_leaf_allows(leaf, walk.state()) {
            self.vcpu.set_gpr(RCX, raw);
            let kind = extended::ATTR_WR;
            let outcome = self.exit_accept(gpa, level, walk.entry, walk.level, kind);
            return Err(Stop::Outcome(outcome));
        }
        let pending = u64::from(walk.state().is_pending()) << 62;
        self.vcpu.set_gpr(RCX, gpa | u64::from(level) | pending);
        Ok(())
    }
}
