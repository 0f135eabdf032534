//! Dirty logging of shared and plain memory, per slot.
//!
//! Without accessed and dirty bits every leaf of a logged slot begins read-only, and the first
//! write is a fault that marks the page. With them the hardware marks leaves by itself, and
//! [`take_dirty`](Mmu::take_dirty) collects the marks (all pages of a large leaf at once).
//! Private memory can't be logged: only the TDX module sees its entries.

use crate::error::Error;
use crate::fault::leaf_pages;
use crate::memory::TableMemory;
use crate::mmu::{Mmu, Next};
use crate::slot::Slot;
use crate::vm::Alias;
use ept::{Access, Entry};
use gpa::{Gfn, Gpa};

impl<M: TableMemory> Mmu<'_, M> {
    /// Starts to log writes to a slot of shared or plain memory, from the end of the program
    /// (a flush) on that this may answer with.
    ///
    /// # Errors
    /// `NoSuchVm`, `NoSlot`, `Busy`, `Occupied` (is logged already), `NoMemory`; `Unsupported`
    /// for private memory.
    pub fn start_logging(&mut self, vm: u8, gfn: Gfn) -> Result<Next, Error> {
        let slot = self.vm(vm)?.slot(gfn)?;
        self.idle(vm)?;
        if slot.config.private {
            return Err(Error::Unsupported);
        }
        if slot.dirty.is_some() {
            return Err(Error::Occupied);
        }
        let at = self.find_bits(slot.words())?;
        self.edit_slot(vm, gfn, |slot| slot.dirty = Some(at));
        self.clean(vm, slot.first(), slot.end());
        self.bits.words[at as usize..at as usize + slot.words()].fill(0);
        Ok(self.flush_program(vm))
    }

    /// Stops logging. Pages get write permission back by their next fault.
    ///
    /// # Errors
    /// `NoSuchVm`, `NoSlot`, `Busy`, `Unsupported` (isn't logged).
    pub fn stop_logging(&mut self, vm: u8, gfn: Gfn) -> Result<(), Error> {
        let slot = self.vm(vm)?.slot(gfn)?;
        self.idle(vm)?;
        slot.dirty.ok_or(Error::Unsupported)?;
        self.edit_slot(vm, gfn, |slot| slot.dirty = None);
        Ok(())
    }

    /// Tells every page of the slot that was written since the last time, and begins anew:
    /// later writes are seen for sure when the program that this may answer with has run.
    ///
    /// # Errors
    /// `NoSuchVm`, `NoSlot`, `Busy`, `Unsupported` (isn't logged).
    pub fn take_dirty(
        &mut self,
        vm: u8,
        gfn: Gfn,
        mut each: impl FnMut(Gfn),
    ) -> Result<Next, Error> {
        let slot = self.vm(vm)?.slot(gfn)?;
        self.idle(vm)?;
        let at = slot.dirty.ok_or(Error::Unsupported)?;
        let hardware = self.vms[vm as usize].config.accessed_dirty;
        if hardware {
            self.clean(vm, slot.first(), slot.end());
        }
        for page in slot.first()..slot.end() {
            if self.bits.get(at, &slot, page) {
                each(Gfn::new(page));
                self.bits.set(at, &slot, page, false);
                if !hardware {
                    self.clean(vm, page, page + 1);
                }
            }
        }
        Ok(self.flush_program(vm))
    }

    fn edit_slot(&mut self, vm: u8, gfn: Gfn, change: impl FnOnce(&mut Slot)) {
        let mut slots = self.vms[vm as usize].slots.iter_mut().flatten();
        if let Some(slot) = slots.find(|slot| slot.contains(gfn.get())) {
            change(slot);
        }
    }

    /// Makes the next write to every leaf in a range visible, under every alias: takes write
    /// permission away, or moves the hardware's dirty bit into the slot's.
    fn clean(&mut self, vm: u8, first: u64, end: u64) {
        let hardware = self.vms[vm as usize].config.accessed_dirty;
        for alias in self.vms[vm as usize].shared_aliases() {
            let found = &self.vms[vm as usize];
            let root = found.roots[alias.root];
            let from = found.bits.join(alias.stolen, Gfn::new(first));
            let to = Gpa::new(from.get() + ((end - first) << 12));
            let mut at = from;
            while let Some((start, spot)) = self.tables.next_leaf(&root, at, to) {
                let pages = leaf_pages(spot.level);
                let entry = spot.entry;
                let clean = if hardware {
                    Entry(entry.0 & !Entry::DIRTY)
                } else {
                    entry.with_access(entry.access().without(Access::WRITE))
                };
                if clean != entry {
                    self.tables.memory.swap(spot.table, spot.index, clean.0);
                    self.vms[vm as usize].unflushed = true;
                    if hardware {
                        let page = first + ((start.get() - from.get()) >> 12);
                        (page..page + pages).for_each(|page| self.mark_dirty(vm, page));
                    }
                }
                at = Gpa::new(start.get() + (pages << 12));
            }
        }
    }

    /// A write to a leaf that may be written, but isn't writable: logging wants to know.
    pub(crate) fn first_write(
        &mut self,
        vm: u8,
        alias: Alias,
        gfn: Gfn,
        slot: &Slot,
    ) -> Result<Next, Error> {
        if slot.dirty.is_some() {
            self.split_around(vm, alias, gfn.get(), |_, _| true)?;
        }
        let found = &self.vms[vm as usize];
        let at = found.bits.join(alias.stolen, gfn);
        let spot = self.tables.walk(&found.roots[alias.root], at, 0);
        let access = spot.entry.access().union(alias.access);
        self.tables.set(&spot, spot.entry.with_access(access));
        self.mark_dirty(vm, gfn.get());
        // More permission needs no flush: a stale entry only faults once more.
        Ok(Next::Done)
    }

    pub(crate) fn mark_dirty(&mut self, vm: u8, gfn: u64) {
        if let Ok(slot) = self.vms[vm as usize].slot(Gfn::new(gfn))
            && let Some(at) = slot.dirty
        {
            self.bits.set(at, &slot, gfn, true);
        }
    }
}
