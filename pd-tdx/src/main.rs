//! The only holder of SEAMCALL: the program.
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
    (Channel::new(3), "pd-mmu"),
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
                debug_println!("pd-tdx: {name} rang");
                channel.notify();
            }
        }
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let tdx_control = memory_region_symbol!(tdx_control: *mut u8);
    let tdx_control_size = *var!(tdx_control_size: usize = 0);
    let tdx_control_paddr = *var!(tdx_control_paddr: usize = 0);
    debug_println!(
        "pd-tdx: tdx_control {tdx_control:p} {tdx_control_size:#x} {tdx_control_paddr:#x}"
    );
    let tdx_pamt = memory_region_symbol!(tdx_pamt: *mut u8);
    let tdx_pamt_size = *var!(tdx_pamt_size: usize = 0);
    let tdx_pamt_paddr = *var!(tdx_pamt_paddr: usize = 0);
    debug_println!("pd-tdx: tdx_pamt {tdx_pamt:p} {tdx_pamt_size:#x} {tdx_pamt_paddr:#x}");
    let shadow = memory_region_symbol!(shadow: *mut u8);
    let shadow_size = *var!(shadow_size: usize = 0);
    let shadow_paddr = *var!(shadow_paddr: usize = 0);
    debug_println!("pd-tdx: shadow {shadow:p} {shadow_size:#x} {shadow_paddr:#x}");
    let guest_image = memory_region_symbol!(guest_image: *mut u8);
    let guest_image_size = *var!(guest_image_size: usize = 0);
    let guest_image_length = *var!(guest_image_length: usize = 0);
    let guest_image_paddr = *var!(guest_image_paddr: usize = 0);
    debug_println!(
        "pd-tdx: guest_image {guest_image:p} {guest_image_size:#x} {guest_image_paddr:#x}"
    );
    debug_println!("pd-tdx: guest_image has {guest_image_length:#x} bytes");
    let shared_pool = memory_region_symbol!(shared_pool: *mut u8);
    let shared_pool_size = *var!(shared_pool_size: usize = 0);
    let shared_pool_paddr = *var!(shared_pool_paddr: usize = 0);
    debug_println!(
        "pd-tdx: shared_pool {shared_pool:p} {shared_pool_size:#x} {shared_pool_paddr:#x}"
    );
    let private_pool = memory_region_symbol!(private_pool: *mut u8);
    let private_pool_size = *var!(private_pool_size: usize = 0);
    let private_pool_paddr = *var!(private_pool_paddr: usize = 0);
    debug_println!(
        "pd-tdx: private_pool {private_pool:p} {private_pool_size:#x} {private_pool_paddr:#x}"
    );
    let cpu_cache = memory_region_symbol!(cpu_cache: *mut u8);
    let cpu_cache_size = *var!(cpu_cache_size: usize = 0);
    debug_println!("pd-tdx: cpu_cache {cpu_cache:p} {cpu_cache_size:#x}");
    let tdx_work = memory_region_symbol!(tdx_work: *mut u8);
    let tdx_work_size = *var!(tdx_work_size: usize = 0);
    debug_println!("pd-tdx: tdx_work {tdx_work:p} {tdx_work_size:#x}");
    let _ = memory_region_symbol!(ring_vmm_to_tdx: *mut u8);
    let _ = memory_region_symbol!(ring_tdx_to_vmm: *mut u8);
    let _ = memory_region_symbol!(ring_mmu_to_tdx: *mut u8);
    let _ = memory_region_symbol!(ring_tdx_to_mmu: *mut u8);
    let _ = memory_region_symbol!(ring_console_to_tdx: *mut u8);
    let _ = memory_region_symbol!(ring_tdx_to_console: *mut u8);
    debug_println!("pd-tdx: ready");
    PEERS.iter().for_each(|(channel, _)| channel.notify());
    Doorbells { greeted: 0 }
}
