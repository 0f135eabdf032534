//! The two-stage walk against a naive one, over random page tables.

mod common;

use common::*;
use cpu::{Exit, cr0, cr4, gpr::*, reason};
use gpa::Hpa;
use memory::PhysMemory;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;

const LINEAR: u64 = 0x7f12_3456_7000;
/// Random tables, one page for each level; the data page; nothing at all beyond that.
const ROOT: u64 = 0x8_0000;
const PAGE: u64 = 0x60_0000;
const USER_TEXT: u64 = 0x90_0000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    Read,
    Write,
    Fetch,
}

#[derive(Clone, Debug)]
struct Case {
    entries: [u64; 4],
    access: Access,
    user: bool,
    ac: bool,
    wp: bool,
    smep: bool,
    smap: bool,
    ept: u64,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    PageFault(u64),
    Violation(u64),
}

/// The SDM's rules, one after the other.
fn naive(case: &Case) -> (Outcome, [u64; 4]) {
    let mut after = case.entries;
    let mut code = 0;
    if case.access == Access::Write {
        code |= 2;
    }
    if case.user {
        code |= 4;
    }
    if case.access == Access::Fetch {
        code |= 16;
    }
    let (mut user, mut write, mut nx) = (true, true, false);
    let mut leaf = 3;
    for level in 0..4 {
        let entry = case.entries[level];
        if entry & 1 == 0 {
            return (Outcome::PageFault(code), after);
        }
        let page_size = entry & 0x80 != 0 && level < 3;
        let low_bits = match level {
            1 => 0x3fff_e000u64,
            2 => 0x1f_e000,
            _ => 0,
        };
        let reserved =
            entry >> 48 & 0xf != 0 || level == 0 && page_size || page_size && entry & low_bits != 0;
        if reserved {
            return (Outcome::PageFault(code | 9), after);
        }
        user &= entry & 4 != 0;
        write &= entry & 2 != 0;
        nx |= entry >> 63 != 0;
        if page_size || level == 3 {
            leaf = level;
            break;
        }
        if entry & SHARED != 0 {
            return (Outcome::PageFault(code | 9), after);
        }
    }
    let allowed = match (case.user, case.access) {
        (true, Access::Read) => user,
        (true, Access::Write) => user && write,
        (true, Access::Fetch) => user && !nx,
        (false, Access::Fetch) => !(nx || user && case.smep),
        (false, access) => {
            let smap_ok = !user || !case.smap || case.ac;
            smap_ok && (access == Access::Read || write || !case.wp)
        }
    };
    if !allowed {
        return (Outcome::PageFault(code | 1), after);
    }
    for (level, entry) in after.iter_mut().enumerate().take(leaf + 1) {
        *entry |= 0x20;
        if level == leaf && case.access == Access::Write {
            *entry |= 0x40;
        }
    }
    if case.entries[leaf] & SHARED != 0 {
        // Code isn't fetched from shared memory; data there is of no interest here.
        return (Outcome::PageFault(code | 9), after);
    }
    let need = match case.access {
        Access::Read => 1,
        Access::Write => 2,
        Access::Fetch => 4,
    };
    if case.ept & need == 0 {
        return (
            Outcome::Violation(need | (case.ept & 7) << 3 | 0x180),
            after,
        );
    }
    (Outcome::Done, after)
}

fn tables() -> [u64; 4] {
    core::array::from_fn(|level| {
        ROOT + 0x1000 * level as u64 + 8 * (LINEAR >> (39 - 9 * level) & 511)
    })
}

fn actual(test: &mut Test, case: &Case) -> (Outcome, [u64; 4]) {
    test.start();
    let places = tables();
    for (place, entry) in places.into_iter().zip(case.entries) {
        test.poke(place, entry);
    }
    // What the program and its handlers need, under the same root.
    test.poke(ROOT, (TABLES + 0x1000) | 7);
    // The data's large page in the EPT.
    test.poke(EPT + 0x2000 + 8 * 3, PAGE | 0xb0 | case.ept);
    let cpu = &mut test.cpu;
    let mut zero = cpu.cr0() & !cr0::WP;
    if case.wp {
        zero |= cr0::WP;
    }
    let mut four = cpu.cr4();
    if case.smep {
        four |= cr4::SMEP;
    }
    if case.smap {
        four |= cr4::SMAP;
    }
    cpu.set_control_registers(zero, ROOT, four, cpu.efer());
    cpu.set_gpr(RBX, LINEAR);
    if case.user {
        test.user();
    }
    if case.ac {
        test.cpu.set_rflags(cpu::rflags::AC);
    }
    // Supervisor code from a supervisor page, user code from a user page.
    let text = if case.user { USER_TEXT } else { CODE };
    let code: &[u8] = match case.access {
        Access::Read => &[0x8a, 0x03, 0x0f, 0xa2],
        Access::Write => &[0x88, 0x03, 0x0f, 0xa2],
        Access::Fetch => &[0xff, 0xe3],
    };
    test.load(text, code);
    // CPUID exits wherever it stands.
    for page in [PAGE, PAGE + LINEAR % 0x20_0000] {
        test.poke(page, 0xa20f);
    }
    test.cpu.set_rip(text);
    test.gate(14, CODE + 0x100, 0, 0);
    test.load(CODE + 0x100, &[0xf4]);
    let outcome = match test.run(100) {
        Exit::Vm(exit) if exit.reason == reason::CPUID => Outcome::Done,
        Exit::Vm(exit) if exit.reason == reason::HLT => {
            assert_eq!(test.cpu.cr2(), LINEAR);
            Outcome::PageFault(test.peek(test.gpr(RSP)))
        }
        Exit::Vm(exit) if exit.reason == reason::EPT_VIOLATION => {
            assert_eq!(exit.gla, LINEAR);
            Outcome::Violation(exit.qualification)
        }
        other => panic!("{other:x?} at {:#x}", test.cpu.rip()),
    };
    let memory = test.machine.memory.window();
    (
        outcome,
        places.map(|place| memory.read_u64(Hpa::new(place))),
    )
}

fn cases() -> impl Strategy<Value = Case> {
    let flaws = prop::collection::vec((0usize..4, 0u32..10), 0..3);
    let access = prop_oneof![Just(Access::Read), Just(Access::Write), Just(Access::Fetch)];
    let bits = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    let ept = prop_oneof![Just(7u64), Just(0), Just(1), Just(3), Just(5), Just(4)];
    (flaws, 1usize..4, access, bits, ept, any::<bool>()).prop_map(
        |(flaws, large_at, access, (user, ac, wp, smep, smap), ept, supervisor)| {
            let mut entries: [u64; 4] =
                core::array::from_fn(|level| (ROOT + 0x1000 * (level as u64 + 1)) | 7);
            // A large page must lie within the one the EPT has: 2 MiB ones do.
            let leaf = if large_at == 2 { 2 } else { 3 };
            entries[leaf] = PAGE | 7 | if leaf == 2 { 0x80 } else { 0 };
            if supervisor {
                entries[leaf] &= !4;
            }
            for (level, flaw) in flaws {
                let entry = &mut entries[level];
                match flaw {
                    0 => *entry &= !1,
                    1 | 2 => *entry &= !2,
                    3 | 4 => *entry &= !4,
                    5 | 6 => *entry |= 1 << 63,
                    7 => *entry |= 1 << 50,
                    8 if level < leaf => *entry |= SHARED,
                    8 => {}
                    _ => *entry |= 0x20,
                }
            }
            Case {
                entries,
                access,
                user,
                ac,
                wp,
                smep,
                smap,
                ept,
            }
        },
    )
}

#[test]
fn walks_as_the_sdm_says() {
    // One machine for all cases: its memory takes longer to make than a case.
    let test = RefCell::new(Test::new());
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 5000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&cases(), |case| {
        prop_assert_eq!(actual(&mut test.borrow_mut(), &case), naive(&case));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
