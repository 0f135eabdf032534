//! After the start: reports faults for good.

use sel4::{Fault, IpcBuffer, syscall};
use system_image::name_str;

use crate::{builder::System, println};

/// Serves the PDs; never ends. This task's priority is above theirs: they run
/// while it waits, and what happens to them is said at once.
pub fn serve(system: &System<'_>, buffer: &mut IpcBuffer) -> ! {
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
