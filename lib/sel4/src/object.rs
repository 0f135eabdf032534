//! Methods of kernel objects.

use crate::{Badge, CapPtr, Guard, IpcBuffer, MessageInfo, Rights, syscall};

// Invocation labels. The kernel's name stands behind each: images/kernel/build
// compares them with the enumerations that the kernel's build generates.
const UNTYPED_RETYPE: u64 = 1; // UntypedRetype
const TCB_WRITE_REGISTERS: u64 = 3; // TCBWriteRegisters
const TCB_CONFIGURE: u64 = 5; // TCBConfigure
const TCB_SET_PRIORITY: u64 = 6; // TCBSetPriority
const TCB_SUSPEND: u64 = 10; // TCBSuspend
const TCB_RESUME: u64 = 11; // TCBResume
const TCB_BIND_NOTIFICATION: u64 = 12; // TCBBindNotification
const CNODE_DELETE: u64 = 15; // CNodeDelete
const CNODE_COPY: u64 = 17; // CNodeCopy
const CNODE_MINT: u64 = 18; // CNodeMint
const IRQ_ACK: u64 = 24; // IRQAckIRQ
const IRQ_SET_NOTIFICATION: u64 = 25; // IRQSetIRQHandler
const PDPT_MAP: u64 = 28; // X86PDPTMap
const PAGE_DIRECTORY_MAP: u64 = 30; // X86PageDirectoryMap
const PAGE_TABLE_MAP: u64 = 33; // X86PageTableMap
const PAGE_MAP: u64 = 37; // X86PageMap
const PAGE_UNMAP: u64 = 39; // X86PageUnmap
const ASID_POOL_ASSIGN: u64 = 43; // X86ASIDPoolAssign
const IO_PORT_IN8: u64 = 44; // X86IOPortIn8
const IO_PORT_IN16: u64 = 45; // X86IOPortIn16
const IO_PORT_IN32: u64 = 46; // X86IOPortIn32
const IO_PORT_OUT8: u64 = 47; // X86IOPortOut8
const IO_PORT_OUT16: u64 = 48; // X86IOPortOut16
const IO_PORT_OUT32: u64 = 49; // X86IOPortOut32
const IRQ_GET_IOAPIC: u64 = 50; // X86IRQIssueIRQHandlerIOAPIC

/// Why the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// An argument has no meaning.
    InvalidArgument = 1,
    /// A capability argument is of the wrong kind or state.
    InvalidCapability,
    /// The object has no such method, or not now.
    IllegalOperation,
    /// An argument is out of range.
    RangeError,
    /// An address isn't aligned.
    AlignmentError,
    /// A slot, or a paging structure on the way, is missing.
    FailedLookup,
    /// Arguments are missing.
    TruncatedMessage,
    /// The destination slot is full.
    DeleteFirst,
    /// The object is in use.
    RevokeFirst,
    /// The untyped is too small.
    NotEnoughMemory,
    /// A number this kernel version doesn't define.
    Unknown,
}

impl Error {
    fn from_label(label: u64) -> Self {
        match label {
            1 => Self::InvalidArgument,
            2 => Self::InvalidCapability,
            3 => Self::IllegalOperation,
            4 => Self::RangeError,
            5 => Self::AlignmentError,
            6 => Self::FailedLookup,
            7 => Self::TruncatedMessage,
            8 => Self::DeleteFirst,
            9 => Self::RevokeFirst,
            10 => Self::NotEnoughMemory,
            _ => Self::Unknown,
        }
    }
}

/// Invokes `cap` and gives the first message register of the answer.
fn invoke(
    buffer: &mut IpcBuffer,
    cap: CapPtr,
    label: u64,
    args: &[u64],
    caps: &[CapPtr],
) -> Result<u64, Error> {
    buffer.registers[..args.len()].copy_from_slice(args);
    buffer.caps[..caps.len()].copy_from_slice(caps);
    let info = MessageInfo::new(label, caps.len() as u64, args.len() as u64);
    match syscall::call(cap, info, buffer).label() {
        0 => Ok(buffer.registers[0]),
        label => Err(Error::from_label(label)),
    }
}

/// What an untyped can become. The kernel's name stands behind each number, as with the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum ObjectType {
    /// A smaller untyped.
    Untyped = 0, // seL4_UntypedObject
    /// A thread.
    Tcb = 1, // seL4_TCBObject
    /// An endpoint.
    Endpoint = 2, // seL4_EndpointObject
    /// A notification.
    Notification = 3, // seL4_NotificationObject
    /// A table of capabilities.
    CNode = 4, // seL4_CapTableObject
    /// A page directory pointer table (maps 512 GiB).
    Pdpt = 5, // seL4_X86_PDPTObject
    /// The root of an address space.
    Pml4 = 6, // seL4_X64_PML4Object
    /// A 4 KiB page.
    Page = 8, // seL4_X86_4K
    /// A 2 MiB page.
    LargePage = 9, // seL4_X86_LargePageObject
    /// A page table (maps 2 MiB).
    PageTable = 10, // seL4_X86_PageTableObject
    /// A page directory (maps 1 GiB).
    PageDirectory = 11, // seL4_X86_PageDirectoryObject
}

/// Memory that objects are made of.
#[derive(Clone, Copy, Debug)]
pub struct Untyped(pub CapPtr);

impl Untyped {
    /// Makes `count` objects (at most 256), their capabilities into slots
    /// `first_slot..` of the CNode `root`. `size_bits` counts for untypeds
    /// (bytes) and CNodes (slots) only.
    pub fn retype(
        self,
        buffer: &mut IpcBuffer,
        kind: ObjectType,
        size_bits: u32,
        root: CapPtr,
        first_slot: u64,
        count: u64,
    ) -> Result<(), Error> {
        let args = [kind as u64, u64::from(size_bits), 0, 0, first_slot, count];
        invoke(buffer, self.0, UNTYPED_RETYPE, &args, &[root]).map(drop)
    }
}

/// A table of capabilities, and the number of address bits to its slots.
#[derive(Clone, Copy, Debug)]
pub struct CNode {
    /// Capability to the CNode.
    pub cap: CapPtr,
    /// Bits of a slot's address.
    pub depth: u32,
}

impl CNode {
    /// Copies slot `from` of `source` to slot `to`, with at most `rights`.
    pub fn copy(
        self,
        buffer: &mut IpcBuffer,
        to: u64,
        source: CNode,
        from: u64,
        rights: Rights,
    ) -> Result<(), Error> {
        let args = [
            to,
            u64::from(self.depth),
            from,
            u64::from(source.depth),
            rights.0,
        ];
        invoke(buffer, self.cap, CNODE_COPY, &args, &[source.cap]).map(drop)
    }

    /// Copies slot `from` of `source` to slot `to` with `data` ([`Badge`],
    /// [`Guard`], or the I/O ports' range).
    pub fn mint(
        self,
        buffer: &mut IpcBuffer,
        to: u64,
        source: CNode,
        from: u64,
        rights: Rights,
        data: u64,
    ) -> Result<(), Error> {
        let args = [
            to,
            u64::from(self.depth),
            from,
            u64::from(source.depth),
            rights.0,
            data,
        ];
        invoke(buffer, self.cap, CNODE_MINT, &args, &[source.cap]).map(drop)
    }

    /// Copies slot `from` of `source` to slot `to` under `badge`.
    pub fn mint_badged(
        self,
        buffer: &mut IpcBuffer,
        to: u64,
        source: CNode,
        from: u64,
        rights: Rights,
        badge: Badge,
    ) -> Result<(), Error> {
        self.mint(buffer, to, source, from, rights, badge.data())
    }

    /// Empties slot `slot`.
    pub fn delete(self, buffer: &mut IpcBuffer, slot: u64) -> Result<(), Error> {
        invoke(
            buffer,
            self.cap,
            CNODE_DELETE,
            &[slot, u64::from(self.depth)],
            &[],
        )
        .map(drop)
    }
}

/// Caching of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Attributes {
    /// Ordinary memory.
    WriteBack = 0,
    /// Device memory.
    Uncacheable = 3,
}

/// A 4 KiB or 2 MiB page.
#[derive(Clone, Copy, Debug)]
pub struct Page(pub CapPtr);

impl Page {
    /// Maps the page at `vaddr`.
    pub fn map(
        self,
        buffer: &mut IpcBuffer,
        vspace: CapPtr,
        vaddr: u64,
        rights: Rights,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let args = [vaddr, rights.0, attributes as u64];
        invoke(buffer, self.0, PAGE_MAP, &args, &[vspace]).map(drop)
    }

    /// Takes the page out of the address space it is mapped in.
    pub fn unmap(self, buffer: &mut IpcBuffer) -> Result<(), Error> {
        invoke(buffer, self.0, PAGE_UNMAP, &[], &[]).map(drop)
    }
}

/// A table on the way to a page.
#[derive(Clone, Copy, Debug)]
pub struct PagingStructure {
    /// Its capability.
    pub cap: CapPtr,
    /// Which: `Pdpt`, `PageDirectory` or `PageTable`.
    pub kind: ObjectType,
}

impl PagingStructure {
    /// Maps the table where it covers `vaddr`.
    pub fn map(self, buffer: &mut IpcBuffer, vspace: CapPtr, vaddr: u64) -> Result<(), Error> {
        let label = match self.kind {
            ObjectType::Pdpt => PDPT_MAP,
            ObjectType::PageDirectory => PAGE_DIRECTORY_MAP,
            ObjectType::PageTable => PAGE_TABLE_MAP,
            _ => return Err(Error::InvalidArgument),
        };
        invoke(buffer, self.cap, label, &[vaddr, 0], &[vspace]).map(drop)
    }

    /// Gives the address space `vspace` an identifier out of the pool `pool`.
    pub fn assign_asid(buffer: &mut IpcBuffer, pool: CapPtr, vspace: CapPtr) -> Result<(), Error> {
        invoke(buffer, pool, ASID_POOL_ASSIGN, &[], &[vspace]).map(drop)
    }
}

/// Registers a thread starts with; the rest are zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserContext {
    /// Instruction address.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
}

/// A thread.
#[derive(Clone, Copy, Debug)]
pub struct Tcb(pub CapPtr);

impl Tcb {
    /// Sets the thread's spaces, its priority (its maximum controlled priority
    /// becomes 0), its fault endpoint (a slot of its own CSpace) and its IPC
    /// buffer.
    #[allow(clippy::too_many_arguments)]
    pub fn configure(
        self,
        buffer: &mut IpcBuffer,
        fault_endpoint: CapPtr,
        priority: u8,
        cnode: CapPtr,
        guard: Guard,
        vspace: CapPtr,
        ipc_buffer_address: u64,
        ipc_buffer: CapPtr,
    ) -> Result<(), Error> {
        let args = [
            fault_endpoint,
            u64::from(priority),
            guard.data(),
            0,
            ipc_buffer_address,
        ];
        invoke(
            buffer,
            self.0,
            TCB_CONFIGURE,
            &args,
            &[cnode, vspace, ipc_buffer],
        )
        .map(drop)
    }

    /// Sets the thread's priority.
    pub fn set_priority(self, buffer: &mut IpcBuffer, priority: u8) -> Result<(), Error> {
        invoke(
            buffer,
            self.0,
            TCB_SET_PRIORITY,
            &[u64::from(priority)],
            &[],
        )
        .map(drop)
    }

    /// Binds a notification: what waits on an endpoint gets its signals too.
    pub fn bind_notification(self, buffer: &mut IpcBuffer, cap: CapPtr) -> Result<(), Error> {
        invoke(buffer, self.0, TCB_BIND_NOTIFICATION, &[], &[cap]).map(drop)
    }

    /// Sets the registers and starts the thread.
    pub fn start(self, buffer: &mut IpcBuffer, context: UserContext) -> Result<(), Error> {
        let args = [1, 2, context.rip, context.rsp];
        invoke(buffer, self.0, TCB_WRITE_REGISTERS, &args, &[]).map(drop)
    }

    /// Lets the thread run on, from the instruction that faulted if it waits
    /// for the answer to a fault.
    pub fn resume(self, buffer: &mut IpcBuffer) -> Result<(), Error> {
        invoke(buffer, self.0, TCB_RESUME, &[], &[]).map(drop)
    }

    /// Stops the thread.
    pub fn suspend(self, buffer: &mut IpcBuffer) -> Result<(), Error> {
        invoke(buffer, self.0, TCB_SUSPEND, &[], &[]).map(drop)
    }
}

/// Control of interrupts.
#[derive(Clone, Copy, Debug)]
pub struct IrqControl(pub CapPtr);

impl IrqControl {
    /// Makes a handler for an IOAPIC pin in slot `slot` of `root`. `level`:
    /// level triggered, else edge; `low`: active low, else high; `vector`
    /// counts from the first that users may have.
    #[allow(clippy::too_many_arguments)]
    pub fn get_ioapic(
        self,
        buffer: &mut IpcBuffer,
        root: CNode,
        slot: u64,
        ioapic: u64,
        pin: u64,
        level: bool,
        low: bool,
        vector: u64,
    ) -> Result<(), Error> {
        let args = [
            slot,
            u64::from(root.depth),
            ioapic,
            pin,
            u64::from(level),
            u64::from(low),
            vector,
        ];
        invoke(buffer, self.0, IRQ_GET_IOAPIC, &args, &[root.cap]).map(drop)
    }
}

/// One interrupt.
#[derive(Clone, Copy, Debug)]
pub struct IrqHandler(pub CapPtr);

impl IrqHandler {
    /// Lets the interrupt come again.
    pub fn ack(self, buffer: &mut IpcBuffer) -> Result<(), Error> {
        invoke(buffer, self.0, IRQ_ACK, &[], &[]).map(drop)
    }

    /// Has the interrupt signal `notification`.
    pub fn set_notification(self, buffer: &mut IpcBuffer, cap: CapPtr) -> Result<(), Error> {
        invoke(buffer, self.0, IRQ_SET_NOTIFICATION, &[], &[cap]).map(drop)
    }
}

/// A range of I/O ports.
#[derive(Clone, Copy, Debug)]
pub struct IoPort(pub CapPtr);

impl IoPort {
    /// Capability data for the ports `first..=last`.
    pub const fn range(first: u16, last: u16) -> u64 {
        (first as u64) << 16 | last as u64
    }

    /// Reads 1, 2 or 4 bytes at `port`.
    pub fn read(self, buffer: &mut IpcBuffer, port: u16, bytes: u32) -> Result<u32, Error> {
        let label = match bytes {
            1 => IO_PORT_IN8,
            2 => IO_PORT_IN16,
            4 => IO_PORT_IN32,
            _ => return Err(Error::InvalidArgument),
        };
        invoke(buffer, self.0, label, &[u64::from(port)], &[]).map(|value| value as u32)
    }

    /// Writes 1, 2 or 4 bytes at `port`.
    pub fn write(
        self,
        buffer: &mut IpcBuffer,
        port: u16,
        bytes: u32,
        value: u32,
    ) -> Result<(), Error> {
        let label = match bytes {
            1 => IO_PORT_OUT8,
            2 => IO_PORT_OUT16,
            4 => IO_PORT_OUT32,
            _ => return Err(Error::InvalidArgument),
        };
        invoke(
            buffer,
            self.0,
            label,
            &[u64::from(port), u64::from(value)],
            &[],
        )
        .map(drop)
    }
}
