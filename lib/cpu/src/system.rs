//! System instructions: control registers, MSRs, flags, I/O, and what exits.

use crate::Env;
use crate::exit::{VmExit, reason};
use crate::flags::rflags;
use crate::machine::Machine;
use crate::op::{Op, flag};
use crate::state::{Cpu, Trap, cr0, cr4, efer, gpr, is_canonical, seg};

/// MSR numbers (SDM vol. 4).
mod msr {
    pub use x86::msr::{
        IA32_CSTAR as CSTAR, IA32_DS_AREA as DS_AREA, IA32_EFER as EFER, IA32_FMASK as SFMASK,
        IA32_FS_BASE as FS_BASE, IA32_GS_BASE as GS_BASE, IA32_KERNEL_GSBASE as KERNEL_GS_BASE,
        IA32_LSTAR as LSTAR, IA32_PAT as PAT, IA32_STAR as STAR, IA32_SYSENTER_CS as SYSENTER_CS,
        IA32_SYSENTER_EIP as SYSENTER_EIP, IA32_SYSENTER_ESP as SYSENTER_ESP,
        IA32_TIME_STAMP_COUNTER as TSC, IA32_TSC_AUX as TSC_AUX, IA32_X2APIC_EOI as X2APIC_EOI,
        IA32_X2APIC_SELF_IPI as X2APIC_SELF_IPI, IA32_X2APIC_TPR as X2APIC_TPR,
    };

    pub const SPEC_CTRL: u32 = 0x48;
    pub const PRED_CMD: u32 = 0x49;
    pub const MISC_PACKAGE_CTLS: u32 = 0xbc;
    pub const UMWAIT_CONTROL: u32 = 0xe1;
    pub const FLUSH_CMD: u32 = 0x10b;
    pub const X2APIC_FIRST: u32 = 0x800;
    pub const X2APIC_LAST: u32 = 0x8ff;
    pub const XSS: u32 = 0xda0;
    pub const UARCH_MISC_CTL: u32 = 0x1b01;
}

/// DR7 bit: accesses to debug registers raise `#DB`.
const DR7_GD: u64 = 1 << 13;

impl Cpu {
    /// An exit by an instruction.
    pub(crate) fn instruction_exit<T>(
        &mut self,
        op: &Op,
        reason: u16,
        qualification: u64,
    ) -> Result<T, Trap> {
        self.exit(VmExit {
            qualification,
            instruction_length: op.length(),
            ..VmExit::new(reason)
        })
    }

    pub(crate) fn exit_op(&mut self, op: &Op) -> Result<(), Trap> {
        let reason = op.immediate as u16;
        if reason == reason::RDPMC && self.cpl != 0 && self.cr4 & cr4::PCE == 0 {
            return self.general_protection();
        }
        // A TD has no SMX; its exit comes before the check of CR4.SMXE would fail.
        if reason == reason::GETSEC {
            return self.undefined();
        }
        match op.sub {
            1 => self.require_cpl0()?,
            2 if self.cpl != 0 => return self.undefined(),
            _ => {}
        }
        self.instruction_exit(op, reason, 0)
    }

    /// `IN`, `OUT`, `INS`, `OUTS`: always an exit (SDM vol. 3C, table 28-5).
    pub(crate) fn io<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, op: &Op) -> Result<(), Trap> {
        let (input, string, immediate) = (op.sub & 1, op.sub >> 1 & 1, op.sub >> 2);
        let port = if immediate != 0 {
            op.immediate & 0xff
        } else {
            self.regs[gpr::RDX] & 0xffff
        };
        let size = 1u64 << op.size();
        let iopl = (self.rflags & rflags::IOPL) >> 12;
        if self.cpl as u64 > iopl && !self.io_allowed(env, port, size)? {
            return self.general_protection();
        }
        let repeated = op.has(flag::REP | flag::REPNE) as u64;
        let qualification = (size - 1)
            | (input as u64) << 3
            | (string as u64) << 4
            | repeated << 5
            | (immediate as u64) << 6
            | port << 16;
        let gla = if string == 0 {
            0
        } else if input != 0 {
            self.regs[gpr::RDI]
        } else {
            let base = self.seg_base[(op.place.segment() & 7) as usize];
            self.regs[gpr::RSI].wrapping_add(base)
        };
        self.exit(VmExit {
            qualification,
            gla,
            instruction_length: op.length(),
            ..VmExit::new(reason::IO)
        })
    }

    /// Asks the TSS's I/O permission map.
    fn io_allowed<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        port: u64,
        size: u64,
    ) -> Result<bool, Trap> {
        let limit = self.tr.limit as u64;
        if limit < 103 {
            return Ok(false);
        }
        let tss = self.tr.base;
        let map = self.read_system::<u16, M>(env, tss.wrapping_add(102))? as u64;
        let byte = map + port / 8;
        if byte + 1 > limit {
            return Ok(false);
        }
        let bits = self.read_system::<u16, M>(env, tss.wrapping_add(byte))? as u64;
        Ok(bits >> (port % 8) & ((1 << size) - 1) == 0)
    }

    /// `MOV` to (`sub` 1) and from a control register.
    pub(crate) fn mov_cr(&mut self, op: &Op) -> Result<(), Trap> {
        let write = op.sub == 1;
        let (number, register) = if write { (op.a, op.b) } else { (op.b, op.a) };
        if !matches!(number, 0 | 2 | 3 | 4 | 8) {
            return self.undefined();
        }
        self.require_cpl0()?;
        if !write {
            let c = &self.controls;
            let value = match number {
                0 => self.cr0 & !c.cr0_mask | c.cr0_shadow & c.cr0_mask,
                2 => self.cr2,
                3 => self.cr3,
                4 => self.cr4 & !c.cr4_mask | c.cr4_shadow & c.cr4_mask,
                _ => self.apic.tpr() as u64 >> 4,
            };
            if self.long {
                self.set_reg(register, value);
            } else {
                self.set_reg(register, value as u32);
            }
            return Ok(());
        }
        let value = if self.long {
            self.reg::<u64>(register)
        } else {
            self.reg::<u32>(register) as u64
        };
        let exit = number as u64 | (register as u64) << 8;
        match number {
            0 => {
                if (value ^ self.controls.cr0_shadow) & self.controls.cr0_mask != 0 {
                    return self.instruction_exit(op, reason::CR_ACCESS, exit);
                }
                let owned = self.controls.cr0_mask;
                self.write_cr0(value & !owned | self.cr0 & owned)
            }
            2 => {
                self.cr2 = value;
                Ok(())
            }
            3 => self.write_cr3(value),
            4 => {
                if (value ^ self.controls.cr4_shadow) & self.controls.cr4_mask != 0 {
                    return self.instruction_exit(op, reason::CR_ACCESS, exit);
                }
                let owned = self.controls.cr4_mask;
                self.write_cr4(value & !owned | self.cr4 & owned)
            }
            _ => {
                if value > 15 {
                    return self.general_protection();
                }
                self.apic.set_tpr((value as u8) << 4);
                self.update_attention();
                Ok(())
            }
        }
    }

    fn write_cr0(&mut self, value: u64) -> Result<(), Trap> {
        let value = value & 0xffff_ffff | cr0::ET;
        let paging = value & cr0::PG != 0;
        let bad = value >> 32 != 0
            || paging && value & cr0::PE == 0
            || value & cr0::NW != 0 && value & cr0::CD == 0;
        if bad {
            return self.general_protection();
        }
        let value = value & cr0::ALL;
        let changed = self.cr0 ^ value;
        if changed & cr0::PG != 0 {
            if paging {
                // This CPU has 4-level paging only: paging means long mode.
                let ready = self.efer & efer::LME != 0
                    && self.cr4 & cr4::PAE != 0
                    && !self.segments[seg::CS].is_long();
                if !ready {
                    return self.general_protection();
                }
                self.efer |= efer::LMA;
            } else {
                if self.long || self.cr4 & cr4::PCIDE != 0 {
                    return self.general_protection();
                }
                self.efer &= !efer::LMA;
            }
        }
        self.cr0 = value;
        if changed & (cr0::PG | cr0::WP | cr0::PE) != 0 {
            self.tlb.flush();
        }
        self.update_modes();
        Ok(())
    }

    fn write_cr3(&mut self, value: u64) -> Result<(), Trap> {
        let keep = self.cr4 & cr4::PCIDE != 0 && value >> 63 != 0;
        let value = if self.cr4 & cr4::PCIDE != 0 {
            value & !(1 << 63)
        } else {
            value
        };
        if self.long && value >> self.controls.gpa_width.min(52) != 0 {
            return self.general_protection();
        }
        self.cr3 = value;
        // Translations aren't tagged with the PCID, so `keep` can only be a wish.
        let _ = keep;
        self.tlb.flush_non_global();
        Ok(())
    }

    fn write_cr4(&mut self, value: u64) -> Result<(), Trap> {
        if value & !cr4::ALL != 0 {
            return self.general_protection();
        }
        let changed = self.cr4 ^ value;
        let long = self.efer & efer::LMA != 0;
        if long && value & cr4::PAE == 0 {
            return self.general_protection();
        }
        if changed & value & cr4::PCIDE != 0 && (!long || self.cr3 & 0xfff != 0) {
            return self.general_protection();
        }
        self.cr4 = value;
        let translation = cr4::PAE | cr4::PGE | cr4::PCIDE | cr4::SMEP | cr4::SMAP | 1 << 4;
        if changed & translation != 0 {
            self.tlb.flush();
        }
        Ok(())
    }

    /// `MOV` to (`sub` 1) and from a debug register. Breakpoints are state only.
    pub(crate) fn mov_dr(&mut self, op: &Op) -> Result<(), Trap> {
        let write = op.sub == 1;
        let (number, register) = if write { (op.a, op.b) } else { (op.b, op.a) };
        // DR4 and DR5 are DR6 and DR7 unless CR4.DE is set.
        let number = match number {
            4 | 5 if self.cr4 & 1 << 3 != 0 => return self.undefined(),
            4 | 5 => number + 2,
            8.. => return self.undefined(),
            _ => number,
        };
        self.require_cpl0()?;
        if self.dr7 & DR7_GD != 0 {
            self.dr6 |= 1 << 13;
            self.dr7 &= !DR7_GD;
            return self.raise(1);
        }
        if !write {
            let value = self.dr(number as usize);
            self.set_reg(register, value);
            return Ok(());
        }
        let value = self.reg::<u64>(register);
        if number >= 6 && self.long && value >> 32 != 0 {
            return self.general_protection();
        }
        let value = match number {
            6 => value & 0xe00f | 0xffff_0ff0,
            7 => value & 0xffff_2bff | 0x400,
            _ => value,
        };
        self.set_dr(number as usize, value);
        Ok(())
    }

    pub(crate) fn rdmsr<M: Machine>(&mut self, env: &mut Env<'_, '_, M>) -> Result<(), Trap> {
        self.require_cpl0()?;
        let number = self.regs[gpr::RCX] as u32;
        let value = match number {
            msr::TSC => env.machine.tsc(),
            msr::EFER => self.efer,
            msr::XSS => self.msrs.xss,
            // Write-only.
            msr::PRED_CMD | msr::FLUSH_CMD => return self.general_protection(),
            _ => match self.native_msr(number) {
                Some(value) => *value,
                None => match self.apic.read(number) {
                    Some(value) => value,
                    None => return self.msr_exit(reason::RDMSR),
                },
            },
        };
        self.set_reg(gpr::RAX as u8, value as u32);
        self.set_reg(gpr::RDX as u8, (value >> 32) as u32);
        Ok(())
    }

    pub(crate) fn wrmsr(&mut self) -> Result<(), Trap> {
        self.require_cpl0()?;
        let number = self.regs[gpr::RCX] as u32;
        let value = self.regs[gpr::RAX] & 0xffff_ffff | self.regs[gpr::RDX] << 32;
        match number {
            msr::PRED_CMD | msr::FLUSH_CMD => {
                if value & !1 != 0 {
                    return self.general_protection();
                }
                Ok(())
            }
            msr::X2APIC_TPR => {
                if value > 0xff {
                    return self.general_protection();
                }
                self.apic.set_tpr(value as u8);
                self.update_attention();
                Ok(())
            }
            msr::X2APIC_EOI => {
                if value != 0 {
                    return self.general_protection();
                }
                self.apic.end_of_interrupt();
                self.update_attention();
                Ok(())
            }
            msr::X2APIC_SELF_IPI => {
                if !(16..256).contains(&value) {
                    return self.general_protection();
                }
                self.apic.request(value as u8);
                self.update_attention();
                Ok(())
            }
            // The read-only ones among the virtualised x2APIC MSRs.
            msr::X2APIC_FIRST..=msr::X2APIC_LAST if self.apic.read(number).is_some() => {
                self.general_protection()
            }
            _ => {
                let canonical = matches!(
                    number,
                    msr::SYSENTER_ESP
                        | msr::SYSENTER_EIP
                        | msr::LSTAR
                        | msr::CSTAR
                        | msr::FS_BASE
                        | msr::GS_BASE
                        | msr::KERNEL_GS_BASE
                        | msr::DS_AREA
                );
                let memory_types = |value: u64| {
                    value
                        .to_le_bytes()
                        .iter()
                        .all(|kind| matches!(kind, 0 | 1 | 4..=7))
                };
                let bad = canonical && !is_canonical(value)
                    || number == msr::PAT && !memory_types(value)
                    || number == msr::SFMASK && value >> 32 != 0
                    || number == msr::TSC_AUX && value >> 32 != 0;
                let Some(register) = self.native_msr(number) else {
                    return self.msr_exit(reason::WRMSR);
                };
                if bad {
                    return self.general_protection();
                }
                *register = value;
                if matches!(number, msr::FS_BASE | msr::GS_BASE) {
                    self.update_modes();
                }
                Ok(())
            }
        }
    }

    fn msr_exit(&mut self, reason: u16) -> Result<(), Trap> {
        self.exit(VmExit {
            instruction_length: 2,
            ..VmExit::new(reason)
        })
    }

    /// The MSRs that are plain state (TDX module ABI, "MSR virtualization": native).
    fn native_msr(&mut self, number: u32) -> Option<&mut u64> {
        Some(match number {
            msr::SPEC_CTRL => &mut self.msrs.spec_ctrl,
            msr::MISC_PACKAGE_CTLS => &mut self.msrs.misc_package_ctls,
            msr::UMWAIT_CONTROL => &mut self.msrs.umwait_control,
            msr::SYSENTER_CS => &mut self.msrs.sysenter_cs,
            msr::SYSENTER_ESP => &mut self.msrs.sysenter_esp,
            msr::SYSENTER_EIP => &mut self.msrs.sysenter_eip,
            msr::PAT => &mut self.msrs.pat,
            msr::DS_AREA => &mut self.msrs.ds_area,
            msr::UARCH_MISC_CTL => &mut self.msrs.uarch_misc_ctl,
            msr::STAR => &mut self.msrs.star,
            msr::LSTAR => &mut self.msrs.lstar,
            msr::CSTAR => &mut self.msrs.cstar,
            msr::SFMASK => &mut self.msrs.sfmask,
            msr::FS_BASE => &mut self.segments[seg::FS].base,
            msr::GS_BASE => &mut self.segments[seg::GS].base,
            msr::KERNEL_GS_BASE => &mut self.msrs.kernel_gs_base,
            msr::TSC_AUX => &mut self.msrs.tsc_aux,
            _ => return None,
        })
    }

    pub(crate) fn swapgs(&mut self) -> Result<(), Trap> {
        if !self.long {
            return self.undefined();
        }
        self.require_cpl0()?;
        core::mem::swap(
            &mut self.segments[seg::GS].base,
            &mut self.msrs.kernel_gs_base,
        );
        self.seg_base[seg::GS] = self.segments[seg::GS].base;
        Ok(())
    }

    /// `RDFSBASE` (`sub` 0), `RDGSBASE` (1), `WRFSBASE` (2), `WRGSBASE` (3).
    pub(crate) fn fs_gs_base(&mut self, op: &Op) -> Result<(), Trap> {
        if !self.long || self.cr4 & cr4::FSGSBASE == 0 {
            return self.undefined();
        }
        let number = if op.sub & 1 == 0 { seg::FS } else { seg::GS };
        let wide = op.size() == 3;
        if op.sub < 2 {
            let base = self.segments[number].base;
            if wide {
                self.set_reg(op.a, base);
            } else {
                self.set_reg(op.a, base as u32);
            }
            return Ok(());
        }
        let base = if wide {
            self.reg::<u64>(op.a)
        } else {
            self.reg::<u32>(op.a) as u64
        };
        if !is_canonical(base) {
            return self.general_protection();
        }
        self.segments[number].base = base;
        self.seg_base[number] = base;
        Ok(())
    }

    /// `RDTSC`, and with `sub` 1 `RDTSCP`.
    pub(crate) fn rdtsc<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        if self.cpl > 0 && self.cr4 & cr4::TSD != 0 {
            return self.general_protection();
        }
        let value = env.machine.tsc();
        self.set_reg(gpr::RAX as u8, value as u32);
        self.set_reg(gpr::RDX as u8, (value >> 32) as u32);
        if op.sub == 1 {
            self.set_reg(gpr::RCX as u8, self.msrs.tsc_aux as u32);
        }
        Ok(())
    }

    /// CLI and STI are for code with CPL up to IOPL.
    fn check_iopl(&mut self) -> Result<(), Trap> {
        if self.cpl as u64 > (self.rflags & rflags::IOPL) >> 12 {
            return self.general_protection();
        }
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn cli(&mut self) -> Result<(), Trap> {
        self.check_iopl()?;
        self.rflags &= !rflags::IF;
        Ok(())
    }

    pub(crate) fn sti(&mut self) -> Result<(), Trap> {
        self.check_iopl()?;
        if self.rflags & rflags::IF == 0 {
            self.rflags |= rflags::IF;
            self.shadow = true;
        }
        Ok(())
    }

    /// `STAC`, `CLAC`.
    pub(crate) fn set_ac(&mut self, set: bool) -> Result<(), Trap> {
        if self.cpl != 0 {
            return self.undefined();
        }
        if set {
            self.rflags |= rflags::AC;
        } else {
            self.rflags &= !rflags::AC;
        }
        self.update_modes();
        Ok(())
    }

    pub(crate) fn push_flags<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let value = self.rflags() & !(rflags::RF | rflags::VM);
        if op.size() == 3 {
            self.push64(env, value)
        } else {
            self.push(env, 1 << op.size(), value)
        }
    }

    pub(crate) fn pop_flags<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let bytes = 1 << op.size();
        let value = self.peek(env, 0, bytes)?;
        let rsp = self.regs[gpr::RSP].wrapping_add(bytes);
        self.set_stack_pointer(rsp);
        let mut writable = rflags::ARITHMETIC | rflags::TF | rflags::DF | rflags::NT;
        if self.cpl as u64 <= (self.rflags & rflags::IOPL) >> 12 {
            writable |= rflags::IF;
        }
        if self.cpl == 0 {
            writable |= rflags::IOPL;
        }
        if bytes > 2 {
            writable |= rflags::AC | rflags::ID;
        }
        let flags = self.rflags() & !(writable | rflags::RF) | value & writable;
        self.set_rflags(flags);
        Ok(())
    }

    /// Any `PUSH` of a general operand; `sub` 1: the immediate.
    pub(crate) fn push_operand<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let bytes = 1 << op.size();
        let value = if op.sub == 1 {
            op.immediate
        } else if op.has(flag::MEMORY0) {
            let (at, mode) = (self.address(op), self.mode());
            match self.tlb.get(at, 8, self.mask_read) {
                Some(hpa) if bytes == 8 => {
                    memory::PhysMemory::read_u64(env.machine.memory(), gpa::Hpa::new(hpa))
                }
                _ => self.read_slow(env, at, bytes, mode)?,
            }
        } else {
            self.reg::<u64>(op.a)
        };
        if self.long && bytes == 8 {
            self.push64(env, value)
        } else {
            self.push(env, bytes, value)
        }
    }

    pub(crate) fn pop_operand<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let bytes = 1 << op.size();
        let value = self.peek(env, 0, bytes)?;
        let old = self.regs[gpr::RSP];
        // An address with RSP as its base sees RSP after the pop.
        self.set_stack_pointer(old.wrapping_add(bytes));
        if op.has(flag::MEMORY0) {
            let (at, mode) = (self.address(op), self.mode());
            if let Err(trap) = self.write_slow(env, at, bytes, value, mode) {
                self.regs[gpr::RSP] = old;
                return Err(trap);
            }
        } else {
            match bytes {
                2 => self.set_reg(op.a, value as u16),
                4 => self.set_reg(op.a, value as u32),
                _ => self.set_reg(op.a, value),
            }
        }
        Ok(())
    }

    pub(crate) fn leave<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let bytes = 1 << op.size();
        let frame = self.regs[gpr::RBP];
        let at = self.stack_address(frame);
        let value = if bytes == 8 {
            self.read::<u64, M>(env, at)?
        } else {
            let mode = self.mode();
            self.read_slow(env, at, bytes, mode)?
        };
        self.set_stack_pointer(frame.wrapping_add(bytes));
        match bytes {
            2 => self.set_reg(gpr::RBP as u8, value as u16),
            4 => self.set_reg(gpr::RBP as u8, value as u32),
            _ => self.regs[gpr::RBP] = value,
        }
        Ok(())
    }

    pub(crate) fn enter<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let bytes = 1u64 << op.size();
        let room = op.immediate & 0xffff;
        let nesting = op.immediate >> 16 & 31;
        let old = self.regs[gpr::RSP];
        let result = self.enter_frame(env, bytes, room, nesting);
        if result.is_err() {
            self.regs[gpr::RSP] = old;
        }
        result
    }

    fn enter_frame<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        bytes: u64,
        room: u64,
        nesting: u64,
    ) -> Result<(), Trap> {
        let rbp = self.regs[gpr::RBP];
        self.push(env, bytes, rbp)?;
        let frame = self.regs[gpr::RSP];
        let mode = self.mode();
        for level in 1..nesting {
            let at = self.stack_address(rbp.wrapping_sub(bytes * level));
            let value = self.read_slow(env, at, bytes, mode)?;
            self.push(env, bytes, value)?;
        }
        if nesting > 0 {
            self.push(env, bytes, frame)?;
        }
        let rsp = self.regs[gpr::RSP].wrapping_sub(room);
        // The new stack must be writable, or the instruction faults.
        let top = self.stack_address(rsp);
        self.probe_write(env, top, bytes)?;
        self.set_stack_pointer(rsp);
        match bytes {
            2 => self.set_reg(gpr::RBP as u8, frame as u16),
            4 => self.set_reg(gpr::RBP as u8, frame as u32),
            _ => self.regs[gpr::RBP] = frame,
        }
        Ok(())
    }

    pub(crate) fn xgetbv(&mut self) -> Result<(), Trap> {
        if self.cr4 & cr4::OSXSAVE == 0 {
            return self.undefined();
        }
        let value = match self.regs[gpr::RCX] as u32 {
            0 => self.xcr0,
            1 => self.xcr0 & fpu::image::in_use(&self.fpu),
            _ => return self.general_protection(),
        };
        self.set_reg(gpr::RAX as u8, value as u32);
        self.set_reg(gpr::RDX as u8, (value >> 32) as u32);
        Ok(())
    }

    pub(crate) fn xsetbv(&mut self, op: &Op) -> Result<(), Trap> {
        if self.cr4 & cr4::OSXSAVE == 0 {
            return self.undefined();
        }
        self.require_cpl0()?;
        self.instruction_exit(op, reason::XSETBV, 0)
    }

    /// `CLFLUSH` and its family: checks the address, there are no caches to flush.
    pub(crate) fn cache_line_flush<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let at = self.address(op);
        self.read::<u8, M>(env, at)?;
        Ok(())
    }
}
