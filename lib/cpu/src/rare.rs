//! Instructions that are too rare for a kind of their own.

use crate::Env;
use crate::flags::rflags;
use crate::integer::sized;
use crate::machine::Machine;
use crate::op::{Op, flag};
use crate::state::{Cpu, Table, Trap, cr0, cr4, gpr, is_canonical, seg};
use crate::word::Word;
use iced_x86::{Code, Mnemonic as Mn};

impl Cpu {
    /// Executes the instruction whose iced code is in the op.
    #[inline(never)]
    pub(crate) fn rare<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let Ok(code) = Code::try_from((op.immediate >> 48) as usize) else {
            return self.undefined();
        };
        let mnemonic = code.mnemonic();
        match mnemonic {
            Mn::Mov => self.mov_segment(env, op),
            Mn::Push | Mn::Pop => self.push_pop_segment(env, op, mnemonic == Mn::Push, code),
            Mn::Lgdt | Mn::Lidt => {
                self.require_cpl0()?;
                let table = self.read_table(env, op)?;
                if mnemonic == Mn::Lgdt {
                    self.gdtr = table;
                } else {
                    self.idtr = table;
                }
                Ok(())
            }
            Mn::Sgdt | Mn::Sidt => {
                self.check_umip()?;
                let table = if mnemonic == Mn::Sgdt {
                    self.gdtr
                } else {
                    self.idtr
                };
                let mut image = [0; 10];
                image[..2].copy_from_slice(&table.limit.to_le_bytes());
                image[2..].copy_from_slice(&table.base.to_le_bytes());
                let bytes = if self.long { 10 } else { 6 };
                let at = self.address(op);
                self.write_bytes(env, at, &image[..bytes])
            }
            Mn::Lldt | Mn::Ltr => {
                self.require_cpl0()?;
                let selector = self.operand0::<u16, M>(env, op)?;
                self.load_system_segment(env, selector, mnemonic == Mn::Ltr)
            }
            Mn::Sldt | Mn::Str | Mn::Smsw => {
                self.check_umip()?;
                let value = match mnemonic {
                    Mn::Sldt => self.ldtr.selector as u64,
                    Mn::Str => self.tr.selector as u64,
                    _ => {
                        let c = &self.controls;
                        self.cr0 & !c.cr0_mask | c.cr0_shadow & c.cr0_mask
                    }
                };
                if op.has(flag::MEMORY0) {
                    let at = self.address(op);
                    self.write(env, at, value as u16)
                } else {
                    sized!(op, T => self.set_reg(op.a, T::new(value)));
                    Ok(())
                }
            }
            Mn::Lmsw => {
                self.require_cpl0()?;
                let value = self.operand0::<u16, M>(env, op)? as u64 & 0xf;
                // It can set PE and not clear it.
                let low = value | self.cr0 & cr0::PE;
                if (low ^ self.controls.cr0_shadow) & self.controls.cr0_mask & 0xf != 0 {
                    let exit = 3 << 4 | value << 16;
                    return self.instruction_exit(op, crate::exit::reason::CR_ACCESS, exit);
                }
                self.cr0 = self.cr0 & !0xf | low;
                Ok(())
            }
            Mn::Clts => {
                self.require_cpl0()?;
                let owned = self.controls.cr0_mask & cr0::TS != 0;
                if owned && self.controls.cr0_shadow & cr0::TS != 0 {
                    return self.instruction_exit(op, crate::exit::reason::CR_ACCESS, 2 << 4);
                }
                if !owned {
                    self.cr0 &= !cr0::TS;
                }
                Ok(())
            }
            Mn::Invlpg => {
                self.require_cpl0()?;
                let at = self.address(op);
                self.tlb.flush_page(at);
                Ok(())
            }
            Mn::Invpcid => self.invpcid(env, op),
            Mn::Lar | Mn::Lsl => {
                let selector = self.operand1::<u16, M>(env, op)?;
                let found = self.lar_lsl(env, selector, mnemonic == Mn::Lsl)?;
                if let Some(value) = found {
                    sized!(op, T => self.set_reg(op.a, T::new(value as u64)));
                }
                self.flags.set_zf(found.is_some());
                Ok(())
            }
            Mn::Verr | Mn::Verw => {
                let selector = self.operand0::<u16, M>(env, op)?;
                let met = self.verify(env, selector, mnemonic == Mn::Verw)?;
                self.flags.set_zf(met);
                Ok(())
            }
            Mn::Lss => self.load_far_pointer(env, op, seg::SS),
            Mn::Lfs => self.load_far_pointer(env, op, seg::FS),
            Mn::Lgs => self.load_far_pointer(env, op, seg::GS),
            Mn::Les => self.load_far_pointer(env, op, seg::ES),
            Mn::Lds => self.load_far_pointer(env, op, seg::DS),
            Mn::Movbe => sized!(op, T => {
                let swap = |value: T| T::new(value.get().swap_bytes() >> (64 - T::BITS));
                if op.has(flag::MEMORY0) {
                    let (at, value) = (self.address(op), self.reg::<T>(op.b));
                    self.write(env, at, swap(value))
                } else {
                    let value = self.operand1::<T, M>(env, op)?;
                    self.set_reg(op.a, swap(value));
                    Ok(())
                }
            }),
            Mn::Xlatb => {
                let index = self.reg::<u8>(gpr::RAX as u8) as u64;
                let base = self.seg_base[(op.place.segment() & 7) as usize];
                let mut offset = self.regs[gpr::RBX].wrapping_add(index);
                if op.has(flag::ADDRESS32) {
                    offset &= 0xffff_ffff;
                } else if op.has(flag::ADDRESS16) {
                    offset &= 0xffff;
                }
                let at = self.wrap(offset.wrapping_add(base));
                let value = self.read::<u8, M>(env, at)?;
                self.set_reg(gpr::RAX as u8, value);
                Ok(())
            }
            Mn::Pushad | Mn::Pusha => {
                self.push_all(env, if mnemonic == Mn::Pushad { 4 } else { 2 })
            }
            Mn::Popad | Mn::Popa => self.pop_all(env, if mnemonic == Mn::Popad { 4 } else { 2 }),
            Mn::Bound => {
                let at = self.address(op);
                let (index, low, high) = sized!(op, T => {
                    let low = self.read::<T, M>(env, at)?.sext() as i64;
                    let next = self.wrap(at.wrapping_add(T::BYTES));
                    let high = self.read::<T, M>(env, next)?.sext() as i64;
                    (self.reg::<T>(op.a).sext() as i64, low, high)
                });
                if index < low || index > high {
                    return self.raise(5);
                }
                Ok(())
            }
            Mn::Arpl => {
                let selector = self.operand0::<u16, M>(env, op)?;
                let rpl = self.reg::<u16>(op.b) & 3;
                let adjust = selector & 3 < rpl;
                if adjust {
                    let value = selector & !3 | rpl;
                    if op.has(flag::MEMORY0) {
                        let at = self.address(op);
                        self.write(env, at, value)?;
                    } else {
                        self.set_reg(op.a, value);
                    }
                }
                self.flags.set_zf(adjust);
                Ok(())
            }
            Mn::Salc => {
                let value = if self.flags.cf() { 0xff } else { 0u8 };
                self.set_reg(gpr::RAX as u8, value);
                Ok(())
            }
            Mn::Daa | Mn::Das => {
                self.decimal_adjust(mnemonic == Mn::Das);
                Ok(())
            }
            Mn::Aaa | Mn::Aas => {
                self.ascii_adjust(mnemonic == Mn::Aas);
                Ok(())
            }
            Mn::Aam => {
                let (al, base) = (self.reg::<u8>(0), op.immediate as u8);
                if base == 0 {
                    return self.raise(0);
                }
                let (high, low) = (al / base, al % base);
                self.set_reg(0, (high as u16) << 8 | low as u16);
                self.flags.logic(low);
                Ok(())
            }
            Mn::Aad => {
                let ax = self.reg::<u16>(0);
                let high = (ax >> 8) as u8;
                let low = (ax as u8).wrapping_add(high.wrapping_mul(op.immediate as u8));
                self.set_reg(0, low as u16);
                self.flags.logic(low);
                Ok(())
            }
            _ => self.undefined(),
        }
    }

    /// `MOV` to and from a segment register.
    fn mov_segment<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, op: &Op) -> Result<(), Trap> {
        let Ok(code) = Code::try_from((op.immediate >> 48) as usize) else {
            return self.undefined();
        };
        let to_segment = matches!(
            code,
            Code::Mov_Sreg_rm16 | Code::Mov_Sreg_r32m16 | Code::Mov_Sreg_r64m16
        );
        if to_segment {
            let selector = self.operand1::<u16, M>(env, op)?;
            let number = op.a as usize;
            if number == seg::CS || number > seg::GS {
                return self.undefined();
            }
            self.load_segment(env, number, selector)?;
            if number == seg::SS {
                self.shadow = true;
            }
            return Ok(());
        }
        let selector = self.segments[(op.b as usize).min(5)].selector;
        if op.has(flag::MEMORY0) {
            let at = self.address(op);
            self.write(env, at, selector)
        } else {
            sized!(op, T => self.set_reg(op.a, T::new(selector as u64)));
            Ok(())
        }
    }

    fn push_pop_segment<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        push: bool,
        code: Code,
    ) -> Result<(), Trap> {
        let number = match code {
            Code::Pushw_ES | Code::Pushd_ES | Code::Popw_ES | Code::Popd_ES => seg::ES,
            Code::Pushw_CS | Code::Pushd_CS => seg::CS,
            Code::Pushw_SS | Code::Pushd_SS | Code::Popw_SS | Code::Popd_SS => seg::SS,
            Code::Pushw_DS | Code::Pushd_DS | Code::Popw_DS | Code::Popd_DS => seg::DS,
            Code::Pushw_FS | Code::Pushd_FS | Code::Pushq_FS => seg::FS,
            Code::Popw_FS | Code::Popd_FS | Code::Popq_FS => seg::FS,
            _ => seg::GS,
        };
        let bytes = 1 << op.size();
        if push {
            let selector = self.segments[number].selector as u64;
            return self.push(env, bytes, selector);
        }
        let selector = self.peek(env, 0, bytes)? as u16;
        self.load_segment(env, number, selector)?;
        let rsp = self.regs[gpr::RSP].wrapping_add(bytes);
        self.set_stack_pointer(rsp);
        if number == seg::SS {
            self.shadow = true;
        }
        Ok(())
    }

    fn read_table<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, op: &Op) -> Result<Table, Trap> {
        let at = self.address(op);
        let limit = self.read::<u16, M>(env, at)?;
        let next = self.wrap(at.wrapping_add(2));
        let base = if self.long {
            self.read::<u64, M>(env, next)?
        } else {
            self.read::<u32, M>(env, next)? as u64
        };
        if !is_canonical(base) {
            return self.general_protection();
        }
        Ok(Table { base, limit })
    }

    fn invpcid<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, op: &Op) -> Result<(), Trap> {
        self.require_cpl0()?;
        let at = self.address(op);
        let descriptor = self.read_u128(env, at)?;
        let kind = if self.long {
            self.reg::<u64>(op.a)
        } else {
            self.reg::<u32>(op.a) as u64
        };
        let pcid = descriptor as u64;
        let linear = (descriptor >> 64) as u64;
        let bad_pcid = pcid >> 12 != 0 || pcid != 0 && self.cr4 & cr4::PCIDE == 0;
        match kind {
            0 if bad_pcid || !is_canonical(linear) => return self.general_protection(),
            1 if bad_pcid => return self.general_protection(),
            0 => self.tlb.flush_page(linear),
            1 | 3 => self.tlb.flush_non_global(),
            2 => self.tlb.flush(),
            _ => return self.general_protection(),
        }
        Ok(())
    }

    fn load_far_pointer<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        number: usize,
    ) -> Result<(), Trap> {
        let at = self.address(op);
        sized!(op, T => {
            let offset = self.read::<T, M>(env, at)?;
            let next = self.wrap(at.wrapping_add(T::BYTES));
            let selector = self.read::<u16, M>(env, next)?;
            self.load_segment(env, number, selector)?;
            self.set_reg(op.a, offset);
        });
        Ok(())
    }

    fn push_all<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, bytes: u64) -> Result<(), Trap> {
        let rsp = self.regs[gpr::RSP];
        for number in 0..8 {
            let value = if number == gpr::RSP {
                rsp
            } else {
                self.regs[number]
            };
            if let Err(trap) = self.push(env, bytes, value) {
                self.regs[gpr::RSP] = rsp;
                return Err(trap);
            }
        }
        Ok(())
    }

    fn pop_all<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, bytes: u64) -> Result<(), Trap> {
        let mut values = [0; 8];
        for (i, value) in values.iter_mut().enumerate() {
            *value = self.peek(env, i as u64 * bytes, bytes)?;
        }
        for (i, value) in values.into_iter().enumerate() {
            let number = 7 - i;
            if number == gpr::RSP {
                continue;
            }
            if bytes == 2 {
                self.set_reg(number as u8, value as u16);
            } else {
                self.set_reg(number as u8, value as u32);
            }
        }
        let rsp = self.regs[gpr::RSP].wrapping_add(8 * bytes);
        self.set_stack_pointer(rsp);
        Ok(())
    }

    /// `DAA`, `DAS`.
    fn decimal_adjust(&mut self, subtract: bool) {
        let old = self.reg::<u8>(0);
        let (af, cf) = (self.flags.af(), self.flags.cf());
        let low = old & 0xf > 9 || af;
        let high = old > 0x99 || cf;
        let adjust = if low { 6 } else { 0u8 } + if high { 0x60 } else { 0 };
        let al = if subtract {
            old.wrapping_sub(adjust)
        } else {
            old.wrapping_add(adjust)
        };
        let carry = high || subtract && low && old < 6;
        self.set_reg(0, al);
        self.flags.logic(al);
        let mut flags = self.flags.get();
        flags |= if low { rflags::AF } else { 0 } | carry as u64;
        self.flags.set(flags);
    }

    /// `AAA`, `AAS`.
    fn ascii_adjust(&mut self, subtract: bool) {
        let ax = self.reg::<u16>(0);
        let adjust = ax & 0xf > 9 || self.flags.af();
        let result = match (adjust, subtract) {
            (false, _) => ax,
            (true, false) => ax.wrapping_add(0x106),
            (true, true) => ax.wrapping_sub(0x106),
        };
        self.set_reg(0, result & 0xff0f);
        let flags = self.flags.get() & !(rflags::AF | rflags::CF);
        self.flags.set(if adjust {
            flags | rflags::AF | rflags::CF
        } else {
            flags
        });
    }

    /// BMI1 and BMI2.
    #[inline(never)]
    pub(crate) fn bmi<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let Ok(code) = Code::try_from((op.immediate >> 48) as usize) else {
            return self.undefined();
        };
        let third = op.immediate as u8;
        if op.size() == 3 {
            self.bmi_sized::<u64, M>(env, op, code.mnemonic(), third)
        } else {
            self.bmi_sized::<u32, M>(env, op, code.mnemonic(), third)
        }
    }

    fn bmi_sized<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        mnemonic: Mn,
        third: u8,
    ) -> Result<(), Trap> {
        let bits = T::BITS as u64;
        let all = u64::MAX >> (64 - bits);
        // ANDN, MULX, PDEP, PEXT: b is the first source, the third operand the other one.
        // The rest: operand 1 is the source, the third a register or immediate.
        let third_is_source = matches!(mnemonic, Mn::Andn | Mn::Mulx | Mn::Pdep | Mn::Pext);
        let source = if op.has(flag::MEMORY1) {
            let at = self.address(op);
            self.read::<T, M>(env, at)?.get()
        } else if third_is_source {
            self.reg::<T>(third).get()
        } else {
            self.reg::<T>(op.b).get()
        };
        let second = if third_is_source {
            self.reg::<T>(op.b).get()
        } else if mnemonic == Mn::Rorx {
            third as u64
        } else {
            self.reg::<T>(third).get()
        };
        let count = second & (bits - 1);
        let result = match mnemonic {
            Mn::Andn => {
                let r = self.flags.logic(T::new(!second & source));
                r.get()
            }
            Mn::Bextr => {
                let (start, len) = (second & 0xff, second >> 8 & 0xff);
                let shifted = if start < bits { source >> start } else { 0 };
                let r = if len < bits {
                    shifted & ((1u64 << len) - 1)
                } else {
                    shifted
                };
                self.flags.logic(T::new(r)).get()
            }
            // BLSx have their destination as the first operand, the source as the second.
            Mn::Blsi => {
                let r = source & source.wrapping_neg() & all;
                self.flags.result(T::new(r), source != 0, false);
                r
            }
            Mn::Blsmsk => {
                let r = (source ^ source.wrapping_sub(1)) & all;
                self.flags.result(T::new(r), source == 0, false);
                r
            }
            Mn::Blsr => {
                let r = source & source.wrapping_sub(1) & all;
                self.flags.result(T::new(r), source == 0, false);
                r
            }
            Mn::Bzhi => {
                let n = second & 0xff;
                let r = if n < bits {
                    source & ((1u64 << n) - 1)
                } else {
                    source
                };
                self.flags.result(T::new(r), n > bits - 1, false);
                r
            }
            Mn::Mulx => {
                let wide = self.reg::<T>(gpr::RDX as u8).get() as u128 * source as u128;
                self.set_reg(op.b, T::new(wide as u64));
                (wide >> bits) as u64
            }
            Mn::Pdep => {
                let (mut r, mut mask, mut k) = (0, source, 0);
                while mask != 0 {
                    let lowest = mask & mask.wrapping_neg();
                    if second >> k & 1 != 0 {
                        r |= lowest;
                    }
                    mask ^= lowest;
                    k += 1;
                }
                r
            }
            Mn::Pext => {
                let (mut r, mut mask, mut k) = (0, source, 0);
                while mask != 0 {
                    let lowest = mask & mask.wrapping_neg();
                    if second & lowest != 0 {
                        r |= 1 << k;
                    }
                    mask ^= lowest;
                    k += 1;
                }
                r
            }
            Mn::Rorx => {
                (source >> count | source << (((bits - count) & 63) * (count != 0) as u64)) & all
            }
            Mn::Sarx => (T::new(source).sext() as i64 >> count) as u64,
            Mn::Shlx => source << count,
            _ => source >> count,
        };
        self.set_reg(op.a, T::new(result));
        Ok(())
    }
}
