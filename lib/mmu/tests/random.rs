//! A million random operations against a naive reference: what each page of each VM must be.
//! The module vetoes, is busy, refuses; pools run dry; after every step the invariants hold,
//! as judged by a walk over the tables' bytes and by the naive module.

mod common;

use common::module::{BUSY, INVALID};
use common::*;
use ept::Access;
use gpa::{Gfn, Gpa};
use mmu::*;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// xorshift64*: the same on every machine.
#[derive(Clone)]
struct Random(Rc<Cell<u64>>);

impl Random {
    fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&self, n: u64) -> u64 {
        (self.next() >> 32) % n
    }
    fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const EVERY: u64 = 1024;
const PAGES: u64 = 3 * 512 + 100;

/// The reference: one VM.
#[derive(Clone)]
struct Reference {
    config: Config,
    private: Vec<bool>,
    /// Where a shared page was seen first; it must stay there.
    shared_at: HashMap<u64, u64>,
    logging: Option<BTreeSet<u64>>,
}

struct Run {
    world: World,
    random: Random,
    vms: [Option<Reference>; 4],
    /// Who has a shared frame.
    owners: HashMap<u64, (u8, u64)>,
    full_checks: u64,
    refused: u64,
    no_memory: u64,
    /// How each VM finds its tables.
    finders: [Finder; 4],
}

fn configs(vm: u8) -> Config {
    match vm {
        0 => Config::td(33),
        1 => Config::td_wide(34).with_execute_only(46, Place::Leaf),
        2 => Config {
            levels: 5,
            ..Config::plain(48).with_execute_only(45, Place::Root)
        },
        _ => Config::plain(40).with_execute_only(39, Place::Leaf),
    }
}

impl Run {
    fn new(seed: u64, size: Size, finders: [Finder; 4]) -> Self {
        // Few buckets, so that chains are long.
        let keys = Keys {
            stolen: Some(index(size, 8)),
            role: Some(index(size, 8)),
            packed: Some(index(size, 8)),
        };
        let random = Random(Rc::new(Cell::new(seed)));
        let mut world = World::with_keys(size, keys);
        let dice = random.clone();
        world.veto = Box::new(move |step| {
            if step.is_seamcall() && dice.one_in(60) {
                return Some(BUSY);
            }
            (step.is_seamcall() && dice.one_in(800)).then_some(INVALID)
        });
        Self {
            world,
            random,
            vms: Default::default(),
            owners: HashMap::new(),
            full_checks: 0,
            refused: 0,
            no_memory: 0,
            finders,
        }
    }

    fn finish(&mut self, vm: u8, next: Result<Next, Error>) -> Result<Next, Error> {
        let levels = configs(vm).levels;
        let result = self.world.finish(vm, levels, next);
        match result {
            Ok(Next::Refused { .. }) => self.refused += 1,
            Err(Error::NoMemory(_)) => self.no_memory += 1,
            _ => {}
        }
        result
    }

    fn create(&mut self, vm: u8) {
        let config = Config {
            finder: self.finders[vm as usize],
            ..configs(vm)
        };
        match self.world.create(vm, config) {
            Err(Error::NoMemory(_)) => return,
            other => other.unwrap(),
        }
        let td = config.shared_bit.is_some();
        if td {
            let next = self.world.mmu.create_td(vm);
            let made = self.finish(vm, next);
            let vcpu = match made {
                Ok(Next::Done) => self.world.mmu.create_vcpu(vm, 0).map(|(_, next)| next),
                other => other,
            };
            if self.finish(vm, vcpu) != Ok(Next::Done) {
                self.destroy(vm, config);
                return;
            }
        }
        let slot = if td {
            SlotConfig::private(Gfn::new(0), PAGES)
        } else {
            SlotConfig::plain(Gfn::new(0), PAGES, 1)
        };
        self.world.mmu.add_slot(vm, slot).unwrap();
        self.vms[vm as usize] = Some(Reference {
            config,
            private: vec![td; PAGES as usize],
            shared_at: HashMap::new(),
            logging: None,
        });
    }

    fn destroy(&mut self, vm: u8, config: Config) {
        for attempt in 0.. {
            match self.world.teardown(vm, config.levels) {
                Ok(Next::Done) => break,
                Ok(refusal @ Next::Refused { .. }) => {
                    self.refused += 1;
                    assert!(attempt < 100, "teardown has no end: {refusal:x?}");
                    assert_eq!(
                        self.world.mmu.fault(vm, Gpa::new(0), Access::READ, None),
                        Err(Error::NoSuchVm)
                    );
                }
                other => panic!("teardown: {other:?}"),
            }
        }
        self.vms[vm as usize] = None;
        self.owners.retain(|_, (owner, _)| *owner != vm);
        assert!(!self.world.module.tds.contains_key(&vm));
    }

    fn alias(config: &Config, page: u64, execute_only: bool) -> Gpa {
        let shared = config.shared_bit.map_or(0, |bit| 1u64 << bit);
        let bit = config.execute_only.map_or(0, |(bit, _)| 1u64 << bit);
        Gpa::new(page << 12 | shared | if execute_only { bit } else { 0 })
    }

    /// Everything that must hold for one page of one VM.
    fn check(&mut self, vm: u8, page: u64) {
        let Some(reference) = &mut self.vms[vm as usize] else {
            return;
        };
        let config = reference.config;
        let mmu = &self.world.mmu;
        let memory = self.world.memory;
        let private = self.world.module.tds.get(&vm).and_then(|td| td.reach(page));
        let seen_private = mmu.translate(vm, Gpa::new(page << 12)).unwrap();
        if config.shared_bit.is_some() {
            assert_eq!(
                private,
                seen_private.map(|there| there.hpa.get()),
                "mirror and Secure EPT disagree"
            );
        }
        let plain = Self::alias(&config, page, false);
        let other = Self::alias(&config, page, true);
        let root = mmu.shared_root(vm).unwrap();
        let shared = memory.judge(root, plain.get(), config.levels);
        let execute_only = if config.execute_only.is_some() {
            let root = mmu.execute_only_root(vm).unwrap().unwrap_or(root);
            memory.judge(root, other.get(), config.levels)
        } else {
            Err(0)
        };
        assert!(
            private.is_none() || (shared.is_err() && execute_only.is_err()),
            "page {page:#x} of VM {vm} is private and shared at once"
        );
        if reference.private[page as usize] {
            assert!(
                shared.is_err() && execute_only.is_err(),
                "shared, should be private"
            );
            return;
        }
        if config.shared_bit.is_none() {
            let seen = seen_private.map(|there| there.hpa.get());
            assert_eq!(seen, shared.ok().map(|(hpa, ..)| hpa));
        }
        let mut mapped = 0;
        for (found, cap) in [(shared, 7), (execute_only, 4)] {
            let Ok((hpa, access, _)) = found else {
                continue;
            };
            mapped += 1;
            assert_eq!(access & !cap, 0, "an alias permits too much");
            if let Some(logged) = &reference.logging
                && access & 2 != 0
            {
                assert!(logged.contains(&page), "a page could be written unseen");
            }
            let known = *reference.shared_at.entry(page).or_insert(hpa);
            assert_eq!(known, hpa, "page {page:#x} has moved");
            let owner = *self.owners.entry(hpa).or_insert((vm, page));
            assert_eq!(owner, (vm, page), "frame {hpa:#x} has two pages");
            let frame = gpa::Hpa::new(hpa).frame();
            assert_eq!(
                mmu.shared_memory().owner(frame),
                Some((vm, Gfn::new(page))),
                "reverse map"
            );
        }
        if mapped > 0 {
            let frame = gpa::Hpa::new(reference.shared_at[&page]).frame();
            assert_eq!(mmu.mappings(frame).count(), mapped, "reverse map");
        }
    }

    fn check_all(&mut self) {
        self.full_checks += 1;
        for vm in 0..4 {
            for page in 0..PAGES {
                self.check(vm, page);
            }
        }
        // A block belongs to one region: what the module has of it lies there, and only there.
        let blocks = self.world.mmu.private_memory();
        for (vm, td) in &self.world.module.tds {
            for (&page, (_, leaf)) in &td.leaves {
                let frame = gpa::Hpa::new(leaf.hpa).frame();
                let block = blocks.block_of(frame).unwrap();
                assert_eq!(
                    blocks.owner(block),
                    Some((*vm, Gfn::new(page & !511))),
                    "reverse map of private memory"
                );
                assert_eq!(frame.get() & 511, page & 511);
            }
        }
        for (vm, td) in &self.world.module.tds {
            let theirs = td.leaves.iter().map(|(&page, (level, leaf))| {
                (page, *level, leaf.hpa >> 12, leaf.blocked.is_some())
            });
            let leaves = self.world.mmu.private_leaves(*vm);
            let ours =
                leaves.map(|(gfn, level, frame, blocked)| (gfn.get(), level, frame.get(), blocked));
            for (ours, theirs) in ours.zip(theirs.clone()) {
                assert_eq!(
                    ours, theirs,
                    "mirror (left) and Secure EPT (right) of VM {vm}"
                );
            }
            let leaves = self.world.mmu.private_leaves(*vm).count();
            assert_eq!(leaves, theirs.count(), "mirror and Secure EPT");
        }
        let mut regions = BTreeSet::new();
        for block in 0..blocks.count() as Block {
            if let Some(owner) = blocks.owner(block) {
                assert!(
                    regions.insert(owner),
                    "two blocks for one region: {owner:?}"
                );
            }
        }
        // No private frame twice: the naive module has refused that already; no frame both.
        for td in self.world.module.tds.values() {
            for (level, leaf) in td.leaves.values() {
                for i in 0..1u64 << (9 * level) {
                    assert!(!self.owners.contains_key(&(leaf.hpa + (i << 12))));
                }
            }
        }
    }

    fn range(&self) -> (u64, u64) {
        let first = self.random.below(PAGES);
        let pages = match self.random.below(40) {
            0 => 512,
            1 => 700,
            2..=5 => self.random.below(100) + 1,
            _ => self.random.below(4) + 1,
        };
        let first = if self.random.one_in(4) {
            first & !511
        } else {
            first
        };
        (first, pages.min(PAGES - first))
    }

    fn convert(&mut self, vm: u8, to_shared: bool) {
        let (first, pages) = self.range();
        let next = self
            .world
            .mmu
            .convert(vm, Gfn::new(first), pages, to_shared);
        let accepted = next.is_ok();
        let result = self.finish(vm, next);
        if result == Err(Error::NoMemory(Resource::Tables)) && !accepted {
            return;
        }
        let reference = self.vms[vm as usize].as_mut().unwrap();
        for page in first..first + pages {
            let now = self.world.mmu.is_private(vm, Gfn::new(page)).unwrap();
            if result == Ok(Next::Done) {
                assert_eq!(now, !to_shared, "conversion is done, page isn't");
            }
            let before = std::mem::replace(&mut reference.private[page as usize], now);
            if now && !before {
                if let Some(hpa) = reference.shared_at.remove(&page) {
                    self.owners.remove(&hpa);
                }
            } else if !to_shared && !now && result != Ok(Next::Done) {
                // Broke off: the shared side is gone, the private one not yet there.
                if let Some(hpa) = reference.shared_at.remove(&page) {
                    self.owners.remove(&hpa);
                }
            }
        }
        for page in [first, first + pages / 2, first + pages - 1] {
            self.check(vm, page);
        }
    }

    fn touch(&mut self, vm: u8) {
        let reference = self.vms[vm as usize].as_ref().unwrap();
        let config = reference.config;
        let page = self.random.below(PAGES);
        let td = config.shared_bit.is_some();
        let is_private = reference.private[page as usize];
        let want_private = td && (is_private != self.random.one_in(20));
        let execute_only = config.execute_only.is_some() && self.random.one_in(3);
        let (at, access) = if want_private {
            (Gpa::new(page << 12), Access::ALL)
        } else if execute_only {
            let read = self.random.one_in(8);
            let access = if read { Access::READ } else { Access::EXECUTE };
            (Self::alias(&config, page, true), access)
        } else {
            let write = self.random.one_in(2);
            let access = if write { Access::WRITE } else { Access::READ };
            (Self::alias(&config, page, false), access)
        };
        let accept = match self.random.below(4) {
            0 => Some(0),
            1 => Some(1),
            _ => None,
        };
        let next = self.world.mmu.fault(vm, at, access, accept);
        let result = self.finish(vm, next);
        match result {
            Err(Error::WrongKind) => assert_ne!(want_private, is_private),
            Err(Error::NotPermitted) => assert_eq!(access, Access::READ),
            Ok(_) => {
                assert!(!execute_only || want_private || access == Access::EXECUTE);
                assert!(!td || want_private == is_private);
                if !want_private && access == Access::WRITE {
                    let reference = self.vms[vm as usize].as_mut().unwrap();
                    let root = self.world.mmu.shared_root(vm).unwrap();
                    let found = self.world.memory.judge(root, at.get(), config.levels);
                    if let (Some(dirty), Ok((_, 7, _))) = (&mut reference.logging, found) {
                        dirty.insert(page);
                    }
                }
            }
            Err(Error::NoMemory(_)) => {}
            other => panic!("fault: {other:?}"),
        }
        self.check(vm, page);
    }

    fn log(&mut self, vm: u8) {
        let reference = self.vms[vm as usize].as_mut().unwrap();
        let mmu = &mut self.world.mmu;
        let slot = Gfn::new(0);
        if reference.config.shared_bit.is_some() {
            assert_eq!(mmu.start_logging(vm, slot), Err(Error::Unsupported));
            return;
        }
        match (&mut reference.logging, self.random.below(3)) {
            (None, _) => match mmu.start_logging(vm, slot) {
                Ok(next) => {
                    reference.logging = Some(BTreeSet::new());
                    assert_eq!(self.finish(vm, Ok(next)), Ok(Next::Done));
                }
                other => assert_eq!(other, Err(Error::NoMemory(Resource::Attributes))),
            },
            (Some(_), 0) => {
                mmu.stop_logging(vm, slot).unwrap();
                reference.logging = None;
            }
            (Some(dirty), _) => {
                let mut seen = BTreeSet::new();
                let next = mmu.take_dirty(vm, slot, |page| {
                    seen.insert(page.get());
                });
                assert_eq!(seen, std::mem::take(dirty), "dirty log");
                assert_eq!(self.finish(vm, next), Ok(Next::Done));
            }
        }
    }

    fn step(&mut self) {
        let vm = self.random.below(4) as u8;
        let Some(reference) = &self.vms[vm as usize] else {
            return self.create(vm);
        };
        let config = reference.config;
        let td = config.shared_bit.is_some();
        match self.random.below(1000) {
            0 if self.random.one_in(4) => self.destroy(vm, config),
            0..=249 if td => self.convert(vm, self.random.one_in(2)),
            250..=260 if td => {
                let (first, pages) = self.range();
                let next = self.world.mmu.populate(vm, Gfn::new(first), pages);
                let _ = self.finish(vm, next);
                self.check(vm, first);
            }
            261..=270 if td => {
                self.world.module.tds.get_mut(&vm).unwrap().accept_all();
                if let Some(at) = self.world.mmu.next_promotable(vm, Gfn::new(0)).unwrap() {
                    let next = self.world.mmu.promote(vm, at);
                    let _ = self.finish(vm, next);
                    self.check(vm, at.get() + 77);
                }
            }
            271..=275 => self.log(vm),
            276..=290 if !td => {
                let page = self.random.below(PAGES);
                let at = Self::alias(&config, page, self.random.one_in(2));
                let logging = self.vms[vm as usize].as_ref().unwrap().logging.is_some();
                if !logging {
                    let _ = self.world.mmu.merge_shared(vm, at, 1).unwrap();
                }
                self.check(vm, page);
            }
            291..=295 => {
                let next = self.world.mmu.flush(vm);
                assert_eq!(self.finish(vm, next), Ok(Next::Done));
            }
            296..=310 => {
                let next = self.world.mmu.tidy(vm);
                let _ = self.finish(vm, next);
            }
            _ => self.touch(vm),
        }
    }
}

fn run(seed: u64, operations: u64, size: Size, finders: [Finder; 4]) {
    let mut run = Run::new(seed, size, finders);
    for operation in 0..operations {
        let before = run.random.0.get();
        let step = std::panic::AssertUnwindSafe(|| {
            run.step();
            if operation % EVERY == 0 {
                run.check_all();
            }
        });
        if let Err(panic) = std::panic::catch_unwind(step) {
            eprintln!("seed {seed}, operation {operation}, random state {before:#x}");
            std::panic::resume_unwind(panic);
        }
    }
    run.check_all();
    for vm in 0..4 {
        if let Some(reference) = run.vms[vm as usize].clone() {
            run.destroy(vm, reference.config);
        }
    }
    run.world.assert_empty();
    // The test is worth something only if it went where it hurts.
    assert!(run.refused > 0, "nothing was refused");
    assert!(run.full_checks > operations / EVERY);
    assert!(run.world.longest <= PROGRAM_STEPS);
    eprintln!(
        "seed {seed}: {operations} operations, {} SEAMCALLs in {} programs, {} refused, \
         {} out of memory, {} stores judged",
        run.world.module.calls,
        run.world.programs,
        run.refused,
        run.no_memory,
        run.world.memory.stores.get(),
    );
}

const WALK: [Finder; 4] = [Finder::Walk; 4];

const ROOMY: Size = Size {
    tables: 64,
    blocks: 12,
    shared_blocks: 16,
    control: 128,
    vms: 4,
    bits: 2048,
};

#[test]
fn half_a_million_operations_with_room() {
    run(0x5eed_0001, 500_000, ROOMY, WALK);
}

#[test]
fn a_quarter_million_operations_with_few_tables() {
    let size = Size {
        tables: 22,
        ..ROOMY
    };
    run(0x5eed_0002, 250_000, size, WALK);
}

#[test]
fn a_quarter_million_operations_with_few_frames_and_control_pages() {
    let size = Size {
        blocks: 4,
        shared_blocks: 2,
        control: 34,
        bits: 200,
        ..ROOMY
    };
    run(0x5eed_0003, 250_000, size, WALK);
}

#[test]
fn the_keyed_designs_do_the_same() {
    use Finder::{PackedKey, RoleKey, StolenKey, Walk};
    // Side by side, and each with every kind of VM.
    let mut finders = [StolenKey, RoleKey, PackedKey, Walk];
    for seed in 0x5eed_0004..0x5eed_0008 {
        run(seed, 30_000, ROOMY, finders);
        finders.rotate_left(1);
    }
}
