//! The pages of a TD's own binary (loader or hello TD), out of its ELF file.

use gpa::{Gpa, PAGE_SIZE};
use guest_image::build::Contents;
use guest_image::layout;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, elf};
use std::collections::BTreeMap;

/// The binary's pages. Those that no part of it touches aren't in the TD.
///
/// # Errors
/// What is wrong with the file, in words.
pub fn contents(file: &[u8]) -> Result<Vec<Contents>, String> {
    let hint = "build it with images/guests/build";
    let wrong = |what: &str| format!("{what}: {hint}");
    let header = FileHeader64::<LittleEndian>::parse(file)
        .map_err(|_| wrong("not a 64-bit little-endian ELF file"))?;
    if header.e_machine.get(LittleEndian) != elf::EM_X86_64 {
        return Err(wrong("an ELF file for another processor"));
    }
    let segments = header
        .program_headers(LittleEndian, file)
        .map_err(|error| wrong(&error.to_string()))?;
    let mut pages: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for segment in segments {
        if segment.p_type(LittleEndian) != PT_LOAD {
            continue;
        }
        let start = segment.p_paddr(LittleEndian);
        let end = start.checked_add(segment.p_memsz(LittleEndian));
        if start < layout::TD_CODE.get() || end.is_none_or(|end| end > layout::TOP_END) {
            return Err(wrong(&format!(
                "a part of it wants to be at {start:#x}, not between {:#x} and 4 GiB",
                layout::TD_CODE
            )));
        }
        let data = segment
            .data(LittleEndian, file)
            .map_err(|()| wrong("truncated"))?;
        let end = start + segment.p_memsz(LittleEndian);
        for page in (start - start % PAGE_SIZE..end).step_by(PAGE_SIZE as usize) {
            pages
                .entry(page)
                .or_insert_with(|| vec![0; PAGE_SIZE as usize]);
        }
        for (at, &byte) in (start..).zip(data) {
            let page = pages.get_mut(&(at - at % PAGE_SIZE));
            let page =
                page.ok_or_else(|| wrong("a part of it is longer in the file than in memory"))?;
            page[(at % PAGE_SIZE) as usize] = byte;
        }
    }
    if !pages.contains_key(&(layout::TOP_END - PAGE_SIZE)) {
        return Err(wrong("it has nothing at the reset vector"));
    }
    Ok(runs(pages))
}

/// Joins pages that stand side by side.
fn runs(pages: BTreeMap<u64, Vec<u8>>) -> Vec<Contents> {
    let mut runs: Vec<Contents> = Vec::new();
    for (gpa, bytes) in pages {
        match runs.last_mut() {
            Some(run) if run.gpa.get() + run.bytes.len() as u64 == gpa => run.bytes.extend(bytes),
            _ => runs.push(Contents {
                gpa: Gpa::new(gpa),
                bytes,
                measured: true,
            }),
        }
    }
    runs
}
