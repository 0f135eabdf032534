//! A 16550A UART: what a serial driver sees of it.
//!
//! The line is infinitely fast as long as the console takes bytes; when it doesn't, the
//! transmitter is busy. Baud rate and line format are stored and mean nothing.

use heapless::{Deque, Vec};

/// Bytes that wait for the console.
pub const TX_CAPACITY: usize = 512;
/// Bytes typed ahead.
const RX_CAPACITY: usize = 256;
/// Depth of the FIFOs of a 16550A.
const FIFO: usize = 16;

mod ier {
    pub const RX: u8 = 1 << 0;
    pub const THRE: u8 = 1 << 1;
    pub const LINE_STATUS: u8 = 1 << 2;
    pub const MODEM_STATUS: u8 = 1 << 3;
}
mod iir {
    pub const NONE: u8 = 0x01;
    pub const MODEM_STATUS: u8 = 0x00;
    pub const THRE: u8 = 0x02;
    pub const RX: u8 = 0x04;
    pub const LINE_STATUS: u8 = 0x06;
    pub const RX_TIMEOUT: u8 = 0x0c;
    pub const FIFOS: u8 = 0xc0;
}
mod fcr {
    pub const ENABLE: u8 = 1 << 0;
    pub const CLEAR_RX: u8 = 1 << 1;
}
mod lcr {
    pub const DLAB: u8 = 1 << 7;
}
mod mcr {
    pub const OUT2: u8 = 1 << 3;
    pub const LOOP: u8 = 1 << 4;
    pub const WRITABLE: u8 = 0x1f;
}
mod lsr {
    pub const DATA_READY: u8 = 1 << 0;
    pub const OVERRUN: u8 = 1 << 1;
    pub const THRE: u8 = 1 << 5;
    pub const TEMT: u8 = 1 << 6;
}
mod msr {
    pub const CTS: u8 = 1 << 4;
    pub const DSR: u8 = 1 << 5;
    pub const RI: u8 = 1 << 6;
    pub const DCD: u8 = 1 << 7;
}

/// The UART's registers and queues.
#[derive(Debug)]
pub struct Uart {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    scratch: u8,
    divisor: [u8; 2],
    modem_delta: u8,
    overrun: bool,
    /// The transmitter has become empty and nobody has been told.
    thre_pending: bool,
    rx: Deque<u8, RX_CAPACITY>,
    tx: Vec<u8, TX_CAPACITY>,
    /// Bytes from the guest that found the transmitter full.
    pub dropped: u32,
}

impl Default for Uart {
    fn default() -> Self {
        Self {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            scratch: 0,
            // 115200 baud.
            divisor: [1, 0],
            modem_delta: 0,
            overrun: false,
            thre_pending: false,
            rx: Deque::new(),
            tx: Vec::new(),
            dropped: 0,
        }
    }
}

impl Uart {
    /// Reads register `register` (0 to 7).
    pub fn read(&mut self, register: u16) -> u8 {
        match register & 7 {
            0 if self.dlab() => self.divisor[0],
            0 => self.rx.pop_front().unwrap_or(0),
            1 if self.dlab() => self.divisor[1],
            1 => self.ier,
            2 => {
                let cause = self.cause();
                if cause == iir::THRE {
                    self.thre_pending = false;
                }
                let fifos = match self.fcr & fcr::ENABLE {
                    0 => 0,
                    _ => iir::FIFOS,
                };
                cause | fifos
            }
            3 => self.lcr,
            4 => self.mcr,
            5 => {
                let status = self.line_status();
                self.overrun = false;
                status
            }
            6 => self.modem_status() | core::mem::take(&mut self.modem_delta),
            _ => self.scratch,
        }
    }

    /// Writes register `register` (0 to 7). What the guest sends comes back: it is seen by
    /// the console even if the queue is full.
    pub fn write(&mut self, register: u16, value: u8) -> Option<u8> {
        match register & 7 {
            0 if self.dlab() => self.divisor[0] = value,
            0 => return self.transmit(value),
            1 if self.dlab() => self.divisor[1] = value,
            1 => {
                let enabled = value & !self.ier;
                self.ier = value & 0x0f;
                if enabled & ier::THRE != 0 && self.can_transmit() {
                    self.thre_pending = true;
                }
            }
            2 => {
                if value & fcr::CLEAR_RX != 0 || (value ^ self.fcr) & fcr::ENABLE != 0 {
                    self.rx.clear();
                }
                self.fcr = value & 0xc9;
            }
            3 => self.lcr = value,
            4 => {
                let before = self.modem_status();
                self.mcr = value & mcr::WRITABLE;
                self.modem_changed(before);
            }
            7 => self.scratch = value,
            _ => {}
        }
        None
    }

    /// Whether the interrupt line is high. OUT2 gates it, as on every PC.
    pub fn line(&self) -> bool {
        self.mcr & mcr::OUT2 != 0 && self.cause() != iir::NONE
    }

    /// Takes bytes from the operator; how many were taken.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        if self.mcr & mcr::LOOP != 0 {
            return 0;
        }
        let taken = bytes.iter().take_while(|&&b| self.rx.push_back(b).is_ok());
        taken.count()
    }

    /// What waits for the console.
    pub fn output(&self) -> &[u8] {
        &self.tx
    }

    /// The console has taken the first `count` bytes.
    pub fn sent(&mut self, count: usize) {
        let was_full = !self.can_transmit();
        let count = count.min(self.tx.len());
        self.tx.copy_within(count.., 0);
        self.tx.truncate(self.tx.len() - count);
        if was_full && self.can_transmit() {
            self.thre_pending = true;
        }
    }

    fn transmit(&mut self, value: u8) -> Option<u8> {
        self.thre_pending = true;
        if self.mcr & mcr::LOOP != 0 {
            if self.rx.len() >= FIFO || self.rx.push_back(value).is_err() {
                self.overrun = true;
            }
            return None;
        }
        if self.tx.push(value).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
        if !self.can_transmit() {
            self.thre_pending = false;
        }
        Some(value)
    }

    /// A driver that sees the transmitter empty may fill its FIFO without looking again.
    fn can_transmit(&self) -> bool {
        self.tx.len() + FIFO <= TX_CAPACITY
    }

    fn dlab(&self) -> bool {
        self.lcr & lcr::DLAB != 0
    }

    fn line_status(&self) -> u8 {
        let mut status = 0;
        if !self.rx.is_empty() {
            status |= lsr::DATA_READY;
        }
        if self.overrun {
            status |= lsr::OVERRUN;
        }
        if self.can_transmit() {
            status |= lsr::THRE | lsr::TEMT;
        }
        status
    }

    /// The modem is always there; in loopback mode the outputs are the inputs.
    fn modem_status(&self) -> u8 {
        if self.mcr & mcr::LOOP == 0 {
            return msr::CTS | msr::DSR | msr::DCD;
        }
        [(0, msr::DSR), (1, msr::CTS), (2, msr::RI), (3, msr::DCD)]
            .into_iter()
            .filter(|(bit, _)| self.mcr >> bit & 1 != 0)
            .fold(0, |status, (_, bit)| status | bit)
    }

    fn modem_changed(&mut self, before: u8) {
        let now = self.modem_status();
        let changed = (before ^ now) >> 4;
        // RI reports its falling edge only.
        let ring = before & !now & msr::RI;
        self.modem_delta |= changed & !(msr::RI >> 4) | ring >> 4;
    }

    fn trigger(&self) -> usize {
        match (self.fcr & fcr::ENABLE, self.fcr >> 6) {
            (0, _) | (_, 0) => 1,
            (_, 1) => 4,
            (_, 2) => 8,
            _ => 14,
        }
    }

    /// The interrupt of the highest priority, as IIR shows it. Below the trigger level the
    /// character timeout strikes at once: no time passes on this line.
    fn cause(&self) -> u8 {
        let enabled = |bit| self.ier & bit != 0;
        if enabled(ier::LINE_STATUS) && self.overrun {
            iir::LINE_STATUS
        } else if enabled(ier::RX) && self.rx.len() >= self.trigger() {
            iir::RX
        } else if enabled(ier::RX) && !self.rx.is_empty() {
            iir::RX_TIMEOUT
        } else if enabled(ier::THRE) && self.thre_pending {
            iir::THRE
        } else if enabled(ier::MODEM_STATUS) && self.modem_delta != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_driver_finds_a_16550a() {
        let mut uart = Uart::default();
        // IER keeps four bits only, FCR answers with both FIFO bits, the scratch register keeps.
        uart.write(1, 0xff);
        assert_eq!(uart.read(1), 0x0f);
        uart.write(1, 0);
        uart.write(2, 1);
        assert_eq!(uart.read(2), 0xc1);
        uart.write(2, 0);
        assert_eq!(uart.read(2), 0x01);
        uart.write(7, 0xa5);
        assert_eq!(uart.read(7), 0xa5);
        // The loopback test: RTS and OUT2 come back as CTS and DCD.
        uart.write(4, 0x1a);
        assert_eq!(uart.read(6) & 0xf0, 0x90);
        uart.write(4, 0x08);
        assert_eq!(uart.read(6) & 0xf0, 0xb0);
        assert_eq!(uart.read(6) & 0x0f, 0, "deltas are gone once read");
    }

    #[test]
    fn the_divisor_hides_data_and_ier() {
        let mut uart = Uart::default();
        uart.write(3, 0x83);
        assert_eq!(uart.write(0, 0x0c), None);
        uart.write(1, 0x34);
        assert_eq!((uart.read(0), uart.read(1)), (0x0c, 0x34));
        uart.write(3, 0x03);
        assert_eq!(uart.read(1), 0);
        assert!(uart.output().is_empty());
    }

    #[test]
    fn transmit_interrupts() {
        let mut uart = Uart::default();
        uart.write(4, 0x08);
        assert!(!uart.line());
        uart.write(1, ier::THRE);
        assert!(uart.line(), "enabled while empty");
        assert_eq!(uart.read(2), 0x02);
        assert!(!uart.line(), "reading IIR clears it");
        assert_eq!(uart.read(2), 0x01);
        assert_eq!(uart.write(0, b'x'), Some(b'x'));
        assert!(uart.line(), "sent at once");
        uart.write(4, 0);
        assert!(!uart.line(), "OUT2 gates the line");
        assert_eq!(uart.output(), b"x");
    }

    #[test]
    fn a_full_console_makes_the_transmitter_busy() {
        let mut uart = Uart::default();
        uart.write(4, 0x08);
        uart.write(1, ier::THRE);
        let mut sent = 0;
        while uart.read(5) & lsr::THRE != 0 {
            for _ in 0..FIFO {
                assert!(uart.write(0, b'a').is_some());
                sent += 1;
            }
        }
        assert_eq!((sent, uart.dropped), (TX_CAPACITY, 0), "nothing is lost");
        assert!(!uart.line());
        uart.write(0, b'b');
        assert_eq!(uart.dropped, 1);
        uart.sent(240);
        assert_eq!(uart.output().len(), TX_CAPACITY - 240);
        assert!(uart.line());
    }

    #[test]
    fn receive_interrupts() {
        let mut uart = Uart::default();
        uart.write(4, 0x08);
        uart.write(2, 0x81);
        uart.write(1, ier::RX);
        assert_eq!(uart.receive(b"ls\n"), 3);
        assert!(uart.line());
        assert_eq!(uart.read(2), 0xcc, "below the trigger level: timeout");
        assert_eq!(uart.receive(b"12345"), 5);
        assert_eq!(uart.read(2), 0xc4);
        let mut got = std::vec::Vec::new();
        while uart.read(5) & 1 != 0 {
            got.push(uart.read(0));
        }
        assert_eq!(got, b"ls\n12345");
        assert!(!uart.line());
        assert_eq!(uart.receive(&[0; 300]), RX_CAPACITY);
    }

    #[test]
    fn loopback_data() {
        let mut uart = Uart::default();
        uart.write(4, 0x10);
        assert_eq!(uart.write(0, 0x55), None);
        assert_eq!(uart.read(5) & 1, 1);
        assert_eq!(uart.read(0), 0x55);
        for i in 0..=FIFO {
            uart.write(0, i as u8);
        }
        assert_eq!(uart.read(5) & lsr::OVERRUN, lsr::OVERRUN);
        assert_eq!(uart.read(5) & lsr::OVERRUN, 0);
        assert_eq!(uart.receive(b"x"), 0, "the line is cut off");
    }

    proptest! {
        /// The line is high exactly when IIR has a cause and OUT2 is set; bytes keep their
        /// order; nothing panics.
        #[test]
        fn any_access(accesses in prop::collection::vec(any::<(bool, u16, u8)>(), 0..2000)) {
            let mut uart = Uart::default();
            let mut expected = std::vec::Vec::new();
            for (write, register, value) in accesses {
                if write {
                    let queued = uart.output().len() < TX_CAPACITY;
                    if let Some(byte) = uart.write(register, value)
                        && queued
                    {
                        expected.push(byte);
                    }
                } else {
                    uart.read(register);
                }
                let line = uart.line();
                let out2 = uart.mcr & mcr::OUT2 != 0;
                prop_assert_eq!(line, out2 && uart.cause() != iir::NONE);
                prop_assert_eq!(uart.output(), &expected[..]);
                if expected.len() > 400 {
                    uart.sent(100);
                    expected.drain(..100);
                }
            }
        }
    }
}
