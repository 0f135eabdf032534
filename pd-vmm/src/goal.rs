//! Watches what a guest prints for the line that says that it got where it was to go.

use guest_image::image::MAX_GOAL;
use heapless::{String, Vec};

/// The goal, and the end of the line that is being printed.
#[derive(Clone, Debug, Default)]
pub struct Goal {
    text: String<MAX_GOAL>,
    tail: Vec<u8, MAX_GOAL>,
    reached: bool,
}

impl Goal {
    /// Watches for a line that contains `text`; never reached if that is empty.
    pub fn new(text: &str) -> Self {
        Self {
            text: String::try_from(text).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Whether there is a goal at all.
    pub fn is_set(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether it has been reached.
    pub fn is_reached(&self) -> bool {
        self.reached
    }

    /// The guest printed one more byte.
    pub fn watch(&mut self, byte: u8) {
        if byte == b'\n' || byte == b'\r' {
            self.tail.clear();
            return;
        }
        if self.text.is_empty() {
            return;
        }
        if self.tail.len() >= self.text.len() {
            self.tail.remove(0);
        }
        // There is room: the tail never gets longer than the text.
        let _ = self.tail.push(byte);
        self.reached |= self.tail.as_slice() == self.text.as_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reached(goal: &str, output: &[u8]) -> bool {
        let mut goal = Goal::new(goal);
        output.iter().for_each(|&byte| goal.watch(byte));
        goal.is_reached()
    }

    #[test]
    fn within_one_line() {
        assert!(reached("aab", b"x aaab y"));
        assert!(reached("up: 1", b"\r\n[0.1] up: 1\r\n"));
        assert!(!reached("up: 1", b"up:\n 1"));
        assert!(!reached("up", b"u"));
        assert!(!reached("", b"anything\n"));
    }

    proptest! {
        #[test]
        fn as_a_search_in_every_line(
            goal in prop::collection::vec(b'a'..=b'c', 1..5),
            output in prop::collection::vec(prop_oneof![4 => b'a'..=b'c', 1 => Just(b'\n')], 0..60),
        ) {
            let expected = output
                .split(|&b| b == b'\n')
                .any(|line| line.windows(goal.len()).any(|w| w == goal));
            prop_assert_eq!(reached(core::str::from_utf8(&goal).unwrap(), &output), expected);
        }
    }
}
