//! The TLB tracking protocol, explored exhaustively: AUG, ACCEPT, BLOCK, UNBLOCK, TRACK, ENTER,
//! REMOVE, RELOCATE, DEMOTE, PROMOTE with 2 vCPUs, 2 pages, 2 levels and a second TD.
//!
//! The module itself is explored, not a model of it. Around it there is a model of the TLBs: a
//! vCPU inside may at any time cache what the Secure EPT says; it drops that only if an entry
//! asks for it.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use gpa::Hpa;
use memory::PhysMemory;
use stateright::{Checker, Model, Property};
use tdx_abi::{GuestLeaf, HostLeaf, PageType, sept};
use tdx_module::{Step, reg::*};
use tdx_module_check::{Bed, Ways};

/// LPs: of the vCPUs, and of the host.
const HOST: usize = 3;
/// Guest memory: a 4 KiB page in a region with a table, and a region without.
const SMALL: u64 = 0x1000;
const LARGE: u64 = 4 << 21;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Aug(u8),
    AugOther(u8),
    AugLarge,
    Accept(u8, bool),
    Block(bool),
    Unblock(bool),
    Track,
    Enter(u8),
    Leave(u8),
    Access(u8, bool),
    Remove(bool),
    Relocate(u8),
    Demote,
    Promote,
}

/// A cached translation: guest page, host page, level.
type Cached = (u64, u64, u64);

/// A state: the way to it, the module in it, and what of it matters.
#[derive(Clone)]
struct State {
    path: Vec<Action>,
    play: Arc<Mutex<Play>>,
    tlbs: [Vec<Cached>; 2],
    /// What the module's memory holds of the pages in question, epochs as seen from TD_EPOCH: so
    /// there are finitely many states however often TDH.MEM.TRACK is done.
    words: Vec<u64>,
    broken: Option<&'static str>,
    /// The epochs' counts are not those of the vCPUs inside.
    miscounted: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.path)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (&self.tlbs, &self.words, self.broken) == (&other.tlbs, &other.words, other.broken)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.tlbs, &self.words, self.broken).hash(state);
    }
}

/// The module and the pages it plays with.
#[derive(Clone)]
struct Play {
    bed: Bed,
    tdr: u64,
    other: u64,
    vcpus: [u64; 2],
    pages: [u64; 2],
    block: u64,
    table: u64,
    /// The level 1 table of both regions.
    directory: u64,
    small_table: u64,
    other_table: u64,
}

impl Play {
    fn new(off: Option<Step>) -> Self {
        let mut bed = Bed::ready();
        let tdr = bed.init_td(40, Ways::default());
        let other = bed.init_td(41, Ways::default());
        let mut directory = 0;
        let mut tables = [0; 2];
        for (i, td) in [tdr, other].into_iter().enumerate() {
            for level in [3u64, 2, 1] {
                let page = bed.page();
                bed.must(
                    0,
                    HostLeaf::MemSeptAdd,
                    &[(RCX, level), (RDX, td), (R8, page)],
                );
                if level == 2 && i == 0 {
                    directory = page;
                }
                if level == 1 {
                    tables[i] = page;
                }
            }
        }
        let vcpus = [0, 1].map(|lp| bed.new_vcpu(lp, tdr));
        bed.new_vcpu(2, other);
        for td in [tdr, other] {
            bed.must(0, HostLeaf::MrFinalize, &[(RCX, td)]);
        }
        let pages = [bed.page(), bed.page()];
        let table = bed.page();
        let block = bed.block();
        if let Some(step) = off {
            Arc::make_mut(&mut bed.module).switch_off(step);
        }
        Self {
            bed,
            tdr,
            other,
            vcpus,
            pages,
            block,
            table,
            directory,
            small_table: tables[0],
            other_table: tables[1],
        }
    }

    fn word(&self, at: u64) -> u64 {
        self.bed.memory.read_u64(Hpa::new(at))
    }

    /// The Secure EPT leaf that maps a region: host page and level, and whether for access.
    fn leaf(&self, large: bool) -> Option<(u64, u64, bool)> {
        let hpa = |entry: u64| entry & sept::HPA_MASK & !self.bed.module.key_id_mask();
        let of = |entry: u64, level: u64| {
            let state = sept::State::of(entry)?;
            let there = state.is_leaf() && !state.is_free_or_removed();
            there.then(|| (hpa(entry), level, entry & sept::bit::R != 0))
        };
        if !large {
            return of(self.word(self.small_table + 8), 0);
        }
        let entry = self.word(self.directory + 8 * (LARGE >> 21));
        if sept::State::of(entry)?.is_leaf() {
            return of(entry, 1);
        }
        // Split: its first page. The table must be reachable for access.
        let (page, level, readable) = of(self.word(hpa(entry)), 0)?;
        Some((page, level, readable && entry & sept::bit::R != 0))
    }

    fn page_type(&mut self, page: u64) -> (u64, u64, u64) {
        let (_, r) = self
            .bed
            .call(HOST, HostLeaf::PhymemPageRdmd, &[(RCX, page)]);
        (r[RCX], r[RDX], r[R8])
    }

    fn words(&mut self) -> Vec<u64> {
        let tdcs = self.tdr + 4096;
        let epoch = self.word(tdcs + 0x200);
        let count = |epoch: u64| self.word(tdcs + 0x208) >> (16 * (epoch & 1)) & 0xffff;
        // What is long ago is all the same, but for which count it is in.
        let ago = |then: u64| match epoch.wrapping_sub(then) {
            n @ 0..=3 => n,
            n => 2 + (n & 1),
        };
        let mut words = vec![
            count(epoch),
            count(epoch + 1),
            self.word(self.small_table + 8),
            self.word(self.other_table + 8),
            self.word(self.directory + 8 * (LARGE >> 21)),
        ];
        let entry = self.word(self.directory + 8 * (LARGE >> 21));
        if sept::State::of(entry).is_some_and(|s| !s.is_leaf()) {
            let table = entry & sept::HPA_MASK & !self.bed.module.key_id_mask();
            words.extend([self.word(table), self.word(table + 8)]);
        }
        for lp in 0..2 {
            let inside = self.bed.module.inside(lp).is_some();
            let entered = ago(self.word(self.vcpus[lp] + 0x1d0));
            words.push(if inside { entered } else { entered.min(1) });
            words.push(u64::from(inside));
            words.push(self.word(self.vcpus[lp] + 0x1c8) & 0xffff_ffff);
        }
        for page in [self.pages[0], self.pages[1], self.block, self.table] {
            let (_, r) = self
                .bed
                .call(HOST, HostLeaf::PhymemPageRdmd, &[(RCX, page)]);
            words.extend([r[RCX], r[RDX], r[R8], ago(r[R9]).min(2)]);
        }
        words
    }

    /// Does it; `false` where it is refused.
    fn act(&mut self, action: Action, tlbs: &mut [Vec<Cached>; 2]) -> bool {
        use HostLeaf as L;
        let at = |large: bool| if large { LARGE | 1 } else { SMALL };
        let tdr = self.tdr;
        let mut host =
            |leaf, operands: &[(usize, u64)]| self.bed.call(HOST, leaf, operands).0.is_success();
        match action {
            Action::Aug(p) => {
                let page = self.pages[usize::from(p)];
                host(L::MemPageAug, &[(RCX, SMALL), (RDX, tdr), (R8, page)])
            }
            Action::AugOther(p) => {
                let page = self.pages[usize::from(p)];
                host(
                    L::MemPageAug,
                    &[(RCX, SMALL), (RDX, self.other), (R8, page)],
                )
            }
            Action::AugLarge => host(
                L::MemPageAug,
                &[(RCX, LARGE | 1), (RDX, tdr), (R8, self.block)],
            ),
            Action::Block(large) => host(L::MemRangeBlock, &[(RCX, at(large)), (RDX, tdr)]),
            Action::Unblock(large) => host(L::MemRangeUnblock, &[(RCX, at(large)), (RDX, tdr)]),
            Action::Track => host(L::MemTrack, &[(RCX, tdr)]),
            Action::Remove(large) => host(L::MemPageRemove, &[(RCX, at(large)), (RDX, tdr)]),
            Action::Relocate(p) => {
                let page = self.pages[usize::from(p)];
                host(L::MemPageRelocate, &[(RCX, SMALL), (RDX, tdr), (R8, page)])
            }
            Action::Demote => {
                let operands = [(RCX, LARGE | 1), (RDX, tdr), (R8, self.table)];
                host(L::MemPageDemote, &operands)
            }
            Action::Promote => host(L::MemPagePromote, &[(RCX, LARGE | 1), (RDX, tdr)]),
            Action::Accept(v, large) => {
                let operands = [(RCX, at(large))];
                let leaf = GuestLeaf::MemPageAccept;
                let (outcome, status) = self.bed.tdcall(usize::from(v), leaf, &operands);
                outcome == Some(tdx_module::GuestOutcome::Resume) && status.is_success()
            }
            Action::Enter(v) => {
                let lp = usize::from(v);
                match self.bed.enter(lp, self.vcpus[lp]) {
                    Ok(entry) => {
                        if entry.flush_tlb {
                            tlbs[lp].clear();
                        }
                        true
                    }
                    Err(_) => false,
                }
            }
            Action::Leave(v) => self.bed.leave(usize::from(v)).is_some(),
            Action::Access(v, large) => {
                let tlb = &mut tlbs[usize::from(v)];
                match self.leaf(large) {
                    Some((page, level, true)) => {
                        let cached = (u64::from(large), page, level);
                        let new = !tlb.contains(&cached);
                        if new {
                            tlb.push(cached);
                            tlb.sort_unstable();
                        }
                        new
                    }
                    _ => false,
                }
            }
        }
    }

    /// Whether an epoch's count is not that of the vCPUs that entered in it and are inside.
    fn miscounted(&self) -> bool {
        let tdcs = self.tdr + 4096;
        let epoch = self.word(tdcs + 0x200);
        [epoch, epoch - 1].into_iter().any(|e| {
            let inside = (0..2).filter(|&lp| {
                let entered = self.word(self.vcpus[lp] + 0x1d0);
                self.bed.module.inside(lp).is_some() && entered == e
            });
            let count = self.word(tdcs + 0x208) >> (16 * (e & 1)) & 0xffff;
            count != inside.count() as u64
        })
    }

    /// What must hold.
    fn broken(&mut self, tlbs: &[Vec<Cached>; 2]) -> Option<&'static str> {
        let reg = PageType::Reg as u64;
        for (lp, tlb) in tlbs.iter().enumerate() {
            if self.bed.module.inside(lp).is_none() {
                continue;
            }
            for &(large, page, level) in tlb {
                let (page_type, owner, size) = self.page_type(page);
                if page_type != reg || owner != self.tdr || size != level {
                    return Some("a vCPU can use a page that is gone or has another size");
                }
                let mapped = self.leaf(large != 0);
                if mapped.map(|(p, l, _)| (p, l)) != Some((page, level)) {
                    return Some("a vCPU can use a stale translation");
                }
            }
        }
        let mask = sept::HPA_MASK & !self.bed.module.key_id_mask();
        let hpa = |entry: u64| entry & mask;
        let there = |entry: u64| sept::State::of(entry).is_some_and(|s| !s.is_free_or_removed());
        let (one, two) = (
            self.word(self.small_table + 8),
            self.word(self.other_table + 8),
        );
        if there(one) && there(two) && hpa(one) == hpa(two) {
            return Some("a page is in two TDs");
        }
        for (entry, tdr) in [(one, self.tdr), (two, self.other)] {
            if there(entry) && self.page_type(hpa(entry)) != (reg, tdr, 0) {
                return Some("a page that is mapped is not the TD's");
            }
        }
        for page in self.pages {
            let (page_type, owner, _) = self.page_type(page);
            let entry = if owner == self.tdr { one } else { two };
            let mapped = there(entry) && hpa(entry) == page;
            if page_type == reg && !mapped {
                return Some("a page of the TD is mapped nowhere");
            }
        }
        None
    }
}

struct Protocol {
    start: Arc<Mutex<Play>>,
    /// The 2 MiB page, not the 4 KiB ones.
    large: bool,
}

/// The module as it is in a state.
fn copy(play: &Mutex<Play>) -> Play {
    let play = play.lock().unwrap_or_else(PoisonError::into_inner);
    play.clone()
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            path: Vec::new(),
            words: copy(&self.start).words(),
            play: self.start.clone(),
            tlbs: [Vec::new(), Vec::new()],
            broken: None,
            miscounted: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        let large = self.large;
        // The other vCPU accepting, or the other page given to the other TD, would be the same.
        actions.extend([
            Action::Accept(0, large),
            Action::Block(large),
            Action::Unblock(large),
            Action::Remove(large),
        ]);
        for i in 0..2 {
            actions.extend([Action::Enter(i), Action::Leave(i), Action::Access(i, large)]);
        }
        if large {
            actions.extend([Action::AugLarge, Action::Demote, Action::Promote]);
        } else {
            actions.extend([0, 1].map(Action::Aug));
            actions.extend([0, 1].map(Action::Relocate));
            actions.push(Action::AugOther(0));
        }
        actions.push(Action::Track);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut play = copy(&last.play);
        let mut tlbs = last.tlbs.clone();
        let inside = |v: u8| play.bed.module.inside(usize::from(v)).is_some();
        match action {
            Action::Enter(v) if inside(v) => return None,
            Action::Access(v, _) | Action::Accept(v, _) | Action::Leave(v) if !inside(v) => {
                return None;
            }
            _ => {}
        }
        if !play.act(action, &mut tlbs) {
            return None;
        }
        let mut path = last.path.clone();
        path.push(action);
        Some(State {
            path,
            words: play.words(),
            broken: play.broken(&tlbs),
            miscounted: play.miscounted(),
            play: Arc::new(Mutex::new(play)),
            tlbs,
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("sound", |_, state: &State| state.broken.is_none()),
            Property::always("counted", |_, state: &State| !state.miscounted),
        ]
    }
}

/// Explores these levels (`true`: 2 MiB) to the end: the states there are, and what breaks.
fn explore(off: Option<Step>, levels: &[bool]) -> (usize, Option<String>) {
    let mut states = 0;
    for &large in levels {
        let start = Arc::new(Mutex::new(Play::new(off)));
        let checker = Protocol { start, large }.checker().threads(2);
        let checker = checker.spawn_bfs().join();
        states += checker.unique_state_count();
        if let Some(path) = checker.discovery("sound") {
            let state = path.last_state();
            let what = state.broken.unwrap_or("?");
            return (states, Some(format!("{what} after {:?}", state.path)));
        }
        if let Some(path) = checker.discovery("counted") {
            let path = &path.last_state().path;
            let what = "an epoch's count is wrong";
            return (states, Some(format!("{what} after {path:?}")));
        }
    }
    (states, None)
}

/// All states there are, whatever the host and the vCPUs do and however often.
#[test]
fn the_protocol_is_sound() {
    let (states, found) = explore(None, &[false, true]);
    println!("{states} states, which are all");
    assert_eq!(found, None);
    assert!(states > 1_000, "only {states} states");
}

/// Steps of the protocol switched off one by one: each must be missed.
#[test]
fn a_missing_step_is_found() {
    use Step::*;
    let steps = [
        (Blocked, false),
        (Tracked, false),
        (PreviousEpochLeft, false),
        (TrackWaits, false),
        (EntryCounts, false),
        (EntryFlushes, false),
        (EntryNotesEpoch, false),
        (ExitCounts, false),
        (BlockNotesEpoch, false),
        (BlockRevokes, false),
        (PageFree, false),
        (EntryFree, false),
        (DemoteTracked, true),
        (PromoteTracked, true),
        (RelocateTracked, false),
    ];
    let mut missed = Vec::new();
    for (step, large) in steps {
        let (states, found) = explore(Some(step), &[large]);
        match found {
            Some(how) => println!("{step:?}: {how} ({states} states)"),
            None => missed.push((step, states)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
