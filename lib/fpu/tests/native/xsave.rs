//! The XSAVE family against this machine's, for the components x87 and SSE.
#![allow(unsafe_code)] // Executes the instructions.

use crate::cases::{Random, image};
use crate::forms::{LAYOUT, image_of, load};
use fpu::image::{XSAVE_BYTES, XsaveKind, xrstor, xsave};
use std::arch::asm;

static MXCSR: u32 = fpu::MXCSR_RESET;

#[repr(C, align(64))]
struct Aligned<T>(T);

fn available() -> bool {
    is_x86_feature_detected!("xsave")
        && is_x86_feature_detected!("xsaveopt")
        && is_x86_feature_detected!("xsavec")
}

/// Loads the FXSAVE image, saves with one of the instructions into the area.
macro_rules! save {
    ($instruction:literal, $from:expr, $area:expr, $mask:expr) => {
        // SAFETY: both areas are large enough and aligned; the floating-point state is restored
        // to what Rust expects.
        unsafe {
            asm!(
                "fxrstor64 [{from}]",
                concat!($instruction, " [{area}]"),
                "fninit",
                "ldmxcsr [{mxcsr}]",
                from = in(reg) &raw const $from,
                area = in(reg) &raw mut $area,
                mxcsr = in(reg) &raw const MXCSR,
                in("eax") $mask as u32,
                in("edx") 0,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
    };
}

#[test]
fn saving_matches_the_machine() {
    if !available() {
        eprintln!("no XSAVEC here: nothing to compare with");
        return;
    }
    let mut random = Random::new(3);
    for round in 0..3000 {
        let from = Aligned(image(&mut random).image);
        let state = load(&from.0);
        let mask = random.below(4);
        let mut here = Aligned([0u8; XSAVE_BYTES]);
        for byte in &mut here.0[..520] {
            *byte = random.next() as u8;
        }
        let mut there = here.0;
        let kind = match round % 3 {
            0 => {
                save!("xsave64", from.0, here.0, mask);
                XsaveKind::Plain
            }
            1 => {
                save!("xsaveopt64", from.0, here.0, mask);
                XsaveKind::Optimized
            }
            _ => {
                save!("xsavec64", from.0, here.0, mask);
                XsaveKind::Compacted
            }
        };
        xsave(&state, &mut there, LAYOUT, kind, mask);
        // MXCSR_MASK is the processor's.
        here.0[28..32].copy_from_slice(&there[28..32]);
        assert_eq!(here.0[..], there[..], "{kind:?}, mask {mask}");
    }
}

#[test]
fn restoring_matches_the_machine() {
    if !available() {
        eprintln!("no XSAVEC here: nothing to compare with");
        return;
    }
    let mut random = Random::new(4);
    for _ in 0..3000 {
        let before = Aligned(image(&mut random).image);
        let mask = random.below(4);
        let mut area = Aligned([0u8; XSAVE_BYTES]);
        area.0[..512].copy_from_slice(&image(&mut random).image);
        area.0[512] = random.below(4) as u8;
        if random.below(2) == 0 {
            // Compacted: all that is present must be in the format.
            area.0[520] = area.0[512] | random.below(4) as u8;
            area.0[527] = 0x80;
        }
        let mut after = Aligned([0u8; 512]);
        // SAFETY: as above; the header is a valid one.
        unsafe {
            asm!(
                "fxrstor64 [{before}]",
                "xrstor64 [{area}]",
                "fxsave64 [{after}]",
                "fninit",
                "ldmxcsr [{mxcsr}]",
                before = in(reg) &raw const before.0,
                area = in(reg) &raw const area.0,
                after = in(reg) &raw mut after.0,
                mxcsr = in(reg) &raw const MXCSR,
                in("eax") mask as u32,
                in("edx") 0,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
        let mut state = load(&before.0);
        xrstor(&mut state, &area.0, LAYOUT, false, 3, mask).expect("a valid header");
        assert_eq!(image_of(&state)[..28], after.0[..28], "mask {mask}");
        assert_eq!(image_of(&state)[32..416], after.0[32..416], "mask {mask}");
    }
}

#[test]
fn bad_headers_are_refused() {
    let valid = [0u8; XSAVE_BYTES];
    let refused = |change: &dyn Fn(&mut [u8; XSAVE_BYTES]), supervisor: bool| {
        let mut area = valid;
        change(&mut area);
        let mut state = fpu::FpuState::new();
        state.xmm[3] = 7;
        let before = state.clone();
        let refused = xrstor(&mut state, &area, LAYOUT, supervisor, 3, 3).is_err();
        assert!(!refused || state == before, "refused, but changed");
        refused
    };
    assert!(!refused(&|_| {}, false));
    assert!(
        refused(&|_| {}, true),
        "XRSTORS takes the compacted format only"
    );
    assert!(
        refused(&|area| area[512] = 4, false),
        "a component that isn't enabled"
    );
    assert!(
        refused(&|area| area[528] = 1, false),
        "reserved header bytes"
    );
    assert!(
        !refused(&|area| area[560] = 1, false),
        "beyond what the standard format checks"
    );
    assert!(
        refused(&|area| area[520] = 1, false),
        "XCOMP_BV without its top bit"
    );
    assert!(!refused(&|area| area[527] = 0x80, true));
    assert!(
        refused(&|area| (area[527], area[512]) = (0x80, 1), false),
        "not in the format"
    );
    assert!(
        refused(&|area| (area[527], area[520]) = (0x80, 4), false),
        "not enabled"
    );
    assert!(
        refused(&|area| (area[527], area[570]) = (0x80, 1), false),
        "reserved header bytes"
    );
    assert!(refused(&|area| area[26] = 1, false), "reserved MXCSR bit");
}
