//! What holds between calls, whatever was called.

use std::collections::BTreeMap;

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::sept::{self, State, bit};
use tdx_abi::{HostLeaf, PageType};
use tdx_module::reg::*;

use crate::host::{Bed, TDMR};

/// A page as TDH.PHYMEM.PAGE.RDMD tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its type.
    pub page_type: u64,
    /// The TDR of the TD that has it.
    pub owner: u64,
    /// 0: 4 KiB, 1: 2 MiB.
    pub level: u64,
}

/// The metadata of the pages in `[TDMR, TDMR + len)` that are not free, by their address.
pub fn pages(bed: &mut Bed, lp: usize, len: u64) -> BTreeMap<u64, Meta> {
    let mut found = BTreeMap::new();
    let mut at = TDMR;
    while at < TDMR + len {
        let (status, r) = bed.call(lp, HostLeaf::PhymemPageRdmd, &[(RCX, at)]);
        assert!(status.is_success(), "RDMD of {at:#x}: {status}");
        let meta = Meta {
            page_type: r[RCX],
            owner: r[RDX],
            level: r[R8],
        };
        let size = 4096 << (9 * meta.level);
        if meta.page_type > PageType::Rsvd as u64 {
            found.insert(at, meta);
        }
        at += size;
    }
    found
}

/// Pages that a TD's Secure EPT reaches: address, level, whether a table.
fn reach(bed: &Bed, table: u64, level: u64, gpa: u64, out: &mut Vec<(u64, u64, bool)>) {
    for i in 0..sept::ENTRIES as u64 {
        let entry = bed.memory.read_u64(Hpa::new(table + 8 * i));
        let Some(state) = State::of(entry) else {
            panic!("entry {entry:#x} of level {level} is in no state");
        };
        if state.is_free_or_removed() {
            assert!(entry & bit::R == 0, "a free entry maps: {entry:#x}");
            continue;
        }
        let page = entry & sept::HPA_MASK & !bed.module.key_id_mask();
        let at = gpa | i << (12 + 9 * level);
        out.push((page, level, !state.is_leaf()));
        if !state.is_leaf() {
            reach(bed, page, level - 1, at, out);
        }
    }
}

/// Checks that PAMT and Secure EPT agree, that every page has one owner and one mapping, and
/// that every TD counts its pages right. Looks at the first `len` bytes of the TDMR.
///
/// # Panics
/// They do not.
pub fn check(bed: &mut Bed, lp: usize, len: u64) {
    let pages = pages(bed, lp, len);
    let of = |t: PageType| t as u64;
    let mut children: BTreeMap<u64, u64> = BTreeMap::new();
    for (&at, meta) in &pages {
        if meta.page_type == of(PageType::Tdr) {
            children.entry(at).or_default();
            continue;
        }
        let owner = pages.get(&meta.owner);
        let right = owner.is_some_and(|o| o.page_type == of(PageType::Tdr));
        assert!(right, "{at:#x} {meta:x?}: its owner is no TDR");
        *children.entry(meta.owner).or_default() += 1 << (9 * meta.level);
    }
    let mut mapped: BTreeMap<u64, u64> = BTreeMap::new();
    for (&tdr, &count) in &children {
        let word = |offset: u64| bed.memory.read_u64(Hpa::new(tdr + offset));
        assert_eq!(word(8), count, "TD {tdr:#x} counts its pages wrong");
        let lifecycle = word(0x10) as u32;
        let root = word(0x18 + 24) & sept::HPA_MASK & !bed.module.key_id_mask();
        let op_state = word(0x18) & sept::HPA_MASK & !bed.module.key_id_mask();
        let initialized = op_state != 0
            && bed.memory.read_u32(Hpa::new(op_state + 8)) >= tdx_abi::OpState::Initialized as u32;
        if lifecycle != 1 || root == 0 || !initialized {
            continue;
        }
        let mut reached = Vec::new();
        reach(bed, root, 3, 0, &mut reached);
        for (page, level, table) in reached {
            let meta = pages.get(&page);
            let wanted = Meta {
                page_type: if table {
                    of(PageType::Ept)
                } else {
                    of(PageType::Reg)
                },
                owner: tdr,
                level: if table { 0 } else { level },
            };
            assert_eq!(meta, Some(&wanted), "page {page:#x} of TD {tdr:#x}");
            let before = mapped.insert(page, tdr);
            assert_eq!(before, None, "page {page:#x} is mapped twice");
        }
        for (at, meta) in pages.iter().filter(|(_, m)| m.owner == tdr) {
            let listed = meta.page_type == of(PageType::Reg) || meta.page_type == of(PageType::Ept);
            assert!(
                !listed || mapped.contains_key(at),
                "page {at:#x} {meta:x?} is in no Secure EPT"
            );
        }
    }
}
