//! One VM: its state, and how the answers to its requests move it on.

use crate::board::Board;
use crate::goal::Goal;
use crate::lapic::Lapic;
use crate::lifecycle::{Ask, Cursor, MRTD_WORDS, Step, name};
use crate::outcome::Outcome;
use crate::posted::{self, Descriptor};
use crate::tsc::Tsc;
use crate::vcpu::{Run, Vcpu};
use crate::{Context, Host, Module};
use core::fmt;
use gpa::{Hpa, PAGE_SIZE};
use guest_image::GuestImage;
use guest_image::layout::MAX_VCPUS;
use heapless::Vec;
use ipc_vmm_mmu::{MAX_PAGES, ToVmm as FromMmu, VmId};
use ipc_vmm_tdx::BatchResult;
use memory::PhysMemory;
use tdx_abi::layout::TdParams;
use tdx_abi::td::{CRYSTAL_HZ, TSC_FREQUENCY, config_flags, eptp_controls};
use tdx_abi::{HostLeaf, Status};
use zerocopy::{FromZeros, IntoBytes};

/// Where the posted-interrupt descriptors begin in the page that they share with TD_PARAMS.
const DESCRIPTORS: u64 = PAGE_SIZE / 2;
const _: () = assert!(TdParams::SIZE <= DESCRIPTORS);
const _: () = assert!(DESCRIPTORS + MAX_VCPUS as u64 * posted::SIZE <= PAGE_SIZE);

/// Which entry of TD_PARAMS' CPUID configuration is leaf 7, subleaf 0.
const CPUID_LEAF_7: usize = 5;
/// What a TD is to have of that leaf: the string instructions that replace loops of many (ERMS
/// in EBX, FSRM in EDX) and SERIALIZE (EDX), which replaces an IRET wherever code is patched.
/// Every processor with TDX has them.
const CPUID_7_EBX: u32 = 1 << 9;
const CPUID_7_EDX: u32 = 1 << 4 | 1 << 14;

/// How often a call is made again that found a lock held or no entropy.
const MAX_RETRIES: u32 = 1000;

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The request is still to be sent.
    Unsent,
    /// pd-mmu's answer.
    Mmu,
    /// pd-tdx's answer to the batch with this id.
    Tdx(u32),
}

/// What a VM has done, for the operator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub exits: u64,
    pub cpuid: u64,
    pub halts: u64,
    pub io: u64,
    pub mmio: u64,
    pub msrs: u64,
    pub conversions: u64,
    pub refused: u64,
    pub interrupts: u64,
}

/// A VM.
pub(crate) struct Vm {
    pub id: VmId,
    pub step: Step,
    pub waiting: Waiting,
    /// Calls of the step's batch that have succeeded already.
    done: usize,
    retries: u32,
    pub image: GuestImage,
    pub image_hpa: u64,
    pub module: Module,
    pub hkid: u16,
    pub tsc_frequency: u16,
    pub tdr: u64,
    pub shared_eptp: u64,
    /// TD_PARAMS, and the descriptors behind.
    pub shared_page: u64,
    /// Control pages that wait to be given to the TDX module.
    pub pages: Vec<u64, MAX_PAGES>,
    pub tsc: Tsc,
    /// The guest TSC at which a timer expires next, and the host TSC that it is.
    pub alarm: Option<(u64, u64)>,
    pub vcpus: Vec<Vcpu, { MAX_VCPUS as usize }>,
    pub board: Board,
    pub mrtd: [u64; MRTD_WORDS],
    pub outcome: Option<Outcome>,
    pub teardown_failed: bool,
    /// pd-mmu knows the VM.
    known: bool,
    /// TDH.MNG.CREATE has been done: there is an HKID to be given back.
    has_hkid: bool,
    /// The vCPU for whom pd-mmu converts memory.
    pub mapping: Option<usize>,
    pages_added: u64,
    tenths: u64,
    /// Host TSC at which the guest was started.
    pub started: u64,
    pub counters: Counters,
}

impl Vm {
    pub fn new(id: VmId, image: GuestImage, image_hpa: Hpa, module: Module, tsc_hz: u64) -> Self {
        // Rounded to the units of TD_PARAMS.
        let crystal = u64::from(CRYSTAL_HZ);
        let units = tsc_hz.saturating_add(crystal / 2) / crystal;
        let bounds = (*TSC_FREQUENCY.start()).into()..=(*TSC_FREQUENCY.end()).into();
        let units: u64 = units.clamp(*bounds.start(), *bounds.end());
        Self {
            id,
            step: Step::Create,
            waiting: Waiting::Unsent,
            done: 0,
            retries: 0,
            board: Board::new(Goal::new(image.goal())),
            image,
            image_hpa: image_hpa.get(),
            module,
            hkid: module.first_hkid + id,
            tsc_frequency: units as u16,
            tdr: 0,
            shared_eptp: 0,
            shared_page: 0,
            pages: Vec::new(),
            tsc: Tsc {
                offset: 0,
                multiplier: 0,
            },
            alarm: None,
            vcpus: Vec::new(),
            mrtd: [0; MRTD_WORDS],
            outcome: None,
            teardown_failed: false,
            known: false,
            has_hkid: false,
            mapping: None,
            pages_added: 0,
            tenths: 0,
            started: 0,
            counters: Counters::default(),
        }
    }

    /// Where the descriptor of this vCPU is.
    pub fn descriptor(&self, vcpu: usize) -> Descriptor {
        let offset = DESCRIPTORS + vcpu as u64 * posted::SIZE;
        Descriptor::new(Hpa::new(self.shared_page.wrapping_add(offset)))
    }

    /// What the guest reads from its TSC now.
    pub fn guest_now(&self, now: u64) -> u64 {
        self.tsc.guest(now)
    }

    /// Sends the step's request if it is still to be sent.
    pub fn send_request<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) {
        if self.waiting != Waiting::Unsent {
            return;
        }
        let waiting = match self.request() {
            None => return,
            Some(Ask::Mmu(message)) => cx.links.mmu.send(&message).map(|()| Waiting::Mmu),
            Some(Ask::Tdx(batch)) => {
                let left = batch.into_iter().skip(self.done).collect();
                cx.send_batch(left).map(Waiting::Tdx)
            }
            Some(Ask::Sweep(sweep)) => cx
                .send_sweep(sweep.from(self.done as u16))
                .map(Waiting::Tdx),
        };
        // A full ring is tried again at the next poll.
        if let Ok(waiting) = waiting {
            self.waiting = waiting;
        }
    }

    /// On to the next step.
    pub fn go(&mut self, step: Step) {
        self.step = step;
        self.waiting = Waiting::Unsent;
        self.done = 0;
        self.retries = 0;
    }

    /// The run is over: the TD is torn down.
    pub fn end<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(outcome);
        // What the guest said comes before what is said of it.
        crate::flush(cx, self);
        cx.line(format_args!("{}: {outcome}", self.title()));
        for vcpu in &mut self.vcpus {
            vcpu.kick = vcpu.call.is_some() && vcpu.run == Run::Entered;
            vcpu.run = Run::Stopped;
        }
        self.go(Step::Leave);
    }

    /// The present step can't be done.
    pub(crate) fn fail<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, what: fmt::Arguments<'_>) {
        cx.line(format_args!("{}: {what}", self.title()));
        if self.outcome.is_none() {
            if self.step == Step::CreateVcpu {
                // It may be associated with a processor already: TDH.VP.FLUSH finds out.
                self.push_vcpu(Run::Stopped);
            }
            return self.end(cx, Outcome::BuildFailed);
        }
        match self.step {
            // TDH.MNG.VPFLUSHDONE tells whether it mattered.
            Step::FlushVcpu(vcpu) => self.go(Step::FlushVcpu(vcpu + 1)),
            // There is no way to go on without leaving memory in doubt: it stays as it is.
            _ => {
                self.teardown_failed = true;
                self.go(Step::Gone);
            }
        }
    }

    fn push_vcpu(&mut self, run: Run) {
        let number = self.vcpus.len();
        let Some(&tdvpr) = self.pages.first() else {
            return;
        };
        let lapic = Lapic::new(number as u32, self.tsc_frequency.into());
        let mut vcpu = Vcpu::new(tdvpr, lapic, self.descriptor(number));
        vcpu.run = run;
        // The image has no more vCPUs than there is room for.
        let _ = self.vcpus.push(vcpu);
        self.pages.clear();
    }

    /// Takes an answer of pd-mmu's.
    pub fn mmu_answered<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, answer: FromMmu) {
        if let Some(vcpu) = self.mapping {
            return match answer {
                FromMmu::Done { .. } => self.mapped(cx, vcpu, Ok(())),
                FromMmu::Failed { error, .. } => self.mapped(cx, vcpu, Err(error)),
                _ => cx.stray("pd-mmu"),
            };
        }
        let Some(Ask::Mmu(request)) = self.request().filter(|_| self.waiting == Waiting::Mmu)
        else {
            return cx.stray("pd-mmu");
        };
        let name = name(&request);
        match (self.step, answer) {
            (_, FromMmu::Failed { error, .. }) => {
                self.fail(
                    cx,
                    format_args!("pd-mmu can't do {name}: {error:?} ({request:x?})"),
                );
            }
            (
                Step::Create,
                FromMmu::Created {
                    tdr, shared_eptp, ..
                },
            ) => {
                self.known = true;
                self.tdr = tdr;
                self.shared_eptp = shared_eptp;
                self.go(match self.image.design().plain {
                    true => Step::AddSlot(0),
                    false => Step::MngCreate,
                });
            }
            (Step::ControlPages, FromMmu::Pages { pages, .. })
                if pages.len() == self.module.tdcs_pages.into() =>
            {
                self.pages = pages;
                self.go(Step::AddTdcs);
            }
            (Step::VcpuPages, FromMmu::Pages { pages, .. })
                if pages.len() == self.module.tdvps_pages.into() =>
            {
                self.pages = pages;
                self.go(Step::CreateVcpu);
            }
            (Step::SharedPage, FromMmu::Pages { pages, .. }) => match pages.as_slice() {
                [page] if cx.is_shared_page(*page) => {
                    self.shared_page = *page;
                    self.write_params(cx.host.memory());
                    self.go(Step::Init);
                }
                _ => self.fail(
                    cx,
                    format_args!("pd-mmu gave {pages:#x?}, no page of the shared pool"),
                ),
            },
            (Step::AddSlot(0), FromMmu::Done { .. }) => self.go(Step::AddSlot(1)),
            (Step::AddSlot(_), FromMmu::Done { .. }) => match self.image.design().plain {
                true => self.add_plain_vcpus(),
                false => self.go(Step::VcpuPages),
            },
            (Step::Load(cursor), FromMmu::Pages { pages, .. }) => self.load(cx, cursor, &pages),
            (Step::AddPages(cursor), FromMmu::Done { .. }) => self.pages_added(cx, cursor),
            (Step::Finalized, FromMmu::Done { .. }) => self.go(Step::ReadMrtd(0)),
            (Step::CacheWriteback, FromMmu::Done { .. }) => self.go(Step::FreeHkid),
            (Step::Destroy, FromMmu::Done { .. }) => {
                cx.line(format_args!(
                    "{}: torn down, all memory reclaimed",
                    self.title()
                ));
                self.go(match self.image.design().plain {
                    true => Step::Forget,
                    false => Step::Gone,
                });
            }
            (_, answer) => {
                self.fail(cx, format_args!("pd-mmu answered {name} with {answer:x?}"));
            }
        }
    }

    /// Takes the answer to the step's batch or sweep.
    pub fn batch_answered<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, result: BatchResult) {
        let Some(ask) = self.request().filter(|ask| ask.calls() > 0) else {
            return cx.stray("pd-tdx");
        };
        let left = ask.calls().saturating_sub(self.done);
        let succeeded = usize::from(result.succeeded).min(left);
        if succeeded < left {
            self.done += succeeded;
            return self.call_failed(cx, ask.call(self.done), result);
        }
        let value = result.last.r8;
        match self.step {
            Step::MngCreate => {
                self.has_hkid = true;
                self.go(Step::KeyConfig);
            }
            Step::KeyConfig => self.go(Step::ControlPages),
            Step::AddTdcs => self.go(Step::SharedPage),
            Step::Init => self.go(Step::ReadTscOffset),
            Step::ReadTscOffset => {
                self.tsc.offset = value;
                self.go(Step::ReadTscMultiplier);
            }
            Step::ReadTscMultiplier => {
                self.tsc.multiplier = value;
                self.go(Step::AddSlot(0));
            }
            Step::CreateVcpu => {
                self.descriptor(self.vcpus.len()).reset(cx.host.memory());
                self.push_vcpu(Run::Ready);
                self.go(match self.vcpus.len() as u32 {
                    n if n < self.image.vcpus() => Step::VcpuPages,
                    _ => Step::AddPages(Cursor::START),
                });
            }
            Step::Extend(cursor) => self.next_pages(cursor),
            Step::Finalize => self.go(Step::Finalized),
            Step::ReadMrtd(word) => self.read_mrtd(cx, word, value),
            Step::FlushVcpu(vcpu) => self.go(Step::FlushVcpu(vcpu + 1)),
            Step::VpFlushDone => self.go(Step::CacheWriteback),
            Step::FreeHkid => self.go(Step::Destroy),
            _ => cx.stray("pd-tdx"),
        }
    }

    fn call_failed<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        call: ipc_vmm_tdx::Call,
        result: BatchResult,
    ) {
        let status = Status(result.last.rax);
        let leaf = call.rax as u16;
        let leaf = HostLeaf::from_number(leaf).map_or("an unknown leaf", HostLeaf::name);
        if result.refused {
            return self.fail(cx, format_args!("{leaf}: refused by pd-tdx's firewall"));
        }
        let again = [
            Status::OPERAND_BUSY,
            Status::OPERAND_BUSY_HOST_PRIORITY,
            Status::SYS_BUSY,
            Status::RND_NO_ENTROPY,
            Status::KEY_GENERATION_FAILED,
            Status::INTERRUPTED_RESUMABLE,
            Status::INTERRUPTED_RESTARTABLE,
        ];
        if again.iter().any(|&code| status.is(code)) && self.retries < MAX_RETRIES {
            self.retries += 1;
            self.waiting = Waiting::Unsent;
            return;
        }
        let flushing = matches!(self.step, Step::FlushVcpu(_));
        if flushing && status.is(Status::VCPU_NOT_ASSOCIATED) {
            // It never ran: there is nothing to flush.
            return self.go(match self.step {
                Step::FlushVcpu(vcpu) => Step::FlushVcpu(vcpu + 1),
                step => step,
            });
        }
        self.fail(
            cx,
            format_args!(
                "{leaf}: {status:?} (RCX {:#x}, RDX {:#x}, R8 {:#x})",
                call.rcx, call.rdx, call.r8
            ),
        );
    }

    /// On from a step without a request, where it is over.
    pub fn settle(&mut self) {
        if self.step == Step::Leave
            && self.mapping.is_none()
            && self.vcpus.iter().all(|vcpu| vcpu.call.is_none())
        {
            self.go(match (self.has_hkid, self.known) {
                (true, _) => Step::FlushVcpu(0),
                (false, true) => Step::Destroy,
                (false, false) => Step::Gone,
            });
        }
        if matches!(self.step, Step::FlushVcpu(vcpu) if vcpu >= self.vcpus.len()) {
            self.go(Step::VpFlushDone);
        }
        if matches!(self.step, Step::AddPages(c) if c.segment >= self.image.segments().len()) {
            self.go(Step::Finalize);
        }
    }

    fn write_params(&self, memory: &impl PhysMemory) {
        let mut params = TdParams::new_zeroed();
        params.attributes = self.image.attributes().into();
        params.xfam = self.image.xfam().into();
        params.max_vcpus = (self.image.vcpus() as u16).into();
        params.eptp_controls = (eptp_controls::WB | eptp_controls::WALK_4).into();
        params.config_flags = config_flags::NO_RBP_MOD.into();
        params.tsc_frequency = self.tsc_frequency.into();
        let leaf_7 = &mut params.cpuid[CPUID_LEAF_7];
        leaf_7.ebx = CPUID_7_EBX.into();
        leaf_7.edx = CPUID_7_EDX.into();
        memory.zero(Hpa::new(self.shared_page), PAGE_SIZE);
        memory.write_bytes(Hpa::new(self.shared_page), params.as_bytes());
    }

    fn pages_added<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, cursor: Cursor) {
        let Some(run) = self.run(cursor) else {
            return;
        };
        self.pages_added += run.pages;
        let all = self.image.page_count().max(1);
        let tenths = self.pages_added * 10 / all;
        if tenths > self.tenths {
            self.tenths = tenths;
            cx.line(format_args!(
                "TD {}: {} of {all} pages added ({} %)",
                self.id,
                self.pages_added,
                tenths * 10
            ));
        }
        match run.measured {
            true => self.go(Step::Extend(cursor)),
            false => self.next_pages(cursor),
        }
    }

    fn next_pages(&mut self, cursor: Cursor) {
        if let (Some(run), Some(segment)) =
            (self.run(cursor), self.image.segments().get(cursor.segment))
        {
            self.go(Step::AddPages(cursor.advance(segment, run.pages)));
        }
    }

    fn read_mrtd<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, word: usize, value: u64) {
        self.mrtd[word % MRTD_WORDS] = value;
        if word + 1 < MRTD_WORDS {
            return self.go(Step::ReadMrtd(word + 1));
        }
        cx.line(format_args!(
            "TD {}: MRTD {}",
            self.id,
            Hex(self.mrtd.as_bytes())
        ));
        self.start(cx);
    }

    /// The guest is built.
    pub fn start<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) {
        cx.line(format_args!(
            "{}: running, {} vCPU{}",
            self.title(),
            self.vcpus.len(),
            if self.vcpus.len() == 1 { "" } else { "s" }
        ));
        self.started = cx.now;
        self.go(Step::Running);
    }

    /// What it is called.
    pub fn title(&self) -> Title {
        Title {
            plain: self.image.design().plain,
            id: self.id,
        }
    }
}

/// What a VM is called: by what it is, and its number.
#[derive(Clone, Copy)]
pub(crate) struct Title {
    pub plain: bool,
    pub id: VmId,
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.plain { "VM" } else { "TD" };
        write!(f, "{what} {}", self.id)
    }
}

/// Bytes as hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
