//! MRTD as the TDX module will compute it (TDX module 1.5 ABI: TDH.MEM.PAGE.ADD,
//! TDH.MR.EXTEND, TDH.MR.FINALIZE).

use gpa::Gpa;
use guest_image::image::CHUNK;
use guest_image::{GuestImage, Step};
use sha2::{Digest, Sha384};

/// The measurement of the TD's contents at build time.
pub type Mrtd = [u8; 48];

/// The MRTD of the TD that is built from this image; `bytes` are the image's bytes.
///
/// # Panics
/// When `image` wasn't parsed from `bytes`.
pub fn mrtd(image: &GuestImage, bytes: &[u8]) -> Mrtd {
    of_steps(image.runs().flat_map(|run| run.steps()), bytes)
}

/// The MRTD after these steps.
///
/// # Panics
/// When a step names an offset outside of `bytes`.
pub fn of_steps(steps: impl Iterator<Item = Step>, bytes: &[u8]) -> Mrtd {
    let mut hash = Sha384::new();
    for step in steps {
        match step {
            Step::Add { gpa, .. } => hash.update(block(b"MEM.PAGE.ADD", gpa)),
            Step::Extend { gpa, offset } => {
                hash.update(block(b"MR.EXTEND", gpa));
                let offset = offset as usize;
                hash.update(&bytes[offset..offset + CHUNK as usize]);
            }
        }
    }
    hash.finalize().into()
}

/// Tag in 16 bytes, address in 8, zeros up to 128.
fn block(tag: &[u8], gpa: Gpa) -> [u8; 128] {
    let mut block = [0; 128];
    block[..tag.len()].copy_from_slice(tag);
    block[16..24].copy_from_slice(&gpa.get().to_le_bytes());
    block
}

/// The measurement in hexadecimal digits.
pub fn hex(mrtd: &Mrtd) -> String {
    mrtd.iter().map(|byte| format!("{byte:02x}")).collect()
}
