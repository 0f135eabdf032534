//! The I/O APIC (82093AA with the EOI register of version 0x20).
//!
//! EOIs of a TD are virtualised by the CPU and never reach the host. So a level-triggered pin
//! can't wait for one: it sends once per assertion, and again when the guest writes the EOI
//! register while the line is still asserted.

/// Number of pins.
pub const PINS: usize = 24;
/// Bytes of the register window.
pub const WINDOW: u64 = 0x1000;

const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;
const EOIR: u64 = 0x40;

const ID: u8 = 0;
const VERSION: u8 = 1;
const ARBITRATION: u8 = 2;
const REDIRECTION: u8 = 0x10;

/// Version 0x20 and the number of the last pin.
const VERSION_VALUE: u32 = 0x20 | ((PINS as u32 - 1) << 16);
/// Bits of a redirection entry that software may write: all but delivery status (12),
/// remote IRR (14) and the reserved ones.
const WRITABLE: u64 = 0xff00_0000_0001_afff;
const MASKED: u64 = 1 << 16;
const LEVEL: u64 = 1 << 15;
const LOGICAL: u64 = 1 << 11;

/// How an interrupt message chooses its processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The local APIC with this identifier.
    Physical(u32),
    /// The local APICs whose logical identifier matches.
    Logical(u32),
}

/// An interrupt message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The vector, 16 to 255.
    pub vector: u8,
    /// Whom it is for.
    pub destination: Destination,
    /// It is for one of the processors that `destination` names, not for all.
    pub lowest_priority: bool,
}

/// The I/O APIC's registers and input lines.
#[derive(Debug)]
pub struct IoApic {
    select: u8,
    id: u8,
    entries: [u64; PINS],
    lines: u32,
}

impl IoApic {
    /// All pins masked, all lines low.
    pub fn new(id: u8) -> Self {
        Self {
            select: 0,
            id,
            entries: [MASKED; PINS],
            lines: 0,
        }
    }

    /// Reads the register at `offset` of the window.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            IOREGSEL => self.select.into(),
            IOWIN => match self.select {
                ID | ARBITRATION => u32::from(self.id) << 24,
                VERSION => VERSION_VALUE,
                _ => self.entry().map_or(0, |(pin, high)| {
                    (self.entries[pin] >> if high { 32 } else { 0 }) as u32
                }),
            },
            _ => 0,
        }
    }

    /// Writes the register at `offset` of the window; an asserted level-triggered pin may
    /// send again.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Message> {
        match offset {
            IOREGSEL => self.select = value as u8,
            IOWIN if self.select == ID => self.id = (value >> 24) as u8 & 0xf,
            IOWIN => {
                let (pin, high) = self.entry()?;
                let entry = &mut self.entries[pin];
                let new = match high {
                    true => *entry & 0xffff_ffff | u64::from(value) << 32,
                    false => *entry & !0xffff_ffff | u64::from(value),
                };
                let was_masked = *entry & MASKED != 0;
                *entry = new & WRITABLE;
                if was_masked && *entry & LEVEL != 0 && self.line(pin) {
                    return self.message(pin);
                }
            }
            EOIR => {
                let waits = |pin: &usize| {
                    let entry = self.entries[*pin];
                    entry & LEVEL != 0 && entry as u8 == value as u8 && self.line(*pin)
                };
                return (0..PINS).find(waits).and_then(|pin| self.message(pin));
            }
            _ => {}
        }
        None
    }

    /// Sets an input line; a pin sends when its line goes high and it is not masked.
    pub fn set_line(&mut self, pin: usize, high: bool) -> Option<Message> {
        if pin >= PINS || self.line(pin) == high {
            return None;
        }
        self.lines ^= 1 << pin;
        if high { self.message(pin) } else { None }
    }

    fn line(&self, pin: usize) -> bool {
        self.lines >> pin & 1 != 0
    }

    /// The redirection entry that is selected, and whether its upper half is.
    fn entry(&self) -> Option<(usize, bool)> {
        let index = self.select.checked_sub(REDIRECTION)?;
        let pin = usize::from(index / 2);
        (pin < PINS).then_some((pin, index % 2 != 0))
    }

    /// What the pin sends: fixed and lowest-priority interrupts only. No device here has any
    /// use for the other delivery modes.
    fn message(&self, pin: usize) -> Option<Message> {
        let entry = self.entries[pin];
        let vector = entry as u8;
        let mode = entry >> 8 & 7;
        if entry & MASKED != 0 || mode > 1 || vector < 16 {
            return None;
        }
        let to = (entry >> 56) as u32;
        Some(Message {
            vector,
            destination: match entry & LOGICAL {
                0 => Destination::Physical(to),
                _ => Destination::Logical(to),
            },
            lowest_priority: mode == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(ioapic: &mut IoApic, pin: u32, entry: u64) -> Option<Message> {
        ioapic.write(IOREGSEL, 0x11 + 2 * pin);
        ioapic.write(IOWIN, (entry >> 32) as u32);
        ioapic.write(IOREGSEL, 0x10 + 2 * pin);
        ioapic.write(IOWIN, entry as u32)
    }

    #[test]
    fn registers() {
        let mut ioapic = IoApic::new(3);
        let mut read = |index| {
            ioapic.write(IOREGSEL, index);
            ioapic.read(IOWIN)
        };
        assert_eq!(read(0), 3 << 24);
        assert_eq!(read(1), 0x0017_0020);
        assert_eq!(read(0x10), 1 << 16, "masked after reset");
        assert_eq!(read(0x3f), 0);
        assert_eq!(read(0x40), 0, "no pin 24");
        program(&mut ioapic, 23, u64::MAX);
        ioapic.write(IOREGSEL, 0x3f);
        assert_eq!(ioapic.read(IOWIN), 0xff00_0000);
        ioapic.write(IOREGSEL, 0x3e);
        assert_eq!(ioapic.read(IOWIN), 0x1_afff, "read-only bits stay clear");
    }

    #[test]
    fn edge() {
        let mut ioapic = IoApic::new(0);
        assert_eq!(ioapic.set_line(4, true), None, "masked: the edge is lost");
        assert_eq!(program(&mut ioapic, 4, 2 << 56 | 0x31), None);
        assert_eq!(ioapic.set_line(4, true), None, "no edge");
        assert_eq!(ioapic.set_line(4, false), None);
        let message = Message {
            vector: 0x31,
            destination: Destination::Physical(2),
            lowest_priority: false,
        };
        assert_eq!(ioapic.set_line(4, true), Some(message));
        assert_eq!(ioapic.set_line(99, true), None);
        ioapic.set_line(4, false);
        program(&mut ioapic, 4, MASKED | 0x31);
        assert_eq!(ioapic.set_line(4, true), None, "masked");
    }

    #[test]
    fn level() {
        let mut ioapic = IoApic::new(0);
        ioapic.set_line(9, true);
        let message = Some(Message {
            vector: 0x42,
            destination: Destination::Logical(1),
            lowest_priority: true,
        });
        let entry = 1 << 56 | LEVEL | LOGICAL | 1 << 8 | 0x42;
        assert_eq!(program(&mut ioapic, 9, entry), message, "unmasked");
        assert_eq!(ioapic.write(EOIR, 0x42), message, "still asserted");
        assert_eq!(ioapic.write(EOIR, 0x43), None);
        ioapic.set_line(9, false);
        assert_eq!(ioapic.write(EOIR, 0x42), None);
    }

    #[test]
    fn other_delivery_modes_and_low_vectors_send_nothing() {
        let mut ioapic = IoApic::new(0);
        for entry in [0x400 | 0x31, 0x700 | 0x31, 0x0f] {
            program(&mut ioapic, 1, entry);
            assert_eq!(ioapic.set_line(1, true), None);
            ioapic.set_line(1, false);
        }
    }
}
