//! Channels: doorbells, calls and interrupts by number.

use core::fmt;

use crate::{MessageInfo, kernel, symbols};

/// One past the highest channel number that Microkit allows.
pub const MAX_CHANNELS: usize = 62;

/// A channel of this PD, by the number that system.xml gives its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    index: usize,
}

impl Channel {
    /// # Panics
    /// If `index` is not below [`MAX_CHANNELS`]; at compile time in a constant.
    pub const fn new(index: usize) -> Self {
        assert!(index < MAX_CHANNELS, "Microkit's channels go from 0 to 61");
        Self { index }
    }

    /// Its number.
    pub const fn index(&self) -> usize {
        self.index
    }

    fn check(&self, mask: u64, method: &str) {
        if mask >> self.index & 1 == 0 {
            panic!(
                "{method}: system.xml gives this PD no such channel: {}",
                self.index
            );
        }
    }

    /// Rings the other end's doorbell.
    ///
    /// # Panics
    /// If system.xml gives this PD no such channel.
    pub fn notify(&self) {
        self.check(symbols::notifications(), "notify");
        kernel::signal(self.index);
    }

    /// Lets the channel's interrupt come again.
    ///
    /// # Panics
    /// If system.xml gives this PD no such interrupt.
    pub fn irq_ack(&self) -> Result<(), IrqAckError> {
        self.check(symbols::irqs(), "irq_ack");
        kernel::irq_ack(self.index).map_err(IrqAckError)
    }

    /// Calls the other end and waits for its answer. Arguments and results
    /// travel in the message registers.
    ///
    /// # Panics
    /// If system.xml gives this PD no such channel with `pp="true"`.
    pub fn pp_call(&self, info: MessageInfo) -> MessageInfo {
        self.check(symbols::pps(), "pp_call");
        kernel::call(self.index, info)
    }
}

/// The kernel refused to acknowledge an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqAckError(pub(crate) kernel::Error);

impl fmt::Display for IrqAckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "irq ack error: {:?}", self.0)
    }
}

/// A child PD, by the number that system.xml gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    index: usize,
}

impl Child {
    /// The child with this number.
    pub const fn new(index: usize) -> Self {
        Self { index }
    }

    /// Its number.
    pub const fn index(&self) -> usize {
        self.index
    }
}

/// Channels that were notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSet(u64);

impl ChannelSet {
    pub(crate) const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether `channel` is among them.
    pub const fn contains(&self, channel: Channel) -> bool {
        self.0 >> channel.index & 1 == 1
    }

    /// The channels, lowest first.
    pub const fn iter(&self) -> Channels {
        Channels(self.0)
    }
}

impl IntoIterator for ChannelSet {
    type Item = Channel;
    type IntoIter = Channels;

    fn into_iter(self) -> Channels {
        self.iter()
    }
}

impl fmt::Display for ChannelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|channel| channel.index()))
            .finish()
    }
}

/// Iterator over a [`ChannelSet`].
#[derive(Clone, Debug)]
pub struct Channels(u64);

impl Iterator for Channels {
    type Item = Channel;

    fn next(&mut self) -> Option<Channel> {
        let index = self.0.trailing_zeros() as usize;
        if index >= MAX_CHANNELS {
            return None;
        }
        self.0 &= self.0 - 1;
        Some(Channel { index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_lowest_first() {
        let set = ChannelSet::new(1 << 0 | 1 << 5 | 1 << 61);
        let mut channels = set.into_iter().map(|channel| channel.index());
        assert_eq!(
            [channels.next(), channels.next(), channels.next()],
            [Some(0), Some(5), Some(61)]
        );
        assert_eq!(channels.next(), None);
        assert!(set.contains(Channel::new(5)) && !set.contains(Channel::new(4)));
    }

    #[test]
    fn bits_past_the_last_channel_are_no_channels() {
        assert_eq!(ChannelSet::new(3 << 62).iter().next(), None);
    }
}
