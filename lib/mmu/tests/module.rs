//! The programs against the software TDX module, register by register: what the MMU plans is
//! what the module's ABI takes.

mod common;

use common::{gfn, leak, private, shared};
use ept::Access;
use gpa::{Gpa, Hpa};
use memory::PhysMemory;
use mmu::*;
use std::cell::Cell;
use tdx_abi::{GuestLeaf, Status};
use tdx_module::reg::{R8, R9, RAX, RCX, RDX};
use tdx_module::{GuestOutcome, Regs};
use tdx_module_check::{Bed, TD_PARAMS, TDMR, Ways};
use zerocopy::IntoBytes;

const VM: u8 = 1;
/// The LP that runs SEAMCALLs, and the one that the vCPU is on.
const HOST: usize = 0;
const GUEST: usize = 1;
const PAGES: u64 = 2048;

struct System {
    bed: Bed,
    mmu: Mmu<'static, CellTables<'static>>,
    tdvpr: u64,
    refused: Option<(Step, Status)>,
    tracks: u64,
}

impl System {
    /// A finalized TD with one vCPU and 20 measured pages at page 0.
    fn new() -> Self {
        let page = || -> CellPage { std::array::from_fn(|_| Cell::new(0)) };
        let count = 64;
        let pages: Vec<CellPage> = (0..count).map(|_| page()).collect();
        let memory = CellTables::new(Vec::leak(pages), Hpa::new(0x10_0000_0000));
        let control = Hpa::new(TDMR);
        let mmu = Mmu::new(Parts {
            tables: Tables::new(memory, leak(TableMeta::NEW, count)),
            private: Blocks::new(Hpa::new(TDMR + (64 << 20)), leak(0, 16)).unwrap(),
            shared: Frames::new(
                Hpa::new(0x20_0000_0000),
                leak(0, 8 * 512),
                leak(SharedBlock::NEW, 8),
            )
            .unwrap(),
            control: ControlPages::new(control, leak(ControlMeta::NEW, 128)).unwrap(),
            vms: Vec::leak((0..2).map(|_| Vm::NEW).collect()),
            bits: leak(0, 256),
        });
        let mut system = Self {
            bed: Bed::ready(),
            mmu,
            tdvpr: 0,
            refused: None,
            tracks: 0,
        };
        system.mmu.create(VM, Config::td(33)).unwrap();
        let next = system.mmu.create_td(VM);
        system.done(next);
        let params = Bed::params(Ways::default());
        let at = Hpa::new(TD_PARAMS);
        system.bed.memory.write_bytes(at, params.as_bytes());
        let next = system.mmu.run_once(VM, Step::MngInit { params: at });
        system.done(next);
        let (tdvpr, next) = system.mmu.create_vcpu(VM, 0).unwrap();
        system.tdvpr = tdvpr.get();
        system.done(Ok(next));
        let slot = SlotConfig::private(gfn(0), PAGES);
        system.mmu.add_slot(VM, slot).unwrap();
        let source = Hpa::new(0x30_0000);
        let next = system.mmu.add_image(VM, gfn(0), 20, source, true);
        system.done(next);
        let next = system.mmu.run_once(VM, Step::MrFinalize);
        system.done(next);
        system
    }

    fn call(&mut self, lp: usize, registers: Registers) -> Regs {
        let mut regs = Regs::default();
        let values = [
            (RAX, registers.rax),
            (RCX, registers.rcx),
            (RDX, registers.rdx),
            (R8, registers.r8),
            (R9, registers.r9),
        ];
        for (register, value) in values {
            regs[register] = value;
        }
        self.bed.seamcall(lp, regs).expect("no step enters a TD")
    }

    /// Runs the program of the MMU; stops at the first step that isn't successful.
    fn run(&mut self) -> Outcome {
        let program = self.mmu.program(VM).to_vec();
        let tdr = self.mmu.tdr(VM).unwrap();
        let mut outcome = Outcome::default();
        for step in &program {
            let Some(registers) = step.to_regs(tdr, 46) else {
                if self.inside() {
                    self.bed.leave(GUEST);
                }
                outcome.done += 1;
                continue;
            };
            // Two packages have a key and caches each; a vCPU belongs to its LP.
            let lps: &[usize] = match step {
                Step::MngKeyConfig | Step::CacheWb => &[0, 2],
                Step::VpCreate { .. } | Step::VpAddCx { .. } => &[GUEST],
                Step::VpInit { .. } | Step::VpFlush { .. } => &[GUEST],
                _ => &[HOST],
            };
            self.tracks += u64::from(*step == Step::Track);
            for &lp in lps {
                let regs = self.call(lp, registers);
                let status = Status(regs[RAX]);
                if !status.is_success() {
                    self.refused = Some((*step, status));
                    outcome.status = status.0;
                    outcome.rcx = regs[RCX];
                    outcome.rdx = regs[RDX];
                    return outcome;
                }
            }
            outcome.done += 1;
        }
        outcome
    }

    fn finish(&mut self, mut next: Result<Next, Error>) -> Result<Next, Error> {
        while next == Ok(Next::Run) {
            let outcome = self.run();
            next = self.mmu.complete(VM, outcome);
        }
        next
    }

    fn done(&mut self, next: Result<Next, Error>) {
        let next = self.finish(next);
        assert_eq!(next, Ok(Next::Done), "{:x?}", self.refused);
    }

    fn inside(&self) -> bool {
        self.bed.module.inside(GUEST).is_some()
    }
    fn enter(&mut self) {
        if !self.inside() {
            self.bed.enter(GUEST, self.tdvpr).expect("VP.ENTER");
        }
    }

    /// The guest accepts a page, as often as it takes; gives the status it sees.
    fn accept(&mut self, page: u64, level: u8) -> Status {
        for _ in 0..4 {
            self.enter();
            let operand = page << 12 | u64::from(level);
            let leaf = GuestLeaf::MemPageAccept;
            let (outcome, status) = self.bed.tdcall(GUEST, leaf, &[(RCX, operand)]);
            if self.inside() {
                return status;
            }
            assert!(
                matches!(outcome, Some(GuestOutcome::ExitToHost { .. })),
                "{outcome:?}"
            );
            let next = self
                .mmu
                .fault(VM, private(page), Access::WRITE, Some(level));
            self.done(next);
        }
        panic!("page {page:#x} can't be accepted at level {level}");
    }
}

#[test]
fn accept_demote_promote_convert_teardown() {
    let mut system = System::new();
    // 2 MiB at once.
    assert_eq!(system.accept(512, 1), Status::SUCCESS);
    assert_eq!(system.mmu.stats(VM).unwrap().private_2m, 1);
    // A page of 2 MiB that the guest accepts by 4 KiB.
    let next = system.mmu.fault(VM, private(1024), Access::READ, None);
    system.done(next);
    for page in 1024..1536 {
        assert_eq!(system.accept(page, 0), Status::SUCCESS, "page {page:#x}");
    }
    let stats = system.mmu.stats(VM).unwrap();
    assert_eq!((stats.demotions, stats.private_2m), (1, 1));
    // And back, with the vCPU inside.
    system.enter();
    let next = system.mmu.promote(VM, gfn(1024));
    system.done(next);
    let stats = system.mmu.stats(VM).unwrap();
    assert_eq!((stats.promotions, stats.private_2m), (1, 2));
    // A few pages out of the middle of both, with one TRACK for the edges and one for all.
    system.enter();
    let before = system.tracks;
    let next = system.mmu.map_gpa(VM, shared(1000), 48 << 12);
    system.done(next);
    assert_eq!(system.tracks - before, 2);
    for page in 1000..1048 {
        let next = system.mmu.fault(VM, shared(page), Access::WRITE, None);
        assert_eq!(next, Ok(Next::Done));
    }
    let next = system.mmu.map_gpa(VM, private(1000), 48 << 12);
    system.done(next);
    assert_eq!(system.accept(1001, 0), Status::SUCCESS);
    // Pending pages can't be promoted; the module says so, and they stay usable.
    let next = system.mmu.populate(VM, gfn(1000), 48);
    system.done(next);
    let next = system.mmu.promote(VM, gfn(1024));
    system.done(next);
    assert_eq!(system.mmu.stats(VM).unwrap().promotions, 1);
    let (_, status) = system.refused.unwrap();
    assert!(
        status.is(Status::EPT_INVALID_PROMOTE_CONDITIONS),
        "{status}"
    );
    assert_eq!(system.accept(1040, 0), Status::SUCCESS);
    teardown(system);
}

fn teardown(mut system: System) {
    if system.inside() {
        system.bed.leave(GUEST);
    }
    let next = system.mmu.teardown(VM);
    system.done(next);
    assert_eq!(system.mmu.tables().used(), 0);
    assert_eq!(system.mmu.control_pages().used(), 0);
    assert_eq!(system.mmu.private_memory().used(), 0);
    assert_eq!(system.mmu.shared_memory().used(), 0);
}

#[test]
fn three_thousand_random_operations() {
    let mut system = System::new();
    let mut state = 0x5eed_u64;
    let mut random = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) % n
    };
    for _ in 0..3000 {
        let page = 512 + random(PAGES - 512);
        let pages = match random(20) {
            0 => 512,
            1..4 => 1 + random(64),
            _ => 1 + random(4),
        };
        let pages = pages.min(PAGES - page);
        if random(2) == 0 {
            system.enter();
        }
        match random(6) {
            0 => {
                let next = system.mmu.convert(VM, gfn(page), pages, true);
                system.done(next);
            }
            1 => {
                // Often a whole region, so that pages of 2 MiB come about.
                let whole = random(2) == 0;
                let (page, pages) = if whole {
                    (page & !511, 512)
                } else {
                    (page, pages)
                };
                let next = system.mmu.convert(VM, gfn(page), pages, false);
                system.done(next);
                if whole {
                    let next = system.mmu.populate(VM, gfn(page), 512);
                    system.done(next);
                }
            }
            2 => {
                let next = system.mmu.populate(VM, gfn(page), pages);
                let next = system.finish(next);
                assert!(
                    matches!(next, Ok(Next::Done) | Err(Error::WrongKind)),
                    "{next:x?}: {:x?}",
                    system.refused
                );
            }
            3 => {
                if let Some(at) = system.mmu.next_promotable(VM, gfn(512)).unwrap() {
                    if random(2) == 0 {
                        for page in at.get()..at.get() + 512 {
                            system.accept(page, 0);
                        }
                    }
                    let next = system.mmu.promote(VM, at);
                    system.done(next);
                }
            }
            _ => {
                if system.mmu.is_private(VM, gfn(page)).unwrap() {
                    let level = random(2) as u8;
                    let whole = page & !511;
                    let all = (whole..whole + 512)
                        .all(|page| system.mmu.is_private(VM, gfn(page)).unwrap());
                    let page = if level == 1 && all { whole } else { page };
                    let level = if all { level } else { 0 };
                    let status = system.accept(page, level);
                    let known = [
                        Status::SUCCESS,
                        Status::PAGE_ALREADY_ACCEPTED,
                        Status::PAGE_SIZE_MISMATCH,
                    ];
                    assert!(known.iter().any(|s| status.is(*s)), "{status}");
                } else {
                    let next = system.mmu.fault(VM, shared(page), Access::WRITE, None);
                    assert_eq!(next, Ok(Next::Done));
                }
            }
        }
    }
    let stats = system.mmu.stats(VM).unwrap();
    let busy = stats.demotions > 10 && stats.promotions > 10 && stats.refusals > 10;
    assert!(busy && stats.to_shared > 1000, "{stats:?}");
    teardown(system);
}

#[test]
fn a_wrong_step_is_refused_and_nothing_is_lost() {
    let mut system = System::new();
    // A second TD's worth of pages can't be added after TDH.MR.FINALIZE.
    let used = system.mmu.control_pages().used();
    let next = system
        .mmu
        .add_image(VM, gfn(600), 4, Hpa::new(0x30_0000), false);
    let next = system.finish(next);
    let Ok(Next::Refused { status, .. }) = next else {
        panic!("{next:?}");
    };
    assert!(
        Status(status).is(Status::OP_STATE_INCORRECT),
        "{}",
        Status(status)
    );
    // What was added before the refusal stands: at most one Secure EPT page, which is used next.
    assert!(system.mmu.control_pages().used() <= used + 1);
    assert_eq!(system.accept(600, 0), Status::SUCCESS);
    let next = system.mmu.translate(VM, Gpa::new(600 << 12)).unwrap();
    assert!(next.is_some_and(|there| there.private));
    teardown(system);
}
