//! Every completion code that the module's source names is returned in some test, or is listed
//! below with the reason why not.

use std::collections::BTreeSet;
use std::path::Path;

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::sept::{self, State};
use tdx_abi::{GuestLeaf, HostLeaf, Status, cpuid, td};
use tdx_module::machine::{KeyError, ReportError};
use tdx_module::{GuestOutcome, reg::*};
use tdx_module_check::{Bed, Defects, LPS, TD_PARAMS, Ways};

/// Codes that no test gets the module to return, and why.
const NOT_RETURNED: &[(&str, &str)] = &[
    (
        "CROSS_TD_TRAP",
        "ends accesses to another TD, which service TDs make: not enumerated",
    ),
    (
        "KEY_STATE_INCORRECT",
        "a TDR's KeyID is always in the table: an answer where the TDR page is not to be trusted",
    ),
    (
        "METADATA_LIST_OVERFLOW",
        "the list of all system fields fits into its page",
    ),
    (
        "NON_RECOVERABLE_TD_CORRUPTED_MD",
        "hardware detects the corruption, a software machine has none",
    ),
    (
        "NON_RECOVERABLE_TD_WRONG_APIC_MODE",
        "part of single-step detection by time, which is not done",
    ),
    (
        "OPERAND_BUSY_HOST_PRIORITY",
        "guests are told TDX_OPERAND_BUSY instead",
    ),
];

const IA32_TSC_ADJUST: u32 = 0x3b;
const IA32_MISC_ENABLE: u32 = 0x1a0;
/// The machine limits CPUID.
const BOOT_NT4: u64 = 1 << 22;

fn status(bed: &mut Bed, leaf: HostLeaf, operands: &[(usize, u64)]) -> Status {
    bed.call(0, leaf, operands).0
}

/// A running TD with a 4 KiB page that is pending at `GPA`, and a vCPU that is inside on LP 1.
struct Inside {
    bed: Bed,
    tdr: u64,
    vcpu: u64,
}

const GPA: u64 = 0x1000;

impl Inside {
    fn new() -> Self {
        let mut bed = Bed::ready();
        let tdr = bed.init_td(40, Ways::default());
        bed.tables_to(tdr, 0, 0);
        let vcpu = bed.new_vcpu(1, tdr);
        bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
        let page = bed.page();
        let operands = [(RCX, GPA), (RDX, tdr), (R8, page)];
        bed.must(0, HostLeaf::MemPageAug, &operands);
        bed.enter(1, vcpu).expect("a vCPU that can be entered");
        Self { bed, tdr, vcpu }
    }

    fn accept(&mut self) -> (Option<GuestOutcome>, Status) {
        let leaf = GuestLeaf::MemPageAccept;
        self.bed.tdcall(1, leaf, &[(RCX, GPA)])
    }
}

/// Machines that are not as they should be, and moments that are not the usual ones.
fn scenes() -> Vec<Status> {
    let mut codes = Vec::new();
    let mut said = |expected: Status, found: Status| {
        let text = format!("{found} instead of {expected}");
        assert!(found.is(expected), "{text}");
        codes.push(found);
    };
    machine_scenes(&mut said);
    moment_scenes(&mut said);
    codes
}

fn machine_scenes(said: &mut impl FnMut(Status, Status)) {
    let mut bed = Bed::new();
    bed.defects.msrs.insert(IA32_MISC_ENABLE, BOOT_NT4);
    let found = status(&mut bed, HostLeaf::SysInit, &[]);
    said(Status::LIMIT_CPUID_MAXVAL_SET, found);
    bed.defects = Defects {
        cpuid: Some((0, 1)),
        ..Defects::default()
    };
    let found = status(&mut bed, HostLeaf::SysInit, &[]);
    said(Status::INCORRECT_CPUID_VALUE, found);
    bed.defects.cpuid = Some((1, 1));
    bed.must(0, HostLeaf::SysInit, &[]);
    let (found, _) = bed.call(1, HostLeaf::SysLpInit, &[]);
    said(Status::INCONSISTENT_CPUID_FIELD, found);
    bed.defects = Defects::default();
    for lp in 0..LPS {
        bed.must(lp, HostLeaf::SysLpInit, &[]);
    }
    let found = status(&mut bed, HostLeaf::SysUpdate, &[]);
    said(Status::SYS_INVALID_HANDOFF, found);

    let mut bed = Bed::ready();
    bed.defects.no_entropy = true;
    let page = bed.page();
    let create = [(RCX, page), (RDX, 40)];
    let found = status(&mut bed, HostLeaf::MngCreate, &create);
    said(Status::RND_NO_ENTROPY, found);
    bed.defects.no_entropy = false;
    bed.must(0, HostLeaf::MngCreate, &create);
    bed.defects.keys = Some(KeyError::Entropy);
    let found = status(&mut bed, HostLeaf::MngKeyConfig, &[(RCX, page)]);
    said(Status::KEY_GENERATION_FAILED, found);

    let mut bed = Bed::ready();
    let tdr = bed.new_td(40);
    bed.defects.msrs.insert(IA32_TSC_ADJUST, 1);
    let params = Bed::params(Ways::default());
    bed.memory
        .write_bytes(Hpa::new(TD_PARAMS), zerocopy::IntoBytes::as_bytes(&params));
    let init = [(RCX, tdr), (RDX, TD_PARAMS)];
    let found = status(&mut bed, HostLeaf::MngInit, &init);
    said(Status::INCONSISTENT_MSR, found);
    // MONITOR for the TD, on a machine whose firmware switched it off.
    bed.defects.msrs.clear();
    let mut params = params;
    let leaf = cpuid::CONFIG
        .iter()
        .position(|&i| cpuid::LEAVES[i].leaf == 1)
        .expect("CPUID 1 is configurable");
    params.cpuid[leaf].ecx = (1 << 3).into();
    bed.memory
        .write_bytes(Hpa::new(TD_PARAMS), zerocopy::IntoBytes::as_bytes(&params));
    bed.must(0, HostLeaf::MngInit, &init);
    let vcpu = bed.new_vcpu(0, tdr);
    bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
    bed.defects.msrs.insert(IA32_MISC_ENABLE, 0);
    let found = bed.enter(0, vcpu).expect_err("a TD that needs MONITOR");
    said(Status::INCORRECT_MSR_VALUE, found);

    let mut inside = Inside::new();
    let (_, accepted) = inside.accept();
    assert!(accepted.is_success());
    inside.bed.defects.reports = Some(ReportError::CpuSvn);
    let leaf = GuestLeaf::MrVerifyreport;
    let (_, found) = inside.bed.tdcall(1, leaf, &[(RCX, GPA)]);
    said(Status::INVALID_CPUSVN, found);
}

fn moment_scenes(said: &mut impl FnMut(Status, Status)) {
    let mut inside = Inside::new();
    let Inside { bed, tdr, vcpu } = &mut inside;
    let (found, _) = bed.call(1, HostLeaf::MemTrack, &[(RCX, *tdr)]);
    said(Status::SYS_BUSY, found);
    bed.leave(1);
    let pin_based = 0x0024_0002_0000_4000;
    let operands = [(RCX, *vcpu), (RDX, pin_based), (R8, 0x80), (R9, 0x80)];
    let (found, _) = bed.call(1, HostLeaf::VpWr, &operands);
    said(Status::TD_VMCS_FIELD_NOT_INITIALIZED, found);
    bed.tsc -= 1;
    let found = bed.enter(1, *vcpu).expect_err("time went back");
    said(Status::TSC_ROLLBACK, found);

    // An interrupt while a 2 MiB page is split, and between blocks of the caches.
    let (large, block, table) = (1 << 30, bed.block(), bed.page());
    bed.tables_to(*tdr, large, 1);
    let aug = [(RCX, large | 1), (RDX, *tdr), (R8, block)];
    bed.must(0, HostLeaf::MemPageAug, &aug);
    let range = [(RCX, large | 1), (RDX, *tdr), (R8, table)];
    bed.must(0, HostLeaf::MemRangeBlock, &range);
    bed.must(0, HostLeaf::MemTrack, &[(RCX, *tdr)]);
    bed.interrupt = true;
    let found = status(bed, HostLeaf::MemPageDemote, &range);
    said(Status::INTERRUPTED_RESTARTABLE, found);
    bed.must(1, HostLeaf::VpFlush, &[(RCX, *vcpu)]);
    bed.must(0, HostLeaf::MngVpflushdone, &[(RCX, *tdr)]);
    let found = status(bed, HostLeaf::PhymemCacheWb, &[]);
    said(Status::INTERRUPTED_RESUMABLE, found);

    // The host found the entry busy, and did not come back.
    let mut inside = Inside::new();
    let entry = [(RCX, GPA), (RDX, inside.tdr)];
    let table = inside.tdr + SEPT_TABLE;
    let at = Hpa::new(table + 8 * (GPA >> 12));
    assert!(status(&mut inside.bed, HostLeaf::MemSeptRd, &entry).is_success());
    let pending = inside.bed.memory.read_u64(at);
    assert_eq!(State::of(pending), Some(State::Pending));
    inside.bed.memory.write_u64(at, pending | sept::bit::TDHP);
    let (_, found) = inside.accept();
    said(Status::OPERAND_BUSY, found);
    inside.bed.tsc += 1 << 40;
    let Some(GuestOutcome::ExitToHost { regs, .. }) = inside.accept().0 else {
        panic!("the guest goes on waiting");
    };
    said(Status::HOST_PRIORITY_BUSY_TIMEOUT, Status(regs[RAX]));
}

/// Where [`Inside`]'s lowest Secure EPT page is, from its TDR: behind TDCS and two more tables.
const SEPT_TABLE: u64 = (1 + td::MIN_TDCS_PAGES as u64 + 2) * 4096;

fn sources(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else {
            out.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// Names after `Status::` in the module's source.
fn named() -> BTreeSet<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&here.join("../src"), &mut text);
    text.split("Status::")
        .skip(1)
        .map(|rest| {
            let end =
                rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_string()
        })
        .filter(|name| name.len() > 2)
        .collect()
}

/// Codes in the scenes above, in the matrices and in the cut of the recorded traces.
fn returned() -> BTreeSet<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut codes = BTreeSet::new();
    for name in scenes().into_iter().filter_map(Status::name) {
        codes.insert(name.trim_start_matches("TDX_").to_string());
    }
    for entry in std::fs::read_dir(here.join("tests"))
        .expect("a folder")
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "txt") {
            let text = std::fs::read_to_string(&path).expect("a table");
            for line in text.lines() {
                let code = line.split(": ").nth(1).unwrap_or_default();
                let code = code.split(' ').next().unwrap_or_default();
                codes.insert(code.trim_start_matches("TDX_").to_string());
            }
        }
    }
    for entry in std::fs::read_dir(here.join("../traces"))
        .expect("a folder")
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "gz") {
            continue;
        }
        let trace = replay::Trace::open(&path).expect("a trace");
        for event in trace {
            let event = event.expect("an event");
            for registers in [&event.out, &event.seamret].into_iter().flatten() {
                let Some(rax) = registers.get("rax") else {
                    continue;
                };
                if let Some(name) = Status(rax.0).name() {
                    codes.insert(name.trim_start_matches("TDX_").to_string());
                }
            }
        }
    }
    codes
}

#[test]
fn every_code_is_returned() {
    let (named, returned) = (named(), returned());
    let listed: BTreeSet<String> = NOT_RETURNED.iter().map(|(n, _)| (*n).to_string()).collect();
    let missing: Vec<_> = named
        .difference(&returned)
        .filter(|n| !listed.contains(*n))
        .collect();
    let stale: Vec<_> = listed.intersection(&returned).collect();
    println!(
        "{} of {} codes are returned",
        named.intersection(&returned).count(),
        named.len()
    );
    assert!(missing.is_empty(), "returned by no test: {missing:?}");
    assert!(stale.is_empty(), "returned after all: {stale:?}");
}
