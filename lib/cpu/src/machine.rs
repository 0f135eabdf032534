//! What the CPU is plugged into.

use gpa::Hpa;
use iced_x86::Mnemonic;
use memory::PhysMemory;

/// The machine around one or more [`crate::Cpu`]s: memory, clock, entropy.
pub trait Machine {
    /// Host physical memory.
    type Memory: PhysMemory;

    /// Host physical memory, in which page tables, EPTs and guest pages lie.
    fn memory(&self) -> &Self::Memory;

    /// The guest's time-stamp counter now, scaled and offset already.
    fn tsc(&mut self) -> u64;

    /// 64 fresh random bits for `RDRAND` and `RDSEED`.
    fn random(&mut self) -> u64;

    /// Whether a leaf of the *shared* EPT may map `len` bytes at `hpa`.
    ///
    /// The shared EPT is written by a less trusted domain; a leaf that points anywhere else
    /// ends the guest's access in an EPT misconfiguration.
    fn shared_hpa_allowed(&self, hpa: Hpa, len: u64) -> bool;

    /// Whether a table page of the *shared* EPT may lie at `table`.
    ///
    /// The root comes from a domain that is not trusted at all: anything else than the pages of
    /// the domain that writes shared EPTs ends the guest's access in an EPT misconfiguration.
    fn shared_table_allowed(&self, _table: Hpa) -> bool {
        true
    }

    /// Whether somebody wants the CPU back (an external interrupt of the host).
    /// Asked every few thousand instructions; `true` ends the run with exit 1.
    fn kick_pending(&mut self) -> bool {
        false
    }

    /// An instruction that this CPU doesn't know was met (and answered with `#UD`).
    /// `bytes` are up to 15 bytes from `rip` on.
    fn unknown_instruction(&mut self, rip: u64, bytes: &[u8], mnemonic: Mnemonic) {
        let _ = (rip, bytes, mnemonic);
    }
}
