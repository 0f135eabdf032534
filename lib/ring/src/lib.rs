//! Single-producer single-consumer frames in shared memory.
//!
//! ```text
//! word 0      head: words ever written, by the producer only (free-running)
//! word 16     tail: words ever read, by the consumer only (free-running)
//! word 32..   data: a power of two of words; a frame is its length in bytes and its payload,
//!             padded to whole words
//! ```
//!
//! The peer is another protection domain and may write anything anywhere at any time. Each side
//! therefore keeps its own counter privately and only *publishes* it; the peer's counter is a
//! claim, checked against the capacity. A receiver copies a frame out once, word by word, before
//! it looks at it. A broken frame is an error and is skipped; a broken ring is emptied up to the
//! peer's head: garbage costs the peer its messages and never blocks the ring.
#![no_std]
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};
use heapless::Vec;
use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

/// The longest payload of a frame, in bytes.
pub const MAX_FRAME: usize = 4096;
/// Bytes of shared memory that one ring region of the system has.
pub const REGION_BYTES: usize = 64 * 1024;
/// Words of a ring region.
pub const REGION_WORDS: usize = REGION_BYTES / 4;

const HEAD: usize = 0;
const TAIL: usize = 16;
const DATA: usize = 32;

/// A word of shared memory.
pub trait Word {
    /// Reads the word; what the peer wrote before it published the word is visible after.
    fn observe(&self) -> u32;
    /// Publishes the word, after everything written before.
    fn publish(&self, value: u32);
    /// Reads the word.
    fn get(&self) -> u32;
    /// Writes the word.
    fn set(&self, value: u32);
}

impl Word for AtomicU32 {
    fn observe(&self) -> u32 {
        AtomicU32::load(self, Ordering::Acquire)
    }
    fn publish(&self, value: u32) {
        AtomicU32::store(self, value, Ordering::Release);
    }
    fn get(&self) -> u32 {
        AtomicU32::load(self, Ordering::Relaxed)
    }
    fn set(&self, value: u32) {
        AtomicU32::store(self, value, Ordering::Relaxed);
    }
}

/// Why a message could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The peer has not read enough yet (or lies about what it has read).
    Full,
    /// The encoded message is longer than [`MAX_FRAME`] or than the ring.
    TooLong,
}

/// What is wrong with what the peer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The peer's head is more than the ring's capacity away; everything in it was dropped.
    BadHead,
    /// The frame's length is zero, too long, or beyond what was written; everything was dropped.
    BadLength,
    /// The frame does not decode as a message of this channel; it was skipped.
    Undecodable,
    /// Bytes are left over behind the message; it was skipped.
    TrailingBytes,
}

/// A frame's payload outside of the ring. Not an array: that would be cleared each time, which
/// takes longer than all else that is done with a short message.
type Payload = Vec<u8, MAX_FRAME>;

const _: () = assert!(MAX_FRAME.is_multiple_of(4));

/// Where a message is encoded.
struct Bytes<'a>(&'a mut Payload);

impl Flavor for Bytes<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0
            .push(byte)
            .map_err(|_| postcard::Error::SerializeBufferFull)
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// The largest power of two of data words in a region of `words` words, 0 if it is too small.
const fn capacity(words: usize) -> u32 {
    if words <= DATA {
        return 0;
    }
    1 << (words - DATA).ilog2()
}

/// The producer's end.
pub struct Sender<'a, T, W = AtomicU32> {
    words: &'a [W],
    capacity: u32,
    head: u32,
    doorbell: bool,
    message: PhantomData<fn(&T)>,
}

impl<'a, T: Serialize, W: Word> Sender<'a, T, W> {
    /// The producer's end of a zeroed region, shared with exactly one [`Receiver`].
    pub fn new(words: &'a [W]) -> Self {
        Self {
            words,
            capacity: capacity(words.len()),
            head: 0,
            doorbell: false,
            message: PhantomData,
        }
    }

    /// Encodes `message` and publishes it.
    pub fn send(&mut self, message: &T) -> Result<(), SendError> {
        let mut payload = Payload::new();
        postcard::serialize_with_flavor(message, Bytes(&mut payload))
            .map_err(|_| SendError::TooLong)?;
        let len = payload.len();
        let size = 1 + len.div_ceil(4) as u32;
        if size > self.capacity {
            return Err(SendError::TooLong);
        }
        let used = self.head.wrapping_sub(self.words[TAIL].observe());
        // A tail ahead of our head is the peer's lie; `used` is then huge and reads as full.
        if used > self.capacity || self.capacity - used < size {
            return Err(SendError::Full);
        }
        self.put(0, len as u32);
        for (i, chunk) in payload.chunks(4).enumerate() {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.put(1 + i as u32, u32::from_le_bytes(word));
        }
        self.head = self.head.wrapping_add(size);
        self.words[HEAD].publish(self.head);
        self.doorbell = true;
        Ok(())
    }

    /// Whether something was sent since the last call: the peer is to be notified, once.
    pub fn take_doorbell(&mut self) -> bool {
        core::mem::take(&mut self.doorbell)
    }

    fn put(&self, offset: u32, value: u32) {
        let index = self.head.wrapping_add(offset) & (self.capacity - 1);
        self.words[DATA + index as usize].set(value);
    }
}

/// The consumer's end.
pub struct Receiver<'a, T, W = AtomicU32> {
    words: &'a [W],
    capacity: u32,
    tail: u32,
    message: PhantomData<fn() -> T>,
}

impl<'a, T: DeserializeOwned, W: Word> Receiver<'a, T, W> {
    /// The consumer's end of a zeroed region, shared with exactly one [`Sender`].
    pub fn new(words: &'a [W]) -> Self {
        Self {
            words,
            capacity: capacity(words.len()),
            tail: 0,
            message: PhantomData,
        }
    }

    /// Whether there is nothing to receive at the moment.
    pub fn is_empty(&self) -> bool {
        self.capacity == 0 || self.words[HEAD].observe() == self.tail
    }

    /// Takes the next message, or what is wrong with it. `None`: the ring is empty.
    pub fn receive(&mut self) -> Option<Result<T, FrameError>> {
        if self.capacity == 0 {
            return None;
        }
        let head = self.words[HEAD].observe();
        let available = head.wrapping_sub(self.tail);
        if available == 0 {
            return None;
        }
        if available > self.capacity {
            return Some(Err(self.drop_all(head, FrameError::BadHead)));
        }
        let len = self.get(0) as usize;
        if len == 0 || len > MAX_FRAME || 1 + len.div_ceil(4) as u32 > available {
            return Some(Err(self.drop_all(head, FrameError::BadLength)));
        }
        let words = len.div_ceil(4) as u32;
        let mut payload = Payload::new();
        for i in 0..words {
            // There is room: MAX_FRAME is whole words.
            let _ = payload.extend_from_slice(&self.get(1 + i).to_le_bytes());
        }
        payload.truncate(len);
        self.advance(self.tail.wrapping_add(1 + words));
        Some(match postcard::take_from_bytes(&payload) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err(FrameError::TrailingBytes),
            Err(_) => Err(FrameError::Undecodable),
        })
    }

    fn get(&self, offset: u32) -> u32 {
        let index = self.tail.wrapping_add(offset) & (self.capacity - 1);
        self.words[DATA + index as usize].get()
    }

    fn advance(&mut self, tail: u32) {
        self.tail = tail;
        self.words[TAIL].publish(tail);
    }

    fn drop_all(&mut self, head: u32, error: FrameError) -> FrameError {
        self.advance(head);
        error
    }
}

/// Both directions of one channel, with the count of frames that could not be used.
pub struct Link<'a, Out, In, W = AtomicU32> {
    tx: Sender<'a, Out, W>,
    rx: Receiver<'a, In, W>,
    /// Frames that did not decode, and ring states that could not be.
    pub bad_frames: u32,
    /// Messages that were not sent, because the peer does not read.
    pub unsent: u32,
}

impl<'a, Out: Serialize, In: DeserializeOwned, W: Word> Link<'a, Out, In, W> {
    /// A link that writes into `tx` and reads from `rx`, both zeroed regions.
    pub fn new(tx: &'a [W], rx: &'a [W]) -> Self {
        Self {
            tx: Sender::new(tx),
            rx: Receiver::new(rx),
            bad_frames: 0,
            unsent: 0,
        }
    }

    /// Sends, and counts what could not be sent.
    pub fn send(&mut self, message: &Out) -> Result<(), SendError> {
        self.tx
            .send(message)
            .inspect_err(|_| self.unsent = self.unsent.saturating_add(1))
    }

    /// The next message; bad frames are counted and reported once each.
    pub fn receive(&mut self) -> Option<Result<In, FrameError>> {
        let received = self.rx.receive();
        if let Some(Err(_)) = received {
            self.bad_frames = self.bad_frames.saturating_add(1);
        }
        received
    }

    /// Whether there is nothing to receive at the moment.
    pub fn is_empty(&self) -> bool {
        self.rx.is_empty()
    }

    /// Whether the peer is to be notified of what was sent since the last call.
    pub fn take_doorbell(&mut self) -> bool {
        self.tx.take_doorbell()
    }
}

/// In a protection domain, its end of a channel: `link!(sends, receives)` of the symbols that
/// system.xml's `setvar_vaddr` fills in. Expands to `unsafe` code in the domain's `main.rs` and
/// needs its `sel4_microkit`, so that neither is this crate's.
#[macro_export]
macro_rules! link {
    ($sends:ident, $receives:ident) => {
        $crate::Link::new($crate::link!(@words $sends), $crate::link!(@words $receives))
    };
    (@words $symbol:ident) => {{
        let words = sel4_microkit::memory_region_symbol!(
            $symbol: *mut [core::sync::atomic::AtomicU32],
            n = $crate::REGION_WORDS
        );
        // SAFETY: system.xml maps a whole ring region there for good, and everybody who
        // maps it uses it as atomic words.
        unsafe { words.as_ref() }
    }};
}

#[cfg(test)]
mod tests;
