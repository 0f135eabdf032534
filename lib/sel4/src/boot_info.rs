//! What the kernel tells the initial task.

/// Slots of the initial task's CSpace that the kernel fills.
pub mod initial_slot {
    use crate::CapPtr;
    /// The initial task's TCB.
    pub const TCB: CapPtr = 1;
    /// The root of its CSpace.
    pub const CNODE: CapPtr = 2;
    /// The root of its address space.
    pub const VSPACE: CapPtr = 3;
    /// Control of interrupts.
    pub const IRQ_CONTROL: CapPtr = 4;
    /// Its ASID pool.
    pub const ASID_POOL: CapPtr = 6;
    /// All I/O ports.
    pub const IO_PORT: CapPtr = 7;
}

/// Slots `start..end`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlotRegion {
    /// First slot.
    pub start: u64,
    /// Slot past the last.
    pub end: u64,
}

/// One untyped capability.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UntypedDesc {
    /// Physical address of its first byte.
    pub paddr: u64,
    padding: [u8; 2],
    /// Its size is `1 << size_bits` bytes.
    pub size_bits: u8,
    /// Not 0: device memory, or memory the kernel doesn't use as RAM.
    pub is_device: u8,
    // The kernel's struct is packed: 12 bytes, no padding.
}

const UNTYPED_DESC_BYTES: usize = 12;

/// Untyped capabilities the kernel lists at most.
pub const MAX_UNTYPED: usize = 230;

/// The boot information frame. The kernel's struct is packed; fields up to
/// `untyped` are read out of it by offset.
#[derive(Clone, Copy)]
pub struct BootInfo {
    base: *const u8,
}

impl BootInfo {
    /// # Safety
    /// `base` is the address that the kernel handed to the initial task in rdi.
    pub unsafe fn new(base: *const u8) -> Self {
        Self { base }
    }

    fn word(&self, offset: usize) -> u64 {
        // SAFETY: by `new`, a mapped boot information page that nobody writes;
        // all offsets here lie in it.
        unsafe { self.base.add(offset).cast::<u64>().read_unaligned() }
    }

    fn slots(&self, offset: usize) -> SlotRegion {
        SlotRegion {
            start: self.word(offset),
            end: self.word(offset + 8),
        }
    }

    /// Address of the initial task's IPC buffer.
    pub fn ipc_buffer(&self) -> *mut crate::IpcBuffer {
        self.word(32) as *mut crate::IpcBuffer
    }

    /// Slots that are free.
    pub fn empty(&self) -> SlotRegion {
        self.slots(40)
    }

    /// Frames of the initial task's image, in the order of their addresses.
    pub fn user_image_frames(&self) -> SlotRegion {
        self.slots(72)
    }

    /// Slots of the untyped capabilities, in the order of [`Self::untyped`].
    pub fn untyped_slots(&self) -> SlotRegion {
        self.slots(153)
    }

    /// The untyped capability in slot `untyped_slots().start + index`.
    pub fn untyped(&self, index: usize) -> Option<UntypedDesc> {
        let slots = self.untyped_slots();
        if index >= MAX_UNTYPED || index as u64 >= slots.end - slots.start {
            return None;
        }
        let offset = 169 + index * UNTYPED_DESC_BYTES;
        // SAFETY: as in `word`; `index` is in range.
        let bytes = unsafe { self.base.add(offset + 8).cast::<[u8; 4]>().read() };
        Some(UntypedDesc {
            paddr: self.word(offset),
            padding: [0; 2],
            size_bits: bytes[2],
            is_device: bytes[3],
        })
    }
}
