//! The reader against what the writer wrote, against each broken rule, and against noise.

use gpa::{Gpa, PAGE_SIZE};
use guest_image::build::{self, Contents, Parameters};
use guest_image::image::{HEADER_SIZE, MAX_SEGMENTS, RUN_PAGES, SegmentProblem};
use guest_image::layout::{MIB, MemorySize, TOP_END, TOP_START};
use guest_image::{GuestImage, ImageError, MemoryDesign, Segment, Step};
use proptest::prelude::*;

fn parameters() -> Parameters {
    Parameters {
        memory: MemorySize::new(32 * MIB).unwrap(),
        vcpus: 2,
        attributes: 1 << 28,
        xfam: 3,
        entry_value: 7,
        design: MemoryDesign {
            plain: true,
            execute_only: 46,
            finder: 3,
        },
        name: "test".into(),
        goal: "all done".into(),
    }
}

fn contents(gpa: u64, bytes: usize) -> Contents {
    Contents {
        gpa: Gpa::new(gpa),
        bytes: (0..bytes).map(|n| (n % 251) as u8).collect(),
        measured: true,
    }
}

/// Two segments: three pages in memory (not measured), and the reset vector's page.
fn image() -> Vec<u8> {
    let mut low = contents(16 * MIB, 2 * 4096 + 1);
    low.measured = false;
    build::write(&parameters(), &[contents(TOP_END - 4096, 4096), low]).unwrap()
}

#[test]
fn there_and_back() {
    let bytes = image();
    let image = GuestImage::parse(&bytes).unwrap();
    assert_eq!(image.total_length(), bytes.len() as u64);
    assert_eq!(image.memory(), parameters().memory);
    assert_eq!(image.vcpus(), 2);
    assert_eq!(image.attributes(), 1 << 28);
    assert_eq!(image.xfam(), 3);
    assert_eq!(image.entry_value(), 7);
    assert_eq!(image.design(), parameters().design);
    assert_eq!((image.name(), image.goal()), ("test", "all done"));
    assert_eq!(image.page_count(), 4);
    let runs: Vec<_> = image
        .runs()
        .map(|r| (r.gpa.get(), r.offset, r.pages, r.measured))
        .collect();
    assert_eq!(
        runs,
        [
            (16 * MIB, 0x1000, 3, false),
            (TOP_END - 0x1000, 0x4000, 1, true),
        ]
    );
    assert_eq!(bytes[0x3000], (2 * 4096 % 251) as u8);
    assert!(bytes[0x3001..0x4000].iter().all(|&b| b == 0), "padding");
}

#[test]
fn a_measured_page_is_added_then_extended_in_order() {
    let bytes = image();
    let image = GuestImage::parse(&bytes).unwrap();
    let steps: Vec<_> = image.runs().flat_map(|r| r.steps()).collect();
    assert_eq!(steps.len(), 3 + 1 + 16);
    let gpa = TOP_END - 4096;
    let at = |n: u64| (Gpa::new(gpa + n), 0x4000 + n);
    assert!(steps[..3].iter().all(|s| matches!(s, Step::Add { .. })));
    let (first, offset) = at(0);
    assert_eq!(steps[3], Step::Add { gpa: first, offset });
    for n in 0..16 {
        let (gpa, offset) = at(n as u64 * 256);
        assert_eq!(steps[4 + n], Step::Extend { gpa, offset });
    }
}

#[test]
fn a_run_is_added_before_it_is_measured() {
    let segment = |pages| Segment {
        gpa: Gpa::new(MIB),
        offset: 0x7000,
        length: pages * PAGE_SIZE,
        measured: true,
    };
    for pages in [
        1,
        RUN_PAGES - 1,
        RUN_PAGES,
        RUN_PAGES + 1,
        3 * RUN_PAGES + 5,
    ] {
        let mut added = 0;
        let mut measured = 0;
        for step in segment(pages).runs().flat_map(|run| run.steps()) {
            match step {
                Step::Add { gpa, offset } => {
                    assert_eq!(measured % (RUN_PAGES * PAGE_SIZE), 0);
                    assert_eq!((gpa.get(), offset), (MIB + added, 0x7000 + added));
                    added += PAGE_SIZE;
                }
                Step::Extend { gpa, offset } => {
                    let run_ends = added % (RUN_PAGES * PAGE_SIZE) == 0;
                    assert!(run_ends || added == pages * PAGE_SIZE);
                    assert_eq!((gpa.get(), offset), (MIB + measured, 0x7000 + measured));
                    measured += 256;
                }
            }
        }
        assert_eq!((added, measured), (pages * PAGE_SIZE, pages * PAGE_SIZE));
        assert_eq!(segment(pages).run(pages), None);
        assert_eq!(segment(pages).run(u64::MAX), None);
    }
}

#[test]
fn only_the_header_is_read_and_only_once() {
    let bytes = image();
    let mut calls = 0;
    let image = GuestImage::read(48 * MIB, |out| {
        calls += 1;
        out.copy_from_slice(&bytes[..HEADER_SIZE]);
    });
    assert_eq!(image, GuestImage::parse(&bytes));
    assert_eq!(calls, 1);
    let never = GuestImage::read(HEADER_SIZE as u64 - 1, |_| panic!("too short to be read"));
    assert!(matches!(never, Err(ImageError::Truncated { .. })));
}

#[test]
fn each_broken_rule_is_named() {
    let with = |at: usize, value: &[u8]| {
        let mut bytes = image();
        bytes[at..at + value.len()].copy_from_slice(value);
        GuestImage::parse(&bytes).unwrap_err()
    };
    let word = |at: usize, value: u64| with(at, &value.to_le_bytes());
    let segment = |index, problem| ImageError::Segment { index, problem };
    assert_eq!(with(0, b"X"), ImageError::Magic);
    assert_eq!(with(8, &[2]), ImageError::Version(2));
    assert_eq!(with(12, &[33]), ImageError::SegmentCount(33));
    assert_eq!(with(12, &[1]), ImageError::NoResetVector);
    assert_eq!(with(12, &[0]), ImageError::NoResetVector);
    assert!(matches!(word(16, 1 << 40), ImageError::Truncated { .. }));
    assert!(matches!(word(24, 3 * MIB), ImageError::Memory(_)));
    assert_eq!(with(56, &[0]), ImageError::Vcpus(0));
    assert_eq!(with(56, &[9]), ImageError::Vcpus(9));
    assert_eq!(with(60, &[1]), ImageError::Gpaw(1));
    assert_eq!(with(64, b"\n"), ImageError::Name);
    assert_eq!(with(70, b"x"), ImageError::Name, "after the padding");
    assert_eq!(with(96, &[0x80]), ImageError::Goal);
    assert_eq!(with(160, &[2]), ImageError::Design, "neither TD nor plain");
    assert_eq!(with(165, &[1]), ImageError::Design, "bit 256");
    assert_eq!(with(169, &[1]), ImageError::Design, "finder 256");
    assert_eq!(with(255, &[1]), ImageError::Reserved);
    assert_eq!(
        word(256, 16 * MIB + 1),
        segment(0, SegmentProblem::Alignment)
    );
    assert_eq!(word(264, 0x1001), segment(0, SegmentProblem::Alignment));
    assert_eq!(word(272, 0), segment(0, SegmentProblem::Alignment));
    assert_eq!(with(280, &[2]), segment(0, SegmentProblem::Flags));
    assert_eq!(with(284, &[1]), segment(0, SegmentProblem::Flags));
    assert_eq!(word(264, 0), segment(0, SegmentProblem::OutsideImage));
    assert_eq!(word(264, 0x3000), segment(0, SegmentProblem::OutsideImage));
    assert_eq!(
        word(264, u64::MAX - 4095),
        segment(0, SegmentProblem::OutsideImage)
    );
    assert_eq!(
        word(256, 32 * MIB - 4096),
        segment(0, SegmentProblem::OutsideMemory)
    );
    assert_eq!(
        word(256, TOP_START - 4096),
        segment(0, SegmentProblem::OutsideMemory)
    );
    assert_eq!(
        word(256, TOP_END - 3 * 4096),
        segment(1, SegmentProblem::Order)
    );
    assert_eq!(word(288, 16 * MIB), segment(1, SegmentProblem::Order));
    assert_eq!(word(288, TOP_END - 8192), ImageError::NoResetVector);
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let top = contents(TOP_END - 4096, 4096);
    let refused = |p: &Parameters, c: &[Contents]| build::write(p, c).unwrap_err();
    let mut long = parameters();
    long.goal = "g".repeat(65);
    assert_eq!(refused(&long, std::slice::from_ref(&top)), ImageError::Goal);
    let mut many = vec![top];
    many.extend((0..MAX_SEGMENTS as u64).map(|n| contents(n * 8192, 1)));
    assert_eq!(
        refused(&parameters(), &many),
        ImageError::SegmentCount(MAX_SEGMENTS as u32 + 1)
    );
    let big = [contents(TOP_END - 4096, 4096), contents(0, 48 << 20)];
    assert!(matches!(
        refused(&parameters(), &big),
        ImageError::TooBig(_)
    ));
}

proptest! {
    /// Whatever the header says: an error, or pages that a builder can use without looking.
    #[test]
    fn noise_is_refused_or_harmless(
        changes in prop::collection::vec((0usize..320, any::<u8>()), 1..6),
        length in 0u64..6 * PAGE_SIZE,
    ) {
        let mut bytes = image();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.resize(length as usize, 0);
        if let Ok(image) = GuestImage::parse(&bytes) {
            let mut from = 0;
            for run in image.runs() {
                prop_assert!(run.gpa.is_aligned(PAGE_SIZE) && run.gpa.get() >= from);
                prop_assert!((1..=RUN_PAGES).contains(&run.pages));
                let bytes = run.pages * PAGE_SIZE;
                from = run.gpa.get() + bytes;
                prop_assert!(from <= image.memory().bytes() || run.gpa.get() >= TOP_START);
                prop_assert!(run.offset >= PAGE_SIZE && run.offset % PAGE_SIZE == 0);
                prop_assert!(run.offset + bytes <= length);
            }
            prop_assert_eq!(from, TOP_END);
        }
    }
}
