//! seL4 5.0.0: a non-MCS kernel. The PD waits on one endpoint to which its
//! notification is bound; the badge tells a call (top bit, and the channel's
//! number) from notifications (a bit for each channel).

pub(crate) use sel4::Error;
use sel4::{IoPort, IpcBuffer, IrqHandler, syscall, syscall::Received};
use system_image::pd_layout;

use super::Event;
use crate::{Channel, ChannelSet, MessageInfo};

/// Bits of a message label.
pub(crate) const LABEL_BITS: usize = sel4::MessageInfo::LABEL_BITS as usize;

fn buffer() -> &'static mut IpcBuffer {
    // SAFETY: the initial task maps the IPC buffer there, in every PD. A PD is
    // one thread, and no function of this module holds the reference while it
    // calls another that takes it.
    unsafe { &mut *(pd_layout::IPC_BUFFER as *mut IpcBuffer) }
}

pub(crate) const fn message_tag(label: u64, count: usize) -> u64 {
    sel4::MessageInfo::new(label, 0, count as u64).word()
}

pub(crate) const fn message_label(tag: u64) -> u64 {
    sel4::MessageInfo::from_word(tag).label()
}

pub(crate) fn register(index: usize) -> u64 {
    buffer().registers[index]
}

pub(crate) fn set_register(index: usize, value: u64) {
    buffer().registers[index] = value;
}

fn event(received: Received) -> Event {
    if received.badge & pd_layout::CALL_BADGE != 0 {
        let channel = Channel::new((received.badge & 0x3f) as usize % crate::MAX_CHANNELS);
        Event::Called(channel, MessageInfo::from_word(received.info.word()))
    } else {
        Event::Notified(ChannelSet::new(received.badge))
    }
}

pub(crate) fn wait() -> Event {
    event(syscall::recv(pd_layout::INPUT_SLOT, buffer()))
}

pub(crate) fn answer_and_wait(info: MessageInfo) -> Event {
    let info = sel4::MessageInfo::from_word(info.word());
    event(syscall::reply_recv(pd_layout::INPUT_SLOT, info, buffer()))
}

pub(crate) fn signal(channel: usize) {
    syscall::signal(pd_layout::NOTIFICATION_BASE + channel as u64);
}

pub(crate) fn call(channel: usize, info: MessageInfo) -> MessageInfo {
    let info = sel4::MessageInfo::from_word(info.word());
    let endpoint = pd_layout::ENDPOINT_BASE + channel as u64;
    MessageInfo::from_word(syscall::call(endpoint, info, buffer()).word())
}

pub(crate) fn irq_ack(channel: usize) -> Result<(), Error> {
    IrqHandler(pd_layout::IRQ_BASE + channel as u64).ack(buffer())
}

pub(crate) fn io_port_read(id: usize, port: u16, bytes: u32) -> Result<u32, Error> {
    IoPort(pd_layout::IO_PORT_BASE + id as u64).read(buffer(), port, bytes)
}

pub(crate) fn io_port_write(id: usize, port: u16, bytes: u32, value: u32) -> Result<(), Error> {
    IoPort(pd_layout::IO_PORT_BASE + id as u64).write(buffer(), port, bytes, value)
}

pub(crate) fn debug_put_char(c: u8) {
    syscall::debug_put_char(c);
}

/// Stops the PD: the initial task reports the exception.
pub(crate) fn stop() -> ! {
    // SAFETY: raises #UD, on which the kernel suspends the thread.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
