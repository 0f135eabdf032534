//! After the start: backs late memory, then reports faults for good.

use sel4::{Fault, IpcBuffer, Tcb, syscall, syscall::Received};
use system_image::{Map, name_str};

use crate::{
    builder::{MAX_PDS, System, is_late},
    println,
};

/// Serves the PDs; never ends.
pub fn serve(system: &mut System<'_>, buffer: &mut IpcBuffer) -> ! {
    let mut waiting = Waiting {
        addresses: [None; MAX_PDS],
    };
    let image = system.image;
    for (index, map) in image.maps.iter().enumerate() {
        let region = system.region(map);
        if !is_late(region) {
            continue;
        }
        let pages = region.size >> region.page_bits;
        let mut done = 0;
        while done < pages {
            done += system.back_late(buffer, map, done);
            let received = syscall::nb_recv(system.fault_endpoint, buffer);
            if received.badge != 0 {
                waiting.receive(system, received, buffer, &image.maps[index..]);
            }
            waiting.release(system, buffer, map, map.vaddr + (done << region.page_bits));
        }
    }
    loop {
        let received = syscall::recv(system.fault_endpoint, buffer);
        waiting.receive(system, received, buffer, &[]);
    }
}

/// PDs that wait for late memory, and the address each waits for.
struct Waiting {
    addresses: [Option<u64>; MAX_PDS],
}

impl Waiting {
    /// A fault came in: a PD waits for one of the `late` maps, or it is broken.
    fn receive(
        &mut self,
        system: &System<'_>,
        received: Received,
        buffer: &IpcBuffer,
        late: &[Map],
    ) {
        let pd = received.badge as usize - 1;
        let fault = Fault::read(received.info, buffer);
        if let Fault::Memory { address, .. } = fault {
            let waits = late.iter().filter(|map| map.pd as usize == pd).any(|map| {
                let region = system.region(map);
                is_late(region) && (map.vaddr..map.vaddr + region.size).contains(&address)
            });
            if waits {
                self.addresses[pd] = Some(address);
                return;
            }
        }
        let name = system
            .image
            .pds
            .get(pd)
            .map_or("?", |pd| name_str(&pd.name));
        println!("init: {name} stopped: {fault}");
    }

    /// Lets those go on that wait for an address of `map` below `backed`.
    fn release(&mut self, system: &System<'_>, buffer: &mut IpcBuffer, map: &Map, backed: u64) {
        let pd = map.pd as usize;
        if self.addresses[pd].is_some_and(|address| (map.vaddr..backed).contains(&address)) {
            self.addresses[pd] = None;
            if let Err(error) = Tcb(system.pds[pd].tcb).resume(buffer) {
                println!("init: PD {pd} can't be resumed: {error:?}");
            }
        }
    }
}
