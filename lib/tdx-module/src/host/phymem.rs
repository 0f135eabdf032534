//! TDH.PHYMEM.*: pages and caches.

use tdx_abi::{Operand, PageType, Status, page::level_size};

use crate::call::Call;
use crate::lock::Mode;
use crate::machine::{Machine, reg::*};
use crate::module::{Done, KeyState, SUCCESS};
use crate::page::{Tdr, lifecycle};

impl<M: Machine> Call<'_, M> {
    /// The PAMT entry that describes the page in RCX; RCX, RDX and R8 to R11 become 0.
    fn take_page(&mut self, mode: Mode) -> Result<(u64, gpa::Hpa, u8), Status> {
        let page = self.r[RCX];
        for register in [RCX, RDX, R8, R9, R10, R11] {
            self.r[register] = 0;
        }
        self.check_private(page, 4096, Operand::RCX)?;
        let block = self
            .pamt_block(page)
            .ok_or(Status::OPERAND_ADDR_RANGE_ERROR.with(Operand::RCX))?;
        let (entry, level) = self
            .pamt_walk(block, mode, None)
            .map_err(|s| s.with(Operand::RCX))?;
        Ok((page, entry, level))
    }

    pub fn phymem_page_rdmd(&mut self) -> Result<Done, Status> {
        let (_, entry, level) = self.take_page(Mode::Shared)?;
        self.r[RCX] = u64::from(self.pamt_type(entry));
        self.r[RDX] = self.pamt_owner(entry);
        self.r[R8] = u64::from(level);
        if self.pamt_is(entry, PageType::Reg) || self.pamt_is(entry, PageType::Ept) {
            self.r[R9] = self.pamt_epoch(entry);
        }
        SUCCESS
    }

    pub fn phymem_page_reclaim(&mut self) -> Result<Done, Status> {
        let (page, entry, level) = self.take_page(Mode::Exclusive)?;
        if self.pamt_is(entry, PageType::Nda) || self.pamt_is(entry, PageType::Rsvd) {
            return Err(Status::PAGE_METADATA_INCORRECT.with(Operand::RCX));
        }
        let owner = self.pamt_owner(entry);
        self.r[RCX] = u64::from(self.pamt_type(entry));
        self.r[RDX] = owner;
        self.r[R8] = u64::from(level);
        if page & (level_size(level) - 1) != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        if self.pamt_is(entry, PageType::Tdr) {
            let tdr = Tdr::new(self.mem(), page);
            if tdr.lifecycle() != lifecycle::TEARDOWN {
                return Err(Status::LIFECYCLE_STATE_INCORRECT);
            }
            if tdr.child_count() != 0 {
                return Err(Status::TD_ASSOCIATED_PAGES_EXIST);
            }
        } else {
            self.lock_implicit(owner, 0, Mode::Shared)
                .map_err(|s| s.with(Operand::TDR))?;
            let tdr = Tdr::new(self.mem(), owner);
            if tdr.lifecycle() != lifecycle::TEARDOWN {
                return Err(Status::LIFECYCLE_STATE_INCORRECT);
            }
            tdr.add_children(-(1 << (9 * level)));
        }
        self.set_pamt_type(entry, PageType::Nda);
        SUCCESS
    }

    pub fn phymem_page_wbinvd(&mut self) -> Result<Done, Status> {
        let page = self.r[RCX] & !self.module.platform.key_id_mask();
        self.lock_page(page, Operand::RCX, Mode::Shared, PageType::Nda)?;
        SUCCESS
    }

    pub fn phymem_cache_wb(&mut self) -> Result<Done, Status> {
        const RESUME: u64 = 1;
        let command = self.r[RCX];
        if command > RESUME {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        let package = usize::from(self.module.platform.lp_package[self.lp]);
        let mut block;
        if command == RESUME {
            block = self.module.write_backs[package].next_block;
            if block == 0 {
                return Err(Status::WBCACHE_RESUME_ERROR);
            }
        } else {
            self.module.write_backs[package].next_block = 0;
            block = 0;
            let mut flushed = 0u64;
            for (i, key) in self.module.keys.iter().enumerate() {
                if key.state == KeyState::Flushed {
                    flushed |= 1 << i;
                }
            }
            if flushed == 0 {
                return Err(Status::NO_HKID_READY_TO_WBCACHE);
            }
            self.module.write_backs[package].key_ids = flushed;
        }
        let blocks = self.module.platform.cache_blocks;
        loop {
            self.machine.write_back(self.lp, block);
            block += 1;
            if block >= blocks {
                break;
            }
            if self.machine.interrupt_pending(self.lp) {
                self.module.write_backs[package].next_block = block;
                return Err(Status::INTERRUPTED_RESUMABLE);
            }
        }
        let write_back = &mut self.module.write_backs[package];
        write_back.next_block = 0;
        let done = write_back.key_ids;
        for (i, key) in self.module.keys.iter_mut().enumerate() {
            if done >> i & 1 != 0 {
                key.write_back &= !(1 << package);
            }
        }
        SUCCESS
    }
}
