//! The builder beside Microkit 2.3.0's documented rules; `microkit_tool.rs` has
//! its own tool.
//!
//! `wrong` holds what both refuse. `not-here` holds what Microkit can do and the
//! kernel of `images/kernel` can't; `stricter` what Microkit's tool makes an image
//! of that doesn't start, or doesn't do what the description says.

use std::{fs, path::Path};

mod common;

use common::{descriptions, tests};

fn rules(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).expect("readable");
    common::rules::check(&text, &tests().join("wrong"))
}

#[test]
fn the_system_keeps_the_documented_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules");
    fs::create_dir_all(&files).expect("a folder");
    for file in ["guest.img", "filled.bin", "image.bin"] {
        fs::write(files.join(file), [1]).expect("written");
    }
    for system in ["system.xml", "images/selftest/system.xml"] {
        let text = fs::read_to_string(root.join(system)).expect("readable");
        assert_eq!(common::rules::check(&text, &files), Ok(()), "{system}");
    }
}

#[test]
fn the_documented_rules_refuse_what_is_wrong() {
    let wrong = descriptions("wrong");
    assert!(wrong.len() > 95, "only {} found", wrong.len());
    let kept: Vec<_> = wrong.iter().filter(|path| rules(path).is_ok()).collect();
    assert!(kept.is_empty(), "keep all rules: {kept:?}");
}

#[test]
fn the_documented_rules_let_pass_what_only_this_kernel_lacks() {
    for path in descriptions("not-here") {
        assert_eq!(rules(&path), Ok(()), "{}", path.display());
    }
}
