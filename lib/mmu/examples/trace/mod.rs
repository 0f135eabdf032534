//! A trace of a million faults of one TD with an execute-only bit, the same on every run: which
//! table page each fault needs.

use mmu::keys::Key;

/// Buckets of the index (as many as the kernel's MMU has).
pub const BUCKETS: usize = 4096;
/// Faults of the trace.
pub const FAULTS: usize = 1_000_000;
/// 2 MiB regions of the TD: 4 GiB, all of it private somewhere.
const REGIONS: u64 = 2048;
/// Regions that also have shared pages, from a bounce buffer at 1 GiB on.
const SHARED: u64 = 256;
/// Regions with execute-only code, from 64 MiB on.
const EXECUTE_ONLY: u64 = 64;

const SHARED_BIT: u64 = 1 << 47;
const EXECUTE_ONLY_BIT: u64 = 1 << 46;

/// The table pages, one per region and kind.
pub fn tables() -> Vec<Key> {
    let key = |region: u64, stolen: u64| Key {
        gfn: region << 9,
        stolen,
        shift: 46,
        level: 0,
        vm: 0,
        private: stolen == 0,
        execute_only: stolen & EXECUTE_ONLY_BIT != 0,
    };
    let private = (0..REGIONS).map(|region| key(region, 0));
    let shared = (512..512 + SHARED).map(|region| key(region, SHARED_BIT));
    let both = SHARED_BIT | EXECUTE_ONLY_BIT;
    let execute_only = (32..32 + EXECUTE_ONLY).map(|region| key(region, both));
    private.chain(shared).chain(execute_only).collect()
}

/// The faults, each the number of a table page: a boot that touches all memory in order, then a
/// load that is private to 70 %, shared to 20 %, execute-only to 10 %.
pub fn faults() -> Vec<u32> {
    let mut state = 0x5eed_u64;
    let mut random = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) % n
    };
    let boot = FAULTS as u64 / 4;
    (0..FAULTS as u64)
        .map(|i| {
            if i < boot {
                return (i * REGIONS / boot) as u32;
            }
            let table = match random(10) {
                0..=6 => random(REGIONS),
                7 | 8 => REGIONS + random(SHARED),
                _ => REGIONS + SHARED + random(EXECUTE_ONLY),
            };
            table as u32
        })
        .collect()
}
