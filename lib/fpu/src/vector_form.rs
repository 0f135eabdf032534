//! Which operands a vector instruction has.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// Where an operand is read from or the result is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// No operand.
    None,
    /// An XMM register, all 128 bits.
    Xmm,
    /// An MM register.
    Mm,
    /// A 32-bit general register; as a destination zero-extended to 64 bits.
    Gpr32,
    /// A 64-bit general register.
    Gpr64,
    /// Memory of the form's size.
    Memory,
    /// The instruction's immediate byte.
    Immediate,
    /// RFLAGS: OF, SF, ZF, AF, PF and CF are replaced by the result's.
    Flags,
}

/// The operands of a vector instruction and what is to be done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorForm {
    /// The operation for [`crate::vector`].
    pub op: VectorOp,
    /// Where the result goes.
    pub dst: Place,
    /// Where the source comes from.
    pub src: Place,
    /// Size of the memory operand in bytes; 0 where there is none.
    pub bytes: u8,
    /// `#GP(0)` unless the memory operand is 16-byte aligned.
    pub aligned: bool,
    /// The destination's old value matters.
    pub reads_dst: bool,
    /// Uses MM registers: [`crate::X87::enter_mmx`] comes first.
    pub mmx: bool,
}

macro_rules! operations {
    ($($name:ident)*; $($special:ident $doc:literal)*) => {
        /// What a vector instruction computes: named as the instruction, and by what the
        /// mnemonic alone doesn't tell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[allow(missing_docs)]
        pub enum VectorOp {
            $($name,)*
            $(#[doc = $doc] $special,)*
        }

        impl VectorOp {
            /// Every operation, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)* $(Self::$special,)*];

            fn named(mnemonic: Mnemonic) -> Option<Self> {
                match mnemonic {
                    $(Mnemonic::$name => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

operations! {
    // SSE, SSE2: floating point.
    Addps Addss Addpd Addsd Subps Subss Subpd Subsd Mulps Mulss Mulpd Mulsd
    Divps Divss Divpd Divsd Minps Minss Minpd Minsd Maxps Maxss Maxpd Maxsd
    Sqrtps Sqrtss Sqrtpd Sqrtsd Rcpps Rcpss Rsqrtps Rsqrtss
    Cmpps Cmpss Cmppd Cmpsd Comiss Comisd Ucomiss Ucomisd
    Andps Andpd Andnps Andnpd Orps Orpd Xorps Xorpd
    Shufps Shufpd Unpcklps Unpcklpd Unpckhps Unpckhpd Movmskps Movmskpd
    Cvtpi2ps Cvtpi2pd Cvtsi2ss Cvtsi2sd Cvtps2pi Cvtpd2pi Cvttps2pi Cvttpd2pi
    Cvtss2si Cvtsd2si Cvttss2si Cvttsd2si Cvtps2pd Cvtpd2ps Cvtss2sd Cvtsd2ss
    Cvtdq2ps Cvtps2dq Cvttps2dq Cvtdq2pd Cvtpd2dq Cvttpd2dq
    // Moves.
    Movaps Movapd Movups Movupd Movdqa Movdqu Lddqu Movntps Movntpd Movntdq Movntdqa Movntq
    Movd Movq Movss Movsd Movlps Movlpd Movhps Movhpd Movhlps Movlhps
    Movq2dq Movdq2q Movddup Movsldup Movshdup
    // SSE3.
    Addsubpd Addsubps Haddpd Haddps Hsubpd Hsubps
    // Integer: MMX, SSE2.
    Punpcklbw Punpcklwd Punpckldq Punpcklqdq Punpckhbw Punpckhwd Punpckhdq Punpckhqdq
    Packsswb Packssdw Packuswb
    Pcmpeqb Pcmpeqw Pcmpeqd Pcmpgtb Pcmpgtw Pcmpgtd
    Pshufw Pshufd Pshufhw Pshuflw
    Psrlw Psrld Psrlq Psraw Psrad Psllw Pslld Psllq Psrldq Pslldq
    Paddb Paddw Paddd Paddq Psubb Psubw Psubd Psubq
    Paddsb Paddsw Paddusb Paddusw Psubsb Psubsw Psubusb Psubusw
    Pmullw Pmulhw Pmulhuw Pmuludq Pmaddwd Psadbw Pavgb Pavgw
    Pminub Pmaxub Pminsw Pmaxsw Pand Pandn Por Pxor Pmovmskb Pinsrw Pextrw
    // SSSE3.
    Pshufb Phaddw Phaddd Phaddsw Phsubw Phsubd Phsubsw Pmaddubsw Pmulhrsw
    Psignb Psignw Psignd Pabsb Pabsw Pabsd Palignr
    // SSE4.1, SSE4.2.
    Pblendvb Blendvps Blendvpd Blendps Blendpd Pblendw Ptest
    Pmovsxbw Pmovsxbd Pmovsxbq Pmovsxwd Pmovsxwq Pmovsxdq
    Pmovzxbw Pmovzxbd Pmovzxbq Pmovzxwd Pmovzxwq Pmovzxdq
    Pmuldq Pmulld Pcmpeqq Pcmpgtq Packusdw
    Pminsb Pminsd Pminuw Pminud Pmaxsb Pmaxsd Pmaxuw Pmaxud Phminposuw
    Roundps Roundpd Roundss Roundsd Dpps Dppd Mpsadbw
    Pextrb Pextrd Pextrq Extractps Pinsrb Pinsrd Pinsrq Insertps
    // AES-NI, PCLMULQDQ, SHA.
    Aesenc Aesenclast Aesdec Aesdeclast Aesimc Aeskeygenassist Pclmulqdq
    Sha1nexte Sha1msg1 Sha1msg2 Sha1rnds4 Sha256rnds2 Sha256msg1 Sha256msg2;
    Move "The source as it is (every whole-register or zero-extending move, and every low-part store)."
    HighHalf "The source's high 64 bits (`MOVHPS`/`MOVHPD` to memory)."
    Cvtsi2ss64 "`CVTSI2SS` from a 64-bit integer."
    Cvtsi2sd64 "`CVTSI2SD` from a 64-bit integer."
    Cvtss2si64 "`CVTSS2SI` to a 64-bit integer."
    Cvtsd2si64 "`CVTSD2SI` to a 64-bit integer."
    Cvttss2si64 "`CVTTSS2SI` to a 64-bit integer."
    Cvttsd2si64 "`CVTTSD2SI` to a 64-bit integer."
    InsertpsMemory "`INSERTPS` from memory, where the immediate's source index is ignored."
}

impl VectorForm {
    /// The form of a legacy-encoded (non-VEX) MMX, SSE, AES, PCLMULQDQ or SHA instruction;
    /// `None` for any other instruction, and for those with functions of their own
    /// (`PCMPxSTRx`, `CRC32`, `MASKMOVQ`, `MASKMOVDQU`, `EMMS`, `LDMXCSR`, `MOVNTI`…).
    pub fn of(instruction: &Instruction) -> Option<Self> {
        use VectorOp as V;
        // Two mnemonics are shared with string instructions.
        if matches!(
            instruction.code(),
            Code::Movsd_m32_m32 | Code::Cmpsd_m32_m32
        ) {
            return None;
        }
        let named = V::named(instruction.mnemonic())?;
        let place = |operand: u32| match instruction.op_kind(operand) {
            OpKind::Register => register_place(instruction.op_register(operand)),
            OpKind::Immediate8 => Place::Immediate,
            OpKind::Memory => Place::Memory,
            _ => Place::None,
        };
        let mut dst = place(0);
        let src = place(1);
        if dst == Place::None || src == Place::None {
            return None;
        }
        let to_memory = dst == Place::Memory;
        let from_memory = src == Place::Memory;
        let bytes = if to_memory || from_memory {
            instruction.memory_size().size() as u8
        } else {
            0
        };
        let scalar_load = |merge: V| if from_memory { V::Move } else { merge };
        let op = match named {
            V::Movaps | V::Movapd | V::Movups | V::Movupd | V::Movdqa | V::Movdqu | V::Lddqu => {
                V::Move
            }
            V::Movntps | V::Movntpd | V::Movntdq | V::Movntdqa | V::Movntq | V::Movd => V::Move,
            // Register to register, MOVQ clears the high half of an XMM register.
            V::Movq if dst != Place::Xmm || src != Place::Xmm => V::Move,
            V::Movss | V::Movsd | V::Movlps | V::Movlpd if to_memory => V::Move,
            V::Movss | V::Movsd => scalar_load(named),
            V::Movhps | V::Movhpd if to_memory => V::HighHalf,
            V::Cvtsi2ss if is_64(instruction, 1) => V::Cvtsi2ss64,
            V::Cvtsi2sd if is_64(instruction, 1) => V::Cvtsi2sd64,
            V::Cvtss2si if dst == Place::Gpr64 => V::Cvtss2si64,
            V::Cvtsd2si if dst == Place::Gpr64 => V::Cvtsd2si64,
            V::Cvttss2si if dst == Place::Gpr64 => V::Cvttss2si64,
            V::Cvttsd2si if dst == Place::Gpr64 => V::Cvttsd2si64,
            V::Insertps if from_memory => V::InsertpsMemory,
            other => other,
        };
        if matches!(
            op,
            V::Comiss | V::Comisd | V::Ucomiss | V::Ucomisd | V::Ptest
        ) {
            dst = Place::Flags;
        }
        let any_alignment = matches!(named, V::Movups | V::Movupd | V::Movdqu | V::Lddqu);
        let reads_dst =
            !to_memory && !matches!(dst, Place::Gpr32 | Place::Gpr64) && !matches!(op, V::Move);
        Some(Self {
            op,
            dst,
            src,
            bytes,
            aligned: bytes == 16 && !any_alignment,
            reads_dst,
            mmx: dst == Place::Mm || src == Place::Mm,
        })
    }
}

fn register_place(register: Register) -> Place {
    if register.is_xmm() {
        Place::Xmm
    } else if register.is_mm() {
        Place::Mm
    } else if register.is_gpr32() {
        Place::Gpr32
    } else if register.is_gpr64() {
        Place::Gpr64
    } else {
        Place::None
    }
}

fn is_64(instruction: &Instruction, operand: u32) -> bool {
    match instruction.op_kind(operand) {
        OpKind::Memory => instruction.memory_size().size() == 8,
        _ => instruction.op_register(operand).is_gpr64(),
    }
}
