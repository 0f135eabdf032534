//! How a TD comes and goes: every step is one request, and is over when the answer is good.
//!
//! ```text
//! Create → MngCreate → KeyConfig → ControlPages → AddTdcs → SharedPage → Init → ReadTsc ×2
//!   → AddSlot ×2 → { VcpuPages → CreateVcpu } × vCPUs
//!   → { AddPages → Extend } × runs of pages → Finalize → Finalized → ReadMrtd ×6 → Running
//!   → Leave → { FlushVcpu } × vCPUs → VpFlushDone → CacheWriteback → FreeHkid → Destroy → Gone
//! ```
//! A VM that is no TD takes fewer:
//! ```text
//! Create → AddSlot ×2 → { Load } × pages → Running → Leave → Destroy → Forget → Gone
//! ```
//! A step that fails leads to Leave; from there on, what was never done is left out.

use crate::posted;
use crate::vm::Vm;
use gpa::PAGE_SIZE;
use guest_image::image::{CHUNK, RUN_PAGES};
use guest_image::layout::{TOP_END, TOP_START};
use guest_image::{Run, Segment};
use ipc_vmm_mmu::{Kind, MAX_PAGES, ToMmu};
use ipc_vmm_tdx::{Batch, Call, MAX_SWEEP, Sweep};
use tdx_abi::HostLeaf;
use tdx_abi::field::{FieldId, id};

/// Elements of MRTD: 48 bytes.
pub const MRTD_WORDS: usize = 6;
/// Chunks of a page, each measured by one TDH.MR.EXTEND.
const CHUNKS: u64 = PAGE_SIZE / CHUNK;
const _: () = assert!(RUN_PAGES * CHUNKS <= MAX_SWEEP as u64);
/// Process posted interrupts (SDM vol. 3, "Pin-Based VM-Execution Controls").
const PIN_POSTED_INTERRUPTS: u64 = 1 << 7;

/// Where in its life a VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// pd-mmu makes the VM known.
    Create,
    /// TDH.MNG.CREATE.
    MngCreate,
    /// TDH.MNG.KEY.CONFIG.
    KeyConfig,
    /// Pages for the TDCS.
    ControlPages,
    /// TDH.MNG.ADDCX of each.
    AddTdcs,
    /// A page for TD_PARAMS and for the posted-interrupt descriptors.
    SharedPage,
    /// TDH.MNG.INIT.
    Init,
    /// TDH.MNG.RD of TSC_OFFSET.
    ReadTscOffset,
    /// TDH.MNG.RD of TSC_MULTIPLIER.
    ReadTscMultiplier,
    /// Guest memory: 0 is the RAM, 1 the area below 4 GiB.
    AddSlot(u8),
    /// Pages for the TDVPS of the next vCPU.
    VcpuPages,
    /// TDH.VP.CREATE to TDH.VP.WR for it.
    CreateVcpu,
    /// TDH.MEM.PAGE.ADD of the run at the cursor, by pd-mmu.
    AddPages(Cursor),
    /// TDH.MR.EXTEND of them.
    Extend(Cursor),
    /// No TD: the pages at the cursor are mapped by pd-mmu and filled.
    Load(Cursor),
    /// TDH.MR.FINALIZE.
    Finalize,
    /// pd-mmu is told.
    Finalized,
    /// TDH.MNG.RD of one word of MRTD.
    ReadMrtd(usize),
    /// The guest runs.
    Running,
    /// The vCPUs are to leave the TD.
    Leave,
    /// TDH.VP.FLUSH.
    FlushVcpu(usize),
    /// TDH.MNG.VPFLUSHDONE.
    VpFlushDone,
    /// TDH.PHYMEM.CACHE.WB, by pd-mmu.
    CacheWriteback,
    /// TDH.MNG.KEY.FREEID.
    FreeHkid,
    /// TDH.PHYMEM.PAGE.RECLAIM of everything, by pd-mmu.
    Destroy,
    /// No TD: pd-tdx is told that its vCPUs are gone.
    Forget,
    /// Nothing is left.
    Gone,
}

/// A place in the guest image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The segment's place in the table.
    pub segment: usize,
    /// The page within the segment.
    pub page: u64,
}

impl Cursor {
    /// The first page.
    pub const START: Self = Self {
        segment: 0,
        page: 0,
    };

    /// The cursor `pages` further on, at the next segment after the last page of this.
    pub fn advance(self, segment: &Segment, pages: u64) -> Self {
        match self.page + pages {
            page if page < segment.length / PAGE_SIZE => Self { page, ..self },
            _ => Self {
                segment: self.segment + 1,
                page: 0,
            },
        }
    }
}

/// A request of a step.
// It lives on the stack for a moment; there is no heap to box the long ones.
#[allow(clippy::large_enum_variant)]
pub enum Ask {
    /// To pd-mmu.
    Mmu(ToMmu),
    /// To pd-tdx; a single call is a batch of one.
    Tdx(Batch),
    /// To pd-tdx.
    Sweep(Sweep),
}

impl Ask {
    /// How many SEAMCALLs it is.
    pub fn calls(&self) -> usize {
        match self {
            Self::Mmu(_) => 0,
            Self::Tdx(batch) => batch.len(),
            Self::Sweep(sweep) => sweep.times.into(),
        }
    }

    /// Number `index` of them.
    pub fn call(&self, index: usize) -> Call {
        match self {
            Self::Tdx(batch) => batch.get(index).copied(),
            Self::Sweep(sweep) => Some(sweep.from(index as u16).call),
            Self::Mmu(_) => None,
        }
        .unwrap_or_default()
    }
}

fn call(leaf: HostLeaf, rcx: u64, rdx: u64, r8: u64, r9: u64) -> Call {
    Call {
        rax: leaf.number().into(),
        rcx,
        rdx,
        r8,
        r9,
    }
}

fn one(leaf: HostLeaf, rcx: u64, rdx: u64) -> Option<Ask> {
    Some(Ask::Tdx(Batch::from_iter([call(leaf, rcx, rdx, 0, 0)])))
}

impl Vm {
    /// The request of the present step; `None` where it has none.
    /// The same request as long as the step is the same.
    pub(crate) fn request(&self) -> Option<Ask> {
        let vm = self.id;
        let mmu = |message| Some(Ask::Mmu(message));
        let read = |field: FieldId| one(HostLeaf::MngRd, self.tdr, field.0);
        match self.step {
            Step::Create => mmu(ToMmu::Create {
                vm,
                kind: match self.image.design().plain {
                    true => Kind::Plain,
                    false => Kind::Td {
                        gpaw: false,
                        hkid: self.hkid,
                    },
                },
                execute_only: self.image.design().execute_only,
                finder: self.image.design().finder,
            }),
            Step::MngCreate => one(HostLeaf::MngCreate, self.tdr, self.hkid.into()),
            Step::KeyConfig => one(HostLeaf::MngKeyConfig, self.tdr, 0),
            Step::ControlPages => mmu(ToMmu::ControlPages {
                vm,
                count: self.module.tdcs_pages,
            }),
            Step::AddTdcs => {
                let add = |&page: &u64| call(HostLeaf::MngAddcx, page, self.tdr, 0, 0);
                Some(Ask::Tdx(self.pages.iter().map(add).collect()))
            }
            Step::SharedPage => mmu(ToMmu::SharedPages { vm, count: 1 }),
            Step::Init => one(HostLeaf::MngInit, self.tdr, self.shared_page),
            Step::ReadTscOffset => read(id::TD_TSC_OFFSET),
            Step::ReadTscMultiplier => read(id::TD_TSC_MULTIPLIER),
            Step::AddSlot(0) => mmu(ToMmu::AddSlot {
                vm,
                gpa: 0,
                len: self.image.memory().bytes(),
            }),
            Step::AddSlot(_) => mmu(ToMmu::AddSlot {
                vm,
                gpa: TOP_START,
                len: TOP_END - TOP_START,
            }),
            Step::VcpuPages => mmu(ToMmu::ControlPages {
                vm,
                count: self.module.tdvps_pages,
            }),
            Step::CreateVcpu => Some(Ask::Tdx(self.create_vcpu())),
            Step::AddPages(cursor) => {
                let run = self.run(cursor)?;
                mmu(ToMmu::Populate {
                    vm,
                    gpa: run.gpa.get(),
                    source: self.image_hpa + run.offset,
                    pages: run.pages as u32,
                })
            }
            Step::Load(cursor) => {
                let segment = self.image.segments().get(cursor.segment)?;
                let left = segment.length / PAGE_SIZE - cursor.page;
                mmu(ToMmu::Back {
                    vm,
                    gpa: segment.gpa.get() + cursor.page * PAGE_SIZE,
                    pages: left.min(MAX_PAGES as u64) as u8,
                })
            }
            Step::Extend(cursor) => {
                let run = self.run(cursor)?;
                Some(Ask::Sweep(Sweep {
                    call: call(HostLeaf::MrExtend, run.gpa.get(), self.tdr, 0, 0),
                    step: CHUNK,
                    times: (run.pages * CHUNKS) as u16,
                }))
            }
            Step::Finalize => one(HostLeaf::MrFinalize, self.tdr, 0),
            Step::Finalized => mmu(ToMmu::Finalized { vm }),
            Step::ReadMrtd(word) => read(FieldId(id::TD_MRTD.0 + word as u64)),
            Step::Running | Step::Leave | Step::Forget | Step::Gone => None,
            Step::FlushVcpu(vcpu) => one(HostLeaf::VpFlush, self.vcpus.get(vcpu)?.tdvpr, 0),
            Step::VpFlushDone => one(HostLeaf::MngVpflushdone, self.tdr, 0),
            Step::CacheWriteback => mmu(ToMmu::CacheWriteback { vm }),
            Step::FreeHkid => one(HostLeaf::MngKeyFreeid, self.tdr, 0),
            Step::Destroy => mmu(ToMmu::Destroy { vm }),
        }
    }

    /// The run of pages at the cursor; `None` behind the last.
    pub(crate) fn run(&self, cursor: Cursor) -> Option<Run> {
        self.image.segments().get(cursor.segment)?.run(cursor.page)
    }

    /// TDH.VP.CREATE, TDH.VP.ADDCX, TDH.VP.INIT and the fields of the VMCS that are the
    /// host's to set, for the next vCPU, out of `pages`.
    fn create_vcpu(&self) -> Batch {
        let mut batch = Batch::new();
        let Some((&tdvpr, rest)) = self.pages.split_first() else {
            return batch;
        };
        let descriptor = self.descriptor(self.vcpus.len()).hpa().get();
        let add = |&page: &u64| call(HostLeaf::VpAddcx, page, tdvpr, 0, 0);
        let write = |field: FieldId, value, mask| call(HostLeaf::VpWr, tdvpr, field.0, value, mask);
        batch.extend([call(HostLeaf::VpCreate, tdvpr, self.tdr, 0, 0)]);
        batch.extend(rest.iter().map(add));
        batch.extend([
            call(HostLeaf::VpInit, tdvpr, self.image.entry_value(), 0, 0),
            write(
                id::VMCS_POSTED_INTERRUPT_NOTIFICATION_VECTOR,
                posted::NOTIFICATION_VECTOR.into(),
                0xffff,
            ),
            write(id::VMCS_POSTED_INTERRUPT_DESCRIPTOR, descriptor, u64::MAX),
            write(
                id::VMCS_PIN_BASED_CONTROLS,
                PIN_POSTED_INTERRUPTS,
                PIN_POSTED_INTERRUPTS,
            ),
            write(id::VMCS_SHARED_EPTP, self.shared_eptp, u64::MAX),
        ]);
        batch
    }
}

/// The step of this name, for messages.
pub fn name(message: &ToMmu) -> &'static str {
    match message {
        ToMmu::Create { .. } => "Create",
        ToMmu::ControlPages { .. } => "ControlPages",
        ToMmu::SharedPages { .. } => "SharedPages",
        ToMmu::AddSlot { .. } => "AddSlot",
        ToMmu::Populate { .. } => "Populate",
        ToMmu::Back { .. } => "Back",
        ToMmu::Finalized { .. } => "Finalized",
        ToMmu::MapGpa { .. } => "MapGpa",
        ToMmu::CacheWriteback { .. } => "CacheWriteback",
        ToMmu::Destroy { .. } => "Destroy",
        ToMmu::Stats { .. } => "Stats",
    }
}
