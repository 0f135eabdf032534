//! CPUID of a TD.

use memory::PhysMemory;
use tdx_abi::cpuid;

use super::{Guest, exit::Emulated};
use crate::machine::{Field, Machine, VcpuState, reg::*};

const CPUID_CONTROL: u64 = 0x900;
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    pub(super) fn cpuid(&mut self) -> Emulated {
        let mut leaf = self.gpr(RAX) as u32;
        let subleaf = self.gpr(RCX) as u32;
        let software = (0x4000_0000..=0x4fff_ffff).contains(&leaf);
        let beyond =
            leaf > cpuid::LAST_EXTENDED_LEAF || leaf > cpuid::LAST_BASE_LEAF && leaf < 0x8000_0000;
        if !software && beyond {
            leaf = cpuid::LAST_BASE_LEAF;
        }
        let Some(index) = cpuid::index_of(leaf, subleaf) else {
            return Emulated::Ve;
        };
        let control = self.mem().read_u8(self.vp.at(CPUID_CONTROL + index as u64));
        let asked = if self.cpl() == 0 {
            self.vp.cpuid_supervisor_ve() != 0 || control & 1 != 0
        } else {
            self.vp.cpuid_user_ve() != 0 || control & 2 != 0
        };
        if cpuid::LEAVES[index].faulting || asked {
            return Emulated::Ve;
        }
        let mut v = self.tdcs.cpuid_value(index);
        let cr4 = self.vcpu.get(Field::Cr4);
        match (leaf, subleaf) {
            (1, _) => {
                v[1] = v[1] & 0xff_ffff | self.vp.index() << 24;
                v[2] = v[2] & !(1 << 27) | u32::from(cr4 & CR4_OSXSAVE != 0) << 27;
            }
            (7, 0) => v[2] = v[2] & !(1 << 4) | u32::from(cr4 & CR4_PKE != 0) << 4,
            (0xd, 0) => {
                let xcr0 = self.vcpu.get(Field::Xcr0);
                v[1] = self.machine.xsave_size(self.lp, xcr0);
            }
            (0xd, 1) => {
                let both = self.vcpu.get(Field::Xcr0) | self.vcpu.get(Field::Xss);
                v[1] = self.machine.xsave_size(self.lp, both);
            }
            (0x8000_0001, _) => {
                v[3] = v[3] & !(1 << 11) | u32::from(self.is_64_bit()) << 11;
            }
            _ => {}
        }
        for (register, value) in [RAX, RBX, RCX, RDX].into_iter().zip(v) {
            self.vcpu.set_gpr(register, u64::from(value));
        }
        Emulated::Done
    }
}
