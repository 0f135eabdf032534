//! Message tags.

/// Tag of a message: label, capabilities, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MessageInfo(u64);

impl MessageInfo {
    /// Bits of the label that the kernel carries.
    pub const LABEL_BITS: u32 = 20;

    /// A tag for `length` message registers and `caps` capabilities.
    /// Excess bits of each are cut off.
    pub const fn new(label: u64, caps: u64, length: u64) -> Self {
        Self((label & 0xf_ffff) << 12 | (caps & 3) << 7 | (length & 0x7f))
    }

    /// A tag as the kernel gave it.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// As the kernel takes it.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The sender's label.
    pub const fn label(self) -> u64 {
        self.0 >> 12 & 0xf_ffff
    }

    /// Number of message registers.
    pub const fn length(self) -> usize {
        (self.0 & 0x7f) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_kernel_puts_them() {
        let tag = MessageInfo::new(0xabcde, 2, 5);
        assert_eq!(tag.word(), 0xabcd_e105);
        assert_eq!((tag.label(), tag.length()), (0xabcde, 5));
    }
}
