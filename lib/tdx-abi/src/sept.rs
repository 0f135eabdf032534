//! Secure EPT: entry bits, states and their encodings, level operands.

/// Bit positions in a 64-bit Secure EPT entry that the module gives a meaning of its own.
pub mod bit {
    /// Read.
    pub const R: u64 = 1 << 0;
    /// Write.
    pub const W: u64 = 1 << 1;
    /// Execute.
    pub const X: u64 = 1 << 2;
    /// Ignore PAT; set in every leaf entry that is in use.
    pub const IPAT: u64 = 1 << 6;
    /// Page size / leaf.
    pub const PS: u64 = 1 << 7;
    /// Guest-side lock of the entry.
    pub const TDGL: u64 = 1 << 8;
    /// Dirty since it was exported.
    pub const D: u64 = 1 << 9;
    /// Entry lock.
    pub const TDEL: u64 = 1 << 11;
    /// Host priority of the entry lock.
    pub const TDHP: u64 = 1 << 52;
    /// Exported.
    pub const TDEX: u64 = 1 << 53;
    /// Blocked for writing.
    pub const TDBW: u64 = 1 << 54;
    /// Blocked.
    pub const TDB: u64 = 1 << 55;
    /// Pending.
    pub const TDP: u64 = 1 << 56;
    /// Suppress #VE.
    pub const SVE: u64 = 1 << 63;
}

/// The host physical address in an entry, bits 51:12.
pub const HPA_MASK: u64 = 0x000f_ffff_ffff_f000;
/// Memory type write-back in bits 5:3.
pub const MT_WB: u64 = 6 << 3;
/// The bits that encode the state of an L1 entry.
pub const STATE_MASK: u64 =
    bit::IPAT | bit::PS | bit::D | bit::TDEX | bit::TDBW | bit::TDB | bit::TDP;
/// A free entry.
pub const FREE_ENTRY: u64 = bit::SVE | State::Free.bits();
/// Entries of one Secure EPT page.
pub const ENTRIES: usize = 512;

macro_rules! states {
    ($($variant:ident = $bits:literal, $public:literal, $name:literal;)*) => {
        /// The state of an L1 Secure EPT entry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum State {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant,
            )*
        }

        impl State {
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// The entry bits within [`STATE_MASK`] that encode the state.
            pub const fn bits(self) -> u64 {
                match self {
                    $(Self::$variant => $bits,)*
                }
            }
            /// The state as the ABI shows it: bits 15:8 of RDX.
            pub const fn public(self) -> u8 {
                match self {
                    $(Self::$variant => $public,)*
                }
            }
            /// The state of an entry, `None` for an encoding the module does not use.
            pub const fn of(entry: u64) -> Option<Self> {
                match entry & STATE_MASK {
                    $($bits => Some(Self::$variant),)*
                    _ => None,
                }
            }
            /// The name the module specification uses.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

states! {
    Free = 0x00e0000000000000, 0x00, "FREE";
    Removed = 0x00c0000000000000, 0x05, "REMOVED";
    NlMapped = 0x0000000000000000, 0x84, "NL_MAPPED";
    NlBlocked = 0x0080000000000000, 0x81, "NL_BLOCKED";
    Mapped = 0x00000000000000c0, 0x04, "MAPPED";
    Blocked = 0x00800000000000c0, 0x01, "BLOCKED";
    Blockedw = 0x00400000000000c0, 0x08, "BLOCKEDW";
    ExportedBlockedw = 0x00600000000000c0, 0x09, "EXPORTED_BLOCKEDW";
    ExportedDirty = 0x00200000000002c0, 0x0b, "EXPORTED_DIRTY";
    ExportedDirtyBlockedw = 0x00600000000002c0, 0x0c, "EXPORTED_DIRTY_BLOCKEDW";
    Pending = 0x01000000000000c0, 0x02, "PENDING";
    PendingBlocked = 0x01800000000000c0, 0x03, "PENDING_BLOCKED";
    PendingBlockedw = 0x01400000000000c0, 0x10, "PENDING_BLOCKEDW";
    PendingExportedBlockedw = 0x01600000000000c0, 0x11, "PENDING_EXPORTED_BLOCKEDW";
    PendingExportedDirty = 0x01200000000002c0, 0x13, "PENDING_EXPORTED_DIRTY";
    PendingExportedDirtyBlockedw = 0x01600000000002c0, 0x14, "PENDING_EXPORTED_DIRTY_BLOCKEDW";
}

impl State {
    /// Whether the entry maps (or will map) a page.
    pub const fn is_leaf(self) -> bool {
        matches!(
            self,
            Self::Mapped
                | Self::Blocked
                | Self::Blockedw
                | Self::ExportedBlockedw
                | Self::ExportedDirty
                | Self::ExportedDirtyBlockedw
                | Self::Pending
                | Self::PendingBlocked
                | Self::PendingBlockedw
                | Self::PendingExportedBlockedw
                | Self::PendingExportedDirty
                | Self::PendingExportedDirtyBlockedw
        )
    }
    /// Whether the entry holds nothing.
    pub const fn is_free_or_removed(self) -> bool {
        matches!(self, Self::Free | Self::Removed)
    }
    /// Any pending state.
    pub const fn is_pending(self) -> bool {
        matches!(
            self,
            Self::Pending
                | Self::PendingBlocked
                | Self::PendingBlockedw
                | Self::PendingExportedBlockedw
                | Self::PendingExportedDirty
                | Self::PendingExportedDirtyBlockedw
        )
    }
    /// A pending state the guest may accept.
    pub const fn is_pending_acceptable(self) -> bool {
        matches!(self, Self::Pending | Self::PendingExportedDirty)
    }
    /// Any blocked state (not write-blocked).
    pub const fn is_blocked(self) -> bool {
        matches!(self, Self::NlBlocked | Self::Blocked | Self::PendingBlocked)
    }
    /// A leaf the guest can read.
    pub const fn is_guest_accessible(self) -> bool {
        matches!(
            self,
            Self::Mapped
                | Self::Blockedw
                | Self::ExportedBlockedw
                | Self::ExportedDirty
                | Self::ExportedDirtyBlockedw
        )
    }
    /// A leaf the guest can read and write.
    pub const fn is_guest_fully_accessible(self) -> bool {
        matches!(self, Self::Mapped | Self::ExportedDirty)
    }
    /// Whether leaving the state needs TLB tracking.
    pub const fn needs_tlb_tracking(self) -> bool {
        matches!(
            self,
            Self::NlMapped
                | Self::NlBlocked
                | Self::Mapped
                | Self::Blocked
                | Self::Blockedw
                | Self::ExportedDirty
                | Self::ExportedDirtyBlockedw
                | Self::Pending
                | Self::PendingBlocked
                | Self::PendingBlockedw
                | Self::PendingExportedDirty
                | Self::PendingExportedDirtyBlockedw
        )
    }
}

/// Whether `leaf` is allowed on an entry in `state`; leaves without an S-EPT operand allow none.
pub const fn host_leaf_allows(leaf: crate::HostLeaf, state: State) -> bool {
    use crate::HostLeaf as L;
    let allowed: u16 = match leaf {
        L::MemPageAdd => 0b0000000000000001,
        L::MemSeptAdd => 0b0000000000000101,
        L::MemPageRelocate => 0b1111111111110000,
        L::MemPageAug => 0b0000000000000011,
        L::MemRangeBlock => 0b0001010001010100,
        L::MemRd => 0b0000001111010000,
        L::MemWr => 0b0000000100010000,
        L::MemPageDemote => 0b0000110000110000,
        L::MrExtend => 0b0000000000010000,
        L::MemPagePromote => 0b0000000000001100,
        L::MemSeptRd => 0b1111111111111111,
        L::MemPageRemove => 0b0001110001110000,
        L::MemSeptRemove => 0b0000000000001100,
        L::MemRangeUnblock => 0b0000100000101000,
        L::ExportBlockw => 0b0100010100010000,
        L::ExportRestore => 0b1110001110000000,
        L::ExportMem => 0b1111011111010000,
        L::ExportUnblockw => 0b1011001011000000,
        L::ImportMem => 0b0000010000010011,
        _ => 0,
    };
    allowed >> state as u16 & 1 != 0
}

/// Whether the guest leaf `leaf` is allowed on an entry in `state`.
pub const fn guest_leaf_allows(leaf: crate::GuestLeaf, state: State) -> bool {
    use crate::GuestLeaf as L;
    let allowed: u16 = match leaf {
        L::MemPageAccept => 0b0100010000000000,
        L::MemPageAttrRd => 0b1111011111010000,
        L::MemPageAttrWr => 0b0100010100010000,
        _ => 0,
    };
    allowed >> state as u16 & 1 != 0
}

/// The operand "GPA and level" of TDH.MEM.* (RCX): level in bits 2:0, GPA in bits 51:12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpaMapping(pub u64);

impl GpaMapping {
    /// A mapping operand. Level 0 is 4 KiB, 1 is 2 MiB, 2 is 1 GiB.
    pub const fn new(gpa: u64, level: u8) -> Self {
        Self(gpa & HPA_MASK | (level & 7) as u64)
    }
    /// The level, bits 2:0.
    pub const fn level(self) -> u8 {
        (self.0 & 7) as u8
    }
    /// The guest physical address, bits 51:12.
    pub const fn gpa(self) -> u64 {
        self.0 & HPA_MASK
    }
    /// Whether bits 11:3 and 63:52 are zero, as they must be.
    pub const fn reserved_are_zero(self) -> bool {
        self.0 & !(HPA_MASK | 7) == 0
    }
}

/// What TDH.MEM.* returns in RDX about a Secure EPT entry: level in bits 2:0, public state in
/// bits 15:8, VM index in bits 17:16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryInfo(pub u64);

impl EntryInfo {
    /// Level and state of an L1 entry.
    pub const fn new(level: u8, state: State) -> Self {
        Self((level & 7) as u64 | (state.public() as u64) << 8)
    }
    /// The level, bits 2:0.
    pub const fn level(self) -> u8 {
        (self.0 & 7) as u8
    }
    /// The public state, bits 15:8.
    pub const fn public_state(self) -> u8 {
        (self.0 >> 8) as u8
    }
}
