//! After the start: backs late memory, then reports faults for good.

use sel4::{Fault, IpcBuffer, Tcb, syscall, syscall::Received};
use system_image::name_str;

use crate::{
    builder::{MAX_PDS, System, is_late},
    println,
};

/// Bit of a page fault's error code: the page is there, the access isn't
/// allowed.
const PRESENT: u64 = 1;

/// Serves the PDs; never ends.
pub fn serve(system: &mut System<'_>, buffer: &mut IpcBuffer) -> ! {
    let mut waiting = Waiting {
        addresses: [None; MAX_PDS],
    };
    // As low as the lowest PD: what the PDs do comes first, but a PD that
    // never rests can't keep another waiting for its memory.
    system.set_priority(buffer, system.lowest_priority());
    let image = system.image;
    let late = image.regions.iter().enumerate();
    for (index, region) in late.filter(|(_, region)| is_late(region)) {
        let pages = region.size >> region.page_bits;
        let mut done = 0;
        while done < pages {
            done += system.back_late(buffer, index, done);
            loop {
                let received = syscall::nb_recv(system.fault_endpoint, buffer);
                if received.badge == 0 {
                    break;
                }
                waiting.receive(system, received, buffer);
            }
            waiting.release(system, buffer, index, done << region.page_bits);
        }
    }
    // From now on there is nothing to do but to report, and that at once.
    system.set_priority(buffer, 255);
    loop {
        let received = syscall::recv(system.fault_endpoint, buffer);
        waiting.receive(system, received, buffer);
        waiting.release_all(system, buffer);
    }
}

fn report(system: &System<'_>, pd: usize, fault: Fault) {
    let name = system
        .image
        .pds
        .get(pd)
        .map_or("?", |pd| name_str(&pd.name));
    println!("init: {name} stopped: {fault}");
}

/// PDs that wait for late memory, and the address each waits for.
struct Waiting {
    addresses: [Option<u64>; MAX_PDS],
}

impl Waiting {
    /// A fault came in: a PD waits for late memory, or it is broken.
    fn receive(&mut self, system: &System<'_>, received: Received, buffer: &IpcBuffer) {
        let pd = received.badge as usize - 1;
        let fault = Fault::read(received.info, buffer);
        match fault {
            Fault::Memory {
                address, status, ..
            } if status & PRESENT == 0 && system.is_late_address(pd, address) => {
                self.addresses[pd] = Some(address);
            }
            _ => report(system, pd, fault),
        }
    }

    fn resume(&mut self, system: &System<'_>, buffer: &mut IpcBuffer, pd: usize) {
        self.addresses[pd] = None;
        if let Err(error) = Tcb(system.pds[pd].tcb).resume(buffer) {
            println!("init: PD {pd} can't be resumed: {error:?}");
        }
    }

    /// Lets those go on that wait for one of the first `backed` bytes of a
    /// region.
    fn release(&mut self, system: &System<'_>, buffer: &mut IpcBuffer, region: usize, backed: u64) {
        let maps = system.image.maps.iter();
        for map in maps.filter(|map| map.region as usize == region) {
            let there = map.vaddr..map.vaddr + backed;
            let pd = map.pd as usize;
            if self.addresses[pd].is_some_and(|address| there.contains(&address)) {
                self.resume(system, buffer, pd);
            }
        }
    }

    /// All late memory is there: a fault that came in just before it was
    /// looked at is over.
    fn release_all(&mut self, system: &System<'_>, buffer: &mut IpcBuffer) {
        for pd in 0..MAX_PDS {
            if self.addresses[pd].is_some() {
                self.resume(system, buffer, pd);
            }
        }
    }
}
