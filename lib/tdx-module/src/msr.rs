//! Which MSRs a TD accesses natively.

use memory::PhysMemory;
use tdx_abi::{msr::Native, td};

use crate::page::{CpuidFlag, Tdcs};

const IA32_PERF_CAPABILITIES: u32 = 0x345;

/// Whether an access that is native under `condition` is native in this TD.
pub(crate) fn is_native<M: PhysMemory + Copy>(tdcs: Tdcs<M>, condition: Native, msr: u32) -> bool {
    let attribute = |bit| tdcs.attributes() & bit != 0;
    let xfam = |mask| tdcs.xfam() & mask == mask;
    match condition {
        Native::Always => true,
        Native::Never => false,
        Native::Perfmon => attribute(td::attributes::PERFMON),
        Native::Umwait => tdcs.cpuid_flag(CpuidFlag::Waitpkg),
        Native::Tsx => tdcs.cpuid_flag(CpuidFlag::Tsx),
        Native::Xfd => tdcs.cpuid_flag(CpuidFlag::Xfd),
        Native::XfamPt => xfam(td::xfam::PT),
        Native::XfamCet => xfam(td::xfam::CET),
        Native::XfamUli => xfam(td::xfam::UINTR),
        Native::XfamLbr => xfam(td::xfam::LBR),
        Native::Pks => attribute(td::attributes::PKS),
        // PERF_CAPABILITIES needs PT as well, or PEBS output to PT has to be hidden.
        Native::Other => {
            attribute(td::attributes::PERFMON)
                && (msr != IA32_PERF_CAPABILITIES || xfam(td::xfam::PT))
        }
    }
}
