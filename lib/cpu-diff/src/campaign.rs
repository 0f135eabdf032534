//! Many sequences: run, compare, count, shorten.

use crate::allow;
use crate::compare::{Kind, describe, difference};
use crate::forms;
use crate::generate::{Assembled, Sequence};
use crate::layout::{CODE, SLOT, SLOTS};
use crate::native::Native;
use crate::random::Random;
use crate::software::{Software, Storage};
use crate::state::{End, Outcome};
use iced_x86::{Code, Formatter, IntelFormatter};
use std::collections::BTreeMap;

/// What is known of one form.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Sequences in which it was executed as the first instruction.
    pub first: u64,
    /// Sequences in which it was executed at all.
    pub executed: u64,
    /// Of those with it in the first place: ended in an exception right there.
    pub faulted: u64,
    /// Shortest failing sequences that it ended.
    pub differences: u64,
}

/// A shortened sequence on which the two sides differ.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The form that it is counted under: its last instruction's.
    pub code: Code,
    /// What differs.
    pub kind: Kind,
    /// The software CPU didn't know an instruction.
    pub unknown: bool,
    /// Disassembly, and both results.
    pub text: String,
}

/// The result of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Sequences run on both sides.
    pub sequences: u64,
    /// Sequences that ended in an exception.
    pub faults: u64,
    /// Sequences that were drawn, but have no encoding.
    pub unencodable: u64,
    /// Per form.
    pub coverage: BTreeMap<String, Coverage>,
    /// The first failures of each form.
    pub failures: Vec<Failure>,
    /// All sequences that differ.
    pub differences: u64,
}

/// Failures that are shortened and kept, per form.
const KEPT: u64 = 3;

/// Runs `count` sequences, all following from `seed`. `only` restricts the first instruction to
/// forms whose name contains it. An error is the native side's, which couldn't be set up.
pub fn run(seed: u64, count: u64, only: Option<&str>) -> Result<Report, String> {
    let mut native = Native::new()?;
    let mut storage = Box::new(Storage::new());
    let mut software = Software::new(&mut storage);
    let all = forms::compared();
    let chosen: Vec<Code> = all
        .iter()
        .copied()
        .filter(|code| only.is_none_or(|text| format!("{code:?}").contains(text)))
        .collect();
    if chosen.is_empty() {
        return Err("no such form".into());
    }
    let names: BTreeMap<Code, String> = all
        .iter()
        .map(|&code| (code, format!("{code:?}")))
        .collect();
    let mut seeds = Random::new(seed);
    let mut report = Report::default();
    let mut counted: BTreeMap<Code, Coverage> = all
        .iter()
        .map(|&code| (code, Coverage::default()))
        .collect();
    let mut batch: Vec<(Sequence, Assembled)> = Vec::with_capacity(SLOTS);
    let mut drawn = 0u64;
    while report.sequences < count && drawn < 4 * count + 1000 {
        batch.clear();
        while batch.len() < SLOTS && report.sequences + (batch.len() as u64) < count {
            drawn += 1;
            if drawn >= 4 * count + 1000 {
                break;
            }
            let first = chosen[(drawn % chosen.len() as u64) as usize];
            let sequence = Sequence::new(seeds.bits(), first, &all);
            let address = CODE + batch.len() as u64 * SLOT;
            match sequence.assemble(address) {
                Some(assembled) if !sequence.instructions.is_empty() => {
                    native.load(batch.len(), &assembled.bytes);
                    software.load(batch.len(), &assembled.bytes);
                    batch.push((sequence, assembled));
                }
                _ => report.unencodable += 1,
            }
        }
        native.synchronize();
        software.synchronize();
        let mut failed = Vec::new();
        for (slot, (sequence, assembled)) in batch.iter().enumerate() {
            let both = run_both(&mut native, &mut software, slot, sequence, assembled);
            report.sequences += 1;
            count_coverage(
                &mut counted,
                &mut report,
                slot,
                sequence,
                assembled,
                &both.native,
            );
            if both.kind.is_some() {
                failed.push(slot);
            }
        }
        for slot in failed {
            report.differences += 1;
            let (sequence, _) = &batch[slot];
            let failure = shorten(&mut native, &mut software, sequence);
            let entry = counted.entry(failure.code).or_default();
            entry.differences += 1;
            if entry.differences <= KEPT {
                report.failures.push(failure);
            }
        }
    }
    report.coverage = counted
        .into_iter()
        .map(|(code, coverage)| (names[&code].clone(), coverage))
        .collect();
    Ok(report)
}

struct Both {
    native: Outcome,
    software: Outcome,
    kind: Option<Kind>,
    unknown: bool,
}

fn before(sequence: &Sequence) -> Outcome {
    Outcome {
        registers: sequence.registers.clone(),
        end: End::Finished,
        data: sequence.data,
        stack: sequence.stack,
    }
}

fn run_both(
    native: &mut Native,
    software: &mut Software<'_>,
    slot: usize,
    sequence: &Sequence,
    assembled: &Assembled,
) -> Both {
    let mut here = before(sequence);
    let mut there = here.clone();
    native.run(slot, &sequence.registers, &mut here);
    software.run(slot, assembled.bytes.len(), &sequence.registers, &mut there);
    // Inside of an instruction (after INT3) counts as the one before.
    let reached = match here.end {
        End::Finished => sequence.instructions.len(),
        _ => {
            let offset = here.registers.rip.wrapping_sub(CODE + slot as u64 * SLOT);
            let found = assembled
                .offsets
                .iter()
                .rposition(|&start| start as u64 <= offset);
            found.unwrap_or(0).min(sequence.instructions.len())
        }
    };
    let undefined = || sequence.undefined_flags()[reached];
    let mut kind = difference(&here, &there, undefined);
    if kind.is_some()
        && let Some(instruction) = sequence.instructions.get(reached)
    {
        let mut forgiven = there.clone();
        allow::forgive(instruction, &here, &mut forgiven);
        kind = difference(&here, &forgiven, undefined);
    }
    let unknown = software.met_unknown();
    Both {
        native: here,
        software: there,
        kind,
        unknown,
    }
}

fn count_coverage(
    counted: &mut BTreeMap<Code, Coverage>,
    report: &mut Report,
    slot: usize,
    sequence: &Sequence,
    assembled: &Assembled,
    native: &Outcome,
) {
    let reached = match native.end {
        End::Finished => sequence.instructions.len(),
        _ => {
            report.faults += 1;
            let offset = native.registers.rip.wrapping_sub(CODE + slot as u64 * SLOT);
            let index = assembled
                .offsets
                .iter()
                .rposition(|&start| start as u64 <= offset);
            index
                .map_or(1, |index| index + 1)
                .min(sequence.instructions.len())
        }
    };
    for (i, instruction) in sequence.instructions[..reached].iter().enumerate() {
        let entry = counted.entry(instruction.code()).or_default();
        entry.executed += 1;
        if i == 0 {
            entry.first += 1;
            entry.faulted += u64::from(native.end != End::Finished && reached == 1);
        }
    }
}

/// Leaves out one instruction after the other as long as the sides still differ.
fn shorten(native: &mut Native, software: &mut Software<'_>, sequence: &Sequence) -> Failure {
    let mut attempt = |sequence: &Sequence| -> Option<(Both, Assembled)> {
        let assembled = sequence.assemble(CODE)?;
        native.load(0, &assembled.bytes);
        software.load(0, &assembled.bytes);
        native.synchronize();
        software.synchronize();
        let both = run_both(native, software, 0, sequence, &assembled);
        both.kind.is_some().then_some((both, assembled))
    };
    let mut best = sequence.clone();
    let mut result = attempt(&best);
    let mut index = best.instructions.len();
    while index > 0 {
        index -= 1;
        if best.instructions.len() == 1 {
            break;
        }
        let shorter = without(&best, index);
        if let Some(found) = attempt(&shorter) {
            best = shorter;
            result = Some(found);
            index = index.min(best.instructions.len());
        }
    }
    let code = best
        .instructions
        .last()
        .map_or(Code::INVALID, |instruction| instruction.code());
    match result {
        Some((both, assembled)) => Failure {
            code,
            kind: both.kind.unwrap_or(Kind::End),
            unknown: both.unknown,
            text: format!(
                "seed {:#x}, {:?}\n{}\n{}",
                sequence.seed,
                both.kind,
                listing(&best, &assembled),
                describe(&before(&best), &both.native, &both.software)
            ),
        },
        None => Failure {
            code,
            kind: Kind::End,
            unknown: false,
            text: format!(
                "seed {:#x}: differed once, but not when run again",
                sequence.seed
            ),
        },
    }
}

/// The sequence without one instruction; branches keep their targets.
fn without(sequence: &Sequence, index: usize) -> Sequence {
    let mut shorter = sequence.clone();
    shorter.instructions.remove(index);
    for instruction in &mut shorter.instructions {
        if instruction.op_count() > 0 && instruction.op_kind(0) == iced_x86::OpKind::NearBranch64 {
            let target = instruction.near_branch64();
            if target > index as u64 {
                instruction.set_near_branch64(target - 1);
            }
        }
    }
    shorter
}

/// Disassembly with bytes.
fn listing(sequence: &Sequence, assembled: &Assembled) -> String {
    let mut formatter = IntelFormatter::new();
    let mut lines = Vec::new();
    for (i, instruction) in sequence.instructions.iter().enumerate() {
        let mut text = String::new();
        formatter.format(instruction, &mut text);
        let bytes: String = assembled.bytes[assembled.offsets[i]..assembled.offsets[i + 1]]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        lines.push(format!("    {bytes:30} {text}  ({:?})", instruction.code()));
    }
    lines.join("\n")
}
