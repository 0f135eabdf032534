//! Every completion code that the module's source names is returned in some test, or is listed
//! below with the reason why not.

use std::collections::BTreeSet;
use std::path::Path;

use tdx_abi::Status;

/// Codes that no test gets the module to return.
const NOT_RETURNED: &[(&str, &str)] = &[
    (
        "CROSS_TD_TRAP",
        "only on hardware with a defect the trap is for: not raised by the CPU below",
    ),
    (
        "HOST_PRIORITY_BUSY_TIMEOUT",
        "needs a guest that waits for a lock longer than the timeout",
    ),
    (
        "INCONSISTENT_CPUID_FIELD",
        "needs LPs that differ; the test platform has equal ones",
    ),
    ("INCONSISTENT_MSR", "needs a platform with TSC_ADJUST set"),
    (
        "INCORRECT_CPUID_VALUE",
        "needs a platform that is not allowed",
    ),
    (
        "INCORRECT_MSR_VALUE",
        "needs a platform that is not allowed",
    ),
    (
        "INTERRUPTED_RESTARTABLE",
        "needs an interrupt at the right poll",
    ),
    (
        "INTERRUPTED_RESUMABLE",
        "needs an interrupt at the right poll",
    ),
    ("INVALID_CPUSVN", "needs a report of another processor"),
    ("KEY_GENERATION_FAILED", "needs key programming to fail"),
    ("KEY_STATE_INCORRECT", "needs key programming to fail"),
    (
        "LIMIT_CPUID_MAXVAL_SET",
        "needs a platform with that bit set",
    ),
    (
        "METADATA_LIST_OVERFLOW",
        "in the whole set of traces, not in the cut",
    ),
    (
        "NON_RECOVERABLE_TD_CORRUPTED_MD",
        "needs memory corruption that hardware detects",
    ),
    (
        "NON_RECOVERABLE_TD_WRONG_APIC_MODE",
        "needs a machine in xAPIC mode",
    ),
    (
        "OPERAND_BUSY_HOST_PRIORITY",
        "needs a host and a guest that contend",
    ),
    ("RND_NO_ENTROPY", "needs a machine without randomness"),
    ("SYS_BUSY", "needs a SEAMCALL by an LP that is inside"),
    ("SYS_INVALID_HANDOFF", "needs an update from another module"),
    (
        "TD_VMCS_FIELD_NOT_INITIALIZED",
        "needs posted interrupts without descriptor",
    ),
    ("TSC_ROLLBACK", "needs a TSC that goes back"),
];

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

/// Codes in the matrices and in the cut of the recorded traces.
fn returned() -> BTreeSet<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut codes = BTreeSet::new();
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
