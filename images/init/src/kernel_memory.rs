//! Slots and untypeds: what kernel objects are made of.

use sel4::{
    BootInfo, CNode, CapPtr, IpcBuffer, MAX_UNTYPED, ObjectType, SLOT_BITS, Untyped, initial_slot,
};
use septum_init::watermark::Watermark;
use system_image::{ANYWHERE, Region, SystemImage, name_str};

/// Objects that the kernel makes in one go at most.
pub const MAX_BATCH: u64 = 256;

/// The initial task's own CSpace: 64 bits of address.
pub const OWN_CNODE: CNode = CNode {
    cap: initial_slot::CNODE,
    depth: 64,
};

#[derive(Clone, Copy)]
struct Source {
    slot: CapPtr,
    mark: Watermark,
    /// For regions with a physical address only: one lies in it, or it is
    /// device memory.
    reserved: bool,
}

/// Free slots and free memory.
pub struct KernelMemory {
    sources: [Option<Source>; MAX_UNTYPED],
    next_slot: u64,
    last_slot: u64,
}

fn object_bits(kind: ObjectType, size_bits: u32) -> u32 {
    match kind {
        ObjectType::Untyped => size_bits,
        ObjectType::Tcb => sel4::TCB_BITS,
        ObjectType::Endpoint => sel4::ENDPOINT_BITS,
        ObjectType::Notification => sel4::NOTIFICATION_BITS,
        ObjectType::CNode => size_bits + SLOT_BITS,
        ObjectType::LargePage => sel4::LARGE_PAGE_BITS,
        ObjectType::Pdpt
        | ObjectType::Pml4
        | ObjectType::Page
        | ObjectType::PageTable
        | ObjectType::PageDirectory => sel4::PAGE_BITS,
    }
}

/// The object type of pages of `1 << bits` bytes.
pub fn page_kind(bits: u32) -> ObjectType {
    if bits == sel4::LARGE_PAGE_BITS {
        ObjectType::LargePage
    } else {
        ObjectType::Page
    }
}

fn overlaps(region: &Region, mark: &Watermark) -> bool {
    region.paddr != ANYWHERE
        && region.paddr < mark.end()
        && mark.paddr < region.paddr.saturating_add(region.size)
}

impl KernelMemory {
    /// All that the kernel left. RAM from the kernel's PADDR_TOP on is device
    /// memory to it (images/kernel/config), as devices are: objects can't lie
    /// there, pages can, and hold what they held.
    pub fn new(boot_info: &BootInfo, image: &SystemImage<'_>) -> Self {
        let empty = boot_info.empty();
        let first = boot_info.untyped_slots().start;
        let sources = core::array::from_fn(|index| {
            let untyped = boot_info.untyped(index)?;
            let size_bits = u32::from(untyped.size_bits);
            let mark = Watermark {
                paddr: untyped.paddr,
                size_bits,
                used: 0,
            };
            let reserved = untyped.is_device != 0
                || image.regions.iter().any(|region| overlaps(region, &mark));
            Some(Source {
                slot: first + index as u64,
                mark,
                reserved,
            })
        });
        Self {
            sources,
            next_slot: empty.start,
            last_slot: empty.end,
        }
    }

    /// `count` empty slots in a row; the first.
    pub fn slots(&mut self, count: u64) -> u64 {
        let first = self.next_slot;
        self.next_slot += count;
        if self.next_slot > self.last_slot {
            panic!(
                "out of capability slots: raise CONFIG_ROOT_CNODE_SIZE_BITS in \
                 images/kernel/config/autoconf.h"
            );
        }
        first
    }

    /// Makes `count` objects anywhere; the first one's slot. `size_bits` as in
    /// [`Untyped::retype`].
    pub fn make(
        &mut self,
        buffer: &mut IpcBuffer,
        kind: ObjectType,
        size_bits: u32,
        count: u64,
    ) -> CapPtr {
        let bits = object_bits(kind, size_bits);
        // The smallest source that has room: the kernel clears the whole of an
        // untyped at its first use.
        let source = self
            .sources
            .iter_mut()
            .flatten()
            .filter(|source| !source.reserved)
            .filter(|source| source.mark.clone().take(bits, count.min(MAX_BATCH)))
            .min_by_key(|source| source.mark.size_bits);
        let Some(source) = source else {
            panic!(
                "out of memory: {count} objects of {} bytes don't fit",
                1u64 << bits
            );
        };
        let batch = count.min(MAX_BATCH);
        source.mark.take(bits, batch);
        let untyped = Untyped(source.slot);
        let slot = self.slots(batch);
        if let Err(error) =
            untyped.retype(buffer, kind, size_bits, initial_slot::CNODE, slot, batch)
        {
            panic!("the kernel refuses to make {batch} x {kind:?}: {error:?}");
        }
        if count > batch {
            // Slots are handed out in rows, so the next batch follows on.
            self.make(buffer, kind, size_bits, count - batch);
        }
        slot
    }

    /// Makes the pages of `region` at its physical address; the first one's
    /// slot, the others follow.
    pub fn make_fixed(&mut self, buffer: &mut IpcBuffer, region: &Region) -> CapPtr {
        let count = region.size >> region.page_bits;
        let (first, mut made) = self.make_fixed_batch(buffer, region, 0, count);
        while made < count {
            // An untyped that begins within the region has no gap to fill
            // before it, so these slots follow the last.
            let (_, more) = self.make_fixed_batch(buffer, region, made, count - made);
            made += more;
        }
        first
    }

    /// Makes pages of `region` from page `first` on, as many as lie in one
    /// untyped, but at most `count`; the first one's slot and how many.
    fn make_fixed_batch(
        &mut self,
        buffer: &mut IpcBuffer,
        region: &Region,
        first: u64,
        count: u64,
    ) -> (CapPtr, u64) {
        let bits = region.page_bits;
        let paddr = region.paddr + (first << bits);
        let name = name_str(&region.name);
        let source =
            self.sources.iter_mut().flatten().find(|source| {
                source.mark.paddr <= paddr && paddr + (1 << bits) <= source.mark.end()
            });
        let Some(source) = source else {
            panic!(
                "region '{name}': {paddr:#x} is not RAM that the kernel left free (it holds the \
                 kernel or this image, or the machine has less memory); give it another phys_addr"
            );
        };
        let (slot, mut mark) = (source.slot, source.mark);
        loop {
            match mark.fill(paddr) {
                Ok(None) => break,
                Ok(Some(filler_bits)) => {
                    let filler = self.slots(1);
                    Untyped(slot)
                        .retype(
                            buffer,
                            ObjectType::Untyped,
                            filler_bits,
                            initial_slot::CNODE,
                            filler,
                            1,
                        )
                        .unwrap_or_else(|error| panic!("region '{name}': filler: {error:?}"));
                }
                Err(_) => panic!("region '{name}': {paddr:#x} is taken by another region"),
            }
        }
        let batch = count.min(MAX_BATCH).min((mark.end() - paddr) >> bits);
        mark.take(bits, batch);
        if let Some(source) = self.sources.iter_mut().flatten().find(|s| s.slot == slot) {
            source.mark = mark;
        }
        let pages = self.slots(batch);
        Untyped(slot)
            .retype(
                buffer,
                page_kind(bits),
                0,
                initial_slot::CNODE,
                pages,
                batch,
            )
            .unwrap_or_else(|error| panic!("region '{name}': pages at {paddr:#x}: {error:?}"));
        (pages, batch)
    }
}
