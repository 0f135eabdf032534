//! Accesses to guest-linear memory.

use crate::Env;
use crate::flags::Flags;
use crate::machine::Machine;
use crate::state::{Cpu, Trap};
use crate::tlb::{Access, Mode, mask};
use crate::word::Word;
use gpa::{Hpa, PAGE_SIZE};
use memory::PhysMemory;

/// Where up to a page of linear memory lies: in one frame or in two.
#[derive(Clone, Copy)]
pub(crate) struct Located {
    first: Hpa,
    /// Bytes in the first frame.
    split: u64,
    second: Hpa,
}

impl Located {
    #[inline(always)]
    fn byte(&self, i: u64) -> Hpa {
        if i < self.split {
            Hpa::new(self.first.get() + i)
        } else {
            Hpa::new(self.second.get() + i - self.split)
        }
    }
}

impl Cpu {
    /// Linear addresses wrap at 4 GiB outside of 64-bit mode.
    #[inline(always)]
    pub(crate) fn wrap(&self, linear: u64) -> u64 {
        if self.long {
            linear
        } else {
            linear & 0xffff_ffff
        }
    }

    /// Finds the host frames of `bytes` (1 to 4096) at `linear`, all of them, for an access.
    pub(crate) fn locate<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        bytes: u64,
        access: Access,
        mode: Mode,
    ) -> Result<Located, Trap> {
        let first = self.translate(env, linear, access, mode)?;
        let split = PAGE_SIZE - linear % PAGE_SIZE;
        let second = if bytes > split {
            let next = self.wrap(linear.wrapping_add(split));
            self.translate(env, next, access, mode)?
        } else {
            first
        };
        Ok(Located {
            first,
            split,
            second,
        })
    }

    /// Reads as the running code does.
    #[inline(always)]
    pub(crate) fn read<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
    ) -> Result<T, Trap> {
        match self.tlb.get(linear, T::BYTES, self.mask_read) {
            Some(hpa) => Ok(T::load(env.machine.memory(), Hpa::new(hpa))),
            None => {
                let mode = self.mode();
                Ok(T::new(self.read_slow(env, linear, T::BYTES, mode)?))
            }
        }
    }

    /// Writes as the running code does.
    #[inline(always)]
    pub(crate) fn write<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        value: T,
    ) -> Result<(), Trap> {
        match self.tlb.get(linear, T::BYTES, self.mask_write) {
            Some(hpa) => {
                value.store(env.machine.memory(), Hpa::new(hpa));
                Ok(())
            }
            None => {
                let mode = self.mode();
                self.write_slow(env, linear, T::BYTES, value.get(), mode)
            }
        }
    }

    /// Reads 1 to 8 bytes in any mode.
    #[inline(never)]
    #[cold]
    pub(crate) fn read_slow<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        bytes: u64,
        mode: Mode,
    ) -> Result<u64, Trap> {
        let at = self.locate(env, linear, bytes, Access::Read, mode)?;
        let memory = env.machine.memory();
        Ok(if bytes <= at.split {
            match bytes {
                1 => memory.read_u8(at.first) as u64,
                2 => memory.read_u16(at.first) as u64,
                4 => memory.read_u32(at.first) as u64,
                _ => memory.read_u64(at.first),
            }
        } else {
            (0..bytes).fold(0, |value, i| {
                value | (memory.read_u8(at.byte(i)) as u64) << (8 * i)
            })
        })
    }

    /// Writes 1 to 8 bytes in any mode, all or none.
    #[inline(never)]
    #[cold]
    pub(crate) fn write_slow<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        bytes: u64,
        value: u64,
        mode: Mode,
    ) -> Result<(), Trap> {
        let at = self.locate(env, linear, bytes, Access::Write, mode)?;
        let memory = env.machine.memory();
        if bytes <= at.split {
            match bytes {
                1 => memory.write_u8(at.first, value as u8),
                2 => memory.write_u16(at.first, value as u16),
                4 => memory.write_u32(at.first, value as u32),
                _ => memory.write_u64(at.first, value),
            }
        } else {
            for i in 0..bytes {
                memory.write_u8(at.byte(i), (value >> (8 * i)) as u8);
            }
        }
        Ok(())
    }

    /// Reads a descriptor or another word the CPU itself looks at: as supervisor.
    #[inline]
    pub(crate) fn read_system<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
    ) -> Result<T, Trap> {
        const MODE: Mode = Mode::Supervisor;
        let linear = self.wrap_system(linear);
        match self.tlb.get(linear, T::BYTES, mask(Access::Read, MODE)) {
            Some(hpa) => Ok(T::load(env.machine.memory(), Hpa::new(hpa))),
            None => Ok(T::new(self.read_slow(env, linear, T::BYTES, MODE)?)),
        }
    }

    /// Writes a word as supervisor.
    pub(crate) fn write_system<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        value: T,
    ) -> Result<(), Trap> {
        let linear = self.wrap_system(linear);
        self.write_slow(env, linear, T::BYTES, value.get(), Mode::Supervisor)
    }

    fn wrap_system(&self, linear: u64) -> u64 {
        if self.efer & crate::state::efer::LMA != 0 {
            linear
        } else {
            linear & 0xffff_ffff
        }
    }

    /// Reads 16 bytes.
    pub(crate) fn read_u128<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
    ) -> Result<u128, Trap> {
        if let Some(hpa) = self.tlb.get(linear, 16, self.mask_read) {
            let memory = env.machine.memory();
            let low = memory.read_u64(Hpa::new(hpa)) as u128;
            return Ok(low | (memory.read_u64(Hpa::new(hpa + 8)) as u128) << 64);
        }
        let mut bytes = [0; 16];
        self.read_bytes(env, linear, &mut bytes)?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// Writes 16 bytes, all or none.
    pub(crate) fn write_u128<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        value: u128,
    ) -> Result<(), Trap> {
        if let Some(hpa) = self.tlb.get(linear, 16, self.mask_write) {
            let memory = env.machine.memory();
            memory.write_u64(Hpa::new(hpa), value as u64);
            memory.write_u64(Hpa::new(hpa + 8), (value >> 64) as u64);
            return Ok(());
        }
        self.write_bytes(env, linear, &value.to_le_bytes())
    }

    /// Reads up to a page.
    pub(crate) fn read_bytes<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        out: &mut [u8],
    ) -> Result<(), Trap> {
        let mode = self.mode();
        let at = self.locate(env, linear, out.len() as u64, Access::Read, mode)?;
        let split = (at.split as usize).min(out.len());
        let (low, high) = out.split_at_mut(split);
        env.machine.memory().read_bytes(at.first, low);
        env.machine.memory().read_bytes(at.second, high);
        Ok(())
    }

    /// Writes up to a page, all or none.
    pub(crate) fn write_bytes<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        bytes: &[u8],
    ) -> Result<(), Trap> {
        let mode = self.mode();
        let at = self.locate(env, linear, bytes.len() as u64, Access::Write, mode)?;
        let (low, high) = bytes.split_at((at.split as usize).min(bytes.len()));
        env.machine.memory().write_bytes(at.first, low);
        env.machine.memory().write_bytes(at.second, high);
        Ok(())
    }

    /// Reads, modifies and writes; `change` sees the flags and sets them.
    /// Nothing changes if the page can't be written. With `lock` it is one atomic operation
    /// (as far as it doesn't cross an aligned 8-byte word: there, no bus is held).
    #[inline(always)]
    pub(crate) fn modify<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        lock: bool,
        change: impl Fn(&mut Flags, T) -> T,
    ) -> Result<T, Trap> {
        let hpa = match self.tlb.get(linear, T::BYTES, self.mask_write) {
            Some(hpa) => Hpa::new(hpa),
            None => {
                let mode = self.mode();
                let at = self.locate(env, linear, T::BYTES, Access::Write, mode)?;
                if at.split < T::BYTES {
                    let old = T::new(self.read_slow(env, linear, T::BYTES, mode)?);
                    let new = change(&mut self.flags, old);
                    self.write_slow(env, linear, T::BYTES, new.get(), mode)?;
                    return Ok(old);
                }
                at.first
            }
        };
        let memory = env.machine.memory();
        if lock {
            Ok(self.modify_locked(memory, hpa, change))
        } else {
            let old = T::load(memory, hpa);
            change(&mut self.flags, old).store(memory, hpa);
            Ok(old)
        }
    }

    #[inline(always)]
    fn modify_locked<T: Word, P: PhysMemory>(
        &mut self,
        memory: &P,
        hpa: Hpa,
        change: impl Fn(&mut Flags, T) -> T,
    ) -> T {
        let offset = hpa.get() % 8;
        if offset + T::BYTES > 8 || !memory.contains(hpa, 8 - offset) {
            let old = T::load(memory, hpa);
            change(&mut self.flags, old).store(memory, hpa);
            return old;
        }
        let word = Hpa::new(hpa.get() - offset);
        let shift = 8 * offset;
        let field = u64::MAX >> (64 - T::BITS) << shift;
        let before = self.flags;
        let mut found = memory.read_u64(word);
        loop {
            let old = T::new(found >> shift);
            let new = change(&mut self.flags, old);
            let whole = found & !field | new.get() << shift;
            match memory.compare_exchange_u64(word, found, whole) {
                Ok(_) => return old,
                Err(now) => {
                    found = now;
                    self.flags = before;
                }
            }
        }
    }

    /// Whether `bytes` at `linear` can be written now; faults as the write would.
    pub(crate) fn probe_write<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        linear: u64,
        bytes: u64,
    ) -> Result<(), Trap> {
        if self
            .tlb
            .get(linear, bytes, mask(Access::Write, self.mode()))
            .is_some()
        {
            return Ok(());
        }
        let mode = self.mode();
        self.locate(env, linear, bytes, Access::Write, mode)?;
        Ok(())
    }
}
