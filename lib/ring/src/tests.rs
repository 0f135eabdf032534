extern crate std;
use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn region(words: usize) -> Vec<AtomicU32> {
    (0..words).map(|_| AtomicU32::new(0)).collect()
}

#[test]
fn frames_keep_their_order_across_the_end() {
    let words = region(DATA + 16);
    let mut tx = Sender::<(u32, u8)>::new(&words);
    let mut rx = Receiver::<(u32, u8)>::new(&words);
    for i in 0..1000u32 {
        tx.send(&(i * 7919, i as u8)).unwrap();
        tx.send(&(i, 1)).unwrap();
        assert_eq!(rx.receive(), Some(Ok((i * 7919, i as u8))));
        assert_eq!(rx.receive(), Some(Ok((i, 1))));
        assert_eq!(rx.receive(), None);
    }
}

#[test]
fn full_is_an_answer_and_the_doorbell_rings_once() {
    let words = region(DATA + 4);
    let mut tx = Sender::<u32>::new(&words);
    let mut rx = Receiver::<u32>::new(&words);
    assert!(!tx.take_doorbell());
    tx.send(&1).unwrap();
    tx.send(&2).unwrap();
    assert_eq!(tx.send(&3), Err(SendError::Full));
    assert!(tx.take_doorbell());
    assert!(!tx.take_doorbell());
    assert_eq!(rx.receive(), Some(Ok(1)));
    tx.send(&3).unwrap();
    assert_eq!(rx.receive(), Some(Ok(2)));
    assert_eq!(rx.receive(), Some(Ok(3)));
}

#[test]
fn too_long_is_an_answer() {
    let words = region(DATA + 4);
    let mut tx = Sender::<[u64; 4]>::new(&words);
    assert_eq!(tx.send(&[u64::MAX; 4]), Err(SendError::TooLong));
    let none: [AtomicU32; 0] = [];
    assert_eq!(Sender::<u8>::new(&none).send(&1), Err(SendError::TooLong));
    assert_eq!(Receiver::<u8>::new(&none).receive(), None);
}

#[test]
fn a_lying_tail_reads_as_full() {
    let words = region(DATA + 16);
    let mut tx = Sender::<u32>::new(&words);
    words[TAIL].set(5);
    assert_eq!(tx.send(&1), Err(SendError::Full));
}

#[test]
fn after_garbage_the_ring_goes_on() {
    let words = region(DATA + 16);
    let mut rx = Receiver::<u32>::new(&words);
    words[HEAD].set(1000);
    assert_eq!(rx.receive(), Some(Err(FrameError::BadHead)));
    assert_eq!(rx.receive(), None);
    words[DATA + (1000 & 15)].set(9999);
    words[HEAD].set(1002);
    assert_eq!(rx.receive(), Some(Err(FrameError::BadLength)));
    assert_eq!(rx.receive(), None);
    // A frame with a byte too many, then a good one.
    words[DATA + (1002 & 15)].set(2);
    words[DATA + (1003 & 15)].set(0x0101);
    words[DATA + (1004 & 15)].set(1);
    words[DATA + (1005 & 15)].set(42);
    words[HEAD].set(1006);
    assert_eq!(rx.receive(), Some(Err(FrameError::TrailingBytes)));
    assert_eq!(rx.receive(), Some(Ok(42)));
}

proptest! {
    /// Whatever the peer writes, wherever: the receiver answers, and gets through to the head.
    #[test]
    fn arbitrary_memory_never_blocks(
        content in prop::collection::vec(any::<u32>(), DATA + 64),
        head in prop_oneof![0u32..70, any::<u32>()],
    ) {
        let words: Vec<AtomicU32> = content.into_iter().map(AtomicU32::new).collect();
        words[HEAD].set(head);
        let mut rx = Receiver::<(u8, Option<u64>)>::new(&words);
        let mut frames = 0;
        while rx.receive().is_some() {
            frames += 1;
            prop_assert!(frames <= 64);
        }
        prop_assert!(rx.is_empty());
    }
}

mod interleavings {
    use super::*;
    use loom::sync::Arc;

    impl Word for loom::sync::atomic::AtomicU32 {
        fn observe(&self) -> u32 {
            self.load(Ordering::Acquire)
        }
        fn publish(&self, value: u32) {
            self.store(value, Ordering::Release);
        }
        fn get(&self) -> u32 {
            loom::sync::atomic::AtomicU32::load(self, Ordering::Relaxed)
        }
        fn set(&self, value: u32) {
            loom::sync::atomic::AtomicU32::store(self, value, Ordering::Relaxed);
        }
    }

    /// Every interleaving and every allowed reordering of one producer and one consumer over a
    /// ring so small that it wraps and fills: all messages arrive once, in order, undamaged.
    #[test]
    fn nothing_is_lost_torn_or_doubled() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let words: Arc<Vec<_>> = Arc::new(
                (0..DATA + 4)
                    .map(|_| loom::sync::atomic::AtomicU32::new(0))
                    .collect(),
            );
            let theirs = words.clone();
            let producer = loom::thread::spawn(move || {
                let mut tx = Sender::<u16, _>::new(&theirs);
                for message in [0x1111, 0x2222, 0x3333] {
                    while tx.send(&message).is_err() {
                        loom::thread::yield_now();
                    }
                }
            });
            let mut rx = Receiver::<u16, _>::new(&words);
            for expected in [0x1111, 0x2222, 0x3333] {
                let got = loop {
                    if let Some(got) = rx.receive() {
                        break got;
                    }
                    loom::thread::yield_now();
                };
                assert_eq!(got, Ok(expected));
            }
            assert_eq!(rx.receive(), None);
            producer.join().unwrap();
        });
    }
}
