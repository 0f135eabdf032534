//! Prints the tables of the MMU: SEAMCALLs, metadata, instructions, lookups, teardown, each
//! beside its peer and its bar; ends with an error where a bar isn't met.
//!
//! `cargo build --release -p mmu --examples && target/release/examples/measure`
//! Counts, not times: the same on every machine (instructions: with the same compiler).

use gpa::{Gfn, Hpa};
use mmu::keys::{KeyDesign, KeyIndex, PackedKey, RoleKey, StolenKey, index_bytes};
use mmu::*;
use std::cell::Cell;
use std::process::{Command, ExitCode};

#[path = "trace/mod.rs"]
mod trace;

const GIB_PAGES: u64 = 1 << 18;

fn leak<T: Clone>(value: T, count: usize) -> &'static mut [T] {
    Vec::leak(vec![value; count])
}

type World = Mmu<'static, CellTables<'static>>;

fn world(gib: usize, tables: usize) -> World {
    let page = || -> CellPage { std::array::from_fn(|_| Cell::new(0)) };
    let pages: Vec<CellPage> = (0..tables).map(|_| page()).collect();
    let memory = CellTables::new(Vec::leak(pages), Hpa::new(0x10_0000_0000));
    let vms: Vec<Vm> = (0..2).map(|_| Vm::NEW).collect();
    Mmu::new(Parts {
        tables: Tables::new(memory, leak(TableMeta::NEW, tables)),
        private: Blocks::new(Hpa::new(0x20_0000_0000), leak(0, gib * 512)).unwrap(),
        shared: Frames::new(
            Hpa::new(0x30_0000_0000),
            leak(0, 512),
            leak(SharedBlock::NEW, 1),
        )
        .unwrap(),
        control: ControlPages::new(Hpa::new(0x8_0000_0000), leak(ControlMeta::NEW, 4096)).unwrap(),
        vms: Vec::leak(vms),
        bits: leak(0, gib * GIB_PAGES as usize / 64),
    })
}

/// Runs an operation to its end with a module that does all it is asked; counts the SEAMCALLs.
fn run(world: &mut World, next: Result<Next, Error>) -> u64 {
    let mut next = next.unwrap();
    let mut calls = 0;
    while next == Next::Run {
        let program = world.program(1);
        calls += program.iter().filter(|step| step.is_seamcall()).count() as u64;
        let outcome = Outcome {
            done: program.len(),
            ..Outcome::default()
        };
        next = world.complete(1, outcome).unwrap();
    }
    assert_eq!(next, Next::Done);
    calls
}

fn td(gib: usize, vcpus: usize, tables: usize) -> World {
    let mut world = world(gib, tables);
    world.create(1, Config::td(33)).unwrap();
    let next = world.create_td(1);
    run(&mut world, next);
    for _ in 0..vcpus {
        let next = world.create_vcpu(1, 0).map(|(_, next)| next);
        run(&mut world, next);
    }
    let slot = SlotConfig::private(Gfn::new(0), gib as u64 * GIB_PAGES);
    world.add_slot(1, slot).unwrap();
    world
}

/// Whether all bars were met.
struct Bars(bool);

impl Bars {
    fn row(&mut self, name: &str, ours: u64, peer: &str, bar: u64) {
        let verdict = if ours <= bar { "" } else { "  NOT MET" };
        self.0 &= ours <= bar;
        println!("| {name} | {ours} | {peer} | ≤ {bar} |{verdict}");
    }
}

/// What KVM of Linux 6.16 calls, from its code (`arch/x86/kvm/vmx/tdx.c`). Private pages are of
/// 4 KiB only: every function here warns of another level.
mod kvm {
    /// `tdx_sept_set_private_spte`: TDH.MEM.PAGE.AUG for each page; `tdx_sept_link_private_spt`:
    /// TDH.MEM.SEPT.ADD for each table, of 512 pages and of 512 tables.
    pub const fn populate(pages: u64) -> u64 {
        pages + pages / 512 + pages / 512 / 512
    }
    /// `tdx_sept_remove_private_spte`, for each page: TDH.MEM.RANGE.BLOCK, TDH.MEM.TRACK,
    /// TDH.MEM.PAGE.REMOVE, TDH.PHYMEM.PAGE.WBINVD.
    pub const fn zap(pages: u64) -> u64 {
        4 * pages
    }
}

fn seamcalls(bars: &mut Bars) {
    println!("\nSEAMCALLs (peer: KVM of Linux 6.16, from its code: pages of 4 KiB only)\n");
    println!("| operation | this MMU | KVM | bar |\n|---|---|---|---|");
    let gib = Gfn::new(0);
    let mut large = td(1, 1, 64);
    let next = large.populate(1, gib, GIB_PAGES);
    let calls = run(&mut large, next);
    bars.row(
        "populate 1 GiB",
        calls,
        &kvm::populate(GIB_PAGES).to_string(),
        520,
    );
    let next = large.convert(1, gib, GIB_PAGES, true);
    let calls = run(&mut large, next);
    bars.row(
        "zap 1 GiB of 2 MiB pages",
        calls,
        &kvm::zap(GIB_PAGES).to_string(),
        1540,
    );
    let mut small = td(1, 1, 600);
    let next = small.populate_by(1, gib, GIB_PAGES, 0);
    run(&mut small, next);
    let next = small.convert(1, gib, GIB_PAGES, true);
    let calls = run(&mut small, next);
    let bar = 3 * GIB_PAGES + 1;
    let peer = kvm::zap(GIB_PAGES).to_string();
    bars.row("zap 1 GiB of 4 KiB pages", calls, &peer, bar);
    let mut one = td(1, 1, 64);
    let next = one.populate(1, gib, 512);
    run(&mut one, next);
    let next = one.convert(1, Gfn::new(5), 1, true);
    let calls = run(&mut one, next);
    bars.row(
        "zap 4 KiB out of 2 MiB (demote)",
        calls,
        "(no 2 MiB pages)",
        6,
    );
}

fn teardown(bars: &mut Bars) {
    println!("\nTeardown of a 4 GiB TD of 2 MiB pages\n");
    println!("| vCPUs | SEAMCALLs | of these per vCPU and for the TD | per 2 MiB page | bar |");
    println!("|---|---|---|---|---|");
    for vcpus in [1, 8, 64] {
        let mut world = td(4, vcpus, 64);
        let next = world.populate(1, Gfn::new(0), 4 * GIB_PAGES);
        run(&mut world, next);
        let sept = world.stats(1).unwrap().sept_pages;
        let next = world.teardown(1);
        let calls = run(&mut world, next);
        // A vCPU: one flush, its pages. The TD: three calls, its pages and Secure EPT pages.
        let vcpu = vcpus as u64 * (2 + VCPU_PAGES as u64);
        let fixed = 3 + 1 + TDCX_PAGES as u64 + sept + vcpu;
        let pages = calls - fixed;
        println!(
            "| {vcpus} | {calls} | {fixed} | {}/{} | 1 |",
            pages,
            4 * 512
        );
        bars.0 &= pages <= 4 * 512;
        assert_eq!(
            world.private_memory().used() + world.control_pages().used(),
            0
        );
    }
}

fn metadata(bars: &mut Bars) {
    println!("\nMetadata per table page (peer: KVM's struct kvm_mmu_page, 184 bytes)\n");
    println!("| design | bytes | KVM | bar |\n|---|---|---|---|");
    let meta = size_of::<TableMeta>() as u64;
    bars.row(
        "4, 5: root per value or leaf property, by walk",
        meta,
        "184",
        16,
    );
    let keyed = [
        ("1: stolen bits in the key", index_bytes::<StolenKey>()),
        ("2: role bit per purpose", index_bytes::<RoleKey>()),
        ("3: packed key", index_bytes::<PackedKey>()),
    ];
    for (name, bytes) in keyed {
        println!("| {name} | {meta} + {bytes} (index) | 184 | – |");
    }
}

/// Instructions of one row of the example `instructions`, counted by callgrind.
fn count(row: &str) -> Result<u64, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let program = me.with_file_name("instructions");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured_*"])
        .arg(&program)
        .arg(row)
        .output()
        .map_err(|e| format!("valgrind: {e}: install the Debian package valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines()
        .find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok())
        .ok_or_else(|| format!("{}: no count:\n{text}", program.display()))
}

fn instructions(bars: &mut Bars) -> Result<(), String> {
    println!("\nInstructions (callgrind; peer: crate x86_64's OffsetPageTable)\n");
    println!("| operation | this MMU | x86_64 | ratio | bar |\n|---|---|---|---|---|");
    let rows = [
        (
            "map 4 KiB, pages in order",
            "map-ours",
            "map-peer",
            4096,
            Some(0.5),
        ),
        (
            "map 4 KiB, never the same table twice",
            "map-ours-scattered",
            "map-peer-scattered",
            4096,
            Some(0.5),
        ),
        ("walk", "walk-ours", "walk-peer", 4096, None),
        ("unmap 4 KiB", "unmap-ours", "unmap-peer", 4096, None),
        (
            "map 1 GiB by 4 KiB",
            "range-ours",
            "range-peer",
            1,
            Some(0.5),
        ),
    ];
    for (name, ours, peer, per, bar) in rows {
        let (ours, peer) = (count(ours)?, count(peer)?);
        let ratio = ours as f64 / peer as f64;
        let met = bar.is_none_or(|bar| ratio <= bar);
        bars.0 &= met;
        let (ours, peer) = (ours as f64 / f64::from(per), peer as f64 / f64::from(per));
        let bar = bar.map_or("–".into(), |bar| format!("≤ {bar}"));
        let verdict = if met { "" } else { "  NOT MET" };
        println!("| {name} | {ours:.1} | {peer:.1} | {ratio:.3} | {bar} |{verdict}");
    }
    Ok(())
}

fn lookup_row<K: KeyDesign>(name: &str, row: &str) -> Result<(), String> {
    let (keys, faults) = (trace::tables(), trace::faults());
    let mut slots = vec![K::NONE; keys.len()];
    let mut next = vec![0; keys.len()];
    let mut buckets = vec![0; trace::BUCKETS];
    let mut index =
        KeyIndex::new(&mut slots, &mut next, &mut buckets).map_err(|e| e.to_string())?;
    for (table, key) in keys.iter().enumerate() {
        index.insert(table as u16, key);
    }
    for &fault in &faults {
        assert_eq!(index.find(&keys[fault as usize]), Some(fault as u16));
    }
    let stats = index.stats();
    let each = count(row)? as f64 / faults.len() as f64;
    println!(
        "| {name} | {} | {:.3} | {} | {} | {each:.1} |",
        index_bytes::<K>(),
        stats.probes as f64 / stats.lookups as f64,
        stats.collisions,
        stats.other_kind,
    );
    Ok(())
}

fn lookups() -> Result<(), String> {
    let tables = trace::tables().len();
    println!(
        "\nLookups: {} faults of a TD of 4 GiB with shared and execute-only aliases,\n\
         {tables} table pages, {} buckets\n",
        trace::FAULTS,
        trace::BUCKETS
    );
    println!(
        "| design | index bytes/page | pages looked at per lookup | collisions (other frame) | \
         same frame, other kind | instructions per lookup |\n|---|---|---|---|---|---|"
    );
    lookup_row::<StolenKey>("1: gfn with stolen bits", "lookups-stolen")?;
    lookup_row::<RoleKey>("2: role bit per purpose", "lookups-role")?;
    lookup_row::<PackedKey>("3: packed gfn:52 / stolen:12", "lookups-packed")?;
    let faults = trace::FAULTS as f64;
    let walk = count("lookups-walk")? as f64 / faults;
    println!("| 4, 5: walk from the root | 0 | – | 0 | 0 | {walk:.1} |");
    let map = count("lookups-map")? as f64 / faults;
    println!("| HashMap of std, same key | ≥ 33 | – | – | – | {map:.1} |");
    Ok(())
}

fn main() -> ExitCode {
    let mut bars = Bars(true);
    seamcalls(&mut bars);
    teardown(&mut bars);
    metadata(&mut bars);
    let counted = instructions(&mut bars).and_then(|()| lookups());
    if let Err(error) = counted {
        eprintln!("measure: {error}");
        return ExitCode::FAILURE;
    }
    if !bars.0 {
        eprintln!("measure: a bar is not met");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
