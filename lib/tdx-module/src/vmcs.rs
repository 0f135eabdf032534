//! The TD VMCS: its fields kept in the vCPU's VMCS page, in the order of the field table.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{field, td};

use crate::machine::{Field, VcpuState};
use crate::page::{CpuidFlag, Tdcs, Tdr, Tdvps};

const PAGE: u64 = 0x1000;

/// VMCS encodings the module uses by name.
pub(crate) mod code {
    #![allow(missing_docs)]
    pub const VPID: u32 = 0;
    pub const NOTIFICATION_VECTOR: u32 = 2;
    pub const INTERRUPT_STATUS: u32 = 0x810;
    pub const HKID: u32 = 0x4026;
    pub const PIN_BASED: u32 = 0x4000;
    pub const PROC_BASED: u32 = 0x4002;
    pub const EXCEPTION_BITMAP: u32 = 0x4004;
    pub const EXIT_CONTROLS: u32 = 0x400c;
    pub const ENTRY_CONTROLS: u32 = 0x4012;
    pub const ENTRY_EVENT: u32 = 0x4016;
    pub const ENTRY_ERROR_CODE: u32 = 0x4018;
    pub const PROC_BASED2: u32 = 0x401e;
    pub const NOTIFY_WINDOW: u32 = 0x4024;
    pub const EXIT_REASON: u32 = 0x4402;
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

/// Where a field is in the VMCS page, in units of 8 bytes; `None` for a field there is not.
fn slot(code: u32) -> Option<u64> {
    let mut slot = 0;
    for f in field::VP_VMCS {
        let first = f.id.field_code();
        let step = 1 + f.id.inc_size() as u32;
        let end = first + u32::from(f.fields) * step;
        if code >= first && code < end {
            let offset = code - first;
            return (offset % step == 0).then_some(slot + u64::from(offset / step));
        }
        slot += u64::from(f.fields);
    }
    None
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

/// What the platform's VMX capability MSRs contribute to the controls of a TD.
pub(crate) struct Capabilities {
    pub pin_based: u64,
    pub proc_based: u64,
    pub exit: u64,
    pub entry: u64,
    pub cr0_fixed0: u64,
    pub cr0_fixed1: u64,
    pub cr4_fixed0: u64,
    pub cr4_fixed1: u64,
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
    use td::{attributes as a, xfam as x};
    const ENCLV_EXITING: u32 = 0x2036;
    for &(field, value) in INITIAL {
        write(vp, field, value);
    }
    for &field in NOWHERE {
        if field != ENCLV_EXITING {
            write(vp, field, u64::MAX);
        }
    }
    let zero_page = tdr.tdcx(4);
    write(vp, code::VIRTUAL_APIC, vp.word(0x108 + 16));
    write(vp, code::MSR_BITMAP, tdr.tdcx(2));
    write(vp, code::VE_INFO, vp.word(0x108));
    for field in [code::PASID_LOW, code::PASID_HIGH, code::SHARED_EPTP] {
        write(vp, field, zero_page);
    }
    write(vp, code::HKID, u64::from(tdr.hkid()));
    write(vp, code::VPID, u64::from(tdr.hkid()));
    let (attributes, xfam) = (tdcs.attributes(), tdcs.xfam());
    let has = |bits| attributes & bits != 0;
    let mut exit = 0x1f3c_8204 | caps.exit;
    let mut entry = 0x003e_c004 | caps.entry;
    if has(a::PERFMON | a::DEBUG) {
        exit |= 1 << 12 | 1 << 30;
        entry |= 1 << 13;
    }
    if has(a::PKS | a::DEBUG) {
        entry |= 1 << 22;
    }
    let mut proc_based = 0x9122_0088 | caps.proc_based;
    if !tdcs.cpuid_flag(CpuidFlag::Monitor) {
        proc_based |= 1 << 10 | 1 << 29;
    }
    if !has(a::PERFMON) {
        proc_based |= 1 << 11;
    }
    let mut proc_based2 = PROC_BASED2;
    if tdcs.cpuid_flag(CpuidFlag::Waitpkg) {
        proc_based2 |= 1 << 26;
    }
    if tdcs.cpuid_flag(CpuidFlag::Mktme) {
        proc_based2 |= 1 << 27;
    }
    write(vp, code::EXIT_CONTROLS, exit);
    write(vp, code::ENTRY_CONTROLS, entry);
    write(vp, code::PIN_BASED, 0x29 | caps.pin_based);
    write(vp, code::PROC_BASED, proc_based);
    write(vp, code::PROC_BASED2, proc_based2);
    write(
        vp,
        code::PROC_BASED3,
        0x80 | u64::from(tdcs.gpaw_raw()) << 5,
    );
    write(vp, code::TSC_MULTIPLIER, tdcs.tsc_multiplier());
    write(vp, code::TSC_OFFSET, tdcs.tsc_offset());
    write(vp, code::EPTP, tdcs.eptp());
    write(vp, code::CR0_MASK, cr0_mask(caps));
    write(vp, code::CR0_SHADOW, caps.cr0_fixed0 | 0x21);
    let mut cr4_mask = caps.cr4_fixed0 | !caps.cr4_fixed1 | 1 << 6 | 7 << 13 | !0 << 26 | 1 << 19;
    for (bit, off) in [
        (22, xfam & x::PKRU == 0),
        (23, xfam & x::CET != x::CET),
        (25, xfam & x::UINTR == 0),
        (24, !has(a::PKS)),
    ] {
        cr4_mask |= u64::from(off) << bit;
    }
    write(vp, code::CR4_MASK, cr4_mask);
    write(vp, code::CR4_SHADOW, caps.cr4_fixed0 & !(1 << 13) | 1 << 6);
}

/// Secondary controls of every TD.
pub(crate) const PROC_BASED2: u64 = 0x133c_b3fa;

fn cr0_mask(caps: &Capabilities) -> u64 {
    (caps.cr0_fixed0 | !caps.cr0_fixed1) & !(1 << 31)
        | 1 << 0
        | 1 << 5
        | 3 << 29
        | !0 << 32
        | 0x3ff << 19
        | 1 << 17
        | 0x3ff << 6
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

/// The reverse of [`load`].
pub(crate) fn save<M: PhysMemory + Copy>(vp: Tdvps<M>, vcpu: &impl VcpuState) {
    for &field in Field::VMCS {
        write(vp, field as u32, vcpu.get(field));
    }
    for &(field, offset) in Field::TDVPS {
        vp.set_word(offset, vcpu.get(field));
    }
}
