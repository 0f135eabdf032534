//! Why the MMU refused. Every refusal leaves the state as it was.

/// What was wrong with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// No VM with this number, or it is being torn down.
    NoSuchVm,
    /// The VM number is taken.
    VmExists,
    /// Address bits at or above the VM's address width.
    BeyondWidth,
    /// A stolen bit where this VM has none, or a combination that it doesn't have.
    NoSuchAlias,
    /// The stolen bits of a configuration overlap, or lie where none may.
    BadConfig,
    /// A range that isn't page aligned, is empty, or wraps.
    BadRange,
    /// No memory slot covers the address.
    NoSlot,
    /// A new slot would overlap an old one.
    SlotOverlap,
    /// No room for another slot.
    TooManySlots,
    /// A host frame that isn't the caller's to name: it belongs to the TDX module.
    ForeignFrame,
    /// No free table page, control page, frame or attribute word.
    NoMemory(Resource),
    /// The page is of the other kind: private where the access is shared, or the reverse.
    WrongKind,
    /// The page doesn't permit this access (a read of an execute-only alias).
    NotPermitted,
    /// Something is mapped there already.
    Occupied,
    /// A program of this VM is still running: finish it first.
    Busy,
    /// No program is running, or the outcome doesn't fit the running one.
    NoProgram,
    /// This VM or slot has no such thing (a plain VM has no private memory, …).
    Unsupported,
}

/// What ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// Table pages of this MMU.
    Tables,
    /// Pages for the TDX module (TDR, TDCX, TDVPR, Secure EPT).
    Control,
    /// 2 MiB blocks of private memory.
    Private,
    /// Shared frames.
    Shared,
    /// Words for page attributes or dirty bits.
    Attributes,
    /// Index slots of a keyed VM.
    Keys,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match self {
            Self::NoSuchVm => "no such VM",
            Self::VmExists => "the VM number is taken",
            Self::BeyondWidth => "guest physical address beyond the VM's width",
            Self::NoSuchAlias => "the VM doesn't steal these address bits",
            Self::BadConfig => "stolen bits overlap or are out of place",
            Self::BadRange => "range is empty, unaligned or wraps",
            Self::NoSlot => "no memory slot covers this address",
            Self::SlotOverlap => "memory slots overlap",
            Self::TooManySlots => "too many memory slots",
            Self::ForeignFrame => "host frame is the TDX module's own",
            Self::NoMemory(Resource::Tables) => "out of table pages",
            Self::NoMemory(Resource::Control) => "out of TDX control pages",
            Self::NoMemory(Resource::Private) => "out of private blocks",
            Self::NoMemory(Resource::Shared) => "out of shared frames",
            Self::NoMemory(Resource::Attributes) => "out of attribute words",
            Self::NoMemory(Resource::Keys) => "out of index slots",
            Self::WrongKind => "page is private where shared is wanted, or the reverse",
            Self::NotPermitted => "the page does not permit this access",
            Self::Occupied => "something is mapped there already",
            Self::Busy => "a program of this VM is still running",
            Self::NoProgram => "no such program is running",
            Self::Unsupported => "this VM or slot cannot do that",
        };
        f.write_str(text)
    }
}
