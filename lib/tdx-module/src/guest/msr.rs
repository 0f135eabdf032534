//! RDMSR and WRMSR of a TD.

use memory::PhysMemory;
use tdx_abi::msr::{self, Action};

use super::{Guest, exit::Emulated};
use crate::caps::VIRTUAL_MSRS;
use crate::machine::{Field, Machine, VcpuState, reg::*};
use crate::page::CpuidFlag;

const IA32_XAPIC_DISABLE_STATUS: u32 = 0xbd;
const IA32_ARCH_CAPABILITIES: u32 = 0x10a;
const IA32_MISC_ENABLE: u32 = 0x1a0;
const IA32_VMX_EXIT_CTLS2: u32 = 0x493;
const IA32_DEBUGCTL: u32 = 0x1d9;
const IA32_PERF_CAPABILITIES: u32 = 0x345;
const IA32_XSS: u32 = 0xda0;
const IA32_EFER: u32 = 0xc000_0080;
const UNCORE_PMI: u64 = 1 << 13;

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    pub(super) fn rdmsr(&mut self) -> Emulated {
        let index = self.gpr(RCX) as u32;
        let value = match index {
            IA32_DEBUGCTL => self.vcpu.get(Field::DebugCtl) & !UNCORE_PMI,
            IA32_MISC_ENABLE => {
                // No performance monitoring, no PEBS.
                self.machine.rdmsr(self.lp, index) & !(1 << 7) | 1 << 12
            }
            IA32_PERF_CAPABILITIES => {
                let perfmon = tdx_abi::td::attributes::PERFMON;
                if self.tdcs.attributes() & perfmon != 0 {
                    self.machine.rdmsr(self.lp, index) & !(1 << 16)
                } else {
                    0
                }
            }
            IA32_ARCH_CAPABILITIES => self.tdcs.arch_capabilities(),
            IA32_XAPIC_DISABLE_STATUS => 1,
            _ => match VIRTUAL_MSRS.iter().find(|&&(msr, _)| msr == index) {
                Some(&(_, offset)) if index != IA32_VMX_EXIT_CTLS2 => {
                    self.tdcs.memory().read_u64(self.tdcs.at(offset))
                }
                _ => return self.msr_action(index, false),
            },
        };
        self.vcpu.set_gpr(RAX, value & 0xffff_ffff);
        self.vcpu.set_gpr(RDX, value >> 32);
        Emulated::Done
    }

    pub(super) fn wrmsr(&mut self) -> Emulated {
        let index = self.gpr(RCX) as u32;
        let value = self.gpr(RDX) << 32 | self.gpr(RAX) & 0xffff_ffff;
        match index {
            IA32_XSS => {
                if value & !(self.module.xss_mask & self.vp.xfam()) != 0 {
                    return Emulated::Gp;
                }
                self.vcpu.set(Field::Xss, value);
                Emulated::Done
            }
            IA32_DEBUGCTL => {
                const DEFINED: u64 = 0xffc7;
                const BTF: u64 = 1 << 1;
                const TRAP_FLAG: u64 = 1 << 8;
                const SINGLE_STEP: u64 = 1 << 14;
                const TR: u64 = 1 << 6;
                const BTS: u64 = 1 << 7;
                if value & !DEFINED != 0 {
                    return Emulated::Gp;
                }
                if value & TR != 0 && value & BTS == 0 {
                    return Emulated::Ve;
                }
                let old = self.vcpu.get(Field::DebugCtl);
                let new = value & !UNCORE_PMI | old & UNCORE_PMI;
                self.vcpu.set(Field::DebugCtl, new);
                if self.vcpu.get(Field::Rflags) & TRAP_FLAG != 0 && (old ^ new) & BTF != 0 {
                    let pending = self.vcpu.get(Field::PendingDebug) & !SINGLE_STEP;
                    let step = if old & BTF != 0 { SINGLE_STEP } else { 0 };
                    self.vcpu.set(Field::PendingDebug, pending | step);
                }
                Emulated::Done
            }
            IA32_EFER => {
                const SCE: u64 = 1 << 0;
                const LMA: u64 = 1 << 10;
                let old = self.vcpu.get(Field::Efer);
                if (old ^ value) & !(SCE | LMA) != 0 {
                    return Emulated::Ve;
                }
                self.vcpu.set(Field::Efer, value & !LMA | old & LMA);
                Emulated::Done
            }
            _ => self.msr_action(index, true),
        }
    }

    /// What the table says of an MSR that is not emulated.
    fn msr_action(&self, index: u32, write: bool) -> Emulated {
        let Some(rule) = msr::rule_of(index) else {
            return Emulated::Ve;
        };
        let (_, action) = if write { rule.write } else { rule.read };
        match action {
            Action::Gp => Emulated::Gp,
            Action::GpOrVe => {
                let flag = match index {
                    0x1f8..=0x1fa => CpuidFlag::Dca,
                    0x981..=0x984 => CpuidFlag::Tme,
                    0x87 => CpuidFlag::Mktme,
                    _ => CpuidFlag::TscDeadline,
                };
                if self.tdcs.cpuid_flag(flag) {
                    Emulated::Ve
                } else {
                    Emulated::Gp
                }
            }
            Action::Ve | Action::Emulate | Action::Unreachable => Emulated::Ve,
        }
    }
}
