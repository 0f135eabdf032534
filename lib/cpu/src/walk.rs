//! The two-stage walk: guest-linear → guest-physical (SDM vol. 3A, chapter 4) →
//! host-physical (SDM vol. 3C, 29.3).
//!
//! What TDX adds: the GPA's SHARED bit selects the EPT, and neither paging structures nor code
//! may be shared: a walk through or a fetch from shared memory is a `#PF` with RSVD.

use crate::Env;
use crate::directory::Directory;
use crate::exit::{VmExit, ept_violation, reason};
use crate::machine::Machine;
use crate::state::{Cpu, Stop, Trap, cr0, cr4, efer, is_canonical};
use crate::tlb::{Access, Mode, mask};
use ept::{Entry, index, level_shift};
use gpa::{Gpa, Hpa, PAGE_SHIFT, PAGE_SIZE};
use memory::PhysMemory;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
/// Bytes of a large page on level 1.
const LARGE_SIZE: u64 = 1 << level_shift(1);
const NX: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Bits of a page fault's error code (SDM vol. 3A, 4.7).
pub(crate) mod fault {
    pub const PRESENT: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

const CACHED: usize = 128;

/// A guest-physical page with where it lies.
#[derive(Clone, Copy)]
struct Cached {
    /// GPA of the page; all ones is none.
    gpa: u64,
    /// HPA of the page, and the permissions in bits 2:0.
    hpa: u64,
}

/// Translations of guest-physical pages, until [`Cpu::flush_ept`].
#[derive(Clone)]
pub(crate) struct GpaCache {
    directories: Directory,
    pages: [Cached; CACHED],
}

impl GpaCache {
    pub const fn new() -> Self {
        Self {
            directories: Directory::new(),
            pages: [Cached { gpa: !0, hpa: 0 }; CACHED],
        }
    }
    pub fn flush(&mut self) {
        *self = Self::new();
    }
    #[inline]
    fn slot(gpa: u64) -> usize {
        (gpa >> PAGE_SHIFT ^ gpa >> (PAGE_SHIFT + 9)) as usize % CACHED
    }
}

/// Why an access happens, as far as an EPT violation tells.
#[derive(Clone, Copy)]
struct Cause {
    linear: u64,
    /// The access is to the page itself, not to a paging structure.
    translation: bool,
}

/// Permission bits (those of an EPT entry) that an access needs.
const fn needed(access: Access) -> u64 {
    match access {
        Access::Read => Entry::READ,
        Access::Write => Entry::WRITE,
        Access::Fetch => Entry::EXECUTE,
    }
}

impl Cpu {
    /// Where `gpa` lies and the permissions there (bits 2:0), out of the cache or by a walk.
    #[inline(always)]
    fn translate_gpa<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        gpa: u64,
        access: u64,
        cause: Cause,
    ) -> Result<(Hpa, u64), Trap> {
        let directory = Entry(self.gpa_cache.directories.get(gpa).unwrap_or(0));
        if directory.is_leaf(1) && directory.0 & access == access {
            let hpa = directory.hpa().get() | gpa & (LARGE_SIZE - 1);
            return Ok((Hpa::new(hpa), directory.0 & 7));
        }
        let page = gpa & !(PAGE_SIZE - 1);
        let cached = self.gpa_cache.pages[GpaCache::slot(page)];
        if cached.gpa == page && cached.hpa & access == access {
            let hpa = cached.hpa & !(PAGE_SIZE - 1) | gpa & (PAGE_SIZE - 1);
            return Ok((Hpa::new(hpa), cached.hpa & 7));
        }
        self.walk_ept(env, gpa, access, cause)
    }

    /// Walks the EPT for `gpa`. A walk's exits come from memory alone, never from the cache.
    #[inline(never)]
    fn walk_ept<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        gpa: u64,
        access: u64,
        cause: Cause,
    ) -> Result<(Hpa, u64), Trap> {
        let shared = self.controls.plain || gpa >> self.controls.shared_bit & 1 != 0;
        let mut table = if shared {
            self.controls.shared_root
        } else {
            self.controls.private_root
        };
        let mut level = self.controls.root_level.min(4);
        let mut allowed = 7;
        loop {
            // The SHARED bit takes no part in the walk of the shared EPT's 4 levels below it;
            // it is part of the index, as the hardware has it.
            if shared && !env.machine.shared_table_allowed(table) {
                return self.ept_misconfiguration(gpa);
            }
            let at = table.get() + 8 * index(gpa, level) as u64;
            let entry = Entry(env.machine.memory().read_u64(Hpa::new(at)));
            if !entry.is_present() {
                return self.ept_violation(gpa, access, 0, cause, !entry.suppresses_ve());
            }
            if misconfigured(entry, level) {
                return self.ept_misconfiguration(gpa);
            }
            allowed &= entry.0;
            if entry.is_leaf(level) {
                let size = 1 << level_shift(level);
                let base = entry.hpa().get() & !(size - 1);
                if shared && !env.machine.shared_hpa_allowed(Hpa::new(base), size) {
                    return self.ept_misconfiguration(gpa);
                }
                if allowed & access != access {
                    let convertible = !entry.suppresses_ve();
                    return self.ept_violation(gpa, access, allowed, cause, convertible);
                }
                let hpa = base | gpa & (size - 1);
                if level == 1 {
                    let folded = entry.0 & !7 | allowed & 7;
                    self.gpa_cache.directories.insert(gpa, folded);
                } else {
                    let page = gpa & !(PAGE_SIZE - 1);
                    self.gpa_cache.pages[GpaCache::slot(page)] = Cached {
                        gpa: page,
                        hpa: hpa & !(PAGE_SIZE - 1) | allowed & 7,
                    };
                }
                return Ok((Hpa::new(hpa), allowed));
            }
            table = entry.hpa();
            level -= 1;
        }
    }

    #[cold]
    fn ept_violation<T>(
        &mut self,
        gpa: u64,
        access: u64,
        allowed: u64,
        cause: Cause,
        ve_convertible: bool,
    ) -> Result<T, Trap> {
        // Access bits 2:0 and permission bits 5:3 have the order of an EPT entry's.
        let mut qualification = access | allowed << 3 | ept_violation::LINEAR_VALID;
        if cause.translation {
            qualification |= ept_violation::TRANSLATION;
        }
        self.exit(VmExit {
            qualification,
            gpa: Gpa::new(gpa),
            gla: cause.linear,
            ve_convertible,
            ..VmExit::new(reason::EPT_VIOLATION)
        })
    }

    #[cold]
    fn ept_misconfiguration<T>(&mut self, gpa: u64) -> Result<T, Trap> {
        self.exit(VmExit {
            gpa: Gpa::new(gpa),
            ..VmExit::new(reason::EPT_MISCONFIGURATION)
        })
    }

    #[cold]
    fn page_fault<T>(
        &mut self,
        linear: u64,
        access: Access,
        mode: Mode,
        bits: u32,
    ) -> Result<T, Trap> {
        let mut error_code = bits;
        if access == Access::Write {
            error_code |= fault::WRITE;
        }
        if mode == Mode::User {
            error_code |= fault::USER;
        }
        if access == Access::Fetch && (self.efer & efer::NXE != 0 || self.cr4 & cr4::SMEP != 0) {
            error_code |= fault::FETCH;
        }
        self.stop = Stop::PageFault { linear, error_code };
        Err(Trap)
    }

    /// Translates `linear` for one access and enters what it finds in the TLB.
    #[inline(never)]
    pub(crate) fn translate<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        access: Access,
        mode: Mode,
    ) -> Result<Hpa, Trap> {
        if let Some(hpa) = self.tlb.get(linear, 1, mask(access, mode)) {
            return Ok(Hpa::new(hpa));
        }
        let page = if self.cr0 & cr0::PG == 0 {
            GuestPage {
                gpa: linear & 0xffff_ffff,
                allowed: 0xff,
                global: false,
                large: false,
            }
        } else {
            if !is_canonical(linear) {
                self.stop = Stop::NonCanonical;
                return Err(Trap);
            }
            loop {
                // Another CPU may change an entry while it is being marked: then walk again.
                if let Some(page) = self.walk(env, linear, access, mode)? {
                    break page;
                }
            }
        };
        let cause = Cause {
            linear,
            translation: true,
        };
        let shared = page.gpa & self.controls.no_code() != 0;
        if shared && access == Access::Fetch {
            let bits = fault::PRESENT | fault::RESERVED;
            return self.page_fault(linear, access, mode, bits);
        }
        let (hpa, ept_allowed) = self.translate_gpa(env, page.gpa, needed(access), cause)?;
        let mut allowed = page.allowed;
        let every = |access| {
            mask(access, Mode::User)
                | mask(access, Mode::Supervisor)
                | mask(access, Mode::SupervisorAc)
        };
        if ept_allowed & Entry::READ == 0 {
            allowed &= !every(Access::Read);
        }
        if ept_allowed & Entry::WRITE == 0 {
            allowed &= !every(Access::Write);
        }
        if ept_allowed & Entry::EXECUTE == 0 || shared {
            allowed &= !every(Access::Fetch);
        }
        if env.index.is_code(hpa.get()) {
            if access == Access::Write {
                let frame = hpa.get() & !(PAGE_SIZE - 1);
                env.index.invalidate(frame);
                if frame == self.running_frame || frame == self.running_second {
                    self.stop = Stop::Retry;
                    return Err(Trap);
                }
            } else {
                allowed &= !every(Access::Write);
            }
        }
        self.tlb
            .insert(linear, hpa.get(), allowed, page.global, page.large);
        Ok(hpa)
    }

    /// Walks the guest's page tables. `None`: an entry changed under the walk.
    #[inline(always)]
    fn walk<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        access: Access,
        mode: Mode,
    ) -> Result<Option<GuestPage>, Trap> {
        if let Some(directory) = self.tlb.directories.get(linear) {
            let clean = directory & (LARGE | DIRTY) == LARGE;
            if !(clean && access == Access::Write) {
                let found = self.walk_from(env, linear, access, mode, Some(directory));
                if found.is_ok() {
                    return found;
                }
            }
            // A fault forgets what led to it (SDM vol. 3A, 4.10.4.1), and a fault or an exit is
            // only one if memory says so, too.
            self.tlb.directories.forget(linear);
            self.stop = Stop::None;
        }
        self.walk_from(env, linear, access, mode, None)
    }

    /// Walks from the root, or from what is known of the directory.
    #[inline(never)]
    fn walk_from<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        access: Access,
        mode: Mode,
        known: Option<u64>,
    ) -> Result<Option<GuestPage>, Trap> {
        let reserved_address = ADDRESS & !((1 << self.controls.gpa_width.min(52)) - 1);
        let reserved_nx = if self.efer & efer::NXE == 0 { NX } else { 0 };
        let shared_bit = self.controls.no_code();
        let cause = Cause {
            linear,
            translation: false,
        };
        let mut entries = [(0, 0); 4];
        let mut table = self.cr3 & ADDRESS;
        // All bits that permit, then those that forbid, of the levels so far.
        let (mut rights, mut nx) = (WRITABLE | USER, 0);
        let mut level = 3;
        if let Some(directory) = known {
            (rights, nx) = (directory, directory & NX);
            table = directory & ADDRESS;
            level = 0;
        }
        let first = level;
        let mut directory = 0;
        let leaf = loop {
            if let Some(leaf) = known.filter(|known| known & LARGE != 0) {
                level = 1;
                break leaf;
            }
            if table & (shared_bit | reserved_address) != 0 {
                let bits = fault::PRESENT | fault::RESERVED;
                return self.page_fault(linear, access, mode, bits);
            }
            let at = table | (8 * index(linear, level) as u64);
            let (hpa, _) = self.translate_gpa(env, at, Entry::READ, cause)?;
            let entry = env.machine.memory().read_u64(hpa);
            entries[level as usize] = (at, entry);
            if entry & PRESENT == 0 {
                return self.page_fault(linear, access, mode, 0);
            }
            let large = level > 0 && entry & LARGE != 0;
            let mut reserved = reserved_address | reserved_nx;
            if level == 3 {
                reserved |= LARGE;
            } else if large {
                // Bit 12 of a large leaf is PAT, the others below the page are reserved.
                reserved |= ((1 << level_shift(level)) - 1) & !0x1fff;
            }
            if entry & reserved != 0 {
                let bits = fault::PRESENT | fault::RESERVED;
                return self.page_fault(linear, access, mode, bits);
            }
            rights &= entry;
            nx |= entry & NX;
            if level == 1 {
                directory = entry & !(WRITABLE | USER) | (rights & (WRITABLE | USER)) | nx;
            }
            if level == 0 || large {
                break entry;
            }
            table = entry & ADDRESS;
            level -= 1;
        };

        let user = rights & USER != 0;
        let writable = rights & WRITABLE != 0;
        let smap = self.cr4 & cr4::SMAP != 0;
        let supervisor_writes = writable || self.cr0 & cr0::WP == 0;
        let mut allowed = 0;
        let mut allow = |met: bool, access, mode| {
            if met {
                allowed |= mask(access, mode) & (PAGE_SIZE - 1);
            }
        };
        allow(user, Access::Read, Mode::User);
        allow(user && writable, Access::Write, Mode::User);
        let fetchable = nx == 0;
        allow(user && fetchable, Access::Fetch, Mode::User);
        allow(!(user && smap), Access::Read, Mode::Supervisor);
        allow(
            !(user && smap) && supervisor_writes,
            Access::Write,
            Mode::Supervisor,
        );
        allow(true, Access::Read, Mode::SupervisorAc);
        allow(supervisor_writes, Access::Write, Mode::SupervisorAc);
        let smep = self.cr4 & cr4::SMEP != 0;
        allow(
            fetchable && !(user && smep),
            Access::Fetch,
            Mode::Supervisor,
        );
        if allowed & mask(access, mode) == 0 {
            return self.page_fault(linear, access, mode, fault::PRESENT);
        }

        // Of what is known of the directory everything is marked.
        for at_level in (level..=first).rev() {
            let (at, entry) = entries[at_level as usize];
            let mut bits = ACCESSED;
            if at_level == level && access == Access::Write {
                bits |= DIRTY;
            }
            if entry & bits != bits {
                let access = Entry::READ | Entry::WRITE;
                let (hpa, _) = self.translate_gpa(env, at, access, cause)?;
                if env.index.is_code(hpa.get()) {
                    env.index.invalidate(hpa.get());
                }
                let memory = env.machine.memory();
                if memory
                    .compare_exchange_u64(hpa, entry, entry | bits)
                    .is_err()
                {
                    // Outside of memory nothing can be marked, nor need it be.
                    if memory.contains(hpa, 8) {
                        return Ok(None);
                    }
                }
            }
        }
        if directory != 0 {
            if level == 1 && access == Access::Write {
                directory |= DIRTY;
            }
            self.tlb.directories.insert(linear, directory);
        }
        if leaf & DIRTY == 0 && access != Access::Write {
            // The first write must come back here to set it.
            for mode in [Mode::User, Mode::Supervisor, Mode::SupervisorAc] {
                allowed &= !mask(Access::Write, mode);
            }
        }
        let offset_mask = (1 << level_shift(level)) - 1;
        Ok(Some(GuestPage {
            gpa: leaf & ADDRESS & !offset_mask | linear & offset_mask,
            allowed,
            global: leaf & GLOBAL != 0 && self.cr4 & cr4::PGE != 0,
            large: level > 0,
        }))
    }
}

/// What the guest's page tables say about a page.
struct GuestPage {
    gpa: u64,
    /// Allowed accesses, as the bits of their TLB masks.
    allowed: u64,
    global: bool,
    large: bool,
}

/// SDM vol. 3C, 29.3.3.1: what a present entry must not be.
fn misconfigured(entry: Entry, level: u8) -> bool {
    let write_only = entry.0 & Entry::READ == 0 && entry.0 & Entry::WRITE != 0;
    let kind = entry.0 >> Entry::MEMORY_TYPE_SHIFT & 7;
    let leaf = entry.is_leaf(level);
    let bad_bits = if leaf {
        level > 2
            || matches!(kind, 2 | 3 | 7)
            || entry.0 & Entry::ADDRESS & ((1 << level_shift(level)) - 1) != 0
    } else {
        kind != 0 || entry.0 & Entry::IGNORE_PAT != 0
    };
    write_only || bad_bits
}
