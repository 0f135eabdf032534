//! The writer of guest images.

use crate::image::{self, GuestImage, ImageError, MemoryDesign, WireHeader, WireSegment};
use crate::layout::MemorySize;
use gpa::{Gpa, PAGE_SIZE};
use zerocopy::{FromZeros, IntoBytes};

/// The TD's parameters, as [`GuestImage`] gives them back.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The TD's memory.
    pub memory: MemorySize,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// TD_PARAMS.ATTRIBUTES.
    pub attributes: u64,
    /// TD_PARAMS.XFAM.
    pub xfam: u64,
    /// What every vCPU starts with in RCX and R8.
    pub entry_value: u64,
    /// What the guest asks of the MMU.
    pub design: MemoryDesign,
    /// The guest's name, at most [`image::MAX_NAME`] bytes of printable ASCII.
    pub name: String,
    /// The goal, at most [`image::MAX_GOAL`] bytes of printable ASCII.
    pub goal: String,
}

/// Contents to be added at a guest physical address.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Where, 4 KiB aligned.
    pub gpa: Gpa,
    /// What; padded with zeros to whole pages.
    pub bytes: Vec<u8>,
    /// Whether the contents are measured.
    pub measured: bool,
}

/// Writes an image; contents may come in any order.
///
/// # Errors
/// What [`GuestImage::parse`] says of the image: the writer has no rules of its own, except
/// that name, goal and number of segments must fit the header.
pub fn write(parameters: &Parameters, contents: &[Contents]) -> Result<Vec<u8>, ImageError> {
    let mut order: Vec<&Contents> = contents.iter().collect();
    order.sort_by_key(|c| c.gpa);

    let mut header = WireHeader::new_zeroed();
    header.magic = image::MAGIC;
    header.version = image::VERSION.into();
    header.memory = parameters.memory.bytes().into();
    header.attributes = parameters.attributes.into();
    header.xfam = parameters.xfam.into();
    header.entry_value = parameters.entry_value.into();
    header.vcpus = parameters.vcpus.into();
    header.kind = u32::from(parameters.design.plain).into();
    header.execute_only = u32::from(parameters.design.execute_only).into();
    header.finder = u32::from(parameters.design.finder).into();
    put_text(&mut header.name, &parameters.name).ok_or(ImageError::Name)?;
    put_text(&mut header.goal, &parameters.goal).ok_or(ImageError::Goal)?;
    header.segment_count = (order.len() as u32).into();
    if order.len() > image::MAX_SEGMENTS {
        return Err(ImageError::SegmentCount(order.len() as u32));
    }

    let mut bytes = vec![0; PAGE_SIZE as usize];
    for (wire, contents) in header.segments.iter_mut().zip(order) {
        let offset = bytes.len();
        bytes.extend_from_slice(&contents.bytes);
        bytes.resize(bytes.len().next_multiple_of(PAGE_SIZE as usize), 0);
        *wire = WireSegment {
            gpa: contents.gpa.get().into(),
            offset: (offset as u64).into(),
            length: ((bytes.len() - offset) as u64).into(),
            flags: if contents.measured {
                image::MEASURED
            } else {
                0
            }
            .into(),
            reserved: 0.into(),
        };
    }
    header.total_length = (bytes.len() as u64).into();
    bytes[..image::HEADER_SIZE].copy_from_slice(header.as_bytes());
    GuestImage::parse(&bytes)?;
    Ok(bytes)
}

fn put_text(field: &mut [u8], text: &str) -> Option<()> {
    if !image::is_printable(text.as_bytes()) {
        return None;
    }
    field
        .get_mut(..text.len())?
        .copy_from_slice(text.as_bytes());
    Some(())
}
