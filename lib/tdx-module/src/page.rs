//! Views onto the control pages: TDR, TDCS, TDVPS. State lives in host memory, at the offsets
//! the metadata fields have.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::OpState;

use crate::lock::Lock;

const HPA_MASK: u64 = (1 << 46) - 1;

macro_rules! fields {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $read:ident, $write:ident, $ty:ty, $offset:expr;)*) => {
        $(
            $(#[$doc])*
            #[allow(dead_code, reason = "some fields are only set here")]
            pub fn $get(&self) -> $ty {
                self.memory.$read(self.at($offset))
            }
            $(#[$doc])*
            #[allow(dead_code, reason = "some fields are only read here")]
            pub fn $set(&self, value: $ty) {
                self.memory.$write(self.at($offset), value);
            }
        )*
    };
}

/// Life cycle of a TD.
pub mod lifecycle {
    /// A KeyID is assigned.
    pub const HKID_ASSIGNED: u32 = 0;
    /// Keys are configured on every package.
    pub const KEYS_CONFIGURED: u32 = 1;
    /// vCPUs are flushed.
    pub const BLOCKED: u32 = 2;
    /// The KeyID is free.
    pub const TEARDOWN: u32 = 3;
}

/// The root page of a TD.
#[derive(Clone, Copy)]
pub struct Tdr<M> {
    memory: M,
    hpa: u64,
}

impl<M: PhysMemory + Copy> Tdr<M> {
    /// A view onto the page at `hpa`.
    pub fn new(memory: M, hpa: u64) -> Self {
        Self { memory, hpa }
    }
    /// Its address.
    pub fn hpa(&self) -> u64 {
        self.hpa
    }
    pub(crate) fn at(&self, offset: u64) -> Hpa {
        Hpa::new(self.hpa + (offset & 0xfff))
    }
    fields! {
        /// Whether the TD met a fatal error.
        fatal, set_fatal: read_u8, write_u8, u8, 0;
        /// TDCX pages.
        num_tdcx, set_num_tdcx: read_u32, write_u32, u32, 4;
        /// Pages that belong to the TD, in units of 4 KiB.
        child_count, set_child_count: read_u64, write_u64, u64, 8;
        /// Life cycle state.
        lifecycle, set_lifecycle: read_u32, write_u32, u32, 0x10;
        /// KeyID.
        hkid, set_hkid: read_u16, write_u16, u16, 0x100;
        /// Packages on which the key is configured.
        package_bitmap, set_package_bitmap: read_u64, write_u64, u64, 0x108;
    }
    /// TDCX page `index` with its KeyID.
    pub fn tdcx(&self, index: u32) -> u64 {
        self.memory.read_u64(self.at(0x18 + 8 * (index as u64 % 9)))
    }
    /// Sets TDCX page `index`.
    pub fn set_tdcx(&self, index: u32, pa: u64) {
        self.memory
            .write_u64(self.at(0x18 + 8 * (index as u64 % 9)), pa);
    }
    /// Adds to the count of child pages (wrapping, so that -1 takes one off).
    pub fn add_children(&self, pages: i64) {
        self.set_child_count(self.child_count().wrapping_add(pages as u64));
    }
    /// The TD's control structure.
    pub fn tdcs(&self) -> Tdcs<M> {
        let mut pages = [0; 9];
        for (i, page) in pages.iter_mut().enumerate() {
            *page = self.tdcx(i as u32) & HPA_MASK;
        }
        Tdcs {
            memory: self.memory,
            pages,
        }
    }
}

/// The control structure of a TD, spread over its TDCX pages.
#[derive(Clone, Copy)]
pub struct Tdcs<M> {
    memory: M,
    pages: [u64; 9],
}

/// Offsets in TDCS that are not metadata fields.
pub mod tdcs_offset {
    /// What TDH.MNG.INIT sets; zero before. The migration key is in between.
    pub const FIELDS: [core::ops::Range<u64>; 2] = [0x80..0x5e0, 0x600..0x1000];
    /// Lock of OP_STATE.
    pub const OP_STATE_LOCK: u64 = 0xc;
    /// Lock of the Secure EPT tree.
    pub const SEPT_LOCK: u64 = 0xa0;
    /// Features the virtual CPUID shows, one byte each.
    pub const CPUID_FLAGS: u64 = 0xbc;
    /// Lock of the epoch.
    pub const EPOCH_LOCK: u64 = 0x210;
    /// Lock of the RTMRs.
    pub const RTMR_LOCK: u64 = 0x3f0;
    /// SHA-384 chaining value of MRTD: 64 bytes, then the blocks hashed.
    pub const MRTD_STATE: u64 = 0x400;
    /// Which CPUID entries are valid.
    pub const CPUID_VALID: u64 = 0x134;
    /// The virtual CPUID values, 16 bytes each.
    pub const CPUID_VALUES: u64 = 0x800;
    /// MRTD.
    pub const MRTD: u64 = 0x240;
    /// MRCONFIGID, then MROWNER and MROWNERCONFIG.
    pub const MR_CONFIG_ID: u64 = 0x270;
    /// RTMR 0.
    pub const RTMR: u64 = 0x300;
    /// SERVTD_HASH.
    pub const SERVTD_HASH: u64 = 0xd00;
    /// MSR bitmaps.
    pub const MSR_BITMAPS: u64 = 0x2000;
}

/// Features of the virtual CPUID that decide how MSRs behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
#[allow(missing_docs)]
pub enum CpuidFlag {
    Monitor,
    Dca,
    TscDeadline,
    Tsx,
    Waitpkg,
    Tme,
    Mktme,
    Xfd,
    Ddpd,
    La57,
}

impl<M: PhysMemory + Copy> Tdcs<M> {
    /// The memory it lives in.
    pub fn memory(&self) -> M {
        self.memory
    }
    /// Where an offset within TDCS is in memory.
    pub fn at(&self, offset: u64) -> Hpa {
        let page = self.pages[(offset >> 12) as usize % 9];
        Hpa::new(page + (offset & 0xfff))
    }
    fields! {
        /// Initialised vCPUs.
        num_vcpus, set_num_vcpus: read_u32, write_u32, u32, 0;
        /// vCPUs associated with some LP.
        num_assoc_vcpus, set_num_assoc_vcpus: read_u32, write_u32, u32, 4;
        /// OP_STATE as a number.
        op_state_raw, set_op_state_raw: read_u32, write_u32, u32, 8;
        /// L2 VMs.
        num_l2_vms, set_num_l2_vms: read_u16, write_u16, u16, 0x10;
        /// ATTRIBUTES.
        attributes, set_attributes: read_u64, write_u64, u64, 0x80;
        /// XFAM.
        xfam, set_xfam: read_u64, write_u64, u64, 0x88;
        /// vCPUs at most.
        max_vcpus, set_max_vcpus: read_u32, write_u32, u32, 0x90;
        /// 1: 52-bit guest addresses.
        gpaw_raw, set_gpaw_raw: read_u8, write_u8, u8, 0x94;
        /// EPTP of the Secure EPT.
        eptp, set_eptp: read_u64, write_u64, u64, 0x98;
        /// TSC offset.
        tsc_offset, set_tsc_offset: read_u64, write_u64, u64, 0xa8;
        /// TSC multiplier (48 fraction bits).
        tsc_multiplier, set_tsc_multiplier: read_u64, write_u64, u64, 0xb0;
        /// TSC frequency in units of 25 MHz.
        tsc_frequency, set_tsc_frequency: read_u16, write_u16, u16, 0xb8;
        /// Size of the XSAVE buffer.
        xbuff_size, set_xbuff_size: read_u32, write_u32, u32, 0xdc;
        /// Which events give a #VE.
        notify_enables, set_notify_enables: read_u64, write_u64, u64, 0xe0;
        /// Host-priority lock timeout in TSC ticks.
        hp_lock_timeout, set_hp_lock_timeout: read_u64, write_u64, u64, 0xe8;
        /// CONFIG_FLAGS.
        config_flags, set_config_flags: read_u64, write_u64, u64, 0x118;
        /// TD_CTLS.
        td_ctls, set_td_ctls: read_u64, write_u64, u64, 0x120;
        /// TD_EPOCH.
        epoch, set_epoch: read_u64, write_u64, u64, 0x200;
        /// Service TDs bound.
        servtd_num, set_servtd_num: read_u16, write_u16, u16, 0xd30;
        /// IA32_ARCH_CAPABILITIES as the TD sees it.
        arch_capabilities, set_arch_capabilities: read_u64, write_u64, u64, 0x778;
    }
    /// OP_STATE.
    pub fn op_state(&self) -> OpState {
        OpState::from_raw(self.op_state_raw()).unwrap_or(OpState::FailedImport)
    }
    /// Sets OP_STATE.
    pub fn set_op_state(&self, state: OpState) {
        self.set_op_state_raw(state as u32);
    }
    /// Whether guest addresses are 52 bits wide.
    pub fn gpaw(&self) -> bool {
        self.gpaw_raw() != 0
    }
    /// The highest level of the Secure EPT: 3 or 4.
    pub fn top_level(&self) -> u8 {
        (self.eptp() >> 3 & 7) as u8
    }
    /// vCPUs inside that entered in epochs of this parity.
    pub fn ref_count(&self, epoch: u64) -> u16 {
        self.memory.read_u16(self.at(0x208 + 2 * (epoch & 1)))
    }
    /// Counts vCPUs in and out.
    pub fn add_ref(&self, epoch: u64, delta: i16) {
        let count = self.ref_count(epoch).wrapping_add(delta as u16);
        self.memory
            .write_u16(self.at(0x208 + 2 * (epoch & 1)), count);
    }
    /// Whether the debug attribute is set.
    pub fn is_debug(&self) -> bool {
        self.attributes() & tdx_abi::td::attributes::DEBUG != 0
    }
    /// Whether the virtual CPUID shows a feature.
    pub fn cpuid_flag(&self, flag: CpuidFlag) -> bool {
        self.memory
            .read_u8(self.at(tdcs_offset::CPUID_FLAGS + flag as u64))
            != 0
    }
    /// Notes whether the virtual CPUID shows a feature.
    pub fn set_cpuid_flag(&self, flag: CpuidFlag, on: bool) {
        self.memory.write_u8(
            self.at(tdcs_offset::CPUID_FLAGS + flag as u64),
            u8::from(on),
        );
    }
    /// The virtual CPUID value of a table entry.
    pub fn cpuid_value(&self, index: usize) -> [u32; 4] {
        let base = tdcs_offset::CPUID_VALUES + 16 * index as u64;
        core::array::from_fn(|i| self.memory.read_u32(self.at(base + 4 * i as u64)))
    }
    /// Sets the virtual CPUID value of a table entry.
    pub fn set_cpuid_value(&self, index: usize, values: [u32; 4]) {
        let base = tdcs_offset::CPUID_VALUES + 16 * index as u64;
        for (i, value) in values.into_iter().enumerate() {
            self.memory.write_u32(self.at(base + 4 * i as u64), value);
        }
    }
    /// Reads 48 bytes of measurement.
    pub fn measurement(&self, offset: u64) -> [u8; 48] {
        let mut bytes = [0; 48];
        self.memory.read_bytes(self.at(offset), &mut bytes);
        bytes
    }
    /// Writes 48 bytes of measurement.
    pub fn set_measurement(&self, offset: u64, bytes: &[u8; 48]) {
        self.memory.write_bytes(self.at(offset), bytes);
    }
    /// The lock of OP_STATE.
    pub fn op_state_lock(&self) -> Lock {
        Lock::host_priority(self.at(tdcs_offset::OP_STATE_LOCK))
    }
    /// The lock of the Secure EPT tree.
    pub fn sept_lock(&self) -> Lock {
        Lock::plain(self.at(tdcs_offset::SEPT_LOCK))
    }
    /// The lock of the epoch.
    pub fn epoch_lock(&self) -> Lock {
        Lock::plain(self.at(tdcs_offset::EPOCH_LOCK))
    }
    /// The lock of the RTMRs.
    pub fn rtmr_lock(&self) -> Lock {
        Lock::host_priority(self.at(tdcs_offset::RTMR_LOCK))
    }
}

/// States of a vCPU.
pub mod vcpu_state {
    /// Before TDH.VP.INIT.
    pub const UNINITIALIZED: u8 = 0;
    /// Can be entered.
    pub const READY: u8 = 2;
    /// Inside.
    pub const ACTIVE: u8 = 4;
    /// Never again.
    pub const DISABLED: u8 = 8;
}

/// How the vCPU left the last time.
pub mod last_exit {
    /// Asynchronously, before an instruction.
    pub const ASYNC_FAULT: u8 = 0;
    /// Asynchronously, after an instruction.
    pub const ASYNC_TRAP: u8 = 1;
    /// By TDG.VP.VMCALL.
    pub const TDVMCALL: u8 = 2;
}

/// "Not associated with any LP".
pub const NO_LP: u32 = u32::MAX;

/// The XSAVE header in TDVPS.
const XSTATE_BV: u64 = 0x3200;
const XCOMP_BV: u64 = 0x3208;
/// XCOMP_BV: the compacted format.
const COMPACT: u64 = 1 << 63;

/// A vCPU, spread over TDVPR and its TDCX pages.
#[derive(Clone, Copy)]
pub struct Tdvps<M> {
    memory: M,
    pages: [u64; 15],
}

impl<M: PhysMemory + Copy> Tdvps<M> {
    /// A view onto the vCPU whose TDVPR is at `hpa`.
    pub fn new(memory: M, hpa: u64) -> Self {
        let mut pages = [hpa; 15];
        for (i, page) in pages.iter_mut().enumerate().skip(1) {
            *page = memory.read_u64(Hpa::new(hpa + 0x108 + 8 * i as u64)) & HPA_MASK;
        }
        Self { memory, pages }
    }
    /// The address of TDVPR.
    pub fn hpa(&self) -> u64 {
        self.pages[0]
    }
    /// The memory it lives in.
    pub fn memory(&self) -> M {
        self.memory
    }
    /// Where an offset within TDVPS is in memory.
    pub fn at(&self, offset: u64) -> Hpa {
        let page = self.pages[(offset >> 12) as usize % 15];
        Hpa::new(page + (offset & 0xfff))
    }
    fields! {
        /// State.
        state, set_state: read_u8, write_u8, u8, 0x100;
        /// How it left.
        last_exit, set_last_exit: read_u8, write_u8, u8, 0x101;
        /// Index within the TD.
        index, set_index: read_u32, write_u32, u32, 0x102;
        /// Pages given.
        num_pages, set_num_pages: read_u8, write_u8, u8, 0x107;
        /// The LP it is associated with.
        assoc_lp, set_assoc_lp: read_u32, write_u32, u32, 0x1c8;
        /// The epoch it entered in.
        epoch, set_epoch: read_u64, write_u64, u64, 0x1d0;
        /// CPUID gives #VE in ring 0.
        cpuid_supervisor_ve, set_cpuid_supervisor_ve: read_u8, write_u8, u8, 0x1d8;
        /// CPUID gives #VE in rings 1 to 3.
        cpuid_user_ve, set_cpuid_user_ve: read_u8, write_u8, u8, 0x1d9;
        /// TSC at the last exit.
        last_exit_tsc, set_last_exit_tsc: read_u64, write_u64, u64, 0x1e0;
        /// An NMI waits.
        pend_nmi, set_pend_nmi: read_u8, write_u8, u8, 0x1e8;
        /// XFAM.
        xfam, set_xfam: read_u64, write_u64, u64, 0x1f0;
        /// Entries of the list of EPT faults at one RIP.
        epf_count, set_epf_count: read_u8, write_u8, u8, 0x1f8;
        /// EPT faults at one RIP before the list is kept.
        epf_stepping, set_epf_stepping: read_u8, write_u8, u8, 0x1f9;
        /// TSC when a guest-side lock was first found busy.
        hp_busy_start, set_hp_busy_start: read_u64, write_u64, u64, 0x200;
        /// Whether it was.
        hp_busy, set_hp_busy: read_u8, write_u8, u8, 0x208;
        /// A VM exit happened (VM_LAUNCHED).
        launched, set_launched: read_u8, write_u8, u8, 0x21a;
        /// The VMCS has what depends on the LP (LP_DEPENDENT_HPA_UPDATED).
        lp_state_written, set_lp_state_written: read_u8, write_u8, u8, 0x21e;
        /// The VMCS has what depends on the module (MODULE_DEPENDENT_FIELDS_UPDATED).
        module_state_written, set_module_state_written: read_u8, write_u8, u8, 0x222;
        /// VE_INFO.VALID.
        ve_valid, set_ve_valid: read_u32, write_u32, u32, 4;
    }
    /// Page `index`, with its KeyID.
    pub fn set_page(&self, index: u8, pa: u64) {
        self.memory
            .write_u64(self.at(0x108 + 8 * (index as u64 % 15)), pa);
    }
    /// General-purpose register `index`, as saved.
    pub fn gpr(&self, index: usize) -> u64 {
        self.memory
            .read_u64(self.at(0x980 + 8 * (index as u64 & 15)))
    }
    /// Saves general-purpose register `index`.
    pub fn set_gpr(&self, index: usize, value: u64) {
        self.memory
            .write_u64(self.at(0x980 + 8 * (index as u64 & 15)), value);
    }
    /// Whether XRSTORS would take the saved extended state (SDM volume 1, 13.12).
    pub fn can_restore_extended_state(&self) -> bool {
        let (xstate, xcomp) = (self.word(XSTATE_BV), self.word(XCOMP_BV));
        xcomp & COMPACT != 0
            && xcomp & !COMPACT & !self.xfam() == 0
            && xstate & !xcomp == 0
            && (0..6).all(|i| self.word(XCOMP_BV + 8 + 8 * i) == 0)
    }
    /// What XSAVES with all of XFAM leaves in the header.
    pub fn set_extended_state_saved(&self) {
        self.set_word(XCOMP_BV, COMPACT | self.xfam());
        self.set_word(XSTATE_BV, self.word(XSTATE_BV) & self.xfam());
    }
    /// The host gave XMM registers: they are not in their initial state.
    pub fn set_sse_in_use(&self) {
        self.set_word(XSTATE_BV, self.word(XSTATE_BV) | 2);
    }
    /// An 8-byte word of TDVPS.
    pub fn word(&self, offset: u64) -> u64 {
        self.memory.read_u64(self.at(offset))
    }
    /// Sets an 8-byte word of TDVPS.
    pub fn set_word(&self, offset: u64, value: u64) {
        self.memory.write_u64(self.at(offset), value);
    }
}
