//! Arbitrary register files into the module, in arbitrary states.
//!
//! `FUZZ_CALLS` and `FUZZ_SEED` set how many calls to make and where to start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{GuestLeaf, HostLeaf, Status, td};
use tdx_module::machine::Range;
use tdx_module::{Regs, VmExit, reg::*};
use tdx_module_check::{Bed, LPS, TD_PARAMS, TDMR, Ways, invariant};
use zerocopy::IntoBytes;

const CALLS: u64 = 10_000_000;
const THREADS: u64 = 4;
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

struct Fuzz {
    random: Random,
    bed: Bed,
    tds: Vec<u64>,
    vcpus: Vec<u64>,
    /// Successful calls by leaf.
    succeeded: Vec<u64>,
}

impl Fuzz {
    fn new(seed: u64, base: &Bed) -> Self {
        let mut bed = base.clone();
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
        Self {
            random: Random(seed | 1),
            bed,
            tds,
            vcpus,
            succeeded: vec![0; HostLeaf::ALL.len()],
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
        let good = match self.bed.seamcall(lp, given) {
            Ok(regs) => Status(regs[RAX]).is_success(),
            Err(_) => true,
        };
        let leaf = HostLeaf::from_number(given[RAX] as u16);
        if let Some(i) = HostLeaf::ALL.iter().position(|&l| Some(l) == leaf) {
            self.succeeded[i] += u64::from(good);
        }
        good
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

    fn step(&mut self) {
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
    let succeeded: Vec<AtomicU64> = HostLeaf::ALL.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (taken, made, succeeded) = (&taken, &made, &succeeded);
            scope.spawn(move || {
                let base = Bed::ready();
                let mut round = 0;
                while taken.fetch_add(FRESH_EVERY, Relaxed) < calls {
                    round += 1;
                    let seed = (seed * THREADS + thread) << 32 | round;
                    let mut fuzz = Fuzz::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), &base);
                    for i in 1..=FRESH_EVERY {
                        fuzz.step();
                        if i % CHECK_EVERY == 0 && !fuzz.is_shut_down() {
                            invariant::check(&mut fuzz.bed, LPS - 1, POOL.size);
                        }
                    }
                    made.fetch_add(FRESH_EVERY, Relaxed);
                    for (count, more) in succeeded.iter().zip(&fuzz.succeeded) {
                        count.fetch_add(*more, Relaxed);
                    }
                }
            });
        }
    });
    println!("{} calls", made.into_inner());
    for (leaf, count) in HostLeaf::ALL.iter().zip(&succeeded) {
        println!("{leaf}: {} succeeded", count.load(Relaxed));
    }
}

impl Fuzz {
    fn is_shut_down(&self) -> bool {
        self.bed.module.sys_state() == tdx_module::SysState::Shutdown
    }
}
