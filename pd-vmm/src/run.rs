//! A VM while its guest runs: exits, interrupts, timers.

use crate::board::Power;
use crate::cpuid::cpuid;
use crate::exit::Exit;
use crate::goal::Goal;
use crate::ioapic::Message;
use crate::lapic::{Effect, Lapic};
use crate::lifecycle::Step;
use crate::outcome::Outcome;
use crate::tdvmcall::{Access, Error, Reply, Request};
use crate::vcpu::Run;
use crate::vm::Vm;
use crate::{Context, Host, msr};
use ipc_vmm_mmu::{Error as MmuError, ToMmu};
use ipc_vmm_tdx::{BatchResult, Call, Registers, ToTdx};
use tdx_abi::field::id;
use tdx_abi::tdvmcall::result;
use tdx_abi::{HostLeaf, Status};

/// MapGPA is done in steps of this many bytes; between two of them the vCPU may be needed for
/// an interrupt.
const MAP_STEP: u64 = 2 << 20;
/// TDH.VP.ENTER may find a lock held this often in a row.
const MAX_BUSY: u32 = 100_000;
/// The SHARED bit.
const SHARED: u64 = tdx_abi::td::shared_bit(false);
/// VCPU_STATE_DETAILS.VMXIP: an interrupt is pending in the vCPU's APIC.
const VMXIP: u64 = 1;

impl Vm {
    /// TDH.VP.ENTER of this vCPU returned.
    pub(crate) fn exited<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        number: usize,
        registers: Registers,
    ) {
        let Some(vcpu) = self.vcpus.get_mut(number) else {
            return;
        };
        vcpu.call = None;
        vcpu.kick = false;
        if vcpu.run != Run::Entered {
            return;
        }
        self.counters.exits += 1;
        let exit = Exit::decode(&registers);
        if let Exit::Busy(status) = exit {
            vcpu.busy += 1;
            if vcpu.busy <= MAX_BUSY {
                vcpu.run = Run::Ready;
                return;
            }
            return self.cannot_run(
                cx,
                number,
                format_args!("TDH.VP.ENTER: {status:?}, forever"),
            );
        }
        vcpu.busy = 0;
        match exit {
            Exit::Vmcall => {
                vcpu.input = registers;
                match Request::decode(&registers, SHARED) {
                    Ok(request) => self.requested(cx, number, request),
                    Err(error) => {
                        self.counters.refused += 1;
                        self.vcpus[number].reply(error);
                    }
                }
            }
            Exit::Resume | Exit::Busy(_) => vcpu.resume(Registers::default()),
            Exit::TripleFault => self.end(cx, Outcome::TripleFault { vcpu: number }),
            Exit::EptViolation { gpa, qualification } => self.end(
                cx,
                Outcome::BadAccess {
                    vcpu: number,
                    gpa,
                    qualification,
                },
            ),
            Exit::EptMisconfiguration { gpa } => self.end(
                cx,
                Outcome::BadAccess {
                    vcpu: number,
                    gpa,
                    qualification: 0,
                },
            ),
            Exit::Lost(status) => self.end(
                cx,
                Outcome::Lost {
                    vcpu: number,
                    status,
                },
            ),
            Exit::Refused(status) => {
                self.cannot_run(cx, number, format_args!("TDH.VP.ENTER: {status:?}"));
            }
            Exit::Unexpected { reason } => {
                self.cannot_run(
                    cx,
                    number,
                    format_args!("VM exit {reason} is none of a TD's"),
                );
            }
        }
    }

    /// TDH.VP.RD of VCPU_STATE_DETAILS returned, for a vCPU that executed HLT.
    pub(crate) fn state_read<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        number: usize,
        result: BatchResult,
    ) {
        let Some(vcpu) = self.vcpus.get_mut(number) else {
            return;
        };
        vcpu.call = None;
        if vcpu.run != Run::Halting {
            return;
        }
        if result.refused {
            let leaf = HostLeaf::VpRd.number();
            return self.call_refused(cx, number, leaf);
        }
        if result.succeeded == 0 {
            let status = Status(result.last.rax);
            return self.cannot_run(cx, number, format_args!("TDH.VP.RD: {status:?}"));
        }
        if result.last.r8 & VMXIP != 0 || vcpu.posted.is_outstanding(cx.host.memory()) {
            vcpu.reply(Reply::success());
        } else {
            vcpu.run = Run::Halted;
        }
    }

    /// The call that this vCPU waits for was refused by the firewall.
    pub(crate) fn call_refused<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        number: usize,
        leaf: u16,
    ) {
        if let Some(vcpu) = self.vcpus.get_mut(number) {
            vcpu.call = None;
        }
        let name = HostLeaf::from_number(leaf).map_or("an unknown leaf", HostLeaf::name);
        self.cannot_run(
            cx,
            number,
            format_args!("{name}: refused by pd-tdx's firewall"),
        );
    }

    pub(crate) fn cannot_run<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        vcpu: usize,
        why: core::fmt::Arguments<'_>,
    ) {
        if self.outcome.is_none() {
            cx.line(format_args!("{}: vCPU {vcpu}: {why}", self.title()));
            self.end(cx, Outcome::CannotRun { vcpu });
        }
    }

    fn requested<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, number: usize, request: Request) {
        let now = self.guest_now(cx.now);
        let reply = match request {
            Request::Cpuid { leaf, .. } => {
                self.counters.cpuid += 1;
                let execute_only = self.image.design().execute_only;
                let [eax, ebx, ecx, edx] =
                    cpuid(leaf, execute_only).map(|value| Some(value.into()));
                Reply {
                    code: result::SUCCESS,
                    values: [None, eax, ebx, ecx, edx],
                }
            }
            Request::Halt { blocked } => return self.halt(cx, number, blocked),
            Request::Io {
                width,
                access,
                port,
            } => {
                self.counters.io += 1;
                let seconds = cx.now.saturating_sub(self.started) / cx.host.tsc_hz().max(1);
                let value = self.board.io(port, width, access, seconds);
                if let Some(message) = self.board.update_lines() {
                    self.deliver(cx, message);
                }
                if self.powered(cx) {
                    return;
                }
                match access {
                    Access::Read => Reply::value(value),
                    Access::Write(_) => Reply::success(),
                }
            }
            Request::Mmio { width, access, gpa } => {
                self.counters.mmio += 1;
                let (value, message) = self.board.mmio(gpa, width, access);
                if let Some(message) = message {
                    self.deliver(cx, message);
                }
                match access {
                    Access::Read => Reply::value(value),
                    Access::Write(_) => Reply::success(),
                }
            }
            Request::ReadMsr(index) => {
                self.counters.msrs += 1;
                let value = match Lapic::owns(index) {
                    true => self.vcpus[number].lapic.read(index, now).ok(),
                    false => msr::read(index, number),
                };
                value.map_or(Error::InvalidOperand.into(), Reply::value)
            }
            Request::WriteMsr(index, value) => {
                self.counters.msrs += 1;
                self.write_msr(cx, number, index, value, now)
            }
            Request::Info => Reply {
                code: result::SUCCESS,
                values: [Some(0), Some(0), Some(0), Some(0), None],
            },
            // None of the optional sub-functions is there.
            Request::OptionalInfo => Reply::value(0),
            Request::MapGpa { gpa, len } => {
                self.counters.conversions += 1;
                self.vcpus[number].run = Run::Mapping {
                    next: gpa,
                    end: gpa + len,
                };
                return;
            }
            Request::FatalError { code, message } => {
                let end = message.iter().position(|&b| b == 0).unwrap_or(64);
                cx.line(format_args!(
                    "TD {}: the guest says: {}",
                    self.id,
                    message[..end].escape_ascii()
                ));
                return self.end(cx, Outcome::FatalError { code });
            }
        };
        self.vcpus[number].reply(reply);
    }

    fn write_msr<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        number: usize,
        index: u32,
        value: u64,
        now: u64,
    ) -> Reply {
        let effect = match Lapic::owns(index) {
            true => self.vcpus[number].lapic.write(index, value, now).ok(),
            false => msr::write(index, value, number).map(|()| Effect::None),
        };
        match effect {
            None => return Error::InvalidOperand.into(),
            Some(Effect::None) => {}
            Some(Effect::Send(message)) => self.deliver(cx, message),
            Some(Effect::Broadcast { vector, with_self }) => {
                for to in (0..self.vcpus.len()).filter(|&to| with_self || to != number) {
                    self.post(cx, to, vector);
                }
            }
        }
        Reply::success()
    }

    fn halt<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, number: usize, blocked: bool) {
        self.counters.halts += 1;
        let vcpu = &mut self.vcpus[number];
        if vcpu.posted.is_outstanding(cx.host.memory()) {
            vcpu.reply(Reply::success());
        } else if blocked {
            // What the vCPU's own APIC holds back can't wake it.
            vcpu.run = Run::Halted;
        } else {
            vcpu.run = Run::Halting;
        }
    }

    /// Ends the run where the guest or the goal asks for it; whether it is over.
    pub(crate) fn powered<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) -> bool {
        let outcome = match self.board.power() {
            Some(Power::Off) => Outcome::PowerOff,
            Some(Power::Reset) => Outcome::Reset,
            None if self.board.goal.is_reached() && cx.config.end_at_goal => Outcome::GoalReached,
            None => return false,
        };
        self.end(cx, outcome);
        true
    }

    /// Whether the goal was reached; `None` where there is none.
    pub(crate) fn goal(&self) -> Option<bool> {
        let goal: &Goal = &self.board.goal;
        goal.is_set().then(|| goal.is_reached())
    }

    /// Bytes from the operator.
    pub(crate) fn typed<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, bytes: &[u8]) {
        let taken = self.board.uart.receive(bytes);
        if taken < bytes.len() {
            cx.line(format_args!(
                "{}: {} typed bytes lost: the guest doesn't read",
                self.title(),
                bytes.len() - taken
            ));
        }
    }

    /// Passes interrupt lines on: input came, or the console took output.
    pub(crate) fn update_lines<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) {
        if let Some(message) = self.board.update_lines() {
            self.deliver(cx, message);
        }
    }

    fn deliver<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, message: Message) {
        for to in 0..self.vcpus.len() {
            if self.vcpus[to].lapic.matches(message.destination) {
                self.post(cx, to, message.vector);
                if message.lowest_priority {
                    break;
                }
            }
        }
    }

    fn post<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, number: usize, vector: u8) {
        self.counters.interrupts += 1;
        let vcpu = &mut self.vcpus[number];
        vcpu.notify |= vcpu.posted.post(cx.host.memory(), vector);
        if vcpu.run == Run::Halted {
            vcpu.reply(Reply::success());
        }
    }

    /// Posts the interrupts of expired timers.
    pub(crate) fn expire<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) {
        if self.step != Step::Running {
            return;
        }
        let now = self.guest_now(cx.now);
        for number in 0..self.vcpus.len() {
            if let Some(vector) = self.vcpus[number].lapic.expire(now) {
                self.post(cx, number, vector);
            }
        }
    }

    /// When a timer expires next, as a host TSC.
    pub(crate) fn alarm(&mut self, now: u64) -> Option<u64> {
        if self.step != Step::Running {
            return None;
        }
        let deadlines = self.vcpus.iter().filter_map(|vcpu| vcpu.lapic.deadline());
        let first = deadlines.min()?;
        // Once for each deadline: computed from another time it may be a tick off, and the
        // machine's timer would be set again for that.
        let (_, alarm) = match self.alarm {
            Some(same) if same.0 == first => same,
            _ => (first, self.tsc.host_deadline(first, now)),
        };
        self.alarm = Some((first, alarm));
        Some(alarm)
    }

    /// Whether every vCPU waits for an interrupt.
    pub(crate) fn is_idle(&self) -> bool {
        self.vcpus
            .iter()
            .all(|v| matches!(v.run, Run::Halted | Run::Stopped))
    }

    /// Sends what the vCPUs have to send.
    pub(crate) fn send_runs<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) {
        if !matches!(self.step, Step::Running | Step::Leave) {
            return;
        }
        for number in 0..self.vcpus.len() {
            self.send_run(cx, number);
        }
        self.send_mapping(cx);
    }

    fn send_run<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, number: usize) {
        if self.image.design().plain {
            return self.send_plain_run(cx, number);
        }
        let vcpu = &mut self.vcpus[number];
        if vcpu.run == Run::Ready
            && let Ok(id) = cx.send_seamcall(vcpu.input)
        {
            vcpu.call = Some(id);
            vcpu.run = Run::Entered;
            // TDH.VP.ENTER doesn't look at the descriptor: a notification makes the CPU do it.
            vcpu.notify = vcpu.posted.is_outstanding(cx.host.memory());
        }
        if vcpu.run == Run::Halting && vcpu.call.is_none() {
            let read = Call {
                rax: HostLeaf::VpRd.number().into(),
                rcx: vcpu.tdvpr,
                rdx: id::VP_VCPU_STATE_DETAILS.0,
                ..Call::default()
            };
            vcpu.call = cx.send_batch([read].into_iter().collect()).ok();
        }
        let tdvpr = vcpu.tdvpr;
        if vcpu.run == Run::Entered && vcpu.notify {
            vcpu.notify = cx.links.tdx.send(&ToTdx::Notify { tdvpr }).is_err();
        }
        if vcpu.kick {
            vcpu.kick = cx.links.tdx.send(&ToTdx::Kick { tdvpr }).is_err();
        }
    }

    /// Sends the next part of a MapGPA, one at a time.
    fn send_mapping<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) {
        if self.mapping.is_some() {
            return;
        }
        for (number, vcpu) in self.vcpus.iter().enumerate() {
            let Run::Mapping { next, end } = vcpu.run else {
                continue;
            };
            let message = ToMmu::MapGpa {
                vm: self.id,
                gpa: next,
                len: map_step(next, end),
            };
            if cx.links.mmu.send(&message).is_ok() {
                self.mapping = Some(number);
            }
            return;
        }
    }

    /// A part of a MapGPA is done, or could not be done.
    pub(crate) fn mapped<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        number: usize,
        answer: Result<(), MmuError>,
    ) {
        self.mapping = None;
        let Some(vcpu) = self.vcpus.get_mut(number) else {
            return;
        };
        let Run::Mapping { next, end } = vcpu.run else {
            return;
        };
        match answer {
            Ok(()) => {
                let next = next + map_step(next, end);
                if next >= end {
                    vcpu.reply(Reply::value(0));
                } else if vcpu.posted.is_outstanding(cx.host.memory()) {
                    vcpu.reply(Reply::with_r11(result::RETRY, next));
                } else {
                    vcpu.run = Run::Mapping { next, end };
                }
            }
            Err(MmuError::Busy) => vcpu.reply(Reply::with_r11(result::RETRY, next)),
            Err(error) => {
                vcpu.reply(Reply::with_r11(result::INVALID_OPERAND, next));
                cx.line(format_args!(
                    "TD {}: MapGPA at {next:#x} refused: {error:?}",
                    self.id
                ));
            }
        }
    }
}

/// Bytes up to the next boundary of a step, or up to the end.
fn map_step(next: u64, end: u64) -> u64 {
    let boundary = (next | (MAP_STEP - 1)) + 1;
    boundary.min(end) - next
}
