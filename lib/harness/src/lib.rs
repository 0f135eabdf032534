//! The four PD cores in one process, deterministic (host only).
//!
//! The same cores as on seL4, with the same rings between them and the same memory map (read
//! from `system.xml`), in one thread. Time is what the CPU has executed: one instruction is
//! [`TICKS_PER_INSTRUCTION`] ticks, and waiting costs nothing, it jumps to the next alarm.
//! Scheduling is round robin and time exact; or both vary, as a seed says.
#![forbid(unsafe_code)]

mod map;

pub use map::MemoryMap;

use core::sync::atomic::AtomicU32;
use gpa::Hpa;
use memory::{HostMemory, PhysMemory, Window};
use pd_tdx::software::{Clock, Code, Cpus};
use ring::{Link, REGION_WORDS};
use std::cell::Cell;
use std::rc::Rc;
use zerocopy::FromZeros;

/// Ticks of the time-stamp counter that one instruction takes.
pub const TICKS_PER_INSTRUCTION: u64 = 8;
/// Ticks of a second: a CPU of 250 million instructions per second.
pub const TSC_HZ: u64 = 2_000_000_000;

/// How much later than its deadline an alarm comes, at most: 100 µs.
const LATE: u64 = TSC_HZ / 10_000;

/// Simulated time, shared by all who ask for it.
#[derive(Clone)]
pub struct Time {
    ticks: Rc<Cell<u64>>,
    /// What RDRAND gives: a Weyl sequence.
    weyl: Rc<Cell<u64>>,
    /// By how much time differs from what it should be.
    jitter: Option<Rc<Cell<Shuffle>>>,
}

impl Time {
    /// Seed 0: exact, and from 0 on. Else: from anywhere on, instructions take by turns more or
    /// less time, and alarms are late.
    fn new(seed: u64) -> Self {
        let mut shuffle = Shuffle(seed);
        let start = if seed == 0 { 0 } else { shuffle.next(1 << 40) };
        Self {
            ticks: Rc::new(Cell::new(start)),
            weyl: Rc::new(Cell::new(seed)),
            jitter: (seed != 0).then(|| Rc::new(Cell::new(shuffle))),
        }
    }

    /// Ticks since the start.
    pub fn ticks(&self) -> u64 {
        self.ticks.get()
    }

    fn advance(&self, ticks: u64) {
        self.ticks.set(self.ticks.get() + ticks);
    }

    /// A number below `below`; always 0 where time is exact.
    fn vary(&self, below: u64) -> u64 {
        let Some(jitter) = &self.jitter else {
            return 0;
        };
        let mut shuffle = jitter.get();
        let number = shuffle.next(below);
        jitter.set(shuffle);
        number
    }

    /// Jumps to a deadline, or a little further.
    fn wait_until(&self, deadline: u64) {
        self.advance(deadline.saturating_sub(self.ticks()) + self.vary(LATE));
    }
}

impl Clock for Time {
    fn now(&mut self) -> u64 {
        // Reading the clock takes time too, so that a loop that waits for it ends.
        self.advance(TICKS_PER_INSTRUCTION * (20 + self.vary(40)));
        self.ticks()
    }
    fn executed(&mut self, instructions: u64) {
        let ticks = instructions * TICKS_PER_INSTRUCTION;
        self.advance(ticks + self.vary(ticks / 2 + 1));
    }
    fn random(&mut self) -> u64 {
        // Through a mixer: the same numbers in every run with the same seed.
        self.weyl
            .set(self.weyl.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mixed = (self.weyl.get() ^ self.weyl.get() >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
    }
}

/// pd-vmm's machine.
struct VmmHost<'a> {
    memory: &'a Window,
    time: Time,
    alarm: Option<u64>,
}

impl<'a> pd_vmm::Host for VmmHost<'a> {
    type Memory = &'a Window;
    fn memory(&self) -> &Self::Memory {
        &self.memory
    }
    fn now(&mut self) -> u64 {
        self.time.ticks()
    }
    fn tsc_hz(&self) -> u64 {
        TSC_HZ
    }
    fn set_alarm(&mut self, deadline: Option<u64>) {
        self.alarm = deadline;
    }
}

/// The serial port: what was printed, and what is typed.
#[derive(Default)]
pub struct Screen {
    /// Everything that was printed.
    pub text: Vec<u8>,
    /// What is to be typed.
    pub typed: std::collections::VecDeque<u8>,
    /// The exit status of the run, once it has ended.
    pub status: Option<u8>,
    /// Print on standard output as it comes.
    pub echo: bool,
}

impl pd_console::Port for Screen {
    fn put(&mut self, byte: u8) {
        self.text.push(byte);
        if self.echo {
            use std::io::Write;
            let _ = std::io::stdout().write_all(&[byte]);
        }
    }
    fn get(&mut self) -> Option<u8> {
        self.typed.pop_front()
    }
    fn end(&mut self, status: u8) {
        self.status = Some(status);
    }
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The run ended with this status.
    Ended(u8),
    /// Nobody has anything to do, and no alarm is set.
    Stuck,
    /// The instructions or rounds that were granted are used up.
    Limit,
}

/// The shared memory of all rings, by direction.
pub struct Rings(Vec<Vec<AtomicU32>>);

/// Names of the rings, as in `system.xml`.
pub const RINGS: [&str; 12] = [
    "ring_vmm_to_mmu",
    "ring_mmu_to_vmm",
    "ring_vmm_to_tdx",
    "ring_tdx_to_vmm",
    "ring_mmu_to_tdx",
    "ring_tdx_to_mmu",
    "ring_console_to_vmm",
    "ring_vmm_to_console",
    "ring_console_to_mmu",
    "ring_mmu_to_console",
    "ring_console_to_tdx",
    "ring_tdx_to_console",
];

impl Rings {
    fn new() -> Self {
        Self(
            RINGS
                .iter()
                .map(|_| (0..REGION_WORDS).map(|_| AtomicU32::new(0)).collect())
                .collect(),
        )
    }
    /// The words of the ring of this name (see [`RINGS`]).
    pub fn words(&self, name: &str) -> &[AtomicU32] {
        let index = RINGS
            .iter()
            .position(|&ring| ring == name)
            .expect("a name of RINGS");
        &self.0[index]
    }
    fn link<Out: serde::Serialize, In: serde::de::DeserializeOwned>(
        &self,
        me: &str,
        peer: &str,
    ) -> Link<'_, Out, In> {
        Link::new(
            self.words(&format!("ring_{me}_to_{peer}")),
            self.words(&format!("ring_{peer}_to_{me}")),
        )
    }
}

/// What a system is made of.
pub struct Config {
    /// The guest image, as the packer writes it.
    pub guest_image: Vec<u8>,
    /// 0: the domains take turns and time is exact; else: the seed of a shuffled order, of the
    /// turns' lengths, and of time's jitter.
    pub seed: u64,
    /// Print what the console prints.
    pub echo: bool,
    /// The guest's instructions at most.
    pub limit: u64,
    /// Rounds of all domains at most.
    pub rounds: u64,
    /// End when the goal is reached; else when the guest powers off.
    pub end_at_goal: bool,
}

impl Config {
    /// Round robin, quiet, 10^10 instructions at most.
    pub fn new(guest_image: Vec<u8>) -> Self {
        Self {
            guest_image,
            seed: 0,
            echo: false,
            limit: 10_000_000_000,
            rounds: u64::MAX,
            end_at_goal: true,
        }
    }
}

/// What a run came to.
pub struct Report {
    /// Why it stopped.
    pub stopped: Stopped,
    /// All that the console showed.
    pub text: String,
    /// Guest instructions.
    pub instructions: u64,
    /// pd-tdx's counters.
    pub counters: pd_tdx::Counters,
}

/// A small generator for schedules and jitter (xorshift64*); its seed isn't 0.
#[derive(Clone, Copy)]
struct Shuffle(u64);

impl Shuffle {
    /// A number below `below`.
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }
}

/// Runs a system to its end. `between` is called after every round, with the rings and the
/// screen: for typing, and for mischief.
pub fn run(config: Config, mut between: impl FnMut(u64, &Rings, &mut Screen)) -> Report {
    let map = MemoryMap::of_the_system();
    let memory = HostMemory::new(map.base(), map.len());
    let window = memory.window();
    assert!(
        config.guest_image.len() as u64 <= map.guest_image.1,
        "the guest image is too big"
    );
    window.write_bytes(map.guest_image.0, &config.guest_image);

    let rings = Rings::new();
    let time = Time::new(config.seed);
    let mut screen = Screen {
        echo: config.echo,
        ..Screen::default()
    };

    let mut console = pd_console::Console::new([
        rings.link("console", "vmm"),
        rings.link("console", "mmu"),
        rings.link("console", "tdx"),
    ]);

    let mut cpus = Box::new(Cpus::new());
    let mut code = Code::new_box_zeroed().expect("memory for decoded code");
    let platform = pd_tdx::software::platform(map.base(), map.len());
    let machine =
        pd_tdx::software::SoftwareMachine::new(window, time.clone(), map.shared_pool, map.shadow);
    let mut seam = pd_tdx::software::SoftwareSeam::new(platform, machine, &mut cpus, &mut code);
    let plan = pd_tdx::setup::Plan {
        convertible: [map.tdx_control, map.private_pool],
        pamt: map.tdx_pamt,
        scratch: Hpa::new(map.tdx_pamt.0.get() + map.tdx_pamt.1 - 0x2000),
        global_hkid: 32,
        td_hkids: 31,
    };
    let module =
        pd_tdx::setup::configure(&mut seam, &window, &plan).expect("the module takes the plan");
    let pools = plan.pools(map.shared_pool, pd_tdx::software::HKID_SHIFT);
    let mut tdx = pd_tdx::Tdx::new(
        seam,
        &module,
        pools,
        rings.link("tdx", "console"),
        rings.link("tdx", "vmm"),
        rings.link("tdx", "mmu"),
    );

    let mut mmu_storage = Box::new(pd_mmu::Storage::new());
    let mut mmu = pd_mmu::Core::new(pd_mmu::Start {
        shadow: map.shadow,
        storage: &mut mmu_storage,
        memory: window,
        console: rings.link("mmu", "console"),
        vmm: rings.link("mmu", "vmm"),
        tdx: rings.link("mmu", "tdx"),
    });

    let mut vmm = pd_vmm::Vmm::new(
        pd_vmm::Config {
            guest_image: map.guest_image.0,
            guest_image_len: map.guest_image.1,
            vms: 1,
            end_at_goal: config.end_at_goal,
        },
        pd_vmm::Links {
            mmu: rings.link("vmm", "mmu"),
            tdx: rings.link("vmm", "tdx"),
            console: rings.link("vmm", "console"),
        },
    );
    let mut vmm_host = VmmHost {
        memory: window,
        time: time.clone(),
        alarm: None,
    };

    let mut shuffle = (config.seed != 0).then_some(Shuffle(config.seed));
    let mut round = 0;
    let stopped = loop {
        let mut order = [0, 1, 2, 3];
        if let Some(shuffle) = &mut shuffle {
            (1..4)
                .rev()
                .for_each(|i| order.swap(i, shuffle.next(i as u64 + 1) as usize));
            tdx.seam().set_turn(1 + shuffle.next(60_000));
        }
        let before = time.ticks();
        let mut busy = false;
        for pd in order {
            match pd {
                0 => console.poll(&mut screen),
                1 => vmm.poll(&mut vmm_host),
                2 => mmu.poll(),
                _ => busy |= tdx.poll(),
            }
        }
        busy |= console
            .links()
            .iter_mut()
            .fold(false, |b, link| b | link.take_doorbell());
        busy |= vmm.links.mmu.take_doorbell()
            | vmm.links.tdx.take_doorbell()
            | vmm.links.console.take_doorbell();
        busy |= mmu.take_doorbells().contains(&true) | tdx.take_doorbells().contains(&true);
        round += 1;
        between(round, &rings, &mut screen);
        if let Some(status) = screen.status {
            break Stopped::Ended(status);
        }
        if tdx.seam().retired() > config.limit || round > config.rounds {
            break Stopped::Limit;
        }
        if !busy && screen.typed.is_empty() {
            match vmm_host.alarm {
                Some(deadline) => time.wait_until(deadline),
                None if round > 16 => break Stopped::Stuck,
                None => {}
            }
        }
        if time.ticks() == before {
            time.advance(TICKS_PER_INSTRUCTION);
        }
    };
    Report {
        stopped,
        text: String::from_utf8_lossy(&screen.text).replace('\r', ""),
        instructions: tdx.seam().retired(),
        counters: tdx.counters(),
    }
}
