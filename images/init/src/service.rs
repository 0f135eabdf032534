//! After the start: backs late memory, then reports faults for good.

use sel4::{Fault, IpcBuffer, Tcb, syscall};
use septum_init::late::may_touch;
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
            waiting.receive(system, buffer, index);
            waiting.release(system, buffer, index, done << region.page_bits);
        }
    }
    // All memory is there: what has faulted until now may go on, what faults
    // from now on is broken. There is nothing left to do but to report it, and
    // that at once.
    waiting.release_all(system, buffer);
    system.set_priority(buffer, 255);
    loop {
        let received = syscall::recv(system.fault_endpoint, buffer);
        let fault = Fault::read(received.info, buffer);
        report(system, received.badge as usize - 1, fault);
    }
}

fn report(system: &System<'_>, pd: usize, fault: Fault) {
    let name = system
        .image
        .pds
        .get(pd)
        .map_or("?", |pd| name_str(&pd.name));
    println!("init: {name} stopped: {fault}");
    if let Fault::Memory { address_low, .. } = fault
        && system.is_below_stack(pd, address_low)
    {
        println!("init: {name}: that is below its stack: raise its stack_size in system.xml");
    }
}

/// PDs that wait for late memory, and the end of the address each waits for.
struct Waiting {
    addresses: [Option<u32>; MAX_PDS],
}

impl Waiting {
    /// Takes the faults that have come in: each is from a PD that waits for a
    /// late region, `current` or a later one, or from one that is broken.
    fn receive(&mut self, system: &System<'_>, buffer: &mut IpcBuffer, current: usize) {
        loop {
            let received = syscall::nb_recv(system.fault_endpoint, buffer);
            if received.badge == 0 {
                return;
            }
            let pd = received.badge as usize - 1;
            let fault = Fault::read(received.info, buffer);
            let mut maps = system.image.maps.iter().filter(|map| map.pd as usize == pd);
            match fault {
                Fault::Memory {
                    address_low,
                    status,
                    ..
                } if status & PRESENT == 0
                    && maps.any(|map| {
                        let region = system.region(map);
                        map.region as usize >= current
                            && is_late(region)
                            && may_touch(map, 0, region.size, address_low)
                    }) =>
                {
                    self.addresses[pd] = Some(address_low);
                }
                _ => report(system, pd, fault),
            }
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
            let pd = map.pd as usize;
            if self.addresses[pd].is_some_and(|address| may_touch(map, 0, backed, address)) {
                self.resume(system, buffer, pd);
            }
        }
    }

    /// Lets everybody go on who waits, or has faulted without being asked yet.
    fn release_all(&mut self, system: &System<'_>, buffer: &mut IpcBuffer) {
        self.receive(system, buffer, 0);
        for pd in 0..MAX_PDS {
            if self.addresses[pd].is_some() {
                self.resume(system, buffer, pd);
            }
        }
    }
}
