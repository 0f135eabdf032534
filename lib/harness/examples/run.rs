//! Runs a guest image in the host harness: `run IMAGE [SEED]`.
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: run IMAGE [SEED]   (an image as images/guests/build makes it)");
        return ExitCode::from(2);
    };
    let image = match std::fs::read(&path) {
        Ok(image) => image,
        Err(error) => {
            eprintln!("run: {path}: {error}");
            return ExitCode::from(2);
        }
    };
    let seed = arguments
        .next()
        .map_or(0, |seed| seed.parse().expect("SEED is a number"));
    let config = harness::Config {
        seed,
        echo: true,
        ..harness::Config::new(image)
    };
    let start = std::time::Instant::now();
    let report = harness::run(config, |_, _, _| ());
    let seconds = start.elapsed().as_secs_f64();
    let counters = report.counters;
    println!(
        "{:?}: {} instructions in {seconds:.2} s ({:.1} M/s), {} entries, {} faults, {} SEAMCALLs",
        report.stopped,
        report.instructions,
        report.instructions as f64 / seconds / 1e6,
        counters.entries,
        counters.faults,
        counters.calls,
    );
    match report.stopped {
        harness::Stopped::Ended(status) => ExitCode::from(status),
        _ => ExitCode::from(99),
    }
}
