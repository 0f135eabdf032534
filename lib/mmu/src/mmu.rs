//! The MMU of all VMs: create, slots, queries, and the life of a program.

use crate::control::{ControlPages, NO_CONTROL};
use crate::error::{Error, Resource};
use crate::frames::{Blocks, Frames, NO_FRAME};
use crate::memory::{NO_TABLE, TableMemory};
use crate::slot::{PageBits, SLOTS, Slot, SlotConfig};
use crate::step::{Outcome, Program, Step, status};
use crate::tables::{Kind, Tables};
use crate::tree::Root;
use crate::vm::{
    Alias, Config, EXECUTE_ONLY, Finder, MAX_VMS, PRIVATE, Place, SHARED, Stats, Vm, Work,
};
use gpa::{Gfn, Gpa, Hpa, StolenBits};
use tdx_abi::{PageType, Status};

/// How often a program that meets a busy module is planned again before that is reported.
pub const RETRIES: u8 = 32;

/// The memory of an MMU: everything is handed in, nothing is allocated.
#[derive(Debug)]
pub struct Parts<'a, M> {
    /// Table pages.
    pub tables: Tables<'a, M>,
    /// Private memory.
    pub private: Blocks<'a>,
    /// Shared memory.
    pub shared: Frames<'a>,
    /// Pages for the TDX module.
    pub control: ControlPages<'a>,
    /// VMs ([`Vm::NEW`]); at most 64.
    pub vms: &'a mut [Vm],
    /// Bits for slots: one per page (rounded up to 2 MiB on both sides), and one more for each
    /// page of a slot that is logged.
    pub bits: &'a mut [u64],
}

/// The MMU.
#[derive(Debug)]
pub struct Mmu<'a, M> {
    pub(crate) tables: Tables<'a, M>,
    pub(crate) private: Blocks<'a>,
    pub(crate) shared: Frames<'a>,
    pub(crate) control: ControlPages<'a>,
    pub(crate) vms: &'a mut [Vm],
    pub(crate) bits: PageBits<'a>,
}

/// What to do next after a request or an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Run [`Mmu::program`], then tell [`Mmu::complete`].
    Run,
    /// The operation is complete; a faulting vCPU may go on.
    Done,
    /// The module refused (or stayed busy through all retries). What was done so far stands,
    /// what was not is undone; the request may be made again.
    Refused {
        /// The step that was refused.
        step: Step,
        /// RAX.
        status: u64,
        /// RCX.
        rcx: u64,
        /// RDX.
        rdx: u64,
    },
}

/// Where a guest address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The host address.
    pub hpa: Hpa,
    /// Level of the leaf.
    pub level: u8,
    /// Whether it is private memory of a TD.
    pub private: bool,
}

impl<'a, M: TableMemory> Mmu<'a, M> {
    /// An MMU with no VM.
    pub fn new(parts: Parts<'a, M>) -> Self {
        let count = parts.vms.len().min(MAX_VMS);
        let (vms, _) = parts.vms.split_at_mut(count);
        for vm in vms.iter_mut() {
            *vm = Vm::NEW;
        }
        Self {
            tables: parts.tables,
            private: parts.private,
            shared: parts.shared,
            control: parts.control,
            vms,
            bits: PageBits { words: parts.bits },
        }
    }

    /// The table pages.
    pub fn tables(&self) -> &Tables<'a, M> {
        &self.tables
    }
    /// The private memory.
    pub fn private_memory(&self) -> &Blocks<'a> {
        &self.private
    }
    /// The shared memory.
    pub fn shared_memory(&self) -> &Frames<'a> {
        &self.shared
    }
    /// The pages of the TDX module.
    pub fn control_pages(&self) -> &ControlPages<'a> {
        &self.control
    }

    /// Makes a VM of number `vm`, with its roots.
    ///
    /// # Errors
    /// `NoSuchVm` for a number too high, `VmExists`, `BadConfig`, `NoMemory(Tables)`,
    /// `NoMemory(Keys)` where an index is wanted and there is none.
    pub fn create(&mut self, vm: u8, config: Config) -> Result<(), Error> {
        let slot = self.vms.get_mut(vm as usize).ok_or(Error::NoSuchVm)?;
        if slot.live {
            return Err(Error::VmExists);
        }
        let mask = |bit: Option<u8>| match bit {
            Some(bit) if bit < 52 => Ok(1u64 << bit),
            Some(_) => Err(Error::BadConfig),
            None => Ok(0),
        };
        let shared = mask(config.shared_bit)?;
        let execute_only = mask(config.execute_only.map(|(bit, _)| bit))?;
        let reach = match config.levels {
            4 => 48,
            5 => 57,
            _ => return Err(Error::BadConfig),
        };
        if shared & execute_only != 0 || config.width > reach {
            return Err(Error::BadConfig);
        }
        let bits =
            StolenBits::new(config.width, shared | execute_only).map_err(|_| Error::BadConfig)?;
        let wanted = [
            (PRIVATE, shared != 0, Kind::Mirror),
            (SHARED, true, Kind::Hardware),
            (
                EXECUTE_ONLY,
                matches!(config.execute_only, Some((_, Place::Root))),
                Kind::Hardware,
            ),
        ];
        if !self.tables.keys.has(config.finder) {
            return Err(Error::NoMemory(Resource::Keys));
        }
        if self.tables.available() < wanted.iter().filter(|(_, yes, _)| *yes).count() {
            return Err(Error::NoMemory(Resource::Tables));
        }
        *slot = Vm {
            live: true,
            config,
            bits,
            ..Vm::NEW
        };
        for (id, _, kind) in wanted.into_iter().filter(|(_, yes, _)| *yes) {
            let root = self.tables.plant(vm, id as u8, config.levels - 1, kind)?;
            slot.roots[id] = match config.finder {
                Finder::Walk => root,
                finder => root.keyed(finder, shared | execute_only, execute_only),
            };
        }
        Ok(())
    }

    /// A VM that isn't being torn down.
    pub(crate) fn vm(&self, vm: u8) -> Result<&Vm, Error> {
        match self.vms.get(vm as usize) {
            Some(found) if found.live && !found.dying => Ok(found),
            _ => Err(Error::NoSuchVm),
        }
    }
    /// The same, and no program of it is running.
    pub(crate) fn idle(&mut self, vm: u8) -> Result<&mut Vm, Error> {
        match self.vms.get_mut(vm as usize) {
            Some(found) if found.live && !found.dying => {
                if found.running {
                    Err(Error::Busy)
                } else {
                    Ok(found)
                }
            }
            _ => Err(Error::NoSuchVm),
        }
    }

    /// Takes a raw address apart: which alias of which frame.
    ///
    /// # Errors
    /// `NoSuchVm`, `BeyondWidth`, `NoSuchAlias`.
    pub fn split(&self, vm: u8, gpa: Gpa) -> Result<(Alias, Gfn), Error> {
        let found = self.vm(vm)?;
        let (stolen, gfn) = found.bits.split(gpa).map_err(|_| Error::BeyondWidth)?;
        Ok((found.alias(stolen)?, gfn))
    }

    /// Adds a memory slot.
    ///
    /// # Errors
    /// `BadRange` (empty, or beyond the VM's frames), `SlotOverlap`, `TooManySlots`,
    /// `Unsupported` (private memory in a VM that isn't a TD), `NoMemory(Attributes)`.
    pub fn add_slot(&mut self, vm: u8, config: SlotConfig) -> Result<(), Error> {
        let found = self.idle(vm)?;
        let end = config.gfn.get().checked_add(config.pages);
        if config.pages == 0
            || config.max_level > 2
            || end.is_none_or(|e| e > found.bits.end().get())
        {
            return Err(Error::BadRange);
        }
        if config.private && !found.is_td() {
            return Err(Error::Unsupported);
        }
        let mut slot = Slot {
            config,
            attributes: 0,
            dirty: None,
        };
        let overlaps = |other: &Slot| slot.first() < other.end() && other.first() < slot.end();
        if found.slots.iter().flatten().any(overlaps) {
            return Err(Error::SlotOverlap);
        }
        let Some(place) = found.slots.iter().position(Option::is_none) else {
            return Err(Error::TooManySlots);
        };
        slot.attributes = self.find_bits(slot.words())?;
        let (first, end) = (slot.first(), slot.end());
        let start = slot.attributes as usize;
        self.bits.words[start..start + slot.words()].fill(0);
        if config.private {
            self.bits
                .set_range(slot.attributes, &slot, first, end, true);
        }
        self.vms[vm as usize].slots[place] = Some(slot);
        Ok(())
    }

    /// The first gap of `words` among the words of all slots.
    pub(crate) fn find_bits(&self, words: usize) -> Result<u32, Error> {
        let taken = || {
            let slots = self.vms.iter().filter(|vm| vm.live);
            slots
                .flat_map(|vm| vm.slots.iter().flatten())
                .flat_map(|slot| {
                    let runs = [Some(slot.attributes), slot.dirty];
                    runs.into_iter()
                        .flatten()
                        .map(|at| (at as usize, at as usize + slot.words()))
                })
        };
        let starts = core::iter::once(0).chain(taken().map(|(_, end)| end));
        starts
            .filter(|&at| at + words <= self.bits.words.len())
            .find(|&at| taken().all(|(start, end)| at >= end || at + words <= start))
            .map(|at| at as u32)
            .ok_or(Error::NoMemory(Resource::Attributes))
    }

    /// Whether a page is private by the attributes of its slot.
    ///
    /// # Errors
    /// `NoSuchVm`, `NoSlot`.
    pub fn is_private(&self, vm: u8, gfn: Gfn) -> Result<bool, Error> {
        let slot = self.vm(vm)?.slot(gfn)?;
        Ok(self.bits.get(slot.attributes, &slot, gfn.get()))
    }

    /// Slot and range of pages that a request names.
    pub(crate) fn range(&self, vm: u8, gfn: Gfn, pages: u64) -> Result<(Slot, u64, u64), Error> {
        let end = gfn.get().checked_add(pages).ok_or(Error::BadRange)?;
        if pages == 0 {
            return Err(Error::BadRange);
        }
        let slot = self.vm(vm)?.slot(gfn)?;
        if end > slot.end() {
            return Err(Error::NoSlot);
        }
        Ok((slot, gfn.get(), end))
    }

    /// Where `gpa` leads now; `None` where nothing is mapped (or it is blocked).
    ///
    /// # Errors
    /// `NoSuchVm`, `BeyondWidth`, `NoSuchAlias`.
    pub fn translate(&self, vm: u8, gpa: Gpa) -> Result<Option<Translation>, Error> {
        let (alias, gfn) = self.split(vm, gpa)?;
        let found = self.vm(vm)?;
        let at = found.bits.join(alias.stolen, gfn);
        let spot = self.tables.walk(&found.roots[alias.root], at, 0);
        let usable = spot.is_leaf() && spot.entry.0 & crate::private::UNUSABLE == 0;
        let mask = (1u64 << ept::level_shift(spot.level)) - 1;
        Ok(usable.then(|| Translation {
            hpa: Hpa::new(spot.entry.hpa().get() & !mask | gpa.get() & mask),
            level: spot.level,
            private: alias.is_private(),
        }))
    }

    /// Host physical address of the root table of shared (TD) or all (plain VM) memory: what
    /// the CPU's shared EPT pointer gets.
    ///
    /// # Errors
    /// `NoSuchVm`.
    pub fn shared_root(&self, vm: u8) -> Result<Hpa, Error> {
        Ok(self.tables.memory.hpa(self.vm(vm)?.roots[SHARED].table()))
    }
    /// Host physical address of the root of execute-only aliases, if those have their own.
    ///
    /// # Errors
    /// `NoSuchVm`.
    pub fn execute_only_root(&self, vm: u8) -> Result<Option<Hpa>, Error> {
        let root = self.vm(vm)?.roots[EXECUTE_ONLY];
        Ok(root.exists().then(|| self.tables.memory.hpa(root.table())))
    }
    /// The private leaves of a TD as the mirror has them: frame number, level, first host frame,
    /// and whether the leaf is blocked.
    pub fn private_leaves(&self, vm: u8) -> impl Iterator<Item = (Gfn, u8, gpa::Hfn, bool)> {
        let found = self.vms.get(vm as usize).filter(|found| found.live);
        let root = found.map(|found| found.roots[PRIVATE]);
        let end = found.map_or(Gpa::new(0), |found| found.bits.end().base());
        let mut at = Gpa::new(0);
        core::iter::from_fn(move || {
            let root = root.filter(Root::exists)?;
            let (start, spot) = self.tables.next_leaf(&root, at, end)?;
            at = Gpa::new(start.get() + (1 << ept::level_shift(spot.level)));
            let blocked = spot.entry.0 & crate::private::BLOCKED != 0;
            Some((start.frame(), spot.level, spot.entry.hpa().frame(), blocked))
        })
    }
    /// The VM's counters.
    ///
    /// # Errors
    /// `NoSuchVm`.
    pub fn stats(&self, vm: u8) -> Result<Stats, Error> {
        match self.vms.get(vm as usize) {
            Some(found) if found.live => Ok(found.stats),
            _ => Err(Error::NoSuchVm),
        }
    }
    /// Root of the TD at the module (for the steps' registers), once there is one.
    pub fn tdr(&self, vm: u8) -> Option<Hpa> {
        let found = self.vms.get(vm as usize)?;
        (found.live && found.tdr != NO_CONTROL).then(|| self.control.hpa(found.tdr))
    }
    /// The program to run; empty if none is.
    pub fn program(&self, vm: u8) -> &[Step] {
        match self.vms.get(vm as usize) {
            Some(found) if found.running => &found.program,
            _ => &[],
        }
    }

    /// Plans the next program of the VM's work.
    pub(crate) fn advance(&mut self, vm: u8) -> Result<Next, Error> {
        loop {
            let mut program = Program::new();
            let found = &mut self.vms[vm as usize];
            if found.kick_first {
                // Whatever held a lock or an old epoch is out of the guest after this.
                let _ = program.push(Step::Kick);
            }
            let kicks = program.len();
            found.next = Work::Idle;
            match found.work {
                Work::Idle => return Ok(self.settle(vm)),
                Work::Once => {
                    self.vms[vm as usize].work = Work::Idle;
                    continue;
                }
                Work::Populate { .. } => self.plan_populate(vm, &mut program)?,
                Work::Zap { .. } => self.plan_zap(vm, &mut program)?,
                Work::Demote { gfn } => self.plan_demote(vm, gfn, &mut program)?,
                Work::Promote { gfn, refused } => self.plan_promote(vm, gfn, refused, &mut program),
                Work::Flush { .. } => self.plan_flush(vm, &mut program),
                Work::Teardown(at) => self.plan_teardown(vm, at, &mut program),
            }
            let found = &mut self.vms[vm as usize];
            if program.len() > kicks {
                found.program = program;
                found.running = true;
                return Ok(Next::Run);
            }
            // Nothing to call for: the work moves on by itself.
            found.work = found.next;
        }
    }

    /// Starts work and plans its first program. On an error nothing has changed.
    pub(crate) fn start(&mut self, vm: u8, work: Work) -> Result<Next, Error> {
        let found = &mut self.vms[vm as usize];
        found.work = work;
        found.retries = 0;
        found.kick_first = false;
        let next = self.advance(vm);
        if next.is_err() {
            self.vms[vm as usize].work = Work::Idle;
        }
        next
    }

    /// Starts a fixed program.
    pub(crate) fn start_once(&mut self, vm: u8, program: Program) -> Next {
        let found = &mut self.vms[vm as usize];
        if program.is_empty() {
            return Next::Done;
        }
        found.work = Work::Once;
        found.next = Work::Idle;
        found.retries = 0;
        found.kick_first = false;
        found.program = program;
        found.running = true;
        Next::Run
    }

    /// Work is over: a VM torn down is gone.
    fn settle(&mut self, vm: u8) -> Next {
        let found = &mut self.vms[vm as usize];
        if found.dying {
            *found = Vm::NEW;
        }
        Next::Done
    }

    /// Takes the outcome of the running program: what was done is recorded, what was not is
    /// undone; then the operation goes on, is retried, or is over.
    ///
    /// # Errors
    /// `NoSuchVm`; `NoProgram` if none is running or the outcome claims more steps than it has;
    /// what planning the rest may give (`NoMemory`): the part done stands.
    pub fn complete(&mut self, vm: u8, outcome: Outcome) -> Result<Next, Error> {
        let found = self.vms.get_mut(vm as usize).ok_or(Error::NoSuchVm)?;
        if !found.live {
            return Err(Error::NoSuchVm);
        }
        let steps = found.program.len();
        let mut done = outcome.done;
        if !found.running || done > steps {
            return Err(Error::NoProgram);
        }
        let program = core::mem::take(&mut found.program);
        found.running = false;
        for step in &program[..done] {
            self.apply(vm, step);
        }
        if done == steps {
            let found = &mut self.vms[vm as usize];
            let finished = core::mem::replace(&mut found.work, found.next);
            found.retries = 0;
            found.kick_first = false;
            if let Work::Flush { first, end } = finished {
                self.become_private(vm, first, end);
            }
            return self.go_on(vm);
        }
        let refused = program[done];
        let as_good = self.is_as_good_as_done(&refused, &outcome);
        if as_good {
            self.apply(vm, &refused);
            done += 1;
        }
        let found = &mut self.vms[vm as usize];
        let busy = status::is_busy(Status(outcome.status)) && found.retries < RETRIES;
        // A page whose measurement broke off is mapped: planned anew, it would be left out.
        let as_it_is = found.work == Work::Once || matches!(refused, Step::MrExtend { .. });
        if as_good || busy && as_it_is {
            // Nothing to plan anew: the rest is tried as it is.
            found.retries += u8::from(!as_good);
            found.stats.retries += u64::from(!as_good);
            found.program.extend(program[done..].iter().copied());
            found.running = true;
            if found.program.is_empty() {
                return self.complete(vm, Outcome::default());
            }
            return Ok(Next::Run);
        }
        for step in program[done..].iter().rev() {
            self.cancel(vm, step);
        }
        let found = &mut self.vms[vm as usize];
        if busy {
            found.retries += 1;
            found.stats.retries += 1;
            found.kick_first = true;
            return self.go_on(vm);
        }
        if let Work::Promote {
            gfn,
            refused: false,
        } = found.work
        {
            // The pages stay as they are; they only have to be reachable again.
            found.work = Work::Promote { gfn, refused: true };
            found.stats.refusals += 1;
            return self.go_on(vm);
        }
        found.stats.refusals += 1;
        self.abandon(vm);
        Ok(Next::Refused {
            step: refused,
            status: outcome.status,
            rcx: outcome.rcx,
            rdx: outcome.rdx,
        })
    }

    /// Plans on; if that can't be, the work is over.
    fn go_on(&mut self, vm: u8) -> Result<Next, Error> {
        let next = self.advance(vm);
        if next.is_err() {
            self.abandon(vm);
        }
        next
    }

    fn abandon(&mut self, vm: u8) {
        let found = &mut self.vms[vm as usize];
        if let Some(cleaning) = found.cleaning.take() {
            self.private.give_stale(cleaning.block, cleaning.stale);
        }
        let found = &mut self.vms[vm as usize];
        // A teardown goes on where it was when it is asked for again.
        if !matches!(found.work, Work::Teardown(_)) {
            found.work = Work::Idle;
        }
        found.kick_first = false;
        found.retries = 0;
    }

    fn is_as_good_as_done(&self, step: &Step, outcome: &Outcome) -> bool {
        let status = Status(outcome.status);
        match step {
            Step::VpFlush { .. } => status.is(Status::VCPU_NOT_ASSOCIATED),
            Step::RangeBlock { .. } => status.is(Status::GPA_RANGE_ALREADY_BLOCKED),
            // A page that the module never took: RCX says that it is free.
            Step::PageReclaim { .. } => {
                status.is(Status::PAGE_METADATA_INCORRECT) && outcome.rcx == PageType::Nda as u64
            }
            _ => false,
        }
    }

    /// Frees what waited for a flush of the VM's shared TLB.
    pub(crate) fn flushed(&mut self, vm: u8) {
        let found = &mut self.vms[vm as usize];
        let tables = core::mem::replace(&mut found.limbo_tables, NO_TABLE);
        let frames = core::mem::replace(&mut found.limbo_frames, NO_FRAME);
        found.unflushed = false;
        self.tables.release(tables);
        self.shared.release(frames);
    }

    pub(crate) fn root_mut(&mut self, vm: u8, root: usize) -> &mut Root {
        &mut self.vms[vm as usize].roots[root]
    }
}

const _: () = assert!(SLOTS <= 8 && MAX_VMS <= 64);
