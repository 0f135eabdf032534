//! Replaying one trace.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{FieldId, HostLeaf, field::id};
use tdx_module::{
    GuestOutcome, LockMode, LockName, Module, Regs, SeamOutcome, SysState, VmExit, is_guest_state,
    reg,
};

use crate::cpu::PlainCpu;
use crate::machine::{FIRST_TICK, Recorded, Tables, platform};
use crate::sparse::Sparse;
use crate::trace::{self, Event, Named, Trace, Write};

const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// TSC ticks from one recorded event to the next.
const TICKS: u64 = 10_000_000;

/// Calls replayed, and how many agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Calls.
    pub calls: u64,
    /// Calls that agree in RAX.
    pub rax: u64,
    /// Calls that agree in every output register, in memory and in what happens next.
    pub all: u64,
    /// Calls of `all` whose output register R8 holds a random number, and was not compared.
    pub random: u64,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Count) {
        self.calls += other.calls;
        self.rax += other.rax;
        self.all += other.all;
        self.random += other.random;
    }
}

/// One call that was answered otherwise.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// Sequence number of the event.
    pub i: u64,
    /// The leaf.
    pub leaf: String,
    /// What was given, recorded and answered.
    pub text: String,
}

/// What came of replaying one trace.
#[derive(Debug, Default)]
pub struct Report {
    /// By leaf or exit reason.
    pub leaves: BTreeMap<String, Count>,
    /// The first ones.
    pub disagreements: Vec<Disagreement>,
}

impl Report {
    /// All leaves together.
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        for count in self.leaves.values() {
            total.add(*count);
        }
        total
    }
}

/// What happened, in the words of the trace.
#[derive(PartialEq, Eq)]
enum Happened {
    Out(Regs),
    Entered(Regs),
    SeamRet(Regs),
    Inject(u32, Regs),
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|n| *n == name).unwrap_or(reg::RSP)
}

fn merge(regs: &mut Regs, named: &Named) {
    for (name, value) in named {
        regs[index(name)] = value.0;
    }
}

fn show(regs: &Regs) -> String {
    let mut text = String::new();
    for (name, value) in NAMES.iter().zip(regs.0) {
        if *name != "rsp" && (value != 0 || *name == "rax") {
            let _ = write!(text, " {name}={value:#x}");
        }
    }
    text
}

impl Happened {
    fn regs(&self) -> &Regs {
        match self {
            Self::Out(r) | Self::Entered(r) | Self::SeamRet(r) | Self::Inject(_, r) => r,
        }
    }
    fn show(&self) -> String {
        let what = match self {
            Self::Out(_) => "out".into(),
            Self::Entered(_) => "entered".into(),
            Self::SeamRet(_) => "seamret".into(),
            Self::Inject(info, _) => format!("inject {info:#x}"),
        };
        format!("{what}:{}", show(self.regs()))
    }
    fn kind(&self) -> u8 {
        match self {
            Self::Out(_) => 0,
            Self::Entered(_) => 1,
            Self::SeamRet(_) => 2,
            Self::Inject(..) => 3,
        }
    }
}

struct Replay<'m> {
    module: Box<Module>,
    machine: Recorded<'m>,
    cpus: HashMap<u64, PlainCpu>,
    /// TDVPR of the vCPU inside, by LP.
    inside: HashMap<usize, u64>,
    lps: usize,
}

impl Replay<'_> {
    fn write(&self, write: &Write) {
        let memory = self.machine.memory;
        match write {
            Write::Bytes(hpa, hex) => memory.write_bytes(Hpa::new(hpa.0), &trace::bytes(hex)),
            Write::Fill { hpa, fill, len } => {
                let pattern = trace::bytes(fill);
                let bytes: Vec<u8> = pattern
                    .iter()
                    .copied()
                    .cycle()
                    .take(*len as usize)
                    .collect();
                memory.write_bytes(Hpa::new(hpa.0), &bytes);
            }
        }
    }

    fn lock(&self, event: &Event, held: bool) {
        let tdr = event.tdr.unwrap_or_default().0;
        let name = match event.obj.as_deref() {
            Some("pamt") => LockName::Page(event.hpa.unwrap_or_default().0),
            Some("op_state") => LockName::OpState(tdr),
            Some("epoch") => LockName::Epoch(tdr),
            _ => LockName::SeptTree(tdr),
        };
        let mode = match event.mode.as_deref() {
            Some("sh") => LockMode::Shared,
            _ => LockMode::Exclusive,
        };
        self.module
            .force_lock(&self.machine, name, held.then_some(mode));
    }

    /// After TDH.VP.WR of guest state the virtual CPU starts from what TDVPS holds.
    fn forget_state(&mut self, given: &Named, answer: &Regs) {
        let of = |name| given.get(name).map_or(0, |h: &trace::Hex| h.0);
        let guest_state = is_guest_state(FieldId(of("rdx")));
        if of("rax") == HostLeaf::VpWr as u64 && answer[reg::RAX] == 0 && guest_state {
            self.cpus.remove(&of("rcx"));
        }
    }

    fn call(&mut self, event: &Event) -> Option<Happened> {
        self.machine.tsc += TICKS;
        self.machine.polls = 0;
        // The recorded platform showed interrupts to guests only (its host-side poll was a stub).
        let guest = event.kind != "seamcall";
        self.machine.interrupt_after = event.intr_after.filter(|_| guest);
        if event.kind == "seamcall" {
            let mut regs = Regs::default();
            merge(&mut regs, &event.r#in);
            let outcome = self.module.seamcall(event.lp, &mut regs, &mut self.machine);
            let entry = match outcome {
                SeamOutcome::Done => {
                    self.forget_state(&event.r#in, &regs);
                    return Some(Happened::Out(regs));
                }
                SeamOutcome::Entered(entry) => entry,
            };
            let cpu = self.cpus.entry(entry.tdvpr).or_insert_with(|| {
                let mut cpu = PlainCpu::default();
                self.module.load_state(entry.tdvpr, &self.machine, &mut cpu);
                cpu
            });
            cpu.gprs = entry.gprs.0;
            self.inside.insert(event.lp, entry.tdvpr);
            return Some(Happened::Entered(entry.gprs));
        }
        let tdvpr = *self.inside.get(&event.lp)?;
        let cpu = self.cpus.get_mut(&tdvpr)?;
        cpu.enter_64_bit();
        let outcome = if let Some(exit) = &event.exit {
            let mut regs = Regs(cpu.gprs);
            merge(&mut regs, &event.r#in);
            cpu.gprs = regs.0;
            let exit = VmExit {
                reason: exit.reason,
                qualification: exit.qual.0,
                gpa: exit.gpa.0,
                gla: exit.gla.0,
                interruption: exit.intr.0 as u32,
                instruction_length: exit.len,
                ..VmExit::default()
            };
            self.module.td_exit(event.lp, &mut self.machine, cpu, exit)
        } else {
            let mut regs = Regs::default();
            merge(&mut regs, &event.r#in);
            cpu.gprs = regs.0;
            self.module.tdcall(event.lp, &mut self.machine, cpu)
        };
        Some(match outcome? {
            GuestOutcome::Resume | GuestOutcome::Retry => Happened::Out(Regs(cpu.gprs)),
            GuestOutcome::Inject(event) => Happened::Inject(event.info, Regs(cpu.gprs)),
            GuestOutcome::ExitToHost { regs, .. } => {
                self.inside.remove(&event.lp);
                Happened::SeamRet(regs)
            }
        })
    }

    /// MRTD of a TD, read as a host does.
    fn mrtd(&mut self, lp: usize, tdr: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for i in 0..6 {
            let mut regs = Regs::default();
            regs[reg::RAX] = 11;
            regs[reg::RCX] = tdr;
            regs[reg::RDX] = 0x1310_0003_0000_0000 + i;
            self.module.seamcall(lp, &mut regs, &mut self.machine);
            bytes.extend_from_slice(&regs[reg::R8].to_le_bytes());
        }
        bytes
    }

    fn check_memory(&self, event: &Event) -> Option<String> {
        for (hpa, hex) in &event.memout {
            let expected = trace::bytes(hex);
            let mut found = vec![0; expected.len()];
            self.machine.memory.read_bytes(Hpa::new(hpa.0), &mut found);
            if let Some(at) = (0..found.len()).find(|&k| found[k] != expected[k]) {
                return Some(format!(
                    "memory at {:#x}+{at:#x}: {:02x} recorded, {:02x} found",
                    hpa.0, expected[at], found[at]
                ));
            }
        }
        None
    }
}

/// What the trace says happens.
fn expected(event: &Event) -> Happened {
    let mut given = Regs::default();
    merge(&mut given, &event.r#in);
    if let Some(ret) = &event.seamret {
        let mut regs = Regs::default();
        merge(&mut regs, ret);
        return Happened::SeamRet(regs);
    }
    if event.entered {
        let mut regs = Regs::default();
        if let Some(td) = &event.td {
            merge(&mut regs, td);
        }
        return Happened::Entered(regs);
    }
    if let Some(out) = &event.out {
        merge(&mut given, out);
    }
    match &event.inject {
        Some(inject) => Happened::Inject(injected(inject), given),
        None => Happened::Out(given),
    }
}

/// The interruption information in an `inject`, however it is written.
fn injected(value: &serde_json::Value) -> u32 {
    let parse = |s: &str| u64::from_str_radix(s.trim_start_matches("0x"), 16).unwrap_or(0) as u32;
    match value {
        serde_json::Value::String(s) => parse(s),
        serde_json::Value::Object(map) => map
            .iter()
            .find(|(k, _)| k.contains("info") || k.contains("intr"))
            .map_or(0, |(_, v)| injected(v)),
        serde_json::Value::Array(list) => list.first().map_or(0, injected),
        other => other.as_u64().unwrap_or(0) as u32,
    }
}

/// The module between two recorded calls, for tests that look at where it is.
pub struct Scene<'a, 'm>(&'a mut Replay<'m>);

impl Scene<'_, '_> {
    /// What a SEAMCALL answers on an LP where no vCPU is inside; `None` if it fails. It has to
    /// be one that changes nothing.
    pub fn ask(&mut self, leaf: HostLeaf, operands: &[(usize, u64)]) -> Option<Regs> {
        let lp = (0..self.0.lps).find(|lp| !self.0.inside.contains_key(lp))?;
        let mut regs = Regs::default();
        regs[reg::RAX] = u64::from(leaf.number());
        for &(register, value) in operands {
            regs[register] = value;
        }
        let replay = &mut *self.0;
        replay.module.seamcall(lp, &mut regs, &mut replay.machine);
        (regs[reg::RAX] == 0).then_some(regs)
    }

    /// The TDVPR of the vCPU inside on `lp`.
    pub fn inside(&self, lp: usize) -> Option<u64> {
        self.0.inside.get(&lp).copied()
    }

    /// Eight bytes of memory.
    pub fn read_u64(&self, at: u64) -> u64 {
        self.0.machine.memory.read_u64(Hpa::new(at))
    }

    /// How far the module is from power-on.
    pub fn sys_state(&self) -> SysState {
        self.0.module.sys_state()
    }
}

/// Replays a trace; keeps the first `keep` disagreements.
///
/// # Errors
/// The file cannot be read.
pub fn replay(path: &Path, keep: usize) -> Result<Report, String> {
    watch(path, keep, |_, _| ())
}

/// Replays a trace and shows `before` each call and the module before it.
///
/// # Errors
/// The file cannot be read.
pub fn watch(
    path: &Path,
    keep: usize,
    mut before: impl FnMut(&mut Scene<'_, '_>, &Event),
) -> Result<Report, String> {
    let trace = Trace::open(path)?;
    let info = &trace.header.platform;
    let memory = Sparse::new(info.fake_memory_bytes.0)?;
    let tables = Tables::load();
    let mut replay = Replay {
        module: Box::new(Module::new(platform(info))),
        machine: Recorded {
            memory: &memory,
            tables: &tables,
            tsc: FIRST_TICK,
            random: 1,
            polls: 0,
            interrupt_after: None,
        },
        cpus: HashMap::new(),
        inside: HashMap::new(),
        lps: info.lps,
    };
    let mut report = Report::default();
    for event in trace {
        let event = event.map_err(|e| format!("{}: {e}", path.display()))?;
        for write in &event.mem {
            replay.write(write);
        }
        match event.kind.as_str() {
            "lock" => replay.lock(&event, true),
            "unlock" => replay.lock(&event, false),
            "note" => {
                if let (Some(tdr), Some(mrtd)) = (event.tdr, &event.mrtd) {
                    let same = replay.mrtd(event.lp, tdr.0) == trace::bytes(mrtd);
                    let count = report.leaves.entry("note: MRTD".into()).or_default();
                    count.calls += 1;
                    count.rax += u64::from(same);
                    count.all += u64::from(same);
                }
            }
            "seamcall" | "tdcall" | "tdexit" => {
                before(&mut Scene(&mut replay), &event);
                step(&mut replay, &event, &mut report, keep);
            }
            _ => {}
        }
    }
    Ok(report)
}

/// Whether the event reads a field that the module fills with random numbers.
fn is_random(leaf: &str, event: &Event) -> bool {
    const RANDOM: [FieldId; 2] = [id::TD_UUID, id::TD_MIG_ENC_KEY];
    let field = event.r#in.get("rdx").map_or(0, |h| h.0);
    let ok = event.out.as_ref().and_then(|o| o.get("rax")).map(|h| h.0) == Some(0);
    leaf == "TDH.MNG.RD" && ok && RANDOM.iter().any(|r| r.0 | 3 == field | 3)
}

fn step(replay: &mut Replay<'_>, event: &Event, report: &mut Report, keep: usize) {
    let name = match (&event.leaf, &event.exit) {
        (_, Some(exit)) => format!("exit {}", exit.reason),
        (Some(leaf), _) => leaf.clone(),
        _ => event.kind.clone(),
    };
    let expected = expected(event);
    for _ in 0..event.rep.unwrap_or(1) {
        let happened = replay.call(event);
        let count = report.leaves.entry(name.clone()).or_default();
        count.calls += 1;
        let same_kind = happened
            .as_ref()
            .is_some_and(|h| h.kind() == expected.kind());
        let wanted = expected.regs();
        let rax = happened
            .as_ref()
            .is_some_and(|h| same_kind && h.regs()[reg::RAX] == wanted[reg::RAX]);
        let random = rax && is_random(&name, event);
        let mut all = rax;
        if let Some(h) = &happened {
            let found = h.regs();
            let listed = event.seamret.as_ref();
            all &= (0..16).all(|k| {
                let free =
                    listed.is_some_and(|l| !l.contains_key(NAMES[k])) || k == reg::R8 && random;
                k == reg::RSP || free || found[k] == wanted[k]
            });
            if let (Happened::Inject(a, _), Happened::Inject(b, _)) = (h, &expected) {
                all &= a == b;
            }
        }
        let memory = if all {
            replay.check_memory(event)
        } else {
            None
        };
        all &= memory.is_none();
        count.rax += u64::from(rax);
        count.all += u64::from(all);
        count.random += u64::from(all && random);
        if !all && report.disagreements.len() < keep {
            let mut given = Regs::default();
            merge(&mut given, &event.r#in);
            let answered = happened.map_or("nobody inside".into(), |h| h.show());
            report.disagreements.push(Disagreement {
                i: event.i,
                leaf: name.clone(),
                text: format!(
                    "#{} lp {} {name}\n  given   {}\n  recorded {}\n  answered {answered}{}",
                    event.i,
                    event.lp,
                    show(&given),
                    expected.show(),
                    memory.map_or(String::new(), |m| format!("\n  {m}")),
                ),
            });
        }
    }
}
