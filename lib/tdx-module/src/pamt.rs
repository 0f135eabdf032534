//! The physical address metadata tables: type, owner and block epoch of every page of a TDMR.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{Operand, PageType, Status, layout::PAMT_ENTRY_SIZE, page::level_size};

use crate::call::Call;
use crate::lock::{Lock, Mode};
use crate::machine::{Machine, Range};
use crate::module::{Module, Step};

/// Where the three PAMT entries of a 4 KiB page are: by level.
pub(crate) type Block = [Hpa; 3];

const TYPE: u64 = 2;
const OWNER: u64 = 3;
const EPOCH: u64 = 8;

fn plus(base: Hpa, offset: u64) -> Hpa {
    Hpa::new(base.get() + offset)
}

fn entry_lock(entry: Hpa) -> Lock {
    Lock::host_priority(entry)
}

impl Module {
    /// The PAMT entries of a page in an initialised gigabyte of a TDMR.
    pub fn pamt_entries(&self, pa: u64) -> Option<Block> {
        let address = pa & !self.platform.key_id_mask();
        let tdmrs = self.tdmrs.get(..self.num_tdmrs)?;
        let tdmr = tdmrs.iter().rev().find(|t| t.base <= address)?;
        let initialized = tdmr.initialized & !(level_size(2) - 1);
        if address >= tdmr.base + tdmr.size || address >= initialized {
            return None;
        }
        let offset = address - tdmr.base;
        Some(core::array::from_fn(|level| {
            let index = offset / level_size(level as u8);
            Hpa::new(tdmr.pamt[level].base + index * PAMT_ENTRY_SIZE)
        }))
    }

    /// Whether the page at `pa` belongs to a TD or to the module. Hardware would have its content
    /// encrypted: what accesses memory for the host must not touch it.
    pub fn is_private<Mem: PhysMemory>(&self, memory: &Mem, pa: u64) -> bool {
        let page = pa & !self.platform.key_id_mask() & !0xfff;
        let in_pamt = |r: &Range| r.base < page + 4096 && page < r.base + r.size;
        let mut tdmrs = self.tdmrs[..self.num_tdmrs].iter();
        if tdmrs.any(|t| t.pamt.iter().any(in_pamt)) {
            return true;
        }
        let Some(block) = self.pamt_entries(page) else {
            return false;
        };
        let page_type = |level: usize| memory.read_u8(plus(block[level], TYPE));
        let of_td = |t: u8| t != PageType::Nda as u8 && t != PageType::Rsvd as u8;
        of_td(page_type(2)) || of_td(page_type(1)) || of_td(page_type(0))
    }
}

impl<M: Machine> Call<'_, M> {
    pub fn pamt_block(&self, pa: u64) -> Option<Block> {
        self.module.pamt_entries(pa)
    }

    pub fn pamt_type(&self, entry: Hpa) -> u8 {
        self.mem().read_u8(plus(entry, TYPE))
    }

    pub fn pamt_is(&self, entry: Hpa, page_type: PageType) -> bool {
        self.pamt_type(entry) == page_type as u8
    }

    pub fn set_pamt_type(&self, entry: Hpa, page_type: PageType) {
        self.mem().write_u8(plus(entry, TYPE), page_type as u8);
    }

    /// The TDR of the TD that owns a page.
    pub fn pamt_owner(&self, entry: Hpa) -> u64 {
        let memory = self.mem();
        let low = u64::from(memory.read_u8(plus(entry, OWNER)));
        let high = u64::from(memory.read_u32(plus(entry, OWNER + 1)));
        (high << 8 | low) << 12
    }

    pub fn set_pamt_owner(&self, entry: Hpa, tdr: u64) {
        let memory = self.mem();
        memory.write_u8(plus(entry, OWNER), (tdr >> 12) as u8);
        memory.write_u32(plus(entry, OWNER + 1), (tdr >> 20) as u32);
    }

    /// The epoch in which the page's mapping was blocked.
    pub fn pamt_epoch(&self, entry: Hpa) -> u64 {
        self.mem().read_u64(plus(entry, EPOCH))
    }

    pub fn set_pamt_epoch(&self, entry: Hpa, epoch: u64) {
        self.mem().write_u64(plus(entry, EPOCH), epoch);
    }

    /// Gives a page to a TD.
    pub fn assign(&self, entry: Hpa, page_type: PageType, tdr: u64) {
        self.set_pamt_type(entry, page_type);
        self.set_pamt_owner(entry, tdr);
    }

    /// Locks the entry of a page and, shared, its ancestors. `size` asks for an entry of that
    /// level, else it is the one that describes the page. Answers the entry and its level.
    pub fn pamt_walk(
        &mut self,
        block: Block,
        mode: Mode,
        size: Option<u8>,
    ) -> Result<(Hpa, u8), Status> {
        let from = self.held();
        let result = self.pamt_walk_inner(block, mode, size);
        if result.is_err() {
            self.release_since(from);
        }
        result
    }

    fn pamt_walk_inner(
        &mut self,
        block: Block,
        mode: Mode,
        size: Option<u8>,
    ) -> Result<(Hpa, u8), Status> {
        for level in [2, 1] {
            let entry = block[usize::from(level)];
            self.acquire(entry_lock(entry), Mode::Shared)?;
            if self.pamt_is(entry, PageType::Reg) || size == Some(level) {
                if mode == Mode::Exclusive {
                    self.promote_last()?;
                }
                return Ok((entry, level));
            }
        }
        self.acquire(entry_lock(block[0]), mode)?;
        Ok((block[0], 0))
    }

    /// Checks and locks a page of `size` that has to be of `page_type`.
    pub fn lock_page_of_size(
        &mut self,
        pa: u64,
        operand: Operand,
        mode: Mode,
        page_type: PageType,
        size: u8,
    ) -> Result<Hpa, Status> {
        self.check_private(pa, level_size(size), operand)?;
        let block = self
            .pamt_block(pa)
            .ok_or(Status::OPERAND_ADDR_RANGE_ERROR.with(operand))?;
        let from = self.held();
        let (entry, level) = self
            .pamt_walk(block, mode, Some(size))
            .map_err(|s| s.with(operand))?;
        let free_2m = || {
            size != 1
                || (0..512)
                    .all(|i| self.pamt_is(plus(block[0], i * PAMT_ENTRY_SIZE), PageType::Nda))
        };
        let right = level == size && self.pamt_is(entry, page_type);
        let unchecked = page_type == PageType::Nda && !self.module.does(Step::PageFree);
        if !unchecked && (!right || page_type == PageType::Nda && !free_2m()) {
            self.release_since(from);
            return Err(Status::PAGE_METADATA_INCORRECT.with(operand));
        }
        Ok(entry)
    }

    /// Checks and locks a 4 KiB page that has to be of `page_type`.
    pub fn lock_page(
        &mut self,
        pa: u64,
        operand: Operand,
        mode: Mode,
        page_type: PageType,
    ) -> Result<Hpa, Status> {
        self.lock_page_of_size(pa, operand, mode, page_type, 0)
    }

    /// The entry of a page that the module itself knows to be in use.
    pub fn pamt_implicit(&self, pa: u64, level: u8) -> Result<Hpa, Status> {
        self.pamt_block(pa)
            .and_then(|block| block.get(usize::from(level)).copied())
            .ok_or(Status::OPERAND_ADDR_RANGE_ERROR)
    }

    /// Locks that entry, without its ancestors.
    pub fn lock_implicit(&mut self, pa: u64, level: u8, mode: Mode) -> Result<Hpa, Status> {
        let entry = self.pamt_implicit(pa, level)?;
        self.acquire(entry_lock(entry), mode)?;
        Ok(entry)
    }

    /// Replaces the entry of a 2 MiB or 1 GiB page by the entries of its 512 parts.
    pub fn pamt_demote(&mut self, pa: u64, level: u8) -> Result<(), Status> {
        let block = self
            .pamt_block(pa)
            .ok_or(Status::OPERAND_ADDR_RANGE_ERROR)?;
        let (entry, child) = (block[usize::from(level)], block[usize::from(level) - 1]);
        let lock = entry_lock(entry);
        lock.acquire(&self.mem(), Mode::Exclusive)?;
        let (page_type, owner) = (self.pamt_type(entry), self.pamt_owner(entry));
        for i in 0..512 {
            let part = plus(child, i * PAMT_ENTRY_SIZE);
            self.mem().write_u8(plus(part, TYPE), page_type);
            self.set_pamt_owner(part, owner);
            self.set_pamt_epoch(part, 0);
        }
        self.set_pamt_type(entry, PageType::Nda);
        lock.release(&self.mem(), Mode::Exclusive);
        Ok(())
    }

    /// The reverse of [`Self::pamt_demote`]; `level` is that of the merged page.
    pub fn pamt_promote(&mut self, pa: u64, level: u8) -> Result<(), Status> {
        let block = self
            .pamt_block(pa)
            .ok_or(Status::OPERAND_ADDR_RANGE_ERROR)?;
        let (entry, child) = (block[usize::from(level)], block[usize::from(level) - 1]);
        let lock = entry_lock(entry);
        lock.acquire(&self.mem(), Mode::Exclusive)?;
        let (page_type, owner) = (self.pamt_type(child), self.pamt_owner(child));
        self.mem().write_u8(plus(entry, TYPE), page_type);
        self.set_pamt_owner(entry, owner);
        for i in 0..512 {
            self.set_pamt_type(plus(child, i * PAMT_ENTRY_SIZE), PageType::Nda);
        }
        lock.release(&self.mem(), Mode::Exclusive);
        Ok(())
    }
}

/// The lock of the PAMT entry of a 4 KiB page, for tests that hold it.
pub(crate) fn page_lock(block: Block) -> Lock {
    entry_lock(block[0])
}
