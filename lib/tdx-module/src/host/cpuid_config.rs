//! The virtual CPUID and MSRs of a TD, made from TD_PARAMS and the tables.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    Operand, Status, cpuid,
    layout::{CpuidValues, TdParams},
    msr, td,
};

use crate::call::Call;
use crate::machine::{Machine, reg::*};
use crate::msr::is_native;
use crate::page::{CpuidFlag, Tdcs, tdcs_offset};

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

const IA32_ARCH_CAPABILITIES: u32 = 0x10a;

fn array(values: &CpuidValues) -> [u32; 4] {
    [
        values.eax.get(),
        values.ebx.get(),
        values.ecx.get(),
        values.edx.get(),
    ]
}

impl<M: Machine> Call<'_, M> {
    pub fn configure_cpuid(
        &mut self,
        tdcs: Tdcs<M::Memory>,
        params: &TdParams,
    ) -> Result<(), Status> {
        use CpuidFlag as F;
        let invalid = Status::OPERAND_INVALID.with(Operand::CPUID_CONFIG);
        let (attributes, xfam) = (tdcs.attributes(), tdcs.xfam());
        for (index, leaf) in cpuid::LEAVES.iter().enumerate() {
            let name = u64::from(leaf.subleaf) << 32 | u64::from(leaf.leaf);
            let mut v = self.module.cpuid[index];
            if let Some(config) = leaf.config {
                let config = array(&params.cpuid[usize::from(config)]);
                for (k, r) in leaf.registers.iter().enumerate() {
                    if config[k] & !(r.config_direct | r.allow_direct) != 0 {
                        self.r[RCX] = name;
                        return Err(invalid);
                    }
                    v[k] = v[k] & !r.config_direct | config[k] & r.config_direct;
                    v[k] &= config[k] | !r.allow_direct;
                }
            }
            match (leaf.leaf, leaf.subleaf) {
                (1, _) => {
                    let native = self.module.platform_fms;
                    if v[EAX] == 0 {
                        v[EAX] = native;
                    }
                    // A migratable TD may show an older stepping of the same model.
                    let older = attributes & td::attributes::MIGRATABLE != 0
                        && v[EAX] & !0xf == native & !0xf
                        && v[EAX] & 0xf <= native & 0xf;
                    if v[EAX] != native && !older {
                        self.r[RCX] = name;
                        return Err(invalid);
                    }
                    apply_xfam(index, xfam, &mut v);
                    tdcs.set_cpuid_flag(F::Monitor, v[ECX] >> 3 & 1 != 0);
                    tdcs.set_cpuid_flag(F::Dca, v[ECX] >> 18 & 1 != 0);
                    tdcs.set_cpuid_flag(F::TscDeadline, v[ECX] >> 24 & 1 != 0);
                }
                (5, _) if !tdcs.cpuid_flag(F::Monitor) => v = [0; 4],
                (7, 0) => {
                    apply_xfam(index, xfam, &mut v);
                    let (hle, rtm) = (v[EBX] >> 4 & 1, v[EBX] >> 11 & 1);
                    if hle != rtm {
                        return Err(invalid);
                    }
                    let arch = self.machine.rdmsr(self.lp, IA32_ARCH_CAPABILITIES);
                    if hle != 0 && arch >> 7 & 1 == 0 {
                        let wrong = Status::INCORRECT_MSR_VALUE;
                        return Err(wrong.with_details(IA32_ARCH_CAPABILITIES));
                    }
                    tdcs.set_cpuid_flag(F::Tsx, hle != 0);
                    let pks = (attributes & td::attributes::PKS != 0) as u32;
                    v[ECX] = v[ECX] & !(1 << 31 | 1 << 23) | pks << 31;
                    tdcs.set_cpuid_flag(F::Waitpkg, v[ECX] >> 5 & 1 != 0);
                    tdcs.set_cpuid_flag(F::Tme, v[ECX] >> 13 & 1 != 0);
                    tdcs.set_cpuid_flag(F::La57, v[ECX] >> 16 & 1 != 0);
                    tdcs.set_cpuid_flag(F::Mktme, v[EDX] >> 18 & 1 != 0);
                }
                (7, 2) => tdcs.set_cpuid_flag(F::Ddpd, v[EDX] >> 3 & 1 != 0),
                (0xa, _) if attributes & td::attributes::PERFMON == 0 => v = [0; 4],
                (0xd, 0) => {
                    apply_xfam(index, xfam, &mut v);
                    let xcr0 = xfam & td::xfam::XCR0_MASK;
                    v[ECX] = self.machine.xsave_size(self.lp, xcr0);
                }
                (0xd, 1) => {
                    apply_xfam(index, xfam, &mut v);
                    if self.xfd_faulting() & xfam == 0 {
                        v[EAX] &= !(1 << 4);
                    }
                    tdcs.set_cpuid_flag(F::Xfd, v[EAX] >> 4 & 1 != 0);
                }
                (0xd, bit @ 2..=18) if xfam >> bit & 1 == 0 => v = [0; 4],
                (0x14, _) if xfam & td::xfam::PT == 0 => v = [0; 4],
                (0x15, _) => v[EBX] = u32::from(params.tsc_frequency.get()),
                (0x19, _) => v = [0; 4],
                (0x1c, _) if xfam & td::xfam::LBR == 0 => v = [0; 4],
                (0x1d, _) if xfam & td::xfam::AMX != td::xfam::AMX => v = [0; 4],
                (0x8000_0008, _) => {
                    let bits = if tdcs.cpuid_flag(F::La57) { 57 } else { 48 };
                    v[EAX] = v[EAX] & !0xff00 | bits << 8;
                }
                _ => apply_xfam(index, xfam, &mut v),
            }
            tdcs.set_cpuid_value(index, v);
            let at = tdcs.at(tdcs_offset::CPUID_VALID + index as u64);
            self.mem().write_u8(at, u8::from(!leaf.faulting));
        }
        if params.reserved_3 != [0; 576] {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        Ok(())
    }

    /// The components whose first use XFD can make fault.
    fn xfd_faulting(&self) -> u64 {
        let supported =
            cpuid::index_of(0xd, 1).is_some_and(|i| self.module.cpuid[i][EAX] >> 4 & 1 != 0);
        (2..=18)
            .filter(|&bit| {
                supported
                    && cpuid::index_of(0xd, bit)
                        .is_some_and(|i| self.module.cpuid[i][ECX] >> 2 & 1 != 0)
            })
            .fold(0, |mask, bit| mask | 1 << bit)
    }

    /// IA32_ARCH_CAPABILITIES as the TD sees it, `None` where TD_PARAMS asks for what cannot be.
    pub fn arch_capabilities(&self, tdcs: Tdcs<M::Memory>, params: &TdParams) -> Option<u64> {
        /// SSB_NO, BHI_NO, PBRSB_NO: as the CPU, where configured.
        const ALLOWED: u64 = 1 << 4 | 1 << 20 | 1 << 24;
        const RRSBA: u64 = 1 << 19;
        const TSX_CTRL: u64 = 1 << 7;
        /// What a TD has of the rest: the mitigations that the CPU has built in.
        const NATIVE: u64 = 0xf16f;
        let config = params.arch_capabilities.get();
        let configured = params.msr_config_ctls & 1 != 0;
        if !configured && config != 0 || config & !td::ARCH_CAPABILITIES_CONFIG != 0 {
            return None;
        }
        let native = self.machine.rdmsr(self.lp, IA32_ARCH_CAPABILITIES);
        let mut value = native & (NATIVE | TSX_CTRL | config & ALLOWED | RRSBA);
        value |= config & RRSBA;
        if !tdcs.cpuid_flag(CpuidFlag::Tsx) {
            value &= !TSX_CTRL;
        }
        Some(value)
    }

    /// Clears the bits of MSRs that do not exit.
    pub fn set_msr_bitmaps(&self, tdcs: Tdcs<M::Memory>) {
        const WRITE: u64 = 2048;
        let clear = |msr: u32, write: bool| {
            let high = if msr >> 13 != 0 { 1024 } else { 0 };
            let byte = high + u64::from(msr & 0x1fff) / 8 + if write { WRITE } else { 0 };
            let at: Hpa = tdcs.at(tdcs_offset::MSR_BITMAPS + byte);
            let bits = self.mem().read_u8(at);
            self.mem().write_u8(at, bits & !(1 << (msr & 7)));
        };
        for rule in msr::MSRS {
            for msr in rule.first..=rule.last {
                if is_native(tdcs, rule.read.0, msr) {
                    clear(msr, false);
                }
                if is_native(tdcs, rule.write.0, msr) {
                    clear(msr, true);
                }
            }
        }
    }
}

/// Takes out what XFAM switches off.
fn apply_xfam(entry: usize, xfam: u64, values: &mut [u32; 4]) {
    for mask in cpuid::XFAM_MASKS.iter().filter(|m| m.entry == entry) {
        if xfam >> mask.bit & 1 == 0 {
            values[mask.register] &= !mask.mask;
        }
    }
}
