//! VM life cycle, exits, devices: the program.
#![no_std]
#![no_main]
// The TSC is read, and memory that system.xml maps is turned into windows and rings.
#![allow(unsafe_code)]

use gpa::Hpa;
use memory::Window;
use pd_vmm::pit::{Pit, Ports};
use pd_vmm::{Config, Host, Links, Vmm};
use ring::link;
use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, IoPort, memory_region_symbol, protection_domain, var,
};

/// The timer's interrupt, as in system.xml.
const TIMER: Channel = Channel::new(0);
const CONSOLE: Channel = Channel::new(1);
const MMU: Channel = Channel::new(2);
const TDX: Channel = Channel::new(3);
/// The timer's ports.
const TIMER_PORTS: IoPort = IoPort::new(0);

struct TimerPorts;

impl Ports for TimerPorts {
    fn read(&mut self, port: u16) -> u8 {
        TIMER_PORTS.read_8(port)
    }
    fn write(&mut self, port: u16, value: u8) {
        TIMER_PORTS.write_8(port, value);
    }
    fn tsc(&mut self) -> u64 {
        // SAFETY: RDTSC exists on every x86-64, and the kernel lets programs use it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

struct Machine {
    memory: Window,
    pit: Pit<TimerPorts>,
}

impl Host for Machine {
    type Memory = Window;
    fn memory(&self) -> &Window {
        &self.memory
    }
    fn now(&mut self) -> u64 {
        self.pit.now()
    }
    fn tsc_hz(&self) -> u64 {
        self.pit.tsc_hz()
    }
    fn set_alarm(&mut self, deadline: Option<u64>) {
        self.pit.set_alarm(deadline);
    }
}

struct Pd {
    vmm: Vmm<'static>,
    machine: Machine,
}

impl Pd {
    fn poll(&mut self) {
        self.vmm.poll(&mut self.machine);
        let links = &mut self.vmm.links;
        for (rings, channel) in [
            (links.console.take_doorbell(), CONSOLE),
            (links.mmu.take_doorbell(), MMU),
            (links.tdx.take_doorbell(), TDX),
        ] {
            if rings {
                channel.notify();
            }
        }
    }
}

impl Handler for Pd {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        if channels.contains(TIMER) {
            self.machine.pit.rang();
            // Only a channel that is no interrupt can't be acknowledged.
            let _ = TIMER.irq_ack();
        }
        self.poll();
        Ok(())
    }
}

/// The guest image and, right behind it, the shared pool.
fn memory() -> (Window, Hpa, u64) {
    let image = memory_region_symbol!(guest_image: *mut u8);
    let image_size = *var!(guest_image_size: usize = 0);
    let image_paddr = *var!(guest_image_paddr: usize = 0);
    let pool = memory_region_symbol!(shared_pool: *mut u8);
    let pool_size = *var!(shared_pool_size: usize = 0);
    let pool_paddr = *var!(shared_pool_paddr: usize = 0);
    assert!(
        pool_paddr == image_paddr + image_size
            && pool.as_ptr() as usize == image.as_ptr() as usize + image_size,
        "system.xml: shared_pool must follow guest_image, in physical and in virtual addresses"
    );
    let base = Hpa::new(image_paddr as u64);
    // SAFETY: both regions are mapped for good, one behind the other; the core writes to the
    // pool only, and nothing here makes references into either.
    let window = unsafe { Window::new(base, (image_size + pool_size) as u64, image.as_ptr()) };
    (window, base, image_size as u64)
}

#[protection_domain]
fn init() -> impl Handler {
    let (memory, guest_image, guest_image_len) = memory();
    let config = Config {
        guest_image,
        guest_image_len,
        vms: 1,
        // A guest that is to go on has an image without a goal.
        end_at_goal: true,
    };
    let links = Links {
        mmu: link!(ring_vmm_to_mmu, ring_mmu_to_vmm),
        tdx: link!(ring_vmm_to_tdx, ring_tdx_to_vmm),
        console: link!(ring_vmm_to_console, ring_console_to_vmm),
    };
    let mut pd = Pd {
        vmm: Vmm::new(config, links),
        machine: Machine {
            memory,
            pit: Pit::new(TimerPorts),
        },
    };
    // What came before there was anybody to be notified.
    pd.poll();
    pd
}
