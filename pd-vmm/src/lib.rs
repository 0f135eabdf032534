//! pd-vmm, the virtual machine monitor: life cycle, exits, devices. Trusted by no guest.
//!
//! The core is one state machine per VM. [`Vmm::poll`] takes every message that is there, does
//! what can be done, sends what can be sent and returns: nothing waits, nothing allocates.
//! What can't be sent because a ring is full is sent at a later poll.
//!
//! ```text
//!   lib        poll: messages in, messages out
//!   lifecycle  the steps of building and tearing down, one request each
//!   vm         answers → next step          run   exits, interrupts, timers → next entry
//!   plain      the same for a VM that is no TD
//!   exit       decode TDH.VP.ENTER          tdvmcall   decode TDG.VP.VMCALL, its answers
//!   board      uart, ioapic, rtc            lapic, msr, cpuid   of each vCPU
//!   posted     posted-interrupt descriptors tsc   host time and guest time
//!   pit        the timer of the machine below: not part of the core, the program uses it
//! ```
//!
//! What comes from a guest is hostile and gets an answer that the GHCI knows; what comes from
//! another protection domain is a claim: an answer that nobody waits for is counted and dropped.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod board;
pub mod cpuid;
pub mod exit;
pub mod goal;
pub mod ioapic;
pub mod lapic;
mod lifecycle;
pub mod msr;
pub mod outcome;
pub mod pit;
mod plain;
pub mod posted;
pub mod rtc;
mod run;
pub mod tdvmcall;
pub mod tsc;
pub mod uart;
mod vcpu;
mod vm;

use core::fmt::{self, Write};
use gpa::{Hpa, PAGE_SIZE};
use guest_image::GuestImage;
use heapless::{String, Vec};
use ipc_console::{FromConsole, MAX_BYTES, MAX_LINE, ToConsole};
use ipc_vmm_mmu::ToVmm as FromMmu;
use ipc_vmm_tdx::{Batch, Registers, Sweep, ToTdx, ToVmm as FromTdx};
use lifecycle::Step;
use memory::PhysMemory;
use outcome::TEARDOWN_FAILED;
use ring::{Link, SendError};
use vm::{Vm, Waiting};

/// Most VMs at a time.
pub const MAX_VMS: usize = 2;
/// Guest output is passed on when this many bytes wait, even in the middle of a line.
const OUTPUT_BYTES: usize = 200;
/// Messages taken from one ring before the others get their turn.
const MAX_MESSAGES: usize = 64;

/// The machine around the core.
pub trait Host {
    /// The memory that pd-vmm maps: the guest image and the shared pool.
    type Memory: PhysMemory;
    /// That memory, by host physical addresses.
    fn memory(&self) -> &Self::Memory;
    /// The TSC.
    fn now(&mut self) -> u64;
    /// TSC ticks of a second.
    fn tsc_hz(&self) -> u64;
    /// Have [`Vmm::poll`] called when the TSC reaches `deadline`; `None`: not for time's sake.
    /// Replaces the deadline given before.
    fn set_alarm(&mut self, deadline: Option<u64>);
}

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Host physical address of the guest image region.
    pub guest_image: Hpa,
    /// Its length in bytes.
    pub guest_image_len: u64,
    /// How many VMs are made from the image, at most [`MAX_VMS`].
    pub vms: u16,
    /// A VM ends as soon as it prints its goal; otherwise it goes on until it powers off.
    pub end_at_goal: bool,
}

/// The channels.
pub struct Links<'a> {
    /// To pd-mmu.
    pub mmu: Link<'a, ipc_vmm_mmu::ToMmu, FromMmu>,
    /// To pd-tdx.
    pub tdx: Link<'a, ToTdx, FromTdx>,
    /// To pd-console.
    pub console: Link<'a, ToConsole, FromConsole>,
}

/// What pd-tdx says of the TDX module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Module {
    first_hkid: u16,
    hkids: u16,
    tdcs_pages: u8,
    tdvps_pages: u8,
}

/// What the parts of the core share during one poll.
struct Context<'c, 'l, H: Host> {
    host: &'c mut H,
    links: &'c mut Links<'l>,
    /// The TSC when the poll began.
    now: u64,
    next_id: &'c mut u32,
    strays: &'c mut u32,
    config: &'c Config,
}

impl<H: Host> Context<'_, '_, H> {
    /// Whether this page can be written: memory, but not the guest image's.
    fn is_shared_page(&self, page: u64) -> bool {
        let image = self.config.guest_image.get();
        let in_image = page.wrapping_sub(image) < self.config.guest_image_len;
        let page = Hpa::new(page);
        page.is_aligned(PAGE_SIZE) && !in_image && self.host.memory().contains(page, PAGE_SIZE)
    }

    /// Prints a line of pd-vmm's own, cut where it gets too long; dropped where the console
    /// doesn't read.
    fn line(&mut self, what: fmt::Arguments<'_>) {
        let mut line = Line(String::new());
        let _ = line.write_fmt(what);
        let _ = self.links.console.send(&ToConsole::Line(line.0));
    }

    /// A message came that answers nothing.
    fn stray(&mut self, from: &str) {
        *self.strays = self.strays.saturating_add(1);
        if *self.strays == 1 {
            self.line(format_args!(
                "{from} sent an answer to no question (reported once)"
            ));
        }
    }

    fn id(&mut self) -> u32 {
        *self.next_id = self.next_id.wrapping_add(1);
        *self.next_id
    }

    fn send_batch(&mut self, calls: Batch) -> Result<u32, SendError> {
        let id = self.id();
        self.links.tdx.send(&ToTdx::Batch { id, calls })?;
        Ok(id)
    }

    fn send_sweep(&mut self, sweep: Sweep) -> Result<u32, SendError> {
        let id = self.id();
        self.links.tdx.send(&ToTdx::Sweep { id, sweep })?;
        Ok(id)
    }

    fn send_seamcall(&mut self, registers: Registers) -> Result<u32, SendError> {
        let id = self.id();
        self.links.tdx.send(&ToTdx::Seamcall { id, registers })?;
        Ok(id)
    }
}

/// A line that takes as much as fits.
struct Line(String<MAX_LINE>);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars()
            .try_for_each(|c| self.0.push(c).map_err(|_| fmt::Error))
    }
}

/// The virtual machine monitor.
pub struct Vmm<'a> {
    config: Config,
    /// The channels: after [`Self::poll`], whoever has messages is to be notified.
    pub links: Links<'a>,
    greeted: bool,
    mmu_ready: bool,
    module: Option<Module>,
    started: bool,
    vms: Vec<Vm, MAX_VMS>,
    /// Exit status of a run that has no VM to say more.
    no_vm_status: u8,
    ended: Option<u8>,
    next_id: u32,
    strays: u32,
}

impl<'a> Vmm<'a> {
    /// A monitor that has sent nothing yet.
    pub fn new(config: Config, links: Links<'a>) -> Self {
        Self {
            config,
            links,
            greeted: false,
            mmu_ready: false,
            module: None,
            started: false,
            vms: Vec::new(),
            no_vm_status: 0,
            ended: None,
            next_id: 0,
            strays: 0,
        }
    }

    /// The exit status of the run, once it is over.
    pub fn ended(&self) -> Option<u8> {
        self.ended
    }

    /// Takes all messages, does all work that can be done now.
    pub fn poll<H: Host>(&mut self, host: &mut H) {
        if !self.greeted {
            self.greeted = self.links.console.send(&ToConsole::Ready).is_ok();
        }
        loop {
            let now = host.now();
            let mut cx = Context {
                host,
                links: &mut self.links,
                now,
                next_id: &mut self.next_id,
                strays: &mut self.strays,
                config: &self.config,
            };
            take_input(&mut cx, &mut self.vms);
            take_answers(&mut cx, &mut self.vms, &mut self.mmu_ready);
            take_returns(&mut cx, &mut self.vms, &mut self.module);
            if let (false, true, Some(module)) = (self.started, self.mmu_ready, self.module) {
                self.started = true;
                if start(&mut cx, &self.config, module, &mut self.vms).is_none() {
                    self.no_vm_status = 1;
                }
            }
            for vm in &mut self.vms {
                vm.expire(&mut cx);
                flush(&mut cx, vm);
                vm.update_lines(&mut cx);
                vm.settle();
                vm.forget_plain_vcpus(&mut cx);
                vm.send_runs(&mut cx);
                vm.send_request(&mut cx);
            }
            if cx.links.mmu.is_empty() && cx.links.tdx.is_empty() && cx.links.console.is_empty() {
                break;
            }
        }
        self.finish();
        let now = host.now();
        let alarms = self.vms.iter_mut().filter_map(|vm| vm.alarm(now));
        host.set_alarm(alarms.min());
    }

    /// Ends the run when every VM is gone and the console has all they said.
    fn finish(&mut self) {
        let over = |vm: &Vm| vm.step == Step::Gone && vm.board.uart.output().is_empty();
        if !self.started || self.ended.is_some() || !self.vms.iter().all(over) {
            return;
        }
        let statuses = self.vms.iter().map(|vm| {
            let status = vm.outcome.map_or(0, |outcome| outcome.status(vm.goal()));
            match (status, vm.teardown_failed) {
                (0, true) => TEARDOWN_FAILED,
                (status, _) => status,
            }
        });
        let failed = statuses.into_iter().find(|&status| status != 0);
        let status = failed.unwrap_or(self.no_vm_status);
        if self.links.console.send(&ToConsole::End { status }).is_ok() {
            self.ended = Some(status);
        }
    }
}

/// Reads the guest image and makes the VMs; `None` where there is nothing to run.
fn start<H: Host>(
    cx: &mut Context<'_, '_, H>,
    config: &Config,
    module: Module,
    vms: &mut Vec<Vm, MAX_VMS>,
) -> Option<()> {
    let memory = cx.host.memory();
    let available = match memory.contains(config.guest_image, config.guest_image_len) {
        true => config.guest_image_len,
        false => 0,
    };
    let image = GuestImage::read(available, |header| {
        memory.read_bytes(config.guest_image, header);
    });
    let image = match image {
        Ok(image) => image,
        Err(error) => {
            cx.line(format_args!("{error}"));
            return None;
        }
    };
    let pages = 1..=ipc_vmm_mmu::MAX_PAGES as u8;
    if !pages.contains(&module.tdcs_pages) || !pages.contains(&module.tdvps_pages) {
        cx.line(format_args!(
            "the TDX module wants {} TDCS pages and {} TDVPS pages: 1 to {} can be had",
            module.tdcs_pages,
            module.tdvps_pages,
            ipc_vmm_mmu::MAX_PAGES
        ));
        return None;
    }
    let last_hkid = u32::from(module.first_hkid) + u32::from(config.vms);
    if config.vms > module.hkids || usize::from(config.vms) > MAX_VMS || last_hkid > 0xffff {
        cx.line(format_args!(
            "{} VMs are too many: there are {} private HKIDs and room for {MAX_VMS}",
            config.vms, module.hkids
        ));
        return None;
    }
    let tsc_hz = cx.host.tsc_hz();
    // The ring is fresh.
    let _ = cx.links.tdx.send(&ToTdx::TscFrequency { hz: tsc_hz });
    for id in 0..config.vms {
        cx.line(format_args!(
            "{}: {:?}, {} MiB of memory, {} vCPU{}, {} pages to add",
            vm::Title {
                plain: image.design().plain,
                id
            },
            image.name(),
            image.memory().bytes() >> 20,
            image.vcpus(),
            if image.vcpus() == 1 { "" } else { "s" },
            image.page_count()
        ));
        let vm = Vm::new(id, image.clone(), config.guest_image, module, tsc_hz);
        // No more than there is room for: checked above.
        let _ = vms.push(vm);
    }
    Some(())
}

fn take_input<H: Host>(cx: &mut Context<'_, '_, H>, vms: &mut [Vm]) {
    for _ in 0..MAX_MESSAGES {
        match cx.links.console.receive() {
            None => return,
            Some(Err(_)) => {}
            Some(Ok(FromConsole::Input { vm, bytes })) => match vms.get_mut(usize::from(vm)) {
                Some(vm) => vm.typed(cx, &bytes),
                None => cx.line(format_args!("there is no TD {vm} to type to")),
            },
            Some(Ok(FromConsole::Report)) => report(cx, vms),
        }
    }
}

fn take_answers<H: Host>(cx: &mut Context<'_, '_, H>, vms: &mut [Vm], ready: &mut bool) {
    for _ in 0..MAX_MESSAGES {
        let answer = match cx.links.mmu.receive() {
            None => return,
            Some(Err(_)) => continue,
            Some(Ok(answer)) => answer,
        };
        let vm = match answer {
            FromMmu::Ready => {
                *ready = true;
                continue;
            }
            FromMmu::Created { vm, .. }
            | FromMmu::Pages { vm, .. }
            | FromMmu::Done { vm }
            | FromMmu::Stats { vm, .. }
            | FromMmu::Failed { vm, .. } => vm,
        };
        match vms.get_mut(usize::from(vm)) {
            Some(vm) => vm.mmu_answered(cx, answer),
            None => cx.stray("pd-mmu"),
        }
    }
}

fn take_returns<H: Host>(cx: &mut Context<'_, '_, H>, vms: &mut [Vm], module: &mut Option<Module>) {
    for _ in 0..MAX_MESSAGES {
        match cx.links.tdx.receive() {
            None => return,
            Some(Err(_)) => {}
            Some(Ok(FromTdx::Ready {
                first_hkid,
                hkids,
                tdcs_pages,
                tdvps_pages,
            })) => {
                // What was said first stands.
                module.get_or_insert(Module {
                    first_hkid,
                    hkids,
                    tdcs_pages,
                    tdvps_pages,
                });
            }
            Some(Ok(FromTdx::Returned { id, registers })) => match waiting_vcpu(vms, id) {
                Some((vm, vcpu)) => vm.exited(cx, vcpu, registers),
                None => cx.stray("pd-tdx"),
            },
            Some(Ok(FromTdx::BatchDone { id, result })) => {
                let step = |vm: &&mut Vm| vm.waiting == Waiting::Tdx(id);
                if let Some(vm) = vms.iter_mut().find(step) {
                    vm.batch_answered(cx, result);
                } else if let Some((vm, vcpu)) = waiting_vcpu(vms, id) {
                    vm.state_read(cx, vcpu, result);
                } else {
                    cx.stray("pd-tdx");
                }
            }
            Some(Ok(FromTdx::Exited { id, exit })) => match waiting_vcpu(vms, id) {
                Some((vm, vcpu)) if vm.image.design().plain => vm.plain_exited(cx, vcpu, exit),
                _ => cx.stray("pd-tdx"),
            },
            Some(Ok(FromTdx::Refused { id, leaf })) => match waiting_vcpu(vms, id) {
                Some((vm, vcpu)) => vm.call_refused(cx, vcpu, leaf),
                // Batches are refused by their result.
                None => cx.stray("pd-tdx"),
            },
        }
    }
}

/// The vCPU that waits for the call with this id.
fn waiting_vcpu(vms: &mut [Vm], id: u32) -> Option<(&mut Vm, usize)> {
    vms.iter_mut().find_map(|vm| {
        let vcpu = vm.vcpus.iter().position(|vcpu| vcpu.call == Some(id))?;
        Some((vm, vcpu))
    })
}

/// Passes guest output on: whole lines, long stretches, and all of it when the guest waits.
fn flush<H: Host>(cx: &mut Context<'_, '_, H>, vm: &mut Vm) {
    loop {
        let output = vm.board.uart.output();
        let due = vm.outcome.is_some()
            || output.len() >= OUTPUT_BYTES
            || output.contains(&b'\n')
            || vm.is_idle();
        if output.is_empty() || !due {
            return;
        }
        let count = output.len().min(MAX_BYTES);
        let message = ToConsole::Guest {
            vm: vm.id,
            bytes: Vec::from_iter(output[..count].iter().copied()),
        };
        if cx.links.console.send(&message).is_err() {
            return;
        }
        vm.board.uart.sent(count);
    }
}

fn report<H: Host>(cx: &mut Context<'_, '_, H>, vms: &[Vm]) {
    for vm in vms {
        let c = vm.counters;
        cx.line(format_args!(
            "{}: {:?}, {} vCPUs",
            vm.title(),
            vm.step,
            vm.vcpus.len()
        ));
        cx.line(format_args!(
            "{}: {} exits: {} I/O, {} MMIO, {} MSR, {} CPUID, {} HLT, {} MapGPA, {} refused; \
             {} interrupts posted; {} output bytes lost",
            vm.title(),
            c.exits,
            c.io,
            c.mmio,
            c.msrs,
            c.cpuid,
            c.halts,
            c.conversions,
            c.refused,
            c.interrupts,
            vm.board.uart.dropped
        ));
    }
    let strays = *cx.strays;
    let (mmu, tdx, console) = (&cx.links.mmu, &cx.links.tdx, &cx.links.console);
    let bad = [mmu.bad_frames, tdx.bad_frames, console.bad_frames];
    let unsent = [mmu.unsent, tdx.unsent, console.unsent];
    cx.line(format_args!(
        "bad frames {bad:?}, unsent {unsent:?} (pd-mmu, pd-tdx, pd-console), stray answers {strays}"
    ));
}

#[cfg(test)]
mod tests;
