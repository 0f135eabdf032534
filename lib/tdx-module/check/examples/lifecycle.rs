//! A TD from creation to its first steps, as a host drives it.

use tdx_abi::{GuestLeaf, HostLeaf};
use tdx_module::reg::*;
use tdx_module_check::{Bed, Ways};

fn main() {
    // SYS.INIT, LP.INIT, SYS.CONFIG, SYS.KEY.CONFIG, TDMR.INIT.
    let mut bed = Bed::ready();
    // MNG.CREATE, MNG.KEY.CONFIG, MNG.ADDCX, MNG.INIT.
    let tdr = bed.init_td(40, Ways::default());
    bed.tables_to(tdr, 0, 0);
    let page = bed.page();
    let operands = [(RCX, 0), (RDX, tdr), (R8, page), (R9, 0x30_0000)];
    bed.must(0, HostLeaf::MemPageAdd, &operands);
    let vcpu = bed.new_vcpu(0, tdr);
    bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
    match bed.enter(0, vcpu) {
        Ok(entry) => println!("inside {:#x}, RBX {:#x}", entry.tdvpr, entry.gprs[RBX]),
        Err(status) => println!("cannot enter: {status}"),
    }
    let (outcome, status) = bed.tdcall(0, GuestLeaf::VpInfo, &[]);
    println!("TDG.VP.INFO: {outcome:?}, {status}");
    println!("an interrupt: {:?}", bed.leave(0).is_some());
}
