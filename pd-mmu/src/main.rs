//! Guest memory, shadow pages, stolen-bit roots: the program.
#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, debug_println, memory_region_symbol,
    protection_domain, var,
};

/// Channels of this PD, as in system.xml.
const PEERS: [(Channel, &str); 3] = [
    (Channel::new(1), "pd-console"),
    (Channel::new(2), "pd-vmm"),
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
                debug_println!("pd-mmu: {name} rang");
                channel.notify();
            }
        }
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let shadow = memory_region_symbol!(shadow: *mut u8);
    let shadow_size = *var!(shadow_size: usize = 0);
    let shadow_paddr = *var!(shadow_paddr: usize = 0);
    debug_println!("pd-mmu: shadow {shadow:p} {shadow_size:#x} {shadow_paddr:#x}");
    let mmu_work = memory_region_symbol!(mmu_work: *mut u8);
    let mmu_work_size = *var!(mmu_work_size: usize = 0);
    debug_println!("pd-mmu: mmu_work {mmu_work:p} {mmu_work_size:#x}");
    let _ = memory_region_symbol!(ring_vmm_to_mmu: *mut u8);
    let _ = memory_region_symbol!(ring_mmu_to_vmm: *mut u8);
    let _ = memory_region_symbol!(ring_mmu_to_tdx: *mut u8);
    let _ = memory_region_symbol!(ring_tdx_to_mmu: *mut u8);
    let _ = memory_region_symbol!(ring_console_to_mmu: *mut u8);
    let _ = memory_region_symbol!(ring_mmu_to_console: *mut u8);
    debug_println!("pd-mmu: ready");
    PEERS.iter().for_each(|(channel, _)| channel.notify());
    Doorbells { greeted: 0 }
}
