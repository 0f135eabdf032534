//! The devices of one VM and the addresses at which they answer.
//!
//! All port devices are one byte wide: a wider access is one of each byte, at ascending ports.
//! Where nothing is, reads give ones and writes are dropped, as on a bus.

use crate::goal::Goal;
use crate::ioapic::{self, IoApic, Message};
use crate::rtc::Rtc;
use crate::tdvmcall::{Access, Width};
use crate::uart::Uart;
use guest_image::ports;

const RTC_INDEX: u16 = 0x70;
const RTC_DATA: u16 = 0x71;
/// The counters of an 8254 timer.
const TIMER_COUNTERS: core::ops::RangeInclusive<u16> = 0x40..=0x42;
const KEYBOARD_COMMAND: u16 = 0x64;
/// The keyboard controller pulses the reset line.
const KEYBOARD_RESET: u8 = 0xfe;
const RESET_CONTROL: u16 = 0xcf9;
/// The bit of the reset control register that resets the CPU.
const RESET_CPU: u8 = 1 << 2;

const UART_END: u16 = ports::UART + ports::UART_COUNT - 1;
const IO_APIC: u64 = ports::IO_APIC as u64;
const IO_APIC_END: u64 = IO_APIC + ioapic::WINDOW - 1;

/// The guest asks for the machine's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Off,
    /// Off and on again.
    Reset,
}

/// The devices of one VM.
#[derive(Debug)]
pub struct Board {
    /// The serial port.
    pub uart: Uart,
    /// The interrupt controller.
    pub ioapic: IoApic,
    /// Watches the serial port's output.
    pub goal: Goal,
    rtc: Rtc,
    power: Option<Power>,
}

impl Board {
    /// Devices after reset.
    pub fn new(goal: Goal) -> Self {
        Self {
            uart: Uart::default(),
            ioapic: IoApic::new(ports::IO_APIC_ID),
            goal,
            rtc: Rtc::default(),
            power: None,
        }
    }

    /// What the guest has asked for, if it has.
    pub fn power(&self) -> Option<Power> {
        self.power
    }

    /// A port access, `seconds` after the start; the value read.
    pub fn io(&mut self, port: u16, width: Width, access: Access, seconds: u64) -> u64 {
        let mut value = 0;
        for byte in 0..width.bytes() {
            // Beyond the last port there is nothing.
            let at = u16::try_from(u64::from(port) + byte).ok();
            match (access, at) {
                (Access::Read, None) => value |= 0xff << (8 * byte),
                (Access::Read, Some(at)) => {
                    value |= u64::from(self.read_port(at, seconds)) << (8 * byte)
                }
                (Access::Write(value), Some(at)) => {
                    self.write_port(at, (value >> (8 * byte)) as u8)
                }
                (Access::Write(_), None) => {}
            }
        }
        value
    }

    /// A memory-mapped access; the value read, and an interrupt that comes of it.
    pub fn mmio(&mut self, gpa: u64, width: Width, access: Access) -> (u64, Option<Message>) {
        match (gpa, access) {
            (IO_APIC..=IO_APIC_END, Access::Read) => {
                let value = self.ioapic.read(gpa - IO_APIC);
                (u64::from(value) & width.mask(), None)
            }
            (IO_APIC..=IO_APIC_END, Access::Write(value)) => {
                (0, self.ioapic.write(gpa - IO_APIC, value as u32))
            }
            (_, Access::Read) => (width.mask(), None),
            (_, Access::Write(_)) => (0, None),
        }
    }

    /// Passes the UART's interrupt line on to the I/O APIC.
    pub fn update_lines(&mut self) -> Option<Message> {
        let line = self.uart.line();
        self.ioapic.set_line(ports::UART_GSI as usize, line)
    }

    fn read_port(&mut self, port: u16, seconds: u64) -> u8 {
        match port {
            ports::UART..=UART_END => self.uart.read(port - ports::UART),
            RTC_DATA => self.rtc.read(seconds),
            // There is no timer: its counters stand still at 0. All ones would look like a
            // counter that is about to fall, and Linux would read it 100,000 times.
            port if TIMER_COUNTERS.contains(&port) => 0,
            ports::SLEEP_CONTROL | ports::SLEEP_STATUS | ports::RESET => 0,
            _ => 0xff,
        }
    }

    fn write_port(&mut self, port: u16, value: u8) {
        match (port, value) {
            (ports::UART..=UART_END, _) => {
                if let Some(byte) = self.uart.write(port - ports::UART, value) {
                    self.goal.watch(byte);
                }
            }
            (RTC_INDEX, _) => self.rtc.select(value),
            (ports::SLEEP_CONTROL, ports::POWER_OFF) => self.power = Some(Power::Off),
            (ports::RESET, ports::RESET_VALUE) | (KEYBOARD_COMMAND, KEYBOARD_RESET) => {
                self.power = Some(Power::Reset);
            }
            (RESET_CONTROL, _) if value & RESET_CPU != 0 => self.power = Some(Power::Reset),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(bytes: u8) -> Width {
        Width(bytes)
    }

    #[test]
    fn the_timer_that_is_not_there_does_not_look_alive() {
        let mut board = Board::new(Goal::new(""));
        board.io(0x42, width(1), Access::Write(0xff), 0);
        assert_eq!(board.io(0x40, width(4), Access::Read, 0), 0xff00_0000);
    }

    #[test]
    fn wide_accesses_are_bytes_at_ascending_ports() {
        let mut board = Board::new(Goal::new(""));
        // The UART's LCR and MCR, by one write of two bytes.
        board.io(ports::UART + 3, width(2), Access::Write(0x0803), 0);
        assert_eq!(board.uart.read(3), 0x03);
        assert_eq!(board.uart.read(4), 0x08);
        assert_eq!(board.io(ports::UART + 3, width(2), Access::Read, 0), 0x0803);
        // Half of it beyond the last register, and beyond the last port.
        let value = board.io(ports::UART + 7, width(2), Access::Read, 0);
        assert_eq!(value, 0xff00);
        assert_eq!(board.io(0xffff, width(4), Access::Read, 0), 0xffff_ffff);
        board.io(0xffff, width(4), Access::Write(0), 0);
        assert_eq!(board.power(), None);
    }

    #[test]
    fn power() {
        for (port, value, power) in [
            (ports::SLEEP_CONTROL, ports::POWER_OFF, Some(Power::Off)),
            (ports::SLEEP_CONTROL, ports::SLEEP_ENABLE, None),
            (ports::RESET, ports::RESET_VALUE, Some(Power::Reset)),
            (ports::RESET, 0, None),
            (0x64, 0xfe, Some(Power::Reset)),
            (0x64, 0xd1, None),
            (0xcf9, 0x02, None),
            (0xcf9, 0x06, Some(Power::Reset)),
            (ports::YIELD, 0xff, None),
        ] {
            let mut board = Board::new(Goal::new(""));
            board.io(port, width(1), Access::Write(value.into()), 0);
            assert_eq!(board.power(), power, "{port:#x} {value:#x}");
        }
    }

    #[test]
    fn goal_and_interrupt_line() {
        let mut board = Board::new(Goal::new("ok"));
        for byte in *b"is ok" {
            assert!(!board.goal.is_reached());
            board.io(ports::UART, width(1), Access::Write(byte.into()), 0);
        }
        assert!(board.goal.is_reached());
        let dword = width(4);
        for (register, value) in [(0x18, 0x31), (0x19, 0)] {
            board.mmio(IO_APIC, dword, Access::Write(register));
            board.mmio(IO_APIC + 0x10, dword, Access::Write(value));
        }
        assert_eq!(board.update_lines(), None);
        // THRE interrupt, by way of OUT2.
        board.io(ports::UART + 4, width(1), Access::Write(0x08), 0);
        board.io(ports::UART + 1, width(1), Access::Write(0x02), 0);
        assert_eq!(board.update_lines().map(|m| m.vector), Some(0x31));
        assert_eq!(board.update_lines(), None, "an edge");
    }

    #[test]
    fn addresses_without_a_device() {
        let mut board = Board::new(Goal::new(""));
        for gpa in [0xfee0_0000, IO_APIC - 8, IO_APIC_END + 1, 0, u64::MAX >> 17] {
            let (value, message) = board.mmio(gpa, width(8), Access::Read);
            assert_eq!((value, message), (u64::MAX, None), "{gpa:#x}");
            board.mmio(gpa, width(8), Access::Write(0));
        }
        let (value, _) = board.mmio(IO_APIC + 0x10, width(1), Access::Read);
        assert_eq!(value, 0, "the low byte of the identifier");
    }
}
