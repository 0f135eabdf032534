//! The Microkit SDK's kernel (MCS), through its own `microkit.h` and
//! `libmicrokit.a`: see `sdk.c`. The PD waits on one endpoint to which its
//! notification is bound; the badge tells a call (top bit, and the channel's
//! number) from notifications (a bit for each channel).

use super::Event;
use crate::{Channel, ChannelSet, MessageInfo};

unsafe extern "C" {
    fn septum_sdk_wait(badge: *mut u64) -> u64;
    fn septum_sdk_answer_and_wait(answer: u64, badge: *mut u64) -> u64;
    safe fn septum_sdk_call(channel: u32, message: u64) -> u64;
    safe fn septum_sdk_notify(channel: u32);
    safe fn septum_sdk_irq_ack(channel: u32);
    safe fn septum_sdk_register(index: u8) -> u64;
    safe fn septum_sdk_set_register(index: u8, value: u64);
    safe fn septum_sdk_io_port_read(id: u32, port: u64, bytes: u32) -> u32;
    safe fn septum_sdk_io_port_write(id: u32, port: u64, bytes: u32, value: u64);
    safe fn microkit_dbg_putc(c: i32);
}

/// Badge bit of a protected procedure call; the caller's channel is in the
/// lowest bits, as a number.
const CALL_BADGE: u64 = 1 << 63;
/// Message registers of an IPC buffer.
const MAX_REGISTERS: usize = 120;

/// microkit.h's functions return no errors: they stop the PD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {}

/// Bits of a message label.
pub(crate) const LABEL_BITS: usize = 52;
const LABEL_SHIFT: u32 = 64 - LABEL_BITS as u32;

pub(crate) const fn message_tag(label: u64, count: usize) -> u64 {
    label << LABEL_SHIFT | count as u64 & 0x7f
}

pub(crate) const fn message_label(tag: u64) -> u64 {
    tag >> LABEL_SHIFT
}

fn register_index(index: usize) -> u8 {
    assert!(
        index < MAX_REGISTERS,
        "message registers go from 0 to {}",
        MAX_REGISTERS - 1
    );
    index as u8
}

pub(crate) fn register(index: usize) -> u64 {
    septum_sdk_register(register_index(index))
}

pub(crate) fn set_register(index: usize, value: u64) {
    septum_sdk_set_register(register_index(index), value);
}

fn event(tag: u64, badge: u64) -> Event {
    if badge & CALL_BADGE != 0 {
        let channel = Channel::new((badge & 0x3f) as usize % crate::MAX_CHANNELS);
        Event::Called(channel, MessageInfo::from_word(tag))
    } else {
        Event::Notified(ChannelSet::new(badge))
    }
}

pub(crate) fn wait() -> Event {
    let mut badge = 0;
    // SAFETY: `badge` is written before the function returns, not later.
    let tag = unsafe { septum_sdk_wait(&mut badge) };
    event(tag, badge)
}

pub(crate) fn answer_and_wait(info: MessageInfo) -> Event {
    let mut badge = 0;
    // SAFETY: as in `wait`.
    let tag = unsafe { septum_sdk_answer_and_wait(info.word(), &mut badge) };
    event(tag, badge)
}

pub(crate) fn signal(channel: usize) {
    septum_sdk_notify(channel as u32);
}

pub(crate) fn call(channel: usize, info: MessageInfo) -> MessageInfo {
    MessageInfo::from_word(septum_sdk_call(channel as u32, info.word()))
}

pub(crate) fn irq_ack(channel: usize) -> Result<(), Error> {
    septum_sdk_irq_ack(channel as u32);
    Ok(())
}

pub(crate) fn io_port_read(id: usize, port: u16, bytes: u32) -> Result<u32, Error> {
    Ok(septum_sdk_io_port_read(id as u32, port.into(), bytes))
}

pub(crate) fn io_port_write(id: usize, port: u16, bytes: u32, value: u32) -> Result<(), Error> {
    septum_sdk_io_port_write(id as u32, port.into(), bytes, value.into());
    Ok(())
}

/// Nothing in the SDK's release configuration, whose kernel has no console.
pub(crate) fn debug_put_char(c: u8) {
    microkit_dbg_putc(c.into());
}

/// Stops the PD: Microkit's monitor reports the exception, in the debug
/// configuration.
pub(crate) fn stop() -> ! {
    // SAFETY: raises #UD, on which the kernel suspends the thread.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
