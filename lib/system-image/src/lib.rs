//! What the image builder writes and the initial task reads: the system as
//! tables of plain records, then page-aligned data.
//!
//! The builder decides everything it can (addresses, page tables, badges), so
//! that the initial task only carries it out.
#![no_std]
#![forbid(unsafe_code)]

pub mod pd_layout;
mod record;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use record::{
    ANYWHERE, Backing, Call, Header, IoPorts, Irq, Map, Pd, Region, Signal, Table, name_bytes,
    name_str,
};

/// Bytes of a page of the image's data area.
pub const PAGE: u64 = 4096;

/// Why bytes aren't a system image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The first bytes are not [`Header::MAGIC`].
    Magic,
    /// A table ends past the image's end.
    Truncated,
}

/// A system image, its tables taken apart.
#[derive(Clone, Copy, Debug)]
pub struct SystemImage<'a> {
    bytes: &'a [u8],
    /// Protection domains.
    pub pds: &'a [Pd],
    /// Memory, both the regions of system.xml and the PDs' own.
    pub regions: &'a [Region],
    /// Where regions are mapped.
    pub maps: &'a [Map],
    /// Page tables that the maps need, outer ones first.
    pub tables: &'a [Table],
    /// Notifications that PDs may signal.
    pub signals: &'a [Signal],
    /// Endpoints that PDs may call.
    pub calls: &'a [Call],
    /// Interrupts.
    pub irqs: &'a [Irq],
    /// I/O ports.
    pub io_ports: &'a [IoPorts],
}

fn take<'a, T: FromBytes + KnownLayout + Immutable>(
    rest: &mut &'a [u8],
    count: u32,
) -> Result<&'a [T], Error> {
    let (table, tail) =
        <[T]>::ref_from_prefix_with_elems(rest, count as usize).map_err(|_| Error::Truncated)?;
    *rest = tail;
    Ok(table)
}

impl<'a> SystemImage<'a> {
    /// Takes apart an image; `bytes` must be 8-byte aligned.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, mut rest) = Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        if header.magic != Header::MAGIC {
            return Err(Error::Magic);
        }
        Ok(Self {
            bytes,
            pds: take(&mut rest, header.pds)?,
            regions: take(&mut rest, header.regions)?,
            maps: take(&mut rest, header.maps)?,
            tables: take(&mut rest, header.tables)?,
            signals: take(&mut rest, header.signals)?,
            calls: take(&mut rest, header.calls)?,
            irqs: take(&mut rest, header.irqs)?,
            io_ports: take(&mut rest, header.io_ports)?,
        })
    }

    /// Pages of the whole image.
    pub fn pages(&self) -> u64 {
        (self.bytes.len() as u64).div_ceil(PAGE)
    }

    /// The data of a region: `None` if its record points outside the image.
    pub fn data(&self, region: &Region) -> Option<&'a [u8]> {
        let start = usize::try_from(region.data_offset).ok()?;
        let length = usize::try_from(region.data_length).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

/// Bytes of a table, for the builder.
pub fn table_bytes<T: IntoBytes + Immutable>(table: &[T]) -> &[u8] {
    table.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(bytes: &[u8]) -> ([u64; 64], usize) {
        let mut words = [0u64; 64];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        (words, bytes.len())
    }

    #[test]
    fn tables_come_back_in_order() {
        let header = Header {
            regions: 0,
            tables: 1,
            ..Header::new()
        };
        let table = Table {
            pd: 1,
            level: 2,
            vaddr: 0x4000_0000,
        };
        let mut bytes = [0u8; 512];
        let h = header.as_bytes();
        bytes[..h.len()].copy_from_slice(h);
        let end = h.len() + size_of::<Table>();
        bytes[h.len()..end].copy_from_slice(table.as_bytes());
        let (words, _) = aligned(&bytes[..end]);
        let image = SystemImage::parse(&words.as_bytes()[..end]).expect("whole");
        assert_eq!((image.pds.len(), image.tables.len()), (0, 1));
        assert_eq!(image.tables[0].vaddr, 0x4000_0000);
        assert_eq!(
            SystemImage::parse(&words.as_bytes()[..end - 1]).map(drop),
            Err(Error::Truncated)
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        let words = [0u64; 64];
        assert_eq!(
            SystemImage::parse(words.as_bytes()).map(drop),
            Err(Error::Magic)
        );
        assert_eq!(SystemImage::parse(&[]).map(drop), Err(Error::Truncated));
    }
}
