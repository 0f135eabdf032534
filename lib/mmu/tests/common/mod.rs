//! A world for tests: an MMU, a naive module that runs its programs, and an independent walker.

#![allow(dead_code, reason = "each test uses a part")]

pub mod module;
pub mod replay;

use gpa::{Gfn, Gpa, Hpa};
use mmu::keys::KeyIndex;
use mmu::*;
use module::Module;
use replay::Replay;

pub const CONTROL_BASE: u64 = 0x2000_0000;
pub const PRIVATE_BASE: u64 = 0x4000_0000;
pub const SHARED_BASE: u64 = 0x1_0000_0000;

/// How large a world is.
#[derive(Clone, Copy)]
pub struct Size {
    pub tables: usize,
    pub blocks: usize,
    pub shared_blocks: usize,
    pub control: usize,
    pub vms: usize,
    pub bits: usize,
}

pub const SMALL: Size = Size {
    tables: 64,
    blocks: 12,
    shared_blocks: 4,
    control: 128,
    vms: 4,
    bits: 4096,
};

/// What to answer with instead of running a step; `None` = run it.
pub type Veto = Box<dyn FnMut(&Step) -> Option<u64>>;

pub struct World {
    pub mmu: Mmu<'static, &'static Replay>,
    pub module: Module,
    pub memory: &'static Replay,
    pub veto: Veto,
    pub programs: u64,
    pub messages: u64,
    pub longest: usize,
}

pub fn leak<T: Clone>(value: T, count: usize) -> &'static mut [T] {
    Box::leak(vec![value; count].into_boxed_slice())
}

impl World {
    pub fn new(size: Size) -> Self {
        Self::with_keys(size, Keys::NONE)
    }

    pub fn with_keys(size: Size, keys: Keys<'static>) -> Self {
        let memory = Replay::new(size.tables);
        let tables = Tables::new(memory, leak(TableMeta::NEW, size.tables)).with_keys(keys);
        let vms: Vec<Vm> = (0..size.vms).map(|_| Vm::NEW).collect();
        let mmu = Mmu::new(Parts {
            tables,
            private: Blocks::new(Hpa::new(PRIVATE_BASE), leak(0, size.blocks)).unwrap(),
            shared: Frames::new(
                Hpa::new(SHARED_BASE),
                leak(0, size.shared_blocks * 512),
                leak(SharedBlock::NEW, size.shared_blocks),
            )
            .unwrap(),
            control: ControlPages::new(
                Hpa::new(CONTROL_BASE),
                leak(ControlMeta::NEW, size.control),
            )
            .unwrap(),
            vms: Box::leak(vms.into_boxed_slice()),
            bits: leak(0, size.bits),
        });
        Self {
            mmu,
            module: Module::default(),
            memory,
            veto: Box::new(|_| None),
            programs: 0,
            messages: 0,
            longest: 0,
        }
    }

    pub fn roots(&self, vm: u8) -> Vec<Hpa> {
        let mut roots = Vec::new();
        if let Ok(root) = self.mmu.shared_root(vm) {
            roots.push(root);
        }
        if let Ok(Some(root)) = self.mmu.execute_only_root(vm) {
            roots.push(root);
        }
        roots
    }

    pub fn create(&mut self, vm: u8, config: Config) -> Result<(), Error> {
        self.mmu.create(vm, config)?;
        for root in self.roots(vm) {
            self.memory.add_root(root);
        }
        Ok(())
    }

    /// A TD made at the module, with `vcpus` vCPUs and private memory from frame 0 on.
    pub fn td(&mut self, vm: u8, config: Config, pages: u64, vcpus: usize) {
        self.create(vm, config).unwrap();
        let next = self.mmu.create_td(vm);
        assert_eq!(self.finish(vm, config.levels, next), Ok(Next::Done));
        for _ in 0..vcpus {
            let (_, next) = self.mmu.create_vcpu(vm, 0).unwrap();
            assert_eq!(self.finish(vm, config.levels, Ok(next)), Ok(Next::Done));
        }
        self.mmu
            .add_slot(vm, SlotConfig::private(Gfn::new(0), pages))
            .unwrap();
    }

    /// Runs one program as far as it goes.
    pub fn run(&mut self, vm: u8, levels: u8) -> Outcome {
        let program: Vec<Step> = self.mmu.program(vm).to_vec();
        let roots = self.roots(vm);
        self.programs += 1;
        self.longest = self.longest.max(program.len());
        let mut outcome = Outcome::default();
        for step in &program {
            let result = match (self.veto)(step) {
                Some(status) => Err(status),
                None => self.module.run(vm, levels - 1, step),
            };
            match result {
                Err(status) if status >> 63 == 1 || status != 0 => {
                    outcome.status = status;
                    // No page type: nothing that a refusal could be excused with.
                    outcome.rcx = u64::MAX;
                    break;
                }
                _ => outcome.done += 1,
            }
            if *step == Step::Flush {
                self.memory.flush(&roots);
            }
        }
        outcome
    }

    /// Runs an operation to its end.
    pub fn finish(
        &mut self,
        vm: u8,
        levels: u8,
        mut next: Result<Next, Error>,
    ) -> Result<Next, Error> {
        for _ in 0..1_000_000 {
            if next != Ok(Next::Run) {
                return next;
            }
            let outcome = self.run(vm, levels);
            next = self.mmu.complete(vm, outcome);
        }
        panic!("the operation has no end");
    }

    pub fn teardown(&mut self, vm: u8, levels: u8) -> Result<Next, Error> {
        let roots = self.roots(vm);
        let next = self.mmu.teardown(vm);
        if next.is_ok() {
            // The vCPUs are out for good: their TLBs go with them.
            self.memory.drop_roots(&roots);
        }
        self.finish(vm, levels, next)
    }

    /// Everything is back.
    pub fn assert_empty(&self) {
        assert_eq!(self.mmu.tables().used(), 0, "table pages leaked");
        assert_eq!(self.mmu.private_memory().used(), 0, "private blocks leaked");
        assert_eq!(self.mmu.shared_memory().used(), 0, "shared frames leaked");
        assert_eq!(self.mmu.control_pages().used(), 0, "control pages leaked");
        assert!(self.module.owned.is_empty(), "the module still has pages");
    }
}

/// An index of a design for tests.
pub fn index<K: mmu::keys::KeyDesign>(size: Size, buckets: usize) -> KeyIndex<'static, K> {
    KeyIndex::new(
        leak(K::NONE, size.tables),
        leak(0, size.tables),
        leak(0, buckets),
    )
    .unwrap()
}

pub fn gfn(n: u64) -> Gfn {
    Gfn::new(n)
}
pub fn gpa(n: u64) -> Gpa {
    Gpa::new(n)
}
/// The shared alias of a page in a 48-bit TD.
pub fn shared(page: u64) -> Gpa {
    Gpa::new(1 << 47 | page << 12)
}
/// The private alias of a page.
pub fn private(page: u64) -> Gpa {
    Gpa::new(page << 12)
}
