//! Guest memory, shadow pages, stolen-bit roots.
//!
//! pd-mmu answers two kinds of questions: what pd-vmm asks for a VM (memory, conversions, pages
//! to build it with), and what a vCPU's EPT violation asks for (from pd-tdx). Both go to
//! [`mmu::Mmu`]; what it wants done at the TDX module goes to pd-tdx as programs. One program
//! per VM is under way at a time: faults and the one request of pd-vmm wait for it.
#![no_std]
#![forbid(unsafe_code)]

mod fault;
mod host_pages;
mod pd;
mod request;
mod storage;

pub use pd::Pd;
pub use storage::Storage;

use gpa::Hpa;
use heapless::String;
use ipc_console::{FromConsole, ToConsole};
use ipc_mmu_tdx as tdx;
use ipc_vmm_mmu as vmm;
use memory::PhysMemory;
use ring::Link;

/// VMs that can exist at the same time.
pub const MAX_VMS: usize = 8;

/// The channel to pd-console.
pub type ConsoleLink<'a> = Link<'a, ToConsole, FromConsole>;
/// The channel to pd-vmm.
pub type VmmLink<'a> = Link<'a, vmm::ToVmm, vmm::ToMmu>;
/// The channel to pd-tdx.
pub type TdxLink<'a> = Link<'a, tdx::ToTdx, tdx::ToMmu>;

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
