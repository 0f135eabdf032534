//! What callgrind counts: each `measured_*` function is one row of the table that the example
//! `measure` prints. Run alone it only checks that every row does what it says.

// The peer's page tables are reached through pointers.
#![allow(unsafe_code)]

use ept::{Access, Entry, MemoryType};
use gpa::{Gpa, Hpa};
use mmu::keys::{Key, KeyDesign, KeyIndex, PackedKey, RoleKey, StolenKey};
use mmu::{CellPage, CellTables, Kind, Root, TableMeta, Tables};
use std::cell::Cell;
use std::collections::HashMap;
use std::hint::black_box;
use x86_64::structures::paging::mapper::{MapToError, MappedFrame, TranslateResult};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
    Translate,
};
use x86_64::{PhysAddr, VirtAddr};

/// Pages of the one-page rows.
pub const PAGES: u64 = 4096;
const GIB_PAGES: u64 = 1 << 18;
const BASE: u64 = 0x40_0000_0000;
const TABLES: usize = 600;

/// Page numbers: one after the other, or never two in the same table.
fn order(scattered: bool) -> Vec<u64> {
    (0..PAGES)
        .map(|i| if scattered { i % 8 * 512 + i / 8 } else { i })
        .collect()
}

fn entry(page: u64) -> Entry {
    let hpa = Hpa::new(0x1_0000_0000 + (page << 12));
    Entry::leaf(hpa, 0, Access::ALL, MemoryType::WriteBack)
}

struct Ours {
    tables: Tables<'static, CellTables<'static>>,
    root: Root,
}

impl Ours {
    fn new() -> Self {
        let page = || -> CellPage { std::array::from_fn(|_| Cell::new(0)) };
        let pages: Vec<CellPage> = (0..TABLES).map(|_| page()).collect();
        let memory = CellTables::new(Vec::leak(pages), Hpa::new(BASE));
        let meta = Vec::leak(vec![TableMeta::NEW; TABLES]);
        let mut tables = Tables::new(memory, meta);
        let root = tables.plant(0, 1, 3, Kind::Hardware).unwrap();
        Self { tables, root }
    }
}

#[inline(never)]
fn measured_map_ours(ours: &mut Ours, pages: &[u64]) {
    for &page in pages {
        let gpa = Gpa::new(page << 12);
        ours.tables
            .map(&mut ours.root, gpa, 0, entry(page))
            .unwrap();
    }
}

#[inline(never)]
fn measured_walk_ours(ours: &Ours, pages: &[u64]) -> u64 {
    let mut sum = 0;
    for &page in pages {
        let spot = ours.tables.walk(&ours.root, Gpa::new(page << 12), 0);
        sum += spot.entry.hpa().get();
    }
    sum
}

#[inline(never)]
fn measured_unmap_ours(ours: &mut Ours, pages: &[u64]) {
    for &page in pages {
        let gpa = Gpa::new(page << 12);
        black_box(ours.tables.unmap(&mut ours.root, gpa).unwrap());
    }
}

#[inline(never)]
fn measured_range_ours(ours: &mut Ours) {
    let done = ours
        .tables
        .map_range(&mut ours.root, Gpa::new(0), GIB_PAGES, entry(0));
    assert_eq!(done, GIB_PAGES);
}

#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Frame([u64; 512]);

struct Frames {
    next: u64,
}

// SAFETY: gives each frame of the buffer once.
unsafe impl FrameAllocator<Size4KiB> for Frames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = self.next;
        self.next += 1;
        (frame < TABLES as u64).then(|| PhysFrame::containing_address(PhysAddr::new(frame << 12)))
    }
}

struct Peer {
    table: OffsetPageTable<'static>,
    frames: Frames,
}

impl Peer {
    fn new() -> Self {
        let buffer = Vec::leak(vec![Frame([0; 512]); TABLES]);
        let base = buffer.as_mut_ptr();
        let offset = VirtAddr::from_ptr(base.cast_const());
        // SAFETY: the buffer is page aligned, zeroed and reached by the page table alone;
        // physical addresses are offsets into it.
        let table = unsafe {
            let root: &'static mut PageTable = &mut *base.cast();
            OffsetPageTable::new(root, offset)
        };
        Self {
            table,
            frames: Frames { next: 1 },
        }
    }
    fn page(page: u64) -> Page {
        Page::containing_address(VirtAddr::new(page << 12))
    }
    #[inline(always)]
    fn map(&mut self, page: u64) -> Result<(), MapToError<Size4KiB>> {
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        let frame = PhysFrame::containing_address(PhysAddr::new(0x1_0000_0000 + (page << 12)));
        // SAFETY: nothing is ever reached through these tables.
        let flush = unsafe {
            self.table
                .map_to(Self::page(page), frame, flags, &mut self.frames)?
        };
        flush.ignore();
        Ok(())
    }
}

#[inline(never)]
fn measured_map_peer(peer: &mut Peer, pages: &[u64]) {
    for &page in pages {
        peer.map(page).unwrap();
    }
}

#[inline(never)]
fn measured_walk_peer(peer: &Peer, pages: &[u64]) -> u64 {
    let mut sum = 0;
    for &page in pages {
        if let TranslateResult::Mapped {
            frame: MappedFrame::Size4KiB(frame),
            ..
        } = peer.table.translate(VirtAddr::new(page << 12))
        {
            sum += frame.start_address().as_u64();
        }
    }
    sum
}

#[inline(never)]
fn measured_unmap_peer(peer: &mut Peer, pages: &[u64]) {
    for &page in pages {
        let (frame, flush) = peer.table.unmap(Peer::page(page)).unwrap();
        flush.ignore();
        black_box(frame);
    }
}

#[inline(never)]
fn measured_range_peer(peer: &mut Peer) {
    for page in 0..GIB_PAGES {
        peer.map(page).unwrap();
    }
}

/// The trace's table pages, and the faults by their number.
fn trace() -> (Vec<Key>, Vec<u32>) {
    (mmu_trace::tables(), mmu_trace::faults())
}

#[path = "trace/mod.rs"]
mod mmu_trace;

#[inline(never)]
fn measured_lookups<K: KeyDesign>(index: &KeyIndex<'_, K>, keys: &[Key], faults: &[u32]) -> u64 {
    let mut sum = 0;
    for &fault in faults {
        sum += u64::from(index.get(&keys[fault as usize]).unwrap());
    }
    sum
}

#[inline(never)]
fn measured_lookups_map(
    map: &HashMap<(u64, u64, u8, u8), u16>,
    keys: &[Key],
    faults: &[u32],
) -> u64 {
    let mut sum = 0;
    for &fault in faults {
        let key = &keys[fault as usize];
        sum += u64::from(map[&(key.gfn, key.stolen, key.level, key.vm)]);
    }
    sum
}

#[inline(never)]
fn measured_lookups_walk(ours: &Ours, keys: &[Key], faults: &[u32]) -> u64 {
    let mut sum = 0;
    for &fault in faults {
        let key = &keys[fault as usize];
        let gpa = Gpa::new(key.gfn << 12 | key.stolen);
        sum += u64::from(ours.tables.walk(&ours.root, gpa, 0).table);
    }
    sum
}

fn lookups<K: KeyDesign>() {
    let (keys, faults) = trace();
    let mut slots = vec![K::NONE; keys.len()];
    let mut next = vec![0; keys.len()];
    let mut buckets = vec![0; mmu_trace::BUCKETS];
    let mut index = KeyIndex::new(&mut slots, &mut next, &mut buckets).unwrap();
    for (table, key) in keys.iter().enumerate() {
        index.insert(table as u16, key);
    }
    black_box(measured_lookups(&index, &keys, &faults));
}

fn walks() {
    let (keys, faults) = trace();
    let page = || -> CellPage { std::array::from_fn(|_| Cell::new(0)) };
    let count = keys.len() + 64;
    let pages: Vec<CellPage> = (0..count).map(|_| page()).collect();
    let memory = CellTables::new(Vec::leak(pages), Hpa::new(BASE));
    let mut tables = Tables::new(memory, Vec::leak(vec![TableMeta::NEW; count]));
    let root = tables.plant(0, 1, 3, Kind::Hardware).unwrap();
    let mut ours = Ours { tables, root };
    for key in &keys {
        let gpa = Gpa::new(key.gfn << 12 | key.stolen);
        ours.tables.map(&mut ours.root, gpa, 0, entry(0)).unwrap();
    }
    black_box(measured_lookups_walk(&ours, &keys, &faults));
}

fn hash_map() {
    let (keys, faults) = trace();
    let mut map = HashMap::new();
    for (table, key) in keys.iter().enumerate() {
        map.insert((key.gfn, key.stolen, key.level, key.vm), table as u16);
    }
    black_box(measured_lookups_map(&map, &keys, &faults));
}

fn row(name: &str) {
    let scattered = name.ends_with("scattered");
    let pages = order(scattered);
    let last = |mut ours: Ours| {
        // The tables are there, the pages aren't.
        setup_ours(&mut ours, &pages);
        ours
    };
    match name {
        "map-ours" | "map-ours-scattered" => measured_map_ours(&mut last(Ours::new()), &pages),
        "walk-ours" => {
            let mut ours = Ours::new();
            ours.tables
                .map_range(&mut ours.root, Gpa::new(0), PAGES, entry(0));
            black_box(measured_walk_ours(&ours, &pages));
        }
        "unmap-ours" => {
            let mut ours = Ours::new();
            ours.tables
                .map_range(&mut ours.root, Gpa::new(0), PAGES, entry(0));
            measured_unmap_ours(&mut ours, &pages);
        }
        "range-ours" => measured_range_ours(&mut Ours::new()),
        "map-peer" | "map-peer-scattered" => {
            let mut peer = Peer::new();
            setup_peer(&mut peer);
            measured_map_peer(&mut peer, &pages);
        }
        "walk-peer" => {
            let mut peer = Peer::new();
            (0..PAGES).for_each(|page| peer.map(page).unwrap());
            black_box(measured_walk_peer(&peer, &pages));
        }
        "unmap-peer" => {
            let mut peer = Peer::new();
            (0..PAGES).for_each(|page| peer.map(page).unwrap());
            measured_unmap_peer(&mut peer, &pages);
        }
        "range-peer" => measured_range_peer(&mut Peer::new()),
        "lookups-stolen" => lookups::<StolenKey>(),
        "lookups-role" => lookups::<RoleKey>(),
        "lookups-packed" => lookups::<PackedKey>(),
        "lookups-map" => hash_map(),
        "lookups-walk" => walks(),
        other => panic!("no row {other}"),
    }
}

fn setup_ours(ours: &mut Ours, pages: &[u64]) {
    for &page in pages.iter().rev() {
        let gpa = Gpa::new(page << 12);
        ours.tables
            .map(&mut ours.root, gpa, 0, entry(page))
            .unwrap();
    }
    for &page in pages {
        ours.tables
            .unmap(&mut ours.root, Gpa::new(page << 12))
            .unwrap();
    }
}

fn setup_peer(peer: &mut Peer) {
    for page in 0..PAGES {
        peer.map(page).unwrap();
    }
    for page in 0..PAGES {
        peer.table.unmap(Peer::page(page)).unwrap().1.ignore();
    }
}

/// The rows that `measure` asks for.
const ROWS: [&str; 15] = [
    "map-ours",
    "map-peer",
    "map-ours-scattered",
    "map-peer-scattered",
    "walk-ours",
    "walk-peer",
    "unmap-ours",
    "unmap-peer",
    "range-ours",
    "range-peer",
    "lookups-stolen",
    "lookups-role",
    "lookups-packed",
    "lookups-map",
    "lookups-walk",
];

fn main() {
    match std::env::args().nth(1) {
        Some(name) => row(&name),
        None => {
            for name in ROWS {
                row(name);
                println!("{name}: runs");
            }
        }
    }
}
