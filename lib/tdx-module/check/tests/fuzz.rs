//! Arbitrary register files into the module, in arbitrary states.
//!
//! Random calls alone would seldom get far. So plans are made, too: calls that lead a TD through
//! its life, a page through its states, the module from power-on to shutdown. Random calls come
//! between the calls of a plan. Every enumerated leaf has to succeed often enough.
//!
//! `FUZZ_CALLS` and `FUZZ_SEED` set how many calls to make and where to start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::exit::reason;
use tdx_abi::field::{self, id};
use tdx_abi::{GuestLeaf, HostLeaf, Status, td};
use tdx_module::machine::Range;
use tdx_module::{GuestOutcome, Regs, VmExit, reg::*};
use tdx_module_check::{Bed, LPS, TD_PARAMS, TDMR, Ways, invariant};
use zerocopy::IntoBytes;

const CALLS: u64 = 10_000_000;
const THREADS: u64 = 4;
/// Successes of each enumerated leaf, at least, in as many calls as above.
const LEAST: u64 = 100;
/// Calls before the invariants are checked, and before a fresh machine is taken.
const CHECK_EVERY: u64 = 5_000;
const FRESH_EVERY: u64 = 5_000;
/// Host memory that calls get operands from.
const POOL: Range = Range {
    base: TDMR,
    size: 16 << 20,
};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

type Planned = (usize, HostLeaf, Vec<(usize, u64)>);

struct Fuzz {
    random: Random,
    bed: Bed,
    tds: Vec<u64>,
    vcpus: Vec<u64>,
    /// A block and pages for the plans of each TD.
    spare: Vec<(u64, [u64; 6])>,
    /// Calls that lead somewhere, in their order.
    plan: VecDeque<Planned>,
    /// Successful TDCALLs, by leaf number.
    guest_succeeded: BTreeMap<u16, u64>,
}

impl Fuzz {
    fn new(seed: u64, base: &Bed) -> Self {
        let mut bed = base.clone();
        bed.succeeded.clear();
        let mut random = Random(seed | 1);
        if random.one_in(8) {
            bed = from_power_on(&mut random);
        }
        let mut tds = Vec::new();
        let mut vcpus = Vec::new();
        for (i, attributes) in [0, td::attributes::DEBUG].into_iter().enumerate() {
            let tdr = bed.init_td(40 + i as u16, Ways { attributes });
            bed.tables_to(tdr, 0, 0);
            for gpa in 0..4u64 {
                let page = bed.page();
                let operands = [(RCX, gpa << 12), (RDX, tdr), (R8, page), (R9, 0x30_0000)];
                bed.must(0, HostLeaf::MemPageAdd, &operands);
            }
            for lp in 0..2 {
                vcpus.push(bed.new_vcpu(lp, tdr));
            }
            bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
            tds.push(tdr);
        }
        tds.push(bed.new_td(42));
        let spare = (0..2).map(|_| (bed.block(), [(); 6].map(|()| bed.page())));
        let spare = spare.collect();
        Self {
            spare,
            random,
            bed,
            tds,
            vcpus,
            plan: VecDeque::new(),
            guest_succeeded: BTreeMap::new(),
        }
    }

    fn page(&mut self) -> u64 {
        POOL.base + (self.random.below(POOL.size >> 12) << 12)
    }

    fn gpa(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.below(64) << 12,
            1 => self.random.below(4) << 21 | self.random.below(512) << 12,
            2 => self.random.below(4) << 21,
            _ => self.random.below(4) << (12 + 9 * self.random.below(5)),
        }
    }

    fn operand(&mut self) -> u64 {
        let r = self.random.below(16);
        match r {
            0..4 => self.random.of(&self.tds.clone()),
            4..6 => self.random.of(&self.vcpus.clone()),
            6..8 => self.page(),
            8..11 => self.gpa() | self.random.below(4),
            11 => self.random.below(64),
            12 => POOL.base + (self.random.below(POOL.size >> 21) << 21),
            13 => self
                .random
                .of(&[0x20_0000, 0x20_1000, 0x20_4000, 0x30_0000, u64::MAX, 0]),
            // A wrong bit, but not one that makes it a page outside of the pool.
            14 => match self.random.below(64) {
                24..30 => self.page() | 1,
                bit => self.page() | 1 << bit,
            },
            _ => self.random.next(),
        }
    }

    fn seamcall(&mut self, lp: usize, given: Regs) -> bool {
        match self.bed.seamcall(lp, given) {
            Ok(regs) => Status(regs[RAX]).is_success(),
            Err(_) => true,
        }
    }

    fn call(&mut self, lp: usize, leaf: HostLeaf, operands: &[(usize, u64)]) -> bool {
        let mut regs = Regs::default();
        regs[RAX] = u64::from(leaf.number());
        for &(register, value) in operands {
            regs[register] = value;
        }
        self.seamcall(lp, regs)
    }

    fn host(&mut self, lp: usize) {
        let leaf = if self.random.one_in(32) {
            self.random.below(100)
        } else {
            u64::from(self.random.of(HostLeaf::ALL).number())
        };
        // These end a TD, or everything: not too soon.
        let ends = [
            HostLeaf::SysShutdown,
            HostLeaf::MngVpflushdone,
            HostLeaf::MngKeyFreeid,
        ];
        let ends = ends.iter().any(|l| u64::from(l.number()) == leaf);
        if ends && !self.random.one_in(50) {
            return;
        }
        let mut regs = Regs::default();
        regs[RAX] = leaf;
        if self.random.one_in(8) {
            regs[RAX] |= self.random.below(3) << 16;
        }
        if self.random.one_in(200) {
            regs[RAX] = self.random.next();
        }
        for r in [RCX, RDX, R8, R9] {
            regs[r] = self.operand();
        }
        if self.random.one_in(16) {
            for r in (RCX..=R15).filter(|&r| r != RSP) {
                regs[r] = self.operand();
            }
        }
        self.seamcall(lp, regs);
    }

    /// Calls that mean something more often.
    fn plausible(&mut self, lp: usize) {
        use HostLeaf as L;
        // Mostly those that were complete from the start.
        let most = !self.random.one_in(4);
        let (tds, vcpus) = (self.tds.len(), self.vcpus.len());
        let tdr = self.tds[self.random.below(if most { 2 } else { tds as u64 }) as usize];
        let vcpu = self.vcpus[self.random.below(if most { 4 } else { vcpus as u64 }) as usize];
        let level = self.random.below(8) / 6;
        let gpa = self.gpa() >> (12 + 9 * level) << (12 + 9 * level) | level;
        let page = match level {
            0 => self.page(),
            _ => POOL.base + (self.random.below(POOL.size >> 21) << 21),
        };
        let at = [(RCX, gpa), (RDX, tdr)];
        let with = [(RCX, gpa), (RDX, tdr), (R8, page), (R9, 0x30_0000)];
        let (leaf, operands): (L, &[(usize, u64)]) = match self.random.below(30) {
            0 => (L::MemPageAug, &with),
            1 => (L::MemRangeBlock, &at),
            2 => (L::MemTrack, &[(RCX, tdr)]),
            3 => (L::MemPageRemove, &at),
            4 => (L::MemRangeUnblock, &at),
            5 => (L::MemPageRelocate, &with),
            6 => {
                let operands = [(RCX, gpa & !0xfff | 1), (RDX, tdr), (R8, self.page())];
                self.call(lp, L::MemPageDemote, &operands);
                return;
            }
            7 => (L::MemPagePromote, &[(RCX, gpa & !0xfff | 1), (RDX, tdr)]),
            8 => {
                let l = 1 + self.random.below(3);
                let size = 12 + 9 * l;
                let operands = [
                    (RCX, gpa >> size << size | l),
                    (RDX, tdr),
                    (R8, self.page()),
                ];
                self.call(lp, L::MemSeptAdd, &operands);
                return;
            }
            9 => (L::MemSeptRemove, &[(RCX, gpa & !0xfff | 1), (RDX, tdr)]),
            10..13 => (L::VpEnter, &[(RCX, vcpu)]),
            13 => (L::VpFlush, &[(RCX, vcpu)]),
            14 => (L::MemPageAug, &with),
            15 if self.random.one_in(100) => (L::MngVpflushdone, &[(RCX, tdr)]),
            16 => (L::PhymemCacheWb, &[(RCX, 0)]),
            17 => (L::PhymemPageReclaim, &[(RCX, page)]),
            18 => {
                let key_id = 33 + self.random.below(31);
                if self.call(lp, L::MngCreate, &[(RCX, page), (RDX, key_id)]) {
                    self.tds.push(page);
                }
                return;
            }
            19 => {
                if self.call(lp, L::VpCreate, &[(RCX, page), (RDX, tdr)]) {
                    self.vcpus.push(page);
                }
                return;
            }
            20 => (L::VpAddcx, &[(RCX, page), (RDX, vcpu)]),
            21 => (L::VpInit, &[(RCX, vcpu)]),
            22 => (L::MngAddcx, &[(RCX, page), (RDX, tdr)]),
            23 => (L::MngKeyConfig, &[(RCX, tdr)]),
            24 => (L::MngInit, &[(RCX, tdr), (RDX, TD_PARAMS)]),
            25 => (L::MemPageAdd, &with),
            26 => (L::MrExtend, &at),
            27 if self.random.one_in(10) => (L::MrFinalize, &[(RCX, tdr)]),
            _ => (L::MemSeptRd, &at),
        };
        if leaf == L::VpEnter && self.random.one_in(2) {
            self.call(lp, L::VpFlush, operands);
        }
        self.call(lp, leaf, operands);
    }

    fn guest(&mut self, lp: usize) {
        if self.random.one_in(4) {
            let _ = self.bed.leave(lp);
            return;
        }
        if self.random.one_in(4) {
            let exit = VmExit {
                reason: self.random.below(80) as u32,
                qualification: self.random.below(1 << 12),
                gpa: self.gpa() | if self.random.one_in(4) { 1 << 47 } else { 0 },
                ..VmExit::default()
            };
            let _ = self.bed.exit(lp, exit);
            return;
        }
        if self.random.one_in(2) {
            return self.plausible_guest(lp);
        }
        let mut gprs = [0; 16];
        for gpr in &mut gprs {
            *gpr = self.operand();
        }
        let leaf = self.random.of(GuestLeaf::ALL);
        gprs[RAX] = u64::from(leaf.number()) | if self.random.one_in(16) { 1 << 16 } else { 0 };
        if leaf == GuestLeaf::MemPageAccept || self.random.one_in(4) {
            let level = self.random.below(2);
            gprs[RCX] = self.gpa() >> (12 + 9 * level) << (12 + 9 * level) | level;
        }
        let _ = self.bed.tdcall_with(lp, gprs);
    }

    fn tdcall(&mut self, lp: usize, leaf: GuestLeaf, operands: &[(usize, u64)]) {
        let (outcome, status) = self.bed.tdcall(lp, leaf, operands);
        let good = match outcome {
            Some(GuestOutcome::Resume) => status.is_success(),
            Some(GuestOutcome::ExitToHost { .. }) => leaf == GuestLeaf::VpVmcall,
            _ => false,
        };
        *self.guest_succeeded.entry(leaf.number()).or_default() += u64::from(good);
    }

    /// TDCALLs that mean something more often.
    fn plausible_guest(&mut self, lp: usize) {
        use GuestLeaf as L;
        let page = self.random.below(4) << 12;
        let written = field::TD.iter().chain(field::VP);
        let written: Vec<_> = written.filter(|f| f.guest_write != 0).collect();
        let (field, mask) = match self.random.of(&written) {
            f if self.random.one_in(2) => (f.id.0, f.guest_write),
            f => (f.id.0 + self.random.below(4), self.random.next()),
        };
        let value = self.random.below(2);
        let leaf = self.random.of(GuestLeaf::ALL);
        let operands: &[(usize, u64)] = match leaf {
            L::MrRtmrExtend => &[(RCX, page), (RDX, 2 + value)],
            L::MrReport => &[(RCX, page), (RDX, page | 0x400)],
            L::MrVerifyreport => {
                self.tdcall(lp, L::MrReport, &[(RCX, page), (RDX, page | 0x400)]);
                &[(RCX, page)]
            }
            L::VpVeinfoGet => {
                let exit = VmExit {
                    reason: reason::HLT_INSTRUCTION,
                    instruction_length: 1,
                    ..VmExit::default()
                };
                let _ = self.bed.exit(lp, exit);
                &[]
            }
            L::VpCpuidveSet => &[(RCX, value)],
            L::MemPageAccept => &[(RCX, PLAN_PENDING)],
            L::VmRd | L::VpRd => &[(RDX, field)],
            L::VmWr | L::VpWr => &[(RDX, field), (R8, value), (R9, mask)],
            L::SysRd => &[(RDX, GUEST_SYS_FIELD)],
            L::SysRdall => &[(RDX, page), (R8, u64::MAX)],
            L::MemPageAttrRd | L::MemPageAttrWr => &[(RCX, page)],
            _ => &[],
        };
        self.tdcall(lp, leaf, operands);
    }

    /// A TD's way from its creation to its first entry.
    fn plan_birth(&mut self) {
        use HostLeaf as L;
        let mut page = || self.bed.page();
        let (tdr, vcpu) = (page(), page());
        let mut plan: Vec<Planned> = vec![
            (0, L::MngCreate, vec![(RCX, tdr), (RDX, 43)]),
            (0, L::MngKeyConfig, vec![(RCX, tdr)]),
            (2, L::MngKeyConfig, vec![(RCX, tdr)]),
        ];
        for _ in 0..td::MIN_TDCS_PAGES {
            plan.push((0, L::MngAddcx, vec![(RCX, page()), (RDX, tdr)]));
        }
        plan.push((0, L::MngInit, vec![(RCX, tdr), (RDX, TD_PARAMS)]));
        plan.push((1, L::VpCreate, vec![(RCX, vcpu), (RDX, tdr)]));
        for _ in 0..5 {
            plan.push((1, L::VpAddcx, vec![(RCX, page()), (RDX, vcpu)]));
        }
        plan.push((1, L::VpInit, vec![(RCX, vcpu)]));
        for level in [3, 2, 1] {
            let operands = vec![(RCX, level), (RDX, tdr), (R8, page())];
            plan.push((0, L::MemSeptAdd, operands));
        }
        let source = (R9, 0x30_0000);
        let operands = vec![(RCX, 0), (RDX, tdr), (R8, page()), source];
        plan.push((0, L::MemPageAdd, operands));
        plan.push((0, L::MrExtend, vec![(RCX, 0), (RDX, tdr)]));
        plan.push((0, L::MrFinalize, vec![(RCX, tdr)]));
        plan.push((1, L::VpEnter, vec![(RCX, vcpu)]));
        self.plan.extend(plan);
        self.tds.push(tdr);
        self.vcpus.push(vcpu);
    }

    /// Pages' and tables' way through all states of their entries.
    fn plan_pages(&mut self, td: usize) {
        use HostLeaf as L;
        const LARGE: u64 = 5 << 21 | 1;
        const SMALL: u64 = 9 << 12;
        const TABLE: u64 = 6 << 21 | 1;
        let (tdr, (large, spare)) = (self.tds[td], self.spare[td]);
        let with = |leaf, gpa, page| (0, leaf, vec![(RCX, gpa), (RDX, tdr), (R8, page)]);
        let at = |leaf, gpa| (0, leaf, vec![(RCX, gpa), (RDX, tdr)]);
        let blocked = |gpa| {
            let track = (0, L::MemTrack, vec![(RCX, tdr)]);
            [at(L::MemRangeBlock, gpa), track]
        };
        let plan = &mut self.plan;
        plan.push_back(with(L::MemPageAug, LARGE, large));
        plan.extend(blocked(LARGE));
        plan.push_back(with(L::MemPageDemote, LARGE, spare[0]));
        plan.extend(blocked(LARGE));
        plan.push_back(at(L::MemPagePromote, LARGE));
        plan.extend(blocked(LARGE));
        plan.push_back(at(L::MemRangeUnblock, LARGE));
        plan.extend(blocked(LARGE));
        plan.push_back(at(L::MemPageRemove, LARGE));
        plan.push_back(with(L::MemPageAug, SMALL, spare[1]));
        plan.extend(blocked(SMALL));
        plan.push_back(with(L::MemPageRelocate, SMALL, spare[2]));
        plan.push_back(with(L::MemSeptAdd, TABLE, spare[3]));
        plan.extend(blocked(TABLE));
        plan.push_back(at(L::MemSeptRemove, TABLE));
        plan.push_back(with(L::MemPageAug, PLAN_PENDING, spare[4]));
        for leaf in [L::MemRd, L::MemWr, L::MemSeptRd] {
            plan.push_back(with(leaf, 0, 1));
        }
    }

    /// Leaves that only tell or set.
    fn plan_fields(&mut self, tdr: u64, vcpu: u64) {
        use HostLeaf as L;
        let debug = |table: &'static [field::Field]| {
            let fields = table.iter().filter(|f| f.debug_write != 0);
            fields.map(|f| (f.id.0, f.debug_write)).collect::<Vec<_>>()
        };
        let (td, mask) = self.random.of(&debug(field::TD));
        let of_td = vec![(RCX, tdr), (RDX, td), (R8, 1 << 17), (R9, mask)];
        let (vp, mask) = self.random.of(&debug(field::VP));
        let of_vcpu = vec![(RCX, vcpu), (RDX, vp), (R9, mask)];
        let info = vec![(RCX, 0x20_2000), (RDX, 1024), (R8, 0x20_5000), (R9, 32)];
        self.plan.extend([
            (0, L::MngRd, of_td.clone()),
            (0, L::MngWr, of_td),
            (0, L::VpRd, of_vcpu.clone()),
            (0, L::VpWr, of_vcpu),
            (0, L::VpFlush, vec![(RCX, vcpu)]),
            (0, L::SysRd, vec![(RDX, id::SYS_MAX_TDMRS.0)]),
            (0, L::SysRdall, vec![(RDX, 0x20_1000), (R8, u64::MAX)]),
            (0, L::SysInfo, info),
            (0, L::PhymemPageWbinvd, vec![(RCX, POOL.base)]),
        ]);
    }

    /// The end of a TD, to the last of its pages.
    fn plan_death(&mut self, tdr: u64) {
        use HostLeaf as L;
        let everywhere = (0..LPS - 1).flat_map(|lp| self.vcpus.iter().map(move |&v| (lp, v)));
        let flushes = everywhere.map(|(lp, vcpu)| (lp, L::VpFlush, vec![(RCX, vcpu)]));
        self.plan.extend(flushes);
        self.plan
            .push_back((0, L::MngVpflushdone, vec![(RCX, tdr)]));
        for lp in [0, 2, 0, 2] {
            self.plan.push_back((lp, L::PhymemCacheWb, vec![(RCX, 0)]));
        }
        self.plan.push_back((0, L::MngKeyFreeid, vec![(RCX, tdr)]));
        let pages = invariant::pages(&mut self.bed, LPS - 1, POOL.size);
        let children = pages.iter().filter(|(_, meta)| meta.owner == tdr);
        let pages = children.map(|(&at, _)| at).filter(|&at| at != tdr);
        let reclaim = |at| (0, L::PhymemPageReclaim, vec![(RCX, at)]);
        self.plan.extend(pages.chain([tdr]).map(reclaim));
    }

    fn make_plans(&mut self, i: u64) {
        match i {
            500 => self.plan_birth(),
            // Soon, while there are 2 MiB that no random call took a page from; and later.
            1 | 60 | 1_500 | 2_500 => {
                let td = usize::from(i == 60 || i == 2_500);
                self.plan_pages(td);
                self.plan_fields(self.tds[td], self.vcpus[2 * td]);
            }
            3_000 if !self.is_shut_down() => {
                let tdr = self.random.of(&self.tds.clone());
                self.plan_death(tdr);
            }
            4_900 if self.random.one_in(8) => {
                let all = (0..LPS).map(|lp| (lp, HostLeaf::SysLpShutdown, Vec::new()));
                self.plan.extend(all);
                self.plan.push_back((0, HostLeaf::SysShutdown, Vec::new()));
            }
            _ => {}
        }
    }

    fn step(&mut self) {
        if !self.random.one_in(3)
            && let Some((lp, leaf, operands)) = self.plan.pop_front()
        {
            let shutdown = leaf == HostLeaf::SysShutdown;
            for lp in 0..LPS {
                let vcpu_is_in_the_way = shutdown || leaf == HostLeaf::MemTrack;
                if vcpu_is_in_the_way || self.bed.module.inside(lp).is_some() {
                    let _ = self.bed.leave(lp);
                }
            }
            self.call(lp, leaf, &operands);
            return;
        }
        // The last LP never enters: it is there to look.
        let lp = self.random.below(LPS as u64 - 1) as usize;
        if self.bed.module.inside(lp).is_some() {
            return self.guest(lp);
        }
        if self.random.one_in(64) {
            let params = Bed::params(Ways::default());
            self.bed
                .memory
                .write_bytes(Hpa::new(TD_PARAMS), params.as_bytes());
            if self.random.one_in(2) {
                let at = Hpa::new(TD_PARAMS + self.random.below(1024));
                self.bed.memory.write_u8(at, self.random.next() as u8);
            }
        }
        if self.random.one_in(2) {
            self.plausible(lp);
        } else {
            self.host(lp);
        }
    }
}

/// TDX_FEATURES0, which a guest may read.
const GUEST_SYS_FIELD: u64 = 0x0a00_0003_0000_0008;

/// Where plans leave a page that waits to be accepted.
const PLAN_PENDING: u64 = 10 << 12;

/// From power-on to ready, with calls before that come too early.
fn from_power_on(random: &mut Random) -> Bed {
    let mut bed = Bed::new();
    for _ in 0..100 {
        let leaf = random.of(HostLeaf::ALL);
        if !leaf.name().starts_with("TDH.SYS.") {
            bed.call(0, leaf, &[(RCX, random.next()), (RDX, random.next())]);
        }
    }
    bed.configure();
    bed
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

#[test]
fn no_call_breaks_the_invariants() {
    let (calls, seed) = (setting("FUZZ_CALLS", CALLS), setting("FUZZ_SEED", 1));
    let (taken, made) = (AtomicU64::new(0), AtomicU64::new(0));
    let all = Mutex::new((BTreeMap::new(), BTreeMap::new()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (taken, made, all) = (&taken, &made, &all);
            scope.spawn(move || {
                let base = Bed::ready();
                let mut round = 0;
                while taken.fetch_add(FRESH_EVERY, Relaxed) < calls {
                    round += 1;
                    let seed = (seed * THREADS + thread) << 32 | round;
                    let mut fuzz = Fuzz::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), &base);
                    for i in 1..=FRESH_EVERY {
                        fuzz.make_plans(i);
                        fuzz.step();
                        if i % CHECK_EVERY == 0 && !fuzz.is_shut_down() {
                            invariant::check(&mut fuzz.bed, LPS - 1, POOL.size);
                        }
                    }
                    made.fetch_add(FRESH_EVERY, Relaxed);
                    let (host, guest) = &mut *all.lock().expect("no thread failed");
                    add(host, &fuzz.bed.succeeded);
                    add(guest, &fuzz.guest_succeeded);
                }
            });
        }
    });
    let made = made.into_inner();
    println!("{made} calls");
    let (host, guest) = all.into_inner().expect("no thread failed");
    let host = HostLeaf::ALL.iter().map(|l| (l.name(), l.number(), &host));
    let guest = GuestLeaf::ALL
        .iter()
        .map(|l| (l.name(), l.number(), &guest));
    let mut seldom = Vec::new();
    for (name, number, counts) in host.chain(guest) {
        let count = counts.get(&number).copied().unwrap_or(0);
        println!("{name:28} {count:>9} succeeded");
        let never = NEVER.iter().any(|start| name.starts_with(start));
        assert!(!never || count == 0, "{name} is not enumerated");
        if !never && made >= CALLS && count < LEAST {
            seldom.push(name);
        }
    }
    assert!(seldom.is_empty(), "too seldom: {seldom:?}");
}

/// Leaves of features that are not enumerated; and there is no older module to update from.
const NEVER: [&str; 9] = [
    "TDH.EXPORT.",
    "TDH.IMPORT.",
    "TDH.MIG.",
    "TDH.SERVTD.",
    "TDH.SYS.UPDATE",
    "TDG.SERVTD.",
    "TDG.VP.ENTER",
    "TDG.VP.INVEPT",
    "TDG.VP.INVVPID",
];

fn add(sum: &mut BTreeMap<u16, u64>, more: &BTreeMap<u16, u64>) {
    for (&leaf, count) in more {
        *sum.entry(leaf).or_default() += count;
    }
}

impl Fuzz {
    fn is_shut_down(&self) -> bool {
        self.bed.module.sys_state() == tdx_module::SysState::Shutdown
    }
}
