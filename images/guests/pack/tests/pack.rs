//! Images of made-up files: what is where, and what is refused.

mod common;

use guest_image::launch::Launch;
use guest_image::layout::{self, MIB, MemorySize};
use guest_image::{GuestImage, ImageError, MemoryDesign};
use guest_pack::bzimage::BzImageError;
use guest_pack::pack::{self, Common, File, PackError, SEPT_VE_DISABLE};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

const INITRD: &[u8] = b"070701 and so on";

fn memory(mib: u64) -> MemorySize {
    MemorySize::new(mib * MIB).unwrap()
}

fn file(bytes: &[u8]) -> File<'_> {
    File {
        name: "the-file",
        bytes,
    }
}

fn common<'a>(binary: &'a [u8], mib: u64) -> Common<'a> {
    Common {
        memory: memory(mib),
        vcpus: 2,
        design: MemoryDesign::default(),
        name: "test",
        goal: "done",
        binary: file(binary),
    }
}

/// The image of Linux with this kernel, initrd [`INITRD`], 64 MiB.
fn linux(kernel: &[u8]) -> Result<Vec<u8>, PackError> {
    let binary = common::td_binary();
    let initrd = Some(file(INITRD));
    pack::linux(&common(&binary, 64), file(kernel), initrd, "words", false)
}

/// What stands in a TD's memory at an address, if anything does.
fn at(image: &[u8], gpa: u64, length: usize) -> Option<&[u8]> {
    let parsed = GuestImage::parse(image).unwrap();
    let segment = parsed
        .segments()
        .iter()
        .find(|s| s.gpa.get() <= gpa && gpa + length as u64 <= s.gpa.get() + s.length)?;
    let offset = (segment.offset + gpa - segment.gpa.get()) as usize;
    Some(&image[offset..offset + length])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn launch(image: &[u8]) -> Launch {
    let page = at(image, layout::LAUNCH.get(), 4096).unwrap();
    let (used, rest) = page.split_first_chunk().unwrap();
    assert!(rest.iter().all(|&b| b == 0));
    Launch::parse(used).unwrap()
}

#[test]
fn hello() {
    let binary = common::td_binary();
    let image = pack::single(&common(&binary, 16)).unwrap();
    let parsed = GuestImage::parse(&image).unwrap();
    assert_eq!((parsed.attributes(), parsed.xfam()), (0, 3));
    assert_eq!((parsed.vcpus(), parsed.goal()), (2, "done"));
    assert_eq!(at(&image, layout::TD_CODE.get(), 4), Some(&b"code"[..]));
    assert_eq!(
        at(&image, layout::TD_CODE.get() + 0x2fff, 1),
        Some(&[0][..]),
        "what is in memory only is there"
    );
    assert_eq!(at(&image, layout::TD_CODE.get() + 0x3000, 1), None);
    assert_eq!(at(&image, layout::RESET_VECTOR.get(), 1), Some(&[0xf4][..]));
    assert_eq!(
        at(&image, layout::MAILBOX.get(), 4096),
        Some(&[0; 4096][..])
    );
    let launch = launch(&image);
    assert_eq!((launch.vcpus, launch.kernel_entry), (2, 0));
    assert!(launch.added.is_empty());
    assert!(parsed.segments().iter().all(|s| s.measured));
}

#[test]
fn a_kernel_that_unpacks_itself() {
    let kernel = common::bzimage(b"not compressed by any means known here", 8192, 2 << 20);
    let image = linux(&kernel).unwrap();
    let parsed = GuestImage::parse(&image).unwrap();
    assert_eq!(parsed.attributes(), SEPT_VE_DISABLE);
    assert_eq!(at(&image, 16 * MIB, 8192), Some(&kernel[5 * 512..]));
    let initrd = 64 * MIB - 4096;
    assert_eq!(at(&image, initrd, INITRD.len()), Some(INITRD));
    let launch = launch(&image);
    assert_eq!(launch.kernel_entry, 16 * MIB + 0x200);
    assert_eq!(
        launch.added[..],
        [16 * MIB..16 * MIB + 8192, initrd..64 * MIB]
    );
    assert_eq!(
        at(&image, layout::COMMAND_LINE.get(), 6),
        Some(&b"words\0"[..])
    );
    assert_eq!(at(&image, layout::ACPI.get(), 8), Some(&b"RSD PTR "[..]));
    assert!(parsed.segments().iter().all(|s| s.measured));
}

#[test]
fn boot_parameters() {
    let kernel = common::bzimage(b"", 8192, 2 << 20);
    let image = linux(&kernel).unwrap();
    let page = at(&image, layout::BOOT_PARAMS.get(), 4096).unwrap();
    assert_eq!(&page[0x202..0x206], b"HdrS");
    assert_eq!(page[0x234..0x238], kernel[0x234..0x238], "header copied");
    assert_eq!(page[0x210], 0xff, "type of loader");
    assert_eq!(page[0x1ef], 0, "sentinel");
    assert_eq!(u64::from(u32_at(page, 0x218)), 64 * MIB - 4096);
    assert_eq!(u32_at(page, 0x21c) as usize, INITRD.len());
    assert_eq!(u64::from(u32_at(page, 0x228)), layout::COMMAND_LINE.get());
    assert_eq!(u64::from(u32_at(page, 0x70)), layout::ACPI.get());
    // The memory map: ascending, no overlaps; all that the packer added at the top is kept
    // from the kernel, and no page is usable that isn't memory.
    let mut from = 0;
    let mut usable = 0;
    for entry in page[0x2d0..].chunks(20).take(page[0x1e8].into()) {
        let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        let (start, length, kind) = (word(0), word(8), u32_at(entry, 16));
        assert!(start >= from && length > 0);
        from = start + length;
        if kind == 1 {
            assert!(from <= 64 * MIB);
            usable += length;
        }
    }
    assert_eq!(from, 1 << 32);
    assert_eq!(usable, 64 * MIB - 0x6_0000, "all but the legacy hole");
}

#[test]
fn a_kernel_that_is_unpacked_here() {
    let text = vec![0x90; 3 << 20];
    let data = b"some data";
    let vmlinux = common::elf(
        16 * MIB + 0x123,
        &[(16 * MIB, &text, 4 << 20), (24 * MIB, data, 1 << 20)],
    );
    let packed = compress_to_vec(vmlinux.as_slice(), CompressionLevel::Fastest);
    let kernel = common::bzimage(&packed, packed.len().next_multiple_of(16) + 4096, 40 << 20);
    let image = linux(&kernel).unwrap();
    assert_eq!(at(&image, 16 * MIB, text.len()), Some(&text[..]));
    assert_eq!(at(&image, 19 * MIB, 1), None, "only zeros: not packed");
    assert_eq!(at(&image, 24 * MIB, data.len()), Some(&data[..]));
    let unpacked = launch(&image);
    assert_eq!(unpacked.kernel_entry, 16 * MIB + 0x123);
    assert_eq!(
        unpacked.added[..2],
        [16 * MIB..19 * MIB, 24 * MIB..24 * MIB + 4096]
    );

    let binary = common::td_binary();
    let kept = pack::linux(&common(&binary, 64), file(&kernel), None, "", true).unwrap();
    assert_eq!(launch(&kept).kernel_entry, 16 * MIB + 0x200);
    assert_eq!(at(&kept, 16 * MIB, 16), Some(&kernel[5 * 512..][..16]));
    assert_eq!(launch(&kept).added.len(), 1, "no initrd");

    // A damaged payload is the kernel's business, as it always was.
    let mut damaged = kernel.clone();
    damaged[5 * 512 + 0x300 + packed.len() / 2] ^= 0xff;
    let entry = launch(&linux(&damaged).unwrap()).kernel_entry;
    assert!([16 * MIB + 0x200, 16 * MIB + 0x123].contains(&entry));
}

#[test]
fn kernels_that_are_refused() {
    let good = common::bzimage(b"", 8192, 2 << 20);
    let refused = |bytes: &[u8]| match linux(bytes).unwrap_err() {
        PackError::Kernel { name, error } => {
            assert_eq!(name, "the-file");
            error
        }
        other => panic!("{other}"),
    };
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        refused(&bytes)
    };
    assert_eq!(refused(b""), BzImageError::NoMagic);
    assert_eq!(refused(&[0; 9000]), BzImageError::NoMagic);
    assert_eq!(refused(&common::td_binary()), BzImageError::Elf);
    assert_eq!(with(0x202, b'h'), BzImageError::NoMagic);
    assert_eq!(with(0x206, 0x0b), BzImageError::OldProtocol(0x20b));
    assert_eq!(with(0x211, 0), BzImageError::No64BitEntry);
    assert_eq!(with(0x236, 0), BzImageError::No64BitEntry);
    assert_eq!(with(0x234, 0), BzImageError::NotRelocatable);
    assert_eq!(
        refused(&good[..good.len() - 1]),
        BzImageError::Truncated {
            needed: good.len(),
            have: good.len() - 1
        }
    );
    assert!(matches!(with(0x1f7, 0xff), BzImageError::Truncated { .. }));
}

#[test]
fn what_does_not_fit() {
    let binary = common::td_binary();
    let kernel = common::bzimage(b"", 8192, 20 << 20);
    let pack = |mib: u64, initrd: &[u8]| {
        let initrd = Some(file(initrd));
        pack::linux(&common(&binary, mib), file(&kernel), initrd, "", false)
    };
    // 16 MiB and 20 MiB for the kernel, a page for the initrd, up to a multiple of 2 MiB.
    assert!(pack(38, INITRD).is_ok());
    let error = pack(36, INITRD).unwrap_err().to_string();
    assert!(
        error.contains("needs 38M of memory, not 36M: give at least 38M"),
        "{error}"
    );

    let mut big = INITRD.to_vec();
    big.resize(47 << 20, 1);
    let error = pack(256, &big).unwrap_err();
    assert!(matches!(error, PackError::Room { .. }), "{error}");

    let huge = common::bzimage(b"", 8192, 400 << 20);
    let error = pack::linux(&common(&binary, 368), file(&huge), None, "", false).unwrap_err();
    assert!(
        error.to_string().contains("a TD has at most 368M"),
        "{error}"
    );

    let line = "x".repeat(2048);
    let error = pack::linux(&common(&binary, 64), file(&kernel), None, &line, false);
    assert!(matches!(
        error,
        Err(PackError::CommandLine { limit: 2047, .. })
    ));
}

#[test]
fn other_files_that_are_refused() {
    let kernel = common::bzimage(b"", 8192, 2 << 20);
    let binary = common::td_binary();
    for (bytes, empty) in [(&b""[..], true), (b"hello", false)] {
        let initrd = Some(file(bytes));
        let error = pack::linux(&common(&binary, 64), file(&kernel), initrd, "", false);
        let name = "the-file".to_string();
        assert_eq!(error, Err(PackError::Initrd { name, empty }));
    }
    let binary = |bytes: &[u8]| pack::single(&common(bytes, 16)).unwrap_err().to_string();
    assert!(binary(b"#!/bin/sh").contains("not a 64-bit"));
    let low = common::elf(0, &[(0x10_0000, b"x", 1)]);
    assert!(binary(&low).contains("wants to be at 0x100000"));
    let high = common::elf(0, &[(0xffff_f000, b"x", 0x1001)]);
    assert!(binary(&high).contains("wants to be at"));
    let nothing_at_reset = common::elf(0, &[(0xfffe_0000, b"x", 1)]);
    assert!(binary(&nothing_at_reset).contains("reset vector"));
    let mut truncated = common::td_binary();
    truncated.truncate(200);
    assert!(binary(&truncated).contains("truncated"));
    let mut other = common::td_binary();
    other[18] = 183;
    assert!(binary(&other).contains("another processor"));
}

#[test]
fn names_are_checked() {
    let binary = common::td_binary();
    let mut common = common(&binary, 16);
    common.goal = "two\nlines";
    assert_eq!(
        pack::single(&common),
        Err(PackError::Image(ImageError::Goal))
    );
}
