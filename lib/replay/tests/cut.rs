//! A cut of the recorded traces, every call of which the module has to answer as recorded.

use std::path::Path;

#[test]
fn every_call_is_answered_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tdx-module/traces");
    let mut calls = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the traces are part of the repository") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_none_or(|e| e != "gz") {
            continue;
        }
        let report = replay::replay(&path, 3).expect("a readable trace");
        calls += report.total().calls;
        let texts = report.disagreements.iter().map(|d| d.text.as_str());
        wrong.extend(texts.map(|text| format!("{}: {text}", path.display())));
    }
    println!("{calls} calls replayed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(calls > 50_000, "only {calls} calls in the cut");
}
