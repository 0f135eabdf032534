//! The boundary to the TDX module.

use ipc_seamcall::Registers;

/// The TDX module, called with registers as the SEAMCALL instruction is.
///
/// The instruction is one implementation, [`crate::software::SoftwareSeam`] another. A call
/// always returns: TDH.VP.ENTER comes back with an external interrupt at the latest when the
/// host wants its processor back.
pub trait Seam {
    /// One SEAMCALL on the one logical processor that the protection domain runs on.
    fn seamcall(&mut self, registers: &mut Registers);

    /// Drops every translation through a shared EPT that the processor holds (INVEPT, all
    /// contexts): the TDX module tracks private translations only.
    fn invept(&mut self);

    /// What the host's time-stamp counter ticks in a second, for a processor that can't know.
    fn set_tsc_frequency(&mut self, _hz: u64) {}
}
