//! The dispatcher of TDCALL, and the leaves that are about the vCPU.

use tdx_abi::{GuestLeaf, Operand, Status, td, tdvmcall};

use super::{ExitInfo, Guest, GuestOutcome, Stop};
use crate::machine::{Event, Field, Machine, Regs, VcpuState, reg::*};
use crate::page::{last_exit, vcpu_state};

const EFER_LMA: u64 = 1 << 10;
const CS_LONG: u64 = 1 << 13;

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    pub fn is_64_bit(&self) -> bool {
        self.vcpu.get(Field::Efer) & EFER_LMA != 0 && self.vcpu.get(Field::CsRights) & CS_LONG != 0
    }

    pub fn handle_tdcall(&mut self) -> GuestOutcome {
        if !self.is_64_bit() {
            return GuestOutcome::Inject(Event::GP);
        }
        let status = match self.dispatch() {
            Ok(()) => Status::SUCCESS,
            Err(Stop::Status(status)) => status,
            Err(Stop::Outcome(outcome)) => return outcome,
        };
        let status = match self.host_priority(status) {
            Ok(status) => status,
            Err(outcome) => return outcome,
        };
        self.vcpu.set_gpr(RAX, status.0);
        self.advance_rip();
        GuestOutcome::Resume
    }

    /// A guest that finds a lock reserved for the host retries; after a while the host hears
    /// of it.
    fn host_priority(&mut self, status: Status) -> Result<Status, GuestOutcome> {
        if !status.is(Status::OPERAND_BUSY_HOST_PRIORITY) {
            self.vp.set_hp_busy(0);
            return Ok(status);
        }
        let status = Status::OPERAND_BUSY.with_details(status.details());
        let now = self.machine.tsc();
        if self.vp.hp_busy() == 0 {
            self.vp.set_hp_busy(1);
            self.vp.set_hp_busy_start(now);
        } else if now.wrapping_sub(self.vp.hp_busy_start()) >= self.tdcs.hp_lock_timeout() {
            self.vp.set_hp_busy(0);
            self.vcpu.set_gpr(RAX, status.0);
            let timeout = Status::HOST_PRIORITY_BUSY_TIMEOUT;
            return Err(self.exit_to_host(timeout, ExitInfo::default()));
        }
        Ok(status)
    }

    fn dispatch(&mut self) -> Result<(), Stop> {
        use GuestLeaf as L;
        let bad_rax = Stop::Status(Status::OPERAND_INVALID.with(Operand::RAX));
        let rax = self.gpr(RAX);
        let version = (rax >> 16) as u8;
        let Some(leaf) = GuestLeaf::from_number(rax as u16) else {
            return Err(bad_rax);
        };
        if rax & !0xff_ffff != 0 || version > 0 && leaf != L::VmRd {
            return Err(bad_rax);
        }
        match leaf {
            L::VpVmcall => self.vp_vmcall(),
            L::VpInfo => self.vp_info(),
            L::VpVeinfoGet => self.vp_veinfo_get(),
            L::VpCpuidveSet => self.vp_cpuidve_set(),
            L::MemPageAccept => self.mem_page_accept(),
            L::MemPageAttrRd => self.mem_page_attr_rd(),
            L::MemPageAttrWr => self.mem_page_attr_wr(),
            L::MrRtmrExtend => self.mr_rtmr_extend(),
            L::MrReport => self.mr_report(),
            L::MrVerifyreport => self.mr_verifyreport(),
            L::VmRd => self.vm_rd(version),
            L::VmWr => self.vm_wr(),
            L::VpRd => self.vp_rd(),
            L::VpWr => self.vp_wr(),
            L::SysRd => self.sys_rd(),
            L::SysRdall => self.sys_rdall(),
            // Service TDs and L2 VMs are not enumerated.
            L::ServtdRd | L::ServtdWr | L::VpEnter | L::VpInvept | L::VpInvvpid => Err(bad_rax),
        }
    }

    fn vp_vmcall(&mut self) -> Result<(), Stop> {
        let control = self.gpr(RCX);
        let no_rbp = self.tdcs.config_flags() & td::config_flags::NO_RBP_MOD != 0;
        let mut forbidden = tdvmcall::MASK_FORBIDDEN;
        if no_rbp {
            forbidden |= tdvmcall::MASK_RBP;
        }
        if control & forbidden != 0 || control >> 32 != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        let mut regs = Regs::default();
        for i in (2..16).filter(|&i| i != RSP && control >> i & 1 != 0) {
            regs[i] = self.gpr(i);
        }
        if no_rbp {
            regs[RBP] = self.module.lps[self.lp].regs[RBP];
        }
        regs[RCX] = control;
        regs[RAX] = u64::from(self.exit.reason & 0xffff);
        if self.module.lps[self.lp].bus_lock {
            regs[RAX] |= 1 << 26;
        }
        self.advance_rip();
        self.leave(vcpu_state::READY, last_exit::TDVMCALL, true);
        Err(Stop::Outcome(GuestOutcome::ExitToHost {
            regs,
            xmm: (control >> 16) as u16,
        }))
    }

    fn vp_info(&mut self) -> Result<(), Stop> {
        let width = if self.tdcs.gpaw() { 52 } else { 48 };
        let vcpus = u64::from(self.tdcs.max_vcpus()) << 32 | u64::from(self.tdcs.num_vcpus());
        self.vcpu.set_gpr(RCX, width);
        self.vcpu.set_gpr(RDX, self.tdcs.attributes());
        self.vcpu.set_gpr(R8, vcpus);
        self.vcpu.set_gpr(R9, u64::from(self.vp.index()));
        self.vcpu.set_gpr(R10, 1);
        self.vcpu.set_gpr(R11, 0);
        Ok(())
    }

    fn vp_veinfo_get(&mut self) -> Result<(), Stop> {
        let valid = self.vp.ve_valid() != 0;
        let words = if valid {
            let vp = self.vp;
            [
                vp.word(0) & 0xffff_ffff,
                vp.word(8),
                vp.word(0x10),
                vp.word(0x18),
                vp.word(0x24),
            ]
        } else {
            [0; 5]
        };
        for (register, word) in [RCX, RDX, R8, R9, R10].into_iter().zip(words) {
            self.vcpu.set_gpr(register, word);
        }
        if !valid {
            return Err(Status::NO_VALID_VE_INFO.into());
        }
        self.vp.set_ve_valid(0);
        Ok(())
    }

    fn vp_cpuidve_set(&mut self) -> Result<(), Stop> {
        let control = self.gpr(RCX);
        if control & !3 != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        self.vp.set_cpuid_supervisor_ve(control as u8 & 1);
        self.vp.set_cpuid_user_ve((control >> 1) as u8 & 1);
        Ok(())
    }
}
