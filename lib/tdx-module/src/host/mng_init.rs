//! TDH.MNG.INIT: TD_PARAMS.

use memory::PhysMemory;
use tdx_abi::{HostLeaf, OpState, Operand, Status, cpuid, layout::TdParams, td};
use zerocopy::{FromZeros, IntoBytes};

use crate::call::Call;
use crate::caps::Capabilities;
use crate::lock::Mode;
use crate::machine::{Machine, reg::*};
use crate::measure;
use crate::module::{Done, SUCCESS};
use crate::page::{Tdcs, Tdr, tdcs_offset};

const IA32_MISC_ENABLE: u32 = 0x1a0;
const IA32_TSC_ADJUST: u32 = 0x3b;
/// Host-priority lock timeout to start with, in microseconds.
const LOCK_TIMEOUT_US: u64 = 1_000_000;

/// Whether XFAM is a combination the architecture has.
pub(crate) fn is_xfam_consistent(xfam: u64) -> bool {
    use td::xfam::*;
    let all_or_none = |mask| xfam & mask == 0 || xfam & mask == mask;
    xfam & FIXED1 == FIXED1
        && all_or_none(AVX512)
        && all_or_none(CET)
        && all_or_none(AMX)
        && (xfam & AVX512 == 0 || xfam & AVX != 0)
}

/// The TSC offset and multiplier of a TD whose TSC is to be 0 at `tsc`.
fn tsc_scale(tsc: u64, native_hz: u64, units: u16) -> (u64, u64) {
    let hz = u128::from(units) * u128::from(td::CRYSTAL_HZ);
    let multiplier = ((hz << 48) / u128::from(native_hz.max(1))) as u64;
    let now = ((u128::from(tsc) * u128::from(multiplier)) >> 48) as u64;
    (multiplier, now.wrapping_neg())
}

impl<M: Machine> Call<'_, M> {
    pub fn mng_init(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MngInit;
        let (tdr, params_pa) = (self.r[RCX], self.r[RDX]);
        self.r[RCX] = 0;
        if self.machine.rdmsr(self.lp, IA32_MISC_ENABLE) & 1 << 22 != 0 {
            return Err(Status::LIMIT_CPUID_MAXVAL_SET);
        }
        let td = self.lock_td(tdr, Operand::RCX, Mode::Exclusive, None, leaf)?;
        self.check_shared(params_pa, TdParams::ALIGN, Operand::RDX)?;
        let mut params = TdParams::new_zeroed();
        if let Some(at) = self.host_memory(params_pa) {
            self.mem().read_bytes(at, params.as_mut_bytes());
        }
        let result = self.initialize(td.tdr, td.tdcs, &params);
        if result.is_err() {
            // As it was after TDH.MNG.ADDCX.
            for fields in tdcs_offset::FIELDS {
                let len = fields.end - fields.start;
                self.mem().zero(td.tdcs.at(fields.start), len);
            }
        }
        result
    }

    fn initialize(
        &mut self,
        tdr: Tdr<M::Memory>,
        tdcs: Tdcs<M::Memory>,
        params: &TdParams,
    ) -> Result<Done, Status> {
        tdcs.set_num_vcpus(0);
        tdcs.set_num_assoc_vcpus(0);
        tdcs.set_epoch(1);
        let timeout = LOCK_TIMEOUT_US * self.module.platform.tsc_hz / 1_000_000;
        tdcs.set_hp_lock_timeout(timeout);
        self.configure(tdr, tdcs, params)?;
        self.configure_cpuid(tdcs, params)?;
        let arch = self
            .arch_capabilities(tdcs, params)
            .ok_or(Status::OPERAND_INVALID.with(Operand::IA32_ARCH_CAPABILITIES_CONFIG))?;
        tdcs.set_arch_capabilities(arch);
        Capabilities::of(self.machine, self.lp).set_virtual_msrs(tdcs);
        if tdcs.attributes() & td::attributes::MIGRATABLE != 0 && tdcs.num_l2_vms() > 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        self.set_msr_bitmaps(tdcs);
        measure::start(tdcs);
        for i in 0..4 {
            tdcs.set_measurement(tdcs_offset::RTMR + 48 * i, &[0; 48]);
        }
        tdcs.set_op_state(OpState::Initialized);
        SUCCESS
    }

    fn configure(
        &mut self,
        tdr: Tdr<M::Memory>,
        tdcs: Tdcs<M::Memory>,
        params: &TdParams,
    ) -> Result<(), Status> {
        use td::{attributes as a, config_flags as f};
        let invalid = |operand| Err(Status::OPERAND_INVALID.with(operand));
        let attributes = params.attributes.get();
        let migratable = attributes & a::MIGRATABLE != 0;
        if attributes & !a::FIXED0 != 0
            || attributes | a::FIXED1 != attributes
            || migratable && attributes & (a::DEBUG | a::PERFMON) != 0
        {
            return invalid(Operand::ATTRIBUTES);
        }
        tdcs.set_attributes(attributes);
        let pending_ve = attributes & a::SEPT_VE_DISABLE != 0;
        tdcs.set_td_ctls(if pending_ve {
            td::td_ctls::PENDING_VE_DISABLE
        } else {
            0
        });
        let xfam = params.xfam.get();
        if xfam & !self.module.xfam_fixed0() != 0 || !is_xfam_consistent(xfam) {
            return invalid(Operand::XFAM);
        }
        tdcs.set_xfam(xfam);
        self.set_xbuff(tdcs, xfam);
        if params.max_vcpus.get() == 0 {
            return invalid(Operand::MAX_VCPUS);
        }
        tdcs.set_max_vcpus(u32::from(params.max_vcpus.get()));
        if params.num_l2_vms > td::MAX_L2_VMS {
            return invalid(Operand::NUM_L2_VMS);
        }
        if tdr.num_tdcx() < td::MIN_TDCS_PAGES + u32::from(params.num_l2_vms) {
            return Err(Status::TDCS_NOT_ALLOCATED);
        }
        tdcs.set_num_l2_vms(u16::from(params.num_l2_vms));
        if params.reserved_0 != [0; 4] {
            return invalid(Operand::RDX);
        }
        let flags = params.config_flags.get();
        if flags & !f::FIXED0 != 0 || flags | f::FIXED1 != flags {
            return invalid(Operand::EXEC_CONTROLS);
        }
        let gpaw = flags & f::GPAW != 0;
        let eptp = params.eptp_controls.get();
        let five_levels = eptp == td::eptp_controls::WB | td::eptp_controls::WALK_5;
        let four_levels = eptp == td::eptp_controls::WB | td::eptp_controls::WALK_4;
        let allowed = four_levels && !gpaw || five_levels && self.module.platform.max_pa >= 49;
        if !allowed {
            return invalid(Operand::EPTP_CONTROLS);
        }
        let root = tdr.tdcx(3) & !self.module.platform.key_id_mask();
        tdcs.set_eptp(eptp | root);
        tdcs.set_config_flags(flags);
        tdcs.set_gpaw_raw(u8::from(gpaw));
        let frequency = params.tsc_frequency.get();
        if !td::TSC_FREQUENCY.contains(&frequency) {
            return invalid(Operand::TSC_FREQUENCY);
        }
        tdcs.set_tsc_frequency(frequency);
        if self.machine.rdmsr(self.lp, IA32_TSC_ADJUST) != 0 {
            return Err(Status::INCONSISTENT_MSR.with_details(IA32_TSC_ADJUST));
        }
        let native = self.module.platform.tsc_hz;
        let (multiplier, offset) = tsc_scale(self.machine.tsc(), native, frequency);
        tdcs.set_tsc_multiplier(multiplier);
        tdcs.set_tsc_offset(offset);
        if params.reserved_1 != [0; 38] {
            return invalid(Operand::RDX);
        }
        let mr = [params.mr_config_id, params.mr_owner, params.mr_owner_config];
        for (i, bytes) in mr.iter().enumerate() {
            tdcs.set_measurement(tdcs_offset::MR_CONFIG_ID + 48 * i as u64, bytes);
        }
        if params.msr_config_ctls & !1 != 0 || params.reserved_2 != [0; 24] {
            return invalid(Operand::RDX);
        }
        Ok(())
    }

    /// Where each extended state component is in the XSAVE buffer.
    fn set_xbuff(&self, tdcs: Tdcs<M::Memory>, xfam: u64) {
        const XBUFF_OFFSETS: u64 = 0x190;
        let mut offset = 576;
        for bit in 2..19 {
            if xfam >> bit & 1 == 0 {
                continue;
            }
            let Some(index) = cpuid::index_of(0xd, bit) else {
                continue;
            };
            let [size, _, flags, _] = self.module.cpuid[index];
            if flags & 2 != 0 {
                offset = (offset + 63) & !63;
            }
            let at = tdcs.at(XBUFF_OFFSETS + 4 * u64::from(bit));
            self.mem().write_u32(at, offset);
            offset += size;
        }
        tdcs.set_xbuff_size(offset);
    }
}
