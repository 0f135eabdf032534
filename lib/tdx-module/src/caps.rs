//! The controls a TD runs with: fixed ones, what its attributes switch, and what the CPU requires.
//! The virtual VMX capability MSRs tell a TD what its own L2 VMs could change of them.

use memory::PhysMemory;
use tdx_abi::td::{attributes as a, xfam as x};

use crate::machine::Machine;
use crate::page::{CpuidFlag, Tdcs};

/// IA32_VMX_BASIC: "true" controls, exit information on string I/O, events without error code.
const BASIC: u64 = 7 << 54;
/// IA32_VMX_MISC.
const MISC: u64 = 0x6004_40e0;
/// IA32_VMX_EPT_VPID_CAP: execute-only, 2 MiB and 1 GiB pages, advanced exit information.
const EPT_VPID: u64 = 1 << 0 | 3 << 16 | 1 << 22;
const EPT_VPID_SSS: u64 = 1 << 23;
const EPT_VPID_HLAT: u64 = 0x3f << 48;

/// Where the virtual MSRs are in TDCS, and which they are.
pub(crate) const VIRTUAL_MSRS: [(u32, u64); 15] = [
    (0x480, 0x700),
    (0x485, 0x708),
    (0x486, 0x710),
    (0x487, 0x718),
    (0x488, 0x720),
    (0x489, 0x728),
    (0x48b, 0x730),
    (0x48c, 0x738),
    (0x48d, 0x740),
    (0x48e, 0x748),
    (0x48f, 0x750),
    (0x490, 0x758),
    (0x491, 0x760),
    (0x492, 0x768),
    (0x493, 0x770),
];

/// CR4 bits that XFAM or ATTRIBUTES switch: UINTR, PKS, CET, PKE. KL is always off.
fn cr4_off(attributes: u64, xfam: u64) -> u64 {
    [
        (22, xfam & x::PKRU == 0),
        (23, xfam & x::CET != x::CET),
        (25, xfam & x::UINTR == 0),
        (24, attributes & a::PKS == 0),
    ]
    .into_iter()
    .fold(1 << 19, |mask, (bit, off)| mask | u64::from(off) << bit)
}

/// What the platform's VMX capability MSRs contribute to the controls of a TD.
pub(crate) struct Capabilities {
    pin_based: u64,
    proc_based: u64,
    exit: u64,
    entry: u64,
    hlat: u64,
    pub cr0_fixed0: u64,
    cr0_fixed1: u64,
    pub cr4_fixed0: u64,
    cr4_fixed1: u64,
}

impl Capabilities {
    /// Reads them.
    pub fn of(machine: &impl Machine, lp: usize) -> Self {
        let msr = |index| machine.rdmsr(lp, index);
        // The low half names the bits that must be 1; of those only what the module does not
        // decide itself counts.
        let required = |index, unknown: u64| msr(index) & 0xffff_ffff & unknown;
        Self {
            pin_based: required(0x48d, 0xffff_ff16),
            proc_based: required(0x48e, 0x0404_6173),
            exit: required(0x48f, 0x0003_6dfb),
            entry: required(0x490, 0xff80_11fb),
            hlat: msr(0x48c) & EPT_VPID_HLAT,
            cr0_fixed0: msr(0x486),
            cr0_fixed1: msr(0x487),
            cr4_fixed0: msr(0x488),
            cr4_fixed1: msr(0x489),
        }
    }

    pub fn pin_based(&self) -> u64 {
        0x29 | self.pin_based
    }

    pub fn proc_based<M: PhysMemory + Copy>(&self, tdcs: Tdcs<M>) -> u64 {
        let mut value = 0x9122_0088 | self.proc_based;
        if !tdcs.cpuid_flag(CpuidFlag::Monitor) {
            value |= 1 << 10 | 1 << 29;
        }
        if tdcs.attributes() & a::PERFMON == 0 {
            value |= 1 << 11;
        }
        value
    }

    pub fn exit<M: PhysMemory + Copy>(&self, tdcs: Tdcs<M>) -> u64 {
        let mut value = 0x1f3c_8204 | self.exit;
        if tdcs.attributes() & (a::PERFMON | a::DEBUG) != 0 {
            value |= 1 << 12 | 1 << 30;
        }
        value
    }

    pub fn entry<M: PhysMemory + Copy>(&self, tdcs: Tdcs<M>) -> u64 {
        let mut value = 0x003e_c004 | self.entry;
        if tdcs.attributes() & (a::PERFMON | a::DEBUG) != 0 {
            value |= 1 << 13;
        }
        if tdcs.attributes() & (a::PKS | a::DEBUG) != 0 {
            value |= 1 << 22;
        }
        value
    }

    /// CR0 bits that a TD cannot change; it may change bit 0 only where it starts with it set.
    pub fn cr0_mask(&self) -> u64 {
        self.l2_cr0_mask() | 1
    }

    /// CR0 bits that an L2 VM cannot change.
    pub fn l2_cr0_mask(&self) -> u64 {
        (self.cr0_fixed0 | !self.cr0_fixed1) & !(1 << 31 | 1)
            | 1 << 5
            | 3 << 29
            | !0 << 32
            | 0x3ff << 19
            | 1 << 17
            | 0x3ff << 6
    }

    /// CR4 bits that a TD cannot change.
    pub fn cr4_mask<M: PhysMemory + Copy>(&self, tdcs: Tdcs<M>) -> u64 {
        let fixed = self.cr4_fixed0 | !self.cr4_fixed1 | 1 << 6 | 7 << 13 | !0 << 26;
        fixed | cr4_off(tdcs.attributes(), tdcs.xfam())
    }

    /// CR4 bits that an L2 VM could change.
    pub fn l2_cr4_variable<M: PhysMemory + Copy>(&self, tdcs: Tdcs<M>) -> u64 {
        let off = cr4_off(tdcs.attributes(), tdcs.xfam());
        0x03ff_1fbf & !self.cr4_fixed0 & self.cr4_fixed1 & !off
    }

    /// Sets the virtual VMX capability MSRs.
    pub fn set_virtual_msrs<M: PhysMemory + Copy>(&self, tdcs: Tdcs<M>) {
        let controls = |init: u64, variable: u64| init & !variable | (init | variable) << 32;
        let perfmon = tdcs.attributes() & a::PERFMON != 0;
        let mut proc_variable = 0x48d9_9a04;
        if !perfmon {
            proc_variable &= !(1 << 11);
        }
        let features = features(tdcs);
        let proc2_variable = 0x0c51_3e0c & !(3 << 26) | features;
        let sss = if tdcs.xfam() >> 12 & 1 != 0 {
            EPT_VPID_SSS
        } else {
            0
        };
        let cr4_variable = self.l2_cr4_variable(tdcs);
        let cr4 = 1 << 6 | 1 << 13;
        let values = [
            BASIC,
            MISC,
            0x20,
            0x8005_003f,
            cr4 & !cr4_variable,
            cr4 | cr4_variable,
            controls(L2_PROC_BASED2 | features, proc2_variable),
            EPT_VPID | sss | self.hlat,
            controls(self.pin_based(), 0),
            controls(self.proc_based(tdcs), proc_variable),
            controls(self.exit(tdcs), 0),
            controls(self.entry(tdcs), 0x200),
            0,
            0x8e,
            0,
        ];
        for (value, (_, offset)) in values.into_iter().zip(VIRTUAL_MSRS) {
            tdcs.memory().write_u64(tdcs.at(offset), value);
        }
    }
}

/// Secondary controls of every TD, and of every L2 VM (no #VE).
pub(crate) const PROC_BASED2: u64 = 0x133c_b3fa;
const L2_PROC_BASED2: u64 = PROC_BASED2 & !(1 << 18);

/// Secondary controls that the virtual CPUID switches: TPAUSE and UMWAIT, PCONFIG.
fn features<M: PhysMemory + Copy>(tdcs: Tdcs<M>) -> u64 {
    u64::from(tdcs.cpuid_flag(CpuidFlag::Waitpkg)) << 26
        | u64::from(tdcs.cpuid_flag(CpuidFlag::Mktme)) << 27
}

/// Secondary controls of a TD.
pub(crate) fn proc_based2<M: PhysMemory + Copy>(tdcs: Tdcs<M>) -> u64 {
    PROC_BASED2 | features(tdcs)
}
