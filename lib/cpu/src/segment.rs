//! Segments and the transfers between them (SDM vol. 3A, chapters 3 and 5).

use crate::Env;
use crate::flags::rflags;
use crate::machine::Machine;
use crate::op::{Op, flag};
use crate::state::{Cpu, Segment, Stop, Trap, cr0, cr4, efer, gpr, is_canonical, seg};
use gpa::Hpa;
use memory::PhysMemory;

// Exceptions with a selector as error code.
pub(crate) use x86::irq::{
    GENERAL_PROTECTION_FAULT_VECTOR as GP, INVALID_TSS_VECTOR as TS,
    SEGMENT_NOT_PRESENT_VECTOR as NP, STACK_SEGEMENT_FAULT_VECTOR as SS,
};

/// Access-rights bits.
pub(crate) mod rights {
    pub const ACCESSED: u32 = 1 << 0;
    /// Data: writable. Code: readable.
    pub const WRITABLE: u32 = 1 << 1;
    /// Code: conforming.
    pub const CONFORMING: u32 = 1 << 2;
    pub const CODE: u32 = 1 << 3;
    /// Code or data, not system.
    pub const SEGMENT: u32 = 1 << 4;
    pub const PRESENT: u32 = 1 << 7;
    pub const LONG: u32 = 1 << 13;
    pub const BIG: u32 = 1 << 14;
}

/// A descriptor with where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor {
    pub segment: Segment,
    /// Linear address of the table entry.
    at: u64,
}

/// The segment that 8 bytes of a descriptor table describe.
fn parse(selector: u16, raw: u64) -> Segment {
    let base = raw >> 16 & 0xff_ffff | raw >> 32 & 0xff00_0000;
    let mut limit = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
    let rights = (raw >> 40) as u32 & 0xf0ff;
    if rights & 1 << 15 != 0 {
        limit = limit << 12 | 0xfff;
    }
    Segment {
        selector,
        base,
        limit,
        rights,
    }
}

impl Segment {
    fn has(&self, bits: u32) -> bool {
        self.rights & bits == bits
    }
    fn is_code(&self) -> bool {
        self.has(rights::SEGMENT | rights::CODE)
    }
    fn is_data(&self) -> bool {
        self.has(rights::SEGMENT) && self.rights & rights::CODE == 0
    }
    fn is_conforming(&self) -> bool {
        self.is_code() && self.has(rights::CONFORMING)
    }
    fn is_present(&self) -> bool {
        self.has(rights::PRESENT)
    }
    /// The type of a system descriptor; `None` for code and data.
    fn system_type(&self) -> Option<u32> {
        (self.rights & rights::SEGMENT == 0).then_some(self.rights & 0xf)
    }
    const fn null(selector: u16, dpl: u8) -> Self {
        Self {
            selector,
            base: 0,
            limit: 0,
            rights: Self::UNUSABLE | (dpl as u32) << 5,
        }
    }
}

const fn code_of(selector: u16) -> u32 {
    selector as u32 & 0xfffc
}

impl Cpu {
    /// Reads the descriptor of a selector; `None` beyond the table's limit.
    fn find_descriptor<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
    ) -> Result<Option<Descriptor>, Trap> {
        let offset = selector as u64 & !7;
        let (base, limit) = if selector & 4 == 0 {
            (self.gdtr.base, self.gdtr.limit as u64)
        } else if self.ldtr.rights & Segment::UNUSABLE != 0 {
            return Ok(None);
        } else {
            (self.ldtr.base, self.ldtr.limit as u64)
        };
        if offset + 7 > limit {
            return Ok(None);
        }
        let at = base.wrapping_add(offset);
        let raw = self.read_system::<u64, M>(env, at)?;
        Ok(Some(Descriptor {
            segment: parse(selector, raw),
            at,
        }))
    }

    /// Reads the descriptor of a selector that must not be null; `#GP(selector)` or, for the
    /// null selector, `#GP(0)`.
    pub(crate) fn descriptor<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
        external: u32,
    ) -> Result<Descriptor, Trap> {
        if selector & 0xfffc == 0 {
            return self.raise_code(GP, external);
        }
        match self.find_descriptor(env, selector)? {
            Some(descriptor) => Ok(descriptor),
            None => self.raise_code(GP, code_of(selector) | external),
        }
    }

    /// Sets the accessed bit of a code or data descriptor, here and in the table.
    fn mark_accessed<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        descriptor: &mut Descriptor,
    ) -> Result<(), Trap> {
        if descriptor.segment.rights & rights::ACCESSED == 0 {
            descriptor.segment.rights |= rights::ACCESSED;
            let at = descriptor.at.wrapping_add(5);
            self.write_system(env, at, descriptor.segment.rights as u8)?;
        }
        Ok(())
    }

    /// Loads ES, SS, DS, FS or GS.
    pub(crate) fn load_segment<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        number: usize,
        selector: u16,
    ) -> Result<(), Trap> {
        let rpl = selector as u8 & 3;
        if selector & 0xfffc == 0 {
            if number == seg::SS && !(self.long && self.cpl < 3 && rpl == self.cpl) {
                return self.raise_code(GP, 0);
            }
            let dpl = if number == seg::SS { self.cpl } else { 0 };
            self.segments[number] = Segment::null(selector, dpl);
            self.update_modes();
            return Ok(());
        }
        let mut descriptor = self.descriptor(env, selector, 0)?;
        let s = descriptor.segment;
        let code = code_of(selector);
        let (fits, missing) = if number == seg::SS {
            let fits =
                s.is_data() && s.has(rights::WRITABLE) && rpl == self.cpl && s.dpl() == self.cpl;
            (fits, SS)
        } else {
            let readable = s.is_data() || s.is_code() && s.has(rights::WRITABLE);
            let privileged = s.is_conforming() || s.dpl() >= rpl.max(self.cpl);
            (readable && privileged, NP)
        };
        if !fits {
            return self.raise_code(GP, code);
        }
        if !s.is_present() {
            return self.raise_code(missing, code);
        }
        self.mark_accessed(env, &mut descriptor)?;
        self.segments[number] = descriptor.segment;
        self.update_modes();
        Ok(())
    }

    /// Checks a code segment as the target of a far transfer. `gate_cpl`: the privilege it
    /// must have (a return's RPL); `None` for jumps and calls.
    fn check_code<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
        returning: bool,
    ) -> Result<Descriptor, Trap> {
        let mut descriptor = self.descriptor(env, selector, 0)?;
        let s = descriptor.segment;
        let code = code_of(selector);
        let rpl = selector as u8 & 3;
        let privileged = if returning {
            rpl >= self.cpl
                && if s.is_conforming() {
                    s.dpl() <= rpl
                } else {
                    s.dpl() == rpl
                }
        } else if s.is_conforming() {
            s.dpl() <= self.cpl
        } else {
            rpl <= self.cpl && s.dpl() == self.cpl
        };
        let both = rights::LONG | rights::BIG;
        let wrong_size = self.efer & efer::LMA != 0 && s.has(both);
        if !s.is_code() || !privileged || wrong_size {
            return self.raise_code(GP, code);
        }
        if !s.is_present() {
            return self.raise_code(NP, code);
        }
        self.mark_accessed(env, &mut descriptor)?;
        Ok(descriptor)
    }

    /// `#GP(0)` unless `rip` is one for the code segment.
    fn check_target(&mut self, code: &Segment, rip: u64) -> Result<(), Trap> {
        let long = self.efer & efer::LMA != 0 && code.is_long();
        let fits = if long {
            is_canonical(rip)
        } else {
            rip <= code.limit as u64
        };
        if fits { Ok(()) } else { self.raise_code(GP, 0) }
    }

    fn enter_code(&mut self, mut code: Segment, cpl: u8, rip: u64) {
        code.selector = code.selector & !3 | cpl as u16;
        self.segments[seg::CS] = code;
        self.cpl = cpl;
        self.rip = rip;
        self.update_modes();
    }

    /// The operand of a far jump or call.
    fn far_target<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(u16, u64), Trap> {
        if op.sub == 0 {
            return Ok(((op.immediate >> 32) as u16, op.immediate & 0xffff_ffff));
        }
        let at = self.address(op);
        let bytes = 1 << op.size();
        let mode = self.mode();
        let rip = self.read_slow(env, at, bytes, mode)?;
        let next = self.wrap(at.wrapping_add(bytes));
        let selector = self.read_slow(env, next, 2, mode)? as u16;
        Ok((selector, rip))
    }

    /// `JMP` far, to code segments; gates and tasks are `#GP`.
    pub(crate) fn far_jmp<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let (selector, rip) = self.far_target(env, op)?;
        let descriptor = self.check_code(env, selector, false)?;
        self.check_target(&descriptor.segment, rip)?;
        self.enter_code(descriptor.segment, self.cpl, rip);
        Ok(())
    }

    /// `CALL` far, to code segments; gates and tasks are `#GP`.
    pub(crate) fn far_call<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let (selector, rip) = self.far_target(env, op)?;
        let descriptor = self.check_code(env, selector, false)?;
        self.check_target(&descriptor.segment, rip)?;
        let bytes = 1 << op.size();
        let old = self.segments[seg::CS].selector as u64;
        let back = self.next_rip(op);
        let rsp = self.regs[gpr::RSP];
        let pushed = self.push(env, bytes, old);
        let pushed = pushed.and_then(|()| self.push(env, bytes, back));
        if let Err(trap) = pushed {
            self.regs[gpr::RSP] = rsp;
            return Err(trap);
        }
        self.enter_code(descriptor.segment, self.cpl, rip);
        Ok(())
    }

    /// `RET` far.
    pub(crate) fn far_ret<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let bytes = 1 << op.size();
        let rip = self.peek(env, 0, bytes)?;
        let selector = self.peek(env, bytes, bytes)? as u16;
        let used = 2 * bytes + op.immediate;
        if selector as u8 & 3 > self.cpl {
            let rsp = self.peek(env, used, bytes)?;
            let stack = self.peek(env, used + bytes, bytes)? as u16;
            self.return_to(
                env,
                selector,
                rip,
                Some((stack, rsp.wrapping_add(op.immediate))),
            )
        } else {
            self.return_to(env, selector, rip, None)?;
            let rsp = self.regs[gpr::RSP].wrapping_add(used);
            self.set_stack_pointer(rsp);
            Ok(())
        }
    }

    /// Returns to code at `selector:rip`, with the given stack if it isn't kept.
    fn return_to<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
        rip: u64,
        stack: Option<(u16, u64)>,
    ) -> Result<(), Trap> {
        let code = self.check_code(env, selector, true)?.segment;
        self.check_target(&code, rip)?;
        let cpl = selector as u8 & 3;
        let Some((ss, rsp)) = stack else {
            self.enter_code(code, cpl, rip);
            return Ok(());
        };
        let to_long = self.efer & efer::LMA != 0 && code.is_long();
        let stack = if ss & 0xfffc == 0 {
            if !to_long || cpl == 3 || ss as u8 & 3 != cpl {
                return self.raise_code(GP, 0);
            }
            Segment::null(ss, cpl)
        } else {
            let mut descriptor = self.descriptor(env, ss, 0)?;
            let s = descriptor.segment;
            let fits =
                s.is_data() && s.has(rights::WRITABLE) && ss as u8 & 3 == cpl && s.dpl() == cpl;
            if !fits {
                return self.raise_code(GP, code_of(ss));
            }
            if !s.is_present() {
                return self.raise_code(SS, code_of(ss));
            }
            self.mark_accessed(env, &mut descriptor)?;
            descriptor.segment
        };
        let outer = cpl > self.cpl;
        self.segments[seg::SS] = stack;
        self.enter_code(code, cpl, rip);
        self.set_stack_pointer(rsp);
        if outer {
            // Data segments that the outer level couldn't have loaded don't stay.
            for number in [seg::ES, seg::DS, seg::FS, seg::GS] {
                let s = self.segments[number];
                if !s.is_conforming() && s.dpl() < cpl && s.rights & Segment::UNUSABLE == 0 {
                    self.segments[number] = Segment::null(0, 0);
                }
            }
            self.update_modes();
        }
        Ok(())
    }

    pub(crate) fn iret<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        if self.rflags & rflags::NT != 0 {
            return self.raise_code(GP, 0);
        }
        let bytes = 1 << op.size();
        let rip = self.peek(env, 0, bytes)?;
        let selector = self.peek(env, bytes, bytes)? as u16;
        let flags = self.peek(env, 2 * bytes, bytes)?;
        let old_cpl = self.cpl;
        if self.long || selector as u8 & 3 > self.cpl {
            let rsp = self.peek(env, 3 * bytes, bytes)?;
            let ss = self.peek(env, 4 * bytes, bytes)? as u16;
            self.return_to(env, selector, rip, Some((ss, rsp)))?;
        } else {
            self.return_to(env, selector, rip, None)?;
            let rsp = self.regs[gpr::RSP].wrapping_add(3 * bytes);
            self.set_stack_pointer(rsp);
        }
        let mut writable = rflags::ARITHMETIC | rflags::TF | rflags::DF | rflags::NT;
        if old_cpl as u64 <= (self.rflags & rflags::IOPL) >> 12 {
            writable |= rflags::IF;
        }
        if old_cpl == 0 {
            writable |= rflags::IOPL;
        }
        if bytes > 2 {
            writable |= rflags::RF | rflags::AC | rflags::ID;
            if old_cpl == 0 {
                writable |= rflags::VIF | rflags::VIP;
            }
        }
        self.set_rflags(self.rflags() & !writable | flags & writable);
        self.nmi_blocked = false;
        Ok(())
    }

    /// Reads the stack `offset` bytes above the stack pointer.
    #[inline]
    pub(crate) fn peek<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        offset: u64,
        bytes: u64,
    ) -> Result<u64, Trap> {
        let at = self.stack_address(self.regs[gpr::RSP].wrapping_add(offset));
        if bytes == 8
            && let Some(hpa) = self.tlb.get(at, 8, self.mask_read)
        {
            return Ok(env.machine.memory().read_u64(Hpa::new(hpa)));
        }
        let mode = self.mode();
        let result = self.read_slow(env, at, bytes, mode);
        self.on_stack(result)
    }

    /// Makes a non-canonical address that of a stack access: `#SS(0)`, whatever segment the
    /// instruction's memory operand has.
    #[inline(always)]
    pub(crate) fn on_stack<T>(&mut self, result: Result<T, Trap>) -> Result<T, Trap> {
        if result.is_err() && matches!(self.stop, Stop::NonCanonical) {
            self.stop = Stop::Exception {
                vector: SS,
                error_code: Some(0),
            };
        }
        result
    }

    /// The linear address of a stack offset.
    pub(crate) fn stack_address(&self, offset: u64) -> u64 {
        if self.long {
            return offset;
        }
        self.wrap((offset & self.stack_mask()).wrapping_add(self.segments[seg::SS].base))
    }

    /// The bits of RSP that the stack's size uses.
    fn stack_mask(&self) -> u64 {
        if self.long {
            u64::MAX
        } else if self.segments[seg::SS].is_big() {
            0xffff_ffff
        } else {
            0xffff
        }
    }

    pub(crate) fn set_stack_pointer(&mut self, value: u64) {
        let mask = self.stack_mask();
        let old = self.regs[gpr::RSP];
        self.regs[gpr::RSP] = if mask == 0xffff {
            old & !mask | value & mask
        } else {
            value & mask
        };
    }

    /// Pushes 2, 4 or 8 bytes in any mode.
    pub(crate) fn push<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        bytes: u64,
        value: u64,
    ) -> Result<(), Trap> {
        let rsp = self.regs[gpr::RSP].wrapping_sub(bytes);
        let at = self.stack_address(rsp);
        let mode = self.mode();
        let result = self.write_slow(env, at, bytes, value, mode);
        self.on_stack(result)?;
        self.set_stack_pointer(rsp);
        Ok(())
    }

    /// `SYSCALL` (64-bit mode only, as on Intel's processors).
    pub(crate) fn syscall(&mut self, op: &Op) -> Result<(), Trap> {
        if !self.long || self.efer & efer::SCE == 0 {
            return self.undefined();
        }
        self.regs[gpr::RCX] = self.next_rip(op);
        self.regs[gpr::R11] = self.rflags() & !rflags::RF;
        let selector = (self.msrs.star >> 32) as u16 & 0xfffc;
        self.flat_code_and_stack(selector, selector.wrapping_add(8), 0, true);
        self.rip = self.msrs.lstar;
        let flags = self.rflags() & !self.msrs.sfmask & !rflags::RF;
        self.set_rflags(flags);
        Ok(())
    }

    /// `SYSRET`; `sub` 1 with REX.W.
    pub(crate) fn sysret(&mut self, op: &Op) -> Result<(), Trap> {
        if !self.long || self.efer & efer::SCE == 0 {
            return self.undefined();
        }
        self.require_cpl0()?;
        let wide = op.sub == 1;
        let rip = self.regs[gpr::RCX];
        if wide && !is_canonical(rip) {
            return self.general_protection();
        }
        let base = (self.msrs.star >> 48) as u16;
        let code = base.wrapping_add(if wide { 16 } else { 0 }) | 3;
        self.flat_code_and_stack(code, base.wrapping_add(8) | 3, 3, wide);
        self.rip = if wide { rip } else { rip & 0xffff_ffff };
        self.set_rflags(self.regs[gpr::R11] & 0x3c_7fd7);
        Ok(())
    }

    pub(crate) fn sysenter(&mut self) -> Result<(), Trap> {
        if self.cr0 & cr0::PE == 0 || self.msrs.sysenter_cs & 0xfffc == 0 {
            return self.general_protection();
        }
        let long = self.efer & efer::LMA != 0;
        let selector = self.msrs.sysenter_cs as u16 & 0xfffc;
        self.flat_code_and_stack(selector, selector.wrapping_add(8), 0, long);
        self.rip = self.msrs.sysenter_eip;
        self.regs[gpr::RSP] = self.msrs.sysenter_esp;
        self.set_rflags(self.rflags() & !(rflags::IF | rflags::RF | rflags::VM));
        Ok(())
    }

    /// `SYSEXIT`; `sub` 1 with REX.W.
    pub(crate) fn sysexit(&mut self, op: &Op) -> Result<(), Trap> {
        if self.msrs.sysenter_cs & 0xfffc == 0 {
            return self.general_protection();
        }
        self.require_cpl0()?;
        let wide = op.sub == 1;
        let (rip, rsp) = (self.regs[gpr::RDX], self.regs[gpr::RCX]);
        if wide && !(is_canonical(rip) && is_canonical(rsp)) {
            return self.general_protection();
        }
        let base = self.msrs.sysenter_cs as u16;
        let code = base.wrapping_add(if wide { 32 } else { 16 }) | 3;
        self.flat_code_and_stack(code, code.wrapping_add(8), 3, wide);
        let mask = if wide { u64::MAX } else { 0xffff_ffff };
        self.rip = rip & mask;
        self.regs[gpr::RSP] = rsp & mask;
        Ok(())
    }

    /// What the fast system calls do to CS and SS.
    fn flat_code_and_stack(&mut self, code: u16, stack: u16, cpl: u8, long: bool) {
        let privilege = (cpl as u32) << 5;
        let size = if long { rights::LONG } else { rights::BIG };
        let flat = |selector, rights| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            rights: rights | privilege,
        };
        self.segments[seg::CS] = flat(code, 0x809b | size);
        self.segments[seg::SS] = flat(stack, 0xc093);
        self.cpl = cpl;
        self.update_modes();
    }

    /// `LLDT` and `LTR`.
    pub(crate) fn load_system_segment<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
        task: bool,
    ) -> Result<(), Trap> {
        self.require_cpl0()?;
        if !task && selector & 0xfffc == 0 {
            self.ldtr = Segment::null(selector, 0);
            return Ok(());
        }
        if selector & 0xfffc == 0 {
            return self.raise_code(GP, 0);
        }
        let code = code_of(selector);
        if selector & 4 != 0 {
            return self.raise_code(GP, code);
        }
        let descriptor = self.descriptor(env, selector, 0)?;
        let mut s = descriptor.segment;
        let long = self.efer & efer::LMA != 0;
        let fits = match s.system_type() {
            Some(2) => !task,
            // An available TSS, 16-bit ones in legacy mode only.
            Some(9) => task,
            Some(1) => task && !long,
            _ => false,
        };
        if !fits {
            return self.raise_code(GP, code);
        }
        if !s.is_present() {
            return self.raise_code(NP, code);
        }
        if long {
            let offset = selector as u64 & !7;
            if offset + 15 > self.gdtr.limit as u64 {
                return self.raise_code(GP, code);
            }
            let high = self.read_system::<u64, M>(env, descriptor.at.wrapping_add(8))?;
            if high >> 40 & 0x1f != 0 {
                return self.raise_code(GP, code);
            }
            s.base |= high << 32;
            if !is_canonical(s.base) {
                return self.raise_code(GP, code);
            }
        }
        if task {
            s.rights |= 2;
            self.write_system(env, descriptor.at.wrapping_add(5), s.rights as u8)?;
            self.tr = s;
        } else {
            self.ldtr = s;
        }
        Ok(())
    }

    /// `LAR`, `LSL`, `VERR`, `VERW`: the segment, if code of this privilege may know it.
    pub(crate) fn inspect<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
    ) -> Result<Option<Segment>, Trap> {
        if selector & 0xfffc == 0 {
            return Ok(None);
        }
        let found = self.find_descriptor(env, selector)?;
        let privilege = self.cpl.max(selector as u8 & 3);
        Ok(found
            .map(|d| d.segment)
            .filter(|s| s.is_conforming() || s.dpl() >= privilege))
    }

    /// What `LAR` (`limit` false) or `LSL` gives for a selector.
    pub(crate) fn lar_lsl<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
        limit: bool,
    ) -> Result<Option<u32>, Trap> {
        let Some(s) = self.inspect(env, selector)? else {
            return Ok(None);
        };
        let long = self.efer & efer::LMA != 0;
        let known = match s.system_type() {
            None => true,
            Some(2 | 9 | 11) => true,
            Some(1 | 3) => !long,
            // Gates have rights, and no limit.
            Some(12) => !limit,
            Some(4 | 5) => !limit && !long,
            _ => false,
        };
        Ok(known.then_some(if limit { s.limit } else { s.rights << 8 }))
    }

    /// `VERR` (`write` false) and `VERW`.
    pub(crate) fn verify<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        selector: u16,
        write: bool,
    ) -> Result<bool, Trap> {
        Ok(self.inspect(env, selector)?.is_some_and(|s| {
            if write {
                s.is_data() && s.has(rights::WRITABLE)
            } else {
                s.is_data() || s.is_code() && s.has(rights::WRITABLE)
            }
        }))
    }

    /// `#GP(0)` if UMIP keeps this instruction from user code.
    pub(crate) fn check_umip(&mut self) -> Result<(), Trap> {
        if self.cr4 & cr4::UMIP != 0 && self.cpl > 0 {
            return self.general_protection();
        }
        Ok(())
    }

    /// `LOOP`, `LOOPE`, `LOOPNE`, `JrCXZ`.
    pub(crate) fn loop_(&mut self, op: &Op) -> Result<(), Trap> {
        use crate::op::looping;
        let mask = if op.has(flag::ADDRESS16) {
            0xffff
        } else if op.has(flag::ADDRESS32) {
            0xffff_ffff
        } else {
            u64::MAX
        };
        let mut count = self.regs[gpr::RCX] & mask;
        let taken = if op.sub == looping::JRCXZ {
            count == 0
        } else {
            count = count.wrapping_sub(1) & mask;
            match mask {
                0xffff => self.set_reg(gpr::RCX as u8, count as u16),
                _ => self.regs[gpr::RCX] = count,
            }
            count != 0
                && match op.sub {
                    looping::LOOPE => self.flags.zf(),
                    looping::LOOPNE => !self.flags.zf(),
                    _ => true,
                }
        };
        let to = if taken { op.immediate } else { op.next() };
        self.rip = self.wrap(self.regs[16].wrapping_add(to));
        Ok(())
    }

    fn near_mask(op: &Op) -> u64 {
        if op.size() == 1 { 0xffff } else { 0xffff_ffff }
    }

    /// Near jumps with 16- and 32-bit targets.
    pub(crate) fn jmp_narrow<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        self.rip = self.narrow_target(env, op)?;
        Ok(())
    }

    fn narrow_target<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<u64, Trap> {
        let target = if op.sub == 1 {
            self.regs[16].wrapping_add(op.immediate)
        } else if op.has(flag::MEMORY0) {
            let (at, mode) = (self.address(op), self.mode());
            self.read_slow(env, at, 1 << op.size(), mode)?
        } else {
            self.reg::<u64>(op.a)
        };
        Ok(target & Self::near_mask(op))
    }

    /// Near calls with 16- and 32-bit targets.
    pub(crate) fn call_narrow<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let target = self.narrow_target(env, op)?;
        let back = self.next_rip(op);
        self.push(env, 1 << op.size(), back)?;
        self.rip = target;
        Ok(())
    }

    /// Near returns with 16- and 32-bit targets.
    pub(crate) fn ret_narrow<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let bytes = 1 << op.size();
        let target = self.peek(env, 0, bytes)?;
        let rsp = self.regs[gpr::RSP].wrapping_add(bytes + op.immediate);
        self.set_stack_pointer(rsp);
        self.rip = target & Self::near_mask(op);
        Ok(())
    }
}
