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
