//! x87, MMX and SSE: operands are fetched and stored here, everything else is `lib/fpu`.

use crate::Env;
use crate::decode_forms::vector_form;
use crate::flags::rflags;
use crate::machine::Machine;
use crate::op::{Op, flag};
use crate::state::{Cpu, Trap, cr0, cr4, gpr, seg};
use fpu::image::{FXSAVE_BYTES, Layout, XSAVE_BYTES, XsaveKind};
use fpu::{Place, X87Form, X87Op};
use iced_x86::{Code, Instruction, Mnemonic as Mn, OpKind, Register};
use x86::irq::{
    DEVICE_NOT_AVAILABLE_VECTOR as NM, INVALID_OPCODE_VECTOR as UD,
    SIMD_FLOATING_POINT_VECTOR as XM, X87_FPU_VECTOR as MF,
};

impl Cpu {
    /// `#UD` or `#NM` where SSE isn't enabled.
    #[inline(always)]
    fn check_sse(&mut self) -> Result<(), Trap> {
        if self.cr0 & (cr0::EM | cr0::TS) != 0 || self.cr4 & cr4::OSFXSR == 0 {
            return self.refuse_sse();
        }
        Ok(())
    }

    #[cold]
    fn refuse_sse(&mut self) -> Result<(), Trap> {
        if self.cr0 & cr0::EM != 0 || self.cr4 & cr4::OSFXSR == 0 {
            return self.raise(UD);
        }
        self.raise(NM)
    }

    /// `#UD` or `#NM` where MMX isn't enabled.
    fn check_mmx(&mut self) -> Result<(), Trap> {
        if self.cr0 & cr0::EM != 0 {
            return self.raise(UD);
        }
        if self.cr0 & cr0::TS != 0 {
            return self.raise(NM);
        }
        Ok(())
    }

    /// `#NM` where x87 instructions aren't enabled.
    fn check_x87(&mut self) -> Result<(), Trap> {
        if self.cr0 & (cr0::EM | cr0::TS) != 0 {
            return self.raise(NM);
        }
        Ok(())
    }

    fn xmm(&mut self, number: u8) -> &mut u128 {
        &mut self.fpu.xmm[number as usize & 15]
    }

    /// Whole-register moves. `sub` bits 1:0: register, load, store; bit 2: aligned.
    pub(crate) fn sse_move<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        self.check_sse()?;
        if op.sub & 3 == 0 {
            *self.xmm(op.a) = *self.xmm(op.b);
            return Ok(());
        }
        let at = self.address(op);
        if op.sub & 4 != 0 && !at.is_multiple_of(16) {
            return self.general_protection();
        }
        if op.sub & 3 == 1 {
            *self.xmm(op.a) = self.read_u128(env, at)?;
            Ok(())
        } else {
            let value = *self.xmm(op.b);
            self.write_u128(env, at, value)
        }
    }

    /// Reads 1 to 16 bytes, zero-extended.
    fn read_operand<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        at: u64,
        bytes: u8,
    ) -> Result<u128, Trap> {
        Ok(match bytes {
            16 => self.read_u128(env, at)?,
            8 => self.read::<u64, M>(env, at)? as u128,
            4 => self.read::<u32, M>(env, at)? as u128,
            2 => self.read::<u16, M>(env, at)? as u128,
            1 => self.read::<u8, M>(env, at)? as u128,
            _ => {
                let mut image = [0; 16];
                let bytes = (bytes as usize).min(16);
                self.read_bytes(env, at, &mut image[..bytes])?;
                u128::from_le_bytes(image)
            }
        })
    }

    /// Writes the low 1 to 16 bytes of a value.
    fn write_operand<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        at: u64,
        bytes: usize,
        value: u128,
    ) -> Result<(), Trap> {
        match bytes {
            16 => self.write_u128(env, at, value),
            8 => self.write(env, at, value as u64),
            4 => self.write(env, at, value as u32),
            2 => self.write(env, at, value as u16),
            1 => self.write(env, at, value as u8),
            _ => {
                let image = value.to_le_bytes();
                self.write_bytes(env, at, &image[..bytes.min(16)])
            }
        }
    }

    /// Any vector instruction with the usual operands.
    #[inline(never)]
    pub(crate) fn sse<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let Some(form) = vector_form(op) else {
            return self.undefined();
        };
        if form.mmx {
            self.check_mmx()?;
        }
        let touches_xmm = form.dst == Place::Xmm || form.src == Place::Xmm;
        if touches_xmm || !form.mmx {
            self.check_sse()?;
        }
        if form.mmx && self.fpu.x87.pending() {
            return self.raise(MF);
        }
        let at = if form.bytes > 0 { self.address(op) } else { 0 };
        if form.aligned && !at.is_multiple_of(16) {
            return self.general_protection();
        }
        let src = match form.src {
            Place::Xmm => *self.xmm(op.b),
            Place::Mm => self.fpu.x87.mm(op.b & 7) as u128,
            Place::Gpr32 => self.reg::<u32>(op.b) as u128,
            Place::Gpr64 => self.reg::<u64>(op.b) as u128,
            Place::Memory => self.read_operand(env, at, form.bytes)?,
            Place::Immediate => op.immediate as u8 as u128,
            Place::None | Place::Flags => 0,
        };
        // Comparisons have their first operand in the register that isn't written.
        let dst = match form.dst {
            Place::Xmm | Place::Flags => *self.xmm(op.a),
            Place::Mm => self.fpu.x87.mm(op.a & 7) as u128,
            _ => 0,
        };
        let xmm0 = self.fpu.xmm[0];
        let mut mxcsr = self.fpu.mxcsr;
        let result = fpu::vector(
            form.op,
            form.mmx,
            dst,
            src,
            op.immediate as u8,
            xmm0,
            &mut mxcsr,
        );
        let result = match result {
            Ok(result) => result,
            Err(fpu::SimdException) => {
                self.fpu.mxcsr = mxcsr;
                let vector = if self.cr4 & cr4::OSXMMEXCPT != 0 {
                    XM
                } else {
                    UD
                };
                return self.raise(vector);
            }
        };
        if form.dst == Place::Memory {
            self.write_operand(env, at, form.bytes as usize, result)?;
        }
        self.fpu.mxcsr = mxcsr;
        if form.mmx && self.fpu.x87.enter_mmx().is_err() {
            return self.raise(MF);
        }
        match form.dst {
            Place::Xmm => *self.xmm(op.a) = result,
            Place::Mm => self.fpu.x87.set_mm(op.a & 7, result as u64),
            Place::Gpr32 => self.set_reg(op.a, result as u32),
            Place::Gpr64 => self.set_reg(op.a, result as u64),
            Place::Flags => self.flags.set(result as u64),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn crc32<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        macro_rules! data {
            ($t:ty) => {
                self.operand1::<$t, M>(env, op)? as u64
            };
        }
        let data = match op.sub {
            0 => data!(u8),
            1 => data!(u16),
            2 => data!(u32),
            _ => data!(u64),
        };
        let crc = fpu::crc32(self.reg::<u32>(op.a), data, 1 << op.sub);
        self.set_reg(op.a, crc);
        Ok(())
    }

    pub(crate) fn pcmpstr<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        self.check_sse()?;
        let Ok(code) = Code::try_from((op.immediate >> 48) as usize) else {
            return self.undefined();
        };
        let b = if op.has(flag::MEMORY1) {
            let at = self.address(op);
            self.read_u128(env, at)?
        } else {
            *self.xmm(op.b)
        };
        let a = *self.xmm(op.a);
        let (ax, dx) = (self.regs[gpr::RAX], self.regs[gpr::RDX]);
        let narrow = (ax as i32 as i64, dx as i32 as i64);
        let lengths = match code.mnemonic() {
            Mn::Pcmpestri | Mn::Pcmpestrm => Some(narrow),
            Mn::Pcmpestri64 | Mn::Pcmpestrm64 => Some((ax as i64, dx as i64)),
            _ => None,
        };
        let result = fpu::pcmpstr(a, b, lengths, op.immediate as u8);
        if matches!(
            code.mnemonic(),
            Mn::Pcmpestri | Mn::Pcmpestri64 | Mn::Pcmpistri
        ) {
            self.set_reg(gpr::RCX as u8, result.index);
        } else {
            self.fpu.xmm[0] = result.mask;
        }
        self.flags.set(result.flags as u64);
        Ok(())
    }

    /// `LDMXCSR` (`sub` 0), `STMXCSR` (1).
    pub(crate) fn mxcsr<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        self.check_sse()?;
        let at = self.address(op);
        if op.sub == 1 {
            return self.write(env, at, self.fpu.mxcsr);
        }
        let value = self.read::<u32, M>(env, at)?;
        if value & !fpu::MXCSR_MASK != 0 {
            return self.general_protection();
        }
        self.fpu.mxcsr = value;
        Ok(())
    }

    pub(crate) fn emms(&mut self) -> Result<(), Trap> {
        self.check_mmx()?;
        if self.fpu.x87.emms().is_err() {
            return self.raise(MF);
        }
        Ok(())
    }

    /// `MASKMOVQ` (`sub` 0), `MASKMOVDQU` (1): bytes with their mask's top bit to DS:rDI.
    pub(crate) fn mask_mov<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let (value, mask, bytes);
        if op.sub == 1 {
            self.check_sse()?;
            (value, mask, bytes) = (*self.xmm(op.a), *self.xmm(op.b), 16);
        } else {
            self.check_mmx()?;
            if self.fpu.x87.pending() {
                return self.raise(MF);
            }
            value = self.fpu.x87.mm(op.a & 7) as u128;
            mask = self.fpu.x87.mm(op.b & 7) as u128;
            bytes = 8;
        }
        let base = self.seg_base[(op.place.segment() & 7) as usize];
        let mut offset = self.regs[gpr::RDI];
        if op.has(flag::ADDRESS32) {
            offset &= 0xffff_ffff;
        }
        let at = self.wrap(offset.wrapping_add(base));
        self.probe_write(env, at, bytes)?;
        for i in 0..bytes {
            if mask >> (8 * i + 7) & 1 != 0 {
                let to = self.wrap(at.wrapping_add(i));
                self.write(env, to, (value >> (8 * i)) as u8)?;
            }
        }
        if op.sub == 0 && self.fpu.x87.enter_mmx().is_err() {
            return self.raise(MF);
        }
        Ok(())
    }

    /// The form of the x87 instruction whose iced code is in the op.
    fn x87_form(op: &Op) -> Option<X87Form> {
        const ST: [Register; 8] = [
            Register::ST0,
            Register::ST1,
            Register::ST2,
            Register::ST3,
            Register::ST4,
            Register::ST5,
            Register::ST6,
            Register::ST7,
        ];
        let code = Code::try_from((op.immediate >> 48) as usize).ok()?;
        let mut i = Instruction::default();
        i.set_code(code);
        if op.has(flag::MEMORY0) {
            i.set_op0_kind(OpKind::Memory);
        } else {
            i.set_op0_kind(OpKind::Register);
            i.set_op0_register(ST[op.a as usize & 7]);
            i.set_op1_kind(OpKind::Register);
            i.set_op1_register(ST[op.b as usize & 7]);
        }
        X87Form::of(&i)
    }

    #[inline(never)]
    pub(crate) fn x87<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let Some(form) = Self::x87_form(op) else {
            return self.undefined();
        };
        if form.op == X87Op::Wait {
            // WAIT heeds TS only together with MP.
            if self.cr0 & (cr0::MP | cr0::TS) == cr0::MP | cr0::TS {
                return self.raise(NM);
            }
        } else {
            self.check_x87()?;
        }
        let bytes = form.memory.bytes();
        let at = if bytes > 0 { self.address(op) } else { 0 };
        if matches!(
            form.op,
            X87Op::Ldenv | X87Op::Stenv | X87Op::Rstor | X87Op::Save
        ) {
            return self.x87_image(env, form, at, bytes);
        }
        // #MF comes before the operand is looked at; FNSTCW and FNSTSW don't ask.
        let waits = !matches!(form.op, X87Op::Stcw | X87Op::Stsw);
        if bytes > 0 && waits && self.fpu.x87.pending() {
            return self.raise(MF);
        }
        let operand = if bytes > 0 && !form.stores() {
            self.read_operand(env, at, bytes as u8)?
        } else {
            0
        };
        let pointers = fpu::Pointers {
            opcode: op.immediate as u16,
            ip: self.regs[16].wrapping_add(op.offset as u64),
            data: at,
        };
        let rflags = self.rflags();
        // The stack must stay as it is where the store faults; and memory isn't touched at all
        // where an unmasked exception keeps the result.
        let before = form.stores().then(|| self.fpu.x87.clone());
        let Ok(output) = self.fpu.x87.execute(form, operand, rflags, &pointers) else {
            return self.raise(MF);
        };
        if let Some(value) = output.memory
            && let Err(trap) = self.write_operand(env, at, bytes, value)
        {
            if let Some(before) = before {
                self.fpu.x87 = before;
            }
            return Err(trap);
        }
        if let Some(ax) = output.ax {
            self.set_reg(gpr::RAX as u8, ax);
        }
        if let Some(flags) = output.flags {
            self.flags.set(flags as u64 & rflags::ARITHMETIC);
        }
        Ok(())
    }

    /// `FLDENV`, `FSTENV`, `FRSTOR`, `FSAVE`.
    fn x87_image<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        form: X87Form,
        at: u64,
        bytes: usize,
    ) -> Result<(), Trap> {
        let layout = if matches!(bytes, 14 | 94) {
            fpu::Env::Protected16
        } else {
            fpu::Env::Protected32
        };
        let done = match form.op {
            X87Op::Ldenv | X87Op::Rstor if self.fpu.x87.pending() => Err(fpu::MathFault),
            X87Op::Ldenv => {
                let mut image = [0; 28];
                self.read_bytes(env, at, &mut image[..bytes.min(28)])?;
                self.fpu.x87.load_env(layout, &image)
            }
            X87Op::Rstor => {
                let mut image = [0; 108];
                self.read_bytes(env, at, &mut image[..bytes.min(108)])?;
                self.fpu.x87.restore(layout, &image)
            }
            X87Op::Stenv => {
                self.probe_write(env, at, bytes as u64)?;
                let image = self.fpu.x87.store_env(layout);
                self.write_bytes(env, at, &image[..bytes.min(28)])?;
                Ok(())
            }
            _ => {
                self.probe_write(env, at, bytes as u64)?;
                let image = self.fpu.x87.save(layout);
                self.write_bytes(env, at, &image[..bytes.min(108)])?;
                Ok(())
            }
        };
        if done.is_err() {
            return self.raise(MF);
        }
        Ok(())
    }

    /// `FXSAVE`, `FXRSTOR`, and the `XSAVE` family.
    #[inline(never)]
    pub(crate) fn fpu_image<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
    ) -> Result<(), Trap> {
        let Ok(code) = Code::try_from((op.immediate >> 48) as usize) else {
            return self.undefined();
        };
        let mnemonic = code.mnemonic();
        let wide = matches!(
            mnemonic,
            Mn::Fxsave64
                | Mn::Fxrstor64
                | Mn::Xsave64
                | Mn::Xsaveopt64
                | Mn::Xsavec64
                | Mn::Xsaves64
                | Mn::Xrstor64
                | Mn::Xrstors64
        );
        let layout = Layout {
            wide_pointers: wide,
            high_xmm: self.long,
        };
        let at = self.address(op);
        if matches!(
            mnemonic,
            Mn::Fxsave | Mn::Fxsave64 | Mn::Fxrstor | Mn::Fxrstor64
        ) {
            self.check_x87()?;
            if !at.is_multiple_of(16) {
                return self.general_protection();
            }
            let mut image = [0; FXSAVE_BYTES];
            let saves = matches!(mnemonic, Mn::Fxsave | Mn::Fxsave64);
            if saves {
                self.probe_write(env, at, FXSAVE_BYTES as u64)?;
            }
            self.read_bytes(env, at, &mut image)?;
            if saves {
                fpu::image::fxsave(&self.fpu, &mut image, layout);
                return self.write_bytes(env, at, &image);
            }
            if fpu::image::fxrstor(&mut self.fpu, &image, layout).is_err() {
                return self.general_protection();
            }
            return Ok(());
        }
        if self.cr4 & cr4::OSXSAVE == 0 {
            return self.undefined();
        }
        if self.cr0 & cr0::TS != 0 {
            return self.raise(NM);
        }
        let supervisor = matches!(
            mnemonic,
            Mn::Xsaves | Mn::Xsaves64 | Mn::Xrstors | Mn::Xrstors64
        );
        if supervisor {
            self.require_cpl0()?;
        }
        if !at.is_multiple_of(64) {
            return self.general_protection();
        }
        let wanted = self.regs[gpr::RAX] & 0xffff_ffff | self.regs[gpr::RDX] << 32;
        let enabled = self.xcr0 | if supervisor { self.msrs.xss } else { 0 };
        let kind = match mnemonic {
            Mn::Xsave | Mn::Xsave64 => XsaveKind::Plain,
            Mn::Xsaveopt | Mn::Xsaveopt64 => XsaveKind::Optimized,
            Mn::Xsavec | Mn::Xsavec64 | Mn::Xsaves | Mn::Xsaves64 => XsaveKind::Compacted,
            _ => {
                let mut image = [0; XSAVE_BYTES];
                self.read_bytes(env, at, &mut image)?;
                let result = fpu::image::xrstor(
                    &mut self.fpu,
                    &image,
                    layout,
                    supervisor,
                    enabled,
                    wanted & enabled,
                );
                if result.is_err() {
                    return self.general_protection();
                }
                return Ok(());
            }
        };
        let mut image = [0; XSAVE_BYTES];
        self.probe_write(env, at, XSAVE_BYTES as u64)?;
        self.read_bytes(env, at, &mut image)?;
        fpu::image::xsave(&self.fpu, &mut image, layout, kind, wanted & enabled);
        self.write_bytes(env, at, &image)
    }
}

const _: () = assert!(seg::DS == 3);
