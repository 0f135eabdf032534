//! The only holder of SEAMCALL.
//!
//! pd-tdx takes SEAMCALLs from pd-vmm and pd-mmu as messages, asks the [`firewall`] about each,
//! and makes them through [`Seam`]: the instruction, or the software TDX module and CPU
//! ([`software`]). TDH.VP.ENTER is special only in that it takes time: entered vCPUs take turns,
//! and between two turns the messages are served. An exit goes to whoever it is the business of:
//! EPT violations to pd-mmu, everything else to pd-vmm, external interrupts to nobody.
#![no_std]
#![forbid(unsafe_code)]

pub mod firewall;
mod plain;
pub mod processor;
mod seam;
pub mod setup;
pub mod software;

pub use seam::{Seam, UnknownInstruction};

use core::fmt::{self, Write};
use firewall::Caller;
use gpa::{Hpa, PAGE_SIZE};
use heapless::{String, Vec};
use ipc_console::{FromConsole, ToConsole};
use ipc_mmu_tdx as mmu;
use ipc_seamcall::{BatchResult, Call, Registers};
use ipc_vmm_tdx as vmm;
use ring::Link;
use tdx_abi::{HostLeaf, Status, exit::reason};

/// vCPUs that can exist at the same time, over all TDs.
pub const MAX_VCPUS: usize = 16;

/// The channel to pd-console.
pub type ConsoleLink<'a> = Link<'a, ToConsole, FromConsole>;
/// The channel to pd-vmm.
pub type VmmLink<'a> = Link<'a, vmm::ToVmm, vmm::ToTdx>;
/// The channel to pd-mmu.
pub type MmuLink<'a> = Link<'a, mmu::ToMmu, mmu::ToTdx>;

/// What a vCPU is doing.
#[derive(Clone, Copy)]
enum Doing {
    /// Outside of the TD; its TDH.VP.ENTER has returned, or was never called.
    Nothing,
    /// An entry is under way, with this next; `id` is pd-vmm's.
    Runs { id: u32, entry: Entry },
    /// It left with an EPT violation that pd-mmu has been told of.
    WaitsForMmu { id: u32, exit: Exit },
}

/// What a vCPU is entered with.
#[derive(Clone, Copy)]
enum Entry {
    /// The registers of TDH.VP.ENTER.
    Td(Registers),
    /// VM entry of a VM that is no TD.
    Plain(vmm::VmEntry),
}

/// What a vCPU left with.
#[derive(Clone, Copy)]
enum Exit {
    Td(Registers),
    Plain(vmm::VmExit),
}

impl Exit {
    /// VMX basic exit reason; `None` where TDH.VP.ENTER didn't succeed.
    fn reason(&self) -> Option<u32> {
        match self {
            Self::Td(registers) => {
                let status = Status(registers.rax);
                status.is_success().then_some(status.details() & 0xffff)
            }
            Self::Plain(exit) => Some(exit.reason),
        }
    }
    /// The entry after this exit, if there was nothing to answer.
    fn again(&self, vcpu: &Vcpu) -> Entry {
        match self {
            Self::Td(_) => Entry::Td(enter(vcpu.tdvpr)),
            Self::Plain(exit) => Entry::Plain(vmm::VmEntry {
                registers: exit.registers,
                ..vmm::VmEntry::default()
            }),
        }
    }
    fn fault(&self, vcpu: &Vcpu) -> mmu::ToMmu {
        let (gpa, qualification, extended_qualification) = match self {
            Self::Td(registers) => (registers.r8_r15[0], registers.rcx, registers.rdx),
            Self::Plain(exit) => (exit.gpa, exit.qualification, 0),
        };
        mmu::ToMmu::Fault {
            tdr: vcpu.tdr,
            tdvpr: vcpu.tdvpr,
            gpa,
            qualification,
            extended_qualification,
        }
    }
    fn message(self, id: u32) -> vmm::ToVmm {
        match self {
            Self::Td(registers) => vmm::ToVmm::Returned { id, registers },
            Self::Plain(exit) => vmm::ToVmm::Exited { id, exit },
        }
    }
}

/// A vCPU, by the two pages that the ABI knows it by. A VM that is no TD has the root of its
/// EPT for `tdr`, its vCPUs that and their number (1, 2, …) for `tdvpr`.
struct Vcpu {
    tdr: u64,
    tdvpr: u64,
    doing: Doing,
    kicked: bool,
}

/// What happened so far, for the operator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// SEAMCALLs made for pd-vmm and pd-mmu, without TDH.VP.ENTER.
    pub calls: u64,
    /// SEAMCALLs that the leaf firewall refused.
    pub refused: u64,
    /// TDH.VP.ENTERs.
    pub entries: u64,
    /// EPT violations passed to pd-mmu.
    pub faults: u64,
    /// Messages about a vCPU or TD that does not exist, or is not in the state for it.
    pub unknown: u64,
}

/// Unknown instructions that are named on the console: a guest can have any number of them.
const MAX_UNKNOWN_NAMED: u8 = 16;

/// The protection domain's core.
pub struct Tdx<'a, S> {
    seam: S,
    console: ConsoleLink<'a>,
    vmm: VmmLink<'a>,
    mmu: MmuLink<'a>,
    vcpus: Vec<Vcpu, MAX_VCPUS>,
    next: usize,
    counters: Counters,
    /// Unknown instructions that were named on the console.
    unknown_named: u8,
}

impl<'a, S: Seam> Tdx<'a, S> {
    /// Announces itself and the configured module behind `seam` to the other domains.
    pub fn new(
        seam: S,
        module: &setup::ModuleInfo,
        pools: mmu::Pools,
        mut console: ConsoleLink<'a>,
        mut vmm: VmmLink<'a>,
        mut mmu: MmuLink<'a>,
    ) -> Self {
        let setup::ModuleInfo {
            first_hkid,
            hkids,
            tdcs_pages,
            tdvps_pages,
        } = *module;
        // Fresh rings take these.
        let _ = console.send(&ToConsole::Ready);
        let _ = mmu.send(&mmu::ToMmu::Ready { pools });
        let _ = vmm.send(&vmm::ToVmm::Ready {
            first_hkid,
            hkids,
            tdcs_pages,
            tdvps_pages,
        });
        Self {
            seam,
            console,
            vmm,
            mmu,
            vcpus: Vec::new(),
            next: 0,
            counters: Counters::default(),
            unknown_named: 0,
        }
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The boundary to the module, for what is not a SEAMCALL (statistics).
    pub fn seam(&mut self) -> &mut S {
        &mut self.seam
    }

    /// Whether to notify pd-console, pd-vmm and pd-mmu of what was sent since the last call.
    pub fn take_doorbells(&mut self) -> [bool; 3] {
        [
            self.console.take_doorbell(),
            self.vmm.take_doorbell(),
            self.mmu.take_doorbell(),
        ]
    }

    /// Serves all messages, then gives one vCPU one turn. Whether there is more to run.
    pub fn poll(&mut self) -> bool {
        while let Some(frame) = self.mmu.receive() {
            match frame {
                Ok(message) => self.serve_mmu(message),
                Err(error) => self.log(format_args!("bad frame from pd-mmu: {error:?}")),
            }
        }
        while let Some(frame) = self.vmm.receive() {
            match frame {
                Ok(message) => self.serve_vmm(message),
                Err(error) => self.log(format_args!("bad frame from pd-vmm: {error:?}")),
            }
        }
        while let Some(frame) = self.console.receive() {
            if let Ok(FromConsole::Report) = frame {
                let c = self.counters;
                self.log(format_args!(
                    "{} SEAMCALLs, {} refused, {} entries, {} EPT violations, {} unknown",
                    c.calls, c.refused, c.entries, c.faults, c.unknown
                ));
            }
        }
        let more = self.run_one();
        self.report_unknown();
        more
    }

    /// Names an instruction that the processor doesn't know, as long as there are few of them.
    fn report_unknown(&mut self) {
        let Some(unknown) = self.seam.take_unknown() else {
            return;
        };
        if self.unknown_named < MAX_UNKNOWN_NAMED {
            self.unknown_named += 1;
            self.log(format_args!("{unknown}"));
            if self.unknown_named == MAX_UNKNOWN_NAMED {
                self.log(format_args!("further unknown instructions are not named"));
            }
        }
    }

    fn log(&mut self, text: fmt::Arguments<'_>) {
        let mut line = String::new();
        // A line that is too long is cut.
        let _ = line.write_fmt(text);
        let _ = self.console.send(&ToConsole::Line(line));
    }

    fn vcpu(&mut self, tdvpr: u64) -> Option<&mut Vcpu> {
        let found = self.vcpus.iter_mut().find(|v| v.tdvpr == tdvpr);
        if found.is_none() {
            self.counters.unknown += 1;
        }
        found
    }

    fn serve_vmm(&mut self, message: vmm::ToTdx) {
        match message {
            vmm::ToTdx::Seamcall { id, registers } if is_leaf(registers.rax, HostLeaf::VpEnter) => {
                self.enter(id, registers);
            }
            vmm::ToTdx::Seamcall { id, mut registers } => {
                let leaf = registers.rax as u16;
                let answer = match self.call(Caller::Vmm, &mut registers) {
                    Ok(()) => vmm::ToVmm::Returned { id, registers },
                    Err(Refused) => vmm::ToVmm::Refused { id, leaf },
                };
                let _ = self.vmm.send(&answer);
            }
            vmm::ToTdx::Batch { id, calls } => {
                let result = self.batch(Caller::Vmm, calls.iter().copied().map(mmu::Step::Call));
                let _ = self.vmm.send(&vmm::ToVmm::BatchDone { id, result });
            }
            vmm::ToTdx::Sweep { id, sweep } => {
                let result = self.batch(Caller::Vmm, sweep.calls().map(mmu::Step::Call));
                let _ = self.vmm.send(&vmm::ToVmm::BatchDone { id, result });
            }
            // What is posted is looked at on every entry, and no vCPU is inside of its TD while
            // messages are served: knowing the vCPU is all there is to do.
            vmm::ToTdx::Notify { tdvpr } => {
                self.vcpu(tdvpr);
            }
            vmm::ToTdx::TscFrequency { hz } => self.seam.set_tsc_frequency(hz),
            vmm::ToTdx::Enter { id, vcpu, entry } => self.enter_plain(id, vcpu, entry),
            vmm::ToTdx::Forget { vcpu } => {
                let ours = |v: &Vcpu| is_plain(v) && v.tdvpr == vcpu;
                if self.vcpus.iter().any(ours) {
                    self.vcpus.retain(|v| !ours(v));
                    self.seam.vm_forget(vcpu);
                }
            }
            vmm::ToTdx::Kick { tdvpr } => {
                if let Some(vcpu) = self.vcpu(tdvpr) {
                    vcpu.kicked = true;
                }
            }
        }
    }

    fn serve_mmu(&mut self, message: mmu::ToTdx) {
        match message {
            mmu::ToTdx::Program { id, steps } => {
                let result = self.batch(Caller::Mmu, steps.iter().copied());
                let _ = self.mmu.send(&mmu::ToMmu::ProgramDone { id, result });
            }
            mmu::ToTdx::Resume { tdvpr } => {
                if let Some((id, exit)) = self.end_wait(tdvpr)
                    && let Some(vcpu) = self.vcpu(tdvpr)
                {
                    let entry = exit.again(vcpu);
                    vcpu.doing = Doing::Runs { id, entry };
                }
            }
            mmu::ToTdx::Decline { tdvpr } => {
                if let Some((id, exit)) = self.end_wait(tdvpr) {
                    let _ = self.vmm.send(&exit.message(id));
                }
            }
        }
    }

    /// Has a vCPU that waits for pd-mmu do nothing; what it left with.
    fn end_wait(&mut self, tdvpr: u64) -> Option<(u32, Exit)> {
        let vcpu = self.vcpu(tdvpr)?;
        if let Doing::WaitsForMmu { id, exit } = vcpu.doing {
            vcpu.doing = Doing::Nothing;
            return Some((id, exit));
        }
        self.counters.unknown += 1;
        None
    }

    fn enter(&mut self, id: u32, registers: Registers) {
        // The module knows no vCPU that we do not: it says what is wrong with the operand.
        match self.vcpu(registers.rcx) {
            Some(vcpu) if matches!(vcpu.doing, Doing::Nothing) && !is_plain(vcpu) => {
                let entry = Entry::Td(registers);
                vcpu.doing = Doing::Runs { id, entry };
            }
            Some(_) => {
                let rax = Status::OPERAND_BUSY.with(tdx_abi::Operand::RCX).0;
                let registers = Registers { rax, ..registers };
                let _ = self.vmm.send(&vmm::ToVmm::Returned { id, registers });
            }
            None => {
                let mut registers = registers;
                self.seam.seamcall(&mut registers);
                let _ = self.vmm.send(&vmm::ToVmm::Returned { id, registers });
            }
        }
    }

    /// VM entry of a VM that is no TD. What EPT it has is pd-vmm's claim: the processor lets no
    /// entry of it lead anywhere but to shared memory.
    fn enter_plain(&mut self, id: u32, handle: u64, entry: vmm::VmEntry) {
        let known = self.vcpus.iter().any(|vcpu| vcpu.tdvpr == handle);
        // A page of its own is a TDVPR.
        let fits = (1..=MAX_VCPUS as u64).contains(&(handle % PAGE_SIZE));
        if !known && fits && !self.vcpus.is_full() {
            let _ = self.vcpus.push(Vcpu {
                tdr: handle - handle % PAGE_SIZE,
                tdvpr: handle,
                doing: Doing::Nothing,
                kicked: false,
            });
        }
        match self.vcpu(handle) {
            Some(vcpu) if matches!(vcpu.doing, Doing::Nothing) && is_plain(vcpu) => {
                let entry = Entry::Plain(entry);
                vcpu.doing = Doing::Runs { id, entry };
            }
            _ => {
                let exit = vmm::VmExit {
                    reason: vmm::VmExit::NO_ENTRY,
                    ..vmm::VmExit::default()
                };
                let _ = self.vmm.send(&vmm::ToVmm::Exited { id, exit });
            }
        }
    }

    /// One call that is not TDH.VP.ENTER.
    fn call(&mut self, caller: Caller, registers: &mut Registers) -> Result<(), Refused> {
        let &mut Registers { rax, rcx, rdx, .. } = registers;
        let creates = is_leaf(rax, HostLeaf::VpCreate);
        if !firewall::allows(caller, rax) || (creates && self.vcpus.is_full()) {
            self.counters.refused += 1;
            return Err(Refused);
        }
        self.counters.calls += 1;
        self.seam.seamcall(registers);
        if Status(registers.rax).is_success() {
            if creates {
                let _ = self.vcpus.push(Vcpu {
                    tdr: rdx,
                    tdvpr: rcx,
                    doing: Doing::Nothing,
                    kicked: false,
                });
            } else if is_leaf(rax, HostLeaf::PhymemPageReclaim) {
                self.vcpus.retain(|v| v.tdvpr != rcx);
            }
        }
        Ok(())
    }

    /// Steps up to the first that does not succeed.
    fn batch(&mut self, caller: Caller, steps: impl Iterator<Item = mmu::Step>) -> BatchResult {
        let mut result = BatchResult {
            succeeded: 0,
            last: Call::default(),
            refused: false,
        };
        for step in steps {
            match step {
                // No vCPU is inside of its TD while messages are served: all of them have left
                // it since TDH.MEM.TRACK, and take the new epoch on their next entry.
                mmu::Step::Kick(_) => self.seam.invept(),
                mmu::Step::Call(call) => {
                    let mut registers = Registers::from(call);
                    // TDH.VP.ENTER takes registers that a batch does not have.
                    if is_leaf(call.rax, HostLeaf::VpEnter)
                        || self.call(caller, &mut registers).is_err()
                    {
                        return BatchResult {
                            last: call,
                            refused: true,
                            ..result
                        };
                    }
                    let Registers {
                        rax,
                        rcx,
                        rdx,
                        r8_r15: [r8, r9, ..],
                        ..
                    } = registers;
                    result.last = Call {
                        rax,
                        rcx,
                        rdx,
                        r8,
                        r9,
                    };
                    if Status(rax).is_error() {
                        break;
                    }
                }
            }
            result.succeeded += 1;
        }
        result
    }

    /// One turn of the next vCPU that has something to run. Whether there was one.
    fn run_one(&mut self) -> bool {
        let count = self.vcpus.len();
        let Some(index) = (0..count)
            .map(|i| (self.next + i) % count)
            .find(|&i| matches!(self.vcpus[i].doing, Doing::Runs { .. }))
        else {
            return false;
        };
        self.next = index + 1;
        let vcpu = &mut self.vcpus[index];
        let Doing::Runs { id, entry } = vcpu.doing else {
            return false;
        };
        self.counters.entries += 1;
        let exit = match entry {
            Entry::Td(mut registers) => {
                self.seam.seamcall(&mut registers);
                Exit::Td(registers)
            }
            Entry::Plain(entry) => {
                let root = Hpa::new(vcpu.tdr);
                Exit::Plain(self.seam.vm_enter(root, vcpu.tdvpr, &entry))
            }
        };
        match exit.reason() {
            Some(reason::INTERRUPT) if !core::mem::take(&mut vcpu.kicked) => {
                let entry = exit.again(vcpu);
                vcpu.doing = Doing::Runs { id, entry };
            }
            Some(reason::EPT_VIOLATION) => {
                vcpu.doing = Doing::WaitsForMmu { id, exit };
                self.counters.faults += 1;
                let _ = self.mmu.send(&exit.fault(vcpu));
            }
            _ => {
                vcpu.doing = Doing::Nothing;
                vcpu.kicked = false;
                let _ = self.vmm.send(&exit.message(id));
            }
        }
        true
    }
}

struct Refused;

/// Whether this is no TD's vCPU: those are known by whole pages.
fn is_plain(vcpu: &Vcpu) -> bool {
    !vcpu.tdvpr.is_multiple_of(PAGE_SIZE)
}

fn is_leaf(rax: u64, leaf: HostLeaf) -> bool {
    rax as u16 == leaf.number()
}

/// TDH.VP.ENTER after an exit that was not a TDCALL: the guest's registers are the TD's own.
fn enter(tdvpr: u64) -> Registers {
    Registers {
        rax: HostLeaf::VpEnter.number().into(),
        rcx: tdvpr,
        ..Registers::default()
    }
}
