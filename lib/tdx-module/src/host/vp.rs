//! TDH.VP.*: vCPUs.

use memory::PhysMemory;
use tdx_abi::{
    HostLeaf, Operand, PageType, Status, cpuid,
    exit::{extended, reason},
    sept,
    td::{self, MAX_TDVPS_PAGES},
};

use crate::call::{self, Call, RWX};
use crate::caps::{self, Capabilities};
use crate::guest::BLOCKED_BY_NMI;
use crate::lock::Mode;
use crate::machine::{Event, Field, Machine, Regs, reg::*};
use crate::module::{Done, Entry, SUCCESS, Step};
use crate::page::{NO_LP, Tdcs, Tdr, Tdvps, last_exit, lifecycle, vcpu_state};
use crate::vmcs::{self, code};

const IA32_TSC_ADJUST: u32 = 0x3b;
const IA32_MISC_ENABLE: u32 = 0x1a0;
/// Where the list of faulting addresses at one RIP is in TDVPS, and how long it gets.
pub(crate) const EPF_LIST: u64 = 0x700;
pub(crate) const EPF_LIST_LEN: u8 = 32;
/// Pages of L2 VMs that hold MSR bitmaps.
const L2_BITMAP_PAGES: [u8; 6] = [7, 8, 10, 11, 13, 14];

impl<M: Machine> Call<'_, M> {
    pub fn vp_create(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::VpCreate;
        let (page, tdr) = (self.r[RCX], self.r[RDX]);
        let shared = Some(Mode::Shared);
        let td = self.lock_td(tdr, Operand::RDX, Mode::Shared, shared, leaf)?;
        let pamt = self.lock_page(page, Operand::RCX, Mode::Exclusive, PageType::Nda)?;
        self.fill_page(page, 0);
        let vp = Tdvps::new(self.mem(), page);
        vp.set_num_pages(1);
        vp.set_assoc_lp(NO_LP);
        vp.set_page(0, self.with_key(page, td.tdr.hkid()));
        td.tdr.add_children(1);
        self.assign(pamt, PageType::Tdvpr, td.tdr.hpa());
        SUCCESS
    }

    pub fn vp_addcx(&mut self) -> Result<Done, Status> {
        let (page, tdvpr) = (self.r[RCX], self.r[RDX]);
        let tdr = self.lock_vcpu(tdvpr, Operand::RDX, Mode::Exclusive)?;
        self.check_td(tdr, Some(Mode::Shared), HostLeaf::VpAddcx)?;
        let vp = Tdvps::new(self.mem(), tdvpr);
        if vp.state() != vcpu_state::UNINITIALIZED {
            return Err(Status::VCPU_STATE_INCORRECT);
        }
        let index = vp.num_pages();
        if u32::from(index) >= MAX_TDVPS_PAGES {
            return Err(Status::TDCX_NUM_INCORRECT);
        }
        let pamt = self.lock_page(page, Operand::RCX, Mode::Exclusive, PageType::Nda)?;
        let bitmap = L2_BITMAP_PAGES.contains(&index);
        self.fill_page(page, if bitmap { u64::MAX } else { 0 });
        vp.set_page(index, self.with_key(page, tdr.hkid()));
        vp.set_num_pages(index + 1);
        tdr.add_children(1);
        self.assign(pamt, PageType::Tdcx, tdr.hpa());
        SUCCESS
    }

    pub fn vp_init(&mut self) -> Result<Done, Status> {
        let (tdvpr, rcx) = (self.r[RCX], self.r[RDX]);
        let tdr = self.lock_vcpu(tdvpr, Operand::RCX, Mode::Exclusive)?;
        let tdcs = self.check_td(tdr, Some(Mode::Shared), HostLeaf::VpInit)?;
        let vp = self.tdvps(tdvpr, tdcs.num_l2_vms())?;
        if vp.state() != vcpu_state::UNINITIALIZED {
            return Err(Status::VCPU_STATE_INCORRECT);
        }
        let index = tdcs.num_vcpus();
        if index >= tdcs.max_vcpus() {
            return Err(Status::MAX_VCPUS_EXCEEDED);
        }
        tdcs.set_num_vcpus(index + 1);
        vp.set_index(index);
        if self.machine.rdmsr(self.lp, IA32_TSC_ADJUST) != 0 {
            return Err(Status::INCONSISTENT_MSR.with_details(IA32_TSC_ADJUST));
        }
        vp.set_last_exit_tsc(self.machine.tsc());
        vp.set_xfam(tdcs.xfam());
        let fms = cpuid::index_of(1, 0).map_or(0, |i| self.module.cpuid[i][0]);
        vp.set_gpr(RBX, if tdcs.gpaw() { 52 } else { 48 });
        vp.set_gpr(RCX, rcx);
        vp.set_gpr(R8, rcx);
        vp.set_gpr(RDX, u64::from(fms));
        vp.set_gpr(RSI, u64::from(index));
        vp.set_word(0xa28, 1); // XCR0: x87
        vp.set_word(0xa20, 0xffff_0ff0); // DR6
        vp.set_word(0xc98, 0x2_0200); // IA32_FMASK
        vp.set_word(0x3000 + 0x208, 1 << 63); // XCOMP_BV: compact
        self.init_shadows(tdcs, vp);
        vp.set_state(vcpu_state::READY);
        vp.set_last_exit(last_exit::ASYNC_FAULT);
        vp.set_assoc_lp(self.lp as u32);
        tdcs.set_num_assoc_vcpus(tdcs.num_assoc_vcpus() + 1);
        let caps = Capabilities::of(self.machine, self.lp);
        vmcs::init(tdr, tdcs, vp, &caps);
        for (offset, field) in [
            (0x2c8, code::CR0_MASK),
            (0x2e8, code::CR0_SHADOW),
            (0x308, code::CR4_MASK),
            (0x328, code::CR4_SHADOW),
        ] {
            vp.set_word(offset, vmcs::read(vp, field));
        }
        SUCCESS
    }

    /// Fields of TDVPS that shadow what the host may write, and what L2 VMs would start from.
    fn init_shadows(&self, tdcs: Tdcs<M::Memory>, vp: Tdvps<M::Memory>) {
        let caps = Capabilities::of(self.machine, self.lp);
        vp.set_word(0x358, u64::MAX); // SHADOW_PID_HPA
        let memory = self.mem();
        memory.write_u32(vp.at(0x378), caps.pin_based() as u32);
        memory.write_u16(vp.at(0x3a8), 0xffff);
        let waitpkg =
            tdx_abi::cpuid::index_of(7, 0).is_some_and(|i| self.module.cpuid[i][2] >> 5 & 1 != 0);
        let proc_based2 = caps::PROC_BASED2 | u64::from(waitpkg) << 26;
        memory.write_u32(vp.at(0x3b0), proc_based2 as u32);
        for vm in 0..=u64::from(tdcs.num_l2_vms()) {
            for offset in [0x268, 0x3c0, 0x3e0, 0x400, 0x460, 0x480] {
                vp.set_word(offset + 8 * vm, u64::MAX);
            }
        }
        vp.set_word(0x2a8, caps.l2_cr0_mask());
        vp.set_word(0x2b0, caps.cr0_fixed0 & !(1 << 31) & !1 | 1 << 5);
        vp.set_word(0x2b8, !caps.l2_cr4_variable(tdcs));
        vp.set_word(0x2c0, caps.cr4_fixed0 | 1 << 6 | 1 << 13);
    }

    pub fn vp_flush(&mut self) -> Result<Done, Status> {
        let tdvpr = self.r[RCX];
        let tdr = self.lock_vcpu(tdvpr, Operand::RCX, Mode::Exclusive)?;
        if tdr.lifecycle() != lifecycle::KEYS_CONFIGURED {
            return Err(Status::TD_KEYS_NOT_CONFIGURED);
        }
        let tdcs = tdr.tdcs();
        let vp = self.tdvps(tdvpr, tdcs.num_l2_vms())?;
        if vp.assoc_lp() != self.lp as u32 {
            return Err(Status::VCPU_NOT_ASSOCIATED);
        }
        vp.set_assoc_lp(NO_LP);
        tdcs.set_num_assoc_vcpus(tdcs.num_assoc_vcpus().wrapping_sub(1));
        self.module.lps[self.lp].last_tdvpr = u64::MAX;
        SUCCESS
    }

    /// Associates a vCPU with this LP; answers whether it was with none before.
    pub fn associate(
        &mut self,
        tdcs: Tdcs<M::Memory>,
        vp: Tdvps<M::Memory>,
        allow_disabled: bool,
    ) -> Result<bool, Status> {
        let state = vp.state();
        let right = state == vcpu_state::READY || state == vcpu_state::DISABLED && allow_disabled;
        if !right {
            return Err(Status::VCPU_STATE_INCORRECT);
        }
        let lp = self.lp as u32;
        match vp.assoc_lp() {
            NO_LP => {
                vp.set_assoc_lp(lp);
                vp.set_lp_state_written(0);
                tdcs.set_num_assoc_vcpus(tdcs.num_assoc_vcpus() + 1);
                Ok(true)
            }
            other if other == lp => Ok(false),
            _ => Err(Status::VCPU_ASSOCIATED),
        }
    }

    pub fn vp_enter(&mut self) -> Result<Done, Status> {
        const RECOVERABILITY_HINT: u64 = 1 << 52;
        const RESUME_L1: u64 = 1 << 53;
        let handle = self.r[RCX];
        let invalid = Status::OPERAND_INVALID.with(Operand::RCX);
        let misc = self.machine.rdmsr(self.lp, IA32_MISC_ENABLE);
        if misc & 1 << 22 != 0 {
            return Err(Status::LIMIT_CPUID_MAXVAL_SET);
        }
        if handle & !(sept::HPA_MASK | RECOVERABILITY_HINT | RESUME_L1) != 0 {
            return Err(invalid);
        }
        let tdvpr = handle & sept::HPA_MASK;
        let tdr = self.lock_vcpu(tdvpr, Operand::RCX, Mode::Shared)?;
        let tdcs = self.check_td(tdr, Some(Mode::Shared), HostLeaf::VpEnter)?;
        let vp = self.tdvps(tdvpr, tdcs.num_l2_vms())?;
        let new_association = self.associate(tdcs, vp, false)?;
        let last = vp.last_exit();
        let hint = handle & RECOVERABILITY_HINT != 0;
        if hint && last != last_exit::ASYNC_TRAP || handle & RESUME_L1 != 0 {
            return Err(invalid);
        }
        if self.machine.rdmsr(self.lp, IA32_TSC_ADJUST) != 0 {
            return Err(Status::INCONSISTENT_MSR.with_details(IA32_TSC_ADJUST));
        }
        if (self.machine.tsc().wrapping_sub(vp.last_exit_tsc()) as i64) < 0 {
            return Err(Status::TSC_ROLLBACK);
        }
        let monitor_fsm = misc & 1 << 18 != 0;
        if tdcs.cpuid_flag(crate::page::CpuidFlag::Monitor) && !monitor_fsm {
            return Err(Status::INCORRECT_MSR_VALUE.with_details(IA32_MISC_ENABLE));
        }
        self.acquire(tdcs.epoch_lock(), Mode::Shared)
            .map_err(|s| s.with(Operand::TD_EPOCH))?;
        self.release_lock(tdcs.epoch_lock());
        let epoch = tdcs.epoch();
        if self.module.does(Step::EntryCounts) {
            tdcs.add_ref(epoch, 1);
        }
        let mut flush_tlb = new_association;
        if epoch != vp.epoch() {
            flush_tlb |= self.module.does(Step::EntryFlushes);
            if self.module.does(Step::EntryNotesEpoch) {
                vp.set_epoch(epoch);
            }
        }
        let event = match self.entry_stepping(tdcs, vp) {
            Ok(event) => event,
            Err(Stepping::Busy) => {
                tdcs.add_ref(epoch, -1);
                return Err(Status::OPERAND_BUSY.with(Operand::SEPT_TREE));
            }
            Err(Stepping::Fault(gpa)) => {
                tdcs.add_ref(epoch, -1);
                return Err(self.emulate_fault(vp, gpa));
            }
        };
        self.release_lock(tdcs.op_state_lock());
        let lp = &mut self.module.lps[self.lp];
        if lp.last_tdvpr != tdvpr {
            flush_tlb = true;
            lp.last_tdvpr = tdvpr;
        }
        lp.tdr = tdr.hpa();
        lp.entry_rip = vmcs::read(vp, Field::Rip as u32);
        lp.bus_lock = false;
        lp.regs = *self.r;
        let mut xmm_from_host = 0;
        if last == last_exit::TDVMCALL {
            let mask = vp.gpr(RCX);
            for i in (2..16).filter(|&i| i != RSP && mask >> i & 1 != 0) {
                vp.set_gpr(i, self.r[i]);
            }
            vp.set_gpr(RAX, 0);
            xmm_from_host = (mask >> 16) as u16;
            if xmm_from_host != 0 {
                vp.set_sse_in_use();
            }
        } else if last == last_exit::ASYNC_TRAP {
            let status = vp.gpr(RAX) & !(1 << 60) | u64::from(hint) << 60;
            vp.set_gpr(RAX, status);
        }
        if !vp.can_restore_extended_state() {
            return Err(self.refuse_extended_state(tdr, tdcs, vp));
        }
        self.module.lps[self.lp].entry_tsc = self.machine.tsc();
        vp.set_state(vcpu_state::ACTIVE);
        vp.set_lp_state_written(1);
        vp.set_module_state_written(1);
        self.module.lps[self.lp].inside = tdvpr;
        let event = event.or_else(|| {
            let info = vmcs::read(vp, code::ENTRY_INTERRUPTION) as u32;
            let error_code = vmcs::read(vp, code::ENTRY_ERROR_CODE) as u32;
            (info >> 31 != 0).then_some(Event { info, error_code })
        });
        vmcs::write(vp, code::ENTRY_INTERRUPTION, 0);
        let gprs = Regs(core::array::from_fn(|i| vp.gpr(i)));
        self.keep_locks();
        Ok(Done::Entered(Entry {
            tdvpr,
            tdr: tdr.hpa(),
            flush_tlb,
            gprs,
            xmm_from_host,
            event,
        }))
    }

    /// Whether a guest that faulted again and again at one RIP may go on (zero-step defence).
    fn entry_stepping(
        &mut self,
        tdcs: Tdcs<M::Memory>,
        vp: Tdvps<M::Memory>,
    ) -> Result<Option<Event>, Stepping> {
        let count = vp.epf_count().min(EPF_LIST_LEN);
        if count == 0 {
            return Ok(None);
        }
        self.acquire(tdcs.sept_lock(), Mode::Exclusive)
            .map_err(|_| Stepping::Busy)?;
        let faulting = (0..u64::from(count))
            .map(|i| vp.word(EPF_LIST + 8 * i))
            .find(|&gpa| {
                let walk = call::walk(tdcs, gpa, 0);
                walk.entry & sept::bit::PS == 0 || walk.entry & RWX != RWX
            });
        self.release_lock(tdcs.sept_lock());
        if let Some(gpa) = faulting {
            return Err(Stepping::Fault(gpa));
        }
        let private_fault = vmcs::read(vp, code::EXIT_REASON) & 0xffff
            == u64::from(reason::EPT_VIOLATION)
            && vmcs::read(vp, code::GUEST_PHYSICAL) & td::shared_bit(tdcs.gpaw()) == 0;
        let blocked = vmcs::read(vp, Field::Interruptibility as u32) & BLOCKED_BY_NMI != 0;
        if tdcs.notify_enables() & 1 != 0 && private_fault && vp.ve_valid() == 0 && !blocked {
            let qualification = vmcs::read(vp, code::EXIT_QUALIFICATION);
            let gpa = vmcs::read(vp, code::GUEST_PHYSICAL);
            let reason = vmcs::read(vp, code::EXIT_REASON) as u32;
            let instruction = (
                vmcs::read(vp, code::INSTRUCTION_LENGTH) as u32,
                vmcs::read(vp, code::INSTRUCTION_INFO) as u32,
            );
            crate::guest::fill_ve_info(vp, reason, qualification, gpa, 0, instruction);
            return Ok(Some(Event::VE));
        }
        Ok(None)
    }

    /// TDH.VP.ENTER returns because the guest's extended state cannot be loaded. Only the
    /// debugger of a debug TD can have written such a state.
    fn refuse_extended_state(
        &mut self,
        tdr: Tdr<M::Memory>,
        tdcs: Tdcs<M::Memory>,
        vp: Tdvps<M::Memory>,
    ) -> Status {
        let status = if tdcs.is_debug() {
            vp.set_state(vcpu_state::READY);
            vp.set_last_exit(last_exit::ASYNC_FAULT);
            Status::SUCCESS
        } else {
            tdr.set_fatal(1);
            Status::NON_RECOVERABLE_TD
        };
        vp.set_extended_state_saved();
        tdcs.add_ref(vp.epoch(), -1);
        for i in (1..16).filter(|&i| i != RSP) {
            self.r[i] = 0;
        }
        self.r[RDX] = extended::TD_ENTRY_XSTATE_LOAD_FAILURE;
        status.with_details(reason::FAILED_VMENTER_GS)
    }

    /// TDH.VP.ENTER returns as if the guest had faulted on `gpa` again.
    fn emulate_fault(&mut self, vp: Tdvps<M::Memory>, gpa: u64) -> Status {
        vp.set_state(vcpu_state::READY);
        vp.set_last_exit(last_exit::ASYNC_FAULT);
        for i in (1..16).filter(|&i| i != RSP && i != RBP) {
            self.r[i] = 0;
        }
        self.r[RCX] = tdx_abi::exit::ept_violation::WRITE;
        self.r[R8] = gpa & !0xfff;
        Status(u64::from(reason::EPT_VIOLATION))
    }

    /// A vCPU for TDH.VP.RD and WR.
    pub fn lock_vcpu_metadata(&mut self, leaf: HostLeaf) -> Result<Vcpu<M::Memory>, Status> {
        let tdvpr = self.r[RCX];
        let tdr = self.lock_vcpu(tdvpr, Operand::RCX, Mode::Shared)?;
        let tdcs = self.check_td(tdr, Some(Mode::Shared), leaf)?;
        let vp = self.tdvps(tdvpr, tdcs.num_l2_vms())?;
        self.associate(tdcs, vp, leaf == HostLeaf::VpRd)?;
        Ok((crate::call::Td { tdr, tdcs }, vp))
    }
}

/// A TD and one of its vCPUs.
type Vcpu<Mem> = (crate::call::Td<Mem>, Tdvps<Mem>);

/// Why a vCPU may not be entered now.
enum Stepping {
    Busy,
    Fault(u64),
}
