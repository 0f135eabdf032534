//! Writes the bootable image: the initial task's ELF file with the system
//! image as one more segment behind it.

use system_image::{Header, table_bytes};

use object::{
    Endianness,
    elf::{FileHeader32, PT_LOAD},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use crate::{layout::Layout, program::Program};

const PAGE: u64 = system_image::PAGE;
const ELF_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// The system image's bytes: tables, then page-aligned data. Sets the regions'
/// `data_offset`.
pub fn system_image(layout: &mut Layout) -> Vec<u8> {
    let header = Header {
        pds: layout.pds.len() as u32,
        regions: layout.regions.len() as u32,
        maps: layout.maps.len() as u32,
        tables: layout.tables.len() as u32,
        signals: layout.signals.len() as u32,
        calls: layout.calls.len() as u32,
        irqs: layout.irqs.len() as u32,
        io_ports: layout.io_ports.len() as u32,
        ..Header::new()
    };
    let tables_bytes = table_bytes(&[header]).len()
        + table_bytes(&layout.pds).len()
        + table_bytes(&layout.regions).len()
        + table_bytes(&layout.maps).len()
        + table_bytes(&layout.tables).len()
        + table_bytes(&layout.signals).len()
        + table_bytes(&layout.calls).len()
        + table_bytes(&layout.irqs).len()
        + table_bytes(&layout.io_ports).len();
    let mut offset = (tables_bytes as u64).next_multiple_of(PAGE);
    for (region, data) in layout.regions.iter_mut().zip(&layout.data) {
        region.data_offset = offset;
        offset += (data.len() as u64).next_multiple_of(PAGE);
    }
    let mut bytes = Vec::with_capacity(offset as usize);
    bytes.extend_from_slice(table_bytes(&[header]));
    bytes.extend_from_slice(table_bytes(&layout.pds));
    bytes.extend_from_slice(table_bytes(&layout.regions));
    bytes.extend_from_slice(table_bytes(&layout.maps));
    bytes.extend_from_slice(table_bytes(&layout.tables));
    bytes.extend_from_slice(table_bytes(&layout.signals));
    bytes.extend_from_slice(table_bytes(&layout.calls));
    bytes.extend_from_slice(table_bytes(&layout.irqs));
    bytes.extend_from_slice(table_bytes(&layout.io_ports));
    for data in &layout.data {
        bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        bytes.extend_from_slice(data);
    }
    bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
    bytes
}

/// First physical address past the kernel (a 32-bit multiboot ELF file).
///
/// # Errors
/// If the file is something else.
pub fn kernel_end(bytes: &[u8]) -> Result<u64, String> {
    let wrong = |error: object::Error| format!("not a 32-bit ELF file: {error}");
    let header = FileHeader32::<Endianness>::parse(bytes).map_err(wrong)?;
    let endian = header.endian().map_err(wrong)?;
    let segments = header.program_headers(endian, bytes).map_err(wrong)?;
    let loaded = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD);
    let end = |segment: &object::elf::ProgramHeader32<Endianness>| {
        u64::from(segment.p_paddr(endian)) + u64::from(segment.p_memsz(endian))
    };
    loaded
        .map(end)
        .max()
        .ok_or_else(|| "has nothing to load".into())
}

/// Joins the initial task and the system image into one ELF file.
///
/// # Errors
/// If the initial task has no variable for the image's address.
pub fn boot_image(init: &mut Program, system_image: Vec<u8>) -> Result<Vec<u8>, String> {
    let end = init
        .segments
        .iter()
        .map(|segment| segment.vaddr + segment.size)
        .max()
        .unwrap_or(0);
    let mut place = [0; 16];
    place[..8].copy_from_slice(&end.to_le_bytes());
    place[8..].copy_from_slice(&(system_image.len() as u64).to_le_bytes());
    init.set("SYSTEM_IMAGE", &place)
        .map_err(|error| error.to_string())?;

    // The kernel loads every program header, whatever its type: there are no
    // others than loadable ones.
    let mut segments: Vec<(u64, u64, &[u8])> = init
        .segments
        .iter()
        .map(|segment| (segment.vaddr, segment.size, segment.data.as_slice()))
        .collect();
    segments.push((end, system_image.len() as u64, &system_image));
    let headers = ELF_HEADER + PROGRAM_HEADER * segments.len() as u64;
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&2u16.to_le_bytes()); // e_type: ET_EXEC
    file.extend_from_slice(&62u16.to_le_bytes()); // e_machine: EM_X86_64
    file.extend_from_slice(&1u32.to_le_bytes()); // e_version
    file.extend_from_slice(&init.entry.to_le_bytes()); // e_entry
    file.extend_from_slice(&ELF_HEADER.to_le_bytes()); // e_phoff
    file.extend_from_slice(&0u64.to_le_bytes()); // e_shoff
    file.extend_from_slice(&0u32.to_le_bytes()); // e_flags
    let sizes = [
        ELF_HEADER as u16,
        PROGRAM_HEADER as u16,
        segments.len() as u16,
        64,
        0,
        0,
    ];
    sizes
        .iter()
        .for_each(|size| file.extend_from_slice(&size.to_le_bytes()));
    let mut offset = headers.next_multiple_of(PAGE);
    for (vaddr, size, data) in &segments {
        file.extend_from_slice(&1u32.to_le_bytes()); // p_type: PT_LOAD
        file.extend_from_slice(&7u32.to_le_bytes()); // p_flags: rwx
        for word in [offset, *vaddr, *vaddr, data.len() as u64, *size, PAGE] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        offset += (data.len() as u64).next_multiple_of(PAGE);
    }
    for (_, _, data) in &segments {
        file.resize(file.len().next_multiple_of(PAGE as usize), 0);
        file.extend_from_slice(data);
    }
    Ok(file)
}
