//! Designs of guest memory on the four real cores: an execute-only guest, and each way to find
//! a table.

mod common;

use common::{assert_in_order, build};
use harness::{Config, Stopped, run};

/// Where the guest image says how tables are found (see `lib/guest-image`).
const FINDER: usize = 168;
/// And which bit is the execute-only bit.
const EXECUTE_ONLY: usize = 164;

#[test]
fn an_execute_only_guest_runs_what_it_cannot_read() {
    let mut image = std::fs::read(build("xo", "memory")).unwrap();
    for finder in 0..4 {
        image[FINDER] = finder;
        let report = run(Config::new(image.clone()), |_, _, _| ());
        assert_eq!(report.stopped, Stopped::Ended(0), "{}", report.text);
        let lines = [
            "VM 0: \"xo\"",
            "xo: 48-bit guest physical addresses, bit 46 is execute-only",
            "xo: ran: it answers 0x53455054554d584f",
            "xo: read refused: page fault at 0x100200000, error code 1",
            "xo: write refused: page fault at 0x100200000, error code 3",
            "xo: still runs; the ordinary alias is readable",
            "VM 0: goal reached",
            "VM 0: torn down, all memory reclaimed",
        ];
        assert_in_order(&report, &lines);
        let refusal = "the page does not permit this access";
        assert_eq!(report.text.matches(refusal).count(), 2, "{}", report.text);
    }
    // Without the bit there is no alias to run.
    image[EXECUTE_ONLY] = 0;
    let report = run(Config::new(image.clone()), |_, _, _| ());
    assert_ne!(report.stopped, Stopped::Ended(0));
    assert_in_order(&report, &["xo: error: no execute-only bit"]);
    // A bit within 2 MiB pages, one that the VM's addresses haven't, no such finder.
    for (place, value) in [(EXECUTE_ONLY, 20), (EXECUTE_ONLY, 48), (FINDER, 4)] {
        let mut image = image.clone();
        image[place] = value;
        let report = run(Config::new(image), |_, _, _| ());
        assert_eq!(report.stopped, Stopped::Ended(1), "{}", report.text);
        assert_in_order(&report, &["pd-mmu can't do Create: BadConfig"]);
    }
}

#[test]
fn a_td_runs_with_every_finder_and_with_an_execute_only_bit() {
    let image = std::fs::read(build("hello", "memory-hello")).unwrap();
    for (finder, execute_only) in [(0, 0), (1, 0), (2, 0), (3, 0), (0, 46), (3, 46)] {
        let mut image = image.clone();
        image[FINDER] = finder;
        image[EXECUTE_ONLY] = execute_only;
        let report = run(Config::new(image), |_, _, _| ());
        assert_eq!(report.stopped, Stopped::Ended(0), "{}", report.text);
        let lines = [
            "shared memory at 0x200000: written and read",
            "private again at 0x200000: zeroed",
            "hello: all done",
            "torn down, all memory reclaimed",
        ];
        assert_in_order(&report, &lines);
    }
}
