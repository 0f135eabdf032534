//! String instructions. A repeated one runs in portions: between two of them RIP stays at the
//! instruction, and interrupts get their chance.

use crate::Env;
use crate::flags::rflags;
use crate::integer::sized;
use crate::machine::Machine;
use crate::op::{Kind, Op, flag};
use crate::state::{Cpu, Trap, gpr, seg};
use crate::word::Word;
use gpa::{Hpa, PAGE_SIZE};
use memory::PhysMemory;

/// Most repetitions in one go.
const PORTION: u64 = 0x4000;

impl Cpu {
    pub(crate) fn address_mask(op: &Op) -> u64 {
        if op.has(flag::ADDRESS32) {
            0xffff_ffff
        } else if op.has(flag::ADDRESS16) {
            0xffff
        } else {
            u64::MAX
        }
    }

    /// Writes an index or count register with the address size.
    fn set_index(&mut self, op: &Op, number: usize, value: u64) {
        if op.has(flag::ADDRESS16) {
            self.set_reg(number as u8, value as u16);
        } else {
            self.regs[number] = value & Self::address_mask(op);
        }
    }

    fn index(&self, op: &Op, number: usize) -> u64 {
        self.regs[number] & Self::address_mask(op)
    }

    fn source(&self, op: &Op) -> u64 {
        let base = self.seg_base[(op.place.segment() & 7) as usize];
        self.wrap(self.index(op, gpr::RSI).wrapping_add(base))
    }

    fn destination(&self, op: &Op) -> u64 {
        let base = self.seg_base[seg::ES];
        self.wrap(self.index(op, gpr::RDI).wrapping_add(base))
    }

    fn step_index(&mut self, op: &Op, number: usize, elements: u64) {
        let bytes = elements << op.size();
        let old = self.index(op, number);
        let new = if self.rflags & rflags::DF == 0 {
            old.wrapping_add(bytes)
        } else {
            old.wrapping_sub(bytes)
        };
        self.set_index(op, number, new);
    }

    /// Elements that fit between the linear address and the end of its page, going up.
    fn fit(linear: u64, op: &Op) -> u64 {
        (PAGE_SIZE - linear % PAGE_SIZE) >> op.size()
    }

    /// Runs `portion(elements wanted) -> (elements done, go on)` until RCX is used up or it says
    /// no (`true`), or until it is time for a look at interrupts (`false`, with RIP at the
    /// instruction).
    #[inline(always)]
    fn repeat(
        &mut self,
        op: &Op,
        mut portion: impl FnMut(&mut Self, u64) -> Result<(u64, bool), Trap>,
    ) -> Result<bool, Trap> {
        if !op.has(flag::REP | flag::REPNE) {
            portion(self, 1)?;
            return Ok(true);
        }
        if op.has(flag::ADDRESS32) {
            // Processors clear RCX's high half first of all, even if nothing is repeated; for
            // the two fast string operations those of the addresses, too.
            self.set_index(op, gpr::RCX, self.regs[gpr::RCX]);
            if op.kind == Kind::Movs {
                self.set_index(op, gpr::RSI, self.regs[gpr::RSI]);
            }
            if matches!(op.kind, Kind::Movs | Kind::Stos) {
                self.set_index(op, gpr::RDI, self.regs[gpr::RDI]);
            }
        }
        let mut left = PORTION;
        loop {
            let count = self.index(op, gpr::RCX);
            if count == 0 {
                return Ok(true);
            }
            if left == 0 {
                self.rip = self.wrap(self.regs[16].wrapping_add(op.offset as u64));
                return Ok(false);
            }
            let (done, more) = portion(self, count.min(left))?;
            left -= done.min(left);
            self.set_index(op, gpr::RCX, count.wrapping_sub(done));
            if !more {
                return Ok(true);
            }
        }
    }

    /// `MOVS`. `true`: complete.
    #[inline(never)]
    pub(crate) fn movs<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<bool, Trap> {
        self.repeat(op, |cpu, wanted| {
            let (from, to) = (cpu.source(op), cpu.destination(op));
            let fit = Self::fit(from, op).min(Self::fit(to, op)).min(wanted);
            let up = cpu.rflags & rflags::DF == 0;
            if fit > 1 && up {
                let bytes = fit << op.size();
                let source = cpu.tlb.get(from, bytes, cpu.mask_read);
                let target = cpu.tlb.get(to, bytes, cpu.mask_write);
                if let (Some(source), Some(target)) = (source, target)
                    // A target just above its source repeats the source's beginning.
                    && target.wrapping_sub(source) >= bytes
                {
                    copy(env.machine.memory(), source, target, bytes);
                    cpu.step_index(op, gpr::RSI, fit);
                    cpu.step_index(op, gpr::RDI, fit);
                    return Ok((fit, true));
                }
            }
            sized!(op, T => {
                let value = cpu.read::<T, M>(env, from)?;
                cpu.write::<T, M>(env, to, value)?;
            });
            cpu.step_index(op, gpr::RSI, 1);
            cpu.step_index(op, gpr::RDI, 1);
            Ok((1, true))
        })
    }

    /// `STOS`. `true`: complete.
    #[inline(never)]
    pub(crate) fn stos<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<bool, Trap> {
        self.repeat(op, |cpu, wanted| {
            let to = cpu.destination(op);
            let fit = Self::fit(to, op).min(wanted);
            let value = cpu.regs[gpr::RAX];
            if fit > 1 && cpu.rflags & rflags::DF == 0 {
                let bytes = fit << op.size();
                if let Some(target) = cpu.tlb.get(to, bytes, cpu.mask_write) {
                    let pattern = sized!(op, T => spread(T::new(value)));
                    fill(env.machine.memory(), target, bytes, pattern);
                    cpu.step_index(op, gpr::RDI, fit);
                    return Ok((fit, true));
                }
            }
            sized!(op, T => cpu.write::<T, M>(env, to, T::new(value))?);
            cpu.step_index(op, gpr::RDI, 1);
            Ok((1, true))
        })
    }

    /// `LODS`, `SCAS`, `CMPS`. `true`: complete.
    #[inline(never)]
    pub(crate) fn scan_string<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<bool, Trap> {
        let flags = self.flags;
        let result = self.repeat(op, |cpu, _| {
            sized!(op, T => match op.kind {
                Kind::Lods => {
                    let value = cpu.read::<T, M>(env, cpu.source(op))?;
                    cpu.set_reg(gpr::RAX as u8, value);
                    cpu.step_index(op, gpr::RSI, 1);
                }
                Kind::Scas => {
                    let value = cpu.read::<T, M>(env, cpu.destination(op))?;
                    let a = cpu.reg::<T>(gpr::RAX as u8);
                    cpu.flags.sub(a, value);
                    cpu.step_index(op, gpr::RDI, 1);
                }
                _ => {
                    // Where both fault, it is the destination's fault that processors report.
                    let y = cpu.read::<T, M>(env, cpu.destination(op))?;
                    let x = cpu.read::<T, M>(env, cpu.source(op))?;
                    cpu.flags.sub(x, y);
                    cpu.step_index(op, gpr::RSI, 1);
                    cpu.step_index(op, gpr::RDI, 1);
                }
            });
            // REPE goes on while equal, REPNE while not.
            let more = op.kind == Kind::Lods || cpu.flags.zf() == op.has(flag::REP);
            Ok((1, more))
        });
        if result.is_err() {
            // A fault shows the flags from before the instruction (SDM vol. 2, REP).
            self.flags = flags;
        }
        result
    }
}

/// The value repeated over 8 bytes.
fn spread<T: Word>(value: T) -> u64 {
    let mut bits = T::BITS;
    let mut pattern = value.get();
    while bits < 64 {
        pattern |= pattern << bits;
        bits *= 2;
    }
    pattern
}

fn copy<P: PhysMemory>(memory: &P, from: u64, to: u64, bytes: u64) {
    let words = bytes & !7;
    for i in (0..words).step_by(8) {
        memory.write_u64(Hpa::new(to + i), memory.read_u64(Hpa::new(from + i)));
    }
    for i in words..bytes {
        memory.write_u8(Hpa::new(to + i), memory.read_u8(Hpa::new(from + i)));
    }
}

fn fill<P: PhysMemory>(memory: &P, to: u64, bytes: u64, pattern: u64) {
    let words = bytes & !7;
    for i in (0..words).step_by(8) {
        memory.write_u64(Hpa::new(to + i), pattern);
    }
    for i in words..bytes {
        memory.write_u8(Hpa::new(to + i), (pattern >> (8 * (i % 8))) as u8);
    }
}
