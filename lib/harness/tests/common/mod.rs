//! Guest images, built as `make image` builds them, and what a run has shown.

#![allow(dead_code, reason = "each test uses a part")]

use harness::Report;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds the image of a guest, in a folder that no other test uses.
pub fn build(guest: &str, folder: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let script = repository().join("images/guests/build");
    let output = Command::new(script).arg(guest).env("OUT", &folder).output();
    let output = output.expect("images/guests/build runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join(format!("{guest}.img"))
}

pub fn assert_in_order(report: &Report, lines: &[&str]) {
    let mut rest = report.text.as_str();
    for line in lines {
        let found = rest.find(line);
        let at = found.unwrap_or_else(|| panic!("no {line:?} (in order) in:\n{}", report.text));
        rest = &rest[at + line.len()..];
    }
}
