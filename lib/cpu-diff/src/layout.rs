//! Where everything lies, in the linear address space of both sides.
//!
//! All of it is below 2 GiB, so that 32-bit addresses reach it, and what isn't listed is not
//! mapped on either side (natively: but for this process's own pages, far above). The addresses
//! differ in many bits, so that arithmetic on one doesn't easily lead to another.

/// Bytes of a page.
pub const PAGE: u64 = 0x1000;
/// Sequences are executed here: readable and executable.
pub const CODE: u64 = 0x6b34_0000;
/// Bytes of code.
pub const CODE_BYTES: u64 = SLOTS as u64 * SLOT;
/// Bytes for one sequence.
pub const SLOT: u64 = 0x100;
/// Sequences that are assembled at once.
pub const SLOTS: usize = 256;
/// One page that sequences read and write, with nothing before or after it.
pub const DATA: u64 = 0x5100_0000;
/// Most operands lie about here.
pub const HOT: u64 = DATA + 0x800;
/// One page for the stack, with nothing before or after it.
pub const STACK: u64 = 0x5200_0000;
/// Native only: registers before and after, and the host's own.
pub const BLOCK: u64 = 0x2a5b_4000;
/// Native only: the code that enters and leaves a sequence.
pub const TRAMPOLINE: u64 = 0x1d96_7000;
