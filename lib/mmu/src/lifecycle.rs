//! A TD's control pages, and the way back: teardown gives every page back, the TDR last.

use crate::control::{Control, NO_CONTROL, Role};
use crate::error::{Error, Resource};
use crate::fault::leaf_pages;
use crate::memory::TableMemory;
use crate::mmu::{Mmu, Next};
use crate::step::{PROGRAM_STEPS, Program, Step};
use crate::vm::{ROOTS, Teardown, Work};
use ept::{ENTRIES, Entry};
use gpa::Hpa;

/// TDCX pages of a TD (without TD partitioning).
pub const TDCX_PAGES: usize = 6;
/// Pages of a vCPU beside its TDVPR.
pub const VCPU_PAGES: usize = 5;

impl<M: TableMemory> Mmu<'_, M> {
    /// Makes the TD at the module: TDR, key, control pages. TD_PARAMS come after
    /// ([`Step::MngInit`] by [`run_once`](Self::run_once)).
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`, `Unsupported` (not a TD), `Occupied` (is made), `NoMemory`.
    pub fn create_td(&mut self, vm: u8) -> Result<Next, Error> {
        let found = self.idle(vm)?;
        if !found.is_td() {
            return Err(Error::Unsupported);
        }
        if found.tdr != NO_CONTROL {
            return Err(Error::Occupied);
        }
        let hkid = found.config.hkid;
        if self.control.available() < 1 + TDCX_PAGES {
            return Err(Error::NoMemory(Resource::Control));
        }
        let tdr = self.control.take(vm, Role::Tdr)?;
        self.vms[vm as usize].tdr = tdr;
        let mut program = Program::new();
        let tdr = self.control.hpa(tdr);
        let _ = program.push(Step::MngCreate { tdr, hkid });
        let _ = program.push(Step::MngKeyConfig);
        for _ in 0..TDCX_PAGES {
            let page = self.control.take(vm, Role::Tdcx)?;
            let page = self.control.hpa(page);
            let _ = program.push(Step::MngAddCx { page });
        }
        Ok(self.start_once(vm, program))
    }

    /// Makes a vCPU: TDVPR, its other pages, TDH.VP.INIT with `rcx`. Gives its TDVPR.
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`, `Unsupported` (no TD made), `NoMemory(Control)`.
    pub fn create_vcpu(&mut self, vm: u8, rcx: u64) -> Result<(Hpa, Next), Error> {
        if self.idle(vm)?.tdr == NO_CONTROL {
            return Err(Error::Unsupported);
        }
        if self.control.available() < 1 + VCPU_PAGES {
            return Err(Error::NoMemory(Resource::Control));
        }
        let tdvpr = self.control.take(vm, Role::Tdvpr)?;
        let tdvpr = self.control.hpa(tdvpr);
        let mut program = Program::new();
        let _ = program.push(Step::VpCreate { tdvpr });
        for _ in 0..VCPU_PAGES {
            let page = self.control.take(vm, Role::VcpuPage)?;
            let page = self.control.hpa(page);
            let _ = program.push(Step::VpAddCx { tdvpr, page });
        }
        let _ = program.push(Step::VpInit { tdvpr, rcx });
        Ok((tdvpr, self.start_once(vm, program)))
    }

    /// The VM's vCPUs (their TDVPRs).
    pub fn vcpus(&self, vm: u8) -> impl Iterator<Item = Hpa> {
        (0..self.control.count() as Control)
            .filter(move |&page| self.control.owner(page) == Some((vm, Role::Tdvpr)))
            .map(|page| self.control.hpa(page))
    }

    /// Gives everything of a VM back. The vCPUs must be out of the guest for good. From the
    /// first call on the VM answers no other request; after a refusal the same call goes on
    /// where it stopped.
    ///
    /// # Errors
    /// `NoSuchVm`, `Busy`.
    pub fn teardown(&mut self, vm: u8) -> Result<Next, Error> {
        let found = self.vms.get_mut(vm as usize).ok_or(Error::NoSuchVm)?;
        if !found.live {
            return Err(Error::NoSuchVm);
        }
        if found.running {
            return Err(Error::Busy);
        }
        if let Work::Teardown(_) = found.work {
            return self.advance(vm);
        }
        found.dying = true;
        self.start(vm, Work::Teardown(Teardown::Vcpus(0)))
    }

    pub(crate) fn plan_teardown(&mut self, vm: u8, from: Teardown, program: &mut Program) {
        let made = {
            let tdr = self.vms[vm as usize].tdr;
            tdr != NO_CONTROL && self.control.is_owned(tdr)
        };
        let next = match from {
            Teardown::Vcpus(page) => self.plan_vp_flush(vm, page, program),
            Teardown::Key => {
                let steps = [Step::VpFlushDone, Step::CacheWb, Step::KeyFreeId];
                let done = self.vms[vm as usize].key_steps as usize;
                for step in steps.into_iter().skip(done).filter(|_| made) {
                    let _ = program.push(step);
                }
                Teardown::Pages(0, 0)
            }
            Teardown::Pages(block, page) => self.plan_reclaim(vm, block, page, program),
            Teardown::Controls(page) => self.plan_control(vm, page, program),
            Teardown::Root => {
                if made {
                    let tdr = self.control.hpa(self.vms[vm as usize].tdr);
                    let _ = program.push(Step::PageReclaim { page: tdr });
                }
                Teardown::Rest
            }
            Teardown::Rest => {
                self.clear(vm);
                self.vms[vm as usize].next = Work::Idle;
                return;
            }
        };
        self.vms[vm as usize].next = Work::Teardown(next);
    }

    fn plan_vp_flush(&self, vm: u8, from: Control, program: &mut Program) -> Teardown {
        let mut at = from;
        while let Some((page, role, owned)) = self.control.next_of(vm, at) {
            if program.len() == PROGRAM_STEPS {
                return Teardown::Vcpus(page);
            }
            if role == Role::Tdvpr && owned {
                let tdvpr = self.control.hpa(page);
                let _ = program.push(Step::VpFlush { tdvpr });
            }
            at = page + 1;
        }
        Teardown::Key
    }

    /// Private pages, block by block: a 2 MiB page is one call.
    fn plan_reclaim(&self, vm: u8, block: u16, page: u16, program: &mut Program) -> Teardown {
        let mut from = (block, page);
        while let Some((block, gfn)) = self.private.next_of(vm, from.0) {
            let first = self.private.frame(block).base().get();
            let start = if block == from.0 { from.1 } else { 0 };
            let spot = self.private_spot(vm, gfn.get(), 0);
            if spot.is_leaf() && leaf_pages(spot.level) == ENTRIES as u64 {
                if program.len() == PROGRAM_STEPS {
                    return Teardown::Pages(block, 0);
                }
                let page = Hpa::new(first);
                let _ = program.push(Step::PageReclaim { page });
            } else if spot.level == 0 {
                for i in start..ENTRIES as u16 {
                    if self.tables.memory.load(spot.table, i as usize) == 0 {
                        continue;
                    }
                    if program.len() == PROGRAM_STEPS {
                        return Teardown::Pages(block, i);
                    }
                    let page = Hpa::new(first + (u64::from(i) << 12));
                    let _ = program.push(Step::PageReclaim { page });
                }
            }
            from = (block + 1, 0);
        }
        Teardown::Controls(0)
    }

    fn plan_control(&mut self, vm: u8, from: Control, program: &mut Program) -> Teardown {
        let mut at = from;
        while let Some((page, role, owned)) = self.control.next_of(vm, at) {
            if program.len() == PROGRAM_STEPS {
                return Teardown::Controls(page);
            }
            if owned && role != Role::Tdr {
                let page = self.control.hpa(page);
                let _ = program.push(Step::PageReclaim { page });
            }
            at = page + 1;
        }
        Teardown::Root
    }

    /// Records that the module has given a page back.
    pub(crate) fn apply_reclaim(&mut self, vm: u8, hpa: Hpa) {
        if let Some(page) = self.control.page_at(hpa) {
            self.control.give(page);
            return;
        }
        let Some(block) = self.private.block_of(hpa.frame()) else {
            return;
        };
        let Some((_, gfn)) = self.private.owner(block) else {
            return;
        };
        let offset = hpa.frame().get() - self.private.frame(block).get();
        let spot = self.private_spot(vm, gfn.get() + offset, 0);
        if !spot.is_leaf() {
            return;
        }
        self.tables.set(&spot, Entry::EMPTY);
        self.tables.edit(spot.table, |meta| meta.live -= 1);
        if spot.level > 0 || self.tables.meta(spot.table).live == 0 {
            self.tables
                .edit(spot.table, |meta| meta.home = crate::frames::NO_BLOCK);
            self.private.give(block);
        }
    }

    /// Nothing of the VM is left at the module: frees what is the MMU's own.
    fn clear(&mut self, vm: u8) {
        self.flushed(vm);
        for id in 0..ROOTS {
            let mut root = *self.root_mut(vm, id);
            self.tables.fell(&mut root, |_, _, _| {});
            *self.root_mut(vm, id) = root;
        }
        let mut from = 0;
        while let Some((number, frame, level)) = self.shared.next_of(vm, from) {
            self.shared.give(frame, level);
            from = number;
        }
        let mut from = 0;
        while let Some((block, _)) = self.private.next_of(vm, from) {
            self.private.give(block);
            from = block;
        }
        let mut from = 0;
        while let Some((page, ..)) = self.control.next_of(vm, from) {
            self.control.give(page);
            from = page + 1;
        }
        self.private.clean(vm);
    }
}
