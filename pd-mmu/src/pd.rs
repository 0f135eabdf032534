//! The MMU at work: messages in, programs out, what is under way for each VM.

use crate::fault::{Failure, Fault};
use crate::host_pages::HostPages;
use crate::request::{Answer, error};
use crate::{ConsoleLink, MAX_VMS, Start, TdxLink, VmmLink};
use core::fmt::{self, Write};
use gpa::Hpa;
use heapless::{Deque, String};
use ipc_console::{FromConsole, ToConsole};
use ipc_mmu_tdx as tdx;
use ipc_vmm_mmu::{self as vmm, VmId};
use memory::PhysMemory;
use mmu::{Mmu, Next, Outcome, PhysTables};
use tdx_abi::Status;

/// Faults of one VM that can wait: one per vCPU.
const MAX_FAULTS: usize = 16;

/// What the program under way is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Nothing,
    Fault(Fault),
    Request,
    /// Nobody waits for it.
    Tidy,
    Destroy,
}

#[derive(Debug)]
pub(crate) struct Vm {
    /// TDR; the root of the EPT where the VM is no TD.
    tdr: Hpa,
    pub(crate) finalized: bool,
    pub(crate) work: Work,
    /// The request of pd-vmm that waits for the program under way.
    request: Option<vmm::ToMmu>,
    faults: Deque<Fault, MAX_FAULTS>,
}

impl Vm {
    pub(crate) fn new(tdr: Hpa) -> Self {
        Self {
            tdr,
            finalized: false,
            work: Work::Nothing,
            request: None,
            faults: Deque::new(),
        }
    }
}

/// The MMU at work, once pd-tdx has said what memory there is.
pub struct Pd<'a, M> {
    pub(crate) mmu: Mmu<'a, PhysTables<M>>,
    pub(crate) host_pages: HostPages,
    hkid_shift: u8,
    console: ConsoleLink<'a>,
    vmm: VmmLink<'a>,
    tdx: TdxLink<'a>,
    pub(crate) vms: [Option<Vm>; MAX_VMS],
    unknown: u64,
}

impl<'a, M: PhysMemory> Pd<'a, M> {
    pub(crate) fn new(
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

    pub(crate) fn report_vm(&mut self, id: VmId) {
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

    pub(crate) fn vm(&mut self, id: VmId) -> Option<&mut Vm> {
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
                let fault = Fault::new(tdvpr, gpa, qualification, extended_qualification);
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
            let made = self.create(vm, kind, execute_only, finder);
            return match made {
                Ok(Answer::Now(message)) => self.answer(message),
                Ok(Answer::After(_)) => {}
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
}
