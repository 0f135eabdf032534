//! The tables must fit each other: generated text can be wrong as well.

use crate::*;

extern crate std;
use std::{collections::HashSet, string::ToString};

#[test]
fn leaves_round_trip_and_are_unique() {
    for &leaf in HostLeaf::ALL {
        assert_eq!(HostLeaf::from_number(leaf.number()), Some(leaf));
        assert!(leaf.name().starts_with("TDH."));
    }
    for &leaf in GuestLeaf::ALL {
        assert_eq!(GuestLeaf::from_number(leaf.number()), Some(leaf));
        assert!(leaf.name().starts_with("TDG."));
    }
    assert_eq!(HostLeaf::ALL.len(), 68);
    assert_eq!(GuestLeaf::ALL.len(), 21);
    assert_eq!(HostLeaf::from_number(42), None, "SEPT.WR is not dispatched");
}

#[test]
fn statuses_are_unique_and_carry_their_flags() {
    let mut seen = HashSet::new();
    for &status in Status::ALL {
        assert!(seen.insert(status.code()), "{status} is there twice");
        assert!(status.name().is_some());
        assert_eq!(status.is_error(), status.0 >> 63 == 1);
    }
    let busy = Status::OPERAND_BUSY.with(Operand::SEPT_TREE);
    assert_eq!(busy.0, 0x8000_0200_0000_0092);
    assert_eq!(busy.to_string(), "TDX_OPERAND_BUSY (SEPT_TREE)");
    assert!(busy.is(Status::OPERAND_BUSY) && !busy.is_success());
}

#[test]
fn sept_states_are_distinct_and_decode() {
    let mut publics = HashSet::new();
    for &state in sept::State::ALL {
        assert_eq!(sept::State::of(state.bits()), Some(state));
        assert_eq!(state.bits() & !sept::STATE_MASK, 0, "{}", state.name());
        assert!(publics.insert(state.public()));
    }
    assert_eq!(sept::FREE_ENTRY, 0x80e0_0000_0000_0000);
    assert!(sept::host_leaf_allows(
        HostLeaf::MemPageAug,
        sept::State::Free
    ));
    assert!(!sept::host_leaf_allows(
        HostLeaf::MemPageAdd,
        sept::State::Removed
    ));
}

#[test]
fn cpuid_bits_have_one_meaning() {
    for leaf in cpuid::LEAVES {
        for r in leaf.registers {
            let masks = [
                r.fixed0_or_dynamic,
                r.fixed1,
                r.config_direct,
                r.allow_direct,
            ];
            for (i, a) in masks.iter().enumerate() {
                for b in &masks[i + 1..] {
                    assert_eq!(a & b, 0, "leaf {:#x}.{:#x}", leaf.leaf, leaf.subleaf);
                }
            }
            assert_eq!(r.verify_value & !r.verify_mask, 0);
        }
    }
    for (config, &index) in cpuid::CONFIG.iter().enumerate() {
        assert_eq!(cpuid::LEAVES[index].config, Some(config as u8));
    }
    assert_eq!(
        cpuid::LEAVES.iter().filter(|l| l.config.is_some()).count(),
        cpuid::NUM_CONFIG
    );
    assert_eq!(
        cpuid::index_of(7, 0).map(|i| cpuid::LEAVES[i].leaf),
        Some(7)
    );
    assert_eq!(cpuid::index_of(7, 9), None);
    assert!(
        cpuid::index_of(0, 77).is_some(),
        "a leaf without sub-leaves matches any"
    );
}

#[test]
fn msr_rules_ascend() {
    for pair in msr::MSRS.windows(2) {
        assert!(
            pair[0].first <= pair[0].last && pair[0].last < pair[1].first,
            "{:#x}",
            pair[1].first
        );
    }
    assert!(msr::rule_of(0xc000_0080).is_some());
    assert!(msr::rule_of(0x8000_0000).is_none());
}

#[test]
fn field_identifiers_agree_with_their_rows() {
    for (context, table) in [
        (0, field::SYS),
        (1, field::TD),
        (2, field::VP),
        (2, field::VP_VMCS),
    ] {
        for f in table {
            assert_eq!(f.id.context_code(), context, "{:?}", f.id);
            assert_eq!(f.id.last_element_in_field(), 0);
            assert!(f.elements >= 1 && f.fields >= 1);
        }
    }
    assert_eq!(field::id::TD_EPOCH.class_code(), 0x12);
}
