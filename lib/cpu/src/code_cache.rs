//! Decoded blocks, found by host physical address.

use crate::op::Op;
use gpa::{Hfn, PAGE_SHIFT, PAGE_SIZE};
use zerocopy::FromZeros;

/// A key is a host physical address with the decoding mode above this bit.
const MODE_SHIFT: u32 = 56;

/// A decoded block's place in the cache. Opaque; storage for a [`CodeCache`] consists of these.
#[derive(Clone, Copy, Debug, FromZeros)]
pub struct Block {
    /// Host physical address and mode; 0 is no block.
    pub(crate) key: u64,
    /// Index of the first op.
    pub(crate) first: u32,
    /// Number of ops.
    pub(crate) ops: u8,
    /// Number of guest instructions (a fused op is two).
    pub(crate) instructions: u8,
    /// The next frame, if the block's only instruction runs into it; 0 else.
    pub(crate) second: u32,
    /// That frame's generation when the block was decoded.
    pub(crate) generation: u32,
}

impl Block {
    /// Holds nothing.
    pub const EMPTY: Self = Self {
        key: 0,
        first: 0,
        ops: 0,
        instructions: 0,
        second: 0,
        generation: 0,
    };
}

const _: () = assert!(size_of::<Block>() == 24);

/// Bytes of frame marks: a bit for each frame below [`CACHED_LIMIT`].
const MARKS: usize = 1 << 17;
/// Code above this host physical address (4 GiB) is executed, but not cached.
pub const CACHED_LIMIT: u64 = (MARKS as u64 * 8) << PAGE_SHIFT;
/// Bytes of code that share a slot.
const GRAIN: u64 = 4;
/// Frame generations (frames share them; what is shared is forgotten together).
const GENERATIONS: usize = 1024;

/// Storage for a [`CodeCache`], all zeroes at first (so it may lie in `.bss`).
///
/// `OPS` ops of 24 bytes, `BLOCKS` (a power of two, at least 4096) of 24 bytes: too large for
/// most stacks. `FromZeros::new_box_zeroed` makes one where there is a heap.
#[derive(FromZeros)]
pub struct CodeStorage<const OPS: usize, const BLOCKS: usize> {
    ops: [Op; OPS],
    blocks: [Block; BLOCKS],
    marks: [u8; MARKS],
    generations: [u32; GENERATIONS],
}

impl<const OPS: usize, const BLOCKS: usize> CodeStorage<OPS, BLOCKS> {
    /// Empty storage.
    pub const fn new() -> Self {
        Self {
            ops: [Op::EMPTY; OPS],
            blocks: [Block::EMPTY; BLOCKS],
            marks: [0; MARKS],
            generations: [0; GENERATIONS],
        }
    }
}

impl<const OPS: usize, const BLOCKS: usize> Default for CodeStorage<OPS, BLOCKS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Decoded guest code, shared by all CPUs of a machine (who run one after the other).
///
/// A block is found by the host physical address of its first byte, so neither page-table
/// changes nor EPT changes touch it. A guest's own writes to a frame that holds decoded code
/// are seen by the CPU; whoever else changes such a frame must call
/// [`CodeCache::invalidate_frame`].
pub struct CodeCache<'a> {
    pub(crate) ops: &'a mut [Op],
    pub(crate) index: Index<'a>,
    /// Ops in use.
    used: usize,
}

/// Everything of the cache that executing code may change.
pub(crate) struct Index<'a> {
    blocks: &'a mut [Block],
    marks: &'a mut [u8; MARKS],
    generations: &'a mut [u32; GENERATIONS],
    /// Counts frames that became code: a CPU that has seen fewer drops its write permissions.
    pub epoch: u64,
}

/// Most ops of one block.
pub(crate) const BLOCK_OPS: usize = 32;

impl<'a> CodeCache<'a> {
    /// A cache in the given storage.
    pub fn new<const OPS: usize, const BLOCKS: usize>(
        storage: &'a mut CodeStorage<OPS, BLOCKS>,
    ) -> Self {
        const {
            assert!(BLOCKS.is_power_of_two() && BLOCKS >= PAGE_SIZE as usize);
            assert!(OPS >= 2 * BLOCK_OPS && OPS <= u32::MAX as usize);
        }
        Self {
            ops: &mut storage.ops,
            index: Index {
                blocks: &mut storage.blocks,
                marks: &mut storage.marks,
                generations: &mut storage.generations,
                epoch: 1,
            },
            used: 0,
        }
    }

    /// Forgets all code.
    pub fn clear(&mut self) {
        self.used = 0;
        self.index.blocks.fill(Block::EMPTY);
        self.index.marks.fill(0);
    }

    /// The 4 KiB frame was changed by somebody other than a CPU of this cache
    /// (the TDX module clearing or filling a page, a loader).
    pub fn invalidate_frame(&mut self, frame: Hfn) {
        self.index.invalidate(frame.base().get());
    }

    /// Room for a new block's ops: its first index, and the ops.
    pub(crate) fn reserve(&mut self) -> (usize, &mut [Op]) {
        if self.used + BLOCK_OPS > self.ops.len() {
            self.clear();
        }
        let first = self.used;
        (first, &mut self.ops[first..first + BLOCK_OPS])
    }

    /// Makes a block of the ops that were written to [`CodeCache::reserve`]d room.
    pub(crate) fn insert(&mut self, mut block: Block) {
        block.first = self.used as u32;
        self.used += block.ops as usize;
        if block.second != 0 {
            block.generation = self.index.generations[block.second as usize % GENERATIONS];
        }
        let slot = self.index.slot(block.key);
        self.index.blocks[slot] = block;
    }
}

/// The key of the block at `hpa`; never 0.
pub(crate) const fn key(hpa: u64, mode: u8) -> u64 {
    hpa | (mode as u64 | 0x80) << MODE_SHIFT
}

impl Index<'_> {
    /// The slot for a key. A frame has a slot for each 4 bytes, one after the other; addresses
    /// within the same 4 bytes go to different quarters of them: where instructions trap one
    /// after the other, blocks begin as close as that.
    #[inline(always)]
    fn slot(&self, key: u64) -> usize {
        let frame = (key & (CACHED_LIMIT - 1)) >> PAGE_SHIFT;
        let start = frame.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        let quarter = PAGE_SIZE / GRAIN / GRAIN;
        let place = (key % PAGE_SIZE / GRAIN) ^ (key % GRAIN * quarter);
        start.wrapping_add(place) as usize & (self.blocks.len() - 1)
    }

    /// The block with this key.
    #[inline(always)]
    pub fn find(&self, key: u64) -> Option<Block> {
        let block = self.blocks[self.slot(key)];
        (block.key == key).then_some(block)
    }

    /// Whether the second frame of a block is still what it was.
    pub fn is_current(&self, block: &Block) -> bool {
        self.generations[block.second as usize % GENERATIONS] == block.generation
    }

    /// Whether the frame at `hpa` may hold decoded code.
    #[inline(always)]
    pub fn is_code(&self, hpa: u64) -> bool {
        let frame = (hpa >> PAGE_SHIFT) as usize;
        self.marks
            .get(frame / 8)
            .is_some_and(|byte| byte >> (frame % 8) & 1 != 0)
    }

    /// Marks the frame; `true` if it wasn't.
    pub fn mark(&mut self, hpa: u64) -> bool {
        let frame = (hpa >> PAGE_SHIFT) as usize;
        let Some(byte) = self.marks.get_mut(frame / 8) else {
            return false;
        };
        let bit = 1 << (frame % 8);
        let new = *byte & bit == 0;
        *byte |= bit;
        self.epoch += new as u64;
        new
    }

    /// Drops all blocks of the frame at `hpa`, and its mark.
    #[cold]
    pub fn invalidate(&mut self, hpa: u64) {
        if !self.is_code(hpa) {
            return;
        }
        let base = hpa & !(PAGE_SIZE - 1);
        let frame = (hpa >> PAGE_SHIFT) as usize;
        for offset in (0..PAGE_SIZE).step_by(GRAIN as usize) {
            let slot = self.slot(base + offset);
            let at = self.blocks[slot].key & (CACHED_LIMIT - 1);
            if at / PAGE_SIZE == base / PAGE_SIZE {
                self.blocks[slot] = Block::EMPTY;
            }
        }
        let generation = &mut self.generations[frame % GENERATIONS];
        *generation = generation.wrapping_add(1);
        if let Some(byte) = self.marks.get_mut(frame / 8) {
            *byte &= !(1 << (frame % 8));
        }
    }
}
