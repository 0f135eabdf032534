//! TDH.MNG.*: a TD's keys and life cycle.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    HostLeaf, Operand, PageType, Status, op_state,
    sept::FREE_ENTRY,
    td::{MAX_TDCS_PAGES, MIN_TDCS_PAGES},
};

use crate::call::Call;
use crate::lock::Mode;
use crate::machine::{KeyError, Machine, reg::*};
use crate::module::{Done, KeyState, SUCCESS};
use crate::page::{Tdr, lifecycle};

/// TDCS pages that are not zeroed when they are given.
const MSR_BITMAPS_PAGE: u32 = 2;
const SEPT_ROOT_PAGE: u32 = 3;

impl<M: Machine> Call<'_, M> {
    pub fn fill_page(&self, page: u64, value: u64) {
        for i in 0..512 {
            self.mem().write_u64(Hpa::new(page + 8 * i), value);
        }
    }

    /// Gives a KeyID a key on this LP's package.
    pub fn program_key(&mut self, key_id: u16) -> Result<(), Status> {
        self.machine
            .program_key(self.lp, key_id)
            .map_err(|e| match e {
                KeyError::Busy => Status::OPERAND_BUSY.with(Operand::KET),
                KeyError::Entropy => Status::KEY_GENERATION_FAILED,
            })
    }

    pub fn mng_create(&mut self) -> Result<Done, Status> {
        let (page, key_id) = (self.r[RCX], self.r[RDX]);
        if key_id >> 16 != 0 || !self.module.platform.is_private(key_id as u16) {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX));
        }
        let key_id = key_id as u16;
        let pamt = self.lock_page(page, Operand::RCX, Mode::Exclusive, PageType::Nda)?;
        let key = usize::from(key_id);
        if self.module.keys[key].state != KeyState::Free {
            return Err(Status::HKID_NOT_FREE);
        }
        self.fill_page(page, 0);
        let tdr = Tdr::new(self.mem(), page);
        for i in 0..4 {
            let random = self.machine.random().ok_or(Status::RND_NO_ENTROPY)?;
            self.mem().write_u64(tdr.at(0x60 + 8 * i), random);
        }
        self.module.keys[key].state = KeyState::Assigned;
        tdr.set_hkid(key_id);
        tdr.set_lifecycle(lifecycle::HKID_ASSIGNED);
        self.set_pamt_type(pamt, PageType::Tdr);
        self.set_pamt_owner(pamt, 0);
        SUCCESS
    }

    pub fn mng_key_config(&mut self) -> Result<Done, Status> {
        let tdr = self.lock_tdr(self.r[RCX], Operand::RCX, Mode::Exclusive)?;
        if tdr.fatal() != 0 {
            return Err(Status::TD_FATAL);
        }
        if tdr.lifecycle() != lifecycle::HKID_ASSIGNED {
            return Err(Status::LIFECYCLE_STATE_INCORRECT);
        }
        let package = 1 << self.module.platform.lp_package[self.lp];
        if tdr.package_bitmap() & package != 0 {
            return Err(Status::KEY_CONFIGURED);
        }
        self.program_key(tdr.hkid())?;
        tdr.set_package_bitmap(tdr.package_bitmap() | package);
        if tdr.package_bitmap() == u64::from(self.module.package_bitmap) {
            tdr.set_lifecycle(lifecycle::KEYS_CONFIGURED);
        }
        SUCCESS
    }

    pub fn mng_addcx(&mut self) -> Result<Done, Status> {
        let (page, tdr) = (self.r[RCX], self.r[RDX]);
        let tdr = self.lock_tdr(tdr, Operand::RDX, Mode::Exclusive)?;
        if tdr.fatal() != 0 {
            return Err(Status::TD_FATAL);
        }
        if tdr.lifecycle() != lifecycle::KEYS_CONFIGURED {
            return Err(Status::TD_KEYS_NOT_CONFIGURED);
        }
        let index = tdr.num_tdcx();
        if index >= MAX_TDCS_PAGES {
            return Err(Status::TDCX_NUM_INCORRECT);
        }
        let pamt = self.lock_page(page, Operand::RCX, Mode::Exclusive, PageType::Nda)?;
        if index >= MIN_TDCS_PAGES && !op_state::allows(HostLeaf::MngAddcx, tdr.tdcs().op_state()) {
            return Err(Status::OP_STATE_INCORRECT);
        }
        let fill = match index {
            MSR_BITMAPS_PAGE => u64::MAX,
            SEPT_ROOT_PAGE => FREE_ENTRY,
            _ => 0,
        };
        self.fill_page(page, fill);
        tdr.set_tdcx(index, self.with_key(page, tdr.hkid()));
        tdr.set_num_tdcx(index + 1);
        tdr.add_children(1);
        self.assign(pamt, PageType::Tdcx, tdr.hpa());
        if index + 1 == MIN_TDCS_PAGES {
            // The migration key; never used, but readable on a debug TD.
            for i in 0..4 {
                let random = self.machine.random().ok_or(Status::RND_NO_ENTROPY)?;
                self.mem().write_u64(tdr.tdcs().at(0x5e0 + 8 * i), random);
            }
        }
        SUCCESS
    }

    pub fn mng_vpflushdone(&mut self) -> Result<Done, Status> {
        let tdr = self.lock_tdr(self.r[RCX], Operand::RCX, Mode::Exclusive)?;
        if !matches!(
            tdr.lifecycle(),
            lifecycle::KEYS_CONFIGURED | lifecycle::HKID_ASSIGNED
        ) {
            return Err(Status::LIFECYCLE_STATE_INCORRECT);
        }
        if tdr.num_tdcx() >= MIN_TDCS_PAGES {
            let tdcs = tdr.tdcs();
            if tdcs.op_state().is_initialized() && tdcs.num_assoc_vcpus() != 0 {
                return Err(Status::FLUSHVP_NOT_DONE);
            }
        }
        let packages = self.module.package_bitmap;
        let key = self.key_mut(tdr.hkid())?;
        key.write_back = packages;
        key.state = KeyState::Flushed;
        tdr.set_lifecycle(lifecycle::BLOCKED);
        SUCCESS
    }

    pub fn mng_key_freeid(&mut self) -> Result<Done, Status> {
        let tdr = self.lock_tdr(self.r[RCX], Operand::RCX, Mode::Exclusive)?;
        if tdr.lifecycle() != lifecycle::BLOCKED {
            return Err(Status::LIFECYCLE_STATE_INCORRECT);
        }
        let key = self.key_mut(tdr.hkid())?;
        if key.write_back != 0 {
            return Err(Status::WBCACHE_NOT_COMPLETE);
        }
        key.state = KeyState::Free;
        tdr.set_lifecycle(lifecycle::TEARDOWN);
        SUCCESS
    }

    fn key_mut(&mut self, key_id: u16) -> Result<&mut crate::module::Key, Status> {
        self.module
            .keys
            .get_mut(usize::from(key_id))
            .ok_or(Status::KEY_STATE_INCORRECT)
    }
}
