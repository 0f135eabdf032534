//! Guest physical memory: where things stand, and how much of it a TD may have.
//!
//! ```text
//! 4 GiB    ┌───────────────────────────┐
//!          │ loader or hello TD        │  reset vector at 4 GiB - 16
//! TD_CODE  ├───────────────────────────┤
//!          │ mailbox, launch page,     │  one page each
//!          │ boot parameters, command  │
//!          │ line                      │
//!          │ ACPI tables               │
//! ACPI     ├───────────────────────────┤
//!          │ nothing                   │
//! TOP      ├───────────────────────────┤  4 GiB - 2 MiB
//!          ~ no memory; I/O APIC       ~
//! memory   ├───────────────────────────┤  at most 368 MiB
//!          │ initrd                    │  (Linux)
//!          │ kernel                    │  (Linux) at its preferred address, 16 MiB
//! 0        └───────────────────────────┘
//! ```
//!
//! All of ours stands in the top area, so that low memory is the guest's alone.

use core::fmt;
use core::str::FromStr;
use gpa::{Gpa, PAGE_SIZE};

/// One MiB in bytes.
pub const MIB: u64 = 1 << 20;
/// End of the area below 4 GiB that the reset vector is in.
pub const TOP_END: u64 = 1 << 32;
/// Start of that area: one 2 MiB page. Segments stand in here or in memory.
pub const TOP_START: u64 = TOP_END - 2 * MIB;
/// Where a TD's vCPUs begin to run.
pub const RESET_VECTOR: Gpa = Gpa::new(TOP_END - 16);

/// Start of the TD's own code (loader or hello TD); it ends at 4 GiB.
pub const TD_CODE: Gpa = Gpa::new(0xfffe_0000);
/// The ACPI multiprocessor wake-up mailbox, one page (ACPI 6.4 §5.2.12.19).
pub const MAILBOX: Gpa = Gpa::new(0xfffd_f000);
/// The launch page (see [`crate::launch`]).
pub const LAUNCH: Gpa = Gpa::new(0xfffd_e000);
/// Linux's boot parameters ("zero page"), one page.
pub const BOOT_PARAMS: Gpa = Gpa::new(0xfffd_d000);
/// Linux's command line, one page.
pub const COMMAND_LINE: Gpa = Gpa::new(0xfffd_c000);
/// The ACPI tables, the RSDP first.
pub const ACPI: Gpa = Gpa::new(0xfffd_b000);
/// Room for the ACPI tables in bytes: one page.
pub const ACPI_SIZE: u64 = COMMAND_LINE.get() - ACPI.get();

/// Most vCPUs a TD may have.
pub const MAX_VCPUS: u32 = 8;
/// Most bytes of a guest image: the size of the `guest_image` region.
pub const MAX_IMAGE: u64 = 48 * MIB;

/// The memory of a TD in bytes, from guest physical address 0 on. A checked value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MemorySize(u64);

impl MemorySize {
    /// The smallest: what the smallest TD needs.
    pub const MIN: Self = Self(16 * MIB);
    /// The largest: the private pool of 384 MiB, less 16 MiB for the top area and for 2 MiB
    /// frames that are used in part.
    pub const MAX: Self = Self(368 * MIB);
    /// Memory comes in 2 MiB pages, so that a TD can accept all of it in large pages.
    pub const GRANULE: u64 = 2 * MIB;

    /// Checks a number of bytes.
    ///
    /// # Errors
    /// [`MemorySizeError`] outside of [`Self::MIN`]`..=`[`Self::MAX`] or off [`Self::GRANULE`].
    pub const fn new(bytes: u64) -> Result<Self, MemorySizeError> {
        if bytes < Self::MIN.0 {
            Err(MemorySizeError::TooSmall(bytes))
        } else if bytes > Self::MAX.0 {
            Err(MemorySizeError::TooBig(bytes))
        } else if !bytes.is_multiple_of(Self::GRANULE) {
            Err(MemorySizeError::Uneven(bytes))
        } else {
            Ok(Self(bytes))
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Reads `256M`, `262144K` or a number of bytes; lower-case letters are fine, too.
impl FromStr for MemorySize {
    type Err = MemorySizeError;

    fn from_str(text: &str) -> Result<Self, MemorySizeError> {
        let (digits, unit) = match text.as_bytes() {
            [.., b'K' | b'k'] => (&text[..text.len() - 1], 1 << 10),
            [.., b'M' | b'm'] => (&text[..text.len() - 1], MIB),
            [.., b'G' | b'g'] => (&text[..text.len() - 1], 1 << 30),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MemorySizeError::NotANumber);
        }
        // All digits: what fails now is a number too big for a word.
        match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
            Some(bytes) => Self::new(bytes),
            None => Err(MemorySizeError::TooBig(u64::MAX)),
        }
    }
}

/// Why a memory size was refused. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemorySizeError {
    /// Not a number with an optional K, M or G.
    NotANumber,
    /// Less than [`MemorySize::MIN`].
    TooSmall(u64),
    /// More than [`MemorySize::MAX`].
    TooBig(u64),
    /// Not a multiple of [`MemorySize::GRANULE`].
    Uneven(u64),
}

impl fmt::Display for MemorySizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (MemorySize::MIN.0 / MIB, MemorySize::MAX.0 / MIB);
        match self {
            Self::NotANumber => write!(
                f,
                "not a memory size: give a number with K, M or G, such as 256M"
            ),
            Self::TooSmall(bytes) => write!(
                f,
                "{bytes} bytes of memory are too few: give {min}M to {max}M"
            ),
            Self::TooBig(u64::MAX) => write!(f, "too much memory: give {min}M to {max}M"),
            Self::TooBig(bytes) => write!(
                f,
                "{bytes} bytes of memory are more than the private pool holds: give {min}M to {max}M"
            ),
            Self::Uneven(bytes) => write!(
                f,
                "{bytes} bytes of memory aren't a multiple of 2M: give {}M or {}M",
                bytes / MemorySize::GRANULE * 2,
                bytes / MemorySize::GRANULE * 2 + 2
            ),
        }
    }
}

impl core::error::Error for MemorySizeError {}

/// Whether `[gpa, gpa + length)` lies in memory, or in the area below 4 GiB.
pub(crate) const fn in_bounds(gpa: u64, length: u64, memory: MemorySize) -> bool {
    match gpa.checked_add(length) {
        Some(end) => end <= memory.0 || (gpa >= TOP_START && end <= TOP_END),
        None => false,
    }
}

const _: () = {
    assert!(ACPI.get() >= TOP_START && ACPI_SIZE == PAGE_SIZE);
    assert!(MAILBOX.get() + PAGE_SIZE == TD_CODE.get());
    assert!(LAUNCH.get() + PAGE_SIZE == MAILBOX.get());
    assert!(BOOT_PARAMS.get() + PAGE_SIZE == LAUNCH.get());
    assert!(COMMAND_LINE.get() + PAGE_SIZE == BOOT_PARAMS.get());
    assert!(MemorySize::MAX.0 <= TOP_START);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes() {
        assert_eq!("256M".parse(), Ok(MemorySize(256 << 20)));
        assert_eq!("256m".parse(), Ok(MemorySize(256 << 20)));
        assert_eq!("262144K".parse(), Ok(MemorySize(256 << 20)));
        assert_eq!("268435456".parse(), Ok(MemorySize(256 << 20)));
        assert_eq!("16M".parse(), Ok(MemorySize::MIN));
        assert_eq!("368M".parse(), Ok(MemorySize::MAX));
        for (text, error) in [
            ("3M", MemorySizeError::TooSmall(3 << 20)),
            ("0", MemorySizeError::TooSmall(0)),
            ("14M", MemorySizeError::TooSmall(14 << 20)),
            ("370M", MemorySizeError::TooBig(370 << 20)),
            ("1G", MemorySizeError::TooBig(1 << 30)),
            ("255M", MemorySizeError::Uneven(255 << 20)),
            ("99999999999999999999", MemorySizeError::TooBig(u64::MAX)),
            ("18446744073709551615G", MemorySizeError::TooBig(u64::MAX)),
            ("", MemorySizeError::NotANumber),
            ("M", MemorySizeError::NotANumber),
            ("lots", MemorySizeError::NotANumber),
            ("-5M", MemorySizeError::NotANumber),
            ("+256M", MemorySizeError::NotANumber),
            ("256MB", MemorySizeError::NotANumber),
            ("256 M", MemorySizeError::NotANumber),
            ("25\u{e9}", MemorySizeError::NotANumber),
        ] {
            assert_eq!(text.parse::<MemorySize>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn messages_say_what_to_do() {
        let says = |text: &str| text.parse::<MemorySize>().unwrap_err().to_string();
        assert_eq!(
            says("3M"),
            "3145728 bytes of memory are too few: give 16M to 368M"
        );
        assert!(says("255M").ends_with("give 254M or 256M"));
    }

    #[test]
    fn bounds() {
        let memory = MemorySize(32 * MIB);
        assert!(in_bounds(0, 32 * MIB, memory));
        assert!(!in_bounds(0, 32 * MIB + 1, memory));
        assert!(in_bounds(TOP_START, 2 * MIB, memory));
        assert!(!in_bounds(TOP_START - 1, 1, memory));
        assert!(!in_bounds(TOP_END, 1, memory));
        assert!(!in_bounds(u64::MAX, 2, memory));
    }
}
