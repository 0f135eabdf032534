//! The guest's devices: port numbers, interrupt numbers and addresses.
//!
//! The one place of these numbers: the packer writes ACPI tables from them, pd-vmm's devices
//! answer at them, the code in `images/guests` uses them.

/// First I/O port of the 16550 UART (COM1), the guest's console.
pub const UART: u16 = 0x3f8;
/// Number of I/O ports of the UART.
pub const UART_COUNT: u16 = 8;
/// The UART's interrupt: a global system interrupt, edge triggered, active high.
pub const UART_GSI: u32 = 4;

/// ACPI sleep control register (one byte, hardware-reduced ACPI, ACPI 6.4 §4.8.3.7).
pub const SLEEP_CONTROL: u16 = 0x600;
/// ACPI sleep status register (one byte). Reads give [`SLEEP_STATUS_WAKE`] or zero.
pub const SLEEP_STATUS: u16 = 0x601;
/// ACPI reset register (one byte): writing [`RESET_VALUE`] resets the machine.
pub const RESET: u16 = 0x602;
/// What is written to [`RESET`].
pub const RESET_VALUE: u8 = 1;

/// SLP_EN in the sleep control register: enter the state that SLP_TYP names.
pub const SLEEP_ENABLE: u8 = 1 << 5;
/// Position of SLP_TYP (3 bits) in the sleep control register.
pub const SLEEP_TYPE_SHIFT: u32 = 2;
/// SLP_TYP of S5, soft off, as the object `\_S5` says.
pub const SLEEP_TYPE_S5: u8 = 5;
/// WAK_STS in the sleep status register.
pub const SLEEP_STATUS_WAKE: u8 = 1 << 7;
/// The byte that powers the machine off when written to [`SLEEP_CONTROL`].
pub const POWER_OFF: u8 = SLEEP_ENABLE | SLEEP_TYPE_S5 << SLEEP_TYPE_SHIFT;

/// The port that a parked vCPU writes to between two looks at its mailbox. Nothing listens:
/// the write leaves the TD, so that the host can run somebody else.
pub const YIELD: u16 = 0x80;

/// Guest physical address of the I/O APIC's registers (shared memory-mapped I/O).
pub const IO_APIC: u32 = 0xfec0_0000;
/// The I/O APIC's identifier.
pub const IO_APIC_ID: u8 = 0;
/// The I/O APIC's first global system interrupt.
pub const IO_APIC_GSI_BASE: u32 = 0;
/// Guest physical address of the local APIC as the ACPI tables give it. vCPUs of a TD are in
/// x2APIC mode from the start and never use it.
pub const LOCAL_APIC: u32 = 0xfee0_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_do_not_overlap() {
        let mut taken: Vec<u16> = (UART..UART + UART_COUNT).collect();
        taken.extend([SLEEP_CONTROL, SLEEP_STATUS, RESET, YIELD]);
        let all = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), all);
    }

    #[test]
    fn power_off_is_what_acpi_says() {
        // SLP_TYPx is bits 4:2, SLP_EN bit 5, the rest ignored or reserved.
        assert_eq!(POWER_OFF, 0b0011_0100);
        assert_eq!(POWER_OFF >> SLEEP_TYPE_SHIFT & 7, SLEEP_TYPE_S5);
    }
}
