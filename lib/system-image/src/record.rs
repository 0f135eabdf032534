//! The records of a system image. All numbers are little endian, all records
//! multiples of 8 bytes without padding.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `Region::paddr` of a region that may lie anywhere.
pub const ANYWHERE: u64 = u64::MAX;

/// Turns a name into a fixed field: cut off if too long, the rest zero.
pub fn name_bytes<const N: usize>(name: &str) -> [u8; N] {
    let mut field = [0; N];
    let length = name.len().min(N - 1);
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
    field
}

/// The name in a fixed field; "?" if it isn't UTF-8.
pub fn name_str(field: &[u8]) -> &str {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    core::str::from_utf8(&field[..end]).unwrap_or("?")
}

/// Begins an image: how many records each table has.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// [`Header::MAGIC`].
    pub magic: [u8; 8],
    /// Records of [`Pd`].
    pub pds: u32,
    /// Records of [`Region`].
    pub regions: u32,
    /// Records of [`Map`].
    pub maps: u32,
    /// Records of [`Table`].
    pub tables: u32,
    /// Records of [`Signal`].
    pub signals: u32,
    /// Records of [`Call`].
    pub calls: u32,
    /// Records of [`Irq`].
    pub irqs: u32,
    /// Records of [`IoPorts`].
    pub io_ports: u32,
}

impl Header {
    /// First bytes of every image of this version.
    pub const MAGIC: [u8; 8] = *b"septum01";

    /// A header without records.
    pub const fn new() -> Self {
        Self {
            magic: Self::MAGIC,
            pds: 0,
            regions: 0,
            maps: 0,
            tables: 0,
            signals: 0,
            calls: 0,
            irqs: 0,
            io_ports: 0,
        }
    }
}

impl Default for Header {
    fn default() -> Self {
        Self::new()
    }
}

/// A protection domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Pd {
    /// Its name, zero-terminated.
    pub name: [u8; 64],
    /// Address of its first instruction.
    pub entry: u64,
    /// Scheduling priority, 0 (lowest) to 254.
    pub priority: u32,
    /// Index of the region that is its IPC buffer.
    pub ipc_buffer: u32,
}

/// What a region's pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Backing {
    /// Memory, zeroed unless it has a physical address, then the region's data
    /// copied in.
    Memory = 0,
    /// The pages of the image that hold the region's data.
    Image = 1,
}

/// A stretch of memory, its pages of one size.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Region {
    /// Its name, zero-terminated.
    pub name: [u8; 64],
    /// Bytes, a multiple of the page size.
    pub size: u64,
    /// Physical address, or [`ANYWHERE`].
    pub paddr: u64,
    /// Where its data lies in the image; page-aligned.
    pub data_offset: u64,
    /// Bytes of data; the rest of the region is zero.
    pub data_length: u64,
    /// Bytes of a page as a power of two: 12 or 21.
    pub page_bits: u32,
    /// A [`Backing`].
    pub backing: u32,
}

/// A region in a PD's address space.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Map {
    /// Index of the PD.
    pub pd: u32,
    /// Index of the region.
    pub region: u32,
    /// Virtual address of the region's first byte.
    pub vaddr: u64,
    /// 1 if the PD may write.
    pub writable: u32,
    /// 1 if accesses are cached.
    pub cached: u32,
}

/// A page table of a PD.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Table {
    /// Index of the PD.
    pub pd: u32,
    /// 3: page directory pointer table, 2: page directory, 1: page table.
    pub level: u32,
    /// Virtual address of the first byte it covers.
    pub vaddr: u64,
}

/// Channel `id` of `pd` signals channel `peer_id` of `peer`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Signal {
    /// Index of the PD that signals.
    pub pd: u32,
    /// Its channel.
    pub id: u32,
    /// Index of the PD that is signalled.
    pub peer: u32,
    /// Its channel.
    pub peer_id: u32,
}

/// Channel `id` of `pd` calls channel `peer_id` of `peer`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Call {
    /// Index of the PD that calls.
    pub pd: u32,
    /// Its channel.
    pub id: u32,
    /// Index of the PD that is called.
    pub peer: u32,
    /// Its channel.
    pub peer_id: u32,
}

/// An IOAPIC pin that signals channel `id` of `pd`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Irq {
    /// Index of the PD.
    pub pd: u32,
    /// Its channel.
    pub id: u32,
    /// Number of the IOAPIC.
    pub ioapic: u32,
    /// Its pin.
    pub pin: u32,
    /// 1: level triggered, 0: edge.
    pub level: u32,
    /// 1: active low, 0: high.
    pub low: u32,
    /// CPU vector, counted from the first that users may have.
    pub vector: u32,
    /// Zero.
    pub reserved: u32,
}

/// The I/O ports `first..=last` as `id` of `pd`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IoPorts {
    /// Index of the PD.
    pub pd: u32,
    /// Its number for them.
    pub id: u32,
    /// First port.
    pub first: u32,
    /// Last port.
    pub last: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_are_cut() {
        assert_eq!(name_str(&name_bytes::<64>("pd-vmm")), "pd-vmm");
        assert_eq!(name_str(&name_bytes::<4>("pd-vmm")), "pd-");
        assert_eq!(name_str(b"\xff\0"), "?");
    }

    #[test]
    fn records_are_multiples_of_eight() {
        for size in [
            size_of::<Header>(),
            size_of::<Pd>(),
            size_of::<Region>(),
            size_of::<Map>(),
            size_of::<Table>(),
            size_of::<Signal>(),
            size_of::<Irq>(),
            size_of::<IoPorts>(),
        ] {
            assert_eq!(size % 8, 0);
        }
    }
}
