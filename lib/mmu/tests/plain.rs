//! Shared and plain memory: execute-only aliases, large leaves, logging, eviction.

mod common;

use common::*;
use ept::{Access, Entry};
use gpa::Gpa;
use mmu::*;

const EXECUTE_ONLY: u64 = 1 << 45;

fn done(world: &mut World, vm: u8, next: Result<Next, Error>) {
    assert_eq!(world.finish(vm, 4, next), Ok(Next::Done));
}

fn plain(world: &mut World, config: Config, slot: SlotConfig) {
    world.create(1, config).unwrap();
    world.mmu.add_slot(1, slot).unwrap();
}

#[test]
fn an_execute_only_alias_runs_and_refuses_to_be_read() {
    for place in [Place::Leaf, Place::Root] {
        let mut world = World::new(SMALL);
        let config = Config::plain(46).with_execute_only(45, place);
        plain(&mut world, config, SlotConfig::plain(gfn(0), 1024, 0));
        let alias = gpa(EXECUTE_ONLY | 0x5000);
        // The code is written through the plain alias, and runs through the other.
        let next = world.mmu.fault(1, gpa(0x5000), Access::WRITE, None);
        done(&mut world, 1, next);
        let next = world.mmu.fault(1, alias, Access::EXECUTE, None);
        done(&mut world, 1, next);
        let root = world.mmu.shared_root(1).unwrap();
        let other = world.mmu.execute_only_root(1).unwrap();
        assert_eq!(other.is_some(), place == Place::Root);
        let there = world.memory.judge(root, 0x5000, 4).unwrap();
        let here = world
            .memory
            .judge(other.unwrap_or(root), alias.get(), 4)
            .unwrap();
        assert_eq!(there.0, here.0, "one frame");
        assert_eq!((there.1, here.1), (7, 4), "permissions");
        for access in [Access::READ, Access::WRITE, Access::ALL] {
            let next = world.mmu.fault(1, alias, access, None);
            assert_eq!(next, Err(Error::NotPermitted));
        }
        let frame = gpa::Hpa::new(here.0).frame();
        assert_eq!(world.mmu.mappings(frame).count(), 2, "reverse map");
        assert_eq!(world.teardown(1, 4), Ok(Next::Done));
        world.assert_empty();
    }
}

#[test]
fn a_td_has_two_roots_and_execute_only_leaves_in_the_shared_one() {
    let mut world = World::new(SMALL);
    let config = Config::td(33).with_execute_only(46, Place::Leaf);
    world.td(1, config, 1024, 1);
    let execute_only = gpa(1 << 47 | 1 << 46 | 0x9000);
    let next = world.mmu.fault(1, execute_only, Access::EXECUTE, None);
    assert_eq!(next, Err(Error::WrongKind), "the page is private");
    let next = world.mmu.convert(1, gfn(9), 1, true);
    done(&mut world, 1, next);
    let next = world.mmu.fault(1, execute_only, Access::EXECUTE, None);
    done(&mut world, 1, next);
    let next = world.mmu.fault(1, shared(9), Access::WRITE, None);
    done(&mut world, 1, next);
    assert_eq!(world.mmu.execute_only_root(1), Ok(None));
    let root = world.mmu.shared_root(1).unwrap();
    let code = world.memory.judge(root, execute_only.get(), 4).unwrap();
    let data = world.memory.judge(root, shared(9).get(), 4).unwrap();
    assert_eq!((code.0, code.1, data.1), (data.0, 4, 7));
    // Back to private: both aliases go before anything comes.
    let next = world.mmu.convert(1, gfn(9), 1, false);
    assert_eq!(next, Ok(Next::Run));
    assert!(world.memory.judge(root, execute_only.get(), 4).is_err());
    assert!(world.memory.judge(root, shared(9).get(), 4).is_err());
    done(&mut world, 1, next);
    let next = world.mmu.fault(1, private(9), Access::READ, None);
    done(&mut world, 1, next);
    let next = world.mmu.fault(1, execute_only, Access::EXECUTE, None);
    assert_eq!(next, Err(Error::WrongKind));
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn leaves_of_1_gib_and_2_mib_in_trees_of_4_and_5_levels() {
    for levels in [4, 5] {
        let mut world = World::new(Size {
            shared_blocks: 520,
            bits: 5000,
            ..SMALL
        });
        let config = Config {
            levels,
            ..Config::plain(48)
        };
        let slot = SlotConfig {
            memory: ept::MemoryType::WriteThrough,
            ..SlotConfig::plain(gfn(0), (1 << 18) + 600, 2)
        };
        plain(&mut world, config, slot);
        let root = world.mmu.shared_root(1).unwrap();
        for (at, level) in [
            (0x1234_5000u64, 2),
            (1 << 30, 1),
            ((1 << 30) + (513 << 12), 0),
        ] {
            let next = world.mmu.fault(1, gpa(at), Access::WRITE, None);
            assert_eq!(next, Ok(Next::Done));
            let found = world.memory.judge(root, at, levels).unwrap();
            assert_eq!(found.2, level, "level at {at:#x}");
            let spot = world.mmu.translate(1, gpa(at)).unwrap().unwrap();
            assert_eq!((spot.hpa.get(), spot.level), (found.0, level));
            let frame = spot.hpa.frame();
            assert_eq!(
                world.mmu.shared_memory().owner(frame),
                Some((1, gfn(at >> 12))),
                "reverse map"
            );
        }
        assert_eq!(world.mmu.shared_memory().used(), (1 << 18) + 512 + 1);
        assert_eq!(world.teardown(1, levels), Ok(Next::Done));
        world.assert_empty();
    }
}

#[test]
fn a_read_only_slot_refuses_writes() {
    let mut world = World::new(SMALL);
    let slot = SlotConfig {
        read_only: true,
        ..SlotConfig::plain(gfn(16), 16, 0)
    };
    plain(&mut world, Config::plain(40), slot);
    let at = gpa(0x1_0000);
    assert_eq!(world.mmu.fault(1, at, Access::READ, None), Ok(Next::Done));
    let next = world.mmu.fault(1, at, Access::WRITE, None);
    assert_eq!(next, Err(Error::NotPermitted));
    let root = world.mmu.shared_root(1).unwrap();
    assert_eq!(world.memory.judge(root, at.get(), 4).unwrap().1, 5);
}

/// What hardware does on a write: sets accessed and dirty in the leaf.
fn hardware_write(world: &World, at: Gpa) {
    let root = world.mmu.shared_root(1).unwrap();
    let table = ((root.get() - common::replay::TABLES_BASE) >> 12) as Table;
    let mut table = table;
    for level in (0..4).rev() {
        let index = ept::index(at.get(), level);
        let entry = Entry(world.memory.load(table, index));
        if entry.is_leaf(level) {
            assert!(entry.access().permits(Access::WRITE));
            let marked = entry.0 | Entry::ACCESSED | Entry::DIRTY;
            world.memory.store(table, index, marked);
            return;
        }
        table = world.memory.table_at(entry.hpa());
    }
}

#[test]
fn the_hardware_s_dirty_bits_are_collected() {
    let mut world = World::new(SMALL);
    let config = Config {
        accessed_dirty: true,
        ..Config::plain(40)
    };
    plain(&mut world, config, SlotConfig::plain(gfn(0), 1024, 1));
    // One large leaf from before, small ones after.
    done_fault(&mut world, 0);
    hardware_write(&world, gpa(0));
    let next = world.mmu.start_logging(1, gfn(0));
    done(&mut world, 1, next);
    for page in [600, 601, 700] {
        let next = world.mmu.fault(1, gpa(page << 12), Access::READ, None);
        done(&mut world, 1, next);
    }
    hardware_write(&world, gpa(601 << 12));
    let take = |world: &mut World| {
        let mut seen = Vec::new();
        let next = world
            .mmu
            .take_dirty(1, gfn(0), |page| seen.push(page.get()));
        done(world, 1, next);
        seen
    };
    assert_eq!(
        take(&mut world),
        [601],
        "what was written before doesn't count"
    );
    assert_eq!(take(&mut world), []);
    hardware_write(&world, gpa(0x3000));
    assert_eq!(
        take(&mut world),
        (0..512).collect::<Vec<u64>>(),
        "a large leaf"
    );
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

fn done_fault(world: &mut World, page: u64) {
    let next = world.mmu.fault(1, gpa(page << 12), Access::WRITE, None);
    done(world, 1, next);
}

#[test]
fn a_full_pool_evicts_and_finds_the_frames_again() {
    // Root, and three tables for one region: the second region must evict the first.
    let mut world = World::new(Size { tables: 5, ..SMALL });
    plain(
        &mut world,
        Config::plain(40),
        SlotConfig::plain(gfn(0), 1536, 0),
    );
    let mut places = Vec::new();
    for page in [0u64, 600, 1100, 1, 601, 1101, 0, 600, 1100] {
        for _ in 0..3 {
            done_fault(&mut world, page);
        }
        let place = world.mmu.translate(1, gpa(page << 12)).unwrap().unwrap();
        places.push((page, place.hpa));
    }
    let stats = world.mmu.stats(1).unwrap();
    assert!(stats.evictions >= 3, "{stats:?}");
    assert_eq!(world.mmu.shared_memory().used(), 6);
    assert_eq!(places[..3], places[6..], "a page keeps its frame");
    assert_eq!(world.teardown(1, 4), Ok(Next::Done));
    world.assert_empty();
}

#[test]
fn a_pool_with_nothing_to_evict_says_so() {
    let mut world = World::new(Size { tables: 3, ..SMALL });
    plain(
        &mut world,
        Config::plain(40),
        SlotConfig::plain(gfn(0), 16, 0),
    );
    let next = world.mmu.fault(1, gpa(0), Access::READ, None);
    assert_eq!(next, Err(Error::NoMemory(Resource::Tables)));
    assert_eq!(world.mmu.shared_memory().used(), 0);
    assert_eq!(world.mmu.tables().used(), 1);
}

#[test]
fn a_keyed_vm_needs_an_index() {
    let mut world = World::new(SMALL);
    let config = Config {
        finder: Finder::PackedKey,
        ..Config::plain(40)
    };
    assert_eq!(
        world.create(1, config),
        Err(Error::NoMemory(Resource::Keys))
    );
    let keys = Keys {
        packed: Some(index(SMALL, 64)),
        ..Keys::NONE
    };
    let mut world = World::with_keys(SMALL, keys);
    let other = Config {
        finder: Finder::RoleKey,
        ..config
    };
    assert_eq!(world.create(1, other), Err(Error::NoMemory(Resource::Keys)));
    plain(&mut world, config, SlotConfig::plain(gfn(0), 1024, 0));
    for page in [3, 600, 3] {
        done_fault(&mut world, page);
    }
    assert!(world.mmu.tables().keys().stats(Finder::PackedKey).hits > 0);
}
