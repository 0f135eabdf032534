//! OP_STATE of a TD, and which host leaves each state allows.

/// The operation state of a TD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OpState {
    /// `UNINITIALIZED`
    Uninitialized = 0,
    /// `INITIALIZED`
    Initialized = 1,
    /// `RUNNABLE`
    Runnable = 2,
    /// `LIVE_EXPORT`
    LiveExport = 3,
    /// `PAUSED_EXPORT`
    PausedExport = 4,
    /// `POST_EXPORT`
    PostExport = 5,
    /// `MEMORY_IMPORT`
    MemoryImport = 6,
    /// `STATE_IMPORT`
    StateImport = 7,
    /// `POST_IMPORT`
    PostImport = 8,
    /// `LIVE_IMPORT`
    LiveImport = 9,
    /// `FAILED_IMPORT`
    FailedImport = 10,
}

impl OpState {
    /// Every state.
    pub const ALL: &[Self] = &[
        Self::Uninitialized,
        Self::Initialized,
        Self::Runnable,
        Self::LiveExport,
        Self::PausedExport,
        Self::PostExport,
        Self::MemoryImport,
        Self::StateImport,
        Self::PostImport,
        Self::LiveImport,
        Self::FailedImport,
    ];
    /// The state with this encoding.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if (raw as usize) < Self::ALL.len() {
            Some(Self::ALL[raw as usize])
        } else {
            None
        }
    }
    /// Whether TDH.MNG.INIT was done.
    pub const fn is_initialized(self) -> bool {
        matches!(
            self,
            Self::Initialized
                | Self::Runnable
                | Self::LiveExport
                | Self::PausedExport
                | Self::PostExport
                | Self::MemoryImport
                | Self::StateImport
                | Self::PostImport
                | Self::LiveImport
                | Self::FailedImport
        )
    }
    /// Whether the measurement is final.
    pub const fn is_finalized(self) -> bool {
        matches!(
            self,
            Self::Runnable
                | Self::LiveExport
                | Self::PausedExport
                | Self::PostExport
                | Self::MemoryImport
                | Self::StateImport
                | Self::PostImport
                | Self::LiveImport
        )
    }
    /// Whether removing a mapping needs TLB tracking.
    pub const fn tlb_tracking_required(self) -> bool {
        matches!(self, Self::Runnable | Self::LiveExport | Self::LiveImport)
    }
    /// In-order export.
    pub const fn is_export_in_order(self) -> bool {
        matches!(self, Self::LiveExport | Self::PausedExport)
    }
    /// In-order import.
    pub const fn is_import_in_order(self) -> bool {
        matches!(self, Self::MemoryImport | Self::StateImport)
    }
    /// Any import in progress.
    pub const fn is_import_in_progress(self) -> bool {
        matches!(
            self,
            Self::MemoryImport | Self::StateImport | Self::PostImport | Self::LiveImport
        )
    }
}

/// Whether `leaf` is allowed while its TD is in `state`. Leaves that do not look at OP_STATE are
/// allowed in none here.
pub const fn allows(leaf: crate::HostLeaf, state: OpState) -> bool {
    use crate::HostLeaf as L;
    let allowed: u16 = match leaf {
        L::VpEnter => 0b01000001100,
        L::MngAddcx => 0b00000000001,
        L::MemPageAdd => 0b00000000010,
        L::MemSeptAdd => 0b01111001110,
        L::VpAddcx => 0b00010000010,
        L::MemPageRelocate => 0b01100111110,
        L::MemPageAug => 0b01000001110,
        L::MemRangeBlock => 0b01100111110,
        L::VpCreate => 0b00010000010,
        L::MngRd => 0b11111111110,
        L::MemRd => 0b11111111110,
        L::MngWr => 0b11111001110,
        L::MemWr => 0b11111001110,
        L::MemPageDemote => 0b01100111110,
        L::MrExtend => 0b00000000010,
        L::MrFinalize => 0b00000000010,
        L::VpFlush => 0b11111111111,
        L::MngInit => 0b00000000001,
        L::VpInit => 0b00000000010,
        L::MemPagePromote => 0b01100111110,
        L::MemSeptRd => 0b11111111110,
        L::VpRd => 0b11111111110,
        L::MemPageRemove => 0b11100111110,
        L::MemSeptRemove => 0b11111111110,
        L::MemTrack => 0b01111111110,
        L::MemRangeUnblock => 0b01100111110,
        L::VpWr => 0b11111001110,
        L::ServtdBind => 0b01100001111,
        L::ServtdPrebind => 0b00000000011,
        L::ExportAbort => 0b00000111000,
        L::ExportBlockw => 0b00000001000,
        L::ExportRestore => 0b00000000100,
        L::ExportMem => 0b00000111000,
        L::ExportPause => 0b00000001000,
        L::ExportTrack => 0b00000011000,
        L::ExportStateImmutable => 0b01000000100,
        L::ExportStateTd => 0b00000010000,
        L::ExportStateVp => 0b00000010000,
        L::ExportUnblockw => 0b00000111100,
        L::ImportAbort => 0b10111000000,
        L::ImportEnd => 0b01100000000,
        L::ImportCommit => 0b00100000000,
        L::ImportMem => 0b01111000000,
        L::ImportTrack => 0b00011000000,
        L::ImportStateImmutable => 0b00000000001,
        L::ImportStateTd => 0b00001000000,
        L::ImportStateVp => 0b00010000000,
        L::MigStreamCreate => 0b00000000111,
        _ => 0,
    };
    allowed >> state as u32 & 1 != 0
}
