//! Which operands an x87 instruction has.

use iced_x86::{Code, Instruction, Register};

/// What an x87 instruction does. Names follow the mnemonics without their `F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum X87Op {
    Add,
    Mul,
    Sub,
    Subr,
    Div,
    Divr,
    Com,
    Ucom,
    Comi,
    Ucomi,
    Tst,
    Xam,
    Ld,
    St,
    /// `FSTPNCE`, D9 D8+i: as `FSTP ST(i)`, but an empty `ST(0)` is no stack fault.
    Stpnce,
    Ist,
    Istt,
    Xch,
    Free,
    Incstp,
    Decstp,
    Chs,
    Abs,
    Sqrt,
    Rndint,
    Scale,
    Xtract,
    Prem,
    Prem1,
    F2xm1,
    Yl2x,
    Yl2xp1,
    Ptan,
    Patan,
    Sin,
    Cos,
    Sincos,
    Ld1,
    Ldl2t,
    Ldl2e,
    Ldpi,
    Ldlg2,
    Ldln2,
    Ldz,
    Cmovb,
    Cmove,
    Cmovbe,
    Cmovu,
    Cmovnb,
    Cmovne,
    Cmovnbe,
    Cmovnu,
    Nop,
    /// A control instruction of the 8087 or 80287 that does nothing now.
    Ignored,
    Wait,
    Ldcw,
    Stcw,
    Stsw,
    StswAx,
    Clex,
    Init,
    /// Done with [`crate::X87::load_env`].
    Ldenv,
    /// Done with [`crate::X87::store_env`].
    Stenv,
    /// Done with [`crate::X87::restore`].
    Rstor,
    /// Done with [`crate::X87::save`].
    Save,
}

/// The memory operand of an x87 instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum X87Memory {
    None,
    F32,
    F64,
    F80,
    I16,
    I32,
    I64,
    /// 18 packed decimal digits and a sign.
    Bcd,
    /// The control or status word.
    Word,
    /// The environment in its 16-bit layout.
    Env14,
    /// The environment in its 32-bit layout.
    Env28,
    /// Environment and registers, 16-bit layout.
    State94,
    /// Environment and registers, 32-bit layout.
    State108,
}

impl X87Memory {
    /// The operand's size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::I16 | Self::Word => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::F80 | Self::Bcd => 10,
            Self::Env14 => 14,
            Self::Env28 => 28,
            Self::State94 => 94,
            Self::State108 => 108,
        }
    }
}

/// The operands of an x87 instruction and what is to be done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct X87Form {
    /// The operation.
    pub op: X87Op,
    /// The memory operand; read or written as [`X87Form::stores`] says.
    pub memory: X87Memory,
    /// The register operand: `i` of `ST(i)`.
    pub st: u8,
    /// The result goes to `ST(i)` instead of `ST(0)`.
    pub to_sti: bool,
    /// How often the stack is popped afterwards.
    pub pops: u8,
}

impl X87Form {
    /// Whether the instruction writes its memory operand. The destination must be known to be
    /// writable before [`crate::X87::execute`] is called, which changes the stack.
    pub const fn stores(&self) -> bool {
        matches!(
            self.op,
            X87Op::St
                | X87Op::Ist
                | X87Op::Istt
                | X87Op::Stcw
                | X87Op::Stsw
                | X87Op::Stenv
                | X87Op::Save
        )
    }

    /// The form of an x87 instruction; `None` for any other, and for the 8087/287 ones that no
    /// longer exist.
    pub fn of(instruction: &Instruction) -> Option<Self> {
        use X87Memory as M;
        use X87Op as O;
        let (op, memory, to_sti, pops) = match instruction.code() {
            Code::Fadd_m32fp => (O::Add, M::F32, false, 0),
            Code::Fmul_m32fp => (O::Mul, M::F32, false, 0),
            Code::Fcom_m32fp => (O::Com, M::F32, false, 0),
            Code::Fcomp_m32fp => (O::Com, M::F32, false, 1),
            Code::Fsub_m32fp => (O::Sub, M::F32, false, 0),
            Code::Fsubr_m32fp => (O::Subr, M::F32, false, 0),
            Code::Fdiv_m32fp => (O::Div, M::F32, false, 0),
            Code::Fdivr_m32fp => (O::Divr, M::F32, false, 0),
            Code::Fadd_m64fp => (O::Add, M::F64, false, 0),
            Code::Fmul_m64fp => (O::Mul, M::F64, false, 0),
            Code::Fcom_m64fp => (O::Com, M::F64, false, 0),
            Code::Fcomp_m64fp => (O::Com, M::F64, false, 1),
            Code::Fsub_m64fp => (O::Sub, M::F64, false, 0),
            Code::Fsubr_m64fp => (O::Subr, M::F64, false, 0),
            Code::Fdiv_m64fp => (O::Div, M::F64, false, 0),
            Code::Fdivr_m64fp => (O::Divr, M::F64, false, 0),
            Code::Fiadd_m32int => (O::Add, M::I32, false, 0),
            Code::Fimul_m32int => (O::Mul, M::I32, false, 0),
            Code::Ficom_m32int => (O::Com, M::I32, false, 0),
            Code::Ficomp_m32int => (O::Com, M::I32, false, 1),
            Code::Fisub_m32int => (O::Sub, M::I32, false, 0),
            Code::Fisubr_m32int => (O::Subr, M::I32, false, 0),
            Code::Fidiv_m32int => (O::Div, M::I32, false, 0),
            Code::Fidivr_m32int => (O::Divr, M::I32, false, 0),
            Code::Fiadd_m16int => (O::Add, M::I16, false, 0),
            Code::Fimul_m16int => (O::Mul, M::I16, false, 0),
            Code::Ficom_m16int => (O::Com, M::I16, false, 0),
            Code::Ficomp_m16int => (O::Com, M::I16, false, 1),
            Code::Fisub_m16int => (O::Sub, M::I16, false, 0),
            Code::Fisubr_m16int => (O::Subr, M::I16, false, 0),
            Code::Fidiv_m16int => (O::Div, M::I16, false, 0),
            Code::Fidivr_m16int => (O::Divr, M::I16, false, 0),

            Code::Fadd_st0_sti => (O::Add, M::None, false, 0),
            Code::Fmul_st0_sti => (O::Mul, M::None, false, 0),
            Code::Fsub_st0_sti => (O::Sub, M::None, false, 0),
            Code::Fsubr_st0_sti => (O::Subr, M::None, false, 0),
            Code::Fdiv_st0_sti => (O::Div, M::None, false, 0),
            Code::Fdivr_st0_sti => (O::Divr, M::None, false, 0),
            Code::Fadd_sti_st0 => (O::Add, M::None, true, 0),
            Code::Fmul_sti_st0 => (O::Mul, M::None, true, 0),
            Code::Fsub_sti_st0 => (O::Sub, M::None, true, 0),
            Code::Fsubr_sti_st0 => (O::Subr, M::None, true, 0),
            Code::Fdiv_sti_st0 => (O::Div, M::None, true, 0),
            Code::Fdivr_sti_st0 => (O::Divr, M::None, true, 0),
            Code::Faddp_sti_st0 => (O::Add, M::None, true, 1),
            Code::Fmulp_sti_st0 => (O::Mul, M::None, true, 1),
            Code::Fsubp_sti_st0 => (O::Sub, M::None, true, 1),
            Code::Fsubrp_sti_st0 => (O::Subr, M::None, true, 1),
            Code::Fdivp_sti_st0 => (O::Div, M::None, true, 1),
            Code::Fdivrp_sti_st0 => (O::Divr, M::None, true, 1),

            Code::Fcom_st0_sti | Code::Fcom_st0_sti_DCD0 => (O::Com, M::None, false, 0),
            Code::Fcomp_st0_sti | Code::Fcomp_st0_sti_DCD8 | Code::Fcomp_st0_sti_DED0 => {
                (O::Com, M::None, false, 1)
            }
            Code::Fcompp => (O::Com, M::None, false, 2),
            Code::Fucom_st0_sti => (O::Ucom, M::None, false, 0),
            Code::Fucomp_st0_sti => (O::Ucom, M::None, false, 1),
            Code::Fucompp => (O::Ucom, M::None, false, 2),
            Code::Fcomi_st0_sti => (O::Comi, M::None, false, 0),
            Code::Fcomip_st0_sti => (O::Comi, M::None, false, 1),
            Code::Fucomi_st0_sti => (O::Ucomi, M::None, false, 0),
            Code::Fucomip_st0_sti => (O::Ucomi, M::None, false, 1),
            Code::Ftst => (O::Tst, M::None, false, 0),
            Code::Fxam => (O::Xam, M::None, false, 0),

            Code::Fld_m32fp => (O::Ld, M::F32, false, 0),
            Code::Fld_m64fp => (O::Ld, M::F64, false, 0),
            Code::Fld_m80fp => (O::Ld, M::F80, false, 0),
            Code::Fld_sti => (O::Ld, M::None, false, 0),
            Code::Fild_m16int => (O::Ld, M::I16, false, 0),
            Code::Fild_m32int => (O::Ld, M::I32, false, 0),
            Code::Fild_m64int => (O::Ld, M::I64, false, 0),
            Code::Fbld_m80bcd => (O::Ld, M::Bcd, false, 0),
            Code::Fst_m32fp => (O::St, M::F32, false, 0),
            Code::Fst_m64fp => (O::St, M::F64, false, 0),
            Code::Fstp_m32fp => (O::St, M::F32, false, 1),
            Code::Fstp_m64fp => (O::St, M::F64, false, 1),
            Code::Fstp_m80fp => (O::St, M::F80, false, 1),
            Code::Fbstp_m80bcd => (O::St, M::Bcd, false, 1),
            Code::Fst_sti => (O::St, M::None, true, 0),
            Code::Fstpnce_sti => (O::Stpnce, M::None, true, 1),
            Code::Fstp_sti | Code::Fstp_sti_DFD0 | Code::Fstp_sti_DFD8 => (O::St, M::None, true, 1),
            Code::Fist_m16int => (O::Ist, M::I16, false, 0),
            Code::Fist_m32int => (O::Ist, M::I32, false, 0),
            Code::Fistp_m16int => (O::Ist, M::I16, false, 1),
            Code::Fistp_m32int => (O::Ist, M::I32, false, 1),
            Code::Fistp_m64int => (O::Ist, M::I64, false, 1),
            Code::Fisttp_m16int => (O::Istt, M::I16, false, 1),
            Code::Fisttp_m32int => (O::Istt, M::I32, false, 1),
            Code::Fisttp_m64int => (O::Istt, M::I64, false, 1),
            Code::Fxch_st0_sti | Code::Fxch_st0_sti_DDC8 | Code::Fxch_st0_sti_DFC8 => {
                (O::Xch, M::None, false, 0)
            }
            Code::Ffree_sti => (O::Free, M::None, false, 0),
            Code::Ffreep_sti => (O::Free, M::None, false, 1),
            Code::Fincstp => (O::Incstp, M::None, false, 0),
            Code::Fdecstp => (O::Decstp, M::None, false, 0),

            Code::Fchs => (O::Chs, M::None, false, 0),
            Code::Fabs => (O::Abs, M::None, false, 0),
            Code::Fsqrt => (O::Sqrt, M::None, false, 0),
            Code::Frndint => (O::Rndint, M::None, false, 0),
            Code::Fscale => (O::Scale, M::None, false, 0),
            Code::Fxtract => (O::Xtract, M::None, false, 0),
            Code::Fprem => (O::Prem, M::None, false, 0),
            Code::Fprem1 => (O::Prem1, M::None, false, 0),
            Code::F2xm1 => (O::F2xm1, M::None, false, 0),
            Code::Fyl2x => (O::Yl2x, M::None, false, 0),
            Code::Fyl2xp1 => (O::Yl2xp1, M::None, false, 0),
            Code::Fptan => (O::Ptan, M::None, false, 0),
            Code::Fpatan => (O::Patan, M::None, false, 0),
            Code::Fsin => (O::Sin, M::None, false, 0),
            Code::Fcos => (O::Cos, M::None, false, 0),
            Code::Fsincos => (O::Sincos, M::None, false, 0),
            Code::Fld1 => (O::Ld1, M::None, false, 0),
            Code::Fldl2t => (O::Ldl2t, M::None, false, 0),
            Code::Fldl2e => (O::Ldl2e, M::None, false, 0),
            Code::Fldpi => (O::Ldpi, M::None, false, 0),
            Code::Fldlg2 => (O::Ldlg2, M::None, false, 0),
            Code::Fldln2 => (O::Ldln2, M::None, false, 0),
            Code::Fldz => (O::Ldz, M::None, false, 0),
            Code::Fcmovb_st0_sti => (O::Cmovb, M::None, false, 0),
            Code::Fcmove_st0_sti => (O::Cmove, M::None, false, 0),
            Code::Fcmovbe_st0_sti => (O::Cmovbe, M::None, false, 0),
            Code::Fcmovu_st0_sti => (O::Cmovu, M::None, false, 0),
            Code::Fcmovnb_st0_sti => (O::Cmovnb, M::None, false, 0),
            Code::Fcmovne_st0_sti => (O::Cmovne, M::None, false, 0),
            Code::Fcmovnbe_st0_sti => (O::Cmovnbe, M::None, false, 0),
            Code::Fcmovnu_st0_sti => (O::Cmovnu, M::None, false, 0),

            // FENI, FDISI and FSETPM of the 8087 and 80287 do nothing since the 80387.
            Code::Fneni | Code::Fndisi | Code::Fnsetpm => (O::Ignored, M::None, false, 0),
            Code::Fnop => (O::Nop, M::None, false, 0),
            Code::Wait => (O::Wait, M::None, false, 0),
            Code::Fldcw_m2byte => (O::Ldcw, M::Word, false, 0),
            Code::Fnstcw_m2byte => (O::Stcw, M::Word, false, 0),
            Code::Fnstsw_m2byte => (O::Stsw, M::Word, false, 0),
            Code::Fnstsw_AX => (O::StswAx, M::None, false, 0),
            Code::Fnclex => (O::Clex, M::None, false, 0),
            Code::Fninit => (O::Init, M::None, false, 0),
            Code::Fldenv_m14byte => (O::Ldenv, M::Env14, false, 0),
            Code::Fldenv_m28byte => (O::Ldenv, M::Env28, false, 0),
            Code::Fnstenv_m14byte => (O::Stenv, M::Env14, false, 0),
            Code::Fnstenv_m28byte => (O::Stenv, M::Env28, false, 0),
            Code::Frstor_m94byte => (O::Rstor, M::State94, false, 0),
            Code::Frstor_m108byte => (O::Rstor, M::State108, false, 0),
            Code::Fnsave_m94byte => (O::Save, M::State94, false, 0),
            Code::Fnsave_m108byte => (O::Save, M::State108, false, 0),
            _ => return None,
        };
        let st = (0..instruction.op_count())
            .map(|operand| instruction.op_register(operand))
            .filter(|register| register.is_st())
            .map(|register| (register as u32).wrapping_sub(Register::ST0 as u32) as u8 & 7)
            .max()
            .unwrap_or(0);
        Some(Self {
            op,
            memory,
            st,
            to_sti,
            pops,
        })
    }
}
