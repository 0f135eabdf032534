//! The MSRs that the TDX module leaves to the host, but those of the APIC.
//!
//! A TD sees #VE for them and asks; what is refused here becomes #GP in the guest.

use x86::msr::{
    IA32_APIC_BASE as APIC_BASE, IA32_BIOS_SIGN_ID as UCODE_REV,
    IA32_FEATURE_CONTROL as FEATURE_CONTROL, IA32_MCG_CAP as MCG_CAP,
    IA32_MCG_STATUS as MCG_STATUS, IA32_MISC_ENABLE as MISC_ENABLE,
    IA32_MTRR_DEF_TYPE as MTRR_DEF_TYPE, IA32_MTRRCAP as MTRR_CAP,
    MSR_PLATFORM_INFO as PLATFORM_INFO, MSR_POWER_CTL as POWER_CTL,
};

/// MSR_MISC_FEATURES_ENABLES (SDM vol. 4).
const MISC_FEATURES_ENABLES: u32 = 0x140;

/// xAPIC enabled (bit 11), in x2APIC mode (bit 10), at the architectural address.
const APIC_BASE_VALUE: u64 = 0xfee0_0000 | 1 << 11 | 1 << 10;
/// This is the processor that boots.
const BSP: u64 = 1 << 8;
/// IA32_FEATURE_CONTROL: locked with everything off.
const LOCKED: u64 = 1;
/// A microcode revision, in the upper half: the lowest that is none of the unknown.
const UCODE_REV_VALUE: u64 = 1 << 32;
/// Reads an MSR for vCPU number `vcpu`; `None` where the guest is to get #GP.
pub fn read(msr: u32, vcpu: usize) -> Option<u64> {
    Some(match msr {
        APIC_BASE => APIC_BASE_VALUE | if vcpu == 0 { BSP } else { 0 },
        FEATURE_CONTROL => LOCKED,
        UCODE_REV => UCODE_REV_VALUE,
        // MTRRs are there (CPUID says so) and off: a TD's memory is write-back whatever they
        // say, and a kernel that found them on would switch the caches off to set them, which
        // a TD can't.
        MTRR_CAP | MTRR_DEF_TYPE => 0,
        // No CPUID faulting, no machine-check banks.
        PLATFORM_INFO | MISC_FEATURES_ENABLES | MCG_CAP | MCG_STATUS | POWER_CTL => 0,
        _ => return None,
    })
}

/// Writes an MSR for vCPU number `vcpu`; `None` where the guest is to get #GP.
/// Writes that change nothing are accepted, and those whose effect nobody could tell.
pub fn write(msr: u32, value: u64, vcpu: usize) -> Option<()> {
    let accepted = match msr {
        UCODE_REV | MISC_ENABLE | POWER_CTL => true,
        APIC_BASE | MTRR_DEF_TYPE | MISC_FEATURES_ENABLES | MCG_STATUS => {
            read(msr, vcpu) == Some(value)
        }
        _ => false,
    };
    accepted.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x2apic_is_on() {
        assert_eq!(read(APIC_BASE, 0), Some(0xfee0_0d00));
        assert_eq!(read(APIC_BASE, 1), Some(0xfee0_0c00));
        assert_eq!(write(APIC_BASE, 0xfee0_0d00, 0), Some(()));
        assert_eq!(write(APIC_BASE, 0xfee0_0800, 0), None, "and stays on");
    }

    #[test]
    fn unknown_ones_are_refused() {
        for msr in [0x10, 0x3b, 0x1234, 0xc001_0015, u32::MAX] {
            assert_eq!((read(msr, 0), write(msr, 0, 0)), (None, None), "{msr:#x}");
        }
    }
}
