//! The software CPU agrees with this machine's own on a million sequences (or
//! `CPU_DIFF_COUNT`), starting from `CPU_DIFF_SEED`.

use cpu_diff::campaign;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
        Err(_) => default,
    }
}

#[test]
fn software_cpu_agrees_with_this_machine() {
    if !cpu_diff::native::is_intel() {
        eprintln!("not an Intel processor: nothing to compare with");
        return;
    }
    let count = setting("CPU_DIFF_COUNT", 1_000_000);
    let report = campaign::run(setting("CPU_DIFF_SEED", 1), count, None).expect("a native CPU");
    let texts: Vec<&str> = report
        .failures
        .iter()
        .map(|failure| failure.text.as_str())
        .collect();
    assert_eq!(report.differences, 0, "shortened:\n{}", texts.join("\n\n"));
    assert_eq!(report.sequences, count);
    // Coverage, so that the generator can't silently shrink.
    let forms = report.coverage.len();
    assert!(forms > 1200, "only {forms} forms");
    for (name, entry) in &report.coverage {
        assert!(
            entry.first > 0 || count < 100_000,
            "{name} was never executed"
        );
    }
    let completed = report
        .coverage
        .values()
        .filter(|entry| entry.first > entry.faulted)
        .count();
    assert!(
        completed > 1150 || count < 100_000,
        "only {completed} forms ran without an exception"
    );
}
