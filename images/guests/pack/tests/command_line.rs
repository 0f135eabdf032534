//! The program as a user meets it: what it does, and what it says when it can't.

mod common;

use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guest-pack-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().into()
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_guest-pack"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What the program says on its way out with an error.
fn error(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("guest-pack: error: "), "{text}");
    text
}

#[test]
fn packs_and_measures() {
    let folder = Folder::new("packs");
    let binary = folder.file("td", &common::td_binary());
    let kernel = folder.file("bzImage", &common::bzimage(b"", 8192, 2 << 20));
    let initrd = folder.file("initrd", b"070701");
    let out = folder.path("guest.img");
    let mut measurements = Vec::new();
    for mem in ["64M", "66M"] {
        let packed = run(&[
            "--kernel", &kernel, "--initrd", &initrd, "--binary", &binary, "--mem", mem, "--vcpus",
            "2", "--goal", "done", "--append", "quiet", "--out", &out,
        ]);
        assert!(packed.status.success(), "{packed:?}");
        let measured = run(&["--measure", &out]);
        let measured = String::from_utf8(measured.stdout).unwrap();
        assert_eq!(measured.trim().len(), 96);
        let shown = String::from_utf8(packed.stdout).unwrap();
        assert!(shown.contains(measured.trim()), "{shown}");
        measurements.push(measured);
    }
    assert_ne!(
        measurements[0], measurements[1],
        "the memory's size is measured"
    );
    let hello = run(&["--hello", "--binary", &binary, "--out", &out]);
    assert!(hello.status.success(), "{hello:?}");
    let shown = run(&["--show", &out]);
    assert!(
        String::from_utf8(shown.stdout)
            .unwrap()
            .contains("\"hello: all done\"")
    );
}

#[test]
fn says_what_is_wrong_where_and_what_to_do() {
    let folder = Folder::new("errors");
    let binary = folder.file("td", &common::td_binary());
    let kernel = folder.file("bzImage", &common::bzimage(b"", 8192, 2 << 20));
    let text = folder.file("text", b"just text");
    let out = folder.path("guest.img");
    let no = folder.path("no-such-file");
    let directory = folder.0.to_str().unwrap().to_string();
    let with = |more: &[&str]| {
        let base = ["--kernel", &kernel, "--binary", &binary, "--out", &out];
        error(&[&base, more].concat())
    };

    assert!(
        with(&["--mem", "3M"])
            .contains("--mem 3M: 3145728 bytes of memory are too few: give 16M to 368M")
    );
    assert!(with(&["--mem", "lots"]).contains("--mem lots: not a memory size"));
    assert!(with(&["--mem", "1G"]).contains("more than the private pool holds"));
    assert!(with(&["--mem", "16M"]).contains("needs 18M of memory"));
    assert!(with(&["--vcpus", "0"]).contains("--vcpus 0: give a number from 1 to 8"));
    assert!(with(&["--vcpus", "many"]).contains("--vcpus many"));
    let missing = with(&["--initrd", &no]);
    assert!(
        missing.contains(&no) && missing.contains("No such file"),
        "{missing}"
    );
    assert!(with(&["--initrd", &directory]).contains("not a file"));
    assert!(with(&["--initrd", &text]).contains("neither a cpio archive"));
    assert!(with(&["--cmdline", "a", "--append", "b"]).contains("not both"));
    assert!(with(&["--colour", "red"]).contains("--colour"));
    assert!(with(&["--hello"]).contains("--hello takes no kernel"));

    let wrong = error(&["--kernel", &text, "--binary", &binary, "--out", &out]);
    assert!(
        wrong.contains(&text) && wrong.contains("not a Linux bzImage"),
        "{wrong}"
    );
    assert!(error(&["--out", &out]).contains("no --kernel"));
    assert!(error(&["--kernel", &kernel]).contains("no --out"));
    assert!(error(&["--hello", "--binary", &no, "--out", &out]).contains("images/guests/build"));
    let unwritable = folder.path("no-such-folder/guest.img");
    let unwritable = error(&[
        "--kernel",
        &kernel,
        "--binary",
        &binary,
        "--mem",
        "64M",
        "--out",
        &unwritable,
    ]);
    assert!(unwritable.contains("can't write"), "{unwritable}");
    assert!(error(&["--measure", &text]).contains("guest image"));
    assert!(!PathBuf::from(&out).exists(), "an error leaves no image");
}
