//! Boots guest images many times, each time with other turns of the domains and other jitter of
//! time: `boots TIMES IMAGE...` takes the images by turns, and wants every boot to reach its goal.
use harness::{Config, Stopped, run};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Boots at the same time.
const THREADS: usize = 2;
/// Bytes of their stacks, through which all of a system passes once.
const STACK: usize = 64 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let times = arguments.next().and_then(|times| times.parse().ok());
    let paths: Vec<String> = arguments.collect();
    let (Some(times), false) = (times, paths.is_empty()) else {
        eprintln!("usage: boots TIMES IMAGE...   (images as images/guests/build makes them)");
        return ExitCode::from(2);
    };
    let mut images = Vec::new();
    for path in &paths {
        match std::fs::read(path) {
            Ok(image) => images.push(image),
            Err(error) => {
                eprintln!("boots: {path}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    // The first seed is 1: with 0 nothing varies.
    let next = AtomicU64::new(1);
    let reached = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let work = || {
                while let seed @ 1.. = next.fetch_add(1, Ordering::Relaxed)
                    && seed <= times
                {
                    let image = (seed % images.len() as u64) as usize;
                    let config = Config {
                        seed,
                        ..Config::new(images[image].clone())
                    };
                    let report = run(config, |_, _, _| ());
                    println!(
                        "seed {seed}, {}: {:?}, {} instructions",
                        paths[image], report.stopped, report.instructions
                    );
                    match report.stopped {
                        Stopped::Ended(0) => reached.lock().unwrap().push(report.instructions),
                        _ => println!("{}", report.text),
                    }
                }
            };
            if let Err(error) = thread.spawn_scoped(scope, work) {
                eprintln!("boots: no thread: {error}");
            }
        }
    });
    let mut reached = reached.into_inner().unwrap();
    let count = reached.len();
    reached.sort_unstable();
    reached.dedup();
    println!(
        "{count} of {times} boots reached their goal, in {} different ways",
        reached.len()
    );
    // Boots that are all alike would show nothing.
    let different = reached.len() as u64 > times / 2;
    ExitCode::from(u8::from(count as u64 != times || !different))
}
