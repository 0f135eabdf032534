//! Messages of protected procedure calls.

use crate::kernel;

/// A message's label.
pub type MessageLabel = u64;
/// A message register's value.
pub type MessageRegisterValue = u64;

/// Label of a message and number of its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MessageInfo(u64);

impl MessageInfo {
    /// A message of `count` registers (at most 120); a label's bits past
    /// [`Self::label_width`] are cut off.
    pub const fn new(label: MessageLabel, count: usize) -> Self {
        Self(kernel::message_tag(label, count))
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// The sender's label.
    pub const fn label(&self) -> MessageLabel {
        kernel::message_label(self.0)
    }

    /// Bits a label has.
    pub const fn label_width() -> usize {
        kernel::LABEL_BITS
    }

    /// Number of message registers.
    pub const fn count(&self) -> usize {
        (self.0 & 0x7f) as usize
    }
}

/// Message register `i`.
///
/// # Panics
/// If `i` is 120 or more.
pub fn get_mr(i: usize) -> MessageRegisterValue {
    kernel::register(i)
}

/// Sets message register `i`.
///
/// # Panics
/// If `i` is 120 or more.
pub fn set_mr(i: usize, value: MessageRegisterValue) {
    kernel::set_register(i, value);
}
