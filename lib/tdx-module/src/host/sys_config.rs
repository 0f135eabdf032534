//! TDH.SYS.CONFIG: TDMRs and their PAMTs, checked against each other and against the CMRs.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    Operand, Status, cpuid,
    layout::{MAX_RESERVED_AREAS, MAX_TDMRS, PAMT_ENTRY_SIZE, TdmrInfo},
    page::level_size,
};

use crate::call::Call;
use crate::machine::{Machine, Platform, Range, reg::*};
use crate::module::{Done, KeyState, SUCCESS, SysState, Tdmr};

impl Range {
    fn end(&self) -> Option<u64> {
        self.base.checked_add(self.size)
    }

    /// Both must not wrap.
    fn overlaps(&self, other: &Range) -> bool {
        self.base < other.base.wrapping_add(other.size)
            && other.base < self.base.wrapping_add(self.size)
    }

    fn aligned(&self, align: u64) -> bool {
        (self.base | self.size) & (align - 1) == 0
    }
}

/// A status whose details are `a` in bits 7:0, `b` in bits 15:8, `c` in bits 23:16.
fn about(status: Status, a: usize, b: usize, c: usize) -> Status {
    status.with_details((a & 0xff) as u32 | ((b & 0xff) as u32) << 8 | ((c & 0xff) as u32) << 16)
}

impl Platform {
    fn is_address(&self, pa: u64) -> bool {
        pa >> self.max_pa == 0 && self.key_id(pa) == 0
    }

    /// Whether all of an area is convertible; neighbouring CMRs count as one.
    fn is_convertible(&self, area: Range) -> bool {
        let Some(end) = area.end() else {
            return false;
        };
        let mut last = Range::default();
        for cmr in self.cmrs.iter().filter(|c| c.size != 0) {
            let cmr_end = cmr.base.wrapping_add(cmr.size);
            let joined = cmr.base == last.base.wrapping_add(last.size);
            let base = if joined { last.base } else { cmr.base };
            if area.base >= base && end <= cmr_end {
                return true;
            }
            last = Range {
                base,
                size: cmr_end - base,
            };
        }
        false
    }
}

impl Tdmr {
    fn range(&self) -> Range {
        Range {
            base: self.base,
            size: self.size,
        }
    }

    fn reserved(&self) -> impl Iterator<Item = &Range> {
        self.reserved.iter().take_while(|r| r.size != 0)
    }

    /// The parts that are not reserved, in ascending order.
    fn available(&self) -> impl Iterator<Item = Range> + '_ {
        let ends = self.reserved().map(|r| r.base).chain([self.size]);
        let starts = core::iter::once(0).chain(self.reserved().map(|r| r.base + r.size));
        starts
            .zip(ends)
            .filter(|(start, end)| end > start)
            .map(|(start, end)| Range {
                base: self.base + start,
                size: end - start,
            })
    }

    fn check_reserved(&self, i: usize) -> Result<(), Status> {
        let unordered = |j| about(Status::NON_ORDERED_RESERVED_IN_TDMR, i, j, 0);
        let invalid = |j| about(Status::INVALID_RESERVED_IN_TDMR, i, j, 0);
        for (j, area) in self.reserved.iter().enumerate() {
            if area.size == 0 {
                if self.reserved.get(j + 1).is_some_and(|next| next.size != 0) {
                    return Err(unordered(j));
                }
                continue;
            }
            let end = area.end().ok_or(invalid(j))?;
            if j > 0 {
                let previous = &self.reserved[j - 1];
                let previous_end = previous.base.wrapping_add(previous.size);
                if area.base < previous.base || area.base < previous_end {
                    return Err(unordered(j));
                }
            }
            if !area.aligned(4096) || end > self.size {
                return Err(invalid(j));
            }
        }
        Ok(())
    }

    fn check_pamts(&self, i: usize, before: &[Tdmr], platform: &Platform) -> Result<(), Status> {
        for level in [2, 1, 0] {
            let pamt = &self.pamt[level];
            let needed = self.size / level_size(level as u8) * PAMT_ENTRY_SIZE;
            let last = pamt.base.wrapping_add(pamt.size).wrapping_sub(1);
            let right = pamt.end().is_some()
                && pamt.aligned(4096)
                && platform.is_address(pamt.base)
                && platform.is_address(last)
                && pamt.size >= needed;
            if !right {
                return Err(about(Status::INVALID_PAMT, i, level, 0));
            }
        }
        let overlap = |a, level, b| Err(about(Status::PAMT_OVERLAP, a, level, b));
        for (j, other) in before.iter().enumerate() {
            for level in 0..3 {
                if other.pamt.iter().any(|p| p.overlaps(&self.pamt[level])) {
                    return overlap(i, level, j);
                }
            }
        }
        for (level, other) in [(0, 1), (0, 2), (1, 2)] {
            if self.pamt[level].overlaps(&self.pamt[other]) {
                return overlap(i, level, i);
            }
        }
        for (j, other) in before.iter().chain([self]).enumerate() {
            for level in 0..3 {
                if other.available().any(|a| a.overlaps(&self.pamt[level])) {
                    return overlap(i, level, j);
                }
            }
            if j == i {
                continue;
            }
            for level in 0..3 {
                if self.available().any(|a| a.overlaps(&other.pamt[level])) {
                    return overlap(j, level, i);
                }
            }
        }
        for level in [2, 1, 0] {
            if !platform.is_convertible(self.pamt[level]) {
                return Err(about(Status::PAMT_OUTSIDE_CMRS, i, level, 0));
            }
        }
        Ok(())
    }

    fn check(&self, before: &[Tdmr], platform: &Platform) -> Result<(), Status> {
        let i = before.len();
        let invalid = about(Status::INVALID_TDMR, i, 0, 0);
        let range = self.range();
        let end = range.end().ok_or(invalid)?;
        if let Some(previous) = before.last() {
            let previous_end = previous.base.wrapping_add(previous.size);
            if self.base < previous.base || self.base < previous_end {
                return Err(about(Status::NON_ORDERED_TDMR, i, 0, 0));
            }
        }
        let right = range.aligned(level_size(2))
            && self.size != 0
            && platform.is_address(self.base)
            && platform.is_address(end.wrapping_sub(1));
        if !right {
            return Err(invalid);
        }
        self.check_reserved(i)?;
        self.check_pamts(i, before, platform)?;
        if !self.available().all(|a| platform.is_convertible(a)) {
            return Err(about(Status::TDMR_OUTSIDE_CMRS, i, 0, 0));
        }
        Ok(())
    }
}

impl<M: Machine> Call<'_, M> {
    /// Reads a TDMR_INFO, each word once.
    fn read_tdmr(&self, pa: u64) -> Tdmr {
        let base = pa & !self.module.platform.key_id_mask();
        let word = |offset: u64| self.mem().read_u64(Hpa::new(base + offset));
        let range = |offset| Range {
            base: word(offset),
            size: word(offset + 8),
        };
        let Range { base: start, size } = range(0);
        let mut reserved = [Range::default(); MAX_RESERVED_AREAS];
        for (j, area) in reserved.iter_mut().enumerate() {
            *area = range(0x40 + 16 * j as u64);
        }
        Tdmr {
            base: start,
            size,
            initialized: start,
            pamt: [range(0x30), range(0x20), range(0x10)],
            reserved,
        }
    }

    pub fn sys_config(&mut self) -> Result<Done, Status> {
        let (array, count, key_id) = (self.r[RCX], self.r[RDX], self.r[R8]);
        let all_lps = self.module.init_lps == self.module.platform.lps;
        if self.module.sys_state != SysState::InitDone || !all_lps {
            return Err(Status::SYS_CONFIG_NOT_PENDING);
        }
        self.check_shared(array, TdmrInfo::ALIGN, Operand::RCX)?;
        if count > MAX_TDMRS as u64 || count < 1 {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        if key_id >> 16 != 0 || !self.module.platform.is_private(key_id as u16) {
            return Err(Status::OPERAND_INVALID.with(Operand::R8));
        }
        self.module.keys[key_id as usize].state = KeyState::Reserved;
        self.module.key_id = key_id as u16;
        let array = array & !self.module.platform.key_id_mask();
        for i in 0..count as usize {
            let pa = self.mem().read_u64(Hpa::new(array + 8 * i as u64));
            self.check_shared(pa, TdmrInfo::ALIGN, Operand::RCX)?;
            let tdmr = self.read_tdmr(pa);
            let (before, rest) = self.module.tdmrs.split_at_mut(i);
            tdmr.check(before, &self.module.platform)?;
            rest[0] = tdmr;
        }
        self.module.num_tdmrs = count as usize;
        for (values, leaf) in self.module.cpuid.iter_mut().zip(cpuid::LEAVES) {
            for (value, r) in values.iter_mut().zip(&leaf.registers) {
                *value = *value & !r.fixed0_or_dynamic | r.fixed1;
            }
        }
        self.module.package_bitmap = 0;
        self.module.sys_state = SysState::ConfigDone;
        SUCCESS
    }
}
