//! `cpu-diff [--count N] [--seed S] [--only FORM] [--table]`: compares the software CPU with
//! this machine's own, prints what differs, and fails if anything does.

use cpu_diff::{campaign, forms};
use iced_x86::Code;
use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cpu-diff: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let (mut count, mut seed, mut only, mut table) = (1_000_000, 1, None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64, String> {
            let text = arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a number"))?;
            let (digits, radix) = text
                .strip_prefix("0x")
                .map_or((&*text, 10), |rest| (rest, 16));
            u64::from_str_radix(digits, radix).map_err(|_| format!("{text} isn't a number"))
        };
        match argument.as_str() {
            "--count" => count = number()?,
            "--seed" => seed = number()?,
            "--only" => only = Some(arguments.next().ok_or("--only needs a form")?),
            "--table" => table = true,
            _ => {
                return Err(format!(
                    "{argument}: unknown; --count N, --seed S, --only FORM, --table"
                ));
            }
        }
    }
    if !cpu_diff::native::is_intel() {
        eprintln!("cpu-diff: not an Intel processor: what the SDM leaves open will differ");
    }
    let start = std::time::Instant::now();
    let report = campaign::run(seed, count, only.as_deref())?;
    let seconds = start.elapsed().as_secs_f64();
    for failure in &report.failures {
        let unknown = if failure.unknown {
            " (unknown to the software CPU)"
        } else {
            ""
        };
        println!("{:?}{unknown}: {}\n", failure.code, failure.text);
    }
    if table {
        print_table(&report);
    }
    let executed = report
        .coverage
        .values()
        .filter(|entry| entry.first != 0)
        .count();
    let completed = report
        .coverage
        .values()
        .filter(|entry| entry.first > entry.faulted)
        .count();
    println!(
        "{} sequences in {seconds:.1} s: {} forms compared, {executed} executed, {completed} of them \
         without an exception; {} sequences ended in exceptions; {} differ, in {} forms",
        report.sequences,
        report.coverage.len(),
        report.faults,
        report.differences,
        report
            .coverage
            .values()
            .filter(|entry| entry.differences != 0)
            .count(),
    );
    Ok(report.differences == 0)
}

fn print_table(report: &campaign::Report) {
    println!(
        "{:44} {:>9} {:>9} {:>9} {:>9}",
        "form", "executed", "first", "faulted", "differ"
    );
    for (name, entry) in &report.coverage {
        println!(
            "{name:44} {:>9} {:>9} {:>9} {:>9}",
            entry.executed, entry.first, entry.faulted, entry.differences
        );
    }
    let mut skipped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for code in Code::values() {
        if let Some(reason) = forms::skipped(code) {
            skipped.entry(reason).or_default().push(format!("{code:?}"));
        }
    }
    println!("\nflags that the SDM leaves undefined, where they are not compared:");
    print!("{}", cpu_diff::undefined::table());
    println!("\nnot compared:");
    for (reason, codes) in skipped {
        let some = if codes.len() > 40 {
            format!("{} forms", codes.len())
        } else {
            codes.join(" ")
        };
        println!("{reason}: {some}");
    }
    println!();
}
