//! The machine on which the traces were recorded.

use std::collections::HashMap;

use serde::Deserialize;
use tdx_abi::cpuid::NO_SUBLEAF;
use tdx_abi::layout::{ReportMac, ReportType, TeeTcbInfo};
use tdx_module::machine::{Build, MAX_LPS, Machine, Platform, Range, ReportError};

use crate::sparse::Sparse;
use crate::trace::{Hex, PlatformInfo};

#[derive(Deserialize)]
struct Leaf {
    leaf: Hex,
    subleaf: u32,
    eax: Hex,
    ebx: Hex,
    ecx: Hex,
    edx: Hex,
}

#[derive(Deserialize)]
struct Values {
    cpuid_as_seen_on_lp0: Vec<Leaf>,
    msr: HashMap<String, Hex>,
}

/// CPUID and MSR values of the recorded platform.
pub struct Tables {
    cpuid: HashMap<(u32, u32), [u32; 4]>,
    msr: HashMap<u32, u64>,
}

impl Tables {
    /// The values of CPUID leaf `leaf`; `subleaf` may be "there is none".
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let subleaf = if subleaf == NO_SUBLEAF { 0 } else { subleaf };
        self.cpuid
            .get(&(leaf, subleaf))
            .copied()
            .unwrap_or_default()
    }

    /// The value of an MSR.
    pub fn msr(&self, index: u32) -> u64 {
        self.msr.get(&index).copied().unwrap_or(0)
    }

    /// All of them.
    pub fn load() -> Self {
        let values: Values = serde_json::from_str(include_str!("../data/platform.json"))
            .expect("the platform's values are part of the program");
        let cpuid = values
            .cpuid_as_seen_on_lp0
            .iter()
            .map(|l| {
                let registers = [l.eax, l.ebx, l.ecx, l.edx].map(|r| r.0 as u32);
                ((l.leaf.0 as u32, l.subleaf), registers)
            })
            .collect();
        let msr = values
            .msr
            .iter()
            .filter_map(|(k, v)| {
                let index = u32::from_str_radix(k.trim_start_matches("0x"), 16).ok()?;
                Some((index, v.0))
            })
            .collect();
        Self { cpuid, msr }
    }
}

/// The recorded platform as the module is told of it.
pub(crate) fn platform(info: &PlatformInfo) -> Platform {
    let mut platform = Platform::simple(Range::default(), info.lps);
    for (cmr, [base, size]) in platform.cmrs.iter_mut().zip(&info.cmrs) {
        *cmr = Range {
            base: base.0,
            size: size.0,
        };
    }
    let mut lp_package = [0; MAX_LPS];
    for (to, from) in lp_package.iter_mut().zip(&info.lp_package) {
        *to = *from;
    }
    Platform {
        max_pa: info.maxpa,
        key_id_start: info.hkid_start_bit,
        key_id_bits: info.hkid_bits,
        private_key_id_min: info.private_hkids[0],
        private_key_id_max: info.private_hkids[1],
        packages: info.packages,
        lp_package,
        tsc_hz: info.tsc_hz,
        cache_blocks: info.wbinvd_sub_blocks,
        build: Build {
            date: 20231024,
            number: 0,
            major: 1,
            minor: 5,
            update: 1,
        },
        ..platform
    }
}

/// The recorded TSC at power-on.
pub(crate) const FIRST_TICK: u64 = 1_000_000_000;
/// What one RDTSC took.
const TICKS_PER_READ: u64 = 100;

pub(crate) struct Recorded<'m> {
    pub memory: &'m Sparse,
    pub tables: &'m Tables,
    pub tsc: u64,
    pub random: u64,
    /// Polls for interrupts so far in this call, and after how many one is there.
    pub polls: u64,
    pub interrupt_after: Option<u64>,
}

impl<'m> Machine for Recorded<'m> {
    type Memory = &'m Sparse;

    fn memory(&self) -> &'m Sparse {
        self.memory
    }

    fn cpuid(&self, _lp: usize, leaf: u32, subleaf: u32) -> [u32; 4] {
        self.tables.cpuid(leaf, subleaf)
    }

    fn rdmsr(&self, _lp: usize, msr: u32) -> u64 {
        self.tables.msr(msr)
    }

    fn tsc(&mut self) -> u64 {
        self.tsc += TICKS_PER_READ;
        self.tsc
    }

    fn random(&mut self) -> Option<u64> {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1;
        Some(self.random)
    }

    fn interrupt_pending(&mut self, _lp: usize) -> bool {
        self.polls += 1;
        self.interrupt_after.is_some_and(|n| self.polls > n)
    }

    fn seal_report(&mut self, report: &mut ReportMac, _tcb: &mut TeeTcbInfo) {
        // What the recorded SEAMREPORT instruction wrote.
        report.report_type = ReportType {
            kind: 0,
            subtype: 0,
            version: 0,
            reserved: 0,
        };
        report.cpu_svn = [0x5a; 16];
        report.tee_tcb_info_hash = [0xa5; 48];
        report.mac = [0x77; 32];
    }

    fn verify_report(&mut self, _report: &ReportMac) -> Result<(), ReportError> {
        Ok(())
    }

    fn xsave_size(&self, lp: usize, _xcr0: u64) -> u32 {
        self.cpuid(lp, 0xd, 0)[1]
    }
}
