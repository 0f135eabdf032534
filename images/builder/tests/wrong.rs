//! Descriptions that are refused for one reason each: every NAME.xml of `wrong`,
//! `not-here` and `stricter` (see `microkit.rs`), with a message that contains what
//! its last line expects and names the place.

use std::path::{Path, PathBuf};

use septum_image::sdf;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong")
}

#[test]
fn each_is_refused_with_its_message() {
    let search = [folder()];
    let mut checked = 0;
    let mut failures = Vec::new();
    let folders = ["wrong", "not-here", "stricter"].map(|name| folder().with_file_name(name));
    for entry in folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder of the tests"))
    {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        checked += 1;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).expect("readable");
        let last = text.trim_end().lines().last().unwrap_or_default();
        let expected = last
            .strip_prefix("<!-- expected: ")
            .and_then(|rest| rest.strip_suffix(" -->"))
            .expect("an expectation in the last line");
        match sdf::parse(&name, &text, Some(&search)) {
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(error) => {
                let message = error.to_string();
                if !message.contains(expected) {
                    failures.push(format!(
                        "{name}: said\n    {message}\n  not\n    {expected}"
                    ));
                }
                let place = error.place.expect("a place");
                let prefix = format!("{name}:{}:{}: <", place.line, place.column);
                assert!(message.starts_with(&prefix), "{message}");
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked > 100, "only {checked} found");
}
