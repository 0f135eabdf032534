//! A TD from creation to teardown, as a host drives it: built, measured, run, torn down.
//!
//! `Bed` is the machine: memory, four logical processors in two packages, and `SEAMCALL` as
//! `must(lp, leaf, operands)`. What a CPU would do is in `run`: it tells the module why the guest
//! left, and does what the module answers.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{GuestLeaf, HostLeaf as L};
use tdx_module::GuestOutcome;
use tdx_module::reg::*;
use tdx_module_check::{Bed, TD_PARAMS, Ways};
use zerocopy::IntoBytes;

/// Where the guest's one page lies: in the guest, and in the host's memory before it is added.
const GPA: u64 = 0;
const SOURCE: u64 = 0x30_0000;
/// TDCS metadata: the first of the six elements of MRTD.
const MRTD: u64 = 0x1310_0003_0000_0000;

/// The control structures, the Secure EPT, a page of contents, a vCPU: TDR and TDVPR.
fn build(bed: &mut Bed) -> (u64, u64) {
    let tdr = bed.page();
    bed.must(0, L::MngCreate, &[(RCX, tdr), (RDX, 40)]); // with KeyID 40
    for lp in [0, 2] {
        bed.must(lp, L::MngKeyConfig, &[(RCX, tdr)]); // on one LP of each package
    }
    for _ in 0..6 {
        let tdcx = bed.page();
        bed.must(0, L::MngAddcx, &[(RCX, tdcx), (RDX, tdr)]);
    }
    let params = Bed::params(Ways::default());
    bed.memory
        .write_bytes(Hpa::new(TD_PARAMS), params.as_bytes());
    bed.must(0, L::MngInit, &[(RCX, tdr), (RDX, TD_PARAMS)]);

    for level in [3, 2, 1] {
        let table = bed.page();
        bed.must(
            0,
            L::MemSeptAdd,
            &[(RCX, GPA | level), (RDX, tdr), (R8, table)],
        );
    }
    bed.memory
        .write_bytes(Hpa::new(SOURCE), b"what the guest starts with");
    let page = bed.page();
    let operands = [(RCX, GPA), (RDX, tdr), (R8, page), (R9, SOURCE)];
    bed.must(0, L::MemPageAdd, &operands);

    let tdvpr = bed.page();
    bed.must(0, L::VpCreate, &[(RCX, tdvpr), (RDX, tdr)]);
    for _ in 0..5 {
        let tdcx = bed.page();
        bed.must(0, L::VpAddcx, &[(RCX, tdcx), (RDX, tdvpr)]);
    }
    bed.must(0, L::VpInit, &[(RCX, tdvpr)]);
    (tdr, tdvpr)
}

/// The page's contents become part of MRTD, 256 bytes a call; then nothing more can.
fn measure(bed: &mut Bed, tdr: u64) -> String {
    for chunk in (GPA..GPA + 4096).step_by(256) {
        bed.must(0, L::MrExtend, &[(RCX, chunk), (RDX, tdr)]);
    }
    bed.must(0, L::MrFinalize, &[(RCX, tdr)]);
    let element = |i| bed.must(0, L::MngRd, &[(RCX, tdr), (RDX, MRTD + i)])[R8];
    let elements: Vec<u64> = (0..6).map(element).collect();
    elements
        .iter()
        .map(|e| format!("{:016x}", e.swap_bytes()))
        .collect()
}

/// Enters the guest, which executes TDCALL twice and is interrupted after that.
fn run(bed: &mut Bed, tdvpr: u64) {
    let entry = bed.enter(0, tdvpr).expect("the vCPU can be entered");
    println!("inside: the guest starts with RBX {:#x}", entry.gprs[RBX]);
    let (outcome, status) = bed.tdcall(0, GuestLeaf::VpInfo, &[]);
    println!("TDG.VP.INFO: {status}, {outcome:?}");

    // A TDVMCALL takes the vCPU to the host, with the registers that RCX names.
    let registers = [(RCX, 1 << R10 | 1 << R11), (R10, 0), (R11, 10)];
    let (outcome, _) = bed.tdcall(0, GuestLeaf::VpVmcall, &registers);
    let Some(GuestOutcome::ExitToHost { regs, .. }) = outcome else {
        panic!("a TDVMCALL goes to the host");
    };
    println!("TDG.VP.VMCALL: the host sees R11 {:#x}", regs[R11]);

    bed.enter(0, tdvpr).expect("it can be entered again");
    bed.leave(0).expect("an interrupt takes it out");
}

/// The vCPU leaves its LP, the KeyID its TD, caches are written back; pages are free again.
fn tear_down(bed: &mut Bed, tdr: u64, tdvpr: u64) {
    bed.must(0, L::VpFlush, &[(RCX, tdvpr)]);
    bed.must(0, L::MngVpflushdone, &[(RCX, tdr)]);
    for lp in [0, 2] {
        bed.must(lp, L::PhymemCacheWb, &[(RCX, 0)]);
    }
    bed.must(0, L::MngKeyFreeid, &[(RCX, tdr)]);
    let end = bed.page(); // the TD has every page from its TDR up to here; the TDR goes last
    for page in (tdr + 4096..end).step_by(4096).chain([tdr]) {
        bed.must(0, L::PhymemPageReclaim, &[(RCX, page)]);
    }
}

fn main() {
    let mut bed = Bed::ready(); // SYS.INIT, LP.INIT, SYS.CONFIG, SYS.KEY.CONFIG, TDMR.INIT
    let (tdr, tdvpr) = build(&mut bed);
    println!("MRTD {}", measure(&mut bed, tdr));
    run(&mut bed, tdvpr);
    tear_down(&mut bed, tdr, tdvpr);
    println!("gone");
}
