//! Transcendental functions of the x87.

use crate::{X87, X87Op};

impl X87 {
    pub(crate) fn transcendental(&mut self, op: X87Op) {
        let _ = op;
    }
}
