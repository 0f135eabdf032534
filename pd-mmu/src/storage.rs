//! The memory that pd-mmu works in, and how it is divided: no heap, every pool has its size.

use crate::host_pages::HostPages;
use gpa::{Hpa, PAGE_SIZE};
use ipc_mmu_tdx::Pools;
use memory::PhysMemory;
use mmu::keys::{KeyDesign, KeyIndex, PackedKey, RoleKey, StolenKey};
use mmu::{
    BLOCK_FRAMES, Blocks, ControlMeta, ControlPages, Frames, Keys, Mmu, Parts, PhysTables,
    SharedBlock, Table, TableMeta, Tables, Vm,
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

/// Memory of one index by key, with as many buckets as table pages.
struct Index<K> {
    keys: [K; TABLES],
    next: [Table; TABLES],
    buckets: [Table; TABLES],
}

impl<K: KeyDesign> Index<K> {
    const fn new() -> Self {
        Self {
            keys: [K::NONE; TABLES],
            next: [0; TABLES],
            buckets: [0; TABLES],
        }
    }
    fn index(&mut self) -> Option<KeyIndex<'_, K>> {
        KeyIndex::new(&mut self.keys, &mut self.next, &mut self.buckets).ok()
    }
}

const _: () = assert!(TABLES.is_power_of_two());

/// Metadata of all pools.
pub struct Storage {
    tables: [TableMeta; TABLES],
    stolen: Index<StolenKey>,
    role: Index<RoleKey>,
    packed: Index<PackedKey>,
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
            stolen: Index::new(),
            role: Index::new(),
            packed: Index::new(),
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
        shadow: (Hpa, u64),
        pools: &Pools,
        memory: M,
    ) -> Result<(Mmu<'_, PhysTables<M>>, HostPages), &'static str> {
        let count = |bytes: u64, unit: u64, most: usize| ((bytes / unit) as usize).min(most);
        let tables = count(shadow.1, PAGE_SIZE, TABLES);
        let control = count(pools.control.len, PAGE_SIZE, CONTROL);
        let private = count(pools.private.len, BLOCK, PRIVATE);
        let shared = count(pools.shared.len, BLOCK, SHARED).saturating_sub(1);
        if tables == 0 || control == 0 || private == 0 || shared == 0 {
            return Err("a pool is too small: see the memory regions in system.xml");
        }
        let unaligned = "a pool is not aligned to its pages: see the memory regions in system.xml";
        let table_memory = PhysTables::new(memory, shadow.0, tables)
            .ok_or("the shadow region is not mapped: see system.xml")?;
        let host_pages = Hpa::new(pools.shared.base);
        // The first block is for the host's own pages.
        let guest_shared = host_pages.checked_add(BLOCK).ok_or(unaligned)?;
        // VMs may ask for any of the designs.
        let keys = Keys {
            stolen: self.stolen.index(),
            role: self.role.index(),
            packed: self.packed.index(),
        };
        let parts = Parts {
            tables: Tables::new(table_memory, &mut self.tables[..tables]).with_keys(keys),
            private: Blocks::new(Hpa::new(pools.private.base), &mut self.private[..private])
                .map_err(|_| unaligned)?,
            shared: Frames::new(
                guest_shared,
                &mut self.shared[..shared * BLOCK_FRAMES as usize],
                &mut self.shared_blocks[..shared],
            )
            .map_err(|_| unaligned)?,
            control: ControlPages::new(Hpa::new(pools.control.base), &mut self.control[..control])
                .map_err(|_| unaligned)?,
            vms: &mut self.vms,
            bits: &mut self.bits,
        };
        Ok((Mmu::new(parts), HostPages::new(host_pages)))
    }
}
