//! Tries things one after the other, and ends the machine.
#![no_std]
#![no_main]

use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, IoPort, MessageInfo, debug_println, get_mr,
    memory_region_symbol, protection_domain, set_mr, var,
};
use selftest::{FAILED, PASSED, pattern, weighted};

const SERVER: Channel = Channel::new(26);
const VICTIM: Channel = Channel::new(1);
const TIMER: Channel = Channel::new(5);
const PIT: IoPort = IoPort::new(0);
const EXIT: IoPort = IoPort::new(61);

/// Calls of the timer until the machine ends: the victim's fault is reported
/// in between.
const TICKS: u32 = 5;

fn check(what: &str, holds: bool) {
    debug_println!("try-client: {what}: {}", if holds { "ok" } else { "WRONG" });
    if !holds {
        EXIT.write_8(0xf4, FAILED);
    }
}

/// Lets the PIT interrupt once, in 10 ms: channel 0, mode 0.
fn start_timer() {
    let count = 1_193_182 / 100;
    PIT.write_8(0x43, 0x30);
    PIT.write_8(0x40, count as u8);
    PIT.write_8(0x40, (count >> 8) as u8);
}

/// The server must sum up eight registers: four travel in CPU registers, four
/// in the IPC buffer.
fn call() -> bool {
    let values = [3, 1 << 63, 5, u64::MAX, 7, 11, 13, 17];
    for (index, value) in values.into_iter().enumerate() {
        set_mr(index, value);
    }
    let answer = SERVER.pp_call(MessageInfo::new(41, values.len()));
    (answer.label(), answer.count()) == (42, 2)
        && get_mr(0) == weighted(values.into_iter())
        && get_mr(1) == 0
}

/// Every page of a region is zero, keeps what is written, and is a page of its
/// own.
fn region(first: *mut u8, size: usize) -> bool {
    let word = |offset: usize| {
        // SAFETY: system.xml maps `size` bytes there, writable.
        unsafe { first.add(offset).cast::<u64>() }
    };
    let pages = || (0..size).step_by(4096);
    // SAFETY: as above.
    let zero = pages().all(|offset| unsafe { word(offset).read_volatile() } == 0);
    // SAFETY: as above.
    pages().for_each(|offset| unsafe { word(offset).write_volatile(offset as u64 + 1) });
    // SAFETY: as above.
    zero && pages().all(|offset| unsafe { word(offset).read_volatile() } == offset as u64 + 1)
}

/// The runtime's memcpy and its kin against loops, for all small sizes and
/// overlaps.
fn memory_functions() -> bool {
    let mut source = [0u8; 256];
    for (index, byte) in source.iter_mut().enumerate() {
        *byte = pattern(index);
    }
    let mut right = true;
    for size in 0..200usize {
        for (from, to) in [(0, 0), (3, 20), (20, 3), (0, 50), (50, 0), (1, 2), (2, 1)] {
            let size = core::hint::black_box(size);
            let mut moved = source;
            moved.copy_within(from..from + size, to);
            right &= (0..256).all(|index| {
                let inside = (to..to + size).contains(&index);
                moved[index]
                    == if inside {
                        source[index + from - to]
                    } else {
                        source[index]
                    }
            });
            let mut filled = source;
            filled[to..to + size].fill(size as u8);
            right &= (0..256).all(|index| {
                let inside = (to..to + size).contains(&index);
                filled[index] == if inside { size as u8 } else { source[index] }
            });
            let mut copied = [0u8; 256];
            copied[to..to + size].copy_from_slice(&source[from..from + size]);
            right &= copied[to..to + size] == source[from..from + size];
            if size > 0 {
                copied[to + size - 1] ^= 0x80;
                right &= copied[to..to + size] != source[from..from + size];
                let (a, b) = (&copied[to..to + size], &source[from..from + size]);
                let first = a.iter().zip(b).find(|(a, b)| a != b).map(|(a, b)| a.cmp(b));
                right &= Some(a.cmp(b)) == first;
            }
        }
    }
    right
}

/// Floating point survives other threads' use of it.
fn floating_point() -> bool {
    let mut sum = 0.0f64;
    for place in 1..=1000 {
        sum += 1.0 / core::hint::black_box(f64::from(place));
        if place % 100 == 0 {
            SERVER.pp_call(MessageInfo::new(0, 0));
        }
    }
    (7.485_470_860..7.485_470_861).contains(&sum)
}

/// A region of `size` bytes begins with `length` bytes of digits; the rest is
/// zero.
fn filled(first: *const u8, length: usize, size: usize) -> bool {
    (0..size).all(|offset| {
        // SAFETY: system.xml maps `size` bytes there.
        let byte = unsafe { first.add(offset).read_volatile() };
        byte == if offset < length {
            b'0' + (offset % 10) as u8
        } else {
            0
        }
    })
}

struct Client {
    ticks: u32,
    rang: bool,
}

impl Handler for Client {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        for channel in channels {
            match channel {
                SERVER => {
                    check("the server read the ring and rang", true);
                    self.rang = true;
                }
                TIMER => self.tick(),
                other => {
                    debug_println!("try-client: channel {}", other.index());
                    check("channels", false);
                }
            }
        }
        Ok(())
    }
}

impl Client {
    fn tick(&mut self) {
        self.ticks += 1;
        check("the timer's interrupt", TIMER.irq_ack().is_ok());
        if self.ticks < TICKS {
            start_timer();
        } else {
            check("the server's doorbell", self.rang);
            debug_println!("try-client: ends the machine");
            EXIT.write_8(0xf4, PASSED);
        }
    }
}

#[protection_domain]
fn init() -> impl Handler {
    check("call", call());
    check("memory functions", memory_functions());
    check("floating point", floating_point());

    let small = memory_region_symbol!(filled: *mut u8).as_ptr();
    let length = *var!(filled_length: usize = 0);
    check(
        "prefilled region",
        length == 5000 && filled(small, length, 0x2000),
    );
    let large = memory_region_symbol!(image: *mut u8).as_ptr();
    let length = *var!(image_length: usize = 0);
    check(
        "prefilled large pages",
        length == 3_000_000 && filled(large, length, 4 << 20),
    );

    let pool = memory_region_symbol!(pool: *mut u8).as_ptr();
    let pool_size = *var!(pool_size: usize = 0);
    check(
        "large region",
        region(pool, pool_size) && pool_size == 32 << 20,
    );
    check("its address", *var!(pool_paddr: usize = 0) == 0x1000_0000);
    let high = memory_region_symbol!(high: *mut u8).as_ptr();
    check("region far up", region(high, *var!(high_size: usize = 0)));

    let ring = memory_region_symbol!(ring: *mut u8).as_ptr();
    for offset in 0..*var!(ring_size: usize = 0) {
        // SAFETY: system.xml maps `ring_size` bytes there.
        unsafe { ring.add(offset).write_volatile(pattern(offset)) };
    }
    SERVER.notify();
    VICTIM.notify();
    start_timer();
    Client {
        ticks: 0,
        rang: false,
    }
}
