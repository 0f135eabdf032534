//! `replay <folder or file>... [--keep N]`: replays traces and prints how far the module agrees.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use replay::Count;

/// Disagreements of one file that are shown in full.
const KEEP: usize = 3;

fn line(name: &str, count: Count) {
    println!(
        "{name:<28} {:>8} {:>8} {:>8}  {:7.3} %",
        count.calls,
        count.rax,
        count.all,
        100.0 * count.all as f64 / count.calls.max(1) as f64
    );
}

fn files(arguments: &[String]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for argument in arguments {
        let path = PathBuf::from(argument);
        match std::fs::read_dir(&path) {
            Ok(entries) => files.extend(
                entries
                    .flatten()
                    .map(|e| e.path())
                    .filter(|p| p.to_string_lossy().ends_with(".jsonl.gz")),
            ),
            Err(_) => files.push(path),
        }
    }
    files.sort();
    files
}

fn main() -> ExitCode {
    let mut keep = KEEP;
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|a| a == "--keep") {
        keep = arguments
            .get(at + 1)
            .and_then(|n| n.parse().ok())
            .unwrap_or(KEEP);
        arguments.drain(at..arguments.len().min(at + 2));
    }
    let files = files(&arguments);
    if files.is_empty() {
        eprintln!("replay: no trace found; give a folder with *.jsonl.gz or a file");
        return ExitCode::FAILURE;
    }
    let mut leaves: BTreeMap<String, Count> = BTreeMap::new();
    let mut families: BTreeMap<String, Count> = BTreeMap::new();
    let mut total = Count::default();
    let mut failed = false;
    println!("{:<28} {:>8} {:>8} {:>8}", "file", "calls", "RAX", "all");
    for file in &files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let report = match replay::replay(file, keep) {
            Ok(report) => report,
            Err(e) => {
                eprintln!("replay: {e}");
                failed = true;
                continue;
            }
        };
        line(&name, report.total());
        for disagreement in &report.disagreements {
            println!("{}", disagreement.text);
        }
        for (leaf, count) in &report.leaves {
            leaves.entry(leaf.clone()).or_default().add(*count);
        }
        let family = name.split('-').next().unwrap_or_default().to_string();
        families.entry(family).or_default().add(report.total());
        total.add(report.total());
    }
    for (title, counts) in [("leaf", &leaves), ("family", &families)] {
        println!("\n{:<28} {:>8} {:>8} {:>8}", title, "calls", "RAX", "all");
        for (name, count) in counts {
            line(name, *count);
        }
    }
    println!();
    line("total", total);
    println!(
        "{} of these read a random number, which was not compared",
        total.random
    );
    if failed || total.all != total.calls {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
