//! What is over its budget fails, with the table and the reason.

mod common;

use std::path::{Path, PathBuf};

use septum_image::{budget, program::Program, sdf};

/// A folder of its own with `a/Cargo.toml`.
fn folder(test: &str, manifest: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(folder.join("a")).expect("made");
    std::fs::write(folder.join("a/Cargo.toml"), manifest).expect("written");
    folder
}

fn table(test: &str, manifest: &str, regions: &str, text: u64) -> Result<String, String> {
    let description = format!(
        "<system>{regions}<protection_domain name=\"a\"><program_image path=\"p\" />\
         </protection_domain></system>"
    );
    let system = sdf::parse("a.xml", &description, None).expect("correct");
    let mut program = Program::parse("p".into(), &common::program()).expect("a program");
    program.sizes.text = text;
    budget::table(&system, &[program], &folder(test, manifest))
}

const MANIFEST: &str = "[package]\nname = \"a\"\n[package.metadata.septum]\ntext-budget-kib = 2\n";

#[test]
fn within_the_budget_is_a_table() {
    let table = table("within", MANIFEST, "", 2048).expect("within");
    let line = table
        .lines()
        .find(|line| line.starts_with('a'))
        .expect("its line");
    let columns: Vec<_> = line.split_whitespace().collect();
    assert_eq!(columns, ["a", "2", "2", "4", "4", "8"]);
    // Program: 4 + 8 KiB; stack: 8 KiB.
    assert!(
        table.contains("fixed RAM                   20  of 32768"),
        "{table}"
    );
}

#[test]
fn too_much_code_fails() {
    let error = table("code", MANIFEST, "", 2049).expect_err("over");
    assert!(
        error.contains("a has 3 KiB of code, 2 KiB is its budget"),
        "{error}"
    );
}

#[test]
fn too_much_memory_fails_unless_it_is_the_guests() {
    let region =
        |name: &str, size: u64| format!("<memory_region name=\"{name}\" size=\"{size}\" />");
    let most = (32 << 20) - 0x5000;
    table("most", MANIFEST, &region("m", most), 0).expect("just fits");
    let error = table("more", MANIFEST, &region("m", most + 0x1000), 0).expect_err("over");
    assert!(
        error.contains("fixed RAM outside of guests is 32772 KiB"),
        "{error}"
    );
    table("guests", MANIFEST, &region("private_pool", 1 << 30), 0).expect("not counted");
}

#[test]
fn a_missing_budget_fails() {
    for (test, manifest) in [
        ("none", "[package]\n"),
        ("elsewhere", "[package]\ntext-budget-kib = 2\n"),
        (
            "after",
            "[package.metadata.septum]\n[lib]\ntext-budget-kib = 2\n",
        ),
        (
            "word",
            "[package.metadata.septum]\ntext-budget-kib = much\n",
        ),
    ] {
        let error = table(test, manifest, "", 0).expect_err("no budget");
        assert!(error.contains("a/Cargo.toml: no code budget"), "{error}");
    }
}
