//! The ACPI tables, read back the way an operating system does: from the RSDP on, by offsets
//! of the specification, each checksum checked. The DSDT is walked term by term.

use guest_image::{layout, ports};
use guest_pack::acpi;

/// The tables in memory.
struct Memory(Vec<u8>);

impl Memory {
    fn at(&self, gpa: u64) -> &[u8] {
        let offset = gpa
            .checked_sub(layout::ACPI.get())
            .expect("below the tables");
        &self.0[offset as usize..]
    }
    /// The table at this address, its signature, revision and checksum checked.
    fn table(&self, gpa: u64, signature: &[u8; 4], revision: u8) -> &[u8] {
        let bytes = self.at(gpa);
        let length = u32_at(bytes, 4) as usize;
        let table = &bytes[..length];
        assert_eq!(&table[..4], signature);
        assert_eq!(table[8], revision, "revision of {signature:?}");
        assert_eq!(sum(table), 0, "checksum of {signature:?}");
        table
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &b| sum.wrapping_add(b))
}
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Memory, FADT, MADT, DSDT.
fn walk(memory: &Memory) -> [&[u8]; 3] {
    let rsdp = memory.at(layout::ACPI.get());
    assert_eq!(&rsdp[..8], b"RSD PTR ");
    assert_eq!(sum(&rsdp[..20]), 0);
    assert_eq!(sum(&rsdp[..36]), 0);
    assert_eq!((rsdp[15], u32_at(rsdp, 20)), (2, 36));
    let xsdt = memory.table(u64_at(rsdp, 24), b"XSDT", 1);
    assert_eq!(xsdt.len(), 36 + 2 * 8);
    let fadt = memory.table(u64_at(xsdt, 36), b"FACP", 6);
    let madt = memory.table(u64_at(xsdt, 44), b"APIC", 5);
    assert_eq!(u64_at(fadt, 140), u64::from(u32_at(fadt, 40)));
    let dsdt = memory.table(u64_at(fadt, 140), b"DSDT", 2);
    [fadt, madt, dsdt]
}

#[test]
fn hardware_reduced_with_sleep_and_reset_ports() {
    let memory = Memory(acpi::tables(1));
    let [fadt, ..] = walk(&memory);
    assert_eq!(fadt.len(), 276);
    let flags = u32_at(fadt, 112);
    assert_ne!(flags & 1 << 20, 0, "HW_REDUCED_ACPI");
    assert_ne!(flags & 1 << 10, 0, "RESET_REG_SUP");
    assert_ne!(flags & 1, 0, "WBINVD");
    assert_ne!(u16_at(fadt, 109) & 1 << 5, 0, "no CMOS clock");
    // System I/O, 8 bits wide, byte access.
    let register = |at: usize| {
        assert_eq!(fadt[at..at + 4], [1, 8, 0, 1]);
        u64_at(fadt, at + 4)
    };
    assert_eq!(register(116), ports::RESET.into());
    assert_eq!(fadt[128], ports::RESET_VALUE);
    assert_eq!(register(244), ports::SLEEP_CONTROL.into());
    assert_eq!(register(256), ports::SLEEP_STATUS.into());
}

#[test]
fn one_local_apic_for_each_vcpu() {
    for vcpus in 1..=layout::MAX_VCPUS {
        let memory = Memory(acpi::tables(vcpus));
        assert!(memory.0.len() as u64 <= layout::ACPI_SIZE);
        let [_, madt, _] = walk(&memory);
        assert_eq!(u32_at(madt, 40) & 1, 0, "no 8259s");
        let (mut locals, mut io_apics, mut mailboxes) = (Vec::new(), 0, 0);
        let mut rest = &madt[44..];
        while !rest.is_empty() {
            let (entry, after) = rest.split_at(usize::from(rest[1]));
            rest = after;
            match (entry[0], entry.len()) {
                (0, 8) => {
                    assert_eq!(u32_at(entry, 4), 1, "enabled");
                    locals.push(u32::from(entry[3]));
                }
                (1, 12) => {
                    assert_eq!(u32_at(entry, 4), ports::IO_APIC);
                    assert_eq!(u32_at(entry, 8), 0);
                    io_apics += 1;
                }
                (0x10, 16) => {
                    assert_eq!(u16_at(entry, 2), 0, "mailbox version");
                    assert_eq!(u64_at(entry, 8), layout::MAILBOX.get());
                    mailboxes += 1;
                }
                other => panic!("unknown entry {other:?}"),
            }
        }
        assert_eq!(locals, (0..vcpus).collect::<Vec<_>>());
        assert_eq!((io_apics, mailboxes), (1, 1));
    }
}

/// One package's contents and what comes after it (ACPI 6.4 §20.2.4).
fn package(bytes: &[u8]) -> (&[u8], &[u8]) {
    let follow = usize::from(bytes[0] >> 6);
    let mut length = usize::from(bytes[0] & if follow == 0 { 0x3f } else { 0xf });
    for n in 0..follow {
        length |= usize::from(bytes[1 + n]) << (4 + 8 * n);
    }
    let (all, rest) = bytes.split_at(length);
    (&all[1 + follow..], rest)
}

#[test]
fn the_uart_and_soft_off() {
    let memory = Memory(acpi::tables(1));
    let [_, _, dsdt] = walk(&memory);
    let aml = &dsdt[36..];
    assert_eq!(aml[0], 0x10, "Scope");
    let (scope, rest) = package(&aml[1..]);
    let device = scope.strip_prefix(b"\\_SB_\x5b\x82").expect("a device");
    let (device, after) = package(device);
    assert!(after.is_empty());
    let names = device.strip_prefix(b"COM1").expect("COM1");
    let names = names
        .strip_prefix(b"\x08_HID\x0c\x41\xd0\x05\x01\x08_UID\x0a\x01\x08_CRS\x11")
        .expect("_HID PNP0501, _UID 1, _CRS a buffer");
    let (buffer, after) = package(names);
    assert!(after.is_empty());
    assert_eq!(buffer[0], 0x0a);
    let resources = &buffer[2..];
    assert_eq!(resources.len(), usize::from(buffer[1]));
    let (io, resources) = resources.split_at(8);
    assert_eq!(io[0], 0x47, "I/O port descriptor");
    assert_eq!((u16_at(io, 2), u16_at(io, 4)), (ports::UART, ports::UART));
    assert_eq!(u16::from(io[7]), ports::UART_COUNT);
    let (interrupt, end) = resources.split_at(9);
    assert_eq!(
        interrupt[..5],
        [0x89, 6, 0, 0b11, 1],
        "edge, high, exclusive"
    );
    assert_eq!(u32_at(interrupt, 5), ports::UART_GSI);
    assert_eq!(end, [0x79, 0]);

    let soft_off = rest.strip_prefix(b"\x08\\_S5_\x12").expect("_S5");
    let (soft_off, after) = package(soft_off);
    assert!(after.is_empty());
    assert_eq!(soft_off[..3], [4, 0x0a, ports::SLEEP_TYPE_S5]);
}
