//! Which faults are accesses to memory that isn't there yet.
//!
//! The kernel tells only the low 32 bits of a faulting address, so an answer
//! can be "maybe": then the access is tried again once the memory is there. If
//! it was something else it faults again, and in the end, when all memory is
//! there, as an error.

use system_image::Map;

/// Whether an address that ends in `address_low` can be among the bytes
/// `from..to` of what `map` maps.
pub fn may_touch(map: &Map, from: u64, to: u64, address_low: u32) -> bool {
    let size = to.saturating_sub(from);
    let start = map.vaddr.wrapping_add(from) as u32;
    u64::from(address_low.wrapping_sub(start)) < size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(vaddr: u64) -> Map {
        Map {
            pd: 0,
            region: 0,
            vaddr,
            writable: 1,
            cached: 1,
        }
    }

    /// By trying all the high halves there can be.
    fn naive(map: &Map, from: u64, to: u64, address_low: u32) -> bool {
        (0..64).any(|high| {
            let address = high << 32 | u64::from(address_low);
            (map.vaddr + from..map.vaddr + to).contains(&address)
        })
    }

    #[test]
    fn low_halves_decide() {
        for vaddr in [0x1000, 0x10_1000_0000, 0x10_ffff_f000, 0x10_0000_0000] {
            for (from, to) in [
                (0, 0),
                (0, 1),
                (0, 0x3000),
                (0x1000, 0x3000),
                (0x2000, 0x1000),
            ] {
                for base in [vaddr as u32, 0, 0x8000_0000] {
                    for offset in [0u32, 1, 0xfff, 0x1000, 0x2fff, 0x3000, u32::MAX] {
                        let low = base.wrapping_add(offset);
                        let map = map(vaddr);
                        assert_eq!(may_touch(&map, from, to, low), naive(&map, from, to, low));
                    }
                }
            }
        }
    }
}
