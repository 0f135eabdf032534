//! Executes blocks of ops: registers as operands, addresses, and the loop over the blocks. What
//! each op does is in [`crate::handlers`].

use crate::Env;
use crate::code_cache::{Block, key};
use crate::decode::mode;
use crate::handlers::start;
use crate::machine::Machine;
use crate::op::{Op, Place, flag};
use crate::state::{Cpu, NO_FRAME, Trap, gpr};
use crate::word::Word;
use gpa::{PAGE_SHIFT, PAGE_SIZE};

const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// How a block ended, and how many of its instructions weren't done. In one word: tail calls
/// give nothing larger back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow(u32);

impl Flow {
    /// RIP is set, and the next block may follow.
    pub const CHAIN: Self = Self(0);
    /// RIP is set, and the outer loop must have a look.
    pub const RETURN: Self = Self(1);
    /// An op trapped.
    pub const TRAP: Self = Self(2);

    /// The same, with so many instructions left undone.
    #[inline(always)]
    pub const fn leaving(self, instructions: u32) -> Self {
        Self(self.0 | instructions << 2)
    }
    #[inline(always)]
    const fn undone(self) -> u64 {
        (self.0 >> 2) as u64
    }
    #[inline(always)]
    const fn kind(self) -> Self {
        Self(self.0 & 3)
    }
}

impl Cpu {
    /// A general register (or the high byte of one) as an operand.
    #[inline(always)]
    pub(crate) fn reg<T: Word>(&self, number: u8) -> T {
        if T::BITS == 8 && number & crate::op::REG_HIGH != 0 {
            return T::new(self.regs[(number & 3) as usize] >> 8);
        }
        T::new(self.regs[(number & 31) as usize])
    }

    /// Writes a general register: 32 bits zero the rest, 8 and 16 keep it.
    #[inline(always)]
    pub(crate) fn set_reg<T: Word>(&mut self, number: u8, value: T) {
        let high = T::BITS == 8 && number & crate::op::REG_HIGH != 0;
        let reg = &mut self.regs[(number & if high { 3 } else { 31 }) as usize];
        let value = value.get();
        *reg = match T::BITS {
            8 if high => *reg & !0xff00 | value << 8,
            8 => *reg & !0xff | value,
            16 => *reg & !0xffff | value,
            _ => value,
        };
    }

    /// The linear address of the memory operand.
    #[inline(always)]
    pub(crate) fn address(&self, op: &Op) -> u64 {
        let place = op.place;
        let linear = self.regs[place.base() as usize].wrapping_add(place.displacement());
        if place.is(Place::SIMPLE) {
            return linear;
        }
        if place.is(Place::ODD) {
            return self.odd_address(op);
        }
        linear
            .wrapping_add(self.regs[place.index() as usize] << place.scale())
            .wrapping_add(self.seg_base[place.segment() as usize])
    }

    /// The memory operand's offset in its segment, not cut to the address size.
    #[inline(always)]
    fn whole_offset(&self, place: Place) -> u64 {
        self.regs[place.base() as usize]
            .wrapping_add(self.regs[place.index() as usize] << place.scale())
            .wrapping_add(place.displacement())
    }

    /// The offset of the memory operand in its segment, cut to the address size.
    pub(crate) fn offset(&self, op: &Op) -> u64 {
        let sum = self.whole_offset(op.place);
        if op.has(flag::ADDRESS32) {
            sum & 0xffff_ffff
        } else if op.has(flag::ADDRESS16) {
            sum & 0xffff
        } else {
            sum
        }
    }

    #[cold]
    #[inline(never)]
    fn odd_address(&self, op: &Op) -> u64 {
        let base = self.seg_base[op.place.segment() as usize];
        if op.place.base() == crate::op::REG_ABSOLUTE {
            return self.wrap(op.immediate.wrapping_add(base));
        }
        self.wrap(self.offset(op).wrapping_add(base))
    }

    /// RIP after the op.
    #[inline(always)]
    pub(crate) fn next_rip(&self, op: &Op) -> u64 {
        self.wrap(self.regs[16].wrapping_add(op.next()))
    }

    /// Runs the block `block`, which starts at RIP and at host physical `hpa`, and the blocks
    /// that follow it as long as they are found in the cache and `budget` instructions aren't
    /// done. Sets RIP to where to go on. Gives the instructions done, in `Err` if the last one
    /// trapped: it is in `self.trapped`, RIP is at it.
    ///
    /// Nothing that could need a look between two blocks (interrupts, modes, shadows) changes
    /// in here: the instructions that change it return.
    pub(crate) fn execute<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        all: &[Op],
        block: Block,
        hpa: u64,
        budget: u64,
    ) -> Result<u64, u64> {
        let mut instructions = block.instructions as u64;
        let mut done = instructions;
        // The page of the running code: linear, and where it is.
        let mut page = self.rip & PAGE_MASK;
        let mut frame = hpa & PAGE_MASK;
        let first = block.first as usize;
        let mut ops = all.get(first..first + block.ops as usize).unwrap_or(&[]);
        self.regs[16] = self.rip;
        self.running_frame = if hpa == NO_FRAME { NO_FRAME } else { frame };
        self.running_second = if block.second == 0 || hpa == NO_FRAME {
            NO_FRAME
        } else {
            (block.second as u64) << PAGE_SHIFT
        };
        loop {
            let flow = start(self, env, ops);
            done = done.saturating_sub(flow.undone());
            if flow.kind() != Flow::CHAIN {
                return if flow.kind() == Flow::TRAP {
                    Err(done)
                } else {
                    Ok(done)
                };
            }
            if done >= budget {
                return Ok(done);
            }
            let rip = self.rip;
            if rip == self.regs[16] && self.running_second == NO_FRAME {
                // A loop. What changes its code, or where it lies, traps or returns.
                done += instructions;
                continue;
            }
            if rip & PAGE_MASK != page {
                let Some(hpa) = self.tlb.get(rip, 1, self.mask_fetch) else {
                    return Ok(done);
                };
                page = rip & PAGE_MASK;
                frame = hpa & PAGE_MASK;
                self.running_frame = frame;
            }
            let key = key(frame | rip & !PAGE_MASK, mode::LONG);
            match env.index.find(key) {
                Some(block) if block.second == 0 => {
                    let first = block.first as usize;
                    ops = all.get(first..first + block.ops as usize).unwrap_or(&[]);
                    instructions = block.instructions as u64;
                    done += instructions;
                }
                _ => return Ok(done),
            }
            self.regs[16] = rip;
            self.running_second = NO_FRAME;
        }
    }

    /// Runs a block that isn't in the cache: its writes concern no decoded code.
    #[inline(never)]
    #[cold]
    pub(crate) fn execute_alone<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        ops: &[Op],
        block: Block,
    ) -> Result<u64, u64> {
        self.execute(env, ops, block, NO_FRAME, 0)
    }

    #[inline(always)]
    pub(crate) fn lea(&self, op: &Op) -> u64 {
        if op.place.is(Place::ODD) {
            return self.offset(op);
        }
        self.whole_offset(op.place)
    }

    /// Pushes in 64-bit mode.
    #[inline(always)]
    pub(crate) fn push64<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        value: u64,
    ) -> Result<(), Trap> {
        let rsp = self.regs[gpr::RSP].wrapping_sub(8);
        let result = self.write(env, rsp, value);
        self.on_stack(result)?;
        self.regs[gpr::RSP] = rsp;
        Ok(())
    }
}
