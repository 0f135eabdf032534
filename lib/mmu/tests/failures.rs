//! Every operation on private memory with every single SEAMCALL of it busy, refused, or busy for
//! good: what was asked for is reached in the end, by asking again where it was refused, and
//! nothing is leaked.

mod common;

use common::module::{BUSY, INVALID};
use common::{SMALL, World, gfn, gpa};
use ept::Access;
use mmu::*;

const PAGES: u64 = 2048;
const VM: u8 = 1;

struct Operation {
    name: &'static str,
    /// What comes before, undisturbed.
    prepare: fn(&mut World),
    /// The operation; asked for again where it was refused.
    ask: fn(&mut World) -> Result<Next, Error>,
}

fn fault(world: &mut World, page: u64, accept: Option<u8>) -> Result<Next, Error> {
    let next = world.mmu.fault(VM, gpa(page << 12), Access::WRITE, accept);
    world.finish(VM, 4, next)
}

fn populate(world: &mut World) {
    let next = world.mmu.populate(VM, gfn(0), PAGES);
    assert_eq!(world.finish(VM, 4, next), Ok(Next::Done));
}

fn by_4_kib(world: &mut World) {
    let next = world.mmu.populate_by(VM, gfn(512), 512, 0);
    assert_eq!(world.finish(VM, 4, next), Ok(Next::Done));
    world.module.tds.get_mut(&VM).unwrap().accept_all();
}

fn shared(world: &mut World) {
    populate(world);
    let next = world.mmu.convert(VM, gfn(500), 530, true);
    assert_eq!(world.finish(VM, 4, next), Ok(Next::Done));
}

const MEASURED: &str = "add measured pages";

const OPERATIONS: [Operation; 9] = [
    Operation {
        name: "fault",
        prepare: |_| {},
        ask: |world| fault(world, 700, None),
    },
    Operation {
        name: "accept a 4 KiB page",
        prepare: |_| {},
        ask: |world| fault(world, 700, Some(0)),
    },
    Operation {
        name: "accept 4 KiB of a 2 MiB page",
        prepare: populate,
        ask: |world| fault(world, 700, Some(0)),
    },
    Operation {
        name: "populate",
        prepare: |_| {},
        ask: |world| {
            let next = world.mmu.populate(VM, gfn(3), PAGES - 5);
            world.finish(VM, 4, next)
        },
    },
    Operation {
        name: MEASURED,
        prepare: |_| {},
        ask: |world| {
            let source = gpa::Hpa::new(0x0900_0000);
            let next = world.mmu.add_image(VM, gfn(510), 5, source, true);
            world.finish(VM, 4, next)
        },
    },
    Operation {
        name: "to shared, from within 2 MiB pages",
        prepare: populate,
        ask: |world| {
            let next = world.mmu.convert(VM, gfn(500), 530, true);
            world.finish(VM, 4, next)
        },
    },
    Operation {
        name: "to private",
        prepare: shared,
        ask: |world| {
            let next = world.mmu.convert(VM, gfn(500), 530, false);
            world.finish(VM, 4, next)?;
            let next = world.mmu.populate(VM, gfn(500), 530);
            world.finish(VM, 4, next)
        },
    },
    Operation {
        name: "promote",
        prepare: by_4_kib,
        ask: |world| {
            // What a refusal left blocked is reachable again before the next try.
            fault(world, 700, None)?;
            match world.mmu.promote(VM, gfn(512)) {
                Err(Error::Unsupported) => Ok(Next::Done),
                next => world.finish(VM, 4, next),
            }
        },
    },
    Operation {
        name: "tidy",
        prepare: by_4_kib,
        ask: |world| {
            let mut last = Ok(Next::Done);
            for _ in 0..130 {
                let next = world.mmu.tidy(VM);
                last = world.finish(VM, 4, next);
                if !matches!(last, Ok(Next::Done)) {
                    return last;
                }
            }
            fault(world, 700, None)?;
            last
        },
    },
];

/// What there is by page: whether it is to be private, and whether the TDX module reaches it.
fn view(world: &World) -> Vec<(bool, bool)> {
    let td = &world.module.tds[&VM];
    let page = |page| {
        let private = world.mmu.is_private(VM, gfn(page)).unwrap();
        let shared = world.mmu.translate(VM, gpa(1 << 47 | page << 12)).unwrap();
        assert!(
            shared.is_none() || td.reach(page).is_none(),
            "page {page:#x} is both"
        );
        (private, td.reach(page).is_some())
    };
    (0..PAGES).map(page).collect()
}

fn start(operation: &Operation) -> World {
    let mut world = World::new(SMALL);
    world.td(VM, Config::td(33), PAGES, 2);
    (operation.prepare)(&mut world);
    world
}

/// Disturbs the SEAMCALLs `from..to` of what follows.
fn disturb(world: &mut World, status: u64, from: usize, to: usize) {
    let mut calls = 0;
    world.veto = Box::new(move |step| {
        if !step.is_seamcall() {
            return None;
        }
        calls += 1;
        (from..to).contains(&(calls - 1)).then_some(status)
    });
}

#[test]
fn every_operation_stands_every_failure() {
    let mut cases = 0;
    for operation in &OPERATIONS {
        let mut world = start(operation);
        let before = world.module.calls;
        assert_eq!((operation.ask)(&mut world), Ok(Next::Done));
        let calls = (world.module.calls - before) as usize;
        assert!(calls > 0, "{} does nothing", operation.name);
        let goal = view(&world);
        // The last few of a long operation are like those before them.
        for at in (0..calls).filter(|at| at % (calls / 40 + 1) == 0) {
            for (status, length) in [(BUSY, 1), (INVALID, 1), (BUSY, usize::MAX - calls)] {
                let case = format!("{}: {status:x} at {at} of {calls}", operation.name);
                let mut world = start(operation);
                disturb(&mut world, status, at, at + length);
                let result = (operation.ask)(&mut world);
                match (status, length) {
                    (BUSY, 1) => assert_eq!(result, Ok(Next::Done), "{case}"),
                    // A promotion can be left undone.
                    (BUSY, _) if result == Ok(Next::Done) => {
                        assert_eq!(world.mmu.stats(VM).unwrap().promotions, 0, "{case}");
                        assert!(["promote", "tidy"].contains(&operation.name), "{case}");
                    }
                    (BUSY, _) => assert!(
                        matches!(result, Ok(Next::Refused { status: BUSY, .. })),
                        "{case}: {result:x?}"
                    ),
                    _ => assert!(
                        matches!(result, Ok(Next::Done | Next::Refused { .. })),
                        "{case}: {result:x?}"
                    ),
                }
                view(&world);
                world.veto = Box::new(|_| None);
                let again = (operation.ask)(&mut world);
                if operation.name == MEASURED {
                    // A part of it was measured: it can't be done twice.
                    assert!(again == Ok(Next::Done) || again == Err(Error::Occupied));
                    let extends = world.module.counts.get("MR.EXTEND").copied();
                    assert!(
                        result != Ok(Next::Done) || extends == Some(5 * 16),
                        "{case}"
                    );
                } else {
                    assert_eq!(again, Ok(Next::Done), "{case}, asked again");
                    assert!(view(&world) == goal, "{case}: another end");
                }
                assert_eq!(world.teardown(VM, 4), Ok(Next::Done), "{case}");
                world.assert_empty();
                cases += 1;
            }
        }
    }
    assert!(cases > 200, "{cases} cases");
}

#[test]
fn teardown_goes_on_where_it_was_refused() {
    let steps = {
        let mut world = start(&OPERATIONS[6]);
        let before = world.module.calls;
        assert_eq!(world.teardown(VM, 4), Ok(Next::Done));
        (world.module.calls - before) as usize
    };
    for at in (0..steps).filter(|at| at % 7 == 0 || at + 10 > steps) {
        for (status, length) in [(BUSY, 1), (INVALID, 1), (BUSY, usize::MAX - steps)] {
            let mut world = start(&OPERATIONS[6]);
            disturb(&mut world, status, at, at + length);
            let result = world.teardown(VM, 4);
            assert_eq!(result == Ok(Next::Done), (status, length) == (BUSY, 1));
            world.veto = Box::new(|_| None);
            if result != Ok(Next::Done) {
                assert_eq!(world.teardown(VM, 4), Ok(Next::Done));
            }
            world.assert_empty();
        }
    }
}
