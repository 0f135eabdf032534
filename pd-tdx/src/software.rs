//! The software TDX module and CPU behind [`Seam`](crate::Seam).
//!
//! A SEAMCALL goes to [`tdx_module::Module`]. If it enters a TD, the vCPU's [`cpu::Cpu`] runs
//! for one turn; what makes it stop goes to the module, which lets it go on or returns from
//! TDH.VP.ENTER. The end of the turn is an external interrupt. There is one logical processor.

use crate::{MAX_VCPUS, Seam, UnknownInstruction, processor};
use cpu::{CodeCache, CodeStorage, Controls, Cpu, Exit, Segment, Table, gpr, seg};
use gpa::{Hpa, PAGE_SIZE};
use hmac::{Hmac, Mac};
use ipc_seamcall::Registers;
use ipc_vmm_tdx::{VmEntry, VmExit};
use memory::Window;
use sha2::{Digest, Sha256, Sha384};
use tdx_abi::layout::{ReportMac, TeeTcbInfo};
use tdx_abi::{FieldId, GuestLeaf, HostLeaf, Status, exit::reason};
use tdx_module::machine::{Build, Range, ReportError};
use tdx_module::{
    Entry, Event, Field, GuestOutcome, Module, Platform, Regs, SeamOutcome, VcpuState, VcpuView,
    is_guest_state, reg,
};
use zerocopy::IntoBytes;

/// The one logical processor.
const LP: usize = 0;
/// Instructions of a vCPU's turn, at most, unless set otherwise.
const TURN: u64 = 50_000;
/// Lowest bit of the HKID in a host physical address.
pub const HKID_SHIFT: u8 = 46;
/// Ticks of the time-stamp counter in a second, until somebody says what they are.
const TSC_HZ: u64 = 2_000_000_000;
/// Security version of the processor that reports tell.
const CPU_SVN: [u8; 16] = [1; 16];
/// Blocks of decoded operations that the code cache has room for: too few, and frequent ones
/// push each other out.
pub const CODE_BLOCKS: usize = if cfg!(feature = "microkit") {
    0x2_0000
} else {
    0x1_0000
};
/// Operations of them. On a host, where compiled code is faster than stacks are large, fewer.
pub const CODE_OPS: usize = if cfg!(feature = "microkit") {
    300_000
} else {
    200_000
};

/// What the software machine needs of the real one.
pub trait Clock {
    /// The host's time-stamp counter.
    fn now(&mut self) -> u64;
    /// The guest has executed so many instructions (for those whose time that is).
    fn executed(&mut self, instructions: u64);
    /// 64 random bits.
    fn random(&mut self) -> u64;
}

/// A processor with one package, one logical processor and this memory.
pub fn platform(memory: Hpa, len: u64) -> Platform {
    let build = Build {
        date: 20231024,
        number: 0,
        major: 1,
        minor: 5,
        update: 1,
    };
    let simple = Platform::simple(
        Range {
            base: memory.get(),
            size: len,
        },
        1,
    );
    Platform {
        tsc_hz: TSC_HZ,
        build,
        ..simple
    }
}

/// A place for a vCPU's processor.
pub(crate) struct Slot {
    /// 0: nobody's.
    pub(crate) tdvpr: u64,
    pub(crate) cpu: Cpu,
    /// An event that was being delivered when the vCPU left: it is delivered again.
    pub(crate) again: Option<cpu::Event>,
}

/// Processors, one for each vCPU.
pub struct Cpus(pub(crate) [Slot; MAX_VCPUS]);

impl Cpus {
    /// All free.
    pub const fn new() -> Self {
        Self(
            [const {
                Slot {
                    tdvpr: 0,
                    cpu: Cpu::new(),
                    again: None,
                }
            }; MAX_VCPUS],
        )
    }
}

impl Default for Cpus {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory for decoded code.
pub type Code = CodeStorage<CODE_OPS, CODE_BLOCKS>;

/// The machine around module and CPU.
pub struct SoftwareMachine<'a, C> {
    memory: &'a Window,
    pub(crate) clock: C,
    shared_pool: (Hpa, u64),
    shadow: (Hpa, u64),
    report_key: [u8; 32],
    pub(crate) tsc_offset: u64,
    pub(crate) tsc_multiplier: u64,
    unknown: Option<UnknownInstruction>,
}

impl<'a, C: Clock> SoftwareMachine<'a, C> {
    /// A machine over `memory`; guests share memory in `shared_pool` and nowhere else, and shared
    /// EPTs lie in `shadow` and nowhere else. Each is `(first address, bytes)`.
    pub fn new(
        memory: &'a Window,
        mut clock: C,
        shared_pool: (Hpa, u64),
        shadow: (Hpa, u64),
    ) -> Self {
        let mut report_key = [0; 32];
        for chunk in report_key.chunks_mut(8) {
            chunk.copy_from_slice(&clock.random().to_le_bytes());
        }
        Self {
            memory,
            clock,
            shared_pool,
            shadow,
            report_key,
            tsc_offset: 0,
            tsc_multiplier: 1 << 48,
            unknown: None,
        }
    }

    fn mac(&self, report: &ReportMac) -> Option<Hmac<Sha256>> {
        // The MAC is over what is before it (REPORTMACSTRUCT).
        let bytes = report.as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.report_key).ok()?;
        mac.update(&bytes[..bytes.len() - report.mac.len()]);
        Some(mac)
    }
}

impl<'a, C: Clock> tdx_module::Machine for SoftwareMachine<'a, C> {
    type Memory = &'a Window;

    fn memory(&self) -> &'a Window {
        self.memory
    }
    fn cpuid(&self, _lp: usize, leaf: u32, subleaf: u32) -> [u32; 4] {
        processor::cpuid(leaf, subleaf)
    }
    fn rdmsr(&self, _lp: usize, msr: u32) -> u64 {
        processor::rdmsr(msr)
    }
    fn tsc(&mut self) -> u64 {
        self.clock.now()
    }
    fn random(&mut self) -> Option<u64> {
        Some(self.clock.random())
    }
    fn seal_report(&mut self, report: &mut ReportMac, tcb: &mut TeeTcbInfo) {
        report.cpu_svn = CPU_SVN;
        report.tee_tcb_info_hash = Sha384::digest(tcb.as_bytes()).into();
        if let Some(mac) = self.mac(report) {
            report.mac = mac.finalize().into_bytes().into();
        }
    }
    fn verify_report(&mut self, report: &ReportMac) -> Result<(), ReportError> {
        if report.cpu_svn != CPU_SVN {
            return Err(ReportError::CpuSvn);
        }
        let mac = self.mac(report).ok_or(ReportError::Mac)?;
        mac.verify_slice(&report.mac).map_err(|_| ReportError::Mac)
    }
    fn xsave_size(&self, _lp: usize, xcr0: u64) -> u32 {
        processor::xsave_size(xcr0)
    }
}

impl<'a, C: Clock> cpu::Machine for SoftwareMachine<'a, C> {
    type Memory = Window;

    fn memory(&self) -> &Window {
        self.memory
    }
    fn tsc(&mut self) -> u64 {
        let scaled = (u128::from(self.clock.now()) * u128::from(self.tsc_multiplier)) >> 48;
        (scaled as u64).wrapping_add(self.tsc_offset)
    }
    fn random(&mut self) -> u64 {
        self.clock.random()
    }
    fn shared_hpa_allowed(&self, hpa: Hpa, len: u64) -> bool {
        lies_in(self.shared_pool, hpa, len)
    }
    fn shared_table_allowed(&self, table: Hpa) -> bool {
        lies_in(self.shadow, table, PAGE_SIZE)
    }
    fn unknown_instruction(&mut self, rip: u64, bytes: &[u8], mnemonic: cpu::Mnemonic) {
        let mut all = [0; 15];
        all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.unknown = Some(UnknownInstruction {
            rip,
            bytes: all,
            mnemonic,
        });
    }
}

fn lies_in((base, size): (Hpa, u64), hpa: Hpa, len: u64) -> bool {
    let offset = hpa.get().wrapping_sub(base.get());
    len <= size && offset <= size - len
}

/// The software module with its processors.
pub struct SoftwareSeam<'a, C> {
    module: Module,
    pub(crate) machine: SoftwareMachine<'a, C>,
    pub(crate) cpus: &'a mut Cpus,
    pub(crate) code: CodeCache<'a>,
    pub(crate) turn: u64,
}

impl<'a, C: Clock> SoftwareSeam<'a, C> {
    /// The module as it is after it was loaded.
    pub fn new(
        platform: Platform,
        machine: SoftwareMachine<'a, C>,
        cpus: &'a mut Cpus,
        code: &'a mut Code,
    ) -> Self {
        let code = CodeCache::new(code);
        Self {
            module: Module::new(platform),
            machine,
            cpus,
            code,
            turn: TURN,
        }
    }

    /// Sets the length of a turn, in instructions.
    pub fn set_turn(&mut self, instructions: u64) {
        self.turn = instructions;
    }

    /// Guest instructions executed so far.
    pub fn retired(&self) -> u64 {
        self.cpus.0.iter().map(|slot| slot.cpu.retired()).sum()
    }

    /// The processor of a vCPU, to look at.
    pub fn cpu(&self, tdvpr: u64) -> Option<&Cpu> {
        self.cpus
            .0
            .iter()
            .find(|slot| slot.tdvpr == tdvpr)
            .map(|slot| &slot.cpu)
    }

    /// One turn of a vCPU; the registers with which TDH.VP.ENTER returns.
    fn run(&mut self, entry: Entry) -> Regs {
        let Self {
            module,
            machine,
            cpus,
            code,
            turn,
        } = self;
        let free = cpus.0.iter().position(|slot| slot.tdvpr == 0);
        let index = match cpus.0.iter().position(|slot| slot.tdvpr == entry.tdvpr) {
            Some(index) => index,
            None => {
                // There is a slot: pd-tdx lets no more vCPUs be created.
                let index = free.unwrap_or(0);
                let slot = &mut cpus.0[index];
                slot.tdvpr = entry.tdvpr;
                slot.again = None;
                slot.cpu.reset();
                module.load_state(entry.tdvpr, &*machine, &mut Vcpu(&mut slot.cpu));
                index
            }
        };
        let Slot { cpu, again, .. } = &mut cpus.0[index];
        let view = module.view(&*machine, entry.tdr, entry.tdvpr);
        machine.tsc_offset = view.tsc_offset;
        machine.tsc_multiplier = view.tsc_multiplier;
        cpu.controls = controls(&view);
        // pd-vmm says where the descriptor is, and the processor writes there.
        let shared = |at: &Hpa| lies_in(machine.shared_pool, *at, 64);
        cpu.controls.posted_interrupts = cpu.controls.posted_interrupts.filter(shared);
        for number in (0..16).filter(|&number| number != gpr::RSP) {
            cpu.set_gpr(number, entry.gprs[number]);
        }
        if entry.flush_tlb {
            cpu.flush_ept();
        }
        if let Some(event) = entry.event.and_then(event).or_else(|| again.take()) {
            cpu.inject(event);
        }

        let mut left = *turn;
        loop {
            let before = cpu.retired();
            let exit = cpu.run(machine, code, left);
            let done = cpu.retired() - before;
            machine.clock.executed(done);
            // An exit costs something, too: a guest could do nothing else.
            left = left.saturating_sub(done.max(1));
            let exit = match exit {
                Exit::Vm(exit) => exit,
                Exit::Budget => cpu::VmExit::new(reason::INTERRUPT as u16),
            };
            let pending = exit.vectoring;
            let leaf = cpu.gpr(gpr::RAX) as u16;
            let outcome = if u32::from(exit.reason) == reason::TDCALL {
                module.tdcall(LP, machine, &mut Vcpu(cpu))
            } else {
                module.td_exit(LP, machine, &mut Vcpu(cpu), vm_exit(&exit))
            };
            let writes = [GuestLeaf::MrReport, GuestLeaf::SysRdall].map(GuestLeaf::number);
            if u32::from(exit.reason) == reason::TDCALL && writes.contains(&leaf) {
                // The module wrote to guest memory, which may hold code.
                code.clear();
            }
            match outcome {
                Some(GuestOutcome::Resume | GuestOutcome::Retry) => {
                    if let Some(event) = pending {
                        cpu.inject(event);
                    }
                }
                Some(GuestOutcome::Inject(injected)) => {
                    if let Some(event) = event(injected) {
                        cpu.inject(event);
                    }
                }
                Some(GuestOutcome::ExitToHost { regs, .. }) => {
                    *again = pending;
                    return regs;
                }
                // No vCPU is inside: there is nothing to go on with.
                None => return Regs::default(),
            }
        }
    }

    /// What a successful call means for processors and decoded code.
    fn after(&mut self, before: &Regs) {
        let frames = |level: u64| 1u64 << (9 * level);
        let (first, count) = match HostLeaf::from_number(before[reg::RAX] as u16) {
            // Pages that become a guest's: what was there before may have been code.
            Some(HostLeaf::MemPageAdd) => (before[reg::R8], 1),
            Some(HostLeaf::MemPageAug) => (before[reg::R8], frames(before[reg::RCX] & 1)),
            Some(HostLeaf::PhymemPageReclaim) => {
                for slot in self
                    .cpus
                    .0
                    .iter_mut()
                    .filter(|s| s.tdvpr == before[reg::RCX])
                {
                    slot.tdvpr = 0;
                }
                return;
            }
            Some(HostLeaf::MemWr) => return self.code.clear(),
            Some(HostLeaf::VpWr) => {
                // A debugger wrote registers: the processor has what it stopped with.
                let vcpu = before[reg::RCX];
                let slot = self.cpus.0.iter_mut().find(|slot| slot.tdvpr == vcpu);
                if let Some(slot) = slot.filter(|_| is_guest_state(FieldId(before[reg::RDX]))) {
                    let mut vcpu = Vcpu(&mut slot.cpu);
                    self.module.load_state(slot.tdvpr, &self.machine, &mut vcpu);
                }
                return;
            }
            _ => return,
        };
        for frame in 0..count {
            self.code
                .invalidate_frame(Hpa::new(first + frame * PAGE_SIZE).frame());
        }
    }
}

impl<C: Clock> Seam for SoftwareSeam<'_, C> {
    fn seamcall(&mut self, registers: &mut Registers) {
        let mut regs = to_regs(registers);
        let before = regs;
        match self.module.seamcall(LP, &mut regs, &mut self.machine) {
            SeamOutcome::Done => {
                if !Status(regs[reg::RAX]).is_error() {
                    self.after(&before);
                }
            }
            SeamOutcome::Entered(entry) => regs = self.run(entry),
        }
        *registers = from_regs(&regs);
    }

    fn invept(&mut self) {
        self.cpus.0.iter_mut().for_each(|slot| slot.cpu.flush_ept());
    }

    fn vm_enter(&mut self, root: Hpa, vcpu: u64, entry: &VmEntry) -> VmExit {
        self.enter_plain(root, vcpu, entry)
    }

    fn vm_forget(&mut self, vcpu: u64) {
        self.forget_plain(vcpu);
    }

    fn take_unknown(&mut self) -> Option<UnknownInstruction> {
        self.machine.unknown.take()
    }

    fn set_tsc_frequency(&mut self, hz: u64) {
        self.module.set_tsc_frequency(hz);
    }
}

pub(crate) fn to_regs(r: &Registers) -> Regs {
    let mut regs = Regs::default();
    let low = [r.rax, r.rcx, r.rdx, r.rbx, 0, r.rbp, r.rsi, r.rdi];
    regs.0[..8].copy_from_slice(&low);
    regs.0[8..].copy_from_slice(&r.r8_r15);
    regs
}

pub(crate) fn from_regs(regs: &Regs) -> Registers {
    let [rax, rcx, rdx, rbx, _, rbp, rsi, rdi, high @ ..] = regs.0;
    Registers {
        rax,
        rcx,
        rdx,
        rbx,
        rbp,
        rsi,
        rdi,
        r8_r15: high,
    }
}

fn controls(view: &VcpuView) -> Controls {
    Controls {
        private_root: Hpa::new(view.private_root),
        shared_root: Hpa::new(view.shared_root),
        root_level: view.ept_levels - 1,
        shared_bit: view.shared_bit.trailing_zeros() as u8,
        plain: false,
        gpa_width: view.gpa_width,
        posted_interrupts: view.posted_interrupts.map(Hpa::new),
        cr0_mask: view.cr0_mask,
        cr0_shadow: view.cr0_shadow,
        cr4_mask: view.cr4_mask,
        cr4_shadow: view.cr4_shadow,
    }
}

fn event(event: Event) -> Option<cpu::Event> {
    cpu::Event::from_info(event.info, event.error_code, 0)
}

fn vm_exit(exit: &cpu::VmExit) -> tdx_module::VmExit {
    tdx_module::VmExit {
        reason: exit.reason.into(),
        qualification: exit.qualification,
        gpa: exit.gpa.get(),
        gla: exit.gla,
        interruption: exit.interruption_info,
        error_code: exit.interruption_error_code,
        instruction_length: exit.instruction_length.into(),
        instruction_info: 0,
        ve_convertible: exit.ve_convertible,
    }
}

/// The module's view of a processor.
struct Vcpu<'a>(&'a mut Cpu);

/// Where a field of the VMCS is in a [`Cpu`].
enum Place {
    Selector(usize),
    Base(usize),
    Limit(usize),
    Rights(usize),
    Other,
}

/// LDTR and TR, behind the six segment registers.
const LDTR: usize = 6;
const TR: usize = 7;

/// VMCS encodings of ES to TR follow each other in steps of two (SDM vol. 3D, appendix B).
fn place(field: Field) -> Place {
    let number = |first: Field| (field as u32 - first as u32) as usize / 2;
    match field as u32 {
        0x800..=0x80e => Place::Selector(number(Field::EsSelector)),
        0x4800..=0x480e => Place::Limit(number(Field::EsLimit)),
        0x4814..=0x4822 => Place::Rights(number(Field::EsRights)),
        0x6806..=0x6814 => Place::Base(number(Field::EsBase)),
        _ => Place::Other,
    }
}

const _: () = assert!(seg::GS == 5);

impl Vcpu<'_> {
    fn segment(&self, number: usize) -> Segment {
        match number {
            LDTR => self.0.ldtr(),
            TR => self.0.tr(),
            _ => self.0.segment(number),
        }
    }
    fn edit_segment(&mut self, number: usize, edit: impl FnOnce(&mut Segment)) {
        let mut segment = self.segment(number);
        edit(&mut segment);
        match number {
            LDTR => self.0.set_ldtr(segment),
            TR => self.0.set_tr(segment),
            _ => self.0.set_segment(number, segment),
        }
    }
}

impl VcpuState for Vcpu<'_> {
    fn gpr(&self, index: usize) -> u64 {
        self.0.gpr(index)
    }
    fn set_gpr(&mut self, index: usize, value: u64) {
        self.0.set_gpr(index, value);
    }
    fn get(&self, field: Field) -> u64 {
        let cpu = &self.0;
        match place(field) {
            Place::Selector(n) => return self.segment(n).selector.into(),
            Place::Base(n) => return self.segment(n).base,
            Place::Limit(n) => return self.segment(n).limit.into(),
            Place::Rights(n) => return self.segment(n).rights.into(),
            Place::Other => {}
        }
        match field {
            Field::Rip => cpu.rip(),
            Field::Rsp => cpu.gpr(gpr::RSP),
            Field::Rflags => cpu.rflags(),
            Field::Cr0 => cpu.cr0(),
            Field::Cr2 => cpu.cr2(),
            Field::Cr3 => cpu.cr3(),
            Field::Cr4 => cpu.cr4(),
            Field::Efer => cpu.efer(),
            Field::Dr0 => cpu.dr(0),
            Field::Dr1 => cpu.dr(1),
            Field::Dr2 => cpu.dr(2),
            Field::Dr3 => cpu.dr(3),
            Field::Dr6 => cpu.dr(6),
            Field::Dr7 => cpu.dr(7),
            Field::Xcr0 => cpu.xcr0(),
            Field::Xss => cpu.msrs.xss,
            Field::Pat => cpu.msrs.pat,
            Field::SysenterCs => cpu.msrs.sysenter_cs,
            Field::SysenterEsp => cpu.msrs.sysenter_esp,
            Field::SysenterEip => cpu.msrs.sysenter_eip,
            Field::Star => cpu.msrs.star,
            Field::Lstar => cpu.msrs.lstar,
            Field::Fmask => cpu.msrs.sfmask,
            Field::KernelGsBase => cpu.msrs.kernel_gs_base,
            Field::TscAux => cpu.msrs.tsc_aux,
            Field::GdtrBase => cpu.gdtr().base,
            Field::GdtrLimit => cpu.gdtr().limit.into(),
            Field::IdtrBase => cpu.idtr().base,
            Field::IdtrLimit => cpu.idtr().limit.into(),
            // The CPU keeps its interrupt shadow to itself, and has no debug-control features.
            _ => 0,
        }
    }
    fn set(&mut self, field: Field, value: u64) {
        match place(field) {
            Place::Selector(n) => return self.edit_segment(n, |s| s.selector = value as u16),
            Place::Base(n) => return self.edit_segment(n, |s| s.base = value),
            Place::Limit(n) => return self.edit_segment(n, |s| s.limit = value as u32),
            Place::Rights(n) => return self.edit_segment(n, |s| s.rights = value as u32),
            Place::Other => {}
        }
        let cpu = &mut *self.0;
        let (cr0, cr3, cr4, efer) = (cpu.cr0(), cpu.cr3(), cpu.cr4(), cpu.efer());
        match field {
            Field::Rip => cpu.set_rip(value),
            Field::Rsp => cpu.set_gpr(gpr::RSP, value),
            Field::Rflags => cpu.set_rflags(value),
            Field::Cr0 => cpu.set_control_registers(value, cr3, cr4, efer),
            Field::Cr2 => cpu.set_cr2(value),
            Field::Cr3 => cpu.set_control_registers(cr0, value, cr4, efer),
            Field::Cr4 => cpu.set_control_registers(cr0, cr3, value, efer),
            Field::Efer => cpu.set_control_registers(cr0, cr3, cr4, value),
            Field::Dr0 => cpu.set_dr(0, value),
            Field::Dr1 => cpu.set_dr(1, value),
            Field::Dr2 => cpu.set_dr(2, value),
            Field::Dr3 => cpu.set_dr(3, value),
            Field::Dr6 => cpu.set_dr(6, value),
            Field::Dr7 => cpu.set_dr(7, value),
            Field::Xcr0 => cpu.set_xcr0(value),
            Field::Xss => cpu.msrs.xss = value,
            Field::Pat => cpu.msrs.pat = value,
            Field::SysenterCs => cpu.msrs.sysenter_cs = value,
            Field::SysenterEsp => cpu.msrs.sysenter_esp = value,
            Field::SysenterEip => cpu.msrs.sysenter_eip = value,
            Field::Star => cpu.msrs.star = value,
            Field::Lstar => cpu.msrs.lstar = value,
            Field::Fmask => cpu.msrs.sfmask = value,
            Field::KernelGsBase => cpu.msrs.kernel_gs_base = value,
            Field::TscAux => cpu.msrs.tsc_aux = value,
            Field::GdtrBase => cpu.set_gdtr(Table {
                base: value,
                ..cpu.gdtr()
            }),
            Field::GdtrLimit => cpu.set_gdtr(Table {
                limit: value as u16,
                ..cpu.gdtr()
            }),
            Field::IdtrBase => cpu.set_idtr(Table {
                base: value,
                ..cpu.idtr()
            }),
            Field::IdtrLimit => cpu.set_idtr(Table {
                limit: value as u16,
                ..cpu.idtr()
            }),
            // STI's and MOV SS's shadows end with the instruction that the module carried out.
            Field::Interruptibility if value & 3 == 0 => cpu.advance(0),
            _ => {}
        }
    }
    fn xmm(&self, index: usize) -> [u64; 2] {
        let value = self.0.fpu.xmm[index & 15];
        [value as u64, (value >> 64) as u64]
    }
    fn set_xmm(&mut self, index: usize, value: [u64; 2]) {
        self.0.fpu.xmm[index & 15] = u128::from(value[1]) << 64 | u128::from(value[0]);
    }
}
