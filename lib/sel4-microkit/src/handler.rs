//! What a PD does when something arrives.

use core::{convert::Infallible, fmt};

use crate::{Channel, ChannelSet, Child, MessageInfo, kernel, kernel::Event};

/// A PD's reactions. The defaults panic: what system.xml connects, the PD must
/// handle.
pub trait Handler {
    /// What ends the PD.
    type Error: fmt::Display;

    /// Channels were notified.
    fn notified(&mut self, channels: ChannelSet) -> Result<(), Self::Error> {
        panic!("unexpected notification from channels {channels}")
    }

    /// Another PD called; the result goes back to it.
    fn protected(
        &mut self,
        channel: Channel,
        _info: MessageInfo,
    ) -> Result<MessageInfo, Self::Error> {
        panic!(
            "unexpected protected procedure call from channel {}",
            channel.index()
        )
    }

    /// A child PD faulted; a message resumes it.
    fn fault(
        &mut self,
        child: Child,
        _info: MessageInfo,
    ) -> Result<Option<MessageInfo>, Self::Error> {
        panic!("unexpected fault of child {}", child.index())
    }

    /// Waits for events and handles them until one handler fails.
    fn run(&mut self) -> Result<Infallible, Self::Error> {
        let mut answer = None;
        loop {
            let event = match answer.take() {
                Some(info) => kernel::answer_and_wait(info),
                None => kernel::wait(),
            };
            answer = match event {
                Event::Notified(channels) => {
                    self.notified(channels)?;
                    None
                }
                Event::Called(channel, info) => Some(self.protected(channel, info)?),
            };
        }
    }
}

/// Handles nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullHandler(());

impl NullHandler {
    /// The handler.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Handler for NullHandler {
    type Error = Infallible;
}
