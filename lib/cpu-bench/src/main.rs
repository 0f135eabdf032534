//! The software CPU's speed on three guest kernels, beside Bochs and QEMU (TCG) on the same flat
//! binary, in processor time (so that other load on the machine counts little).
//!
//! `cpu-bench` runs whatever of Bochs and QEMU is installed and says what isn't; `cpu-bench ours`
//! runs neither.

mod image;
mod ours;
mod peer;

use std::time::Duration;

/// The kernels, and what each does, as [`image`] has them.
const KERNELS: [&str; 3] = [
    "integer loop",
    "memory copies, page walks",
    "exceptions, CPUID exits",
];

/// Processor time of each kernel.
type Times = [Duration; KERNELS.len()];

/// Runs of each; the fastest counts.
const RUNS: usize = 3;

fn main() {
    let mut instructions = [0; KERNELS.len()];
    let ours = best(|| {
        let (times, executed) = ours::run(false);
        instructions = executed;
        Some(times)
    });
    let tdcall = best(|| Some(ours::run(true).0));
    let alone = std::env::args().nth(1).is_some_and(|word| word == "ours");
    let peer = |kind| best(|| if alone { None } else { peer::run(kind) });
    let (bochs, qemu) = (peer(peer::Kind::Bochs), peer(peer::Kind::Qemu));
    let Some(ours) = ours else {
        return;
    };
    println!(
        "{:28} {:>12} {:>10} {:>10} {:>10} {:>12} {:>12}",
        "kernel", "instructions", "ours", "Bochs", "QEMU TCG", "Bochs / ours", "ours / QEMU"
    );
    for (i, name) in KERNELS.into_iter().enumerate() {
        let time = |times: Option<Times>| match times {
            Some(times) => format!("{:.2} s", times[i].as_secs_f64()),
            None => "-".into(),
        };
        let ratio = |a: Option<Times>, b: Option<Times>| match (a, b) {
            (Some(a), Some(b)) => format!("{:.2}", a[i].as_secs_f64() / b[i].as_secs_f64()),
            _ => "-".into(),
        };
        println!(
            "{name:28} {:>12} {:>10} {:>10} {:>10} {:>12} {:>12}",
            instructions[i],
            time(Some(ours)),
            time(bochs),
            time(qemu),
            ratio(bochs, Some(ours)),
            ratio(Some(ours), qemu),
        );
    }
    let mips: Vec<String> = (0..KERNELS.len())
        .map(|i| {
            format!(
                "{:.0}",
                instructions[i] as f64 / ours[i].as_secs_f64() / 1e6
            )
        })
        .collect();
    println!("ours, million instructions per second: {}", mips.join(", "));
    if let Some(tdcall) = tdcall {
        // Bochs and QEMU know no TDCALL: they and the table's row have CPUID in its place.
        println!(
            "ours, exceptions and TDCALLs instead of CPUIDs: {:.2} s",
            tdcall[2].as_secs_f64()
        );
    }
}

/// The shortest times out of some runs.
fn best(mut run: impl FnMut() -> Option<Times>) -> Option<Times> {
    let mut best = run()?;
    for _ in 1..RUNS {
        for (best, time) in best.iter_mut().zip(run()?) {
            *best = time.min(*best);
        }
    }
    Some(best)
}
