//! Guest memory, shadow pages, stolen-bit roots.
//!
//! pd-mmu answers two kinds of questions: what pd-vmm asks for a VM (memory, conversions, pages
//! to build it with), and what a vCPU's EPT violation asks for (from pd-tdx). Both go to
//! [`mmu::Mmu`]; what it wants done at the TDX module goes to pd-tdx as programs. One program
//! per VM is under way at a time: faults and the one request of pd-vmm wait for it.
#![no_std]
#![forbid(unsafe_code)]

mod host_pages;
mod storage;

pub use storage::Storage;

use core::fmt::{self, Write};
use ept::Access;
use gpa::{Gfn, Gpa, Hpa, PAGE_SIZE};
use heapless::{Deque, String};
use host_pages::HostPages;
use ipc_console::{FromConsole, ToConsole};
use ipc_mmu_tdx as tdx;
use ipc_vmm_mmu::{self as vmm, MAX_PAGES, VmId};
use memory::PhysMemory;
use mmu::{Config, Finder, Mmu, Next, Outcome, PhysTables, Place, Resource, Role, SlotConfig};
use ring::Link;
use tdx_abi::Status;
use tdx_abi::exit::{ept_violation, extended};

/// VMs that can exist at the same time.
pub const MAX_VMS: usize = 8;
/// Faults of one VM that can wait: one per vCPU.
const MAX_FAULTS: usize = 16;
/// Memory of a VM that is no TD is mapped by leaves of 2 MiB where that fits.
const PLAIN_LEVEL: u8 = 1;

/// The channel to pd-console.
pub type ConsoleLink<'a> = Link<'a, ToConsole, FromConsole>;
/// The channel to pd-vmm.
pub type VmmLink<'a> = Link<'a, vmm::ToVmm, vmm::ToMmu>;
/// The channel to pd-tdx.
pub type TdxLink<'a> = Link<'a, tdx::ToTdx, tdx::ToMmu>;

/// A vCPU that waits for its fault to be dealt with.
#[derive(Clone, Copy, Debug)]
struct Fault {
    tdvpr: u64,
    gpa: Gpa,
    access: Access,
    accept_level: Option<u8>,
}

/// What the program under way is for.
#[derive(Clone, Copy, Debug)]
enum Work {
    Nothing,
    Fault(Fault),
    Request,
    /// Nobody waits for it.
    Tidy,
    Destroy,
}

/// What the protection domain is given at start.
pub struct Start<'a, M> {
    /// Host physical address and length in bytes of the pages for tables, which `memory` shows.
    pub shadow: (Hpa, u64),
    /// Metadata.
    pub storage: &'a mut Storage,
    /// Host physical memory, as far as it is mapped.
    pub memory: M,
    /// To pd-console.
    pub console: ConsoleLink<'a>,
    /// To pd-vmm.
    pub vmm: VmmLink<'a>,
    /// To pd-tdx.
    pub tdx: TdxLink<'a>,
}

/// The protection domain's core.
// There is one, and it stays where it is.
#[allow(clippy::large_enum_variant)]
pub enum Core<'a, M> {
    /// pd-tdx has not said yet what memory there is.
    Starting(Start<'a, M>),
    /// At work.
    Running(Pd<'a, M>),
    /// The memory that pd-tdx named cannot be used; the console was told why.
    Failed(Option<ConsoleLink<'a>>),
}

impl<'a, M: PhysMemory> Core<'a, M> {
    /// Announces itself.
    pub fn new(mut start: Start<'a, M>) -> Self {
        // A fresh ring takes this.
        let _ = start.console.send(&ToConsole::Ready);
        Self::Starting(start)
    }

    /// Serves all messages.
    pub fn poll(&mut self) {
        while let Self::Starting(start) = self {
            match start.tdx.receive() {
                Some(Ok(tdx::ToMmu::Ready { pools })) => {
                    if let Self::Starting(start) = core::mem::replace(self, Self::Failed(None)) {
                        *self = Pd::new(start, &pools).map_or_else(Self::failed, Self::Running);
                    }
                }
                // Nothing else makes sense before.
                Some(_) => {}
                None => return,
            }
        }
        if let Self::Running(pd) = self {
            pd.poll();
        }
    }

    fn failed((what, mut console): (&'static str, ConsoleLink<'a>)) -> Self {
        let mut line = String::new();
        let _ = line.push_str(what);
        let _ = console.send(&ToConsole::Line(line));
        Self::Failed(Some(console))
    }

    /// Whether to notify pd-console, pd-vmm and pd-tdx of what was sent since the last call.
    pub fn take_doorbells(&mut self) -> [bool; 3] {
        match self {
            Self::Starting(Start { console, .. }) | Self::Failed(Some(console)) => {
                [console.take_doorbell(), false, false]
            }
            Self::Failed(None) => [false; 3],
            Self::Running(pd) => pd.take_doorbells(),
        }
    }
}

#[derive(Debug)]
struct Vm {
    tdr: Hpa,
    finalized: bool,
    work: Work,
    /// The request of pd-vmm that waits for the program under way.
    request: Option<vmm::ToMmu>,
    faults: Deque<Fault, MAX_FAULTS>,
}

/// The MMU at work, once pd-tdx has said what memory there is.
pub struct Pd<'a, M> {
    mmu: Mmu<'a, PhysTables<M>>,
    host_pages: HostPages,
    hkid_shift: u8,
    console: ConsoleLink<'a>,
    vmm: VmmLink<'a>,
    tdx: TdxLink<'a>,
    vms: [Option<Vm>; MAX_VMS],
    unknown: u64,
}

impl<'a, M: PhysMemory> Pd<'a, M> {
    fn new(
        start: Start<'a, M>,
        pools: &tdx::Pools,
    ) -> Result<Self, (&'static str, ConsoleLink<'a>)> {
        let Start {
            shadow,
            storage,
            memory,
            console,
            mut vmm,
            tdx,
        } = start;
        let (mmu, host_pages) = match storage.divide(shadow, pools, memory) {
            Ok(divided) => divided,
            Err(what) => return Err((what, console)),
        };
        // A fresh ring takes this.
        let _ = vmm.send(&vmm::ToVmm::Ready);
        Ok(Self {
            mmu,
            host_pages,
            hkid_shift: pools.hkid_shift,
            console,
            vmm,
            tdx,
            vms: [const { None }; MAX_VMS],
            unknown: 0,
        })
    }

    /// Whether to notify pd-console, pd-vmm and pd-tdx of what was sent since the last call.
    pub fn take_doorbells(&mut self) -> [bool; 3] {
        [
            self.console.take_doorbell(),
            self.vmm.take_doorbell(),
            self.tdx.take_doorbell(),
        ]
    }

    /// The MMU, to look at.
    pub fn mmu(&self) -> &Mmu<'a, PhysTables<M>> {
        &self.mmu
    }

    /// Serves all messages.
    pub fn poll(&mut self) {
        while let Some(frame) = self.tdx.receive() {
            match frame {
                Ok(message) => self.serve_tdx(message),
                Err(error) => self.log(format_args!("bad frame from pd-tdx: {error:?}")),
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
                self.report();
            }
        }
        for id in 0..MAX_VMS {
            self.tidy(id as VmId);
        }
    }

    /// Uses the time in which a running VM wants nothing: small pages become large ones again.
    fn tidy(&mut self, id: VmId) {
        let Some(vm) = self.vm(id) else { return };
        let idle = matches!(vm.work, Work::Nothing) && vm.finalized;
        if idle && self.mmu.tidy(id as u8) == Ok(Next::Run) {
            if let Some(vm) = self.vm(id) {
                vm.work = Work::Tidy;
            }
            self.send_program(id);
        }
    }

    fn report(&mut self) {
        for id in 0..MAX_VMS {
            self.report_vm(id as VmId);
        }
        let (tables, control) = (self.mmu.tables().used(), self.mmu.control_pages().used());
        let unknown = self.unknown;
        self.log(format_args!(
            "{tables} table pages, {control} control pages, {unknown} unknown"
        ));
    }

    fn report_vm(&mut self, id: VmId) {
        if let Ok(s) = self.mmu.stats(id as u8) {
            self.log(format_args!(
                "vm {id}: private {} x 2 MiB + {} x 4 KiB, shared {}, converted {} + {}",
                s.private_2m, s.private_4k, s.shared, s.to_shared, s.to_private
            ));
            self.log(format_args!(
                "vm {id}: {} faults, {} SEAMCALLs, {} tracks, {} demotions, {} promotions, {} retries",
                s.faults, s.seamcalls, s.tracks, s.demotions, s.promotions, s.retries
            ));
        }
    }

    fn log(&mut self, text: fmt::Arguments<'_>) {
        let mut line = String::new();
        // A line that is too long is cut.
        let _ = line.write_fmt(text);
        let _ = self.console.send(&ToConsole::Line(line));
    }

    fn vm(&mut self, id: VmId) -> Option<&mut Vm> {
        self.vms.get_mut(usize::from(id))?.as_mut()
    }

    // ---- pd-tdx ----

    fn serve_tdx(&mut self, message: tdx::ToMmu) {
        match message {
            // Said once, and heard before.
            tdx::ToMmu::Ready { .. } => self.unknown += 1,
            tdx::ToMmu::ProgramDone { id, result } => {
                let id = id as VmId;
                let steps = self.mmu.program(id as u8).len();
                let outcome = Outcome {
                    done: usize::from(result.succeeded).min(steps),
                    status: result.last.rax,
                    rcx: result.last.rcx,
                    rdx: result.last.rdx,
                };
                if self
                    .vm(id)
                    .is_none_or(|vm| matches!(vm.work, Work::Nothing))
                {
                    self.unknown += 1;
                    return;
                }
                let next = self.mmu.complete(id as u8, outcome);
                self.go_on(id, next);
            }
            tdx::ToMmu::Fault {
                tdr,
                tdvpr,
                gpa,
                qualification,
                extended_qualification,
            } => {
                let id = self
                    .vms
                    .iter()
                    .position(|vm| vm.as_ref().is_some_and(|vm| vm.tdr.get() == tdr));
                let fault = Fault {
                    tdvpr,
                    gpa: Gpa::new(gpa),
                    access: access(qualification),
                    accept_level: accept_level(extended_qualification),
                };
                match id {
                    Some(id)
                        if self.vms[id]
                            .as_mut()
                            .is_some_and(|vm| vm.faults.push_back(fault).is_ok()) =>
                    {
                        self.next_work(id as VmId);
                    }
                    _ => {
                        self.unknown += 1;
                        let _ = self.tdx.send(&tdx::ToTdx::Decline { tdvpr });
                    }
                }
            }
        }
    }

    // ---- pd-vmm ----

    fn serve_vmm(&mut self, message: vmm::ToMmu) {
        let id = message.vm();
        if let vmm::ToMmu::Create {
            vm,
            kind,
            execute_only,
            finder,
        } = message
        {
            let made =
                config(kind, execute_only, finder).and_then(|config| self.create(vm, config));
            return match made {
                Ok(()) => {}
                Err(error) => self.answer(vmm::ToVmm::Failed { vm, error }),
            };
        }
        let Some(vm) = self.vm(id) else {
            self.unknown += 1;
            return self.answer(vmm::ToVmm::Failed {
                vm: id,
                error: vmm::Error::UnknownVm,
            });
        };
        if vm.request.is_some() || matches!(vm.work, Work::Request | Work::Destroy) {
            return self.answer(vmm::ToVmm::Failed {
                vm: id,
                error: vmm::Error::Busy,
            });
        }
        vm.request = Some(message);
        self.next_work(id);
    }

    fn answer(&mut self, message: vmm::ToVmm) {
        let _ = self.vmm.send(&message);
    }

    fn create(&mut self, id: VmId, config: Config) -> Result<(), vmm::Error> {
        let place = self.vms.get(usize::from(id)).ok_or(vmm::Error::NoVmSlot)?;
        if place.is_some() {
            return Err(vmm::Error::NoVmSlot);
        }
        let is_td = config.shared_bit.is_some();
        self.mmu.create(id as u8, config).map_err(error)?;
        let root = self.mmu.shared_root(id as u8);
        let made = root.and_then(|root| match is_td {
            true => Ok((self.mmu.grant(id as u8, Role::Tdr)?, root)),
            false => Ok((root, root)),
        });
        let (tdr, root) = match made {
            Ok(made) => made,
            Err(failed) => {
                // Nothing is at the module yet, so this is over at once.
                let _ = self.mmu.reclaim(id as u8);
                return Err(error(failed));
            }
        };
        self.vms[usize::from(id)] = Some(Vm {
            tdr,
            finalized: false,
            work: Work::Nothing,
            request: None,
            faults: Deque::new(),
        });
        // The field takes the address alone: levels and memory type are the private EPTP's.
        let shared_eptp = root.get();
        self.answer(vmm::ToVmm::Created {
            vm: id,
            tdr: tdr.get(),
            shared_eptp,
        });
        Ok(())
    }

    /// Starts what waits, until a program is under way or nothing waits.
    fn next_work(&mut self, id: VmId) {
        while let Some(vm) = self.vm(id) {
            if !matches!(vm.work, Work::Nothing) {
                return;
            }
            if let Some(request) = vm.request.take() {
                vm.work = Work::Request;
                match self.request(id, &request) {
                    Ok(Answer::After(next)) => self.go_on(id, Ok(next)),
                    Ok(Answer::Now(message)) => {
                        self.idle(id);
                        self.answer(message);
                    }
                    Err(error) => {
                        self.idle(id);
                        self.answer(vmm::ToVmm::Failed { vm: id, error });
                    }
                }
            } else if let Some(fault) = vm.faults.pop_front() {
                vm.work = Work::Fault(fault);
                let next = self.fault(id, &fault);
                self.go_on(id, next);
            } else {
                return;
            }
        }
    }

    fn idle(&mut self, id: VmId) {
        if let Some(vm) = self.vm(id) {
            vm.work = Work::Nothing;
        }
    }

    /// Sends the next program of the work under way, or ends it.
    fn go_on(&mut self, id: VmId, next: Result<Next, mmu::Error>) {
        let Some(vm) = self.vm(id) else { return };
        let work = vm.work;
        if next == Ok(Next::Run) {
            return self.send_program(id);
        }
        vm.work = Work::Nothing;
        match (work, next) {
            (Work::Tidy, _) => {}
            (Work::Fault(Fault { tdvpr, .. }), Ok(Next::Done)) => {
                let _ = self.tdx.send(&tdx::ToTdx::Resume { tdvpr });
            }
            (Work::Fault(fault), failed) => {
                self.log(format_args!(
                    "vm {id}: fault at {:x}: {}",
                    fault.gpa,
                    Failure(failed)
                ));
                let _ = self.tdx.send(&tdx::ToTdx::Decline { tdvpr: fault.tdvpr });
            }
            (Work::Destroy, Ok(Next::Done)) => {
                self.host_pages.free(id);
                self.vms[usize::from(id)] = None;
                self.answer(vmm::ToVmm::Done { vm: id });
            }
            (_, Ok(Next::Done)) => self.answer(vmm::ToVmm::Done { vm: id }),
            (_, Ok(Next::Refused { status, step, .. })) => {
                self.log(format_args!("vm {id}: {step:x?}: {}", Status(status)));
                self.answer(vmm::ToVmm::Failed {
                    vm: id,
                    error: vmm::Error::Module(status),
                });
            }
            (_, Err(failed)) => {
                self.answer(vmm::ToVmm::Failed {
                    vm: id,
                    error: error(failed),
                });
            }
            (_, Ok(Next::Run)) => {}
        }
        self.next_work(id);
    }

    fn send_program(&mut self, id: VmId) {
        let Some(tdr) = self.vm(id).map(|vm| vm.tdr) else {
            return;
        };
        let shift = self.hkid_shift;
        let steps = self.mmu.program(id as u8).iter();
        let steps = steps.map(|step| match step.to_regs(tdr, shift) {
            Some(mmu::Registers {
                rax,
                rcx,
                rdx,
                r8,
                r9,
            }) => tdx::Step::Call(tdx::Call {
                rax,
                rcx,
                rdx,
                r8,
                r9,
            }),
            None => tdx::Step::Kick(tdr.get()),
        });
        let program = tdx::ToTdx::Program {
            id: id.into(),
            steps: steps.collect(),
        };
        if self.tdx.send(&program).is_err() {
            // pd-tdx does not read: as if the module had stayed busy through all retries.
            let status = Status::OPERAND_BUSY.0;
            let next = self.mmu.complete(
                id as u8,
                Outcome {
                    done: 0,
                    status,
                    rcx: 0,
                    rdx: 0,
                },
            );
            if next != Ok(Next::Run) {
                self.go_on(id, next);
            }
        }
    }

    fn fault(&mut self, id: VmId, fault: &Fault) -> Result<Next, mmu::Error> {
        let id = id as u8;
        match self
            .mmu
            .fault(id, fault.gpa, fault.access, fault.accept_level)
        {
            // Shared addresses without memory are devices: the guest gets a #VE next time.
            Err(mmu::Error::NoSlot) => match self.mmu.map_device(id, fault.gpa) {
                Ok(()) => Ok(Next::Done),
                Err(_) => Err(mmu::Error::NoSlot),
            },
            next => next,
        }
    }

    fn request(&mut self, id: VmId, request: &vmm::ToMmu) -> Result<Answer, vmm::Error> {
        let vm = id as u8;
        let finalized = self.vm(id).is_some_and(|vm| vm.finalized);
        match *request {
            vmm::ToMmu::Create { .. } => Err(vmm::Error::NoVmSlot),
            vmm::ToMmu::ControlPages { count, .. } => {
                if usize::from(count) > MAX_PAGES {
                    return Err(vmm::Error::TooMany);
                }
                let mut pages = heapless::Vec::new();
                for _ in 0..count {
                    // What is handed out before the pool is empty comes back with the VM.
                    let page = self.mmu.grant(vm, Role::Tdcx).map_err(error)?;
                    let _ = pages.push(page.get());
                }
                Ok(Answer::Now(vmm::ToVmm::Pages { vm: id, pages }))
            }
            vmm::ToMmu::SharedPages { count, .. } => {
                if usize::from(count) > MAX_PAGES {
                    return Err(vmm::Error::TooMany);
                }
                let mut pages = heapless::Vec::new();
                for _ in 0..count {
                    let page = self.host_pages.take(id).ok_or(vmm::Error::NoMemory)?;
                    let _ = pages.push(page.get());
                }
                Ok(Answer::Now(vmm::ToVmm::Pages { vm: id, pages }))
            }
            vmm::ToMmu::AddSlot { gpa, len, .. } => {
                if !Gpa::new(gpa | len).is_aligned(PAGE_SIZE) {
                    return Err(vmm::Error::BadRange);
                }
                let (gfn, pages) = (Gfn::new(gpa / PAGE_SIZE), len / PAGE_SIZE);
                let slot = match self.mmu.tdr(vm) {
                    Some(_) => SlotConfig::private(gfn, pages),
                    None => SlotConfig::plain(gfn, pages, PLAIN_LEVEL),
                };
                self.mmu.add_slot(vm, slot).map_err(error)?;
                Ok(Answer::After(Next::Done))
            }
            vmm::ToMmu::Populate {
                gpa, source, pages, ..
            } => {
                if finalized {
                    return Err(vmm::Error::BadState);
                }
                let (alias, gfn) = self.mmu.split(vm, Gpa::new(gpa)).map_err(error)?;
                if !alias.is_private() || gpa % PAGE_SIZE != 0 {
                    return Err(vmm::Error::BadRange);
                }
                self.mmu
                    .add_image(vm, gfn, pages.into(), Hpa::new(source), false)
                    .map(Answer::After)
                    .map_err(error)
            }
            vmm::ToMmu::Back { gpa, pages, .. } => {
                if usize::from(pages) > MAX_PAGES {
                    return Err(vmm::Error::TooMany);
                }
                let last = u64::from(pages) * PAGE_SIZE;
                if gpa % PAGE_SIZE != 0 || gpa.checked_add(last).is_none() {
                    return Err(vmm::Error::BadRange);
                }
                let mut found = heapless::Vec::new();
                for gpa in (gpa..gpa + last).step_by(PAGE_SIZE as usize) {
                    // What was mapped before an error stays mapped: the guest may touch it.
                    let page = self.mmu.back(vm, Gpa::new(gpa)).map_err(error)?;
                    let _ = found.push(page.get());
                }
                Ok(Answer::Now(vmm::ToVmm::Pages {
                    vm: id,
                    pages: found,
                }))
            }
            vmm::ToMmu::Finalized { .. } => {
                if let Some(vm) = self.vm(id) {
                    vm.finalized = true;
                }
                Ok(Answer::After(Next::Done))
            }
            vmm::ToMmu::MapGpa { gpa, len, .. } => {
                if !finalized {
                    return Err(vmm::Error::BadState);
                }
                self.mmu
                    .map_gpa(vm, Gpa::new(gpa), len)
                    .map(Answer::After)
                    .map_err(error)
            }
            vmm::ToMmu::CacheWriteback { .. } => self
                .mmu
                .run_once(vm, mmu::Step::CacheWb)
                .map(Answer::After)
                .map_err(error),
            vmm::ToMmu::Destroy { .. } => {
                self.report_vm(id);
                if let Some(vm) = self.vm(id) {
                    vm.work = Work::Destroy;
                }
                self.mmu.reclaim(vm).map(Answer::After).map_err(error)
            }
            vmm::ToMmu::Stats { .. } => {
                let s = self.mmu.stats(vm).map_err(error)?;
                Ok(Answer::Now(vmm::ToVmm::Stats {
                    vm: id,
                    stats: vmm::Stats {
                        private_4k: s.private_4k,
                        private_2m: s.private_2m,
                        shared_4k: s.shared,
                        tables: s.sept_pages + self.mmu.tables().used() as u64,
                        faults: s.faults,
                        conversions: s.to_shared + s.to_private,
                        seamcalls: s.seamcalls,
                    },
                }))
            }
        }
    }
}

/// What a VM is to be.
fn config(kind: vmm::Kind, execute_only: u8, finder: u8) -> Result<Config, vmm::Error> {
    let config = match kind {
        vmm::Kind::Td { gpaw: false, hkid } => Config::td(hkid),
        vmm::Kind::Td { gpaw: true, hkid } => Config::td_wide(hkid),
        vmm::Kind::Plain => Config::plain(48),
    };
    Ok(Config {
        // One root for both: the CPU sees only a permission.
        execute_only: (execute_only != 0).then_some((execute_only, Place::Leaf)),
        finder: Finder::from_number(finder).ok_or(vmm::Error::BadConfig)?,
        ..config
    })
}

/// How a request is answered.
enum Answer {
    /// By this message, at once.
    Now(vmm::ToVmm),
    /// By `Done` or `Failed`, after this.
    After(Next),
}

fn error(failed: mmu::Error) -> vmm::Error {
    use mmu::Error as E;
    match failed {
        E::NoSuchVm => vmm::Error::UnknownVm,
        E::VmExists => vmm::Error::NoVmSlot,
        E::BadConfig => vmm::Error::BadConfig,
        E::BeyondWidth | E::NoSuchAlias | E::BadRange => vmm::Error::BadRange,
        E::NoSlot | E::SlotOverlap | E::ForeignFrame => vmm::Error::NoSlot,
        E::TooManySlots
        | E::NoMemory(
            Resource::Tables
            | Resource::Control
            | Resource::Private
            | Resource::Shared
            | Resource::Attributes
            | Resource::Keys,
        ) => vmm::Error::NoMemory,
        E::Busy => vmm::Error::Busy,
        E::WrongKind | E::NotPermitted | E::Occupied | E::NoProgram | E::Unsupported => {
            vmm::Error::BadState
        }
    }
}

/// Why a fault was declined.
struct Failure(Result<Next, mmu::Error>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(Next::Refused { step, status, .. }) => write!(f, "{step:x?}: {}", Status(status)),
            Ok(_) => f.write_str("dealt with"),
            Err(error) => write!(f, "{error}"),
        }
    }
}

/// The access that an exit qualification tells of.
fn access(qualification: u64) -> Access {
    let of = |bit, access| {
        if qualification & bit != 0 {
            access
        } else {
            Access::from_bits(0)
        }
    };
    of(ept_violation::READ, Access::READ)
        .union(of(ept_violation::WRITE, Access::WRITE))
        .union(of(ept_violation::FETCH, Access::EXECUTE))
}

/// The level that the guest wants to accept, if that is why it left.
fn accept_level(extended_qualification: u64) -> Option<u8> {
    // TDX module ABI, "VM Exit Extended Qualification": the type in bits 3:0, the requested
    // level in bits 34:32.
    (extended_qualification & 0xf == extended::ACCEPT)
        .then_some((extended_qualification >> 32 & 7) as u8)
}
