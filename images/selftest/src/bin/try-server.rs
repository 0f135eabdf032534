//! Answers calls; rings back what it reads in the ring.
#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, MessageInfo, debug_println, get_mr,
    memory_region_symbol, pd_name, protection_domain, set_mr, var,
};
use selftest::{pattern, weighted};

struct Server {
    client: Channel,
    ring: *const u8,
    ring_size: usize,
}

impl Handler for Server {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        let same = (0..self.ring_size).all(|offset| {
            // SAFETY: system.xml maps `ring_size` bytes there.
            let byte = unsafe { self.ring.add(offset).read_volatile() };
            byte == pattern(offset)
        });
        if channels.contains(self.client) && same {
            self.client.notify();
        }
        Ok(())
    }

    fn protected(
        &mut self,
        channel: Channel,
        info: MessageInfo,
    ) -> Result<MessageInfo, Infallible> {
        let sum = weighted((0..info.count()).map(get_mr));
        set_mr(0, sum);
        set_mr(1, channel.index() as u64);
        Ok(MessageInfo::new(info.label() + 1, 2))
    }
}

#[protection_domain(stack_size = 0x4000)]
fn init() -> impl Handler {
    debug_println!("{}: ready", pd_name().unwrap_or("?"));
    Server {
        client: Channel::new(*var!(client_id: usize = 99)),
        ring: memory_region_symbol!(ring: *mut u8).as_ptr(),
        ring_size: *var!(ring_size: usize = 0),
    }
}
