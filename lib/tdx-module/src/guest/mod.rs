//! The guest side: TDCALL and the other VM exits of an L1 guest.

mod cpuid;
mod exit;
mod mem;
mod mr;
mod msr;
mod tdcall;

pub(crate) use exit::BLOCKED_BY_NMI;

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    Operand, Status,
    exit::{ept_violation, extended, reason},
    sept::{self, State, bit},
    td,
};

use crate::call::{RWX, is_valid_gpa, leaf_hpa};
use crate::lock::{Lock, Mode};
use crate::machine::{Event, Field, Machine, Regs, VcpuState, VmExit, reg::*};
use crate::module::{Module, Step};
use crate::page::{Tdcs, Tdr, Tdvps, last_exit, vcpu_state};
use crate::vmcs::{self, code};

/// Bytes of a TDCALL instruction.
const TDCALL_LENGTH: u64 = 4;

/// What is to happen after a VM exit was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestOutcome {
    /// The guest goes on at its RIP.
    Resume,
    /// The guest goes on with this event.
    Inject(Event),
    /// The guest executes the same TDCALL again, after the interrupt that stopped it.
    Retry,
    /// The LP is back with the host: TDH.VP.ENTER returns these registers. `xmm` has a bit for
    /// each XMM register that the host may see; the others have to read 0.
    ExitToHost {
        /// The host's registers.
        regs: Regs,
        /// XMM registers exposed to the host.
        xmm: u16,
    },
}

/// Why a handler did not simply finish.
pub(crate) enum Stop {
    /// TDCALL ends with this status in RAX.
    Status(Status),
    /// This happens instead.
    Outcome(GuestOutcome),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// One VM exit of the vCPU that is inside on an LP.
pub(crate) struct Guest<'a, M: Machine, V: VcpuState> {
    pub module: &'a mut Module,
    pub machine: &'a mut M,
    pub lp: usize,
    pub vcpu: &'a mut V,
    pub exit: VmExit,
    pub tdr: Tdr<M::Memory>,
    pub tdcs: Tdcs<M::Memory>,
    pub vp: Tdvps<M::Memory>,
}

/// What an asynchronous exit tells the host.
#[derive(Clone, Copy, Default)]
pub(crate) struct ExitInfo {
    pub reason: u32,
    pub qualification: u64,
    pub extended: u64,
    pub gpa: u64,
    pub interruption: u32,
}

impl Module {
    /// Handles TDCALL of the vCPU that is inside on `lp`. Answers `None` where none is.
    pub fn tdcall<M: Machine, V: VcpuState>(
        &mut self,
        lp: usize,
        machine: &mut M,
        vcpu: &mut V,
    ) -> Option<GuestOutcome> {
        let exit = VmExit {
            reason: reason::TDCALL,
            instruction_length: TDCALL_LENGTH as u32,
            ..VmExit::default()
        };
        self.td_exit(lp, machine, vcpu, exit)
    }

    /// Handles a VM exit of the vCPU that is inside on `lp`. Answers `None` where none is.
    pub fn td_exit<M: Machine, V: VcpuState>(
        &mut self,
        lp: usize,
        machine: &mut M,
        vcpu: &mut V,
        exit: VmExit,
    ) -> Option<GuestOutcome> {
        let tdvpr = self.inside(lp)?;
        let memory = machine.memory();
        let tdr = Tdr::new(memory, self.lps[lp].tdr);
        let mut guest = Guest {
            tdr,
            tdcs: tdr.tdcs(),
            vp: Tdvps::new(memory, tdvpr),
            module: self,
            machine,
            lp,
            vcpu,
            exit,
        };
        Some(guest.handle())
    }
}

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    pub fn mem(&self) -> M::Memory {
        self.machine.memory()
    }

    pub fn gpr(&self, index: usize) -> u64 {
        self.vcpu.gpr(index)
    }

    /// The GPA without SHARED?
    pub fn is_shared(&self, gpa: u64) -> bool {
        gpa & td::shared_bit(self.tdcs.gpaw()) != 0
    }

    pub fn advance_rip(&mut self) {
        let rip = self.vcpu.get(Field::Rip);
        let length = u64::from(self.exit.instruction_length);
        self.vcpu.set(Field::Rip, rip.wrapping_add(length));
        let blocking = self.vcpu.get(Field::Interruptibility);
        self.vcpu.set(Field::Interruptibility, blocking & !3);
    }

    /// #VE, or #DF where the last one was not fetched.
    pub fn inject_ve(&mut self, exit_reason: u32, qualification: u64, gpa: u64, gla: u64) -> Event {
        if self.vp.ve_valid() != 0 {
            return Event::DF;
        }
        let instruction = (self.exit.instruction_length, self.exit.instruction_info);
        fill_ve_info(self.vp, exit_reason, qualification, gpa, gla, instruction);
        Event::VE
    }

    // ---- TD exits ----

    /// Leaves the TD asynchronously.
    pub fn exit_to_host(&mut self, status: Status, info: ExitInfo) -> GuestOutcome {
        let mut exit_reason = info.reason;
        if self.module.lps[self.lp].bus_lock {
            exit_reason |= 1 << 26;
        }
        let (state, last, alive) = match status {
            Status::NON_RECOVERABLE_VCPU => (vcpu_state::DISABLED, self.vp.last_exit(), true),
            Status::NON_RECOVERABLE_TD
            | Status::NON_RECOVERABLE_TD_WRONG_APIC_MODE
            | Status::NON_RECOVERABLE_TD_CORRUPTED_MD => {
                self.tdr.set_fatal(1);
                (self.vp.state(), self.vp.last_exit(), true)
            }
            Status::NON_RECOVERABLE_TD_NON_ACCESSIBLE => {
                self.tdr.set_fatal(1);
                (self.vp.state(), self.vp.last_exit(), false)
            }
            Status::HOST_PRIORITY_BUSY_TIMEOUT | Status::CROSS_TD_TRAP => {
                (vcpu_state::READY, last_exit::ASYNC_TRAP, true)
            }
            _ => (vcpu_state::READY, last_exit::ASYNC_FAULT, true),
        };
        if last == last_exit::ASYNC_TRAP && alive && status.0 >> 60 & 1 != 0 {
            self.advance_rip();
        }
        let mut regs = Regs::default();
        regs[RAX] = status.with_details(exit_reason).0;
        regs[RCX] = info.qualification & !(3 << 32);
        regs[RDX] = info.extended;
        regs[R8] = info.gpa;
        regs[R9] = u64::from(info.interruption);
        self.leave(state, last, alive);
        GuestOutcome::ExitToHost { regs, xmm: 0 }
    }

    /// Saves the vCPU and gives back what TDH.VP.ENTER took.
    pub fn leave(&mut self, state: u8, last: u8, alive: bool) {
        if alive {
            for i in (0..16).filter(|&i| i != RSP) {
                self.vp.set_gpr(i, self.vcpu.gpr(i));
            }
            vmcs::write(self.vp, Field::Rip as u32, self.vcpu.get(Field::Rip));
            vmcs::write(self.vp, code::EXIT_REASON, u64::from(self.exit.reason));
            let qualification = self.exit.qualification;
            vmcs::write(self.vp, code::EXIT_QUALIFICATION, qualification);
            vmcs::write(self.vp, code::GUEST_PHYSICAL, self.exit.gpa);
            for (field, value) in [
                (code::INSTRUCTION_LENGTH, self.exit.instruction_length),
                (code::INSTRUCTION_INFO, self.exit.instruction_info),
                (code::EXIT_INTERRUPTION, self.exit.interruption),
                (code::EXIT_ERROR_CODE, self.exit.error_code),
            ] {
                vmcs::write(self.vp, field, u64::from(value));
            }
            vmcs::write(self.vp, code::GUEST_LINEAR, self.exit.gla);
            let blocking = self.vcpu.get(Field::Interruptibility);
            vmcs::write(self.vp, Field::Interruptibility as u32, blocking);
            self.vp.set_extended_state_saved();
            if self.tdcs.is_debug() {
                vmcs::save(self.vp, self.vcpu);
            }
            self.vp.set_state(state);
            self.vp.set_last_exit(last);
            if self.module.does(Step::ExitCounts) {
                if self.module.does(Step::EntryCounts) {
                    self.tdcs.add_ref(self.vp.epoch(), -1);
                }
            } else {
                self.tdcs.add_ref(self.tdcs.epoch(), -1);
            }
        }
        let memory = self.mem();
        let (tdr, tdvpr) = (self.tdr.hpa(), self.vp.hpa());
        let blocks = [
            self.module.pamt_entries(tdr),
            self.module.pamt_entries(tdvpr),
        ];
        if let [Some(tdr), Some(tdvpr)] = blocks {
            Lock::host_priority(tdr[0]).release(&memory, Mode::Shared);
            for entry in tdvpr {
                Lock::host_priority(entry).release(&memory, Mode::Shared);
            }
        }
        let lp = &mut self.module.lps[self.lp];
        lp.inside = 0;
        lp.tdr = 0;
        lp.bus_lock = false;
    }

    /// Leaves the TD with an EPT violation.
    pub fn exit_ept_violation(&mut self, gpa: u64, qualification: u64, ext: u64) -> GuestOutcome {
        let info = ExitInfo {
            reason: reason::EPT_VIOLATION,
            // Bits about the guest's own paging are not the host's business.
            qualification: qualification & !0x1f80,
            extended: ext,
            gpa: gpa & !0xfff,
            interruption: 0,
        };
        self.exit_to_host(Status::SUCCESS, info)
    }

    // ---- guest memory ----

    /// Where a guest address given to TDCALL is in host memory. The access behaves as one of
    /// the guest's own: it gives #VE or leaves the TD where the page is not there.
    pub fn guest_hpa(&mut self, gpa: u64, write: bool, private_only: bool) -> Result<Hpa, Stop> {
        let shared = self.is_shared(gpa);
        if !is_valid_gpa(gpa, self.tdcs.gpaw(), private_only) {
            return Err(Stop::Status(Status::OPERAND_INVALID));
        }
        let mut table = if shared {
            vmcs::read(self.vp, code::SHARED_EPTP) & self.module.address_mask()
        } else {
            self.tdcs.eptp() & sept::HPA_MASK
        };
        let wanted = if write { bit::R | bit::W } else { bit::R };
        let mut allowed = RWX;
        let mut level = self.tdcs.top_level();
        let entry = loop {
            let index = gpa >> (12 + 9 * level) & 511;
            let entry = self.mem().read_u64(Hpa::new(table + 8 * index));
            allowed &= entry;
            if entry & RWX == 0 || entry & wanted != wanted {
                break entry;
            }
            if level == 0 || entry & bit::PS != 0 {
                let hpa = leaf_hpa(entry & self.module.entry_mask(), gpa, level);
                return Ok(Hpa::new(hpa));
            }
            table = entry & self.module.address_mask();
            level -= 1;
        };
        let qualification = wanted & !allowed | allowed << 3;
        let pending = State::of(entry).is_some_and(State::is_pending_acceptable);
        let convertible = if shared {
            entry & bit::SVE == 0 && (entry & RWX == 0 || entry & bit::PS != 0 || level == 0)
        } else {
            pending && self.tdcs.td_ctls() & td::td_ctls::PENDING_VE_DISABLE == 0
        };
        if convertible {
            let event = self.inject_ve(reason::EPT_VIOLATION, qualification, gpa, 0);
            return Err(Stop::Outcome(GuestOutcome::Inject(event)));
        }
        let ext = if pending && !shared {
            extended::PENDING_EPT_VIOLATION
        } else {
            extended::NONE
        };
        let outcome = self.exit_ept_violation(gpa, qualification, ext);
        Err(Stop::Outcome(outcome))
    }

    /// [`Self::guest_hpa`], blaming `operand` where the address cannot be.
    pub fn guest_operand(
        &mut self,
        gpa: u64,
        write: bool,
        private_only: bool,
        operand: Operand,
    ) -> Result<Hpa, Stop> {
        self.guest_hpa(gpa, write, private_only)
            .map_err(|stop| match stop {
                Stop::Status(status) => Stop::Status(status.with(operand)),
                outcome => outcome,
            })
    }

    /// Leaves the TD because TDCALL met an entry the guest cannot use.
    pub fn exit_accept(
        &mut self,
        gpa: u64,
        requested: u8,
        entry: u64,
        level: u8,
        kind: u64,
    ) -> GuestOutcome {
        let state = State::of(entry).unwrap_or(State::Free);
        let info = u64::from(requested)
            | u64::from(level) << 3
            | u64::from(state.public()) << 6
            | (entry >> 7 & 1) << 14;
        let qualification = ept_violation::WRITE | (entry & RWX) << 3;
        self.exit_ept_violation(gpa, qualification, kind | info << 32)
    }
}

impl Module {
    fn address_mask(&self) -> u64 {
        sept::HPA_MASK & !self.platform.key_id_mask()
    }

    fn entry_mask(&self) -> u64 {
        !self.platform.key_id_mask()
    }
}

/// Writes VE_INFO.
pub(crate) fn fill_ve_info<Mem: PhysMemory + Copy>(
    vp: Tdvps<Mem>,
    exit_reason: u32,
    qualification: u64,
    gpa: u64,
    gla: u64,
    (length, info): (u32, u32),
) {
    vp.set_word(0, u64::from(exit_reason) | 0xffff_ffff << 32);
    vp.set_word(8, qualification);
    vp.set_word(0x10, gla);
    vp.set_word(0x18, gpa);
    let memory = vp.memory();
    memory.write_u16(vp.at(0x20), 0);
    memory.write_u32(vp.at(0x24), length);
    memory.write_u32(vp.at(0x28), info);
}
