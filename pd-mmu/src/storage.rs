//! The memory that pd-mmu works in, and how it is divided: no heap, every pool has its size.

use crate::host_pages::HostPages;
use gpa::{Hpa, PAGE_SIZE};
use memory::PhysMemory;
use mmu::{
    BLOCK_FRAMES, Blocks, ControlMeta, ControlPages, Frames, Mmu, Parts, PhysTables, SharedBlock,
    TableMeta, Tables, Vm,
};

const BLOCK: u64 = BLOCK_FRAMES * PAGE_SIZE;
/// Table pages at most: 4 MiB of them.
const TABLES: usize = 1024;
/// Control pages at most: 16 MiB of them.
const CONTROL: usize = 4096;
/// Private blocks of 2 MiB at most: 1 GiB of them.
const PRIVATE: usize = 512;
/// Shared blocks of 2 MiB at most: 128 MiB of them.
const SHARED: usize = 64;
/// Words of page attributes: 4 GiB of guest memory, over all VMs.
const BITS: usize = 16384;

/// Where the pools are, each `(first address, bytes)`; from `system.xml`.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Pages for tables of the shared EPT and the mirror of the Secure EPT.
    pub shadow: (Hpa, u64),
    /// Pages for the TDX module's control structures.
    pub control: (Hpa, u64),
    /// Private guest memory, 2 MiB aligned.
    pub private: (Hpa, u64),
    /// Shared guest memory, 2 MiB aligned; the first 2 MiB are for the host's own pages.
    pub shared: (Hpa, u64),
    /// Lowest bit of the HKID in a host physical address.
    pub hkid_shift: u8,
}

/// Metadata of all pools.
pub struct Storage {
    tables: [TableMeta; TABLES],
    control: [ControlMeta; CONTROL],
    private: [u64; PRIVATE],
    shared: [u64; SHARED * BLOCK_FRAMES as usize],
    shared_blocks: [SharedBlock; SHARED],
    vms: [Vm; crate::MAX_VMS],
    bits: [u64; BITS],
}

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
}

impl Storage {
    /// Nothing is used.
    pub const fn new() -> Self {
        Self {
            tables: [TableMeta::NEW; TABLES],
            control: [ControlMeta::NEW; CONTROL],
            private: [0; PRIVATE],
            shared: [0; SHARED * BLOCK_FRAMES as usize],
            shared_blocks: [SharedBlock::NEW; SHARED],
            vms: [const { Vm::NEW }; crate::MAX_VMS],
            bits: [0; BITS],
        }
    }

    pub(crate) fn divide<M: PhysMemory>(
        &mut self,
        layout: &Layout,
        memory: M,
    ) -> Result<(Mmu<'_, PhysTables<M>>, HostPages), &'static str> {
        let count = |bytes: u64, unit: u64, most: usize| ((bytes / unit) as usize).min(most);
        let tables = count(layout.shadow.1, PAGE_SIZE, TABLES);
        let control = count(layout.control.1, PAGE_SIZE, CONTROL);
        let private = count(layout.private.1, BLOCK, PRIVATE);
        let shared = count(layout.shared.1, BLOCK, SHARED).saturating_sub(1);
        if tables == 0 || control == 0 || private == 0 || shared == 0 {
            return Err("a pool is too small: see the memory regions in system.xml");
        }
        let unaligned = "a pool is not aligned to its pages: see the memory regions in system.xml";
        let table_memory = PhysTables::new(memory, layout.shadow.0, tables)
            .ok_or("the shadow region is not mapped: see system.xml")?;
        let guest_shared = layout.shared.0.checked_add(BLOCK).ok_or(unaligned)?;
        let parts = Parts {
            tables: Tables::new(table_memory, &mut self.tables[..tables]),
            private: Blocks::new(layout.private.0, &mut self.private[..private])
                .map_err(|_| unaligned)?,
            shared: Frames::new(
                guest_shared,
                &mut self.shared[..shared * BLOCK_FRAMES as usize],
                &mut self.shared_blocks[..shared],
            )
            .map_err(|_| unaligned)?,
            control: ControlPages::new(layout.control.0, &mut self.control[..control])
                .map_err(|_| unaligned)?,
            vms: &mut self.vms,
            bits: &mut self.bits,
        };
        Ok((Mmu::new(parts), HostPages::new(layout.shared.0)))
    }
}
