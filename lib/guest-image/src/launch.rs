//! The launch page: by it the packer tells the code in the TD what it built.
//!
//! The page is measured as everything else, so the code in the TD may trust it as far as it
//! trusts itself; it is checked all the same.

use crate::layout::{self, MemorySize, MemorySizeError};
use core::ops::Range;
use gpa::PAGE_SIZE;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a launch page.
pub const MAGIC: [u8; 8] = *b"SEPTUMLP";
/// Most ranges of memory that the packer may have added.
pub const MAX_ADDED: usize = 16;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Default)]
#[repr(C)]
struct WireRange {
    start: U64,
    end: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireLaunch {
    magic: [u8; 8],
    vcpus: U32,
    added_count: U32,
    memory: U64,
    kernel_entry: U64,
    added: [WireRange; MAX_ADDED],
}

/// Bytes of the launch page that are used; the rest is zero.
pub const LAUNCH_SIZE: usize = size_of::<WireLaunch>();
const _: () = assert!(LAUNCH_SIZE == 32 + 16 * MAX_ADDED && LAUNCH_SIZE <= PAGE_SIZE as usize);

/// What the packer built, as far as the code in the TD must know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Number of vCPUs.
    pub vcpus: u32,
    /// The TD's memory, from guest physical address 0 on.
    pub memory: MemorySize,
    /// Guest physical address of the Linux kernel's 64-bit entry point; 0 where there is none.
    pub kernel_entry: u64,
    /// The ranges of memory that were added, hence need no acceptance: 4 KiB aligned,
    /// ascending, not empty, apart from each other.
    pub added: heapless::Vec<Range<u64>, MAX_ADDED>,
}

/// Which rule a launch page breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaunchError {
    /// Not a launch page.
    Magic,
    /// The number of vCPUs.
    Vcpus,
    /// The memory size.
    Memory(MemorySizeError),
    /// The kernel's entry point isn't in memory.
    KernelEntry,
    /// A range isn't aligned, is empty, out of order, or not in memory; or there are too many.
    Added,
}

impl core::fmt::Display for LaunchError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("the launch page has no magic"),
            Self::Vcpus => f.write_str("the launch page has a wrong number of vCPUs"),
            Self::Memory(error) => error.fmt(f),
            Self::KernelEntry => f.write_str("the launch page's kernel entry isn't in memory"),
            Self::Added => f.write_str("the launch page has a wrong range"),
        }
    }
}

impl Launch {
    /// The page's used bytes.
    pub fn to_bytes(&self) -> [u8; LAUNCH_SIZE] {
        let mut added = [WireRange::default(); MAX_ADDED];
        for (wire, range) in added.iter_mut().zip(&self.added) {
            *wire = WireRange {
                start: range.start.into(),
                end: range.end.into(),
            };
        }
        zerocopy::transmute!(WireLaunch {
            magic: MAGIC,
            vcpus: self.vcpus.into(),
            added_count: (self.added.len() as u32).into(),
            memory: self.memory.bytes().into(),
            kernel_entry: self.kernel_entry.into(),
            added,
        })
    }

    /// Checks a launch page.
    ///
    /// # Errors
    /// [`LaunchError`] says which rule is broken.
    pub fn parse(bytes: &[u8; LAUNCH_SIZE]) -> Result<Self, LaunchError> {
        let wire: WireLaunch = zerocopy::transmute!(*bytes);
        if wire.magic != MAGIC {
            return Err(LaunchError::Magic);
        }
        if wire.vcpus.get() == 0 || wire.vcpus.get() > layout::MAX_VCPUS {
            return Err(LaunchError::Vcpus);
        }
        let memory = MemorySize::new(wire.memory.get()).map_err(LaunchError::Memory)?;
        if wire.kernel_entry.get() >= memory.bytes() {
            return Err(LaunchError::KernelEntry);
        }
        let used = wire
            .added
            .get(..wire.added_count.get() as usize)
            .ok_or(LaunchError::Added)?;
        let mut added = heapless::Vec::new();
        let mut free_from = 0;
        for range in used {
            let range = range.start.get()..range.end.get();
            let aligned =
                range.start.is_multiple_of(PAGE_SIZE) && range.end.is_multiple_of(PAGE_SIZE);
            if !aligned || range.start < free_from || range.is_empty() || range.end > memory.bytes()
            {
                return Err(LaunchError::Added);
            }
            free_from = range.end;
            added.push(range).map_err(|_| LaunchError::Added)?;
        }
        Ok(Self {
            vcpus: wire.vcpus.get(),
            memory,
            kernel_entry: wire.kernel_entry.get(),
            added,
        })
    }

    /// The ranges of memory that were not added, ascending: what the TD must accept.
    pub fn to_accept(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let starts = core::iter::once(0).chain(self.added.iter().map(|r| r.end));
        let ends = self.added.iter().map(|r| r.start);
        let ends = ends.chain(core::iter::once(self.memory.bytes()));
        starts
            .zip(ends)
            .map(|(start, end)| start..end)
            .filter(|range| !range.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MIB;

    fn launch() -> Launch {
        Launch {
            vcpus: 2,
            memory: MemorySize::new(64 * MIB).unwrap(),
            kernel_entry: 16 * MIB + 0x200,
            added: heapless::Vec::from_slice(&[16 * MIB..17 * MIB, 62 * MIB..64 * MIB]).unwrap(),
        }
    }

    #[test]
    fn there_and_back() {
        assert_eq!(Launch::parse(&launch().to_bytes()), Ok(launch()));
    }

    #[test]
    fn what_is_left_to_accept() {
        let ranges: Vec<_> = launch().to_accept().collect();
        assert_eq!(ranges, [0..16 * MIB, 17 * MIB..62 * MIB]);
        let mut whole = launch();
        whole.added.clear();
        assert!(whole.to_accept().eq(core::iter::once(0..64 * MIB)));
    }

    #[test]
    fn broken_rules() {
        let with = |change: fn(&mut Launch)| {
            let mut launch = launch();
            change(&mut launch);
            Launch::parse(&launch.to_bytes())
        };
        assert_eq!(with(|l| l.vcpus = 0), Err(LaunchError::Vcpus));
        assert_eq!(with(|l| l.vcpus = 9), Err(LaunchError::Vcpus));
        assert_eq!(
            with(|l| l.kernel_entry = 64 * MIB),
            Err(LaunchError::KernelEntry)
        );
        assert_eq!(with(|l| l.added[0].start += 1), Err(LaunchError::Added));
        assert_eq!(with(|l| l.added[0].end += 1), Err(LaunchError::Added));
        assert_eq!(with(|l| l.added[0].end = 16 * MIB), Err(LaunchError::Added));
        assert_eq!(with(|l| l.added[1].end = 65 * MIB), Err(LaunchError::Added));
        assert_eq!(
            with(|l| l.added[1].start = 16 * MIB),
            Err(LaunchError::Added)
        );
        let mut bytes = launch().to_bytes();
        bytes[12] = MAX_ADDED as u8 + 1;
        assert_eq!(Launch::parse(&bytes), Err(LaunchError::Added));
        assert_eq!(Launch::parse(&[0; LAUNCH_SIZE]), Err(LaunchError::Magic));
    }
}
