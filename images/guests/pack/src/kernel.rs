//! What of a kernel goes into memory, and where it is entered.
//!
//! A bzImage is a compressed kernel with a program before it that unpacks it. That program
//! would take the guest more instructions than all the rest of its boot, so the packer unpacks
//! where it can, and puts the kernel where the program would have: at its link address, with
//! no randomisation. It is entered where the program would have jumped to, in the same state.

use crate::bzimage::BzImage;
use gpa::{Gpa, PAGE_SIZE};
use guest_image::layout::MIB;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, elf};
use std::io::Read;

/// A kernel as it is put into memory.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its parts: addresses (4 KiB aligned) and contents. What is between is zero.
    pub parts: Vec<(Gpa, Vec<u8>)>,
    /// Where it is entered in 64-bit mode.
    pub entry: u64,
    /// The end of what it needs before it knows the memory map.
    pub end: u64,
}

/// Offset of the 64-bit entry point in a bzImage's protected-mode code.
const ENTRY_64: u64 = 0x200;
/// Most bytes that a kernel may unpack to: more than any memory here.
const UNPACKED_LIMIT: u64 = 512 * MIB;
/// Zeros of this length and more aren't packed: pages that are accepted are zero.
const ZEROS: usize = 1 << 20;

impl Kernel {
    /// The kernel as its file has it: it unpacks itself in the guest.
    pub fn packed(image: &BzImage<'_>) -> Self {
        let load = image.preferred_address();
        Self {
            parts: vec![(Gpa::new(load), image.code().to_vec())],
            entry: load.saturating_add(ENTRY_64),
            end: load.saturating_add(image.init_size()),
        }
    }

    /// The kernel unpacked, where it is compressed with zstd (as Debian's and others' are).
    pub fn unpacked(image: &BzImage<'_>) -> Option<Self> {
        let mut file = Vec::new();
        let decoder = ruzstd::decoding::StreamingDecoder::new(image.payload()?).ok()?;
        decoder
            .take(UNPACKED_LIMIT + 1)
            .read_to_end(&mut file)
            .ok()?;
        if file.len() as u64 > UNPACKED_LIMIT {
            return None;
        }
        Self::from_elf(&file)
    }

    /// The parts that a vmlinux names, without long stretches of zeros.
    fn from_elf(file: &[u8]) -> Option<Self> {
        let header = FileHeader64::<LittleEndian>::parse(file).ok()?;
        if header.e_machine.get(LittleEndian) != elf::EM_X86_64 {
            return None;
        }
        let mut parts = Vec::new();
        let mut end = 0;
        for segment in header.program_headers(LittleEndian, file).ok()? {
            if segment.p_type(LittleEndian) != PT_LOAD {
                continue;
            }
            let start = segment.p_paddr(LittleEndian);
            if !start.is_multiple_of(PAGE_SIZE) || start < end {
                return None;
            }
            end = start.checked_add(segment.p_memsz(LittleEndian))?;
            let data = segment.data(LittleEndian, file).ok()?;
            parts.extend(without_zeros(start, data));
        }
        Some(Self {
            parts,
            entry: header.e_entry(LittleEndian),
            end: end.checked_next_multiple_of(PAGE_SIZE)?,
        })
    }
}

/// Splits contents at stretches of [`ZEROS`] or more zeros.
fn without_zeros(start: u64, data: &[u8]) -> Vec<(Gpa, Vec<u8>)> {
    let page = PAGE_SIZE as usize;
    let mut parts: Vec<(Gpa, Vec<u8>)> = Vec::new();
    let mut at = 0;
    for chunk in data.chunks(ZEROS) {
        if chunk.iter().any(|&b| b != 0) {
            // Whole pages at the chunk's end may still be zero.
            let used = chunk.iter().rposition(|&b| b != 0).map_or(0, |n| n + 1);
            let used = chunk.len().min(used.next_multiple_of(page));
            let gpa = start + at as u64;
            match parts.last_mut() {
                Some((first, bytes)) if first.get() + bytes.len() as u64 == gpa => {
                    bytes.extend(&chunk[..used]);
                }
                _ => parts.push((Gpa::new(gpa), chunk[..used].to_vec())),
            }
        }
        at += chunk.len();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_and_nothing_else() {
        let mut data = vec![0; 5 * ZEROS + 100];
        data[0] = 1;
        data[ZEROS - 1] = 1;
        data[ZEROS] = 1;
        data[4 * ZEROS + 5000] = 1;
        data[5 * ZEROS + 99] = 1;
        let base = 16 * MIB;
        let parts = without_zeros(base, &data);
        let mut back = vec![0; data.len()];
        for (gpa, bytes) in &parts {
            let at = (gpa.get() - base) as usize;
            assert!(gpa.is_aligned(PAGE_SIZE));
            back[at..at + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(back, data);
        let places: Vec<_> = parts
            .iter()
            .map(|(g, b)| (g.get() - base, b.len()))
            .collect();
        let z = ZEROS as u64;
        assert_eq!(
            places,
            [(0, ZEROS + 4096), (4 * z, 8192), (5 * z, 100)],
            "joined where they touch, cut to pages"
        );
        assert!(without_zeros(0, &[0; 100]).is_empty());
    }
}
