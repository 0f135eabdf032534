//! The system description: what is in it, and where it stands in the file.

mod check;
mod element;
mod parse;

use std::{fmt, path::PathBuf};

pub use check::map_end;
pub use parse::parse;

/// The rules' numbers, as Microkit 2.3.0 has them unless said otherwise.
pub mod limits {
    /// Protection domains in a system.
    pub const MAX_PDS: usize = 63;
    /// Highest channel, interrupt or I/O port id.
    pub const MAX_ID: u64 = 61;
    /// Highest priority of a PD.
    pub const MAX_PRIORITY: u64 = 254;
    /// Smallest stack, in bytes.
    pub const MIN_STACK: u64 = 0x1000;
    /// Largest stack, in bytes.
    pub const MAX_STACK: u64 = 16 << 20;
    /// Stack when none is given, in bytes.
    pub const DEFAULT_STACK: u64 = 0x2000;
    /// Highest interrupt vector that users may have.
    pub const MAX_VECTOR: u64 = 107;
    /// Page sizes of x86-64 that this kernel is built for.
    pub const PAGE_SIZES: [u64; 2] = [0x1000, 0x20_0000];
    /// Characters of a PD's name.
    pub const MAX_NAME: usize = 63;
    /// Pins of an IOAPIC.
    pub const IOAPIC_PINS: u64 = 24;
}

/// Where something stands in the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// What is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The description's file.
    pub file: String,
    /// Where in it, if anywhere.
    pub place: Option<Place>,
    /// The element, such as `<map>`.
    pub element: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": <{}>: {}", self.element, self.message)
    }
}

impl std::error::Error for Error {}

/// A whole system.
#[derive(Clone, Debug)]
pub struct System {
    /// The description's file, for messages.
    pub file: String,
    /// Protection domains, in the file's order.
    pub pds: Vec<ProtectionDomain>,
    /// Memory regions, in the file's order.
    pub regions: Vec<MemoryRegion>,
    /// Channels, in the file's order.
    pub channels: Vec<Channel>,
}

/// A protection domain.
#[derive(Clone, Debug)]
pub struct ProtectionDomain {
    /// Its name.
    pub name: String,
    /// Its priority, 0 to 254.
    pub priority: u64,
    /// Bytes of its stack.
    pub stack_size: u64,
    /// Its program's file, as the description names it.
    pub program_image: PathBuf,
    /// Memory it can reach.
    pub maps: Vec<Map>,
    /// Interrupts it handles.
    pub irqs: Vec<Irq>,
    /// I/O ports it can use.
    pub io_ports: Vec<IoPort>,
    /// Variables of its program to set.
    pub set_vars: Vec<SetVar>,
    /// Where it stands.
    pub place: Place,
}

/// A memory region.
#[derive(Clone, Debug)]
pub struct MemoryRegion {
    /// Its name.
    pub name: String,
    /// Bytes; a multiple of the page size.
    pub size: u64,
    /// Bytes of its pages.
    pub page_size: u64,
    /// Physical address of its first byte, if it matters.
    pub phys_addr: Option<u64>,
    /// A file that it begins with, as the description names it, and its bytes.
    pub prefill: Option<Prefill>,
    /// Where it stands.
    pub place: Place,
}

/// A file that a memory region begins with.
#[derive(Clone, Debug)]
pub struct Prefill {
    /// As the description names it.
    pub path: PathBuf,
    /// What is in it; empty if files are not looked at.
    pub data: Vec<u8>,
    /// Where that was found.
    pub file: PathBuf,
}

/// A memory region in a PD's address space.
#[derive(Clone, Debug)]
pub struct Map {
    /// Name of the region.
    pub region: String,
    /// Virtual address of its first byte.
    pub vaddr: u64,
    /// Whether the PD may write (it may always read).
    pub writable: bool,
    /// Whether accesses are cached.
    pub cached: bool,
    /// Where it stands.
    pub place: Place,
}

/// An IOAPIC pin.
#[derive(Clone, Debug)]
pub struct Irq {
    /// The PD's channel for it.
    pub id: u64,
    /// Number of the IOAPIC.
    pub ioapic: u64,
    /// Its pin.
    pub pin: u64,
    /// CPU vector, counted from the first that users may have.
    pub vector: u64,
    /// Level triggered, else edge.
    pub level: bool,
    /// Active low, else high.
    pub low: bool,
    /// Where it stands.
    pub place: Place,
}

/// I/O ports.
#[derive(Clone, Debug)]
pub struct IoPort {
    /// The PD's number for them.
    pub id: u64,
    /// First port.
    pub addr: u64,
    /// How many.
    pub size: u64,
    /// Where it stands.
    pub place: Place,
}

/// A variable of a PD's program and the value it gets.
#[derive(Clone, Debug)]
pub struct SetVar {
    /// The variable's symbol.
    pub symbol: String,
    /// Where its value comes from.
    pub value: SetValue,
    /// Where it stands.
    pub place: Place,
}

/// A value that the description gives a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetValue {
    /// A number: an address, a size, an id.
    Number(u64),
    /// The physical address of a region.
    Paddr(String),
    /// The bytes of a region.
    Size(String),
    /// The bytes of the file that a region begins with.
    PrefillSize(String),
}

/// A channel between two PDs.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its ends.
    pub ends: [End; 2],
    /// Where it stands.
    pub place: Place,
}

/// One end of a channel.
#[derive(Clone, Debug)]
pub struct End {
    /// Index of the PD in [`System::pds`].
    pub pd: usize,
    /// The PD's id of the channel.
    pub id: u64,
    /// Whether this end may call the other.
    pub pp: bool,
    /// Whether this end may notify the other.
    pub notify: bool,
    /// Where it stands.
    pub place: Place,
}

impl System {
    /// The region of that name.
    pub fn region(&self, name: &str) -> Option<&MemoryRegion> {
        self.regions.iter().find(|region| region.name == name)
    }

    /// An error at a place of this description.
    pub fn error(&self, place: Place, element: &str, message: String) -> Error {
        Error {
            file: self.file.clone(),
            place: Some(place),
            element: element.into(),
            message,
        }
    }
}
