//! What differs between two outcomes.

use crate::generate::flags;
use crate::layout::{CODE, DATA, PAGE, STACK};
use crate::state::{End, Outcome};

/// Bits of RFLAGS that are compared: the arithmetic flags and DF. The others are fixed in user
/// mode, or the processor's own (RF).
const RFLAGS: u64 = flags::ARITHMETIC | flags::DIRECTION;
/// Bytes of the FXSAVE image that are defined.
const IMAGE: usize = 416;
/// Where the image has MXCSR_MASK, which is the processor's.
const MXCSR_MASK: std::ops::Range<usize> = 28..32;

/// Linux's vsyscall page, the one executable page of the kernel's half.
const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;

/// What kind of thing differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Finished or not, or the exception's vector.
    End,
    /// Error code or address of an exception.
    Detail,
    /// RIP of an exception.
    Rip,
    /// General registers.
    Gpr,
    /// RFLAGS.
    Rflags,
    /// x87, MMX or SSE registers.
    Float,
    /// Memory.
    Memory,
}

/// The first kind of difference, if any. `undefined` gives the flags that are undefined at the
/// end, or at the exception.
pub fn difference(
    native: &Outcome,
    software: &Outcome,
    undefined: impl Fn() -> u64,
) -> Option<Kind> {
    // A jump there is natively a system call that the kernel emulates.
    if native.registers.rip.wrapping_sub(VSYSCALL) < PAGE && native.end != End::Finished {
        return None;
    }
    match (native.end, software.end) {
        (End::Timeout, End::Timeout) => return None,
        (End::Finished, End::Finished) => {}
        (
            End::Fault {
                vector: a,
                error_code: b,
                address: c,
            },
            End::Fault {
                vector: d,
                error_code: e,
                address: f,
            },
        ) => {
            if a != d {
                return Some(Kind::End);
            }
            // Whether a page elsewhere is present, but not for us, is each side's own affair.
            let ours = [CODE, DATA, STACK]
                .into_iter()
                .any(|base| c.abs_diff(base) < 0x2_0000);
            let present = u32::from(!ours);
            if (b ^ e) & !present != 0 || c != f {
                return Some(Kind::Detail);
            }
            if native.registers.rip != software.registers.rip {
                return Some(Kind::Rip);
            }
        }
        _ => return Some(Kind::End),
    }
    let (a, b) = (&native.registers, &software.registers);
    if a.gpr != b.gpr {
        return Some(Kind::Gpr);
    }
    let flags = (a.rflags ^ b.rflags) & RFLAGS;
    if flags != 0 && flags & !undefined() != 0 {
        return Some(Kind::Rflags);
    }
    let same = |range: std::ops::Range<usize>| a.image[range.clone()] == b.image[range];
    // An instruction pointer out of a random image keeps as many bits as the processor has
    // linear address bits: 48 or 57.
    if !same(0..14) || !same(16..MXCSR_MASK.start) || !same(MXCSR_MASK.end..IMAGE) {
        return Some(Kind::Float);
    }
    if native.data != software.data || native.stack != software.stack {
        return Some(Kind::Memory);
    }
    None
}

const GPR_NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// Names and places of the image's fields.
fn image_fields() -> impl Iterator<Item = (String, usize, usize)> {
    [
        ("fcw", 0, 2),
        ("fsw", 2, 2),
        ("valid", 4, 1),
        ("fop", 6, 2),
        ("fip", 8, 8),
        ("fdp", 16, 8),
        ("mxcsr", 24, 4),
    ]
    .into_iter()
    .map(|(name, at, size)| (name.to_string(), at, size))
    .chain((0..8).map(|i| (format!("st{i}"), 32 + 16 * i, 16)))
    .chain((0..16).map(|i| (format!("xmm{i}"), 160 + 16 * i, 16)))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// All differences, in words, with the values before.
pub fn describe(before: &Outcome, native: &Outcome, software: &Outcome) -> String {
    let mut lines = vec![format!(
        "  end: native {:x?}, software {:x?}",
        native.end, software.end
    )];
    let (a, b) = (&native.registers, &software.registers);
    if native.end != End::Finished {
        lines.push(format!("  rip: native {:x}, software {:x}", a.rip, b.rip));
    }
    for (i, name) in GPR_NAMES.into_iter().enumerate() {
        let mark = if a.gpr[i] == b.gpr[i] { ' ' } else { '!' };
        lines.push(format!(
            " {mark}{name}: before {:x}, native {:x}, software {:x}",
            before.registers.gpr[i], a.gpr[i], b.gpr[i]
        ));
    }
    let mark = if (a.rflags ^ b.rflags) & RFLAGS == 0 {
        ' '
    } else {
        '!'
    };
    lines.push(format!(
        " {mark}rflags: before {:x}, native {:x}, software {:x}",
        before.registers.rflags, a.rflags, b.rflags
    ));
    for (name, at, size) in image_fields() {
        let field = |outcome: &Outcome| hex(&outcome.registers.image[at..at + size]);
        let (native, software) = (field(native), field(software));
        let control = size < 8 && name != "fop";
        if native != software || control {
            let mark = if native == software { ' ' } else { '!' };
            lines.push(format!(
                " {mark}{name}: before {}, native {native}, software {software}",
                field(before)
            ));
        }
    }
    for (name, before, native, software) in [
        ("data", &before.data, &native.data, &software.data),
        ("stack", &before.stack, &native.stack, &software.stack),
    ] {
        for at in (0..native.len()).step_by(8) {
            let word = |page: &crate::state::Page| hex(&page[at..at + 8]);
            if native[at..at + 8] != software[at..at + 8] {
                lines.push(format!(
                    " !{name}+{at:x}: before {}, native {}, software {}",
                    word(before),
                    word(native),
                    word(software)
                ));
            }
        }
    }
    lines.join("\n")
}
