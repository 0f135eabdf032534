//! The builder beside Microkit 2.3.0's own tool, of the SDK in `MICROKIT_SDK`; only
//! with the feature `sdk`. The folders are those of `microkit.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

mod common;

use common::{descriptions, tests};

/// What Microkit's tool says of a description: an error, if it refuses it.
fn tool(sdk: &Path, path: &Path, files: &[&Path]) -> Result<(), String> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("microkit");
    fs::create_dir_all(&out).expect("a folder");
    let output = Command::new(sdk.join("bin/microkit"))
        .arg(path)
        .arg("--search-path")
        .args(files)
        .args(["--board", "x86_64_generic", "--config", "debug"])
        .arg("--output")
        .arg(out.join("image"))
        .arg("--report")
        .arg(out.join("report"))
        .output()
        .expect("the SDK's tool runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(said)
    }
}

#[test]
fn microkits_own_tool_agrees() {
    let sdk = std::env::var_os("MICROKIT_SDK").expect("MICROKIT_SDK names the SDK's folder");
    let sdk = PathBuf::from(sdk);
    let programs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    fs::create_dir_all(&programs).expect("a folder");
    for name in [
        "a.elf",
        "b.elf",
        "c",
        "d",
        "p",
        "pd-console",
        "pd-vmm",
        "pd-mmu",
        "pd-tdx",
    ] {
        fs::write(programs.join(name), common::program()).expect("written");
    }
    let files = [programs.as_path(), &tests().join("wrong")];
    for path in descriptions("wrong") {
        let said = tool(&sdk, &path, &files).expect_err(&path.display().to_string());
        assert!(
            !said.contains("program image"),
            "{}: {said}",
            path.display()
        );
    }
    for path in [descriptions("not-here"), descriptions("stricter")].concat() {
        assert_eq!(tool(&sdk, &path, &files), Ok(()), "{}", path.display());
    }
}
