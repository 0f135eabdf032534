//! x86 I/O ports, as libmicrokit's `microkit_x86_ioport_*`.

use crate::{kernel, symbols};

/// A range of I/O ports, by the number that system.xml gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoPort {
    id: usize,
}

impl IoPort {
    /// # Panics
    /// If `id` is above 62; at compile time in a constant.
    pub const fn new(id: usize) -> Self {
        assert!(id <= 62, "Microkit's I/O port ids go from 0 to 62");
        Self { id }
    }

    fn read(self, port: u16, bytes: u32) -> u32 {
        self.check("read");
        match kernel::io_port_read(self.id, port, bytes) {
            Ok(value) => value,
            Err(error) => panic!("ioport {}: read of port {port:#x}: {error:?}", self.id),
        }
    }

    fn write(self, port: u16, bytes: u32, value: u32) {
        self.check("write");
        if let Err(error) = kernel::io_port_write(self.id, port, bytes, value) {
            panic!("ioport {}: write of port {port:#x}: {error:?}", self.id)
        }
    }

    fn check(self, method: &str) {
        if symbols::io_ports() >> self.id & 1 == 0 {
            panic!(
                "ioport {method}: system.xml gives this PD no such id: {}",
                self.id
            );
        }
    }

    /// Reads 8 bits at port address `port`.
    ///
    /// # Panics
    /// This and the others: if system.xml doesn't give this PD that port.
    pub fn read_8(self, port: u16) -> u8 {
        self.read(port, 1) as u8
    }

    /// Reads 16 bits at port address `port`.
    pub fn read_16(self, port: u16) -> u16 {
        self.read(port, 2) as u16
    }

    /// Reads 32 bits at port address `port`.
    pub fn read_32(self, port: u16) -> u32 {
        self.read(port, 4)
    }

    /// Writes 8 bits at port address `port`.
    pub fn write_8(self, port: u16, value: u8) {
        self.write(port, 1, value.into());
    }

    /// Writes 16 bits at port address `port`.
    pub fn write_16(self, port: u16, value: u16) {
        self.write(port, 2, value.into());
    }

    /// Writes 32 bits at port address `port`.
    pub fn write_32(self, port: u16, value: u32) {
        self.write(port, 4, value);
    }
}
