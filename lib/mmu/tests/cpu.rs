//! The software CPU as the judge: what a guest reaches through the MMU's tables, with the CPU's
//! own walk and its own TLB, which is flushed only when a program says so.

mod common;

use common::{gfn, leak, private, shared};
use cpu::{
    CodeCache, CodeStorage, Controls, Cpu, Machine, Segment, VmExit, cr0, cr4, efer, gpr, reason,
    seg,
};
use ept::{Access, Entry, MemoryType};
use gpa::{Gpa, Hpa};
use memory::{HostMemory, PhysMemory, Window};
use mmu::*;

const MEMORY: u64 = 64 << 20;
const TABLES: usize = 256;
const TABLE_BASE: u64 = 1 << 20;
const SHARED_BASE: u64 = 8 << 20;
/// The guest's page tables, at the same guest addresses.
const PML4: u64 = 0x1_0000;
/// Linear addresses of the pages under test: one 2 MiB region that the guest maps at will.
const WINDOW: u64 = 0x40_0000;
const WINDOW_TABLE: u64 = 0x1_4000;

struct Host {
    memory: &'static Window,
}

impl Machine for Host {
    type Memory = Window;
    fn memory(&self) -> &Window {
        self.memory
    }
    fn tsc(&mut self) -> u64 {
        0
    }
    fn random(&mut self) -> u64 {
        0
    }
    fn shared_hpa_allowed(&self, hpa: Hpa, len: u64) -> bool {
        hpa.get() >= SHARED_BASE && hpa.get() + len <= MEMORY
    }
    fn shared_table_allowed(&self, table: Hpa) -> bool {
        table_pages().any(|page| page == table)
    }
}

/// Where the MMU's tables are.
fn table_pages() -> impl Iterator<Item = Hpa> {
    (0..TABLES as u64).map(|table| Hpa::new(TABLE_BASE + (table << 12)))
}

struct Guest {
    host: Host,
    cpu: Box<Cpu>,
    code: CodeCache<'static>,
    mmu: Mmu<'static, PhysTables<&'static Window>>,
}

/// The VM that holds the guest's code and page tables.
const MAIN: u8 = 0;

impl Guest {
    fn new(config: Config) -> Self {
        let memory = Box::leak(Box::new(HostMemory::new(Hpa::new(0), MEMORY))).window();
        let table_memory = PhysTables::new(memory, Hpa::new(TABLE_BASE), TABLES).unwrap();
        let vms: Vec<Vm> = (0..2).map(|_| Vm::NEW).collect();
        let blocks = 16;
        let mut mmu = Mmu::new(Parts {
            tables: Tables::new(table_memory, leak(TableMeta::NEW, TABLES)),
            private: Blocks::new(Hpa::new(1 << 30), leak(0, 8)).unwrap(),
            shared: Frames::new(
                Hpa::new(SHARED_BASE),
                leak(0, blocks * 512),
                leak(SharedBlock::NEW, blocks),
            )
            .unwrap(),
            control: ControlPages::new(Hpa::new(2 << 30), leak(ControlMeta::NEW, 64)).unwrap(),
            vms: Vec::leak(vms),
            bits: leak(0, 1024),
        });
        mmu.create(MAIN, config).unwrap();
        mmu.add_slot(MAIN, SlotConfig::plain(gfn(0), 512, 0))
            .unwrap();
        let storage: &'static mut CodeStorage<65536, 8192> =
            Box::leak(Box::new(CodeStorage::new()));
        let mut guest = Self {
            host: Host { memory },
            cpu: Box::new(Cpu::new()),
            code: CodeCache::new(storage),
            mmu,
        };
        for (level, table) in [PML4, PML4 + 0x1000].into_iter().enumerate() {
            guest.poke(table, (PML4 + 0x1000 * (level as u64 + 1)) | 7);
        }
        guest.poke(PML4 + 0x2000, (PML4 + 0x3000) | 7);
        guest.poke(PML4 + 0x2000 + 8 * (WINDOW >> 21), WINDOW_TABLE | 7);
        for page in 0..512 {
            guest.poke(PML4 + 0x3000 + 8 * page, page << 12 | 7);
        }
        let cpu = &mut *guest.cpu;
        cpu.controls = Controls {
            private_root: guest.mmu.shared_root(MAIN).unwrap(),
            ..Controls::new()
        };
        cpu.set_control_registers(
            cr0::PE | cr0::PG | cr0::NE | cr0::ET | cr0::WP,
            PML4,
            cr4::PAE | cr4::MCE,
            efer::LME | efer::LMA | efer::NXE,
        );
        let flat = |selector, rights| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            rights,
        };
        cpu.set_segment(seg::CS, flat(0x08, 0xa09b));
        for number in [seg::ES, seg::SS, seg::DS, seg::FS, seg::GS] {
            cpu.set_segment(number, flat(0x10, 0xc093));
        }
        guest
    }

    /// Host address of the guest's memory at `at`, mapped if it isn't.
    fn host_address(&mut self, at: u64) -> Hpa {
        let next = self.mmu.fault(MAIN, Gpa::new(at), Access::WRITE, None);
        assert_eq!(next, Ok(Next::Done));
        let found = self.mmu.translate(MAIN, Gpa::new(at));
        found.unwrap().unwrap().hpa
    }
    fn poke(&mut self, at: u64, value: u64) {
        let hpa = self.host_address(at);
        self.host.memory.write_u64(hpa, value);
    }
    fn load(&mut self, at: u64, bytes: &[u8]) {
        let hpa = self.host_address(at);
        self.host.memory.write_bytes(hpa, bytes);
        self.code.invalidate_frame(hpa.frame());
    }
    /// Has the CPU know that this VM is no TD: there is one EPT, and it is not to be trusted.
    fn be_plain(&mut self) {
        self.cpu.controls = Controls {
            shared_root: self.mmu.shared_root(MAIN).unwrap(),
            plain: true,
            ..Controls::new()
        };
    }
    /// Maps page `page` of the window to a guest physical page.
    fn window(&mut self, page: u64, gpa: Gpa) {
        self.poke(WINDOW_TABLE + 8 * page, gpa.get() | 7);
        self.cpu.flush_ept();
    }
    fn run(&mut self, rip: u64) -> VmExit {
        self.cpu.set_rip(rip);
        let exit = self.cpu.run(&mut self.host, &mut self.code, 10_000);
        exit.vm().expect("a VM exit comes soon")
    }
}

/// What an EPT violation wanted (SDM vol. 3C, table 28-7: bits 2:0 of the qualification).
fn wanted(exit: &VmExit) -> Access {
    Access::from_bits(exit.qualification)
}

#[test]
fn an_execute_only_guest_runs_its_code_and_cannot_read_it() {
    const BIT: u64 = 1 << 45;
    let config = Config::plain(46).with_execute_only(45, Place::Leaf);
    let mut guest = Guest::new(config);
    guest.be_plain();
    // mov rax, 42; hlt: written at page 5, run at its execute-only alias.
    let code = [0x48, 0xc7, 0xc0, 42, 0, 0, 0, 0xf4];
    guest.load(0x5000, &code);
    guest.window(5, Gpa::new(BIT | 0x5000));
    let exit = guest.run(WINDOW + 0x5000);
    assert_eq!(
        (exit.reason, wanted(&exit)),
        (reason::EPT_VIOLATION, Access::EXECUTE)
    );
    assert_eq!(exit.gpa.frame().base(), Gpa::new(BIT | 0x5000));
    let next = guest.mmu.fault(MAIN, exit.gpa, wanted(&exit), None);
    assert_eq!(next, Ok(Next::Done));
    let exit = guest.run(WINDOW + 0x5000);
    assert_eq!(exit.reason, reason::HLT);
    assert_eq!(guest.cpu.gpr(gpr::RAX), 42);
    // mov rax, [WINDOW + 0x5000]; hlt: runs at page 6, reads the alias.
    let read = [0x48, 0x8b, 0x04, 0x25, 0, 0x50, 0x40, 0, 0xf4];
    guest.load(0x6000, &read);
    let exit = guest.run(0x6000);
    assert_eq!(
        (exit.reason, wanted(&exit)),
        (reason::EPT_VIOLATION, Access::READ)
    );
    let next = guest.mmu.fault(MAIN, exit.gpa, wanted(&exit), None);
    assert_eq!(next, Err(Error::NotPermitted));
    assert_eq!(guest.cpu.gpr(gpr::RAX), 42, "nothing was read");
    // The plain alias reads.
    let read = [0x48, 0x8b, 0x04, 0x25, 0, 0x50, 0, 0, 0xf4];
    guest.load(0x7000, &read);
    assert_eq!(guest.run(0x7000).reason, reason::HLT);
    assert_eq!(guest.cpu.gpr(gpr::RAX).to_le_bytes(), code);
}

/// Whatever EPT root a host names for a VM that is no TD, its CPU takes tables from the MMU's pages
/// and leaves in shared memory, and nothing else.
#[test]
fn a_forged_root_leads_nowhere() {
    const TD: u8 = 1;
    let mut guest = Guest::new(Config::plain(46));
    guest.be_plain();
    // A TD whose mirror names private memory.
    guest.mmu.create(TD, Config::td(33)).unwrap();
    let slot = SlotConfig::private(gfn(0), 512);
    guest.mmu.add_slot(TD, slot).unwrap();
    let mut next = guest.mmu.populate_by(TD, gfn(0), 512, 0);
    while next == Ok(Next::Run) {
        let done = guest.mmu.program(TD).len();
        let outcome = Outcome {
            done,
            ..Outcome::default()
        };
        next = guest.mmu.complete(TD, outcome);
    }
    assert_eq!(next, Ok(Next::Done));
    // hlt
    guest.load(0x5000, &[0xf4]);
    // A page of shared memory that looks like a table whose every entry leads everywhere.
    let forged = Hpa::new(MEMORY - 0x1000);
    for index in 0..512 {
        let entry = Entry::leaf(Hpa::new(0), 2, Access::ALL, MemoryType::WriteBack);
        let at = Hpa::new(forged.get() + 8 * index);
        guest.host.memory.write_u64(at, entry.0);
    }
    let right = guest.mmu.shared_root(MAIN).unwrap();
    let mut ran = 0;
    for root in table_pages().chain([forged, Hpa::new(0), Hpa::new(MEMORY)]) {
        guest.cpu.controls.shared_root = root;
        guest.cpu.flush_ept();
        let exit = guest.run(0x5000);
        if exit.reason == reason::HLT {
            assert_eq!(root, right, "a forged root was taken");
            ran += 1;
        } else {
            let known = [reason::EPT_VIOLATION, reason::EPT_MISCONFIGURATION];
            assert!(known.contains(&exit.reason), "{exit:x?}");
        }
    }
    assert_eq!(ran, 1);
}

#[test]
fn the_cpu_reaches_what_the_mmu_says_and_nothing_else() {
    const TD: u8 = 1;
    const PAGES: u64 = 512;
    let mut guest = Guest::new(Config::plain(47));
    guest.mmu.create(TD, Config::td(33)).unwrap();
    let slot = SlotConfig::private(gfn(0), PAGES);
    guest.mmu.add_slot(TD, slot).unwrap();
    guest.cpu.controls.shared_root = guest.mmu.shared_root(TD).unwrap();
    // mov rax, [rbx]; hlt
    guest.load(0x5000, &[0x48, 0x8b, 0x03, 0xf4]);
    for page in 0..PAGES {
        guest.window(page, shared(page));
    }
    let mut state = 0x5eed_u64;
    let mut random = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) % n
    };
    let (mut reads, mut violations, mut flushes) = (0, 0, 0);
    for operation in 0..60_000u64 {
        let page = random(PAGES);
        match random(4) {
            0 => {
                let pages = (random(8) + 1).min(PAGES - page);
                let to_shared = random(2) == 0;
                let mut next = guest.mmu.convert(TD, gfn(page), pages, to_shared).unwrap();
                while next == Next::Run {
                    let program: Vec<Step> = guest.mmu.program(TD).to_vec();
                    for step in &program {
                        if *step == Step::Flush {
                            guest.cpu.flush_ept();
                            flushes += 1;
                        }
                    }
                    let outcome = Outcome {
                        done: program.len(),
                        ..Outcome::default()
                    };
                    next = guest.mmu.complete(TD, outcome).unwrap();
                }
            }
            1 => {
                let next = guest.mmu.fault(TD, shared(page), Access::WRITE, None);
                if let Ok(Next::Done) = next {
                    // A stamp tells the page, and when it was written.
                    let there = guest.mmu.translate(TD, shared(page)).unwrap().unwrap();
                    guest
                        .host
                        .memory
                        .write_u64(there.hpa, operation << 16 | page);
                } else {
                    assert_eq!(next, Err(Error::WrongKind));
                }
            }
            _ => {}
        }
        let page = random(PAGES);
        guest.cpu.set_gpr(gpr::RBX, WINDOW + (page << 12));
        guest.cpu.set_gpr(gpr::RAX, u64::MAX);
        let exit = guest.run(0x5000);
        match guest.mmu.translate(TD, shared(page)).unwrap() {
            Some(there) => {
                assert_eq!(
                    exit.reason,
                    reason::HLT,
                    "page {page:#x} is mapped: {exit:x?}"
                );
                let stamp = guest.host.memory.read_u64(there.hpa);
                assert_eq!(guest.cpu.gpr(gpr::RAX), stamp, "another page was read");
                assert_eq!(stamp & 0xffff, page);
                reads += 1;
            }
            None => {
                assert_eq!(
                    exit.reason,
                    reason::EPT_VIOLATION,
                    "page {page:#x} isn't mapped"
                );
                assert_eq!(exit.gpa.frame(), shared(page).frame());
                violations += 1;
            }
        }
        assert!(guest.mmu.translate(TD, private(page)).unwrap().is_none());
    }
    assert!(
        reads > 5_000 && violations > 5_000 && flushes > 1000,
        "{reads} {violations} {flushes}"
    );
}
