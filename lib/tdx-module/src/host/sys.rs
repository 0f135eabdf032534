//! TDH.SYS.*: bringing the module up, and what it enumerates.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    Operand, PageType, Status, cpuid,
    layout::{CpuidConfig, CpuidValues, MAX_CMRS, PAMT_ENTRY_SIZE, TdSysInfo},
    page::level_size,
    td,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::call::Call;
use crate::machine::{Machine, reg::*};
use crate::module::{Done, SUCCESS, SysState};

const IA32_MISC_ENABLE: u32 = 0x1a0;
const BOOT_NT4: u64 = 1 << 22;
/// Bytes of a TDMR that one TDH.SYS.TDMR.INIT initialises the PAMT of.
const TDMR_INIT_STEP: u64 = 4 << 20;

impl<M: Machine> Call<'_, M> {
    pub fn sys_init(&mut self) -> Result<Done, Status> {
        let attributes = self.r[RCX];
        for register in [RCX, RDX, R8, R9, R10] {
            self.r[register] = 0;
        }
        if attributes != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        if self.module.sys_state != SysState::InitPending {
            return Err(Status::SYS_INIT_NOT_PENDING);
        }
        if self.machine.rdmsr(self.lp, IA32_MISC_ENABLE) & BOOT_NT4 != 0 {
            return Err(Status::LIMIT_CPUID_MAXVAL_SET);
        }
        self.sample_cpuid()?;
        self.module.sys_attributes = attributes;
        self.module.sys_state = SysState::InitDone;
        SUCCESS
    }

    /// Reads the platform's CPUID and checks what a TD relies on.
    fn sample_cpuid(&mut self) -> Result<(), Status> {
        for (i, leaf) in cpuid::LEAVES.iter().enumerate() {
            let values = self.machine.cpuid(self.lp, leaf.leaf, leaf.subleaf);
            let wrong = (0..4).any(|k| {
                let r = &leaf.registers[k];
                values[k] & r.verify_mask != r.verify_value
            });
            if wrong {
                let masks = leaf.registers.map(|r| r.verify_mask);
                let expected = leaf.registers.map(|r| r.verify_value);
                self.r[RCX] = u64::from(leaf.subleaf) << 32 | u64::from(leaf.leaf);
                self.r[RDX] = pair(masks[0], masks[1]);
                self.r[R8] = pair(masks[2], masks[3]);
                self.r[R9] = pair(expected[0], expected[1]);
                self.r[R10] = pair(expected[2], expected[3]);
                return Err(Status::INCORRECT_CPUID_VALUE);
            }
            self.module.cpuid[i] = values;
            match (leaf.leaf, leaf.subleaf) {
                (1, _) => self.module.platform_fms = values[0],
                (0xd, 0) => {
                    self.module.xcr0_mask = u64::from(values[0]) & td::xfam::XCR0_MASK;
                }
                (0xd, 1) => self.module.xss_mask = u64::from(values[2]) & td::xfam::XSS_MASK,
                _ => {}
            }
        }
        Ok(())
    }

    pub fn sys_lp_init(&mut self) -> Result<Done, Status> {
        for register in [RCX, RDX, R8] {
            self.r[register] = 0;
        }
        if self.module.sys_state != SysState::InitDone {
            return Err(Status::SYS_LP_INIT_NOT_PENDING);
        }
        if self.module.lps[self.lp].initialized {
            return Err(Status::SYS_LP_INIT_DONE);
        }
        for (i, leaf) in cpuid::LEAVES.iter().enumerate() {
            let values = self.machine.cpuid(self.lp, leaf.leaf, leaf.subleaf);
            let differs = (0..4).any(|k| {
                (values[k] ^ self.module.cpuid[i][k]) & leaf.registers[k].verify_same != 0
            });
            if differs {
                let masks = leaf.registers.map(|r| r.verify_same);
                self.r[RCX] = u64::from(leaf.subleaf) << 32 | u64::from(leaf.leaf);
                self.r[RDX] = pair(masks[0], masks[1]);
                self.r[R8] = pair(masks[2], masks[3]);
                return Err(Status::INCONSISTENT_CPUID_FIELD);
            }
        }
        self.module.lps[self.lp].initialized = true;
        self.module.init_lps += 1;
        SUCCESS
    }

    pub fn sys_key_config(&mut self) -> Result<Done, Status> {
        if self.module.sys_state != SysState::ConfigDone {
            return Err(Status::SYS_KEY_CONFIG_NOT_PENDING);
        }
        let package = 1 << self.module.platform.lp_package[self.lp];
        if self.module.package_bitmap & package != 0 {
            return Err(Status::KEY_CONFIGURED);
        }
        self.program_key(self.module.key_id)?;
        self.module.package_bitmap |= package;
        if self.module.package_bitmap.count_ones() == self.module.platform.packages {
            self.module.sys_state = SysState::Ready;
        }
        SUCCESS
    }

    pub fn sys_tdmr_init(&mut self) -> Result<Done, Status> {
        let base = self.r[RCX];
        self.r[RDX] = 0;
        self.check_private(base, level_size(2), Operand::RCX)?;
        let count = self.module.num_tdmrs;
        let index = self.module.tdmrs[..count]
            .iter()
            .position(|t| t.base == base)
            .ok_or(Status::OPERAND_INVALID.with(Operand::RCX))?;
        let tdmr = self.module.tdmrs[index];
        let done = tdmr.initialized - tdmr.base;
        if done >= tdmr.size {
            return Err(Status::TDMR_ALREADY_INITIALIZED);
        }
        let memory = self.mem();
        let end = done + TDMR_INIT_STEP;
        for level in [2, 1] {
            let size = level_size(level);
            let mut offset = done - done % size;
            while offset < end {
                if offset >= done {
                    let entry =
                        tdmr.pamt[usize::from(level)].base + offset / size * PAMT_ENTRY_SIZE;
                    memory.zero(Hpa::new(entry), PAMT_ENTRY_SIZE);
                }
                offset += size;
            }
        }
        let entry = |offset: u64| Hpa::new(tdmr.pamt[0].base + offset / 4096 * PAMT_ENTRY_SIZE);
        memory.zero(entry(done), TDMR_INIT_STEP / 4096 * PAMT_ENTRY_SIZE);
        for reserved in tdmr.reserved.iter().take_while(|r| r.size != 0) {
            let from = reserved.base.max(done);
            let to = end.min(reserved.base.saturating_add(reserved.size));
            for offset in (from..to).step_by(4096) {
                self.set_pamt_type(entry(offset), PageType::Rsvd);
            }
        }
        self.module.tdmrs[index].initialized = tdmr.base + end;
        self.r[RDX] = (tdmr.base + end) & !(level_size(2) - 1);
        SUCCESS
    }

    pub fn sys_shutdown(&mut self) -> Result<Done, Status> {
        if self.r[RCX] != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        if self.module.lps.iter().any(|lp| lp.inside != 0) {
            return Err(Status::SYS_BUSY);
        }
        self.module.sys_state = SysState::Shutdown;
        self.module.handoff = true;
        SUCCESS
    }

    pub fn sys_update(&mut self) -> Result<Done, Status> {
        let all = self.module.init_lps == self.module.platform.lps;
        if self.module.sys_state != SysState::InitDone || !all {
            return Err(Status::SYS_STATE_INCORRECT);
        }
        // There is no module before this one that could have left something.
        Err(Status::SYS_INVALID_HANDOFF)
    }

    pub fn lp_initialized(&self) -> Result<(), Status> {
        if self.module.lps[self.lp].initialized {
            Ok(())
        } else {
            Err(Status::SYS_LP_INIT_NOT_DONE)
        }
    }

    pub fn sys_info(&mut self) -> Result<Done, Status> {
        let (info_pa, info_size) = (self.r[RCX], self.r[RDX]);
        let (cmr_pa, cmr_count) = (self.r[R8], self.r[R9]);
        self.r[RDX] = 0;
        self.r[R9] = 0;
        self.lp_initialized()?;
        self.check_shared(info_pa, TdSysInfo::ALIGN, Operand::RCX)?;
        if info_size < TdSysInfo::SIZE {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        let memory = self.mem();
        let info_at = self.host_memory(info_pa);
        if let Some(at) = info_at {
            memory.zero(at, TdSysInfo::SIZE);
        }
        self.check_shared(cmr_pa, MAX_CMRS as u64 * 16, Operand::R8)?;
        if cmr_count < MAX_CMRS as u64 {
            return Err(Status::OPERAND_INVALID.with(Operand::R9));
        }
        if let Some(at) = info_at {
            memory.write_bytes(at, self.describe().as_bytes());
        }
        if let Some(table) = self.host_memory(cmr_pa) {
            for (i, cmr) in self.module.platform.cmrs.iter().enumerate() {
                let at = table.get() + 16 * i as u64;
                memory.write_u64(Hpa::new(at), cmr.base);
                memory.write_u64(Hpa::new(at + 8), cmr.size);
            }
        }
        self.r[RDX] = TdSysInfo::SIZE;
        self.r[R9] = MAX_CMRS as u64;
        SUCCESS
    }

    fn describe(&self) -> TdSysInfo {
        let build = self.module.platform.build;
        let mut info = TdSysInfo::new_zeroed();
        info.vendor_id = 0x8086.into();
        info.build_date = build.date.into();
        info.build_num = build.number.into();
        info.minor_version = build.minor.into();
        info.major_version = build.major.into();
        info.sys_rd = 1;
        info.max_tdmrs = (tdx_abi::layout::MAX_TDMRS as u16).into();
        info.max_reserved_per_tdmr = (tdx_abi::layout::MAX_RESERVED_AREAS as u16).into();
        info.pamt_entry_size = (PAMT_ENTRY_SIZE as u16).into();
        info.tdcs_base_size = (4096 * td::MIN_TDCS_PAGES as u16).into();
        info.tdvps_base_size = (4096 * (td::MIN_TDVPS_CHILDREN as u16 + 1)).into();
        info.attributes_fixed0 = td::attributes::FIXED0.into();
        info.attributes_fixed1 = td::attributes::FIXED1.into();
        info.xfam_fixed0 = self.module.xfam_fixed0().into();
        info.xfam_fixed1 = td::xfam::FIXED1.into();
        info.num_cpuid_config = (cpuid::NUM_CONFIG as u32).into();
        for (config, &index) in info.cpuid_config.iter_mut().zip(&cpuid::CONFIG) {
            let leaf = &cpuid::LEAVES[index];
            let value = |k: usize| {
                let r = &leaf.registers[k];
                (r.config_direct | r.allow_direct & self.module.cpuid[index][k]).into()
            };
            *config = CpuidConfig {
                leaf: leaf.leaf.into(),
                subleaf: leaf.subleaf.into(),
                values: CpuidValues {
                    eax: value(0),
                    ebx: value(1),
                    ecx: value(2),
                    edx: value(3),
                },
            };
        }
        info
    }
}

impl crate::module::Module {
    /// The XFAM bits this platform has.
    pub(crate) fn xfam_fixed0(&self) -> u64 {
        td::xfam::FIXED0 & (self.xcr0_mask | self.xss_mask)
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}
