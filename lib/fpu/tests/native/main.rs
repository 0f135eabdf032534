//! Every MMX, SSE and x87 instruction form that iced knows, against this machine's own CPU:
//! the same registers and memory in, all of them compared afterwards, to the bit.
#![cfg(target_arch = "x86_64")]

mod cases;
mod forms;
mod machine;
mod xsave;

use forms::Unit;
use machine::{Machine, State};

/// Inputs tried per form; `FPU_NATIVE_COUNT` overrides it.
fn count() -> u32 {
    std::env::var("FPU_NATIVE_COUNT")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300)
}

/// Runs all cases of a unit and lists those forms that differ from the machine.
fn differences(unit: Unit) -> Vec<String> {
    let mut machine = Machine::new();
    let mut random = cases::Random::new(1);
    let mut failures = Vec::new();
    let only = std::env::var("FPU_NATIVE_ONLY").unwrap_or_default();
    let cases = forms::all(unit);
    assert!(cases.len() > 150, "only {} forms", cases.len());
    for case in cases {
        let text = format!("{:?} {}", case.instruction.code(), case.instruction);
        if !only.is_empty() && !text.contains(&only) {
            continue;
        }
        machine.assemble(&case.instruction);
        let mut failed = 0;
        let mut first = String::new();
        for _ in 0..count() {
            let before = cases::state(&mut random, &case);
            let expected = machine.run(&before);
            let actual = case.model(
                &before,
                &machine.pointers(case.x87_memory() != fpu::X87Memory::None),
            );
            if let Some(difference) = case.difference(&before, &expected, &actual) {
                failed += 1;
                if first.is_empty() {
                    first = difference;
                }
            }
        }
        if failed != 0 {
            failures.push(format!("{text}: {failed} of {}\n{first}", count()));
        }
    }
    failures
}

fn check(unit: Unit) {
    // Approximations, NaN order and x87 pointers are those of Intel's processors.
    if std::arch::x86_64::__cpuid(0).ebx != u32::from_le_bytes(*b"Genu") {
        eprintln!("not an Intel processor: nothing to compare with");
        return;
    }
    let failures = differences(unit);
    assert!(
        failures.is_empty(),
        "{} forms differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn vector_forms_match_the_machine() {
    check(Unit::Vector);
}

#[test]
fn x87_forms_match_the_machine() {
    check(Unit::X87);
}

/// The state image round-trips through the machine: FXRSTOR and FXSAVE here mean the same there.
#[test]
fn images_match_the_machine() {
    let mut machine = Machine::new();
    let mut random = cases::Random::new(2);
    machine.assemble(&iced_x86::Instruction::with(iced_x86::Code::Nopd));
    for _ in 0..1000 {
        let before: State = cases::image(&mut random);
        let after = machine.run(&before);
        let state = forms::load(&before.image);
        assert_eq!(forms::image_of(&state)[..416], after.image[..416]);
    }
}
