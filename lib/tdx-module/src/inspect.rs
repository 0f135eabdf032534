//! What the machine below needs to know of a vCPU, and what tests need to get at.

use tdx_abi::td;

use crate::lock::{Lock, Mode};
use crate::machine::Machine;
use crate::module::Module;
use crate::page::{Tdr, Tdvps};
use crate::pamt;
use crate::vmcs::{self, code};

/// How the CPU below is to run a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuView {
    /// Root of the Secure EPT: the address of its top page.
    pub private_root: u64,
    /// Root of the shared EPT, as the host gave it with TDH.VP.WR.
    pub shared_root: u64,
    /// Levels of both, 4 or 5.
    pub ept_levels: u8,
    /// The SHARED bit of a guest physical address.
    pub shared_bit: u64,
    /// Guest physical address width in bits: 48 or 52.
    pub gpa_width: u8,
    /// Address of the posted-interrupt descriptor, `None` where posted interrupts are off.
    pub posted_interrupts: Option<u64>,
    /// Notification vector of posted interrupts.
    pub notification_vector: u8,
    /// Address of the virtual APIC page.
    pub virtual_apic: u64,
    /// TSC offset: the guest sees `(tsc * multiplier >> 48) + offset`.
    pub tsc_offset: u64,
    /// TSC multiplier.
    pub tsc_multiplier: u64,
    /// CR0 bits whose write exits if it differs from the shadow.
    pub cr0_mask: u64,
    /// What the guest reads of them.
    pub cr0_shadow: u64,
    /// CR4 bits whose write exits if it differs from the shadow.
    pub cr4_mask: u64,
    /// What the guest reads of them.
    pub cr4_shadow: u64,
    /// Address of the MSR bitmap page (SDM 25.6.9).
    pub msr_bitmap: u64,
    /// XFAM.
    pub xfam: u64,
    /// Whether VE_INFO waits to be fetched (then NMIs wait as well).
    pub ve_info_valid: bool,
    /// Whether the host asked for an NMI to be delivered.
    pub pend_nmi: bool,
}

/// A lock that a test holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockName {
    /// Of the PAMT entry of the 4 KiB page at this address.
    Page(u64),
    /// Of the OP_STATE of the TD with this TDR.
    OpState(u64),
    /// Of the epoch of the TD with this TDR.
    Epoch(u64),
    /// Of the Secure EPT of the TD with this TDR.
    SeptTree(u64),
    /// Of the RTMRs of the TD with this TDR.
    Rtmr(u64),
}

impl Module {
    /// How the CPU is to run the vCPU at `tdvpr`, which was initialised.
    pub fn view<M: Machine>(&self, machine: &M, tdr: u64, tdvpr: u64) -> VcpuView {
        const POSTED: u64 = 1 << 7;
        let memory = machine.memory();
        let tdcs = Tdr::new(memory, tdr).tdcs();
        let vp = Tdvps::new(memory, tdvpr);
        let address = tdx_abi::sept::HPA_MASK & !self.platform.key_id_mask();
        let read = |field| vmcs::read(vp, field);
        let posted = read(code::PIN_BASED) & POSTED != 0;
        VcpuView {
            private_root: tdcs.eptp() & address,
            shared_root: read(code::SHARED_EPTP) & address,
            ept_levels: tdcs.top_level() + 1,
            shared_bit: td::shared_bit(tdcs.gpaw()),
            gpa_width: if tdcs.gpaw() { 52 } else { 48 },
            posted_interrupts: posted
                .then(|| read(code::POSTED_INTERRUPT_DESCRIPTOR) & !self.platform.key_id_mask()),
            notification_vector: read(code::NOTIFICATION_VECTOR) as u8,
            virtual_apic: read(code::VIRTUAL_APIC) & address,
            tsc_offset: tdcs.tsc_offset(),
            tsc_multiplier: tdcs.tsc_multiplier(),
            cr0_mask: read(code::CR0_MASK),
            cr0_shadow: read(code::CR0_SHADOW),
            cr4_mask: read(code::CR4_MASK),
            cr4_shadow: read(code::CR4_SHADOW),
            msr_bitmap: read(code::MSR_BITMAP) & address,
            xfam: vp.xfam(),
            ve_info_valid: vp.ve_valid() != 0,
            pend_nmi: vp.pend_nmi() != 0,
        }
    }

    /// Takes (`Some`) or frees (`None`) a lock as if another LP did; for tests.
    /// Answers `false` where the page is in no TDMR.
    pub fn force_lock<M: Machine>(&self, machine: &M, name: LockName, mode: Option<Mode>) -> bool {
        let memory = machine.memory();
        let tdcs = |tdr| Tdr::new(memory, tdr).tdcs();
        let lock: Lock = match name {
            LockName::Page(pa) => match self.pamt_entries(pa) {
                Some(block) => pamt::page_lock(block),
                None => return false,
            },
            LockName::OpState(tdr) => tdcs(tdr).op_state_lock(),
            LockName::Epoch(tdr) => tdcs(tdr).epoch_lock(),
            LockName::SeptTree(tdr) => tdcs(tdr).sept_lock(),
            LockName::Rtmr(tdr) => tdcs(tdr).rtmr_lock(),
        };
        lock.force(&memory, mode);
        true
    }

    /// The virtual address bits of the platform that a KeyID takes; 0 in addresses of private
    /// pages that leaves take.
    pub fn key_id_mask(&self) -> u64 {
        self.platform.key_id_mask()
    }
}
