//! One VM: its configuration, roots, slots, and the operation under way.

use crate::control::{Control, NO_CONTROL};
use crate::error::Error;
use crate::frames::{Block, NO_FRAME};
use crate::memory::{NO_TABLE, Table};
use crate::slot::{SLOTS, Slot};
use crate::step::Program;
use crate::tree::Root;
use ept::Access;
use gpa::{Gfn, Hpa, Stolen, StolenBits};

/// VM numbers are below this.
pub const MAX_VMS: usize = 64;

/// Where the meaning of a stolen bit is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Each value of the bit has its own tree.
    Root,
    /// One tree; the bit is an address bit like any other, and its meaning is in the leaf.
    Leaf,
}

/// How table pages of shared and plain trees are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Finder {
    /// By walking from the root.
    #[default]
    Walk,
    /// By key (see [`crate::keys`]), design 1: the stolen bits are part of the frame number.
    StolenKey,
    /// By key, design 2: a role bit per purpose.
    RoleKey,
    /// By key, design 3: all in one word.
    PackedKey,
}

impl Finder {
    /// All of them; the place is the number in messages and guest images.
    pub const ALL: [Self; 4] = [Self::Walk, Self::StolenKey, Self::RoleKey, Self::PackedKey];
    /// The one with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
    /// What users call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Walk => "walk",
            Self::StolenKey => "stolen",
            Self::RoleKey => "role",
            Self::PackedKey => "packed",
        }
    }
}

/// What a VM is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Width of guest physical addresses, stolen bits included.
    pub width: u8,
    /// Levels of the trees: 4 or 5.
    pub levels: u8,
    /// A TD: the address bit that says shared.
    pub shared_bit: Option<u8>,
    /// The address bit that says execute-only, and where that is kept.
    pub execute_only: Option<(u8, Place)>,
    /// Accessed and dirty bits are on (bit 6 of the EPTP).
    pub accessed_dirty: bool,
    /// How table pages are found.
    pub finder: Finder,
    /// A TD: its key id.
    pub hkid: u16,
}

impl Config {
    /// A VM without stolen bits.
    pub const fn plain(width: u8) -> Self {
        Self {
            width,
            levels: 4,
            shared_bit: None,
            execute_only: None,
            accessed_dirty: false,
            finder: Finder::Walk,
            hkid: 0,
        }
    }
    /// A TD with 48-bit addresses (GPAW 0): SHARED is bit 47, a private and a shared root.
    pub const fn td(hkid: u16) -> Self {
        Self {
            shared_bit: Some(47),
            hkid,
            ..Self::plain(48)
        }
    }
    /// A TD with 52-bit addresses (GPAW 1): SHARED is bit 51, trees of 5 levels.
    pub const fn td_wide(hkid: u16) -> Self {
        Self {
            shared_bit: Some(51),
            levels: 5,
            hkid,
            ..Self::plain(52)
        }
    }
    /// The same VM with an execute-only bit.
    pub const fn with_execute_only(mut self, bit: u8, place: Place) -> Self {
        self.execute_only = Some((bit, place));
        self
    }
}

/// Which root an address leads to, and what a leaf there may permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alias {
    /// Index into the VM's roots.
    pub(crate) root: usize,
    /// The most that a leaf permits.
    pub(crate) access: Access,
    /// The stolen bits of the alias.
    pub(crate) stolen: Stolen,
}

impl Alias {
    /// Whether this is the private side of a TD.
    pub fn is_private(&self) -> bool {
        self.root == PRIVATE
    }
}

/// The root that mirrors the Secure EPT.
pub(crate) const PRIVATE: usize = 0;
/// The root of shared or plain memory.
pub(crate) const SHARED: usize = 1;
/// The root of execute-only aliases, where those have their own.
pub(crate) const EXECUTE_ONLY: usize = 2;
pub(crate) const ROOTS: usize = 3;

/// Numbers for the console; pages are counted at the level they are mapped with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Private pages of 4 KiB.
    pub private_4k: u64,
    /// Private pages of 2 MiB.
    pub private_2m: u64,
    /// Secure EPT pages.
    pub sept_pages: u64,
    /// Shared or plain leaves.
    pub shared: u64,
    /// Faults handled.
    pub faults: u64,
    /// Pages converted from private to shared.
    pub to_shared: u64,
    /// Pages converted from shared to private.
    pub to_private: u64,
    /// 2 MiB pages split.
    pub demotions: u64,
    /// 2 MiB pages made of 4 KiB pages.
    pub promotions: u64,
    /// TLB epochs begun (TDH.MEM.TRACK).
    pub tracks: u64,
    /// SEAMCALLs that were successful.
    pub seamcalls: u64,
    /// Programs that met a busy module and were planned again.
    pub retries: u64,
    /// Steps that the module refused for good.
    pub refusals: u64,
    /// Table pages taken from a tree because the pool was empty.
    pub evictions: u64,
}

/// The operation under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// None.
    Idle,
    /// A fixed program: its success is all there is to it.
    Once,
    /// Map private pages `at..end`, by leaves of at most `cap`; copied from `source` if there
    /// is one (then measured, too, if `measure`).
    Populate {
        at: u64,
        end: u64,
        cap: u8,
        source: Option<Hpa>,
        measure: bool,
    },
    /// Unmap private pages `first..end`; `at` is how far this phase has come.
    Zap {
        first: u64,
        end: u64,
        at: u64,
        removing: bool,
    },
    /// Split the 2 MiB page at this frame number.
    Demote { gfn: u64 },
    /// Make one 2 MiB page of the region at this frame number.
    Promote { gfn: u64, refused: bool },
    /// Flush the shared TLB; pages `first..end` become private then.
    Flush { first: u64, end: u64 },
    /// Give everything back.
    Teardown(Teardown),
}

/// How far a teardown has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Teardown {
    /// VP.FLUSH of vCPUs from this control page on.
    Vcpus(Control),
    /// VPFLUSHDONE, CACHE.WB, KEY.FREEID.
    Key,
    /// Private pages, from this block and page on.
    Pages(Block, u16),
    /// Control pages but the TDR, from this one on.
    Controls(Control),
    /// The TDR.
    Root,
    /// Nothing left at the module.
    Rest,
}

/// A block that another VM's key may still be cached for, on its way to this VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cleaning {
    pub(crate) block: Block,
    pub(crate) stale: u8,
    pub(crate) at: u16,
}

/// One VM. Opaque; an array of [`Vm::NEW`] is handed to the MMU.
#[derive(Debug)]
pub struct Vm {
    pub(crate) live: bool,
    pub(crate) dying: bool,
    pub(crate) config: Config,
    pub(crate) bits: StolenBits,
    pub(crate) roots: [Root; ROOTS],
    pub(crate) slots: [Option<Slot>; SLOTS],
    pub(crate) stats: Stats,
    /// Root of the TD at the module.
    pub(crate) tdr: Control,
    /// How many of VPFLUSHDONE, CACHE.WB and KEY.FREEID a teardown has done.
    pub(crate) key_steps: u8,
    /// How often a TLB epoch was begun.
    pub(crate) epoch: u64,
    /// Something was blocked in this epoch.
    pub(crate) untracked: bool,
    /// Something was taken out of a shared tree since the last flush.
    pub(crate) unflushed: bool,
    /// Frames may be owned, but not mapped.
    pub(crate) evicted: bool,
    pub(crate) limbo_tables: Table,
    pub(crate) limbo_frames: u32,
    /// Mirror tables set aside for DEMOTE.
    pub(crate) spare: heapless::Vec<Table, 2>,
    pub(crate) cleaning: Option<Cleaning>,
    /// How far the look for regions to promote has come.
    pub(crate) tidied: u64,
    pub(crate) work: Work,
    /// What `work` becomes when the whole program was successful.
    pub(crate) next: Work,
    pub(crate) program: Program,
    pub(crate) running: bool,
    pub(crate) retries: u8,
    pub(crate) kick_first: bool,
}

impl Vm {
    /// No VM.
    pub const NEW: Self = Self {
        live: false,
        dying: false,
        config: Config::plain(48),
        bits: match StolenBits::new(48, 0) {
            Ok(bits) => bits,
            Err(_) => panic!("48 bits are a legal width"),
        },
        roots: [Root::NONE; ROOTS],
        slots: [None; SLOTS],
        stats: Stats {
            private_4k: 0,
            private_2m: 0,
            sept_pages: 0,
            shared: 0,
            faults: 0,
            to_shared: 0,
            to_private: 0,
            demotions: 0,
            promotions: 0,
            tracks: 0,
            seamcalls: 0,
            retries: 0,
            refusals: 0,
            evictions: 0,
        },
        tdr: NO_CONTROL,
        key_steps: 0,
        epoch: 0,
        untracked: false,
        unflushed: false,
        evicted: false,
        limbo_tables: NO_TABLE,
        limbo_frames: NO_FRAME,
        spare: heapless::Vec::new(),
        cleaning: None,
        tidied: 0,
        work: Work::Idle,
        next: Work::Idle,
        program: Program::new(),
        running: false,
        retries: 0,
        kick_first: false,
    };

    /// Whether the VM has private memory.
    pub(crate) fn is_td(&self) -> bool {
        self.config.shared_bit.is_some()
    }
    pub(crate) fn shared_bits(&self) -> Stolen {
        self.bit(self.config.shared_bit)
    }
    fn execute_only_bits(&self) -> Stolen {
        self.bit(self.config.execute_only.map(|(bit, _)| bit))
    }
    fn bit(&self, bit: Option<u8>) -> Stolen {
        bit.and_then(|bit| self.bits.value(1 << bit))
            .unwrap_or(Stolen::NONE)
    }

    /// What a set of stolen bits means in this VM.
    ///
    /// # Errors
    /// `NoSuchAlias` for a combination without meaning: execute-only private memory.
    #[inline]
    pub(crate) fn alias(&self, stolen: Stolen) -> Result<Alias, Error> {
        let execute_only =
            self.config.execute_only.is_some() && stolen.contains(self.execute_only_bits());
        let private = self.is_td() && !stolen.contains(self.shared_bits());
        let root = match (private, execute_only, self.config.execute_only) {
            (true, true, _) => return Err(Error::NoSuchAlias),
            (true, false, _) => PRIVATE,
            (false, true, Some((_, Place::Root))) => EXECUTE_ONLY,
            (false, ..) => SHARED,
        };
        Ok(Alias {
            root,
            access: if execute_only {
                Access::EXECUTE
            } else {
                Access::ALL
            },
            stolen,
        })
    }

    /// Every alias under which a frame number is reached in shared or plain memory.
    pub(crate) fn shared_aliases(&self) -> impl Iterator<Item = Alias> + use<> {
        let plain = self.alias(self.shared_bits()).ok();
        let stolen = self.shared_bits().union(self.execute_only_bits());
        let other = (self.config.execute_only.is_some())
            .then(|| self.alias(stolen).ok())
            .flatten();
        plain.into_iter().chain(other)
    }

    pub(crate) fn slot(&self, gfn: Gfn) -> Result<Slot, Error> {
        self.slots
            .iter()
            .flatten()
            .find(|slot| slot.contains(gfn.get()))
            .copied()
            .ok_or(Error::NoSlot)
    }
}
