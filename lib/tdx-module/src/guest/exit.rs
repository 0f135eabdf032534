//! VM exits other than TDCALL, by reason.

use tdx_abi::{
    Status,
    exit::{ept_violation, extended, reason},
    sept::State,
    td,
};

use super::{ExitInfo, Guest, GuestOutcome};
use crate::call;
use crate::host::{EPF_LIST, EPF_LIST_LEN};
use crate::machine::{Event, Field, Machine, VcpuState, reg::*};
use crate::vmcs::{self, code};

/// EPT violations at one RIP before the addresses are kept (zero-step defence).
const EPF_THRESHOLD: u8 = 6;

/// In the exit reason: the VM entry failed.
const ENTRY_FAILURE: u32 = 1 << 31;
/// Blocking by NMI in the interruptibility state.
pub(crate) const BLOCKED_BY_NMI: u64 = 1 << 3;

const CR0_PE: u64 = 1 << 0;
const CR0_NE: u64 = 1 << 5;
const CR0_WP: u64 = 1 << 16;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const CR4_VMXE: u64 = 1 << 13;
const CR4_CET: u64 = 1 << 23;

/// What became of an exit that the module emulates.
pub(super) enum Emulated {
    Done,
    Gp,
    Ve,
}

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    fn info(&self) -> ExitInfo {
        ExitInfo {
            reason: self.exit.reason,
            qualification: self.exit.qualification,
            ..ExitInfo::default()
        }
    }

    fn info_with_event(&self) -> ExitInfo {
        ExitInfo {
            interruption: self.exit.interruption,
            ..self.info()
        }
    }

    pub fn handle(&mut self) -> GuestOutcome {
        let tsc = self.machine.tsc();
        self.vp.set_last_exit_tsc(tsc);
        if self.exit.reason & ENTRY_FAILURE == 0 {
            self.vp.set_launched(1);
        }
        if self.tdr.fatal() != 0 {
            let dead = Status::NON_RECOVERABLE_TD_NON_ACCESSIBLE;
            return self.exit_to_host(dead, self.info_with_event());
        }
        if self.exit.reason >> 26 & 1 != 0 {
            self.module.lps[self.lp].bus_lock = true;
        }
        if self.exit.reason & ENTRY_FAILURE != 0 {
            return self.entry_failure();
        }
        if self.vcpu.get(Field::Rip) != self.module.lps[self.lp].entry_rip {
            self.vp.set_epf_count(0);
            self.vp.set_epf_stepping(0);
        }
        let outcome = self.by_reason();
        if self.module.lps[self.lp].inside == 0 {
            return outcome;
        }
        self.before_return(outcome)
    }

    /// The CPU refused the guest's state, or met a machine check when it loaded it.
    fn entry_failure(&mut self) -> GuestOutcome {
        if self.exit.reason & 0xffff == reason::FAILED_VMENTER_MC {
            let dead = Status::NON_RECOVERABLE_TD_NON_ACCESSIBLE;
            return self.exit_to_host(dead, self.info());
        }
        self.unexpected()
    }

    /// What is left to do when an exit was handled and the guest is to go on.
    fn before_return(&mut self, outcome: GuestOutcome) -> GuestOutcome {
        const RESUME_FLAG: u64 = 1 << 16;
        let event = match outcome {
            GuestOutcome::Inject(event) => Some(event),
            _ => None,
        };
        if event.is_some_and(|e| e != Event::NMI) {
            let flags = self.vcpu.get(Field::Rflags);
            self.vcpu.set(Field::Rflags, flags | RESUME_FLAG);
        }
        let info = if self.module.lps[self.lp].bus_lock {
            ExitInfo {
                reason: reason::BUS_LOCK,
                ..ExitInfo::default()
            }
        } else if let Some(event) = event.filter(|&e| self.is_intercepted(e)) {
            ExitInfo {
                reason: reason::EXCEPTION_OR_NMI,
                interruption: event.info,
                ..ExitInfo::default()
            }
        } else {
            return outcome;
        };
        if let Some(event) = event {
            // It is delivered when the vCPU is entered again.
            vmcs::write(self.vp, code::ENTRY_INTERRUPTION, u64::from(event.info));
            let error = u64::from(event.error_code);
            vmcs::write(self.vp, code::ENTRY_ERROR_CODE, error);
        }
        self.exit_to_host(Status::SUCCESS, info)
    }

    /// Whether the debugger of a debug TD asked to see an exception.
    fn is_intercepted(&self, event: Event) -> bool {
        const PAGE_FAULT: u8 = 14;
        const HARDWARE_EXCEPTION: u32 = 3;
        let asked = vmcs::read(self.vp, code::EXCEPTION_BITMAP) >> (event.vector() & 31) & 1 != 0;
        if !asked || !self.tdcs.is_debug() || event.info >> 8 & 7 != HARDWARE_EXCEPTION {
            return false;
        }
        let mask = vmcs::read(self.vp, code::FAULT_CODE_MASK);
        let fault = u64::from(self.exit.error_code);
        event.vector() != PAGE_FAULT || fault & mask == vmcs::read(self.vp, code::FAULT_CODE_MATCH)
    }

    fn by_reason(&mut self) -> GuestOutcome {
        use reason::*;
        match self.exit.reason & 0xffff {
            TDCALL => self.handle_tdcall(),
            // In VE_INFO without the flags of the exit reason.
            CPUID_INSTRUCTION => {
                let done = self.cpuid();
                self.emulated(done, CPUID_INSTRUCTION, 0)
            }
            MSR_READ => {
                let done = self.rdmsr();
                self.emulated(done, self.exit.reason, 0)
            }
            MSR_WRITE => {
                let done = self.wrmsr();
                self.emulated(done, self.exit.reason, 0)
            }
            XSETBV_INSTRUCTION => {
                let done = self.xsetbv();
                self.emulated(done, self.exit.reason, 0)
            }
            CR_ACCESS => match self.cr_access() {
                Some(done) => self.emulated(done, CR_ACCESS, self.exit.qualification),
                None => self.unexpected(),
            },
            IO_INSTRUCTION | HLT_INSTRUCTION | INVD_INSTRUCTION | VMCALL_INSTRUCTION
            | WBINVD_INSTRUCTION | MWAIT_INSTRUCTION | MONITOR_INSTRUCTION | PCONFIG
            | APIC_WRITE => self.emulated(Emulated::Ve, self.exit.reason, self.exit.qualification),
            GETSEC_INSTRUCTION
            | RSM_INSTRUCTION
            | VMCLEAR_INSTRUCTION
            | VMLAUNCH_INSTRUCTION
            | VMPTRLD_INSTRUCTION
            | VMPTRST_INSTRUCTION
            | VMREAD_INSTRUCTION
            | VMRESUME_INSTRUCTION
            | VMWRITE_INSTRUCTION
            | VMXOFF_INSTRUCTION
            | VMXON_INSTRUCTION
            | INVLEPT
            | INVLVPID
            | VMFUNC_INSTRUCTION
            | ENCLS_INSTRUCTION
            | ENCLV_INSTRUCTION
            | ENQCMDS_PASID_TRANSLATION_FAILURE
            | SEAMCALL => GuestOutcome::Inject(Event::UD),
            ENQCMD_PASID_TRANSLATION_FAILURE => GuestOutcome::Inject(Event::GP),
            TASK_SWITCH | BUS_LOCK | INIT_EVENT => self.exit_to_host(Status::SUCCESS, self.info()),
            NOTIFICATION => {
                self.block_nmi_again();
                let status = if self.exit.qualification & 1 != 0 {
                    Status::NON_RECOVERABLE_TD
                } else {
                    Status::SUCCESS
                };
                self.exit_to_host(status, self.info())
            }
            TRIPLE_FAULT => self.exit_to_host(Status::NON_RECOVERABLE_VCPU, self.info()),
            SMI_OTHER_EVENT => {
                let status = if self.exit.qualification & 1 != 0 {
                    Status::NON_RECOVERABLE_TD_NON_ACCESSIBLE
                } else {
                    Status::SUCCESS
                };
                self.exit_to_host(status, self.info_with_event())
            }
            INTERRUPT | C_STATE_SMI => self.exit_to_host(Status::SUCCESS, self.info_with_event()),
            EXCEPTION_OR_NMI => self.exception(),
            EPT_VIOLATION => self.ept_violation(),
            EPT_MISCONFIGURATION => self.ept_misconfiguration(),
            RDPMC_INSTRUCTION if self.tdcs.attributes() & td::attributes::PERFMON == 0 => {
                GuestOutcome::Inject(Event::GP)
            }
            NMI_WINDOW => self.nmi_window(),
            _ => self.unexpected(),
        }
    }

    fn emulated(&mut self, done: Emulated, reason: u32, qualification: u64) -> GuestOutcome {
        match done {
            Emulated::Done => {
                self.advance_rip();
                GuestOutcome::Resume
            }
            Emulated::Gp => GuestOutcome::Inject(Event::GP),
            Emulated::Ve => {
                let event = self.inject_ve(reason, qualification, 0, 0);
                GuestOutcome::Inject(event)
            }
        }
    }

    /// An exit that a TD's controls should not allow.
    fn unexpected(&mut self) -> GuestOutcome {
        let status = if self.tdcs.is_debug() {
            Status::SUCCESS
        } else {
            Status::NON_RECOVERABLE_TD
        };
        self.exit_to_host(status, self.info())
    }

    fn exception(&mut self) -> GuestOutcome {
        const NMI: u32 = 2;
        const MACHINE_CHECK: u32 = 18;
        let info = self.info_with_event();
        let status = if self.exit.interruption >> 8 & 7 == NMI {
            Status::SUCCESS
        } else if self.exit.interruption & 0xff == MACHINE_CHECK {
            Status::NON_RECOVERABLE_TD_NON_ACCESSIBLE
        } else if self.tdcs.is_debug() {
            Status::SUCCESS
        } else {
            Status::NON_RECOVERABLE_TD
        };
        self.exit_to_host(status, info)
    }

    fn nmi_window(&mut self) -> GuestOutcome {
        if self.vp.pend_nmi() != 0 && self.vp.ve_valid() == 0 {
            self.vp.set_pend_nmi(0);
            return GuestOutcome::Inject(Event::NMI);
        }
        GuestOutcome::Resume
    }

    /// NMIs stay blocked where the exit happened in the IRET that would have unblocked them.
    fn block_nmi_again(&mut self) {
        const UNBLOCKED_BY_IRET: u64 = 1 << 12;
        if self.exit.qualification & UNBLOCKED_BY_IRET != 0 {
            let blocking = self.vcpu.get(Field::Interruptibility);
            self.vcpu
                .set(Field::Interruptibility, blocking | BLOCKED_BY_NMI);
        }
    }

    fn ept_violation(&mut self) -> GuestOutcome {
        self.block_nmi_again();
        let (gpa, gla) = (self.exit.gpa, self.exit.gla);
        let qualification = self.exit.qualification;
        let width = if self.tdcs.gpaw() { 52 } else { 48 };
        let physical = gpa & ((1 << self.module.platform.max_pa) - 1);
        if physical >> width != 0 && qualification & ept_violation::GLA_VALID != 0 {
            return self.reserved_bit_fault();
        }
        if self.is_shared(gpa) {
            if self.exit.ve_convertible {
                let event = self.inject_ve(reason::EPT_VIOLATION, qualification, gpa, gla);
                return GuestOutcome::Inject(event);
            }
            return self.exit_ept_violation(gpa, qualification, extended::NONE);
        }
        let walk = call::walk(self.tdcs, gpa, 0);
        let mut ext = extended::NONE;
        if State::of(walk.entry).is_some_and(State::is_pending_acceptable) {
            if self.tdcs.td_ctls() & td::td_ctls::PENDING_VE_DISABLE == 0 {
                let event = self.inject_ve(reason::EPT_VIOLATION, qualification, gpa, gla);
                return GuestOutcome::Inject(event);
            }
            ext = extended::PENDING_EPT_VIOLATION;
        }
        self.log_fault(gpa);
        self.exit_ept_violation(gpa, qualification, ext)
    }

    /// Keeps the addresses on which a guest faults again and again at one RIP.
    fn log_fault(&mut self, gpa: u64) {
        let stepping = self.vp.epf_stepping();
        if stepping < EPF_THRESHOLD {
            self.vp.set_epf_stepping(stepping + 1);
            return;
        }
        let count = self.vp.epf_count();
        let known = (0..u64::from(count)).any(|i| self.vp.word(EPF_LIST + 8 * i) == gpa);
        if count < EPF_LIST_LEN && !known {
            self.vp.set_word(EPF_LIST + 8 * u64::from(count), gpa);
            self.vp.set_epf_count(count + 1);
        }
    }

    /// A guest address beyond the guest's width: #PF with RSVD, as its page tables say so.
    fn reserved_bit_fault(&mut self) -> GuestOutcome {
        const PAGE_FAULT: u32 = 14;
        let q = self.exit.qualification;
        let user = u32::from(self.cpl() == 3);
        let write = u32::from(q & ept_violation::WRITE != 0);
        let fetch = u32::from(q & ept_violation::FETCH != 0);
        let shadow_stack = u32::from(q & ept_violation::SHADOW_STACK != 0);
        self.vcpu.set(Field::Cr2, self.exit.gla);
        let code = 1 | write << 1 | user << 2 | 1 << 3 | fetch << 4 | shadow_stack << 6;
        GuestOutcome::Inject(Event::with_code(PAGE_FAULT, code))
    }

    fn ept_misconfiguration(&mut self) -> GuestOutcome {
        let gpa = self.exit.gpa;
        if !self.is_shared(gpa) {
            // The module writes the Secure EPT; it cannot be misconfigured.
            return self.unexpected();
        }
        let info = ExitInfo {
            reason: self.exit.reason,
            gpa: gpa & !0xfff,
            ..ExitInfo::default()
        };
        self.exit_to_host(Status::SUCCESS, info)
    }

    pub(super) fn cpl(&self) -> u64 {
        self.vcpu.get(Field::SsRights) >> 5 & 3
    }

    fn xsetbv(&mut self) -> Emulated {
        let value = self.gpr(RDX) << 32 | self.gpr(RAX) & 0xffff_ffff;
        if self.gpr(RCX) as u32 != 0 || !self.is_xcr0(value) {
            return Emulated::Gp;
        }
        self.vcpu.set(Field::Xcr0, value);
        Emulated::Done
    }

    fn is_xcr0(&self, value: u64) -> bool {
        use td::xfam::*;
        let all_or_none = |mask| value & mask == 0 || value & mask == mask;
        value & !(self.module.xcr0_mask & self.vp.xfam()) == 0
            && value & X87 != 0
            && (value & AVX == 0 || value & SSE != 0)
            && (value & AVX512 == 0 || value & AVX != 0)
            && all_or_none(AVX512)
            && all_or_none(AMX)
    }

    /// `None` for an access that cannot exit.
    fn cr_access(&mut self) -> Option<Emulated> {
        const LMSW: u64 = 0xe;
        let q = self.exit.qualification;
        match q >> 4 & 3 {
            0 => {
                let register = (q >> 8 & 15) as usize;
                let value = if register == RSP {
                    self.vcpu.get(Field::Rsp)
                } else {
                    self.gpr(register)
                };
                match q & 15 {
                    0 => Some(self.write_cr0(value)),
                    4 => Some(self.write_cr4(value)),
                    _ => None,
                }
            }
            3 => {
                let source = q >> 16 & 0xffff;
                let cr0 = self.vcpu.get(Field::Cr0);
                self.vcpu.set(Field::Cr0, source & LMSW | cr0 & !LMSW);
                Some(Emulated::Done)
            }
            _ => None,
        }
    }

    fn fixed(&self, msr: u32) -> u64 {
        self.machine.rdmsr(self.lp, msr)
    }

    fn write_cr0(&mut self, value: u64) -> Emulated {
        /// Bits that exist in no CPU.
        const RESERVED: u64 = !0 << 32;
        /// Bits that a write of CR0 ignores.
        const IGNORED: u64 = 0x1ffa_ffc0;
        let must = self.fixed(0x486) & !(CR0_PE | CR0_PG);
        if !value & must != 0 || value & !self.fixed(0x487) != 0 {
            return Emulated::Gp;
        }
        if value & CR0_PE == 0 && value & CR0_PG != 0 {
            return Emulated::Gp;
        }
        if self.vcpu.get(Field::Cr4) & CR4_CET != 0 && value & CR0_WP == 0 {
            return Emulated::Gp;
        }
        let needed = CR0_PE | CR0_NE;
        if value & needed != needed || value & (CR0_NW | CR0_CD | RESERVED) != 0 {
            return Emulated::Ve;
        }
        let old = self.vcpu.get(Field::Cr0);
        self.vcpu.set(Field::Cr0, value & !IGNORED | old & IGNORED);
        Emulated::Done
    }

    fn write_cr4(&mut self, value: u64) -> Emulated {
        const KL: u64 = 1 << 19;
        let (xfam, attributes) = (self.vp.xfam(), self.tdcs.attributes());
        let must = self.fixed(0x488) & !CR4_VMXE;
        if !value & must != 0 || value & !self.fixed(0x489) != 0 {
            return Emulated::Gp;
        }
        let mut forbidden = KL;
        for (bit, off) in [
            (22, xfam & td::xfam::PKRU == 0),
            (23, xfam & td::xfam::CET != td::xfam::CET),
            (24, attributes & td::attributes::PKS == 0),
            (25, xfam & td::xfam::UINTR == 0),
        ] {
            forbidden |= u64::from(off) << bit;
        }
        let no_wp = self.vcpu.get(Field::Cr0) & CR0_WP == 0;
        if value & forbidden != 0 || value & CR4_CET != 0 && no_wp {
            return Emulated::Gp;
        }
        Emulated::Ve
    }
}
