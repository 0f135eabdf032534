//! A TD's life, operation by operation, against the naive module.

mod common;

use common::*;
use ept::Access;
use mmu::*;

const TD: Config = Config::td(33);

fn done(world: &mut World, next: Result<Next, Error>) {
    assert_eq!(world.finish(1, 4, next), Ok(Next::Done));
}

#[test]
fn faults_populate_by_2_mib_and_teardown_gives_all_back() {
    let mut world = World::new(SMALL);
    world.td(1, TD, 2048, 2);
    let next = world.mmu.fault(1, private(5), Access::WRITE, None);
    done(&mut world, next);
    assert_eq!(world.module.tds[&1].reach(5), Some(PRIVATE_BASE + 0x5000));
    let stats = world.mmu.stats(1).unwrap();
    assert_eq!(
        (stats.private_2m, stats.private_4k, stats.sept_pages),
        (1, 0, 2)
    );
    // Faulting again changes nothing.
    let next = world.mmu.fault(1, private(6), Access::READ, Some(1));
    assert_eq!(next, Ok(Next::Done));
    // A shared access to a private page is the VMM's business.
    let next = world.mmu.fault(1, shared(6), Access::READ, None);
    assert_eq!(next, Err(Error::WrongKind));
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn an_accept_of_4_kib_demotes_and_promotion_joins_again() {
    let mut world = World::new(SMALL);
    world.td(1, TD, 1024, 1);
    let next = world.mmu.fault(1, private(512), Access::WRITE, None);
    done(&mut world, next);
    let next = world.mmu.fault(1, private(700), Access::WRITE, Some(0));
    done(&mut world, next);
    assert_eq!(world.mmu.stats(1).unwrap().private_4k, 512);
    // Pending pages can't be promoted: the module refuses, the pages stay reachable.
    let next = world.mmu.promote(1, gfn(512));
    done(&mut world, next);
    assert_eq!(world.mmu.stats(1).unwrap().promotions, 0);
    assert!(world.module.tds[&1].reach(700).is_some());
    world.module.tds.get_mut(&1).unwrap().accept_all();
    assert_eq!(world.mmu.next_promotable(1, gfn(0)), Ok(Some(gfn(512))));
    let next = world.mmu.promote(1, gfn(700));
    done(&mut world, next);
    let stats = world.mmu.stats(1).unwrap();
    assert_eq!((stats.private_2m, stats.private_4k), (1, 0));
    assert!(world.module.tds[&1].reach(700).is_some());
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

/// A TD whose first region was accepted page by page, all but the last `pending`.
fn taken_by_4_kib(pending: u64) -> World {
    let mut world = World::new(SMALL);
    world.td(1, TD, 1024, 1);
    for page in 0..512 {
        if page == 512 - pending {
            world.module.tds.get_mut(&1).unwrap().accept_all();
        }
        let next = world.mmu.fault(1, private(page), Access::WRITE, Some(0));
        done(&mut world, next);
    }
    if pending == 0 {
        world.module.tds.get_mut(&1).unwrap().accept_all();
    }
    world
}

fn tidy(world: &mut World, times: usize) -> (u64, u64) {
    for _ in 0..times {
        let next = world.mmu.tidy(1);
        done(world, next);
    }
    let stats = world.mmu.stats(1).unwrap();
    (stats.promotions, stats.refusals)
}

#[test]
fn a_full_region_is_promoted_at_the_second_look() {
    let mut world = taken_by_4_kib(0);
    // Not the first: the guest may not have come to its last acceptance. A look at the end of
    // memory begins anew.
    assert_eq!(tidy(&mut world, 1), (0, 0));
    assert_eq!(tidy(&mut world, 1), (1, 0));
    let stats = world.mmu.stats(1).unwrap();
    assert_eq!((stats.private_2m, stats.private_4k), (1, 0));
    assert_eq!(tidy(&mut world, 300), (1, 0));
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn a_region_that_the_module_refuses_is_tried_ever_more_rarely() {
    let mut world = taken_by_4_kib(1);
    // At the second look, the eighth and the 32nd; one call after each try ends the round.
    for (calls, refusals) in [(1, 0), (1, 1), (6, 1), (1, 2), (24, 2), (1, 3)] {
        assert_eq!(tidy(&mut world, calls), (0, refusals));
        assert!(world.module.tds[&1].reach(77).is_some(), "still there");
    }
    world.module.tds.get_mut(&1).unwrap().accept_all();
    assert_eq!(tidy(&mut world, 96), (0, 3));
    assert_eq!(tidy(&mut world, 1), (1, 3));
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

/// Wherever the module is busy, or refuses, once: nothing is lost, all is reached in the end.
#[test]
fn promotion_stands_every_single_failure() {
    const INVALID: u64 = 0xc000_0100_0000_0000;
    const BUSY: u64 = 0x8000_0200_0000_0000;
    for failure in [BUSY, INVALID] {
        for at in 0..6 {
            let mut world = taken_by_4_kib(0);
            let mut calls = 0;
            world.veto = Box::new(move |step| {
                calls += usize::from(step.is_seamcall());
                (step.is_seamcall() && calls == at + 1).then_some(failure)
            });
            tidy(&mut world, 1);
            let next = world.mmu.tidy(1);
            let next = world.finish(1, 4, next);
            assert!(
                matches!(next, Ok(Next::Done | Next::Refused { .. })),
                "{next:?}"
            );
            world.veto = Box::new(|_| None);
            for page in [0, 77, 511] {
                let next = world.mmu.fault(1, private(page), Access::READ, None);
                done(&mut world, next);
                assert!(
                    world.module.tds[&1].reach(page).is_some(),
                    "{failure:x} at {at}"
                );
            }
            assert_eq!(tidy(&mut world, 130).0, 1);
            assert_eq!(world.teardown(1, 4), Ok(Next::Done));
            world.assert_empty();
        }
    }
}

#[test]
fn conversion_takes_one_side_away_before_the_other_comes() {
    let mut world = World::new(SMALL);
    world.td(1, TD, 1024, 1);
    let next = world.mmu.populate(1, gfn(0), 1024);
    done(&mut world, next);
    let before = world.module.counts.clone();
    // From the middle of one 2 MiB page to the middle of the next.
    let next = world.mmu.convert(1, gfn(500), 24, true);
    done(&mut world, next);
    let count = |world: &World, name| {
        world.module.counts.get(name).copied().unwrap_or(0) - before.get(name).unwrap_or(&0)
    };
    assert_eq!(count(&world, "PAGE.DEMOTE"), 2);
    assert_eq!(count(&world, "PAGE.REMOVE"), 24);
    assert_eq!(
        count(&world, "TRACK"),
        2,
        "one for the edges, one for the pages"
    );
    for page in 500..524 {
        assert_eq!(world.module.tds[&1].reach(page), None);
        assert_eq!(
            world.mmu.fault(1, shared(page), Access::WRITE, None),
            Ok(Next::Done)
        );
    }
    assert!(world.module.tds[&1].reach(499).is_some());
    let next = world.mmu.fault(1, private(510), Access::READ, None);
    assert_eq!(next, Err(Error::WrongKind));
    let root = world.mmu.shared_root(1).unwrap();
    let (hpa, access, level) = world.memory.judge(root, shared(510).get(), 4).unwrap();
    assert_eq!((access, level), (7, 0));
    let there = world.mmu.translate(1, shared(510)).unwrap().unwrap();
    assert_eq!(there.hpa.get(), hpa);
    // And back: the shared side goes, with a flush, and only then a private page comes.
    let next = world.mmu.convert(1, gfn(500), 24, false);
    assert_eq!(next, Ok(Next::Run));
    assert_eq!(world.mmu.program(1), [Step::Flush]);
    assert!(world.memory.judge(root, shared(510).get(), 4).is_err());
    assert_eq!(
        world.mmu.fault(1, private(510), Access::READ, None),
        Err(Error::Busy)
    );
    done(&mut world, Ok(Next::Run));
    assert_eq!(world.mmu.shared_memory().used(), 0);
    let next = world.mmu.populate(1, gfn(500), 24);
    done(&mut world, next);
    assert!(world.module.tds[&1].reach(510).is_some());
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn an_emptied_region_gets_a_2_mib_page_again() {
    let mut world = World::new(SMALL);
    world.td(1, TD, 512, 1);
    let next = world.mmu.populate_by(1, gfn(0), 512, 0);
    done(&mut world, next);
    assert_eq!(world.mmu.stats(1).unwrap().private_4k, 512);
    let next = world.mmu.convert(1, gfn(0), 512, true);
    done(&mut world, next);
    assert_eq!(world.mmu.private_memory().used(), 0);
    let next = world.mmu.convert(1, gfn(0), 512, false);
    done(&mut world, next);
    let next = world.mmu.fault(1, private(9), Access::READ, None);
    done(&mut world, next);
    assert_eq!(world.mmu.stats(1).unwrap().private_2m, 1);
    assert_eq!(world.module.counts["SEPT.REMOVE"], 1);
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn the_measured_image_is_added_by_4_kib() {
    let mut world = World::new(SMALL);
    world.td(1, TD, 1024, 1);
    let source = gpa::Hpa::new(0x0900_0000);
    let next = world.mmu.add_image(1, gfn(3), 600, source, true);
    assert_eq!(next, Ok(Next::Run));
    assert!(
        world
            .mmu
            .program(1)
            .contains(&Step::MrExtend { gpa: gpa(0x3f00) })
    );
    done(&mut world, next);
    assert_eq!(world.module.counts["PAGE.ADD"], 600);
    assert!(world.longest <= PROGRAM_STEPS);
    let next = world.mmu.add_image(1, gfn(0), 1, gpa::Hpa::new(1), true);
    assert_eq!(next, Err(Error::BadRange));
    // Not what is in another TD, nor in the TDX module's own pages.
    for pool in [common::PRIVATE_BASE, common::CONTROL_BASE] {
        for (source, pages) in [(pool, 1), (pool - 0x1000, 2)] {
            let next = world
                .mmu
                .add_image(1, gfn(0), pages, gpa::Hpa::new(source), true);
            assert_eq!(next, Err(Error::ForeignFrame));
        }
    }
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn a_key_changes_only_after_its_lines_were_written_back() {
    let mut world = World::new(Size { blocks: 1, ..SMALL });
    world.td(1, TD, 512, 1);
    world.td(2, Config::td(34), 512, 1);
    let next = world.mmu.populate(1, gfn(0), 512);
    done(&mut world, next);
    let next = world.mmu.fault(2, private(0), Access::READ, None);
    assert_eq!(next, Err(Error::NoMemory(Resource::Private)));
    let next = world.mmu.convert(1, gfn(0), 512, true);
    done(&mut world, next);
    // The same key again: nothing to do. Another key: 512 pages to write back.
    let next = world.mmu.fault(2, private(0), Access::READ, None);
    assert_eq!(next, Ok(Next::Run));
    let first = world.mmu.program(2)[0];
    assert!(matches!(first, Step::PageWbinvd { hkid: 33, .. }));
    assert_eq!(world.finish(2, 4, next), Ok(Next::Done));
    assert_eq!(world.module.counts["PAGE.WBINVD"], 512);
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    assert_eq!(world.teardown(2, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let mut world = World::new(SMALL);
    world.td(1, TD, 1000, 1);
    let mmu = &mut world.mmu;
    let fault = |mmu: &mut Mmu<'static, _>, at| mmu.fault(1, gpa(at), Access::READ, None);
    assert_eq!(fault(mmu, 1 << 48), Err(Error::BeyondWidth));
    assert_eq!(fault(mmu, u64::MAX), Err(Error::BeyondWidth));
    assert_eq!(fault(mmu, 1000 << 12), Err(Error::NoSlot));
    assert_eq!(
        fault(mmu, 1 << 46),
        Err(Error::NoSlot),
        "no execute-only bit here"
    );
    assert_eq!(mmu.convert(1, gfn(0), 0, true), Err(Error::BadRange));
    assert_eq!(mmu.convert(1, gfn(5), u64::MAX, true), Err(Error::BadRange));
    assert_eq!(mmu.convert(1, gfn(999), 2, true), Err(Error::NoSlot));
    assert_eq!(mmu.map_gpa(1, gpa(0x800), 0x1000), Err(Error::BadRange));
    assert_eq!(mmu.map_gpa(1, gpa(0x1000), 0x800), Err(Error::BadRange));
    assert_eq!(
        mmu.map_gpa(1, gpa(1 << 48), 0x1000),
        Err(Error::BeyondWidth)
    );
    assert_eq!(mmu.convert(7, gfn(0), 1, true), Err(Error::NoSuchVm));
    assert_eq!(mmu.create(1, TD), Err(Error::VmExists));
    assert_eq!(mmu.create(99, TD), Err(Error::NoSuchVm));
    assert_eq!(mmu.create_td(1), Err(Error::Occupied));
    let overlap = SlotConfig::private(gfn(999), 1);
    assert_eq!(mmu.add_slot(1, overlap), Err(Error::SlotOverlap));
    let beyond = SlotConfig::private(gfn(1 << 35), 1);
    assert_eq!(mmu.add_slot(1, beyond), Err(Error::BadRange));
    let wraps = SlotConfig::private(gfn(u64::MAX), 2);
    assert_eq!(mmu.add_slot(1, wraps), Err(Error::BadRange));
    let clash = Config {
        execute_only: Some((47, Place::Leaf)),
        ..TD
    };
    assert_eq!(mmu.create(2, clash), Err(Error::BadConfig));
    assert_eq!(
        mmu.create(2, Config { levels: 3, ..TD }),
        Err(Error::BadConfig)
    );
    assert_eq!(mmu.complete(1, Outcome::default()), Err(Error::NoProgram));
    mmu.create(2, Config::plain(40)).unwrap();
    let slot = SlotConfig::private(gfn(0), 1);
    assert_eq!(mmu.add_slot(2, slot), Err(Error::Unsupported));
    let execute_only = TD.with_execute_only(46, Place::Leaf);
    mmu.create(3, execute_only).unwrap();
    assert_eq!(
        mmu.fault(3, gpa(1 << 46), Access::READ, None),
        Err(Error::NoSuchAlias),
        "private memory has no execute-only alias"
    );
    assert_eq!(world.mmu.private_memory().used(), 0);
}

#[test]
fn an_outcome_that_claims_too_much_is_refused() {
    let mut world = World::new(SMALL);
    world.td(1, TD, 1000, 1);
    let next = world.mmu.fault(1, private(0), Access::READ, None);
    assert_eq!(next, Ok(Next::Run));
    let lie = Outcome {
        done: 65,
        ..Outcome::default()
    };
    assert_eq!(world.mmu.complete(1, lie), Err(Error::NoProgram));
    done(&mut world, next);
}
