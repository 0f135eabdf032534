//! Requests of pd-vmm's.

use crate::pd::{Pd, Vm, Work};
use gpa::{Gfn, Gpa, Hpa, PAGE_SIZE};
use ipc_vmm_mmu::{self as vmm, MAX_PAGES, VmId};
use memory::PhysMemory;
use mmu::{Config, Finder, Next, Place, Resource, Role, SlotConfig};

/// Memory of a VM that is no TD is mapped by leaves of 2 MiB where that fits.
const PLAIN_LEVEL: u8 = 1;

/// How a request is answered.
pub(crate) enum Answer {
    /// By this message, at once.
    Now(vmm::ToVmm),
    /// By `Done` or `Failed`, after this.
    After(Next),
}

impl<M: PhysMemory> Pd<'_, M> {
    /// Makes a VM.
    pub(crate) fn create(
        &mut self,
        id: VmId,
        kind: vmm::Kind,
        execute_only: u8,
        finder: u8,
    ) -> Result<Answer, vmm::Error> {
        let config = config(kind, execute_only, finder)?;
        let place = self.vms.get(usize::from(id)).ok_or(vmm::Error::NoVmSlot)?;
        if place.is_some() {
            return Err(vmm::Error::NoVmSlot);
        }
        let is_td = config.shared_bit.is_some();
        self.mmu.create(id as u8, config).map_err(error)?;
        let root = self.mmu.shared_root(id as u8);
        let made = root.and_then(|root| match is_td {
            true => Ok((self.mmu.grant(id as u8, Role::Tdr)?, root)),
            false => Ok((root, root)),
        });
        let (tdr, root) = match made {
            Ok(made) => made,
            Err(failed) => {
                // Nothing is at the module yet, so this is over at once.
                let _ = self.mmu.reclaim(id as u8);
                return Err(error(failed));
            }
        };
        self.vms[usize::from(id)] = Some(Vm::new(tdr));
        Ok(Answer::Now(vmm::ToVmm::Created {
            vm: id,
            tdr: tdr.get(),
            // The field takes the address alone: levels and memory type are the private EPTP's.
            shared_eptp: root.get(),
        }))
    }

    /// Carries a request out, or begins to.
    pub(crate) fn request(&mut self, id: VmId, request: &vmm::ToMmu) -> Result<Answer, vmm::Error> {
        let vm = id as u8;
        let finalized = self.vm(id).is_some_and(|vm| vm.finalized);
        let next = match *request {
            // Served before there is a VM.
            vmm::ToMmu::Create { .. } => return Err(vmm::Error::NoVmSlot),
            // What is handed out before a pool is empty comes back with the VM.
            vmm::ToMmu::ControlPages { count, .. } => {
                return hand_out(id, count, |_| self.mmu.grant(vm, Role::Tdcx).map_err(error));
            }
            vmm::ToMmu::SharedPages { count, .. } => {
                return hand_out(id, count, |_| {
                    self.host_pages.take(id).ok_or(vmm::Error::NoMemory)
                });
            }
            // What was mapped before an error stays mapped: the guest may touch it.
            vmm::ToMmu::Back { gpa, pages, .. } => {
                let bytes = u64::from(pages) * PAGE_SIZE;
                if gpa % PAGE_SIZE != 0 || gpa.checked_add(bytes).is_none() {
                    return Err(vmm::Error::BadRange);
                }
                return hand_out(id, pages, |page| {
                    let gpa = Gpa::new(gpa + page * PAGE_SIZE);
                    self.mmu.back(vm, gpa).map_err(error)
                });
            }
            vmm::ToMmu::AddSlot { gpa, len, .. } => {
                if !Gpa::new(gpa | len).is_aligned(PAGE_SIZE) {
                    return Err(vmm::Error::BadRange);
                }
                let (gfn, pages) = (Gfn::new(gpa / PAGE_SIZE), len / PAGE_SIZE);
                let slot = match self.mmu.tdr(vm) {
                    Some(_) => SlotConfig::private(gfn, pages),
                    None => SlotConfig::plain(gfn, pages, PLAIN_LEVEL),
                };
                self.mmu.add_slot(vm, slot).map(|()| Next::Done)
            }
            vmm::ToMmu::Populate {
                gpa, source, pages, ..
            } => {
                if finalized {
                    return Err(vmm::Error::BadState);
                }
                let (alias, gfn) = self.mmu.split(vm, Gpa::new(gpa)).map_err(error)?;
                if !alias.is_private() || gpa % PAGE_SIZE != 0 {
                    return Err(vmm::Error::BadRange);
                }
                self.mmu
                    .add_image(vm, gfn, pages.into(), Hpa::new(source), false)
            }
            vmm::ToMmu::Finalized { .. } => {
                if let Some(vm) = self.vm(id) {
                    vm.finalized = true;
                }
                Ok(Next::Done)
            }
            vmm::ToMmu::MapGpa { gpa, len, .. } => {
                if !finalized {
                    return Err(vmm::Error::BadState);
                }
                self.mmu.map_gpa(vm, Gpa::new(gpa), len)
            }
            vmm::ToMmu::CacheWriteback { .. } => self.mmu.run_once(vm, mmu::Step::CacheWb),
            vmm::ToMmu::Destroy { .. } => {
                self.report_vm(id);
                if let Some(vm) = self.vm(id) {
                    vm.work = Work::Destroy;
                }
                self.mmu.reclaim(vm)
            }
            vmm::ToMmu::Stats { .. } => {
                let stats = self.stats(vm)?;
                return Ok(Answer::Now(vmm::ToVmm::Stats { vm: id, stats }));
            }
        };
        next.map(Answer::After).map_err(error)
    }

    fn stats(&self, vm: u8) -> Result<vmm::Stats, vmm::Error> {
        let s = self.mmu.stats(vm).map_err(error)?;
        Ok(vmm::Stats {
            private_4k: s.private_4k,
            private_2m: s.private_2m,
            shared_4k: s.shared,
            tables: s.sept_pages + self.mmu.tables().used() as u64,
            faults: s.faults,
            conversions: s.to_shared + s.to_private,
            seamcalls: s.seamcalls,
        })
    }
}

/// An answer of `count` pages.
fn hand_out(
    vm: VmId,
    count: u8,
    mut take: impl FnMut(u64) -> Result<Hpa, vmm::Error>,
) -> Result<Answer, vmm::Error> {
    if usize::from(count) > MAX_PAGES {
        return Err(vmm::Error::TooMany);
    }
    let pages = (0..u64::from(count)).map(|page| Ok(take(page)?.get()));
    let pages = pages.collect::<Result<_, _>>()?;
    Ok(Answer::Now(vmm::ToVmm::Pages { vm, pages }))
}

/// What a VM is to be.
fn config(kind: vmm::Kind, execute_only: u8, finder: u8) -> Result<Config, vmm::Error> {
    let config = match kind {
        vmm::Kind::Td { gpaw: false, hkid } => Config::td(hkid),
        vmm::Kind::Td { gpaw: true, hkid } => Config::td_wide(hkid),
        vmm::Kind::Plain => Config::plain(48),
    };
    Ok(Config {
        // One root for both: the CPU sees only a permission.
        execute_only: (execute_only != 0).then_some((execute_only, Place::Leaf)),
        finder: Finder::from_number(finder).ok_or(vmm::Error::BadConfig)?,
        ..config
    })
}

/// What pd-vmm is told.
pub(crate) fn error(failed: mmu::Error) -> vmm::Error {
    use mmu::Error as E;
    match failed {
        E::NoSuchVm => vmm::Error::UnknownVm,
        E::VmExists => vmm::Error::NoVmSlot,
        E::BadConfig => vmm::Error::BadConfig,
        E::BeyondWidth | E::NoSuchAlias | E::BadRange | E::ForeignFrame => vmm::Error::BadRange,
        E::NoSlot | E::SlotOverlap => vmm::Error::NoSlot,
        E::TooManySlots
        | E::NoMemory(
            Resource::Tables
            | Resource::Control
            | Resource::Private
            | Resource::Shared
            | Resource::Attributes
            | Resource::Keys,
        ) => vmm::Error::NoMemory,
        E::Busy => vmm::Error::Busy,
        E::WrongKind | E::NotPermitted | E::Occupied | E::NoProgram | E::Unsupported => {
            vmm::Error::BadState
        }
    }
}
