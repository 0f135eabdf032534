//! Host memory for guests: private memory in blocks of 2 MiB, shared memory in frames.
//!
//! **Private.** One 2 MiB region of guest memory has at most one block, and page `i` of the
//! region is page `i` of its block. So no frame needs metadata of its own, no frame can be
//! private twice, a region's pages are always fit for promotion to one 2 MiB page, and the
//! reverse map is one word per block.
//!
//! **Shared.** Frames of 4 KiB from blocks that are broken up, whole blocks for 2 MiB leaves,
//! 512 blocks in a row for 1 GiB. One word per frame: its owner, or the next free frame.

use crate::error::{Error, Resource};
use gpa::{Gfn, Hfn, Hpa};

/// Frames per 2 MiB block.
pub const BLOCK_FRAMES: u64 = 512;

const USED: u64 = 1 << 63;
const VM_SHIFT: u32 = 48;
const GFN: u64 = (1 << 40) - 1;

fn owner_word(vm: u8, gfn: Gfn) -> u64 {
    USED | (vm as u64) << VM_SHIFT | gfn.get() & GFN
}

fn owner_of(word: u64) -> Option<(u8, Gfn)> {
    (word & USED != 0).then(|| ((word >> VM_SHIFT) as u8, Gfn::new(word & GFN)))
}

/// The number of a private block.
pub type Block = u16;
/// No block.
pub const NO_BLOCK: Block = u16::MAX;

/// Blocks of private memory. A free block remembers whose key last wrote to it: while that VM
/// lives, cache lines under its key may still be on their way to memory.
#[derive(Debug)]
pub struct Blocks<'a> {
    base: Hfn,
    words: &'a mut [u64],
    cursor: usize,
    used: usize,
}

/// Free block: whose key is stale in it (0: nobody's, else VM + 1).
const STALE_SHIFT: u32 = 48;

impl<'a> Blocks<'a> {
    /// The blocks from `base` (2 MiB aligned) on, one for each word.
    ///
    /// # Errors
    /// `BadRange` where `base` isn't 2 MiB aligned.
    pub fn new(base: Hpa, words: &'a mut [u64]) -> Result<Self, Error> {
        if !base.is_aligned(BLOCK_FRAMES << 12) {
            return Err(Error::BadRange);
        }
        let count = words.len().min(NO_BLOCK as usize);
        let (words, _) = words.split_at_mut(count);
        words.fill(0);
        Ok(Self {
            base: base.frame(),
            words,
            cursor: 0,
            used: 0,
        })
    }
    /// Blocks in use.
    pub fn used(&self) -> usize {
        self.used
    }
    /// Free blocks.
    pub fn available(&self) -> usize {
        self.words.len() - self.used
    }
    /// How many blocks there are.
    pub fn count(&self) -> usize {
        self.words.len()
    }
    /// All of it, as host physical addresses.
    pub(crate) fn stretch(&self) -> core::ops::Range<u64> {
        let bytes = self.words.len() as u64 * BLOCK_FRAMES * gpa::PAGE_SIZE;
        let start = self.base.base().get();
        start..start + bytes
    }
    /// First frame of a block.
    pub fn frame(&self, block: Block) -> Hfn {
        Hfn::new(self.base.get() + u64::from(block) * BLOCK_FRAMES)
    }
    /// The block that holds a frame.
    pub fn block_of(&self, frame: Hfn) -> Option<Block> {
        let block = frame.get().checked_sub(self.base.get())? / BLOCK_FRAMES;
        (block < self.words.len() as u64).then_some(block as Block)
    }
    /// Reverse map: whose block that is, and the first frame number of its region.
    pub fn owner(&self, block: Block) -> Option<(u8, Gfn)> {
        owner_of(*self.words.get(block as usize)?)
    }
    /// Takes a block for the region at `gfn`. With `Some(other)` VM `other`, which may live, has
    /// its key stale in it: its cache lines must be written back before use.
    pub(crate) fn take(&mut self, vm: u8, gfn: Gfn) -> Result<(Block, Option<u8>), Error> {
        let count = self.words.len();
        let mut fallback = None;
        for step in 0..count {
            let block = (self.cursor + step) % count;
            let word = self.words[block];
            if word & USED != 0 {
                continue;
            }
            let stale = word >> STALE_SHIFT;
            if stale == 0 || stale == u64::from(vm) + 1 {
                self.cursor = block;
                return Ok((self.put(block, vm, gfn), None));
            }
            fallback = fallback.or(Some((block, (stale - 1) as u8)));
        }
        match fallback {
            Some((block, stale)) => Ok((self.put(block, vm, gfn), Some(stale))),
            None => Err(Error::NoMemory(Resource::Private)),
        }
    }
    fn put(&mut self, block: usize, vm: u8, gfn: Gfn) -> Block {
        self.words[block] = owner_word(vm, gfn);
        self.used += 1;
        block as Block
    }
    /// Gives a used block another region of the same VM.
    pub(crate) fn assign(&mut self, block: Block, gfn: Gfn) {
        if let Some((vm, _)) = self.owner(block) {
            self.words[block as usize] = owner_word(vm, gfn);
        }
    }
    /// Gives a block back; its owner's key may have been used in it.
    pub(crate) fn give(&mut self, block: Block) {
        if let Some((vm, _)) = self.owner(block) {
            self.give_stale(block, vm);
        }
    }
    /// Gives a block back in which `stale`'s key may have been used.
    pub(crate) fn give_stale(&mut self, block: Block, stale: u8) {
        if self.owner(block).is_some() {
            self.words[block as usize] = (u64::from(stale) + 1) << STALE_SHIFT;
            self.used -= 1;
            self.cursor = block as usize;
        }
    }
    /// The first used block at or after `from` that is the VM's.
    pub(crate) fn next_of(&self, vm: u8, from: Block) -> Option<(Block, Gfn)> {
        (from..self.words.len() as Block).find_map(|block| match self.owner(block) {
            Some((owner, gfn)) if owner == vm => Some((block, gfn)),
            _ => None,
        })
    }
    /// The VM's key is gone and the caches were written back: nothing of it is stale.
    pub(crate) fn clean(&mut self, vm: u8) {
        let stale = (u64::from(vm) + 1) << STALE_SHIFT;
        for word in self.words.iter_mut().filter(|word| **word == stale) {
            *word = 0;
        }
    }
}

/// One block of shared memory.
#[derive(Clone, Copy, Debug)]
pub struct SharedBlock {
    free: u16,
    head: u16,
    next: u16,
    prev: u16,
}

impl SharedBlock {
    /// What to fill the array with.
    pub const NEW: Self = Self {
        free: BLOCK_FRAMES as u16,
        head: 0,
        next: NO_BLOCK,
        prev: NO_BLOCK,
    };
}

/// Frames that hosts and guests both reach: shared pages of a TD, all memory of a plain VM.
#[derive(Debug)]
pub struct Frames<'a> {
    base: Hfn,
    words: &'a mut [u64],
    blocks: &'a mut [SharedBlock],
    /// First block with some, not all, frames free.
    partial: u16,
    cursor: usize,
    used: usize,
}

/// A used frame that heads a 2 MiB or 1 GiB allocation says so.
const SIZE_SHIFT: u32 = 56;
/// Set in the words of frames that wait for a TLB flush.
const LIMBO: u64 = 1 << 62;
/// The end of a list of frames.
pub(crate) const NO_FRAME: u32 = u32::MAX;

impl<'a> Frames<'a> {
    /// The frames from `base` (2 MiB aligned) on: 512 words and one block for each 2 MiB.
    ///
    /// # Errors
    /// `BadRange` where `base` isn't 2 MiB aligned.
    pub fn new(
        base: Hpa,
        words: &'a mut [u64],
        blocks: &'a mut [SharedBlock],
    ) -> Result<Self, Error> {
        if !base.is_aligned(BLOCK_FRAMES << 12) {
            return Err(Error::BadRange);
        }
        let count = (words.len() / BLOCK_FRAMES as usize)
            .min(blocks.len())
            .min(NO_BLOCK as usize);
        let (words, _) = words.split_at_mut(count * BLOCK_FRAMES as usize);
        let (blocks, _) = blocks.split_at_mut(count);
        blocks.fill(SharedBlock::NEW);
        for (i, word) in words.iter_mut().enumerate() {
            *word = (i as u64 + 1) % BLOCK_FRAMES;
        }
        Ok(Self {
            base: base.frame(),
            words,
            blocks,
            partial: NO_BLOCK,
            cursor: 0,
            used: 0,
        })
    }
    /// Frames in use (those that wait for a TLB flush included).
    pub fn used(&self) -> usize {
        self.used
    }
    /// Free frames.
    pub fn available(&self) -> usize {
        self.words.len() - self.used
    }
    fn number(&self, frame: Hfn) -> Option<usize> {
        let number = frame.get().checked_sub(self.base.get())?;
        (number < self.words.len() as u64).then_some(number as usize)
    }
    fn frame(&self, number: usize) -> Hfn {
        Hfn::new(self.base.get() + number as u64)
    }
    /// Whether the frame is one of ours.
    pub fn contains(&self, frame: Hfn) -> bool {
        self.number(frame).is_some()
    }
    /// Reverse map: whose frame that is, and at which frame number the VM has it. Frames that
    /// wait for a TLB flush have no owner any more.
    pub fn owner(&self, frame: Hfn) -> Option<(u8, Gfn)> {
        let number = self.number(frame)?;
        let own = self.words[number];
        // A frame within a large page is described by the head of its block, or of its GiB.
        let heads = [number & !511, self.gib_head(number)];
        for (level, head) in [(1, heads[0]), (2, heads[1])] {
            let word = self.words.get(head).copied().unwrap_or(0);
            if word & (USED | LIMBO) == USED && word >> SIZE_SHIFT & 3 == level {
                let (vm, gfn) = owner_of(word)?;
                return Some((vm, Gfn::new(gfn.get() + (number - head) as u64)));
            }
        }
        if own & LIMBO != 0 || own >> SIZE_SHIFT & 3 != 0 {
            return None;
        }
        owner_of(own)
    }
    /// The number of the frame at the 1 GiB boundary (of host memory) below, if it's ours.
    fn gib_head(&self, number: usize) -> usize {
        let frame = self.base.get() + number as u64;
        (frame & !((1 << 18) - 1))
            .checked_sub(self.base.get())
            .map_or(usize::MAX, |head| head as usize)
    }

    /// The frame that VM `vm` has at `gfn`, mapped or not: a search through all frames.
    pub(crate) fn find(&self, vm: u8, gfn: Gfn) -> Option<Hfn> {
        self.words.iter().enumerate().find_map(|(number, &word)| {
            let (owner, first) = owner_of(word & !LIMBO)?;
            let offset = gfn.get().checked_sub(first.get())?;
            let pages = 1u64 << (9 * (word >> SIZE_SHIFT & 3));
            let found = owner == vm && word & LIMBO == 0 && offset < pages;
            found.then(|| self.frame(number + offset as usize))
        })
    }
    /// The first frame of the VM from `from` on, with its level.
    pub(crate) fn next_of(&self, vm: u8, from: u32) -> Option<(u32, Hfn, u8)> {
        (from as usize..self.words.len()).find_map(|number| {
            let word = self.words[number];
            let (owner, _) = owner_of(word)?;
            let level = (word >> SIZE_SHIFT & 3) as u8;
            (owner == vm && word & LIMBO == 0).then(|| (number as u32, self.frame(number), level))
        })
    }
    /// Level of the leaf that the frames of this owner's head were taken for.
    pub(crate) fn level_of(&self, frame: Hfn) -> u8 {
        let Some(number) = self.number(frame) else {
            return 0;
        };
        for (level, head) in [(1, number & !511), (2, self.gib_head(number))] {
            let word = self.words.get(head).copied().unwrap_or(0);
            if word & (USED | LIMBO) == USED && word >> SIZE_SHIFT & 3 == level {
                return level as u8;
            }
        }
        0
    }

    /// Takes frames for one leaf of `level` at `gfn`.
    pub(crate) fn take(&mut self, vm: u8, gfn: Gfn, level: u8) -> Result<Hfn, Error> {
        match level {
            0 => self.take_small(vm, gfn),
            1 => self.take_blocks(vm, gfn, 1, level),
            2 => self.take_blocks(vm, gfn, 512, level),
            _ => Err(Error::Unsupported),
        }
    }

    fn take_small(&mut self, vm: u8, gfn: Gfn) -> Result<Hfn, Error> {
        if self.partial == NO_BLOCK {
            let block = self.find_whole(1)?;
            self.push_partial(block);
        }
        let block = self.partial as usize;
        let info = &mut self.blocks[block];
        let number = block * BLOCK_FRAMES as usize + info.head as usize;
        info.head = self.words[number] as u16;
        info.free -= 1;
        if info.free == 0 {
            self.drop_partial(block);
        }
        self.words[number] = owner_word(vm, gfn);
        self.used += 1;
        Ok(self.frame(number))
    }

    fn take_blocks(&mut self, vm: u8, gfn: Gfn, blocks: usize, level: u8) -> Result<Hfn, Error> {
        let first = self.find_whole(blocks)?;
        for info in &mut self.blocks[first..first + blocks] {
            info.free = 0;
        }
        let head = first * BLOCK_FRAMES as usize;
        self.words[head] = owner_word(vm, gfn) | u64::from(level) << SIZE_SHIFT;
        self.used += blocks * BLOCK_FRAMES as usize;
        Ok(self.frame(head))
    }

    /// The first of `blocks` (1 or 512) whole free blocks, aligned in host memory.
    fn find_whole(&mut self, blocks: usize) -> Result<usize, Error> {
        let count = self.blocks.len();
        let skew = (self.base.get() / BLOCK_FRAMES) as usize;
        for step in 0..count {
            let first = (self.cursor + step) % count;
            let fits = (first + skew).is_multiple_of(blocks) && first + blocks <= count;
            if fits
                && self.blocks[first..first + blocks]
                    .iter()
                    .all(|info| u64::from(info.free) == BLOCK_FRAMES)
            {
                self.cursor = first;
                return Ok(first);
            }
        }
        Err(Error::NoMemory(Resource::Shared))
    }

    fn push_partial(&mut self, block: usize) {
        self.blocks[block].next = self.partial;
        self.blocks[block].prev = NO_BLOCK;
        if let Some(next) = self.blocks.get_mut(self.partial as usize) {
            next.prev = block as u16;
        }
        self.partial = block as u16;
    }

    fn drop_partial(&mut self, block: usize) {
        let SharedBlock { next, prev, .. } = self.blocks[block];
        match self.blocks.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => self.partial = next,
        }
        if let Some(after) = self.blocks.get_mut(next as usize) {
            after.prev = prev;
        }
    }

    /// Gives back what a leaf of `level` mapped. A large page that was split comes back in
    /// pieces: its head is broken up first.
    pub(crate) fn give(&mut self, frame: Hfn, level: u8) {
        let Some(number) = self.number(frame) else {
            return;
        };
        match level {
            0 => {
                self.break_up(number);
                self.give_small(number);
            }
            1 => {
                self.break_gib(number);
                self.words[number] = 0;
                self.give_block(number / BLOCK_FRAMES as usize);
            }
            _ => {
                let first = number / BLOCK_FRAMES as usize;
                for block in first..(first + 512).min(self.blocks.len()) {
                    self.give_block(block);
                }
            }
        }
    }

    fn give_block(&mut self, block: usize) {
        let start = block * BLOCK_FRAMES as usize;
        for i in 0..BLOCK_FRAMES {
            self.words[start + i as usize] = (i + 1) % BLOCK_FRAMES;
        }
        self.blocks[block] = SharedBlock::NEW;
        self.used -= BLOCK_FRAMES as usize;
        self.cursor = block;
    }

    /// Turns a 1 GiB allocation into 512 of 2 MiB.
    fn break_gib(&mut self, number: usize) {
        let head = self.gib_head(number);
        let Some(&word) = self.words.get(head) else {
            return;
        };
        if word & USED != 0 && word >> SIZE_SHIFT & 3 == 2 {
            let plain = word & !(3 << SIZE_SHIFT) | 1 << SIZE_SHIFT;
            for i in 0..512 {
                self.words[head + i * 512] = plain + i as u64 * BLOCK_FRAMES;
            }
        }
    }

    /// Turns a 2 MiB allocation into 512 of 4 KiB.
    fn break_up(&mut self, number: usize) {
        self.break_gib(number);
        let head = number & !511;
        let word = self.words[head];
        if word & USED != 0 && word >> SIZE_SHIFT & 3 == 1 {
            let plain = word & !(3 << SIZE_SHIFT);
            for i in 0..BLOCK_FRAMES {
                self.words[head + i as usize] = plain + i;
            }
        }
    }

    fn give_small(&mut self, number: usize) {
        let block = number / BLOCK_FRAMES as usize;
        let info = &mut self.blocks[block];
        self.words[number] = u64::from(info.head);
        info.head = (number as u64 % BLOCK_FRAMES) as u16;
        info.free += 1;
        self.used -= 1;
        let free = info.free;
        if free == 1 {
            self.push_partial(block);
        } else if u64::from(free) == BLOCK_FRAMES {
            self.drop_partial(block);
            self.blocks[block].next = NO_BLOCK;
        }
    }

    /// Puts what a leaf of `level` mapped into a list of frames that wait for a TLB flush, and
    /// gives the new list. The list runs through the words of the heads.
    pub(crate) fn retire(&mut self, frame: Hfn, level: u8, list: u32) -> u32 {
        let Some(number) = self.number(frame) else {
            return list;
        };
        match level {
            0 => self.break_up(number),
            1 => self.break_gib(number),
            _ => {}
        }
        let size = u64::from(level) << SIZE_SHIFT;
        self.words[number] = USED | LIMBO | size | u64::from(list);
        number as u32
    }

    /// Frees a list of retired frames.
    pub(crate) fn release(&mut self, mut list: u32) {
        while let Some(&word) = self.words.get(list as usize) {
            if word & LIMBO == 0 {
                return;
            }
            let number = list as usize;
            list = word as u32;
            self.words[number] = USED;
            match (word >> SIZE_SHIFT) & 3 {
                0 => self.give_small(number),
                1 => self.give_block(number / BLOCK_FRAMES as usize),
                _ => self.give(self.frame(number), 2),
            }
        }
    }
}
