//! The software CPU against this machine's own: the same instructions on the same registers and
//! memory, everything compared afterwards.
//!
//! [`generate`] makes sequences out of iced's tables, [`native`] runs them in this process,
//! [`software`] on the software CPU at CPL 3, [`compare`] lists what differs, and [`campaign`]
//! does that many times over, counts what was covered, and shortens what fails.

pub mod allow;
pub mod campaign;
pub mod compare;
pub mod forms;
pub mod generate;
pub mod layout;
pub mod native;
pub mod random;
pub mod software;
pub mod state;
pub mod undefined;
