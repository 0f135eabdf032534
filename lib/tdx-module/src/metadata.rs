//! Metadata fields: finding them, walking through them, reading and writing them.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    FieldId, HostLeaf, Operand, Status, cpuid,
    field::{self, Field, id},
    layout::{MAX_CMRS, MAX_RESERVED_AREAS, MAX_TDMRS, PAMT_ENTRY_SIZE},
    td,
};

use crate::call::{Call, is_valid_gpa};
use crate::guest::{Guest, Stop};
use crate::lock::Mode;
use crate::machine::{self, Machine, VcpuState, reg::*};
use crate::module::{Done, Module, SUCCESS};
use crate::page::{Tdcs, Tdr, Tdvps, tdcs_offset};
use crate::vmcs::{self, code};

/// "No field", and "the first one".
pub(crate) const NO_FIELD: u64 = u64::MAX;
const CONTEXT_MASK: u64 = 7 << 52;
/// Everything in an identifier that has to be 0 where one element is named.
pub(crate) const SEQUENCE_BITS: u64 = 0xff00_0000 | 0x1fff << 34 | 7 << 47 | 1 << 55 | 1 << 62;

const CLASS_TDCS_CPUID: u32 = 0x14;
/// Classes 0 to 2 of the TD context are in TDR, the others in TDCS.
const LAST_TDR_CLASS: u32 = 2;
/// Entries at the end of a table that are about L2 VMs.
const L2_TD_ENTRIES: usize = 3;
const L2_VP_ENTRIES: usize = 9;
/// How many of these entries one L2 VM brings.
const VPS_PER_VM: usize = 3;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Host { debug: bool },
    Guest,
}

impl Access {
    pub fn read_mask(self, field: &Field) -> u64 {
        match self {
            Self::Host { debug: true } => field.debug_read,
            Self::Host { debug: false } => field.prod_read,
            Self::Guest => field.guest_read,
        }
    }
    fn write_mask(self, field: &Field) -> u64 {
        match self {
            Self::Host { debug: true } => field.debug_write,
            Self::Host { debug: false } => field.prod_write,
            Self::Guest => field.guest_write,
        }
    }
}

/// What fields are of.
#[derive(Clone, Copy)]
pub(crate) enum Context<Mem> {
    Sys,
    Td(Tdr<Mem>, Tdcs<Mem>),
    Vp(Tdcs<Mem>, Tdvps<Mem>),
}

impl<Mem: PhysMemory + Copy> Context<Mem> {
    fn code(&self) -> u64 {
        match self {
            Self::Sys => 0,
            Self::Td(..) => 1,
            Self::Vp(..) => 2,
        }
    }

    /// The identifier in this context, whatever context it named.
    pub fn own(&self, raw: u64) -> FieldId {
        FieldId(raw & !CONTEXT_MASK | self.code() << 52)
    }

    /// Tables in the order in which they are walked.
    fn tables(&self) -> [&'static [Field]; 2] {
        match self {
            Self::Sys => [field::SYS, &[]],
            Self::Td(_, tdcs) => {
                let unused = L2_TD_ENTRIES - usize::from(tdcs.num_l2_vms()).min(L2_TD_ENTRIES);
                [&field::TD[..field::TD.len() - unused], &[]]
            }
            Self::Vp(tdcs, _) => {
                let vms = usize::from(tdcs.num_l2_vms());
                let unused = L2_VP_ENTRIES - (vms * VPS_PER_VM).min(L2_VP_ENTRIES);
                [field::VP_VMCS, &field::VP[..field::VP.len() - unused]]
            }
        }
    }

    pub fn find(&self, id: FieldId) -> Option<(usize, usize)> {
        let code = if self.is_cpuid(id) {
            id.field_code() & 1
        } else {
            id.field_code()
        };
        for (t, table) in self.tables().into_iter().enumerate() {
            let found = table.iter().position(|f| {
                let first = f.id.field_code();
                let step = 1 + f.id.inc_size() as u32;
                let end = first + u32::from(f.elements) * step * u32::from(f.fields);
                f.id.class_code() == id.class_code() && (first..end).contains(&code)
            });
            if let Some(i) = found {
                return Some((t, i));
            }
        }
        None
    }

    fn is_cpuid(&self, id: FieldId) -> bool {
        matches!(self, Self::Td(..)) && id.class_code() == CLASS_TDCS_CPUID
    }

    /// The first element that `access` can read.
    pub fn first(&self, access: Access) -> u64 {
        self.first_from(0, 0, access)
    }

    pub fn first_from(&self, table: usize, index: usize, access: Access) -> u64 {
        let tables = self.tables();
        let mut start = index;
        for table in &tables[table..] {
            let rest = table.get(start..).unwrap_or(&[]);
            if let Some(f) = rest.iter().find(|f| access.read_mask(f) != 0) {
                return if self.is_cpuid(f.id) {
                    with_leaf(f.id.0, 0)
                } else {
                    f.id.0
                };
            }
            start = 0;
        }
        NO_FIELD
    }

    /// The element after `id` that `access` can read.
    pub fn next(&self, id: FieldId, access: Access) -> u64 {
        let Some((t, i)) = self.find(id) else {
            return NO_FIELD;
        };
        if self.is_cpuid(id) {
            if id.field_code() & 1 == 0 {
                return id.0 + 1;
            }
            let (leaf, subleaf) = leaf_of(id);
            let index = exact_index(leaf, subleaf).map_or(usize::MAX, |i| i + 1);
            if index < cpuid::LEAVES.len() {
                return with_leaf(id.0, index);
            }
            return self.first_from(t, i + 1, access);
        }
        let f = &self.tables()[t][i];
        let step = 1 + f.id.inc_size() as u32;
        let element = (id.field_code() - f.id.field_code()) / step;
        if element < u32::from(f.fields) * u32::from(f.elements) - 1 {
            return id.0 + u64::from(step);
        }
        self.first_from(t, i + 1, access)
    }
}

pub(crate) fn is_null(raw: u64) -> bool {
    raw | CONTEXT_MASK == NO_FIELD
}

fn check_single(id: FieldId) -> Result<(), Status> {
    if id.0 & SEQUENCE_BITS != 0 {
        return Err(Status::METADATA_FIELD_ID_INCORRECT);
    }
    Ok(())
}

fn size_mask(f: &Field) -> u64 {
    u64::MAX >> (64 - 8 * (1 << f.id.element_size_code()))
}

/// Leaf and sub-leaf of a CPUID_VALUES identifier.
fn leaf_of(id: FieldId) -> (u32, u32) {
    let code = id.0 as u32;
    let leaf = code >> 9 & 0x7f | (code >> 16 & 1) << 31;
    let subleaf = if code >> 8 & 1 != 0 {
        cpuid::NO_SUBLEAF
    } else {
        code >> 1 & 0x7f
    };
    (leaf, subleaf)
}

/// The identifier of the first half of entry `index` of the CPUID table.
fn with_leaf(raw: u64, index: usize) -> u64 {
    let leaf = &cpuid::LEAVES[index];
    let code = (leaf.leaf & 0x7f) << 9
        | (leaf.leaf >> 31) << 16
        | (leaf.subleaf & 0x7f) << 1
        | u32::from(leaf.subleaf == cpuid::NO_SUBLEAF) << 8;
    raw & !0x1_ffff | u64::from(code)
}

fn exact_index(leaf: u32, subleaf: u32) -> Option<usize> {
    cpuid::index_of(leaf, subleaf)
}

/// A value found, and where it is (where it is in memory).
struct Element {
    value: u64,
    at: Option<Hpa>,
    field: &'static Field,
}

impl Module {
    /// Reads one element.
    pub(crate) fn read_field<M: Machine>(
        &self,
        machine: &M,
        context: Context<M::Memory>,
        id: FieldId,
        access: Access,
    ) -> Result<u64, Status> {
        let element = self.element(machine, context, id, access)?;
        let mask = access.read_mask(element.field);
        if mask == 0 {
            return Err(Status::METADATA_FIELD_NOT_READABLE);
        }
        Ok(element.value & mask)
    }

    fn element<M: Machine>(
        &self,
        machine: &M,
        context: Context<M::Memory>,
        id: FieldId,
        access: Access,
    ) -> Result<Element, Status> {
        let incorrect = Status::METADATA_FIELD_ID_INCORRECT;
        let (t, i) = context.find(id).ok_or(incorrect)?;
        let field = &context.tables()[t][i];
        let memory = machine.memory();
        let offset = u64::from(field.offset);
        let number = u64::from(id.field_code().wrapping_sub(field.id.field_code()));
        let size = 1 << field.id.element_size_code();
        let at = match context {
            Context::Sys => {
                if access.read_mask(field) == 0 {
                    return Err(Status::METADATA_FIELD_NOT_READABLE);
                }
                let value = self.sys_field(field, number).ok_or(incorrect)?;
                return Ok(Element {
                    value,
                    at: None,
                    field,
                });
            }
            Context::Td(_, tdcs) if context.is_cpuid(id) => {
                if id.0 as u32 >> 17 != 0 {
                    return Err(incorrect);
                }
                let (leaf, subleaf) = leaf_of(id);
                let index = exact_index(leaf, subleaf).ok_or(incorrect)?;
                let valid = tdcs.at(tdcs_offset::CPUID_VALID + index as u64);
                if cpuid::LEAVES[index].faulting || memory.read_u8(valid) == 0 {
                    return Err(Status::METADATA_FIELD_NOT_READABLE);
                }
                let half = u64::from(id.field_code() & 1);
                tdcs.at(offset + 16 * index as u64 + 8 * half)
            }
            Context::Td(tdr, tdcs) => {
                let offset = offset + number * size;
                if field.id.class_code() <= LAST_TDR_CLASS {
                    tdr.at(offset)
                } else {
                    tdcs.at(offset)
                }
            }
            Context::Vp(_, vp) if t == 0 => {
                let code = id.field_code();
                // Odd encodings are the high halves of 64-bit fields.
                let value = match vmcs::try_read(vp, code) {
                    Some(value) if code & 1 == 0 => value,
                    _ => return Err(incorrect),
                };
                return Ok(Element {
                    value: value & size_mask(field),
                    at: None,
                    field,
                });
            }
            Context::Vp(_, vp) => vp.at(offset + number * size),
        };
        let value = match size {
            1 => u64::from(memory.read_u8(at)),
            2 => u64::from(memory.read_u16(at)),
            4 => u64::from(memory.read_u32(at)),
            _ => memory.read_u64(at),
        };
        let value = match field.id {
            id::TD_HP_LOCK_TIMEOUT => {
                let ticks = value.min(u64::MAX / 1_000_000);
                ticks * 1_000_000 / self.platform.tsc_hz.max(1)
            }
            id::TD_NUM_CPUID_VALUES => cpuid::LEAVES.len() as u64,
            _ => value,
        };
        Ok(Element {
            value,
            at: Some(at),
            field,
        })
    }

    /// Writes the bits of `mask`; answers the old value.
    pub(crate) fn write_field<M: Machine>(
        &self,
        machine: &M,
        context: Context<M::Memory>,
        id: FieldId,
        access: Access,
        value: u64,
        mask: u64,
    ) -> Result<u64, Status> {
        let not_valid = Status::METADATA_FIELD_VALUE_NOT_VALID;
        if matches!(context, Context::Sys) {
            return Err(Status::METADATA_FIELD_NOT_WRITABLE);
        }
        let element = self.element(machine, context, id, access)?;
        let field = element.field;
        let writable = access.write_mask(field);
        let combined = writable & mask;
        if combined == 0 {
            return Err(Status::METADATA_FIELD_NOT_WRITABLE);
        }
        let mut old = element.value;
        if let Context::Vp(..) = context {
            if combined == size_mask(field) {
                old = 0;
            }
            if is_address(field.id) && old >> 63 != 0 {
                old &= writable;
            }
        }
        let forbidden = mask & !writable;
        if old & forbidden != value & forbidden {
            return Err(not_valid);
        }
        let mut new = old & !combined | value & combined;
        match context {
            Context::Vp(tdcs, vp) => {
                self.check_vp_write(field.id, id, access, tdcs, vp, new)?;
                if element.at.is_none() {
                    vmcs::write(vp, id.field_code(), new);
                }
            }
            Context::Td(_, tdcs) => match field.id {
                id::TD_HP_LOCK_TIMEOUT => {
                    if combined != u64::MAX {
                        return Err(Status::METADATA_WR_MASK_NOT_VALID);
                    }
                    if !(10_000..=100_000_000).contains(&new) {
                        return Err(not_valid);
                    }
                    // The module keeps 32 bits of it.
                    let ticks = u128::from(new) * u128::from(self.platform.tsc_hz) / 1_000_000;
                    new = u64::from(ticks as u32);
                }
                id::TD_CTLS if access == Access::Guest => {
                    let flexible = td::config_flags::FLEXIBLE_PENDING_VE;
                    let changed = (new ^ old) & td::td_ctls::PENDING_VE_DISABLE != 0;
                    if changed && tdcs.config_flags() & flexible == 0 {
                        return Err(not_valid);
                    }
                }
                _ => {}
            },
            Context::Sys => {}
        }
        if let Some(at) = element.at {
            let memory = machine.memory();
            match field.id.element_size_code() {
                0 => memory.write_u8(at, new as u8),
                1 => memory.write_u16(at, new as u16),
                2 => memory.write_u32(at, new as u32),
                _ => memory.write_u64(at, new),
            }
        }
        Ok(element.value & access.read_mask(field))
    }

    /// What a vCPU field may hold, and what else changes with it.
    fn check_vp_write<Mem: PhysMemory + Copy>(
        &self,
        field: FieldId,
        element: FieldId,
        access: Access,
        tdcs: Tdcs<Mem>,
        vp: Tdvps<Mem>,
        value: u64,
    ) -> Result<(), Status> {
        const POSTED: u64 = 1 << 7;
        const CLASS_EXT_STATE: u32 = 0x12;
        let not_valid = Err(Status::METADATA_FIELD_VALUE_NOT_VALID);
        let memory = vp.memory();
        if field.class_code() != 0 {
            if field.class_code() == CLASS_EXT_STATE && access != Access::Guest {
                // The XSAVE header is the module's.
                if (64..72).contains(&element.field_code()) {
                    return Err(Status::METADATA_FIELD_NOT_WRITABLE);
                }
            }
            if field == id::VP_XFAM {
                return Err(Status::METADATA_FIELD_NOT_WRITABLE);
            }
            return Ok(());
        }
        let size = match element.field_code() {
            code::POSTED_INTERRUPT_DESCRIPTOR => 64,
            _ => 4096,
        };
        match element.field_code() {
            code::PML_ADDRESS | code::POSTED_INTERRUPT_DESCRIPTOR | code::SHARED_EPTP
                if !self.is_shared_range(value, size) =>
            {
                return not_valid;
            }
            code if code == machine::Field::Cr3 as u32
                && !is_valid_gpa(value, tdcs.gpaw(), true) =>
            {
                return not_valid;
            }
            _ => {}
        }
        match element.field_code() {
            code::PIN_BASED => {
                if value & POSTED != 0 {
                    let missing = Status::TD_VMCS_FIELD_NOT_INITIALIZED;
                    if vmcs::read(vp, code::NOTIFICATION_VECTOR) as u16 == 0xffff {
                        return Err(missing.with_details(code::NOTIFICATION_VECTOR));
                    }
                    if vmcs::read(vp, code::POSTED_INTERRUPT_DESCRIPTOR) == u64::MAX {
                        return Err(missing.with_details(code::POSTED_INTERRUPT_DESCRIPTOR));
                    }
                }
                memory.write_u32(vp.at(0x378), value as u32);
            }
            code::POSTED_INTERRUPT_DESCRIPTOR => vp.set_word(0x358, value),
            code::NOTIFICATION_VECTOR => {
                if value > 255 {
                    return not_valid;
                }
                memory.write_u16(vp.at(0x3a8), value as u16);
            }
            code::SHARED_EPTP => vp.set_word(0x3c0, value),
            code::PROC_BASED2 => {
                const EN_PML: u64 = 1 << 17;
                let no_buffer = vmcs::read(vp, code::PML_ADDRESS) >> 63 != 0;
                if value & EN_PML != 0 && (!tdcs.is_debug() || no_buffer) {
                    return not_valid;
                }
            }
            c if c == machine::Field::DebugCtl as u32 => {
                const BTS: u64 = 1 << 7;
                const TR: u64 = 1 << 6;
                if value & BTS == 0 && value & TR != 0 && !tdcs.is_debug() {
                    return not_valid;
                }
            }
            c if c == machine::Field::Cr0 as u32 => {
                let mask = vmcs::read(vp, code::CR0_MASK);
                if (value ^ vmcs::read(vp, code::CR0_SHADOW)) & mask != 0 {
                    return not_valid;
                }
            }
            c if c == machine::Field::Cr4 as u32 => {
                let mask = vmcs::read(vp, code::CR4_MASK);
                if (value ^ vmcs::read(vp, code::CR4_SHADOW)) & mask != 0 {
                    return not_valid;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_shared_range(&self, pa: u64, size: u64) -> bool {
        let p = &self.platform;
        let address = pa & !p.key_id_mask();
        let seam = p.seam_range;
        let in_seam = address < seam.base + seam.size && seam.base < address.saturating_add(size);
        pa >> p.max_pa == 0 && !in_seam && p.key_id(pa) < p.private_key_id_min
    }

    /// A system field.
    fn sys_field(&self, field: &Field, number: u64) -> Option<u64> {
        use id::*;
        let build = self.platform.build;
        let index = (number / u64::from(field.elements)) as usize;
        let cmr = self.platform.cmrs.get(index).copied().unwrap_or_default();
        let verify = u64::from(self.platform.verify_report) << 8;
        Some(match field.id {
            SYS_NUM_PKGS => u64::from(self.platform.packages),
            SYS_PKG_FMS if index < self.platform.packages as usize => u64::from(self.platform_fms),
            SYS_VENDOR_ID => 0x8086,
            SYS_BUILD_DATE => u64::from(build.date),
            SYS_BUILD_NUM => u64::from(build.number),
            SYS_MINOR_VERSION => u64::from(build.minor),
            SYS_MAJOR_VERSION => u64::from(build.major),
            SYS_UPDATE_VERSION => u64::from(build.update),
            SYS_ATTRIBUTES => self.sys_attributes,
            SYS_TDX_FEATURES0 => 0xf_0ebf | verify,
            SYS_NUM_CMRS => MAX_CMRS as u64,
            SYS_CMR_BASE => cmr.base,
            SYS_CMR_SIZE => cmr.size,
            SYS_MAX_TDMRS => MAX_TDMRS as u64,
            SYS_MAX_RESERVED_PER_TDMR => MAX_RESERVED_AREAS as u64,
            SYS_PAMT_4K_ENTRY_SIZE | SYS_PAMT_2M_ENTRY_SIZE | SYS_PAMT_1G_ENTRY_SIZE => {
                PAMT_ENTRY_SIZE
            }
            SYS_TDR_BASE_SIZE | SYS_TDCS_SIZE_PER_L2_VM => 4096,
            SYS_TDCS_BASE_SIZE | SYS_TDVPS_BASE_SIZE => 6 * 4096,
            SYS_TDVPS_SIZE_PER_L2_VM => 3 * 4096,
            SYS_ATTRIBUTES_FIXED0 => td::attributes::FIXED0,
            SYS_ATTRIBUTES_FIXED1 => td::attributes::FIXED1,
            SYS_XFAM_FIXED0 => self.xfam_fixed0(),
            SYS_XFAM_FIXED1 => td::xfam::FIXED1,
            SYS_CONFIG_FLAGS_FIXED0 => td::config_flags::FIXED0,
            SYS_CONFIG_FLAGS_FIXED1 => td::config_flags::FIXED1,
            SYS_NUM_CPUID_CONFIG => cpuid::NUM_CONFIG as u64,
            SYS_CPUID_CONFIG_LEAVES => match cpuid::CONFIG.get(index) {
                Some(&i) => {
                    let leaf = &cpuid::LEAVES[i];
                    u64::from(leaf.subleaf) << 32 | u64::from(leaf.leaf)
                }
                None => u64::MAX,
            },
            SYS_CPUID_CONFIG_VALUES => match cpuid::CONFIG.get(index) {
                Some(&i) => {
                    let half = 2 * (number as usize % 2);
                    let direct = |k: usize| u64::from(cpuid::LEAVES[i].registers[k].config_direct);
                    direct(half) | direct(half + 1) << 32
                }
                None => 0,
            },
            SYS_IA32_ARCH_CAPABILITIES_CONFIG_MASK => td::ARCH_CAPABILITIES_CONFIG,
            SYS_MAX_MIGS => 512,
            SYS_NUM_IMMUTABLE_STATE_PAGES => 3,
            SYS_NUM_TD_STATE_PAGES => 2,
            SYS_NUM_VP_STATE_PAGES => 5,
            SYS_MAX_SERV_TDS => 1,
            SYS_NUM_HANDOFF_PAGES => 15,
            SYS_NUM_TDX_FEATURES | SYS_NUM_ALLOWED_FMS => 1,
            SYS_ALLOWED_FMS if index == 0 => u64::from(self.platform_fms),
            SYS_SERVTD_ATTR_FIXED0 => 0x7ff_0000_0001,
            SYS_GUEST_L2_GPA_ATTR_MASK => 0x807f,
            SYS_VM_CTLS_FIXED0 => 1,
            SYS_VPCU_L2_CTLS_FIXED0 => 3,
            SYS_VPCU_L2_DEBUG_CTLS_FIXED0 => 7,
            SYS_HANDOFF_DATA_VALID => u64::from(self.handoff),
            _ => 0,
        })
    }
}

/// Fields that hold a physical address, all ones until it is given.
fn is_address(id: FieldId) -> bool {
    matches!(
        id.field_code(),
        code::PML_ADDRESS | code::POSTED_INTERRUPT_DESCRIPTOR | code::SHARED_EPTP
    ) && id.class_code() == 0
}

impl<M: Machine> Call<'_, M> {
    fn read_to_regs(
        &mut self,
        context: Context<M::Memory>,
        raw: u64,
        access: Access,
        version: u8,
    ) -> Result<Done, Status> {
        if version > 0 && is_null(raw) {
            self.r[RDX] = context.first(access);
            return Err(Status::METADATA_FIRST_FIELD_ID_IN_CONTEXT);
        }
        let id = context.own(raw);
        check_single(id)?;
        let value = self.module.read_field(self.machine, context, id, access)?;
        if version > 0 {
            self.r[RDX] = context.next(id, access);
        }
        self.r[R8] = value;
        SUCCESS
    }

    fn write_from_regs(
        &mut self,
        context: Context<M::Memory>,
        raw: u64,
        access: Access,
        value: u64,
    ) -> Result<Done, Status> {
        let id = context.own(raw);
        check_single(id)?;
        let mask = self.r[R9];
        let old = self
            .module
            .write_field(self.machine, context, id, access, value, mask)?;
        self.r[R8] = old;
        SUCCESS
    }

    /// Takes the field and the value out of RDX and R8.
    fn take_field(&mut self, version: u8) -> (u64, u64) {
        let operands = (self.r[RDX], self.r[R8]);
        if version > 0 {
            self.r[RDX] = NO_FIELD;
        }
        self.r[R8] = 0;
        operands
    }

    fn td_context(&mut self, leaf: HostLeaf) -> Result<(Context<M::Memory>, Access), Status> {
        let shared = Some(Mode::Shared);
        let td = self.lock_td(self.r[RCX], Operand::RCX, Mode::Shared, shared, leaf)?;
        let debug = td.tdcs.is_debug();
        Ok((Context::Td(td.tdr, td.tdcs), Access::Host { debug }))
    }

    fn vp_context(&mut self, leaf: HostLeaf) -> Result<(Context<M::Memory>, Access), Status> {
        let (td, vp) = self.lock_vcpu_metadata(leaf)?;
        let debug = td.tdcs.is_debug();
        Ok((Context::Vp(td.tdcs, vp), Access::Host { debug }))
    }

    pub fn mng_rd(&mut self, version: u8) -> Result<Done, Status> {
        let (raw, _) = self.take_field(version);
        if version > 1 {
            return Err(Status::OPERAND_INVALID.with(Operand::RAX));
        }
        let (context, access) = self.td_context(HostLeaf::MngRd)?;
        self.read_to_regs(context, raw, access, version)
    }

    pub fn mng_wr(&mut self) -> Result<Done, Status> {
        let (raw, value) = self.take_field(0);
        let (context, access) = self.td_context(HostLeaf::MngWr)?;
        self.write_from_regs(context, raw, access, value)
    }

    pub fn vp_rd(&mut self, version: u8) -> Result<Done, Status> {
        let (raw, _) = self.take_field(version);
        if version > 1 {
            return Err(Status::OPERAND_INVALID.with(Operand::RAX));
        }
        let (context, access) = self.vp_context(HostLeaf::VpRd)?;
        self.read_to_regs(context, raw, access, version)
    }

    pub fn vp_wr(&mut self) -> Result<Done, Status> {
        let (raw, value) = self.take_field(0);
        let (context, access) = self.vp_context(HostLeaf::VpWr)?;
        self.write_from_regs(context, raw, access, value)
    }

    pub fn sys_rd(&mut self) -> Result<Done, Status> {
        let (raw, _) = self.take_field(1);
        self.lp_initialized()?;
        let access = Access::Host { debug: false };
        self.read_to_regs(Context::Sys, raw, access, 1)
    }

    pub fn sys_rdall(&mut self) -> Result<Done, Status> {
        let (page, raw) = (self.r[RDX], self.r[R8]);
        self.r[R8] = NO_FIELD;
        self.lp_initialized()?;
        self.check_shared(page, 4096, Operand::RDX)?;
        let at = self.host_memory(page);
        let access = Access::Host { debug: false };
        let (status, next) = self.module.dump(self.machine, raw, access, at);
        self.r[R8] = next;
        Ok(Done::Status(status))
    }
}

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    fn read_to_gprs(
        &mut self,
        context: Context<M::Memory>,
        raw: u64,
        version: u8,
    ) -> Result<(), Stop> {
        let access = Access::Guest;
        if version > 0 && is_null(raw) {
            self.vcpu.set_gpr(RDX, context.first(access));
            return Err(Status::METADATA_FIRST_FIELD_ID_IN_CONTEXT.into());
        }
        let id = context.own(raw);
        check_single(id)?;
        let value = self.module.read_field(self.machine, context, id, access)?;
        if version > 0 {
            self.vcpu.set_gpr(RDX, context.next(id, access));
        }
        self.vcpu.set_gpr(R8, value);
        Ok(())
    }

    fn write_from_gprs(
        &mut self,
        context: Context<M::Memory>,
        raw: u64,
        value: u64,
    ) -> Result<(), Stop> {
        let id = context.own(raw);
        check_single(id)?;
        let mask = self.gpr(R9);
        let access = Access::Guest;
        let old = self
            .module
            .write_field(self.machine, context, id, access, value, mask)?;
        self.vcpu.set_gpr(R8, old);
        Ok(())
    }

    /// Takes the field and the value out of RDX and R8, and checks that RCX is 0.
    fn take_field(&mut self, version: u8) -> Result<(u64, u64), Stop> {
        let operands = (self.gpr(RDX), self.gpr(R8));
        if version > 0 {
            self.vcpu.set_gpr(RDX, NO_FIELD);
        }
        self.vcpu.set_gpr(R8, 0);
        if version > 1 {
            return Err(Status::OPERAND_INVALID.with(Operand::RAX).into());
        }
        if self.gpr(RCX) != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        Ok(operands)
    }

    pub fn vm_rd(&mut self, version: u8) -> Result<(), Stop> {
        let (raw, _) = self.take_field(version)?;
        self.read_to_gprs(Context::Td(self.tdr, self.tdcs), raw, version)
    }

    pub fn vm_wr(&mut self) -> Result<(), Stop> {
        let (raw, value) = self.take_field(0)?;
        self.write_from_gprs(Context::Td(self.tdr, self.tdcs), raw, value)
    }

    pub fn vp_rd(&mut self) -> Result<(), Stop> {
        let (raw, _) = self.take_field(1)?;
        self.read_to_gprs(Context::Vp(self.tdcs, self.vp), raw, 1)
    }

    pub fn vp_wr(&mut self) -> Result<(), Stop> {
        let (raw, value) = self.take_field(0)?;
        self.write_from_gprs(Context::Vp(self.tdcs, self.vp), raw, value)
    }

    pub fn sys_rd(&mut self) -> Result<(), Stop> {
        let raw = self.gpr(RDX);
        self.vcpu.set_gpr(RDX, NO_FIELD);
        self.vcpu.set_gpr(R8, 0);
        self.read_to_gprs(Context::Sys, raw, 1)
    }

    pub fn sys_rdall(&mut self) -> Result<(), Stop> {
        let (page, raw) = (self.gpr(RDX), self.gpr(R8));
        self.vcpu.set_gpr(R8, NO_FIELD);
        if page & 4095 != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX).into());
        }
        let at = self.guest_operand(page, true, true, Operand::RDX)?;
        let (status, next) = self.module.dump(self.machine, raw, Access::Guest, Some(at));
        self.vcpu.set_gpr(R8, next);
        match status {
            Status::SUCCESS => Ok(()),
            other => Err(other.into()),
        }
    }
}
