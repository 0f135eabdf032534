//! The format and its reader. The bytes are a claim until [`GuestImage::read`] has checked them.

use crate::layout::{self, MemorySize, MemorySizeError};
use core::fmt;
use gpa::{Gpa, PAGE_SIZE};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of every guest image.
pub const MAGIC: [u8; 8] = *b"SEPTUMGI";
/// The version of the format that this crate reads and writes.
pub const VERSION: u32 = 1;
/// Most segments of an image.
pub const MAX_SEGMENTS: usize = 32;
/// Most bytes of a name.
pub const MAX_NAME: usize = 32;
/// Most bytes of a goal.
pub const MAX_GOAL: usize = 64;
/// Bytes of header and segment table together: what a reader copies.
pub const HEADER_SIZE: usize = size_of::<WireHeader>();
/// Bytes that one TDH.MR.EXTEND measures.
pub const CHUNK: u64 = 256;
/// Most pages of a [`Run`].
pub const RUN_PAGES: u64 = 32;
/// Segment flag: the pages' contents are measured (TDH.MR.EXTEND), not only their addresses.
pub const MEASURED: u32 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct WireSegment {
    pub gpa: U64,
    pub offset: U64,
    pub length: U64,
    pub flags: U32,
    pub reserved: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub(crate) struct WireHeader {
    pub magic: [u8; 8],
    pub version: U32,
    pub segment_count: U32,
    pub total_length: U64,
    pub memory: U64,
    pub attributes: U64,
    pub xfam: U64,
    pub entry_value: U64,
    pub vcpus: U32,
    pub gpaw: U32,
    pub name: [u8; MAX_NAME],
    pub goal: [u8; MAX_GOAL],
    pub kind: U32,
    pub execute_only: U32,
    pub finder: U32,
    pub reserved: [u8; 84],
    pub segments: [WireSegment; MAX_SEGMENTS],
}

const _: () = {
    assert!(core::mem::offset_of!(WireHeader, memory) == 24);
    assert!(core::mem::offset_of!(WireHeader, vcpus) == 56);
    assert!(core::mem::offset_of!(WireHeader, name) == 64);
    assert!(core::mem::offset_of!(WireHeader, goal) == 96);
    assert!(core::mem::offset_of!(WireHeader, kind) == 160);
    assert!(core::mem::offset_of!(WireHeader, segments) == 256);
    assert!(size_of::<WireSegment>() == 32);
    assert!(HEADER_SIZE as u64 <= PAGE_SIZE);
};

/// A stretch of guest physical memory whose contents are in the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// First guest physical address, 4 KiB aligned.
    pub gpa: Gpa,
    /// Where the contents begin in the image, in bytes, 4 KiB aligned.
    pub offset: u64,
    /// Length in bytes, a multiple of 4 KiB, never 0.
    pub length: u64,
    /// Whether the contents are measured (TDH.MR.EXTEND).
    pub measured: bool,
}

impl Segment {
    /// The run that begins with page number `page` of the segment, `None` behind the last page.
    pub fn run(&self, page: u64) -> Option<Run> {
        let at = page.checked_mul(PAGE_SIZE)?;
        let left = self.length.checked_sub(at)? / PAGE_SIZE;
        (left > 0).then(|| Run {
            gpa: Gpa::new(self.gpa.get() + at),
            offset: self.offset + at,
            pages: left.min(RUN_PAGES),
            measured: self.measured,
        })
    }

    /// The segment's pages in build order.
    pub fn runs(self) -> impl Iterator<Item = Run> {
        (0..self.length / PAGE_SIZE)
            .step_by(RUN_PAGES as usize)
            .filter_map(move |page| self.run(page))
    }
}

/// Pages that are added to the TD one after the other, then, where they are measured, measured
/// one after the other, before the next run is added: few pages would mean many messages, many
/// pages long ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The guest physical address of the first.
    pub gpa: Gpa,
    /// Where its contents are in the image, in bytes.
    pub offset: u64,
    /// How many 4 KiB pages.
    pub pages: u64,
    /// Whether their contents are measured.
    pub measured: bool,
}

/// One step of building a TD's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// TDH.MEM.PAGE.ADD of the 4 KiB page at `gpa`, from the image's page at `offset`.
    Add {
        /// The page's guest physical address.
        gpa: Gpa,
        /// Where the source page is in the image, in bytes.
        offset: u64,
    },
    /// TDH.MR.EXTEND of the 256 bytes at `gpa`, which are at `offset` in the image.
    Extend {
        /// The chunk's guest physical address.
        gpa: Gpa,
        /// Where the chunk is in the image, in bytes.
        offset: u64,
    },
}

impl Run {
    /// The steps that build these pages.
    pub fn steps(self) -> impl Iterator<Item = Step> {
        let bytes = self.pages * PAGE_SIZE;
        let place = move |at| (Gpa::new(self.gpa.get() + at), self.offset + at);
        let adds = (0..bytes).step_by(PAGE_SIZE as usize).map(place);
        let measured = if self.measured { bytes } else { 0 };
        let extends = (0..measured).step_by(CHUNK as usize).map(place);
        adds.map(|(gpa, offset)| Step::Add { gpa, offset })
            .chain(extends.map(|(gpa, offset)| Step::Extend { gpa, offset }))
    }
}

/// What the guest asks of the MMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryDesign {
    /// A VM that is no TD: all of its memory is shared with the host.
    pub plain: bool,
    /// The guest physical address bit that says execute-only; 0: none. Judged by pd-mmu.
    pub execute_only: u8,
    /// How table pages are found (`mmu::Finder`, by number). Judged by pd-mmu.
    pub finder: u8,
}

/// A checked guest image: the TD's parameters and its segments, without the contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestImage {
    total_length: u64,
    memory: MemorySize,
    attributes: u64,
    xfam: u64,
    entry_value: u64,
    vcpus: u32,
    design: MemoryDesign,
    name: Text<MAX_NAME>,
    goal: Text<MAX_GOAL>,
    segments: heapless::Vec<Segment, MAX_SEGMENTS>,
}

type Text<const N: usize> = heapless::String<N>;

impl GuestImage {
    /// Checks an image of which all bytes are at hand.
    ///
    /// # Errors
    /// As [`Self::read`]. Bytes beyond the image's own length are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::read(bytes.len() as u64, |header| {
            header.copy_from_slice(&bytes[..HEADER_SIZE]);
        })
    }

    /// Checks an image in a region of `available` bytes. `copy` is called at most once, to copy
    /// the region's first bytes; only that copy is looked at.
    ///
    /// # Errors
    /// [`ImageError`] says which rule of the format is broken.
    pub fn read(
        available: u64,
        copy: impl FnOnce(&mut [u8; HEADER_SIZE]),
    ) -> Result<Self, ImageError> {
        if available < HEADER_SIZE as u64 {
            return Err(ImageError::Truncated {
                needed: HEADER_SIZE as u64,
                available,
            });
        }
        let mut bytes = [0; HEADER_SIZE];
        copy(&mut bytes);
        Self::check(&zerocopy::transmute!(bytes), available)
    }

    fn check(wire: &WireHeader, available: u64) -> Result<Self, ImageError> {
        if wire.magic != MAGIC {
            return Err(ImageError::Magic);
        }
        if wire.version.get() != VERSION {
            return Err(ImageError::Version(wire.version.get()));
        }
        if wire.reserved.iter().any(|&b| b != 0) {
            return Err(ImageError::Reserved);
        }
        let total_length = wire.total_length.get();
        if total_length > available {
            return Err(ImageError::Truncated {
                needed: total_length,
                available,
            });
        }
        if total_length > layout::MAX_IMAGE {
            return Err(ImageError::TooBig(total_length));
        }
        let memory = MemorySize::new(wire.memory.get()).map_err(ImageError::Memory)?;
        let vcpus = wire.vcpus.get();
        if vcpus == 0 || vcpus > layout::MAX_VCPUS {
            return Err(ImageError::Vcpus(vcpus));
        }
        if wire.gpaw.get() != 0 {
            return Err(ImageError::Gpaw(wire.gpaw.get()));
        }
        let small = |field: U32| u8::try_from(field.get()).map_err(|_| ImageError::Design);
        let design = MemoryDesign {
            plain: match wire.kind.get() {
                0 => false,
                1 => true,
                _ => return Err(ImageError::Design),
            },
            execute_only: small(wire.execute_only)?,
            finder: small(wire.finder)?,
        };
        Ok(Self {
            total_length,
            design,
            memory,
            attributes: wire.attributes.get(),
            xfam: wire.xfam.get(),
            entry_value: wire.entry_value.get(),
            vcpus,
            name: text(&wire.name).ok_or(ImageError::Name)?,
            goal: text(&wire.goal).ok_or(ImageError::Goal)?,
            segments: segments(wire, total_length, memory)?,
        })
    }

    /// Length of the image in bytes.
    pub const fn total_length(&self) -> u64 {
        self.total_length
    }
    /// The TD's memory, from guest physical address 0 on.
    pub const fn memory(&self) -> MemorySize {
        self.memory
    }
    /// TD_PARAMS.ATTRIBUTES. Not judged here: TDH.MNG.INIT does.
    pub const fn attributes(&self) -> u64 {
        self.attributes
    }
    /// TD_PARAMS.XFAM. Not judged here: TDH.MNG.INIT does.
    pub const fn xfam(&self) -> u64 {
        self.xfam
    }
    /// What TDH.VP.INIT gets in RDX: every vCPU starts with it in RCX and R8.
    pub const fn entry_value(&self) -> u64 {
        self.entry_value
    }
    /// Number of vCPUs, 1..=[`layout::MAX_VCPUS`].
    pub const fn vcpus(&self) -> u32 {
        self.vcpus
    }
    /// What the guest asks of the MMU.
    pub const fn design(&self) -> MemoryDesign {
        self.design
    }
    /// TD_PARAMS.CONFIG_FLAGS.GPAW: 0, guest physical addresses have 48 bits.
    pub const fn gpaw(&self) -> u32 {
        0
    }
    /// The guest's name, printable ASCII.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The run has reached its goal when the guest prints a line that contains this.
    /// Printable ASCII; empty where the image names no goal.
    pub fn goal(&self) -> &str {
        &self.goal
    }
    /// The segments, in ascending order of guest physical addresses.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
    /// All pages in build order: segment after segment, ascending addresses.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.segments.iter().flat_map(|segment| segment.runs())
    }
    /// Number of pages.
    pub fn page_count(&self) -> u64 {
        self.segments.iter().map(|s| s.length / PAGE_SIZE).sum()
    }
}

/// Printable ASCII, then zeros to the end.
fn text<const N: usize>(bytes: &[u8; N]) -> Option<Text<N>> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(N);
    let (text, rest) = bytes.split_at(end);
    if !is_printable(text) || rest.iter().any(|&b| b != 0) {
        return None;
    }
    Text::try_from(core::str::from_utf8(text).ok()?).ok()
}

/// Whether these bytes can be a name or a goal.
pub(crate) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|b| (b' '..=b'~').contains(b))
}

fn segments(
    wire: &WireHeader,
    total_length: u64,
    memory: MemorySize,
) -> Result<heapless::Vec<Segment, MAX_SEGMENTS>, ImageError> {
    let count = wire.segment_count.get();
    let used = usize::try_from(count)
        .ok()
        .and_then(|n| wire.segments.get(..n))
        .ok_or(ImageError::SegmentCount(count))?;
    let mut segments = heapless::Vec::new();
    let mut free_from = 0;
    for (index, wire) in used.iter().enumerate() {
        let refuse = |problem| ImageError::Segment { index, problem };
        let (gpa, offset, length) = (wire.gpa.get(), wire.offset.get(), wire.length.get());
        let flags = wire.flags.get();
        if [gpa, offset, length]
            .iter()
            .any(|n| !n.is_multiple_of(PAGE_SIZE))
            || length == 0
        {
            return Err(refuse(SegmentProblem::Alignment));
        }
        if flags & !MEASURED != 0 || wire.reserved.get() != 0 {
            return Err(refuse(SegmentProblem::Flags));
        }
        // The header's page is no page of the guest.
        let ends = offset.checked_add(length);
        if offset < PAGE_SIZE || ends.is_none_or(|end| end > total_length) {
            return Err(refuse(SegmentProblem::OutsideImage));
        }
        if !layout::in_bounds(gpa, length, memory) {
            return Err(refuse(SegmentProblem::OutsideMemory));
        }
        if gpa < free_from {
            return Err(refuse(SegmentProblem::Order));
        }
        free_from = gpa + length;
        segments
            .push(Segment {
                gpa: Gpa::new(gpa),
                offset,
                length,
                measured: flags & MEASURED != 0,
            })
            .map_err(|_| ImageError::SegmentCount(count))?;
    }
    // Segments ascend, so only the last can end at 4 GiB.
    if free_from != layout::TOP_END {
        return Err(ImageError::NoResetVector);
    }
    Ok(segments)
}

/// Which rule of the format an image breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// The region holds fewer bytes than the image says it has.
    Truncated {
        /// Bytes that the image has.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// The first bytes aren't [`MAGIC`].
    Magic,
    /// Another version of the format.
    Version(u32),
    /// A reserved byte of the header isn't zero.
    Reserved,
    /// Longer than [`layout::MAX_IMAGE`].
    TooBig(u64),
    /// The memory size is refused.
    Memory(MemorySizeError),
    /// Not a number of vCPUs that a TD can have here.
    Vcpus(u32),
    /// Not 0, the only GPAW that is supported.
    Gpaw(u32),
    /// Neither a TD nor a plain VM, or a memory design that can't be.
    Design,
    /// The name isn't printable ASCII padded with zeros.
    Name,
    /// The goal isn't printable ASCII padded with zeros.
    Goal,
    /// More than [`MAX_SEGMENTS`].
    SegmentCount(u32),
    /// A segment breaks a rule.
    Segment {
        /// Its place in the table.
        index: usize,
        /// The rule.
        problem: SegmentProblem,
    },
    /// No segment holds the reset vector's page.
    NoResetVector,
}

/// Which rule a segment breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentProblem {
    /// Address, offset or length isn't a multiple of 4 KiB, or the length is 0.
    Alignment,
    /// An unknown flag or a reserved bit.
    Flags,
    /// The contents aren't (all) in the image, or in its header's page.
    OutsideImage,
    /// Neither in memory nor in the area below 4 GiB.
    OutsideMemory,
    /// Overlaps the segment before, or stands below it.
    Order,
}

impl fmt::Display for SegmentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alignment => "its address, offset and length must be multiples of 4096, not 0",
            Self::Flags => "it has unknown flags",
            Self::OutsideImage => "its contents aren't in the image",
            Self::OutsideMemory => "it stands neither in memory nor in the 2 MiB below 4 GiB",
            Self::Order => "it overlaps the segment before or stands below it",
        })
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, available } => write!(
                f,
                "the guest image needs {needed} bytes but {available} are there"
            ),
            Self::Magic => write!(f, "not a guest image: pack one with guest-pack"),
            Self::Version(version) => write!(
                f,
                "guest image of version {version}, not {VERSION}: pack it anew"
            ),
            Self::Reserved => write!(f, "a reserved byte of the guest image's header isn't zero"),
            Self::TooBig(bytes) => write!(
                f,
                "the guest image's {bytes} bytes are more than the {} that fit",
                layout::MAX_IMAGE
            ),
            Self::Memory(error) => error.fmt(f),
            Self::Vcpus(n) => write!(f, "{n} vCPUs: give 1 to {}", layout::MAX_VCPUS),
            Self::Gpaw(n) => write!(
                f,
                "GPAW {n}: only 0 (48-bit guest physical addresses) is supported"
            ),
            Self::Design => write!(
                f,
                "the guest image asks for a kind of VM or memory that there isn't"
            ),
            Self::Name => write!(f, "the guest image's name isn't printable ASCII"),
            Self::Goal => write!(f, "the guest image's goal isn't printable ASCII"),
            Self::SegmentCount(n) => write!(
                f,
                "the guest image has {n} segments, more than {MAX_SEGMENTS}"
            ),
            Self::Segment { index, problem } => {
                write!(f, "segment {index} of the guest image: {problem}")
            }
            Self::NoResetVector => write!(
                f,
                "no segment of the guest image holds the reset vector (the page below 4 GiB)"
            ),
        }
    }
}

impl core::error::Error for ImageError {}
