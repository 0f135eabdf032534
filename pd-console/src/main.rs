//! Serial port, operator commands, guest consoles: the program.
#![no_std]
#![no_main]
// Memory that system.xml maps is turned into rings.
#![allow(unsafe_code)]

use pd_console::{Console, Port};
use ring::link;
use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, IoPort, protection_domain};

/// The serial port's interrupt, as in system.xml.
const SERIAL: Channel = Channel::new(0);
/// The doorbells, in the order of the console's links: pd-vmm, pd-mmu, pd-tdx.
const PEERS: [Channel; 3] = [Channel::new(1), Channel::new(2), Channel::new(3)];
/// COM1's ports.
const COM1: IoPort = IoPort::new(0);
/// The ports of QEMU's isa-debug-exit.
const EXIT: IoPort = IoPort::new(1);

/// Registers of a 16550A, from COM1's first port on.
mod uart {
    pub const BASE: u16 = 0x3f8;
    pub const DATA: u16 = BASE;
    pub const INTERRUPT_ENABLE: u16 = BASE + 1;
    pub const FIFO_CONTROL: u16 = BASE + 2;
    pub const MODEM_CONTROL: u16 = BASE + 4;
    pub const LINE_STATUS: u16 = BASE + 5;
    pub const DATA_READY: u8 = 1 << 0;
    pub const TRANSMITTER_EMPTY: u8 = 1 << 5;
}

struct Serial;

impl Serial {
    /// Interrupts for what is received; speed and format stay as the kernel set them.
    fn new() -> Self {
        COM1.write_8(uart::FIFO_CONTROL, 0x01);
        COM1.write_8(uart::MODEM_CONTROL, 0x0b);
        COM1.write_8(uart::INTERRUPT_ENABLE, 0x01);
        Self
    }
}

impl Port for Serial {
    fn put(&mut self, byte: u8) {
        while COM1.read_8(uart::LINE_STATUS) & uart::TRANSMITTER_EMPTY == 0 {}
        COM1.write_8(uart::DATA, byte);
    }
    fn get(&mut self) -> Option<u8> {
        (COM1.read_8(uart::LINE_STATUS) & uart::DATA_READY != 0).then(|| COM1.read_8(uart::DATA))
    }
    fn end(&mut self, status: u8) {
        // QEMU exits with (status << 1 | 1); other machines have nothing there and go on.
        EXIT.write_8(0xf4, status);
    }
}

struct Pd {
    console: Console<'static>,
    serial: Serial,
}

impl Pd {
    fn poll(&mut self) {
        self.console.poll(&mut self.serial);
        for (link, peer) in self.console.links().iter_mut().zip(PEERS) {
            if link.take_doorbell() {
                peer.notify();
            }
        }
    }
}

impl Handler for Pd {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        self.poll();
        if channels.contains(SERIAL) {
            // Only a channel that is no interrupt can't be acknowledged.
            let _ = SERIAL.irq_ack();
            // What came in between has rung already.
            self.poll();
        }
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let mut pd = Pd {
        console: Console::new([
            link!(ring_console_to_vmm, ring_vmm_to_console),
            link!(ring_console_to_mmu, ring_mmu_to_console),
            link!(ring_console_to_tdx, ring_tdx_to_console),
        ]),
        serial: Serial::new(),
    };
    // What came before there was anybody to be notified.
    pd.poll();
    pd
}
