//! Writes where it may only read, and is stopped.
#![no_std]
#![no_main]

use sel4_microkit::{
    ChannelSet, Handler, Infallible, debug_println, memory_region_symbol, protection_domain,
};

struct Victim {
    high: *mut u8,
}

impl Handler for Victim {
    type Error = Infallible;

    fn notified(&mut self, _channels: ChannelSet) -> Result<(), Infallible> {
        // SAFETY: none: the page is read-only, the kernel stops this thread.
        unsafe { self.high.write_volatile(1) };
        debug_println!("try-victim: is still there");
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let high = memory_region_symbol!(high: *mut u8).as_ptr();
    // SAFETY: system.xml maps it for reading.
    unsafe { high.read_volatile() };
    Victim { high }
}
