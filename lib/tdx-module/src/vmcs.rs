//! The TD VMCS: its fields kept in the vCPU's VMCS page, in the order of the field table.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{FieldId, field};

use crate::caps::{self, Capabilities};
use crate::machine::{Field, VcpuState};
use crate::page::{CpuidFlag, Tdcs, Tdr, Tdvps};

const PAGE: u64 = 0x1000;
/// IA32_SPEC_CTRL.DDPD_U.
const DDPD_U: u64 = 1 << 8;

/// VMCS encodings the module uses by name.
pub(crate) mod code {
    #![allow(missing_docs)]
    pub const VPID: u32 = 0;
    pub const NOTIFICATION_VECTOR: u32 = 2;
    pub const HKID: u32 = 0x4026;
    pub const PIN_BASED: u32 = 0x4000;
    pub const PROC_BASED: u32 = 0x4002;
    pub const EXCEPTION_BITMAP: u32 = 0x4004;
    pub const EXIT_CONTROLS: u32 = 0x400c;
    pub const ENTRY_CONTROLS: u32 = 0x4012;
    pub const PROC_BASED2: u32 = 0x401e;
    pub const ENTRY_INTERRUPTION: u32 = 0x4016;
    pub const ENTRY_ERROR_CODE: u32 = 0x4018;
    pub const FAULT_CODE_MASK: u32 = 0x4006;
    pub const FAULT_CODE_MATCH: u32 = 0x4008;
    pub const EXIT_REASON: u32 = 0x4402;
    pub const EXIT_INTERRUPTION: u32 = 0x4404;
    pub const EXIT_ERROR_CODE: u32 = 0x4406;
    pub const INSTRUCTION_LENGTH: u32 = 0x440c;
    pub const INSTRUCTION_INFO: u32 = 0x440e;
    pub const GUEST_LINEAR: u32 = 0x640a;
    pub const EXIT_QUALIFICATION: u32 = 0x6400;
    pub const GUEST_PHYSICAL: u32 = 0x2400;
    pub const VIRTUAL_APIC: u32 = 0x2012;
    pub const MSR_BITMAP: u32 = 0x2004;
    pub const TSC_OFFSET: u32 = 0x2010;
    pub const POSTED_INTERRUPT_DESCRIPTOR: u32 = 0x2016;
    pub const EPTP: u32 = 0x201a;
    pub const VE_INFO: u32 = 0x202a;
    pub const TSC_MULTIPLIER: u32 = 0x2032;
    pub const PROC_BASED3: u32 = 0x2034;
    pub const PASID_LOW: u32 = 0x2038;
    pub const PASID_HIGH: u32 = 0x203a;
    pub const SHARED_EPTP: u32 = 0x203c;
    pub const PML_ADDRESS: u32 = 0x200e;
    pub const SPEC_CTRL_MASK: u32 = 0x204a;
    pub const PERF_GLOBAL_CTRL: u32 = 0x2808;
    pub const CR0_MASK: u32 = 0x6000;
    pub const CR4_MASK: u32 = 0x6002;
    pub const CR0_SHADOW: u32 = 0x6004;
    pub const CR4_SHADOW: u32 = 0x6006;
}

/// Encodings have a width and a type (a group of 16) and an index; bit 0 asks for a high half.
const GROUPS: usize = 16;
const PER_GROUP: usize = 64;
/// "There is no such field".
const NONE: u16 = u16::MAX;

const fn group_and_index(code: u32) -> Option<(usize, usize)> {
    let group = (code >> 13 & 3) << 2 | code >> 10 & 3;
    let index = (code >> 1 & 0x1ff) as usize;
    if code >> 15 != 0 || code & 0x1000 != 0 || code & 1 != 0 || index >= PER_GROUP {
        return None;
    }
    Some((group as usize, index))
}

/// The slot of every encoding, in the order of the field table.
static SLOTS: [[u16; PER_GROUP]; GROUPS] = {
    let mut slots = [[NONE; PER_GROUP]; GROUPS];
    let (mut next, mut i) = (0, 0);
    while i < field::VP_VMCS.len() {
        let f = &field::VP_VMCS[i];
        let step = 1 + f.id.inc_size() as u32;
        let mut k = 0;
        while k < f.fields {
            let code = f.id.field_code() + k as u32 * step;
            if let Some((group, index)) = group_and_index(code) {
                slots[group][index] = next;
            }
            next += 1;
            k += 1;
        }
        i += 1;
    }
    slots
};

/// Where a field is in the VMCS page, in units of 8 bytes; `None` for a field there is not.
fn slot(code: u32) -> Option<u64> {
    let (group, index) = group_and_index(code)?;
    let slot = SLOTS[group][index];
    (slot != NONE).then_some(u64::from(slot))
}

fn at<M: PhysMemory + Copy>(vp: Tdvps<M>, code: u32) -> Option<Hpa> {
    slot(code).map(|slot| vp.at(PAGE + 8 * slot))
}

/// VMREAD; `None` for a field there is not.
pub(crate) fn try_read<M: PhysMemory + Copy>(vp: Tdvps<M>, code: u32) -> Option<u64> {
    at(vp, code).map(|at| vp.memory().read_u64(at))
}

/// VMREAD; 0 for a field there is not.
pub(crate) fn read<M: PhysMemory + Copy>(vp: Tdvps<M>, code: u32) -> u64 {
    try_read(vp, code).unwrap_or(0)
}

/// VMWRITE; dropped for a field there is not.
pub(crate) fn write<M: PhysMemory + Copy>(vp: Tdvps<M>, code: u32, value: u64) {
    if let Some(at) = at(vp, code) {
        vp.memory().write_u64(at, value);
    }
}

/// Guest state after TDH.VP.INIT (see `td_init_regs` of the ABI).
const INITIAL: &[(u32, u64)] = &[
    (Field::Dr7 as u32, 0x400),
    (Field::Rip as u32, 0xffff_fff0),
    (Field::Rflags as u32, 2),
    (Field::CsLimit as u32, 0xffff_ffff),
    (Field::CsRights as u32, 0xc09b),
    (Field::DsLimit as u32, 0xffff_ffff),
    (Field::DsRights as u32, 0xc093),
    (Field::EsLimit as u32, 0xffff_ffff),
    (Field::EsRights as u32, 0xc093),
    (Field::FsLimit as u32, 0xffff_ffff),
    (Field::FsRights as u32, 0xc093),
    (Field::GsLimit as u32, 0xffff_ffff),
    (Field::GsRights as u32, 0xc093),
    (Field::SsLimit as u32, 0xffff_ffff),
    (Field::SsRights as u32, 0xc093),
    (Field::LdtrLimit as u32, 0xffff),
    (Field::LdtrRights as u32, 0x1_0082),
    (Field::TrLimit as u32, 0xffff),
    (Field::TrRights as u32, 0x8b),
    (Field::GdtrLimit as u32, 0xffff),
    (Field::IdtrLimit as u32, 0),
    (code::PERF_GLOBAL_CTRL, 0xff),
    (Field::Pat as u32, 0x0007_0406_0007_0406),
    (Field::Efer as u32, 0x901),
    (Field::Cr0 as u32, 0x21),
    (Field::Cr4 as u32, 0x2040),
    (code::EXCEPTION_BITMAP, 1 << 18),
    (code::NOTIFICATION_VECTOR, 0xffff),
];

/// Addresses that are not used and so point nowhere.
const NOWHERE: &[u32] = &[
    0x2014, 0x2016, 0x2000, 0x2002, 0x2024, 0x2026, 0x2028, 0x202e, 0x2036, 0x203e, 0x200e, 0x200c,
    0x2006, 0x2008, 0x200a, 0x2800, 0x280a, 0x280c, 0x280e, 0x2810,
];

/// Fills the VMCS of a new vCPU.
pub(crate) fn init<M: PhysMemory + Copy>(
    tdr: Tdr<M>,
    tdcs: Tdcs<M>,
    vp: Tdvps<M>,
    caps: &Capabilities,
) {
    for &(field, value) in INITIAL {
        write(vp, field, value);
    }
    for &field in NOWHERE {
        write(vp, field, u64::MAX);
    }
    let zero_page = tdr.tdcx(4);
    write(vp, code::VIRTUAL_APIC, vp.word(0x108 + 16));
    write(vp, code::MSR_BITMAP, tdr.tdcx(2));
    write(vp, code::VE_INFO, vp.word(0x108));
    for field in [code::PASID_LOW, code::PASID_HIGH, code::SHARED_EPTP] {
        write(vp, field, zero_page);
    }
    write(vp, code::HKID, u64::from(tdr.hkid()));
    write(vp, code::VPID, u64::from(tdr.hkid()) << 2);
    write(vp, code::EXIT_CONTROLS, caps.exit(tdcs));
    write(vp, code::ENTRY_CONTROLS, caps.entry(tdcs));
    write(vp, code::PIN_BASED, caps.pin_based());
    write(vp, code::PROC_BASED, caps.proc_based(tdcs));
    write(vp, code::PROC_BASED2, caps::proc_based2(tdcs));
    let proc_based3 = 0x80 | u64::from(tdcs.gpaw_raw()) << 5;
    write(vp, code::PROC_BASED3, proc_based3);
    write(vp, code::TSC_MULTIPLIER, tdcs.tsc_multiplier());
    write(vp, code::TSC_OFFSET, tdcs.tsc_offset());
    write(vp, code::EPTP, tdcs.eptp());
    write(vp, code::CR0_MASK, caps.cr0_mask());
    write(vp, code::CR0_SHADOW, caps.cr0_fixed0 | 0x21);
    write(vp, code::CR4_MASK, caps.cr4_mask(tdcs));
    let shadow = caps.cr4_fixed0 & !(1 << 13) | 1 << 6;
    write(vp, code::CR4_SHADOW, shadow);
    if !tdcs.cpuid_flag(CpuidFlag::Ddpd) {
        write(vp, code::SPEC_CTRL_MASK, DDPD_U);
    }
}

/// Copies the saved state into a virtual CPU, but for its general-purpose registers.
pub(crate) fn load<M: PhysMemory + Copy>(memory: M, tdvpr: u64, vcpu: &mut impl VcpuState) {
    let vp = Tdvps::new(memory, tdvpr);
    for &field in Field::VMCS {
        vcpu.set(field, read(vp, field as u32));
    }
    for &(field, offset) in Field::TDVPS {
        vcpu.set(field, vp.word(offset));
    }
}

/// Whether a vCPU's metadata field is state of the virtual CPU, which [`load`] sets: after
/// TDH.VP.WR of such a field (a debug TD's) the virtual CPU has to be loaded again.
pub fn is_guest_state(field: FieldId) -> bool {
    // Classes of TDVPS: extended state, MSRs, general-purpose and control registers.
    const GUEST_STATE: core::ops::Range<u32> = 0x10..0x20;
    match field.class_code() {
        0 => Field::VMCS.iter().any(|&f| f as u32 == field.field_code()),
        class => GUEST_STATE.contains(&class),
    }
}

/// The reverse of [`load`].
pub(crate) fn save<M: PhysMemory + Copy>(vp: Tdvps<M>, vcpu: &impl VcpuState) {
    for &field in Field::VMCS {
        write(vp, field as u32, vcpu.get(field));
    }
    for &(field, offset) in Field::TDVPS {
        vp.set_word(offset, vcpu.get(field));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a walk through the table finds it.
    fn searched(code: u32) -> Option<u64> {
        let mut slot = 0;
        for f in field::VP_VMCS {
            let first = f.id.field_code();
            let step = 1 + f.id.inc_size() as u32;
            if (first..first + u32::from(f.fields) * step).contains(&code) {
                let offset = code - first;
                let found = slot + u64::from(offset / step);
                return offset.is_multiple_of(step).then_some(found);
            }
            slot += u64::from(f.fields);
        }
        None
    }

    #[test]
    fn every_encoding_has_the_slot_of_the_table() {
        let fields = (0..0x1_0000).filter(|&code| {
            assert_eq!(slot(code), searched(code), "{code:#x}");
            slot(code).is_some()
        });
        assert!(fields.count() > 100);
    }
}
