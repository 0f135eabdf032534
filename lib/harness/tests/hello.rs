//! The hello TD on the four real cores: start to end, in every order, and with broken rings.

mod common;

use common::{assert_in_order, build, repository};
use harness::{Config, RINGS, Stopped, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The image of the hello TD.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| build("hello", "guest"))
}

fn config() -> Config {
    Config::new(std::fs::read(image()).expect("the image that was just built"))
}

#[test]
fn runs_to_its_end() {
    let report = run(config(), |_, _, _| ());
    assert_eq!(report.stopped, Stopped::Ended(0), "{}", report.text);
    let steps = [
        "ready: 4 protection domains run",
        "MRTD ",
        "accepted 0x200000",
        "private memory at 0x200000: written and read",
        "shared memory at 0x200000: written and read",
        "private again at 0x200000: zeroed",
        "#VE: EPT violation at 0x400000",
        "512 pages of 4 KiB at 0x600000: accepted, written and read",
        "pd-tdx  | unknown instruction Vaddps at 0xfff",
        "(bytes c5 fc 58 c0 ",
        "hello: AVX: #UD",
        "RTMR3 extended",
        "hello: all done",
        " 1 promotions, ",
        "torn down, all memory reclaimed",
    ];
    assert_in_order(&report, &steps);
    assert_eq!(
        report.counters.refused, 0,
        "nobody asks for a leaf that is not its own"
    );
}

#[test]
fn mrtd_is_what_the_packer_predicts() {
    let report = run(config(), |_, _, _| ());
    let output = Command::new(env!("CARGO"))
        .args([
            "run",
            "--quiet",
            "--release",
            "-p",
            "guest-pack",
            "--",
            "--measure",
        ])
        .arg(image())
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let is_mrtd = |word: &&str| word.len() == 96 && word.chars().all(|c| c.is_ascii_hexdigit());
    let predicted = text.split_whitespace().find(is_mrtd);
    let predicted = predicted.unwrap_or_else(|| panic!("no MRTD in {text:?}"));
    assert_in_order(&report, &[&format!("MRTD {predicted}")]);
}

#[test]
fn every_order_of_the_domains_ends_alike() {
    for seed in 1..=12 {
        let report = run(Config { seed, ..config() }, |_, _, _| ());
        assert_eq!(
            report.stopped,
            Stopped::Ended(0),
            "seed {seed}: {}",
            report.text
        );
    }
}

/// Whatever a peer writes into a ring, header or data, at any time: nobody panics, nobody hangs.
#[test]
fn garbage_on_every_ring() {
    for ring in RINGS {
        for round in [1, 5, 40] {
            let mut seed = u64::wrapping_mul(round, 0x9e37_79b9_7f4a_7c15);
            let config = Config {
                limit: 2_000_000,
                rounds: 20_000,
                ..config()
            };
            let report = run(config, |now, rings, _| {
                if now != round {
                    return;
                }
                for (i, word) in rings.words(ring).iter().enumerate().take(4096) {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    // Heads that are near, heads that are far, small and large lengths.
                    let value = if i % 3 == 0 {
                        seed as u32 % 64
                    } else {
                        seed as u32
                    };
                    word.store(value, std::sync::atomic::Ordering::Relaxed);
                }
            });
            assert!(!report.text.contains("panicked"), "{ring}: {}", report.text);
        }
    }
}
