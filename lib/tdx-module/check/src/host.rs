//! A host that drives the module through its ABI only.

use std::collections::BTreeMap;
use std::sync::Arc;

use gpa::Hpa;
use memory::PhysMemory;
use replay::Tables;
use tdx_abi::layout::{ReportMac, TdParams, TdmrInfo, TeeTcbInfo};
use tdx_abi::{GuestLeaf, HostLeaf, Status, td};
use tdx_module::machine::{KeyError, Machine, Platform, Range, ReportError};
use tdx_module::{
    Entry, Field, GuestOutcome, Module, Regs, SeamOutcome, VcpuState, VmExit, reg::*,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::memory::Pages;

/// Logical processors; two to a package.
pub const LPS: usize = 4;
/// The TD memory region: 1 GiB.
pub const TDMR: u64 = 1 << 30;
/// Where a TD_PARAMS is for TDH.MNG.INIT.
pub const TD_PARAMS: u64 = 0x20_0000;
const MEMORY: u64 = 2 << 30;
const PAMT_1G: u64 = 0x1000_0000;
const PAMT_2M: u64 = 0x1000_2000;
const PAMT_4K: u64 = 0x1040_0000;
const GLOBAL_KEY_ID: u64 = 32;

struct BedMachine<'m> {
    memory: &'m Pages,
    tables: &'m Tables,
    tsc: &'m mut u64,
    random: &'m mut u64,
    interrupt: bool,
    defects: &'m Defects,
}

/// What is wrong with a machine.
#[derive(Clone, Debug, Default)]
pub struct Defects {
    /// MSRs that read otherwise.
    pub msrs: BTreeMap<u32, u64>,
    /// On this LP this CPUID leaf has all its bits inverted.
    pub cpuid: Option<(usize, u32)>,
    /// Keys cannot be programmed.
    pub keys: Option<KeyError>,
    /// There is no randomness.
    pub no_entropy: bool,
    /// Reports are not this machine's.
    pub reports: Option<ReportError>,
}

impl<'m> Machine for BedMachine<'m> {
    type Memory = &'m Pages;

    fn memory(&self) -> &'m Pages {
        self.memory
    }
    fn cpuid(&self, lp: usize, leaf: u32, subleaf: u32) -> [u32; 4] {
        let values = self.tables.cpuid(leaf, subleaf);
        if self.defects.cpuid == Some((lp, leaf)) {
            return values.map(|v| !v);
        }
        values
    }
    fn rdmsr(&self, _lp: usize, msr: u32) -> u64 {
        let odd = self.defects.msrs.get(&msr).copied();
        odd.unwrap_or_else(|| self.tables.msr(msr))
    }
    fn tsc(&mut self) -> u64 {
        *self.tsc
    }
    fn program_key(&mut self, _lp: usize, _key_id: u16) -> Result<(), KeyError> {
        self.defects.keys.map_or(Ok(()), Err)
    }
    fn random(&mut self) -> Option<u64> {
        if self.defects.no_entropy {
            return None;
        }
        *self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1;
        Some(*self.random)
    }
    fn interrupt_pending(&mut self, _lp: usize) -> bool {
        self.interrupt
    }
    fn seal_report(&mut self, report: &mut ReportMac, _tcb: &mut TeeTcbInfo) {
        report.mac = [0x77; 32];
    }
    fn verify_report(&mut self, report: &ReportMac) -> Result<(), ReportError> {
        if let Some(error) = self.defects.reports {
            return Err(error);
        }
        if report.mac == [0x77; 32] {
            Ok(())
        } else {
            Err(ReportError::Mac)
        }
    }
    fn xsave_size(&self, lp: usize, _xcr0: u64) -> u32 {
        self.cpuid(lp, 0xd, 0)[1]
    }
}

/// A virtual CPU that is registers only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// General-purpose registers.
    pub gprs: [u64; 16],
    fields: BTreeMap<u32, u64>,
    xmm: [[u64; 2]; 16],
}

impl VcpuState for Cpu {
    fn gpr(&self, index: usize) -> u64 {
        self.gprs[index]
    }
    fn set_gpr(&mut self, index: usize, value: u64) {
        self.gprs[index] = value;
    }
    fn get(&self, field: Field) -> u64 {
        self.fields.get(&(field as u32)).copied().unwrap_or(0)
    }
    fn set(&mut self, field: Field, value: u64) {
        self.fields.insert(field as u32, value);
    }
    fn xmm(&self, index: usize) -> [u64; 2] {
        self.xmm[index]
    }
    fn set_xmm(&mut self, index: usize, value: [u64; 2]) {
        self.xmm[index] = value;
    }
}

impl Cpu {
    /// As the module's guests are: in 64-bit mode.
    fn enter_64_bit(&mut self) {
        self.set(Field::Efer, self.get(Field::Efer) | 1 << 10 | 1 << 8);
        let rights = self.get(Field::CsRights);
        self.set(Field::CsRights, rights & !(1 << 14) | 1 << 13);
    }
}

/// How a TD is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// ATTRIBUTES.
    pub attributes: u64,
}

/// A machine, the module on it, and a host.
#[derive(Clone)]
pub struct Bed {
    /// The module.
    pub module: Arc<Module>,
    /// Host memory.
    pub memory: Pages,
    /// Virtual CPUs by TDVPR.
    pub cpus: BTreeMap<u64, Cpu>,
    tables: Arc<Tables>,
    /// The time-stamp counter; it stands still unless a test sets it.
    pub tsc: u64,
    /// Whether an interrupt is pending.
    pub interrupt: bool,
    /// What is wrong with the machine.
    pub defects: Defects,
    /// Successful SEAMCALLs, by leaf number.
    pub succeeded: BTreeMap<u16, u64>,
    random: u64,
    next_page: u64,
}

impl PartialEq for Bed {
    fn eq(&self, other: &Self) -> bool {
        self.module == other.module && self.memory == other.memory && self.cpus == other.cpus
    }
}

impl Bed {
    /// Power-on.
    pub fn new() -> Self {
        let memory = Range {
            base: 0,
            size: MEMORY,
        };
        let mut platform = Platform {
            packages: 2,
            cache_blocks: 2,
            ..Platform::simple(memory, LPS)
        };
        platform.lp_package[2] = 1;
        platform.lp_package[3] = 1;
        Self {
            module: Arc::new(Module::new(platform)),
            memory: Pages::new(MEMORY),
            cpus: BTreeMap::new(),
            tables: Arc::new(Tables::load()),
            tsc: 1 << 40,
            interrupt: false,
            defects: Defects::default(),
            succeeded: BTreeMap::new(),
            random: 1,
            next_page: TDMR,
        }
    }

    /// With every LP initialised and the TDMR ready.
    pub fn ready() -> Self {
        let mut bed = Self::new();
        bed.configure();
        bed
    }

    /// From power-on to ready.
    pub fn configure(&mut self) {
        self.must(0, HostLeaf::SysInit, &[]);
        for lp in 0..LPS {
            self.must(lp, HostLeaf::SysLpInit, &[]);
        }
        let (array, info) = (0x20_3000, 0x20_4000);
        self.memory.write_u64(Hpa::new(array), info);
        let mut tdmr = TdmrInfo::new_zeroed();
        tdmr.base = TDMR.into();
        tdmr.size = (1 << 30).into();
        tdmr.pamt_1g_base = PAMT_1G.into();
        tdmr.pamt_1g_size = 0x1000.into();
        tdmr.pamt_2m_base = PAMT_2M.into();
        tdmr.pamt_2m_size = 0x2000.into();
        tdmr.pamt_4k_base = PAMT_4K.into();
        tdmr.pamt_4k_size = 0x40_0000.into();
        self.memory.write_bytes(Hpa::new(info), tdmr.as_bytes());
        let operands = [(RCX, array), (RDX, 1), (R8, GLOBAL_KEY_ID)];
        self.must(0, HostLeaf::SysConfig, &operands);
        for lp in [0, 2] {
            self.must(lp, HostLeaf::SysKeyConfig, &[]);
        }
        loop {
            let regs = self.must(0, HostLeaf::SysTdmrInit, &[(RCX, TDMR)]);
            if regs[RDX] >= 2 * TDMR {
                break;
            }
        }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Module, &mut BedMachine<'_>) -> R) -> R {
        let mut machine = BedMachine {
            memory: &self.memory,
            tables: &self.tables,
            tsc: &mut self.tsc,
            random: &mut self.random,
            interrupt: self.interrupt,
            defects: &self.defects,
        };
        act(Arc::make_mut(&mut self.module), &mut machine)
    }

    /// SEAMCALL with these registers; `Err` is the entry into a TD.
    pub fn seamcall(&mut self, lp: usize, mut regs: Regs) -> Result<Regs, Entry> {
        let leaf = regs[RAX] as u16;
        let outcome = self.with(|module, machine| module.seamcall(lp, &mut regs, machine));
        let entered = matches!(outcome, SeamOutcome::Entered(_));
        if entered || Status(regs[RAX]).is_success() {
            *self.succeeded.entry(leaf).or_default() += 1;
        }
        match outcome {
            SeamOutcome::Done => Ok(regs),
            SeamOutcome::Entered(entry) => {
                if !self.cpus.contains_key(&entry.tdvpr) {
                    let mut cpu = Cpu::default();
                    self.with(|module, machine| {
                        module.load_state(entry.tdvpr, machine, &mut cpu);
                    });
                    self.cpus.insert(entry.tdvpr, cpu);
                }
                if let Some(cpu) = self.cpus.get_mut(&entry.tdvpr) {
                    cpu.gprs = entry.gprs.0;
                    cpu.enter_64_bit();
                }
                Err(entry)
            }
        }
    }

    /// A leaf with these operands; anything but TDH.VP.ENTER.
    pub fn call(&mut self, lp: usize, leaf: HostLeaf, operands: &[(usize, u64)]) -> (Status, Regs) {
        let mut regs = Regs::default();
        for &(register, value) in operands {
            regs[register] = value;
        }
        regs[RAX] |= u64::from(leaf.number());
        match self.seamcall(lp, regs) {
            Ok(regs) => (Status(regs[RAX]), regs),
            Err(entry) => (Status::SUCCESS, entry.gprs),
        }
    }

    /// A leaf that has to succeed.
    ///
    /// # Panics
    /// It does not.
    pub fn must(&mut self, lp: usize, leaf: HostLeaf, operands: &[(usize, u64)]) -> Regs {
        let (status, regs) = self.call(lp, leaf, operands);
        assert!(status.is_success(), "{leaf}: {status} for {operands:x?}");
        regs
    }

    /// TDH.VP.ENTER.
    pub fn enter(&mut self, lp: usize, tdvpr: u64) -> Result<Entry, Status> {
        let mut regs = Regs::default();
        regs[RCX] = tdvpr;
        match self.seamcall(lp, regs) {
            Ok(regs) => Err(Status(regs[RAX])),
            Err(entry) => Ok(entry),
        }
    }

    /// TDCALL with these registers by the vCPU inside on `lp`; `None` where none is.
    pub fn tdcall_with(&mut self, lp: usize, gprs: [u64; 16]) -> Option<GuestOutcome> {
        let tdvpr = self.module.inside(lp)?;
        let mut cpu = self.cpus.remove(&tdvpr)?;
        cpu.gprs = gprs;
        let outcome = self.with(|module, machine| module.tdcall(lp, machine, &mut cpu));
        self.cpus.insert(tdvpr, cpu);
        outcome
    }

    /// A guest leaf by the vCPU inside on `lp`: RAX afterwards, where the guest goes on.
    pub fn tdcall(
        &mut self,
        lp: usize,
        leaf: GuestLeaf,
        operands: &[(usize, u64)],
    ) -> (Option<GuestOutcome>, Status) {
        let mut gprs = [0; 16];
        gprs[RAX] = u64::from(leaf.number());
        for &(register, value) in operands {
            gprs[register] = value;
        }
        let tdvpr = self.module.inside(lp).unwrap_or(0);
        let outcome = self.tdcall_with(lp, gprs);
        let rax = self.cpus.get(&tdvpr).map_or(0, |cpu| cpu.gprs[RAX]);
        (outcome, Status(rax))
    }

    /// Another VM exit of the vCPU inside on `lp`.
    pub fn exit(&mut self, lp: usize, exit: VmExit) -> Option<GuestOutcome> {
        let tdvpr = self.module.inside(lp)?;
        let mut cpu = self.cpus.remove(&tdvpr)?;
        let outcome = self.with(|module, machine| module.td_exit(lp, machine, &mut cpu, exit));
        self.cpus.insert(tdvpr, cpu);
        outcome
    }

    /// An external interrupt takes the vCPU out of the TD.
    pub fn leave(&mut self, lp: usize) -> Option<GuestOutcome> {
        let exit = VmExit {
            reason: tdx_abi::exit::reason::INTERRUPT,
            interruption: 0x8000_00f3,
            ..VmExit::default()
        };
        self.exit(lp, exit)
    }

    /// Takes or frees a lock as another LP would.
    pub fn force_lock(
        &mut self,
        name: tdx_module::LockName,
        mode: Option<tdx_module::LockMode>,
    ) -> bool {
        self.with(|module, machine| module.force_lock(machine, name, mode))
    }

    /// A page nobody has.
    pub fn page(&mut self) -> u64 {
        self.next_page += 4096;
        self.next_page - 4096
    }

    /// 2 MiB nobody has.
    pub fn block(&mut self) -> u64 {
        self.next_page = (self.next_page + (2 << 20) - 1) & !((2 << 20) - 1);
        self.next_page += 2 << 20;
        self.next_page - (2 << 20)
    }

    /// TD_PARAMS of a small TD.
    pub fn params(ways: Ways) -> TdParams {
        let mut params = TdParams::new_zeroed();
        params.attributes = ways.attributes.into();
        params.xfam = 3.into();
        params.max_vcpus = 8.into();
        params.eptp_controls = (td::eptp_controls::WB | td::eptp_controls::WALK_4).into();
        params.tsc_frequency = 80.into();
        params
    }

    /// A TD with its keys configured and all its control pages, before TDH.MNG.INIT.
    pub fn new_td(&mut self, key_id: u16) -> u64 {
        let tdr = self.page();
        let operands = [(RCX, tdr), (RDX, u64::from(key_id))];
        self.must(0, HostLeaf::MngCreate, &operands);
        for lp in [0, 2] {
            self.must(lp, HostLeaf::MngKeyConfig, &[(RCX, tdr)]);
        }
        for _ in 0..td::MIN_TDCS_PAGES {
            let page = self.page();
            self.must(0, HostLeaf::MngAddcx, &[(RCX, page), (RDX, tdr)]);
        }
        tdr
    }

    /// An initialised TD.
    pub fn init_td(&mut self, key_id: u16, ways: Ways) -> u64 {
        let tdr = self.new_td(key_id);
        let params = Self::params(ways);
        self.memory
            .write_bytes(Hpa::new(TD_PARAMS), params.as_bytes());
        self.must(0, HostLeaf::MngInit, &[(RCX, tdr), (RDX, TD_PARAMS)]);
        tdr
    }

    /// A vCPU of `tdr`.
    pub fn new_vcpu(&mut self, lp: usize, tdr: u64) -> u64 {
        let tdvpr = self.page();
        self.must(lp, HostLeaf::VpCreate, &[(RCX, tdvpr), (RDX, tdr)]);
        for _ in 0..5 {
            let page = self.page();
            self.must(lp, HostLeaf::VpAddcx, &[(RCX, page), (RDX, tdvpr)]);
        }
        self.must(lp, HostLeaf::VpInit, &[(RCX, tdvpr)]);
        tdvpr
    }

    /// The Secure EPT pages above `gpa` down to the table of `level` entries.
    pub fn tables_to(&mut self, tdr: u64, gpa: u64, level: u64) {
        for l in (level + 1..=3).rev() {
            let page = self.page();
            let size = 12 + 9 * l;
            let at = gpa >> size << size;
            let operands = [(RCX, at | l), (RDX, tdr), (R8, page)];
            let (status, _) = self.call(0, HostLeaf::MemSeptAdd, &operands);
            if !status.is_success() {
                self.next_page -= 4096;
            }
        }
    }
}

impl Default for Bed {
    fn default() -> Self {
        Self::new()
    }
}
