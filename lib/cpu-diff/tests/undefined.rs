//! The table of undefined flags against iced's, for every form that is compared.

use cpu_diff::generate::{flags, rflags};
use cpu_diff::undefined::{TABLE, When, by_the_sdm, names};
use cpu_diff::{forms, undefined};
use iced_x86::{Code, Instruction, Mnemonic, OpCodeOperandKind, OpKind};
use std::collections::BTreeSet;

/// The form, once for each of some counts where it has a count.
fn variants(code: Code) -> Vec<Instruction> {
    use OpCodeOperandKind as K;
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let last = forms::operands(code).enumerate().last();
    let (number, counts): (usize, &[u8]) = match last {
        Some((number, K::imm8)) => (number, &[0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 255]),
        Some((number, K::imm8_const_1)) => (number, &[1]),
        _ => return vec![instruction],
    };
    let with = |&count: &u8| {
        let mut instruction = instruction;
        instruction.set_op_kind(number as u32, OpKind::Immediate8);
        instruction.set_immediate8(count);
        instruction
    };
    counts.iter().map(with).collect()
}

/// Where ours has more than iced's, and why that is right.
fn only_ours(instruction: &Instruction) -> u64 {
    // SHL and SHR by the operand's size or more, SHLD and SHRD by more than it: iced's list
    // knows counts of 0, 1 and others, not sizes.
    let sized = |when| matches!(when, When::Size | When::AboveSize);
    let rows = TABLE.iter().filter(|row| sized(row.when));
    let by_size = rows
        .filter(|row| row.applies(instruction))
        .fold(0, |flags, row| flags | row.flags);
    // RCL and RCR of 8 or 16 bits rotate by the count modulo 9 or 17. iced asks whether that is
    // 0 or 1; the SDM's condition for OF is about the masked count itself.
    let short = instruction.op_code().operand_size() < 32;
    let rotates = matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr);
    let modulo = rotates && short && instruction.immediate8() & 31 > 8;
    by_size | if modulo { flags::OF } else { 0 }
}

#[test]
fn every_form_has_the_undefined_flags_that_iced_lists() {
    let mut with_any = 0;
    let mut met = BTreeSet::new();
    for code in forms::compared() {
        for instruction in variants(code) {
            let ours = by_the_sdm(&instruction);
            let theirs = rflags(instruction.rflags_undefined());
            assert_eq!(
                ours & !only_ours(&instruction) | theirs & ours,
                theirs,
                "{code:?}, count {}: ours {:?}, iced {:?}",
                instruction.immediate8(),
                names(ours),
                names(theirs)
            );
            with_any += u32::from(ours != 0);
            for (i, row) in TABLE.iter().enumerate() {
                if row.applies(&instruction) {
                    met.extend(
                        row.mnemonics
                            .iter()
                            .filter(|&&m| m == instruction.mnemonic())
                            .map(|m| (i, *m)),
                    );
                }
            }
        }
    }
    assert!(with_any > 200, "only {with_any} forms with undefined flags");
    // No row is about nothing.
    for (i, row) in TABLE.iter().enumerate() {
        for mnemonic in row.mnemonics {
            assert!(
                met.contains(&(i, *mnemonic)),
                "{mnemonic:?} in row {i}: no such form"
            );
        }
    }
}

#[test]
fn the_table_names_a_page_for_every_row() {
    let text = undefined::table();
    assert_eq!(text.lines().count(), TABLE.len());
    assert!(TABLE.iter().all(|row| row.sdm.starts_with("Vol. 2")));
}
