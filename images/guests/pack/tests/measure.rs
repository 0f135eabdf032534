//! MRTD against values that were computed independently of this code from the TDX module's
//! rules, and of a whole image against a second, plain implementation.

use gpa::Gpa;
use guest_image::build::{self, Contents, Parameters};
use guest_image::layout::{MIB, MemorySize, TOP_END};
use guest_image::{GuestImage, MemoryDesign, Run, Step};
use guest_pack::measure;
use sha2::{Digest, Sha384};

fn hex_of(pages: &[Run], contents: &[u8]) -> String {
    let steps = pages.iter().flat_map(|page| page.steps());
    measure::hex(&measure::of_steps(steps, contents))
}

fn page(gpa: u64, measured: bool) -> Run {
    Run {
        gpa: Gpa::new(gpa),
        offset: 0,
        pages: 1,
        measured,
    }
}

#[test]
fn known_values() {
    let zeros = [0; 4096];
    let bytes: Vec<u8> = (0..4096).map(|k| k as u8).collect();
    let known = [
        (
            hex_of(&[], &zeros),
            "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
        ),
        (
            hex_of(&[page(0, false)], &zeros),
            "8f3e9a8aca6784eab874f7aa4dda5d49104a88047f1f86695ef2a88f5691a90e34aac48ce45ffa1f5a23c7d62980d570",
        ),
        (
            hex_of(&[page(0xffff_f000, false)], &zeros),
            "8d411e4377a0da03b249acbe9a7939b44b4483b5a6c81341f00d60c1f417257f9a5c1c03f2f223c59f010f4933f238b8",
        ),
        (
            hex_of(&[page(0, true)], &zeros),
            "236f0efa607ff8843f1855d7ef80dc3dda8fb455787a186b8787212951eab0096e3193bb26f817c2b63c21f5e10f9938",
        ),
        (
            hex_of(&[page(0x1000, true)], &bytes),
            "15a8464628b6214951c4a1b57775507dd950263654e8790e257995b45013c84aba1d87a3bcbc1929b5f7db6d3e92cad6",
        ),
    ];
    for (computed, known) in known {
        assert_eq!(computed, known);
    }
}

#[test]
fn a_whole_image() {
    let parameters = Parameters {
        memory: MemorySize::new(16 * MIB).unwrap(),
        vcpus: 1,
        attributes: 0,
        xfam: 3,
        entry_value: 0,
        design: MemoryDesign::default(),
        name: "test".into(),
        goal: String::new(),
    };
    let contents = [
        Contents {
            gpa: Gpa::new(0x5000),
            bytes: (0..300_000).map(|n| (n / 256) as u8).collect(),
            measured: true,
        },
        Contents {
            gpa: Gpa::new(0x9_0000),
            bytes: vec![0x5a; 4096],
            measured: false,
        },
        Contents {
            gpa: Gpa::new(TOP_END - 4096),
            bytes: (0..4096).map(|n| (n / 256) as u8).collect(),
            measured: true,
        },
    ];
    let bytes = build::write(&parameters, &contents).unwrap();
    let image = GuestImage::parse(&bytes).unwrap();

    // All that is hashed, end to end, from the contents rather than from the image.
    let mut hashed = Vec::new();
    let block = |tag: &str, gpa: u64| {
        let mut block = tag.as_bytes().to_vec();
        block.resize(16, 0);
        block.extend(gpa.to_le_bytes());
        block.resize(128, 0);
        block
    };
    for c in &contents {
        let mut bytes = c.bytes.clone();
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        for (n, run) in bytes.chunks(32 * 4096).enumerate() {
            let gpa = c.gpa.get() + 32 * 4096 * n as u64;
            for page in 0..run.len() as u64 / 4096 {
                hashed.extend(block("MEM.PAGE.ADD", gpa + 4096 * page));
            }
            for (m, chunk) in run.chunks(256).enumerate().filter(|_| c.measured) {
                hashed.extend(block("MR.EXTEND", gpa + 256 * m as u64));
                hashed.extend(chunk);
            }
        }
    }
    let expected: [u8; 48] = Sha384::digest(&hashed).into();
    assert_eq!(measure::mrtd(&image, &bytes), expected);

    // A changed byte of a measured page changes it; one of an added page doesn't.
    let offset = |wanted: u64| {
        let mut steps = image.runs().flat_map(|r| r.steps());
        steps
            .find_map(|s| match s {
                Step::Add { gpa, offset } if gpa.get() == wanted => Some(offset as usize),
                _ => None,
            })
            .unwrap()
    };
    for (gpa, same) in [(0x5000, false), (0x9_0000, true), (TOP_END - 4096, false)] {
        let mut changed = bytes.clone();
        changed[offset(gpa) + 77] ^= 1;
        assert_eq!(
            measure::mrtd(&image, &changed) == expected,
            same,
            "{gpa:#x}"
        );
    }
}
