//! Serial port, operator commands, guest consoles: the program.
#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, debug_println, memory_region_symbol,
    protection_domain,
};

/// Channels of this PD, as in system.xml.
const PEERS: [(Channel, &str); 3] = [
    (Channel::new(1), "pd-vmm"),
    (Channel::new(2), "pd-mmu"),
    (Channel::new(3), "pd-tdx"),
];

struct Doorbells {
    greeted: u32,
}

impl Handler for Doorbells {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        for (channel, name) in PEERS {
            if channels.contains(channel) && self.greeted & 1 << channel.index() == 0 {
                self.greeted |= 1 << channel.index();
                debug_println!("pd-console: {name} rang");
                channel.notify();
            }
        }
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let _ = memory_region_symbol!(ring_console_to_vmm: *mut u8);
    let _ = memory_region_symbol!(ring_vmm_to_console: *mut u8);
    let _ = memory_region_symbol!(ring_console_to_mmu: *mut u8);
    let _ = memory_region_symbol!(ring_mmu_to_console: *mut u8);
    let _ = memory_region_symbol!(ring_console_to_tdx: *mut u8);
    let _ = memory_region_symbol!(ring_tdx_to_console: *mut u8);
    debug_println!("pd-console: ready");
    PEERS.iter().for_each(|(channel, _)| channel.notify());
    Doorbells { greeted: 0 }
}
