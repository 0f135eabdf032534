//! Faults: what a vCPU's EPT violation asks for.

use crate::pd::Pd;
use core::fmt;
use ept::Access;
use gpa::Gpa;
use ipc_vmm_mmu::VmId;
use memory::PhysMemory;
use mmu::Next;
use tdx_abi::Status;
use tdx_abi::exit::{ept_violation, extended};

/// A vCPU that waits for its fault to be dealt with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) tdvpr: u64,
    pub(crate) gpa: Gpa,
    access: Access,
    accept_level: Option<u8>,
}

impl Fault {
    /// As pd-tdx tells it.
    pub(crate) fn new(tdvpr: u64, gpa: u64, qualification: u64, extended: u64) -> Self {
        Self {
            tdvpr,
            gpa: Gpa::new(gpa),
            access: access(qualification),
            accept_level: accept_level(extended),
        }
    }
}

impl<M: PhysMemory> Pd<'_, M> {
    /// Deals with a fault, or begins to.
    pub(crate) fn fault(&mut self, id: VmId, fault: &Fault) -> Result<Next, mmu::Error> {
        let id = id as u8;
        match self
            .mmu
            .fault(id, fault.gpa, fault.access, fault.accept_level)
        {
            // Shared addresses without memory are devices: the guest gets a #VE next time.
            Err(mmu::Error::NoSlot) => match self.mmu.map_device(id, fault.gpa) {
                Ok(()) => Ok(Next::Done),
                Err(_) => Err(mmu::Error::NoSlot),
            },
            next => next,
        }
    }
}

/// Why a fault was declined.
pub(crate) struct Failure(pub(crate) Result<Next, mmu::Error>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(Next::Refused { step, status, .. }) => write!(f, "{step:x?}: {}", Status(status)),
            Ok(_) => f.write_str("dealt with"),
            Err(error) => write!(f, "{error}"),
        }
    }
}

/// The access that an exit qualification tells of.
fn access(qualification: u64) -> Access {
    let of = |bit, access| {
        if qualification & bit != 0 {
            access
        } else {
            Access::from_bits(0)
        }
    };
    of(ept_violation::READ, Access::READ)
        .union(of(ept_violation::WRITE, Access::WRITE))
        .union(of(ept_violation::FETCH, Access::EXECUTE))
}

/// The level that the guest wants to accept, if that is why it left.
fn accept_level(extended_qualification: u64) -> Option<u8> {
    // TDX module ABI, "VM Exit Extended Qualification": the type in bits 3:0, the requested
    // level in bits 34:32.
    (extended_qualification & 0xf == extended::ACCEPT)
        .then_some((extended_qualification >> 32 & 7) as u8)
}
