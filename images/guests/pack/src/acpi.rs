//! The ACPI tables (ACPI 6.4): hardware-reduced, one UART, one I/O APIC, vCPUs that are woken
//! through a mailbox.
//!
//! ```text
//! RSDP ── XSDT ┬─ FADT ── DSDT   sleep and reset registers; the UART and \_S5 as AML
//!              └─ MADT           local APICs, I/O APIC, multiprocessor wake-up
//! ```

use crate::aml;
use gpa::Gpa;
use guest_image::{layout, ports};

const OEM_ID: &[u8; 6] = b"SEPTUM";
const OEM_TABLE_ID: &[u8; 8] = b"SEPTUMTD";
const CREATOR_ID: &[u8; 4] = b"SPTM";
/// Bytes of the header that all tables but the RSDP have.
const HEADER: usize = 36;
/// Tables begin at multiples of this.
const TABLE_ALIGN: usize = 64;
const RSDP_SIZE: usize = 36;

/// All tables as they stand in memory from [`layout::ACPI`] on, the RSDP first.
///
/// # Panics
/// When the tables don't fit their room: with [`layout::MAX_VCPUS`] they do (tested).
pub fn tables(vcpus: u32) -> Vec<u8> {
    let mut memory = vec![0; RSDP_SIZE];
    let dsdt = place(&mut memory, dsdt());
    let fadt = place(&mut memory, fadt(dsdt));
    let madt = place(&mut memory, madt(vcpus));
    let xsdt = place(&mut memory, xsdt(&[fadt, madt]));
    memory[..RSDP_SIZE].copy_from_slice(&rsdp(xsdt));
    assert!(memory.len() as u64 <= layout::ACPI_SIZE);
    memory
}

fn place(memory: &mut Vec<u8>, table: Vec<u8>) -> Gpa {
    let at = memory.len().next_multiple_of(TABLE_ALIGN);
    memory.resize(at, 0);
    memory.extend(table);
    Gpa::new(layout::ACPI.get() + at as u64)
}

/// Root system description pointer, revision 2 (§5.2.5.3).
fn rsdp(xsdt: Gpa) -> [u8; RSDP_SIZE] {
    let mut bytes = [0; RSDP_SIZE];
    bytes[..8].copy_from_slice(b"RSD PTR ");
    bytes[9..15].copy_from_slice(OEM_ID);
    bytes[15] = 2;
    bytes[20..24].copy_from_slice(&(RSDP_SIZE as u32).to_le_bytes());
    bytes[24..32].copy_from_slice(&xsdt.get().to_le_bytes());
    // Two checksums: of revision 1's 20 bytes, and of everything.
    bytes[8] = checksum(&bytes[..20]);
    bytes[32] = checksum(&bytes);
    bytes
}

/// A table with its header (§5.2.6) and checksum.
fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(signature);
    bytes.extend(((HEADER + body.len()) as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(OEM_ID);
    bytes.extend(OEM_TABLE_ID);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(CREATOR_ID);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(body);
    bytes[9] = checksum(&bytes);
    bytes
}

/// The byte that makes the sum of all bytes 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, &b| sum.wrapping_sub(b))
}

/// Extended system description table (§5.2.8).
fn xsdt(tables: &[Gpa]) -> Vec<u8> {
    let body: Vec<u8> = tables.iter().flat_map(|t| t.get().to_le_bytes()).collect();
    table(b"XSDT", 1, &body)
}

/// Fixed ACPI description table, revision 6.4 (§5.2.9).
fn fadt(dsdt: Gpa) -> Vec<u8> {
    // Offsets count from the table's start, as in the specification.
    let mut bytes = [0; 276];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(40, &(dsdt.get() as u32).to_le_bytes());
    // IAPC_BOOT_ARCH: no VGA (bit 2), no CMOS clock (bit 5).
    put(109, &(1u16 << 2 | 1 << 5).to_le_bytes());
    // WBINVD works (0), no fixed power button (4), no fixed sleep button (5), reset
    // register (10), hardware-reduced ACPI (20).
    put(
        112,
        &(1u32 | 1 << 4 | 1 << 5 | 1 << 10 | 1 << 20).to_le_bytes(),
    );
    put(116, &io_register(ports::RESET));
    put(128, &[ports::RESET_VALUE]);
    // Minor version: 6.4.
    put(131, &[4]);
    put(140, &dsdt.get().to_le_bytes());
    put(244, &io_register(ports::SLEEP_CONTROL));
    put(256, &io_register(ports::SLEEP_STATUS));
    table(b"FACP", 6, &bytes[HEADER..])
}

/// A one-byte register at an I/O port: generic address structure (§5.2.3.2).
fn io_register(port: u16) -> [u8; 12] {
    let mut bytes = [1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[4..6].copy_from_slice(&port.to_le_bytes());
    bytes
}

/// Multiple APIC description table (§5.2.12).
fn madt(vcpus: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(ports::LOCAL_APIC.to_le_bytes());
    // No 8259s.
    body.extend(0u32.to_le_bytes());
    for vcpu in 0..vcpus {
        // Processor local APIC: a vCPU's APIC ID is its index. Flags: enabled.
        body.extend([0, 8, vcpu as u8, vcpu as u8, 1, 0, 0, 0]);
    }
    body.extend([1, 12, ports::IO_APIC_ID, 0]);
    body.extend(ports::IO_APIC.to_le_bytes());
    body.extend(ports::IO_APIC_GSI_BASE.to_le_bytes());
    // Multiprocessor wake-up, mailbox version 0.
    body.extend([0x10, 16, 0, 0, 0, 0, 0, 0]);
    body.extend(layout::MAILBOX.get().to_le_bytes());
    table(b"APIC", 5, &body)
}

/// Differentiated system description table: the UART, and soft off.
fn dsdt() -> Vec<u8> {
    let uart = aml::device(
        b"COM1",
        &[
            aml::name(b"_HID", &aml::eisa_id("PNP0501")),
            aml::name(b"_UID", &aml::byte(1)),
            aml::name(
                b"_CRS",
                &aml::resources(&[
                    aml::io_ports(ports::UART, ports::UART_COUNT as u8),
                    aml::interrupt(ports::UART_GSI),
                ]),
            ),
        ]
        .concat(),
    );
    let soft_off = aml::package(&[
        aml::byte(ports::SLEEP_TYPE_S5),
        aml::byte(ports::SLEEP_TYPE_S5),
        aml::byte(0),
        aml::byte(0),
    ]);
    let body = [
        aml::scope(b"\\_SB_", &uart),
        aml::name(b"\\_S5_", &soft_off),
    ]
    .concat();
    table(b"DSDT", 2, &body)
}
