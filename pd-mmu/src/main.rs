//! Guest memory, shadow pages, stolen-bit roots: the program.
#![no_std]
#![no_main]
// Memory that system.xml maps is turned into a window and rings.
#![allow(unsafe_code)]

use gpa::Hpa;
use memory::Window;
use pd_mmu::{Core, Start, Storage};
use ring::link;
use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, memory_region_symbol, protection_domain, var,
};

/// The doorbells, as in system.xml: pd-console, pd-vmm, pd-tdx.
const PEERS: [Channel; 3] = [Channel::new(1), Channel::new(2), Channel::new(3)];

/// Metadata of all pools.
static mut STORAGE: Storage = Storage::new();

struct Pd(Core<'static, Window>);

impl Pd {
    fn poll(&mut self) {
        self.0.poll();
        for (rings, peer) in self.0.take_doorbells().into_iter().zip(PEERS) {
            if rings {
                peer.notify();
            }
        }
    }
}

impl Handler for Pd {
    type Error = Infallible;

    fn notified(&mut self, _: ChannelSet) -> Result<(), Infallible> {
        self.poll();
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let storage = &raw mut STORAGE;
    // SAFETY: this runs once, and nobody else names the static.
    let storage = unsafe { &mut *storage };
    let shadow_size = *var!(shadow_size: usize = 0) as u64;
    let shadow_paddr = Hpa::new(*var!(shadow_paddr: usize = 0) as u64);
    let shadow = memory_region_symbol!(shadow: *mut u8);
    // SAFETY: the region is mapped for good, and nothing here makes references into it.
    let memory = unsafe { Window::new(shadow_paddr, shadow_size, shadow.as_ptr()) };
    let mut pd = Pd(Core::new(Start {
        shadow: (shadow_paddr, shadow_size),
        storage,
        memory,
        console: link!(ring_mmu_to_console, ring_console_to_mmu),
        vmm: link!(ring_mmu_to_vmm, ring_vmm_to_mmu),
        tdx: link!(ring_mmu_to_tdx, ring_tdx_to_mmu),
    }));
    // What came before there was anybody to be notified.
    pd.poll();
    pd
}
