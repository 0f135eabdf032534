//! SEAMCALLs per second of the ten leaves that hosts call most, and TDs created and torn down per
//! second, beside a PAMT-sized memory copy on the same machine. Minimum of several rounds.

use std::time::{Duration, Instant};

use tdx_abi::HostLeaf;
use tdx_module::reg::*;
use tdx_module_check::{Bed, Ways};

const ROUNDS: usize = 5;
const CALLS: u32 = 20_000;

/// The fastest of several rounds of `CALLS` calls.
fn fastest(mut round: impl FnMut() -> Duration) -> Duration {
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

fn row(name: &str, calls: u32, time: Duration) {
    let rate = f64::from(calls) / time.as_secs_f64().max(1e-9);
    println!("{name:32} {rate:12.0} /s {:9.0} ns", 1e9 / rate);
}

struct Td {
    bed: Bed,
    tdr: u64,
    vcpu: u64,
}

fn td() -> Td {
    let mut bed = Bed::ready();
    let tdr = bed.init_td(40, Ways::default());
    bed.tables_to(tdr, 0, 0);
    let vcpu = bed.new_vcpu(1, tdr);
    bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
    Td { bed, tdr, vcpu }
}

/// Times one leaf with the operands of its `i`th call; `undo` is not timed.
fn leaf(
    name: &str,
    mut call: impl FnMut(&mut Td, u32) -> Duration,
    mut undo: impl FnMut(&mut Td, u32),
) {
    let mut td = td();
    let time = fastest(|| {
        (0..CALLS)
            .map(|i| {
                let time = call(&mut td, i);
                undo(&mut td, i);
                time
            })
            .sum()
    });
    row(name, CALLS, time);
}

fn timed(bed: &mut Bed, leaf: HostLeaf, operands: &[(usize, u64)]) -> Duration {
    let start = Instant::now();
    let (status, _) = bed.call(0, leaf, operands);
    let time = start.elapsed();
    assert!(status.is_success(), "{leaf}: {status}");
    time
}

fn memory_leaves() {
    use HostLeaf as L;
    const GPA: u64 = 0x1000;
    let page = td().bed.page();
    let on_page = move |td: &mut Td, leaf| {
        let operands = [(RCX, GPA), (RDX, td.tdr), (R8, page)];
        timed(&mut td.bed, leaf, &operands)
    };
    let aug = move |td: &mut Td, _: u32| on_page(td, L::MemPageAug);
    let block = move |td: &mut Td, _: u32| on_page(td, L::MemRangeBlock);
    let track = |td: &mut Td, _: u32| {
        let operands = [(RCX, td.tdr)];
        timed(&mut td.bed, L::MemTrack, &operands)
    };
    let remove = move |td: &mut Td, _: u32| on_page(td, L::MemPageRemove);
    let unblock = move |td: &mut Td, _: u32| on_page(td, L::MemRangeUnblock);
    leaf("TDH.MEM.PAGE.AUG", aug, move |td, i| {
        block(td, i);
        track(td, i);
        remove(td, i);
    });
    leaf(
        "TDH.MEM.RANGE.BLOCK",
        move |td, i| {
            aug(td, i);
            block(td, i)
        },
        move |td, i| {
            track(td, i);
            remove(td, i);
        },
    );
    leaf("TDH.MEM.TRACK", track, |_, _| ());
    leaf(
        "TDH.MEM.PAGE.REMOVE",
        move |td, i| {
            aug(td, i);
            block(td, i);
            track(td, i);
            remove(td, i)
        },
        |_, _| (),
    );
    leaf(
        "TDH.MEM.RANGE.UNBLOCK",
        move |td, i| {
            aug(td, i);
            block(td, i);
            track(td, i);
            unblock(td, i)
        },
        move |td, i| {
            block(td, i);
            track(td, i);
            remove(td, i);
        },
    );
    leaf(
        "TDH.MEM.SEPT.RD",
        |td, _| timed(&mut td.bed, L::MemSeptRd, &[(RCX, GPA), (RDX, td.tdr)]),
        |_, _| (),
    );
}

fn other_leaves() {
    use HostLeaf as L;
    leaf(
        "TDH.VP.ENTER",
        |td, _| {
            let start = Instant::now();
            let entered = td.bed.enter(1, td.vcpu);
            let time = start.elapsed();
            assert!(entered.is_ok());
            time
        },
        |td, _| {
            td.bed.leave(1);
        },
    );
    leaf(
        "TDH.MNG.RD",
        |td, _| {
            let field = tdx_abi::field::id::TD_XFAM.0;
            timed(&mut td.bed, L::MngRd, &[(RCX, td.tdr), (RDX, field)])
        },
        |_, _| (),
    );
    leaf(
        "TDH.PHYMEM.PAGE.RDMD",
        |td, _| timed(&mut td.bed, L::PhymemPageRdmd, &[(RCX, td.tdr)]),
        |_, _| (),
    );
    leaf(
        "TDH.PHYMEM.PAGE.WBINVD",
        |td, _| {
            let page = td.vcpu + (64 << 12);
            timed(&mut td.bed, L::PhymemPageWbinvd, &[(RCX, page)])
        },
        |_, _| (),
    );
}

/// A TD with one vCPU and its tables, created and torn down.
fn life(ready: &Bed) {
    use HostLeaf as L;
    let mut bed = ready.clone();
    let first = bed.page() + 4096;
    let tdr = bed.init_td(40, Ways::default());
    bed.tables_to(tdr, 0, 0);
    let vcpu = bed.new_vcpu(1, tdr);
    bed.must(0, L::MrFinalize, &[(RCX, tdr)]);
    bed.must(1, L::VpFlush, &[(RCX, vcpu)]);
    bed.must(0, L::MngVpflushdone, &[(RCX, tdr)]);
    for lp in [0, 2] {
        bed.must(lp, L::PhymemCacheWb, &[]);
    }
    bed.must(0, L::MngKeyFreeid, &[(RCX, tdr)]);
    let end = bed.page();
    let pages = (first..end).step_by(4096).filter(|&page| page != tdr);
    for page in pages.chain([tdr]) {
        bed.must(0, L::PhymemPageReclaim, &[(RCX, page)]);
    }
}

fn main() {
    println!("{:32} {:>15} {:>12}", "leaf", "calls", "each");
    memory_leaves();
    other_leaves();
    let ready = Bed::ready();
    const LIVES: u32 = 200;
    let time = fastest(|| {
        let start = Instant::now();
        (0..LIVES).for_each(|_| life(&ready));
        start.elapsed()
    });
    row("TD created and torn down", LIVES, time);
    let (from, mut to) = (vec![1u8; 4096], vec![0u8; 4096]);
    let time = fastest(|| {
        let start = Instant::now();
        for _ in 0..CALLS {
            to.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&mut to);
        }
        start.elapsed()
    });
    row("peer: copy of 4 KiB", CALLS, time);
}
