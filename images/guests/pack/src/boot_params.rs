//! Linux's boot parameters, the "zero page" (Linux x86 boot protocol, zero-page.rst).
//!
//! Boot loaders fill it in at boot. Here all of it is known beforehand, so it is packed and
//! measured, and the TD's loader has nothing to compute.

use crate::bzimage::{BzImage, HEADER_START};
use gpa::PAGE_SIZE;
use guest_image::layout::{self, MIB, MemorySize};
use std::ops::Range;

/// Types of memory in the memory map (ACPI 6.4 §15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Free to use.
    Usable = 1,
    /// Not to be touched.
    Reserved = 2,
    /// To be kept for ACPI: its tables, the mailbox. Linux maps these as private memory, and,
    /// unlike type 3, doesn't take them for the end of its memory.
    AcpiNvs = 4,
}

/// Where a PC's video memory and ROMs would be. Linux looks for tables in there, so there is
/// memory, and doesn't use it, as the map says.
const LEGACY_HOLE: Range<u64> = 0xa_0000..0x10_0000;

/// The memory map, ascending.
pub fn memory_map(memory: MemorySize) -> Vec<(Range<u64>, MemoryType)> {
    let acpi = layout::ACPI.get();
    let mailbox = layout::MAILBOX.get();
    let code = layout::TD_CODE.get();
    vec![
        (0..LEGACY_HOLE.start, MemoryType::Usable),
        (LEGACY_HOLE, MemoryType::Reserved),
        (LEGACY_HOLE.end..memory.bytes(), MemoryType::Usable),
        (acpi..acpi + layout::ACPI_SIZE, MemoryType::AcpiNvs),
        (acpi + layout::ACPI_SIZE..mailbox, MemoryType::Reserved),
        (mailbox..code, MemoryType::AcpiNvs),
        (code..layout::TOP_END, MemoryType::Reserved),
    ]
}

/// The page for this kernel, loaded at its preferred address, and this initrd (not empty
/// only where there is one). The initrd lies below 4 GiB, as all memory does.
pub fn page(kernel: &BzImage<'_>, initrd: Range<u64>, memory: MemorySize) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE as usize];
    let mut put = |at: usize, value: &[u8]| page[at..at + value.len()].copy_from_slice(value);
    put(HEADER_START, kernel.header());
    // vid_mode: normal.
    put(0x1fa, &0xffffu16.to_le_bytes());
    // type_of_loader: without a number of its own.
    put(0x210, &[0xff]);
    put(0x214, &(kernel.preferred_address() as u32).to_le_bytes());
    put(0x218, &(initrd.start as u32).to_le_bytes());
    put(0x21c, &((initrd.end - initrd.start) as u32).to_le_bytes());
    put(0x228, &(layout::COMMAND_LINE.get() as u32).to_le_bytes());
    put(0x070, &layout::ACPI.get().to_le_bytes());
    let map = memory_map(memory);
    put(0x1e8, &[map.len() as u8]);
    for (n, (range, kind)) in map.into_iter().enumerate() {
        let at = 0x2d0 + 20 * n;
        put(at, &range.start.to_le_bytes());
        put(at + 8, &(range.end - range.start).to_le_bytes());
        put(at + 16, &(kind as u32).to_le_bytes());
    }
    page
}

const _: () = assert!(LEGACY_HOLE.end == MIB);
