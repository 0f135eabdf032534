//! MRTD: SHA-384 over 128-byte blocks, its chaining value kept in TDCS between calls.

use gpa::Hpa;
use memory::PhysMemory;
use sha2::{Digest, Sha384, digest::generic_array::GenericArray};

use crate::page::{Tdcs, tdcs_offset};

/// Bytes of one block.
pub(crate) const BLOCK: usize = 128;

/// The initial chaining value of SHA-384 (FIPS 180-4, 5.3.4).
const INITIAL: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];

fn block(tag: &[u8], gpa: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..tag.len()].copy_from_slice(tag);
    block[16..24].copy_from_slice(&gpa.to_le_bytes());
    block
}

/// What TDH.MEM.PAGE.ADD measures.
pub(crate) fn page_add(gpa: u64) -> [u8; BLOCK] {
    block(b"MEM.PAGE.ADD", gpa)
}

/// What TDH.MR.EXTEND measures before the 256 bytes.
pub(crate) fn mr_extend(gpa: u64) -> [u8; BLOCK] {
    block(b"MR.EXTEND", gpa)
}

fn word<M: PhysMemory + Copy>(tdcs: Tdcs<M>, index: u64) -> Hpa {
    tdcs.at(tdcs_offset::MRTD_STATE + 8 * index)
}

/// Starts the measurement.
pub(crate) fn start<M: PhysMemory + Copy>(tdcs: Tdcs<M>) {
    let memory = tdcs.memory();
    for (i, value) in INITIAL.into_iter().enumerate() {
        memory.write_u64(word(tdcs, i as u64), value);
    }
    memory.write_u64(word(tdcs, 8), 0);
}

/// Adds blocks.
pub(crate) fn extend<M: PhysMemory + Copy>(tdcs: Tdcs<M>, blocks: &[[u8; BLOCK]]) {
    let memory = tdcs.memory();
    let mut state = core::array::from_fn(|i| memory.read_u64(word(tdcs, i as u64)));
    for block in blocks {
        sha2::compress512(
            &mut state,
            core::slice::from_ref(GenericArray::from_slice(block)),
        );
    }
    for (i, value) in state.into_iter().enumerate() {
        memory.write_u64(word(tdcs, i as u64), value);
    }
    let before = memory.read_u64(word(tdcs, 8));
    memory.write_u64(word(tdcs, 8), before.wrapping_add(blocks.len() as u64));
}

/// Ends the measurement and writes MRTD.
pub(crate) fn finalize<M: PhysMemory + Copy>(tdcs: Tdcs<M>) {
    let memory = tdcs.memory();
    let bits = u128::from(memory.read_u64(word(tdcs, 8))) * BLOCK as u128 * 8;
    let mut last = [0; BLOCK];
    last[0] = 0x80;
    last[112..].copy_from_slice(&bits.to_be_bytes());
    extend(tdcs, &[last]);
    let mut mrtd = [0; 48];
    for (i, bytes) in mrtd.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *bytes = memory.read_u64(word(tdcs, i as u64)).to_be_bytes();
    }
    tdcs.set_measurement(tdcs_offset::MRTD, &mrtd);
}

/// SHA-384 of `bytes`.
pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    Sha384::digest(bytes).into()
}
