//! The trace format.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

/// What the first line says of the platform.
#[derive(Debug, Deserialize)]
pub struct Header {
    /// A to L.
    pub family: String,
    /// Which trace of the family.
    pub seed: u64,
    /// The platform it was recorded on.
    pub platform: PlatformInfo,
}

/// The platform a trace was recorded on.
#[derive(Debug, Deserialize)]
pub struct PlatformInfo {
    /// Bytes of memory from 0 on.
    pub fake_memory_bytes: Hex,
    /// Physical address width.
    pub maxpa: u32,
    /// KeyID bits.
    pub hkid_bits: u32,
    /// First KeyID bit.
    pub hkid_start_bit: u32,
    /// First and last private KeyID.
    pub private_hkids: [u16; 2],
    /// Base and size of each CMR.
    pub cmrs: Vec<[Hex; 2]>,
    /// Logical processors.
    pub lps: usize,
    /// Packages.
    pub packages: u32,
    /// Package of each LP.
    pub lp_package: Vec<u8>,
    /// TSC frequency in Hz.
    pub tsc_hz: u64,
    /// Blocks of a cache write-back.
    pub wbinvd_sub_blocks: u64,
}

/// A number written as a hex string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub u64);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| serde::de::Error::custom(format!("{text} is not a hex number")))
    }
}

/// Registers by name.
pub type Named = BTreeMap<String, Hex>;

/// One memory write.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Write {
    /// These bytes.
    Bytes(Hex, String),
    /// A pattern, repeated.
    Fill {
        /// Where.
        hpa: Hex,
        /// The pattern.
        fill: String,
        /// Bytes.
        len: u64,
    },
}

/// A VM exit.
#[derive(Debug, Deserialize)]
pub struct ExitInfo {
    /// Basic exit reason.
    pub reason: u32,
    /// Exit qualification.
    pub qual: Hex,
    /// Guest physical address.
    pub gpa: Hex,
    /// Guest linear address.
    pub gla: Hex,
    /// Interruption information.
    pub intr: Hex,
    /// Instruction length in bytes; older traces do not say.
    #[serde(default)]
    pub len: u32,
}

/// One line.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// Sequence number.
    #[serde(default)]
    pub i: u64,
    /// Logical processor.
    #[serde(default)]
    pub lp: usize,
    /// What it is.
    pub kind: String,
    /// The leaf's name.
    pub leaf: Option<String>,
    /// Registers given.
    #[serde(default)]
    pub r#in: Named,
    /// Registers after it, where the caller goes on.
    pub out: Option<Named>,
    /// Registers with which TDH.VP.ENTER returns.
    pub seamret: Option<Named>,
    /// TDH.VP.ENTER entered the TD.
    #[serde(default)]
    pub entered: bool,
    /// Guest registers at entry.
    pub td: Option<Named>,
    /// What is injected.
    pub inject: Option<serde_json::Value>,
    /// The exit of a `tdexit`.
    pub exit: Option<ExitInfo>,
    /// Times the call was made.
    pub rep: Option<u64>,
    /// Memory written before it.
    #[serde(default)]
    pub mem: Vec<Write>,
    /// Memory after it.
    #[serde(default)]
    pub memout: Vec<(Hex, String)>,
    /// An interrupt is pending from this poll on.
    pub intr_after: Option<u64>,
    /// The lock's name.
    pub obj: Option<String>,
    /// `ex` or `sh`.
    pub mode: Option<String>,
    /// The page whose lock it is.
    pub hpa: Option<Hex>,
    /// The TD whose lock it is.
    pub tdr: Option<Hex>,
    /// The MRTD of a `note`.
    pub mrtd: Option<String>,
}

/// A trace that is read line by line.
pub struct Trace {
    /// Its header.
    pub header: Header,
    lines: std::io::Lines<BufReader<flate2::read::GzDecoder<std::fs::File>>>,
}

impl Trace {
    /// Opens a trace.
    ///
    /// # Errors
    /// The file cannot be read or does not start with a header.
    pub fn open(path: &Path) -> Result<Self, String> {
        let about = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = std::fs::File::open(path).map_err(|e| about(&e))?;
        let mut lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
        let first = lines.next().ok_or_else(|| about(&"empty"))?;
        let first = first.map_err(|e| about(&e))?;
        let header = serde_json::from_str(&first).map_err(|e| about(&e))?;
        Ok(Self { header, lines })
    }
}

impl Iterator for Trace {
    type Item = Result<Event, String>;
    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        Some(
            line.map_err(|e| e.to_string())
                .and_then(|l| serde_json::from_str(&l).map_err(|e| format!("{e} in {l:.200}"))),
        )
    }
}

/// The bytes that hex digits spell.
pub fn bytes(digits: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
    digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
