//! The kernel under the PD: one module for each way to run, all with these
//! functions. `ci` is seL4 5.0.0 as `images/kernel` builds it, set up by
//! `images/init`; `sdk` is the Microkit SDK's kernel, set up by its `microkit`
//! tool.

#[cfg(not(feature = "sdk"))]
mod ci;
#[cfg(feature = "sdk")]
mod sdk;

#[cfg(not(feature = "sdk"))]
use ci as chosen;
#[cfg(feature = "sdk")]
use sdk as chosen;

pub(crate) use chosen::{
    Error, LABEL_BITS, answer_and_wait, call, debug_put_char, io_port_read, io_port_write, irq_ack,
    message_label, message_tag, register, set_register, signal, stop, wait,
};

use crate::{Channel, ChannelSet, MessageInfo};

/// What a PD waits for.
pub(crate) enum Event {
    /// Channels were notified.
    Notified(ChannelSet),
    /// Another PD called through this channel and waits for the answer.
    Called(Channel, MessageInfo),
}
