//! How a VM's run ended, and the exit status that says so.

use core::fmt;
use tdx_abi::Status;

/// How a VM's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest printed the goal.
    GoalReached,
    /// The guest switched itself off.
    PowerOff,
    /// The guest reset itself; VMs are not started again.
    Reset,
    /// A vCPU was lost to a triple fault.
    TripleFault {
        /// The vCPU.
        vcpu: usize,
    },
    /// The guest reported an error that it can't go on with.
    FatalError {
        /// Its error code.
        code: u64,
    },
    /// The guest touched what is no memory of its.
    BadAccess {
        /// The vCPU.
        vcpu: usize,
        /// Guest physical address, page granular.
        gpa: u64,
        /// Exit qualification; 0 for a misconfiguration.
        qualification: u64,
    },
    /// The TDX module gave the TD up.
    Lost {
        /// The vCPU that brought the news.
        vcpu: usize,
        /// The status.
        status: Status,
    },
    /// A vCPU could not be run.
    CannotRun {
        /// The vCPU.
        vcpu: usize,
    },
    /// The VM could not be built.
    BuildFailed,
}

impl Outcome {
    /// The exit status of the run; `goal` says whether a goal was asked for and reached.
    pub fn status(self, goal: Option<bool>) -> u8 {
        match self {
            Self::GoalReached => 0,
            // Without a goal, to end in good order is all that is asked.
            Self::PowerOff if goal != Some(false) => 0,
            Self::Reset if goal == Some(true) => 0,
            Self::BuildFailed => 1,
            Self::PowerOff => 2,
            Self::Reset => 3,
            Self::TripleFault { .. } => 4,
            Self::FatalError { .. } => 5,
            Self::BadAccess { .. } => 6,
            Self::Lost { .. } | Self::CannotRun { .. } => 7,
        }
    }
}

/// The exit status of a run whose VMs did well, but could not be torn down.
pub const TEARDOWN_FAILED: u8 = 8;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoalReached => f.write_str("goal reached"),
            Self::PowerOff => f.write_str("the guest powered off"),
            Self::Reset => f.write_str("the guest reset itself"),
            Self::TripleFault { vcpu } => write!(f, "triple fault on vCPU {vcpu}"),
            Self::FatalError { code } => write!(f, "the guest reported fatal error {code:#x}"),
            Self::BadAccess {
                vcpu,
                gpa,
                qualification: 0,
            } => write!(f, "EPT misconfiguration at {gpa:#x} on vCPU {vcpu}"),
            Self::BadAccess {
                vcpu,
                gpa,
                qualification,
            } => write!(
                f,
                "EPT violation at {gpa:#x} (qualification {qualification:#x}) on vCPU {vcpu}: \
                 no memory of the guest's"
            ),
            Self::Lost { vcpu, status } => write!(f, "the TD is lost on vCPU {vcpu}: {status}"),
            Self::CannotRun { vcpu } => write!(f, "vCPU {vcpu} can't be run"),
            Self::BuildFailed => f.write_str("the VM could not be built"),
        }
    }
}
