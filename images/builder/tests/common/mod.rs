//! A small program for tests: code, variables with symbols, zeroed memory.
#![allow(dead_code)] // each test uses its part

pub mod rules;

use std::path::{Path, PathBuf};

/// The folder of these tests.
pub fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The descriptions in a folder of the tests.
pub fn descriptions(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(tests().join(folder)).expect("a folder of the tests");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "xml"))
        .collect();
    found.sort();
    found
}

/// Variables of 8 bytes at 0x20_2000, in this order, then `microkit_name`.
pub const VARIABLES: [&str; 5] = [
    "microkit_irqs",
    "microkit_notifications",
    "microkit_pps",
    "microkit_ioports",
    "region",
];

/// Address of the n-th of [`VARIABLES`].
pub fn address(n: usize) -> u64 {
    0x20_2000 + 8 * n as u64
}

fn words(file: &mut Vec<u8>, words: &[u64]) {
    words
        .iter()
        .for_each(|word| file.extend_from_slice(&word.to_le_bytes()));
}

fn halves(file: &mut Vec<u8>, halves: &[u32]) {
    halves
        .iter()
        .for_each(|half| file.extend_from_slice(&half.to_le_bytes()));
}

/// An ELF file: code at 0x20_1000, variables at 0x20_2000 and 0x1000 zeroed
/// bytes behind them, one of which is the variable `zeroed`.
pub fn program() -> Vec<u8> {
    let mut strings = vec![0u8];
    let mut symbols = vec![0u8; 24];
    let mut symbol = |name: &str, address: u64, size: u64| {
        halves(&mut symbols, &[strings.len() as u32]);
        symbols.extend_from_slice(&[0x11, 0, 2, 0]); // global object in section 2
        words(&mut symbols, &[address, size]);
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
    };
    VARIABLES
        .iter()
        .enumerate()
        .for_each(|(n, name)| symbol(name, address(n), 8));
    symbol("microkit_name", 0x20_2100, 64);
    symbol("microkit_passive", 0x20_2140, 1);
    symbol("s", 0x20_2180, 8);
    symbol("zeroed", 0x20_3800, 8);
    symbol("twice", 0x20_2200, 8);
    symbol("twice", 0x20_2208, 8);

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend_from_slice(&[2, 0, 62, 0]);
    halves(&mut file, &[1]);
    let symbols_at = 0x3000;
    let strings_at = symbols_at + symbols.len() as u64;
    let sections_at = (strings_at + strings.len() as u64).next_multiple_of(8);
    words(&mut file, &[0x20_1000, 64, sections_at]);
    halves(&mut file, &[0]);
    for half in [64u16, 56, 2, 64, 5, 4] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    halves(&mut file, &[1, 5]); // load, read and execute
    words(
        &mut file,
        &[0x1000, 0x20_1000, 0x20_1000, 0x10, 0x10, 0x1000],
    );
    halves(&mut file, &[1, 6]); // load, read and write
    words(
        &mut file,
        &[0x2000, 0x20_2000, 0x20_2000, 0x1000, 0x2000, 0x1000],
    );
    file.resize(0x1000, 0);
    file.extend_from_slice(&[0x90; 0x10]);
    file.resize(0x3000, 0);
    file.extend_from_slice(&symbols);
    file.extend_from_slice(&strings);
    file.resize(sections_at as usize, 0);
    let mut section = |kind: u32, flags: u64, rest: [u64; 3], link: u32, entry: u64| {
        halves(&mut file, &[0, kind]);
        words(&mut file, &[flags, rest[0], rest[1], rest[2]]);
        halves(&mut file, &[link, 0]);
        words(&mut file, &[8, entry]);
    };
    section(0, 0, [0; 3], 0, 0);
    section(1, 6, [0x20_1000, 0x1000, 0x10], 0, 0); // code
    section(1, 3, [0x20_2000, 0x2000, 0x1000], 0, 0); // variables
    section(2, 0, [0, symbols_at, symbols.len() as u64], 4, 24);
    section(3, 0, [0, strings_at, strings.len() as u64], 0, 0);
    file
}
