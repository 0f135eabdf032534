//! Which instruction forms there are, out of iced's tables, and which can't be compared.

use iced_x86::{Code, CpuidFeature, EncodingKind, FlowControl, Mnemonic, OpCodeOperandKind};

/// Why a form isn't compared; `None` where it is.
pub fn skipped(code: Code) -> Option<&'static str> {
    use Mnemonic as M;
    let info = code.op_code();
    if !info.is_instruction() || !info.mode64() {
        return Some("not an instruction of 64-bit mode");
    }
    let bmi = code
        .cpuid_features()
        .iter()
        .all(|feature| matches!(feature, CpuidFeature::BMI1 | CpuidFeature::BMI2));
    if info.encoding() != EncodingKind::Legacy && !(info.encoding() == EncodingKind::VEX && bmi) {
        return Some("VEX (but for BMI), EVEX, XOP or 3DNow! encoding: no TD of ours has it");
    }
    if !code
        .cpuid_features()
        .iter()
        .all(|&feature| supported(feature))
    {
        return Some("a CPUID feature that no TD of ours has");
    }
    if !code
        .cpuid_features()
        .iter()
        .all(|&feature| host_has(feature))
    {
        return Some("a CPUID feature that this machine lacks");
    }
    if operands(code).any(|kind| {
        use OpCodeOperandKind as K;
        matches!(
            kind,
            K::farbr2_2 | K::farbr4_2 | K::br16_1 | K::br16_2 | K::xbegin_2 | K::xbegin_4
        )
    }) {
        return Some("a 16-bit or far branch");
    }
    match code.mnemonic() {
        M::Syscall | M::Sysenter | M::Sysexit | M::Sysexitq | M::Sysret | M::Sysretq | M::Int => {
            Some("natively a system call, or the kernel's")
        }
        M::Int1 => Some("natively a debugger's"),
        M::Iret | M::Iretd | M::Iretq | M::Retf => Some("far return: the kernel's segments"),
        M::Popf | M::Popfq => Some("may set TF, which is the debugger's natively"),
        M::Cpuid => Some("a VM exit of the software CPU, with the host's values natively"),
        M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Rdrand | M::Rdseed | M::Rdpid => {
            Some("not reproducible")
        }
        M::Xgetbv
        | M::Xsave
        | M::Xsave64
        | M::Xsavec
        | M::Xsavec64
        | M::Xsaveopt
        | M::Xsaveopt64
        | M::Xrstor
        | M::Xrstor64
        | M::Xsaves
        | M::Xsaves64
        | M::Xrstors
        | M::Xrstors64 => Some("depends on the host's XCR0; compared in lib/fpu and by hand"),
        M::F2xm1
        | M::Fyl2x
        | M::Fyl2xp1
        | M::Fpatan
        | M::Fptan
        | M::Fsin
        | M::Fcos
        | M::Fsincos => Some("the last digit may differ: compared in lib/fpu"),
        M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => {
            Some("FS is this process's thread-local storage")
        }
        M::Sgdt | M::Sidt | M::Sldt | M::Smsw | M::Str => {
            Some("UMIP: natively emulated by the kernel")
        }
        M::Lar | M::Lsl | M::Verr | M::Verw => Some("depends on the host's descriptor tables"),
        M::Lfs | M::Lgs | M::Lss | M::Lds | M::Les => Some("loads a segment of the host's"),
        M::Mov if operands(code).next() == Some(OpCodeOperandKind::seg_reg) => {
            Some("loads a segment of the host's")
        }
        M::Pop
            if matches!(
                operands(code).next(),
                Some(OpCodeOperandKind::fs | OpCodeOperandKind::gs)
            ) =>
        {
            Some("loads a segment of the host's")
        }
        M::Call | M::Jmp if is_far(code) => Some("far branch through memory"),
        M::Loadall | M::Cl1invmb | M::Umov | M::Storeall | M::Ibts | M::Xbts | M::Jmpe => {
            Some("never was in 64-bit processors")
        }
        _ => None,
    }
}

fn is_far(code: Code) -> bool {
    format!("{code:?}").contains("m16")
        && matches!(
            code.flow_control(),
            FlowControl::IndirectCall | FlowControl::IndirectBranch
        )
        && !format!("{code:?}").contains("rm16")
}

/// The operand kinds of a form.
pub fn operands(code: Code) -> impl Iterator<Item = OpCodeOperandKind> {
    let info = code.op_code();
    (0..info.op_count()).map(move |i| info.op_kind(i))
}

/// What a TD's CPUID shows, as far as user instructions go.
fn supported(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    matches!(
        feature,
        F::INTEL8086
            | F::INTEL186
            | F::INTEL286
            | F::INTEL386
            | F::INTEL486
            | F::X64
            | F::FPU
            | F::FPU287
            | F::FPU387
            | F::CMOV
            | F::CX8
            | F::CMPXCHG16B
            | F::MSR
            | F::TSC
            | F::MMX
            | F::SSE
            | F::SSE2
            | F::SSE3
            | F::SSSE3
            | F::SSE4_1
            | F::SSE4_2
            | F::POPCNT
            | F::AES
            | F::PCLMULQDQ
            | F::SHA
            | F::MOVBE
            | F::FXSR
            | F::XSAVE
            | F::XSAVEOPT
            | F::XSAVEC
            | F::XSAVES
            | F::RDRAND
            | F::RDSEED
            | F::FSGSBASE
            | F::RDTSCP
            | F::RDPID
            | F::CLFSH
            | F::CLFLUSHOPT
            | F::CLWB
            | F::LZCNT
            | F::PREFETCHW
            | F::SYSCALL
            | F::SEP
            | F::PAUSE
            | F::MULTIBYTENOP
            | F::RDPMC
            | F::INVPCID
            | F::SMAP
            | F::MONITOR
            | F::CPUID
            | F::BMI1
            | F::BMI2
            | F::ADX
    )
}

/// Whether this machine has a feature that 64-bit processors may lack.
fn host_has(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    match feature {
        F::SSE3 => is_x86_feature_detected!("sse3"),
        F::SSSE3 => is_x86_feature_detected!("ssse3"),
        F::SSE4_1 => is_x86_feature_detected!("sse4.1"),
        F::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        F::POPCNT => is_x86_feature_detected!("popcnt"),
        F::LZCNT => is_x86_feature_detected!("lzcnt"),
        F::MOVBE => is_x86_feature_detected!("movbe"),
        F::AES => is_x86_feature_detected!("aes"),
        F::PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        F::BMI1 => is_x86_feature_detected!("bmi1"),
        F::BMI2 => is_x86_feature_detected!("bmi2"),
        F::ADX => is_x86_feature_detected!("adx"),
        F::SHA => is_x86_feature_detected!("sha"),
        F::CMPXCHG16B => is_x86_feature_detected!("cmpxchg16b"),
        // CLFLUSHOPT and CLWB: CPUID.7.EBX bits 23 and 24.
        F::CLFLUSHOPT => std::arch::x86_64::__cpuid_count(7, 0).ebx >> 23 & 1 != 0,
        F::CLWB => std::arch::x86_64::__cpuid_count(7, 0).ebx >> 24 & 1 != 0,
        _ => true,
    }
}

/// The forms that are compared.
pub fn compared() -> Vec<Code> {
    Code::values()
        .filter(|&code| skipped(code).is_none())
        .collect()
}
