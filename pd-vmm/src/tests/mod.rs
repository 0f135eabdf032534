//! The core against scripted peers: a pd-mmu and a pd-tdx that answer as they should, unless
//! the test says otherwise.

mod exits;
mod lifecycle;

use crate::{Config, Host, Links, Vmm};
use gpa::{Gpa, Hpa};
use guest_image::build::{Contents, Parameters, write};
use guest_image::layout::TD_CODE;
use guest_image::{MemoryDesign, MemorySize};
use ipc_console::{FromConsole, ToConsole};
use ipc_vmm_mmu::{Error as MmuError, ToMmu, ToVmm as FromMmu};
use ipc_vmm_tdx::{BatchResult, Call, Registers, ToTdx, ToVmm as FromTdx};
use memory::{HostMemory, PhysMemory, Window};
use ring::Link;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;
use std::vec::Vec;
use tdx_abi::field::id;
use tdx_abi::{HostLeaf, Status};

pub const IMAGE: u64 = 0x10_0000;
pub const IMAGE_LEN: u64 = 0x10_0000;
pub const SHARED_POOL: u64 = 0x20_0000;
pub const TDR: u64 = 0x80_0000;
pub const EPTP: u64 = 0x90_0000;
pub const HZ: u64 = 2_500_000_000;
pub const GOAL: &str = "hello from the TD";
pub const TDCS_PAGES: u8 = 6;
pub const TDVPS_PAGES: u8 = 6;
pub const HKID: u16 = 32;

/// Memory and time.
pub struct World {
    memory: HostMemory,
    pub now: u64,
    pub alarm: Option<u64>,
}

impl Host for World {
    type Memory = Window;
    fn memory(&self) -> &Window {
        self.memory.window()
    }
    fn now(&mut self) -> u64 {
        self.now
    }
    fn tsc_hz(&self) -> u64 {
        HZ
    }
    fn set_alarm(&mut self, deadline: Option<u64>) {
        self.alarm = deadline;
    }
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A SEAMCALL of a batch.
    Call(Call),
    /// TDH.VP.ENTER: the vCPU, and the id to return with.
    Enter(u64, u32, Box<Registers>),
    /// A notification.
    Notify(u64),
    /// A kick.
    Kick(u64),
    /// A request to pd-mmu.
    Mmu(ToMmu),
}

/// The machine: the core and its peers.
pub struct Machine {
    pub vmm: Vmm<'static>,
    pub world: World,
    mmu: Link<'static, FromMmu, ToMmu>,
    tdx: Link<'static, FromTdx, ToTdx>,
    console: Link<'static, FromConsole, ToConsole>,
    /// Everything that was asked for.
    pub events: Vec<Event>,
    /// Lines of pd-vmm's own.
    pub lines: Vec<String>,
    /// What the guest printed.
    pub output: Vec<u8>,
    /// Exit status, as often as it was given.
    pub ends: Vec<u8>,
    /// vCPUs in the TD: TDVPR and the id of the call.
    pub entered: BTreeMap<u64, u32>,
    /// The request (counted from 0) that fails, and how.
    pub fail_at: Option<(usize, Failure)>,
    /// MapGPA is not answered: the test does it.
    pub hold_map: bool,
    /// TDCS.TSC_MULTIPLIER.
    pub tsc_multiplier: u64,
    /// What VCPU_STATE_DETAILS reads as.
    pub state_details: u64,
    requests: usize,
    next_page: u64,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With this status, or pd-mmu's word for it; every time.
    Forever(u64),
    /// With this status, once.
    Once(u64),
    /// The firewall.
    Refused,
    /// pd-mmu answers with something else.
    WrongAnswer,
}

/// Small rings, so that they get full in no time.
const RING_WORDS: usize = 4096;

fn region() -> &'static [AtomicU32] {
    Vec::leak((0..RING_WORDS).map(|_| AtomicU32::new(0)).collect())
}

/// A guest image: one measured stretch, one that isn't, and the page of the reset vector.
pub fn image(vcpus: u32, goal: &str) -> Vec<u8> {
    let contents = |gpa, pages: usize, measured| Contents {
        gpa: Gpa::new(gpa),
        bytes: vec![0x5a; pages * 4096],
        measured,
    };
    let parameters = Parameters {
        memory: MemorySize::MIN,
        vcpus,
        attributes: 1 << 28,
        xfam: 3,
        entry_value: 0x1234,
        design: MemoryDesign::default(),
        name: "test".into(),
        goal: goal.into(),
    };
    let top = TD_CODE.get();
    let pages = ((1u64 << 32) - top) as usize / 4096;
    write(
        &parameters,
        &[
            contents(0x1000, 2, true),
            contents(0x8000, 20, false),
            contents(top, pages, true),
        ],
    )
    .unwrap()
}

impl Machine {
    pub fn new(vcpus: u32, goal: &str) -> Self {
        Self::with_image(&image(vcpus, goal))
    }

    pub fn with_image(image: &[u8]) -> Self {
        let memory = HostMemory::new(Hpa::new(IMAGE), 0x20_0000);
        memory.window().write_bytes(Hpa::new(IMAGE), image);
        let rings: [&'static [AtomicU32]; 6] = std::array::from_fn(|_| region());
        let links = Links {
            mmu: Link::new(rings[0], rings[1]),
            tdx: Link::new(rings[2], rings[3]),
            console: Link::new(rings[4], rings[5]),
        };
        let config = Config {
            guest_image: Hpa::new(IMAGE),
            guest_image_len: IMAGE_LEN,
            vms: 1,
            end_at_goal: true,
        };
        Self {
            vmm: Vmm::new(config, links),
            world: World {
                memory,
                now: 1_000_000,
                alarm: None,
            },
            mmu: Link::new(rings[1], rings[0]),
            tdx: Link::new(rings[3], rings[2]),
            console: Link::new(rings[5], rings[4]),
            events: Vec::new(),
            lines: Vec::new(),
            output: Vec::new(),
            ends: Vec::new(),
            entered: BTreeMap::new(),
            fail_at: None,
            hold_map: false,
            tsc_multiplier: 1 << 48,
            state_details: 0,
            requests: 0,
            next_page: TDR + 0x1000,
        }
    }

    /// A machine whose guest runs.
    pub fn running(vcpus: u32) -> Self {
        let mut machine = Self::new(vcpus, GOAL);
        machine.start();
        assert_eq!(machine.entered.len(), vcpus as usize, "{:?}", machine.lines);
        machine.events.clear();
        machine
    }

    pub fn start(&mut self) {
        self.mmu.send(&FromMmu::Ready).unwrap();
        self.tdx
            .send(&FromTdx::Ready {
                first_hkid: HKID,
                hkids: 4,
                tdcs_pages: TDCS_PAGES,
                tdvps_pages: TDVPS_PAGES,
            })
            .unwrap();
        self.turn();
    }

    /// Lets everybody work until nobody has anything to do.
    pub fn turn(&mut self) {
        loop {
            self.vmm.poll(&mut self.world);
            let mut busy = false;
            while let Some(message) = self.console.receive() {
                match message.unwrap() {
                    ToConsole::Ready => {}
                    ToConsole::Line(line) => self.lines.push(line.as_str().into()),
                    ToConsole::Guest { vm: 0, bytes } => self.output.extend_from_slice(&bytes),
                    ToConsole::Guest { vm, .. } => panic!("output of VM {vm}"),
                    ToConsole::End { status } => self.ends.push(status),
                }
            }
            while let Some(message) = self.mmu.receive() {
                busy |= self.answer_mmu(message.unwrap());
            }
            while let Some(message) = self.tdx.receive() {
                busy |= self.answer_tdx(message.unwrap());
            }
            if !busy {
                return;
            }
        }
    }

    fn failure(&mut self) -> Option<Failure> {
        let at = self.requests;
        self.requests += 1;
        match self.fail_at {
            Some((k, failure @ Failure::Forever(_))) if at == k => {
                self.requests = k;
                Some(failure)
            }
            Some((k, failure)) if at == k => {
                self.fail_at = None;
                Some(failure)
            }
            _ => None,
        }
    }

    fn answer_mmu(&mut self, message: ToMmu) -> bool {
        let vm = message.vm();
        self.events.push(Event::Mmu(message.clone()));
        if matches!(message, ToMmu::MapGpa { .. }) && self.hold_map {
            return false;
        }
        let mut pages = |count: u8| {
            let first = self.next_page;
            self.next_page += u64::from(count) * 0x1000;
            (0..u64::from(count)).map(|i| first + i * 0x1000).collect()
        };
        let answer = match message {
            ToMmu::Create { .. } => FromMmu::Created {
                vm,
                tdr: TDR,
                shared_eptp: EPTP,
            },
            ToMmu::ControlPages { count, .. } => FromMmu::Pages {
                vm,
                pages: pages(count),
            },
            ToMmu::SharedPages { count: 1, .. } => FromMmu::Pages {
                vm,
                pages: [SHARED_POOL].into_iter().collect(),
            },
            // As in the real one, there is memory where slots are.
            ToMmu::MapGpa { gpa, len, .. }
                if (gpa & !(1 << 47)) + len > MemorySize::MIN.bytes() =>
            {
                FromMmu::Failed {
                    vm,
                    error: MmuError::NoSlot,
                }
            }
            _ => FromMmu::Done { vm },
        };
        let answer = match self.failure() {
            None => answer,
            Some(Failure::WrongAnswer) => FromMmu::Stats {
                vm,
                stats: Default::default(),
            },
            Some(_) => FromMmu::Failed {
                vm,
                error: MmuError::NoMemory,
            },
        };
        if let Some((_, Failure::Forever(_))) = self.fail_at
            && matches!(answer, FromMmu::Failed { .. })
        {
            self.fail_at = None;
        }
        self.mmu.send(&answer).unwrap();
        true
    }

    fn answer_tdx(&mut self, message: ToTdx) -> bool {
        let answer = match message {
            ToTdx::Enter { .. } | ToTdx::Forget { .. } => panic!("not for a TD: {message:?}"),
            ToTdx::Notify { tdvpr } => {
                self.events.push(Event::Notify(tdvpr));
                return false;
            }
            ToTdx::TscFrequency { hz } => {
                assert_eq!(hz, HZ);
                let made = self.events.iter().any(|e| matches!(e, Event::Call(_)));
                assert!(!made, "before the first TD");
                return false;
            }
            ToTdx::Kick { tdvpr } => {
                self.events.push(Event::Kick(tdvpr));
                if !self.entered.contains_key(&tdvpr) {
                    return false;
                }
                self.exit(
                    tdvpr,
                    Registers {
                        rax: 1,
                        ..Registers::default()
                    },
                );
                return true;
            }
            ToTdx::Seamcall { id, registers } => {
                assert_eq!(registers.rax, 0, "only TDH.VP.ENTER needs all registers");
                let before = self.entered.insert(registers.rcx, id);
                assert_eq!(before, None, "entered twice");
                let event = Event::Enter(registers.rcx, id, Box::new(registers));
                self.events.push(event);
                return false;
            }
            ToTdx::Batch { id, calls } => {
                assert!(!calls.is_empty());
                FromTdx::BatchDone {
                    id,
                    result: self.make(&calls),
                }
            }
            ToTdx::Sweep { id, sweep } => {
                let calls: Vec<Call> = sweep.calls().collect();
                assert_eq!(calls.len(), usize::from(sweep.times));
                FromTdx::BatchDone {
                    id,
                    result: self.make(&calls),
                }
            }
        };
        self.tdx.send(&answer).unwrap();
        true
    }

    fn make(&mut self, calls: &[Call]) -> BatchResult {
        let mut last = Call::default();
        for (i, call) in calls.iter().enumerate() {
            let failure = self.failure();
            let succeeded = i as u16;
            last = *call;
            last.rax = 0;
            match failure {
                None => {}
                Some(Failure::Once(status) | Failure::Forever(status)) => {
                    last.rax = status;
                    return BatchResult {
                        succeeded,
                        last,
                        refused: false,
                    };
                }
                Some(Failure::Refused | Failure::WrongAnswer) => {
                    return BatchResult {
                        succeeded,
                        last,
                        refused: true,
                    };
                }
            }
            self.events.push(Event::Call(*call));
            last.r8 = match call.rdx {
                field if field == id::TD_TSC_OFFSET.0 => 1_000_000u64.wrapping_neg(),
                field if field == id::TD_TSC_MULTIPLIER.0 => self.tsc_multiplier,
                field if field == id::VP_VCPU_STATE_DETAILS.0 => self.state_details,
                field if field & !7 == id::TD_MRTD.0 => 0x0101_0101_0101_0101 * (field & 7),
                _ => 0,
            };
        }
        BatchResult {
            succeeded: calls.len() as u16,
            last,
            refused: false,
        }
    }

    /// TDVPR of a vCPU.
    pub fn tdvpr(&self, vcpu: u64) -> u64 {
        TDR + 0x1000 + (u64::from(TDCS_PAGES) + vcpu * u64::from(TDVPS_PAGES)) * 0x1000
    }

    /// Has the TDH.VP.ENTER of this vCPU return.
    pub fn exit(&mut self, tdvpr: u64, registers: Registers) {
        let id = self.entered.remove(&tdvpr).expect("not in the TD");
        self.tdx.send(&FromTdx::Returned { id, registers }).unwrap();
    }

    /// A TDG.VP.VMCALL of vCPU 0 with R10 to R15; what it was entered with again.
    pub fn vmcall(&mut self, r10_15: [u64; 6]) -> Option<[u64; 6]> {
        self.vmcall_of(0, r10_15)
    }

    /// The same for any vCPU.
    pub fn vmcall_of(&mut self, vcpu: u64, r10_15: [u64; 6]) -> Option<[u64; 6]> {
        let tdvpr = self.tdvpr(vcpu);
        let mut registers = Registers {
            rax: 77,
            rcx: 0xfc00,
            ..Registers::default()
        };
        registers.r8_r15[2..].copy_from_slice(&r10_15);
        self.exit(tdvpr, registers);
        let before = self.events.len();
        self.turn();
        self.events[before..].iter().find_map(|event| match event {
            Event::Enter(to, _, registers) if *to == tdvpr => {
                Some(registers.r8_r15[2..].try_into().unwrap())
            }
            _ => None,
        })
    }

    /// OUT of one byte.
    pub fn out(&mut self, port: u64, value: u8) {
        if let Some(answer) = self.vmcall([0, 0x1e, 1, 1, port, value.into()]) {
            assert_eq!(answer[0], 0);
        }
    }

    /// IN of one byte.
    pub fn input(&mut self, port: u64) -> u8 {
        let answer = self.vmcall([0, 0x1e, 1, 0, port, 0]).unwrap();
        assert_eq!(answer[0], 0);
        answer[1] as u8
    }

    /// WRMSR; the result code.
    pub fn wrmsr(&mut self, index: u64, value: u64) -> u64 {
        self.vmcall([0, 0x20, index, value, 0, 0]).unwrap()[0]
    }

    /// Types at the console.
    pub fn typed(&mut self, bytes: &[u8]) {
        let bytes = bytes.iter().copied().collect();
        self.console
            .send(&FromConsole::Input { vm: 0, bytes })
            .unwrap();
        self.turn();
    }

    pub fn send_console(&mut self, message: &FromConsole) {
        self.console.send(message).unwrap();
    }

    pub fn send_mmu(&mut self, message: &FromMmu) {
        self.mmu.send(message).unwrap();
    }

    pub fn send_tdx(&mut self, message: &FromTdx) {
        self.tdx.send(message).unwrap();
    }

    /// The descriptor word `word` of a vCPU.
    pub fn descriptor(&self, vcpu: u64, word: u64) -> u64 {
        let at = SHARED_POOL + 0x800 + vcpu * 64 + word * 8;
        self.world.memory().read_u64(Hpa::new(at))
    }

    /// The CPU takes what was posted.
    pub fn take_posted(&mut self, vcpu: u64) -> [u64; 4] {
        let at = SHARED_POOL + 0x800 + vcpu * 64;
        let memory = self.world.memory();
        let control = memory.read_u64(Hpa::new(at + 32));
        memory.write_u64(Hpa::new(at + 32), control & !1);
        std::array::from_fn(|i| memory.swap_u64(Hpa::new(at + 8 * i as u64), 0))
    }

    /// Names of what was asked for, neighbours of the same name once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .events
            .iter()
            .map(|event| match event {
                Event::Call(call) => HostLeaf::from_number(call.rax as u16)
                    .unwrap()
                    .name()
                    .into(),
                Event::Enter(..) => "TDH.VP.ENTER".into(),
                Event::Notify(_) => "Notify".into(),
                Event::Kick(_) => "Kick".into(),
                Event::Mmu(message) => crate::lifecycle::name(message).into(),
            })
            .collect();
        names.dedup();
        names
    }

    /// The calls of one leaf.
    pub fn calls(&self, leaf: HostLeaf) -> Vec<Call> {
        let calls = self.events.iter().filter_map(|event| match event {
            Event::Call(call) if call.rax as u16 == leaf.number() => Some(*call),
            _ => None,
        });
        calls.collect()
    }

    /// How many requests were made.
    pub fn requests(&self) -> usize {
        self.requests
    }
}

/// A status, as RAX.
pub fn status(status: Status) -> u64 {
    status.0
}
