//! What TDH.VP.ENTER returned with.

use ipc_vmm_tdx::Registers;
use tdx_abi::Status;
use tdx_abi::exit::reason;

/// Why a vCPU left its TD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// TDG.VP.VMCALL: the guest asks the host for something.
    Vmcall,
    /// Nothing to do but to enter again.
    Resume,
    /// A lock was held: TDH.VP.ENTER did not happen, and may be tried again as it was.
    Busy(Status),
    /// The vCPU is lost to a triple fault.
    TripleFault,
    /// An EPT violation that pd-mmu would not deal with.
    EptViolation {
        /// Guest physical address, page granular.
        gpa: u64,
        /// Exit qualification.
        qualification: u64,
    },
    /// A shared EPT entry that the CPU does not accept.
    EptMisconfiguration {
        /// Guest physical address, page granular.
        gpa: u64,
    },
    /// The TD is lost.
    Lost(Status),
    /// TDH.VP.ENTER refused.
    Refused(Status),
    /// An exit that no TD should cause.
    Unexpected {
        /// VMX basic exit reason.
        reason: u32,
    },
}

impl Exit {
    /// Decodes the output registers of TDH.VP.ENTER.
    pub fn decode(registers: &Registers) -> Self {
        let status = Status(registers.rax);
        if status.is(Status::OPERAND_BUSY) || status.is(Status::OPERAND_BUSY_HOST_PRIORITY) {
            return Self::Busy(status);
        }
        // Bit 63 of WRONG_APIC_MODE is set, though the TD was entered.
        if status.is(Status::NON_RECOVERABLE_TD_WRONG_APIC_MODE)
            || status.is(Status::NON_RECOVERABLE_TD)
            || status.is(Status::NON_RECOVERABLE_TD_NON_ACCESSIBLE)
            || status.is(Status::NON_RECOVERABLE_TD_CORRUPTED_MD)
        {
            return Self::Lost(status);
        }
        let reason = status.details() & 0xffff;
        if status.is(Status::NON_RECOVERABLE_VCPU) {
            return Self::TripleFault;
        }
        if !status.is_success() {
            return Self::Refused(status);
        }
        match reason {
            reason::TDCALL => Self::Vmcall,
            reason::TRIPLE_FAULT => Self::TripleFault,
            reason::EPT_VIOLATION => Self::EptViolation {
                gpa: registers.r8_r15[0],
                qualification: registers.rcx & 0xffff_ffff,
            },
            reason::EPT_MISCONFIGURATION => Self::EptMisconfiguration {
                gpa: registers.r8_r15[0],
            },
            // Events of the host; it has dealt with them when this message is read.
            reason::EXCEPTION_OR_NMI
            | reason::INTERRUPT
            | reason::INIT_EVENT
            | reason::SMI_OTHER_EVENT
            | reason::C_STATE_SMI
            | reason::BUS_LOCK
            | reason::NOTIFICATION => Self::Resume,
            reason => Self::Unexpected { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(rax: u64) -> Exit {
        let mut registers = Registers {
            rax,
            rcx: 0x1_0000_0083,
            ..Registers::default()
        };
        registers.r8_r15[0] = 0x1234_5000;
        Exit::decode(&registers)
    }

    #[test]
    fn table() {
        assert_eq!(decode(77), Exit::Vmcall);
        assert_eq!(decode(77 | 1 << 26), Exit::Vmcall, "with a bus lock");
        assert_eq!(decode(1), Exit::Resume);
        assert_eq!(decode(74), Exit::Resume);
        assert_eq!(decode(0x4000_0001_0000_0002), Exit::TripleFault);
        let (gpa, qualification) = (0x1234_5000, 0x83);
        assert_eq!(decode(48), Exit::EptViolation { gpa, qualification });
        assert_eq!(decode(49), Exit::EptMisconfiguration { gpa });
        assert_eq!(decode(29), Exit::Unexpected { reason: 29 });
        for lost in [0x6000_0002u64, 0x6000_0005, 0xe000_0007, 0x6000_000a] {
            assert!(matches!(decode(lost << 32 | 2), Exit::Lost(_)));
        }
        assert!(matches!(decode(0x8000_0200_0000_00a9), Exit::Busy(_)));
        assert!(matches!(decode(0xc000_0700_0000_0000), Exit::Refused(_)));
    }
}
