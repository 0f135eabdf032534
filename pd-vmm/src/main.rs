//! VM life cycle, exits, devices: the program.
#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, debug_println, memory_region_symbol,
    protection_domain, var,
};

/// Channels of this PD, as in system.xml.
const PEERS: [(Channel, &str); 3] = [
    (Channel::new(1), "pd-console"),
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
                debug_println!("pd-vmm: {name} rang");
                channel.notify();
            }
        }
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let guest_image = memory_region_symbol!(guest_image: *mut u8);
    let guest_image_size = *var!(guest_image_size: usize = 0);
    let guest_image_length = *var!(guest_image_length: usize = 0);
    let guest_image_paddr = *var!(guest_image_paddr: usize = 0);
    debug_println!(
        "pd-vmm: guest_image {guest_image:p} {guest_image_size:#x} {guest_image_paddr:#x}"
    );
    debug_println!("pd-vmm: guest_image has {guest_image_length:#x} bytes");
    let shared_pool = memory_region_symbol!(shared_pool: *mut u8);
    let shared_pool_size = *var!(shared_pool_size: usize = 0);
    let shared_pool_paddr = *var!(shared_pool_paddr: usize = 0);
    debug_println!(
        "pd-vmm: shared_pool {shared_pool:p} {shared_pool_size:#x} {shared_pool_paddr:#x}"
    );
    let _ = memory_region_symbol!(ring_vmm_to_mmu: *mut u8);
    let _ = memory_region_symbol!(ring_mmu_to_vmm: *mut u8);
    let _ = memory_region_symbol!(ring_vmm_to_tdx: *mut u8);
    let _ = memory_region_symbol!(ring_tdx_to_vmm: *mut u8);
    let _ = memory_region_symbol!(ring_console_to_vmm: *mut u8);
    let _ = memory_region_symbol!(ring_vmm_to_console: *mut u8);
    debug_println!("pd-vmm: ready");
    PEERS.iter().for_each(|(channel, _)| channel.notify());
    Doorbells { greeted: 0 }
}
