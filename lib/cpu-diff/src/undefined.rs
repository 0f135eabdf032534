//! The flags that the SDM leaves undefined: all of them, for the forms that are compared.
//!
//! The table is ours; a test compares it with iced's, form by form. Two rows are about counts
//! that only CL knows when the program runs: to leave their flags out would leave them out for
//! all counts, so they are compared, and the software CPU does as processors do
//! ([`Row::followed`]). All other differences in flags of this table are let pass.

use crate::generate::flags::{AF, CF, OF, PF, SF, ZF};
use iced_x86::{Code, Instruction, Mnemonic, OpKind};

/// For which operands; counts are those of a shift or rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// An operand is a control or debug register.
    SpecialRegister,
    /// The masked count isn't 0.
    NotZero,
    /// The masked count is neither 0 nor 1.
    AboveOne,
    /// The masked count is the operand's size in bits or more.
    Size,
    /// The masked count is more than the operand's size in bits.
    AboveSize,
}

/// Instructions and what they leave undefined.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The instructions.
    pub mnemonics: &'static [Mnemonic],
    /// The flags, as in RFLAGS.
    pub flags: u64,
    /// When.
    pub when: When,
    /// Compared all the same: the software CPU does as processors do.
    pub followed: bool,
    /// Where the SDM says so: the instruction's page in volume 2, "Flags Affected".
    pub sdm: &'static str,
}

use Mnemonic as M;

/// Every row.
pub const TABLE: &[Row] = &[
    Row {
        mnemonics: &[M::And, M::Test],
        flags: AF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A AND; Vol. 2B TEST",
    },
    Row {
        mnemonics: &[M::Or, M::Xor],
        flags: AF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2B OR; Vol. 2D XOR",
    },
    Row {
        mnemonics: &[M::Andn, M::Blsi, M::Blsmsk, M::Blsr, M::Bzhi],
        flags: AF | PF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A ANDN, BLSI, BLSMSK, BLSR, BZHI",
    },
    Row {
        mnemonics: &[M::Bextr],
        flags: AF | PF | SF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A BEXTR",
    },
    Row {
        mnemonics: &[M::Bsf, M::Bsr],
        flags: CF | PF | AF | SF | OF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A BSF, BSR",
    },
    Row {
        mnemonics: &[M::Bt, M::Btc, M::Btr, M::Bts],
        flags: PF | AF | SF | OF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A BT, BTC, BTR, BTS",
    },
    Row {
        mnemonics: &[M::Lzcnt, M::Tzcnt],
        flags: PF | AF | SF | OF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A LZCNT; Vol. 2D TZCNT",
    },
    Row {
        mnemonics: &[M::Mul, M::Imul],
        flags: PF | AF | ZF | SF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A IMUL; Vol. 2B MUL",
    },
    Row {
        mnemonics: &[M::Div, M::Idiv],
        flags: CF | PF | AF | ZF | SF | OF,
        when: When::Always,
        followed: false,
        sdm: "Vol. 2A DIV, IDIV",
    },
    Row {
        mnemonics: &[M::Mov],
        flags: CF | PF | AF | ZF | SF | OF,
        when: When::SpecialRegister,
        followed: false,
        sdm: "Vol. 2B MOV to/from control and debug registers",
    },
    Row {
        mnemonics: &[M::Rcl, M::Rcr, M::Rol, M::Ror],
        flags: OF,
        when: When::AboveOne,
        followed: false,
        sdm: "Vol. 2B RCL/RCR/ROL/ROR",
    },
    Row {
        mnemonics: &[M::Shl, M::Sal, M::Shr, M::Sar],
        flags: OF,
        when: When::AboveOne,
        followed: false,
        sdm: "Vol. 2B SAL/SAR/SHL/SHR",
    },
    Row {
        mnemonics: &[M::Shl, M::Sal, M::Shr, M::Sar],
        flags: AF,
        when: When::NotZero,
        followed: false,
        sdm: "Vol. 2B SAL/SAR/SHL/SHR",
    },
    Row {
        mnemonics: &[M::Shl, M::Sal, M::Shr],
        flags: CF,
        when: When::Size,
        followed: true,
        sdm: "Vol. 2B SAL/SAR/SHL/SHR",
    },
    Row {
        mnemonics: &[M::Shld, M::Shrd],
        flags: OF,
        when: When::AboveOne,
        followed: false,
        sdm: "Vol. 2B SHLD, SHRD",
    },
    Row {
        mnemonics: &[M::Shld, M::Shrd],
        flags: AF,
        when: When::NotZero,
        followed: false,
        sdm: "Vol. 2B SHLD, SHRD",
    },
    Row {
        mnemonics: &[M::Shld, M::Shrd],
        flags: CF | PF | ZF | SF,
        when: When::AboveSize,
        followed: true,
        sdm: "Vol. 2B SHLD, SHRD",
    },
];

/// The count of a shift or rotation: `None` where CL holds it.
fn count(instruction: &Instruction) -> Option<u32> {
    let last = instruction.op_count().checked_sub(1)?;
    (instruction.op_kind(last) == OpKind::Immediate8).then(|| {
        let mask = if size(instruction) == 64 { 63 } else { 31 };
        u32::from(instruction.immediate8()) & mask
    })
}

/// Bits of the operand.
fn size(instruction: &Instruction) -> u32 {
    match instruction.op_code().operand_size() {
        0 => 8,
        size => size,
    }
}

impl Row {
    /// Whether the row is about this instruction; it is where the count isn't known.
    pub fn applies(&self, instruction: &Instruction) -> bool {
        if !self.mnemonics.contains(&instruction.mnemonic()) {
            return false;
        }
        // The masked count is never more than this.
        let most = if size(instruction) == 64 { 63 } else { 31 };
        let count = count(instruction);
        let any = |holds: fn(u32, u32) -> bool| match count {
            Some(count) => holds(count, size(instruction)),
            None => (0..=most).any(|count| holds(count, size(instruction))),
        };
        match self.when {
            When::Always => true,
            When::SpecialRegister => matches!(
                instruction.code(),
                Code::Mov_r64_cr | Code::Mov_cr_r64 | Code::Mov_r64_dr | Code::Mov_dr_r64
            ),
            When::NotZero => any(|count, _| count != 0),
            When::AboveOne => any(|count, _| count > 1),
            When::Size => any(|count, size| count >= size),
            When::AboveSize => any(|count, size| count > size),
        }
    }
}

/// The flags that are undefined after an instruction.
pub fn by_the_sdm(instruction: &Instruction) -> u64 {
    let rows = TABLE.iter().filter(|row| row.applies(instruction));
    rows.fold(0, |flags, row| flags | row.flags)
}

/// Those of them that aren't compared; see [`Row::followed`].
pub fn not_compared(instruction: &Instruction) -> u64 {
    let rows = TABLE.iter().filter(|row| !row.followed);
    rows.filter(|row| row.applies(instruction))
        .fold(0, |flags, row| flags | row.flags)
}

/// Names of flags.
pub fn names(flags: u64) -> String {
    [
        (CF, "CF"),
        (PF, "PF"),
        (AF, "AF"),
        (ZF, "ZF"),
        (SF, "SF"),
        (OF, "OF"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags & flag != 0)
    .map(|(_, name)| name)
    .collect::<Vec<_>>()
    .join(" ")
}

/// The table for a reader.
pub fn table() -> String {
    let mut text = String::new();
    for row in TABLE {
        let instructions: Vec<String> = row
            .mnemonics
            .iter()
            .map(|mnemonic| format!("{mnemonic:?}").to_uppercase())
            .collect();
        let when = match row.when {
            When::Always => "always",
            When::SpecialRegister => "to or from CRn, DRn",
            When::NotZero => "count isn't 0",
            When::AboveOne => "count above 1",
            When::Size => "count at least the size",
            When::AboveSize => "count above the size",
        };
        text += &format!(
            "{:36} {:18} {when:24} {}{}\n",
            instructions.join(" "),
            names(row.flags),
            row.sdm,
            if row.followed {
                " (compared all the same)"
            } else {
                ""
            }
        );
    }
    text
}
