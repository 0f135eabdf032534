//! The virtual x2APIC's part that processor and APIC virtualisation do without an exit
//! (SDM vol. 3C, chapter 30): priorities, EOI, self-IPI, posted interrupts.

use gpa::Hpa;
use memory::PhysMemory;

/// A set of 256 vectors.
type Vectors = [u64; 4];

fn highest(set: &Vectors) -> Option<u8> {
    (0..4u8)
        .rev()
        .find(|&i| set[i as usize] != 0)
        .map(|i| i * 64 + 63 - set[i as usize].leading_zeros() as u8)
}

fn bit(vector: u8) -> (usize, u64) {
    (vector as usize / 64, 1 << (vector % 64))
}

/// Offset of the outstanding-notification word in a posted-interrupt descriptor
/// (SDM vol. 3C, table 30-1); the 256 requests (PIR) are the 32 bytes before.
const PID_CONTROL: u64 = 32;
/// Outstanding notification.
const PID_ON: u64 = 1;

/// The virtual local APIC of one CPU.
#[derive(Clone, Debug, Default)]
pub struct Apic {
    tpr: u8,
    irr: Vectors,
    isr: Vectors,
    tmr: Vectors,
}

impl Apic {
    /// After reset: nothing requested, nothing in service.
    pub const fn new() -> Self {
        Self {
            tpr: 0,
            irr: [0; 4],
            isr: [0; 4],
            tmr: [0; 4],
        }
    }

    /// Task priority.
    pub fn tpr(&self) -> u8 {
        self.tpr
    }
    /// Sets the task priority.
    pub fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
    }

    /// Processor priority: of the task, or of what is in service if that is more.
    pub fn ppr(&self) -> u8 {
        let serving = highest(&self.isr).unwrap_or(0);
        if self.tpr >> 4 >= serving >> 4 {
            self.tpr
        } else {
            serving & 0xf0
        }
    }

    /// Requests an interrupt.
    pub fn request(&mut self, vector: u8) {
        let (word, bit) = bit(vector);
        self.irr[word] |= bit;
    }

    /// The vector to deliver now, if one is requested above the processor's priority.
    pub fn deliverable(&self) -> Option<u8> {
        highest(&self.irr).filter(|vector| vector >> 4 > self.ppr() >> 4)
    }

    /// Moves a vector from requested to in service.
    pub fn acknowledge(&mut self, vector: u8) {
        let (word, bit) = bit(vector);
        self.irr[word] &= !bit;
        self.isr[word] |= bit;
    }

    /// End of interrupt: the highest vector in service leaves.
    pub fn end_of_interrupt(&mut self) {
        if let Some(vector) = highest(&self.isr) {
            let (word, bit) = bit(vector);
            self.isr[word] &= !bit;
        }
    }

    /// One of the x2APIC MSRs that need no exit; `None` for any other.
    pub fn read(&self, msr: u32) -> Option<u64> {
        let word = |set: &Vectors, i: u32| {
            let half = set[(i / 2) as usize & 3] >> (32 * (i % 2));
            half & 0xffff_ffff
        };
        Some(match msr {
            0x808 => self.tpr as u64,
            0x80a => self.ppr() as u64,
            0x810..=0x817 => word(&self.isr, msr - 0x810),
            0x818..=0x81f => word(&self.tmr, msr - 0x818),
            0x820..=0x827 => word(&self.irr, msr - 0x820),
            _ => return None,
        })
    }

    /// Takes over what the posted-interrupt descriptor at `descriptor` (64-byte aligned, so its
    /// words are naturally aligned) requests: clears ON first, so that what is posted from then
    /// on is announced again.
    pub fn sync<P: PhysMemory>(&mut self, memory: &P, descriptor: Hpa) {
        let at = |offset| Hpa::new(descriptor.get().wrapping_add(offset));
        if !memory.contains(descriptor, 64) {
            return;
        }
        let mut control = memory.read_u64(at(PID_CONTROL));
        if control & PID_ON == 0 {
            return;
        }
        // A hostile writer cannot keep us here: a few tries, else the next time.
        for _ in 0..8 {
            match memory.compare_exchange_u64(at(PID_CONTROL), control, control & !PID_ON) {
                Ok(_) => break,
                Err(found) => control = found,
            }
        }
        for (i, word) in self.irr.iter_mut().enumerate() {
            let posted = at(8 * i as u64);
            if memory.read_u64(posted) != 0 {
                *word |= memory.swap_u64(posted, 0);
            }
        }
        // Vectors below 16 are no interrupts.
        self.irr[0] &= !0xffff;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory::HostMemory;

    #[test]
    fn priorities() {
        let mut apic = Apic::new();
        apic.request(0x31);
        apic.request(0x45);
        assert_eq!(apic.deliverable(), Some(0x45));
        apic.set_tpr(0x40);
        assert_eq!(apic.deliverable(), None, "same class as the task");
        apic.set_tpr(0x30);
        apic.acknowledge(0x45);
        assert_eq!((apic.ppr(), apic.deliverable()), (0x40, None));
        assert_eq!(apic.read(0x812), Some(1 << 5));
        apic.request(0x52);
        assert_eq!(apic.deliverable(), Some(0x52), "nests");
        apic.acknowledge(0x52);
        apic.end_of_interrupt();
        apic.end_of_interrupt();
        assert_eq!((apic.ppr(), apic.deliverable()), (0x30, None));
        apic.set_tpr(0);
        assert_eq!(apic.deliverable(), Some(0x31));
        assert_eq!(apic.read(0x80b), None, "EOI can't be read");
    }

    #[test]
    fn posted_interrupts_are_taken_once() {
        let memory = HostMemory::new(Hpa::new(0x1000), 0x1000);
        let m = memory.window();
        let descriptor = Hpa::new(0x1040);
        let mut apic = Apic::new();
        m.write_u64(Hpa::new(0x1040 + 8), 1 << (0x61 - 64));
        m.write_u64(Hpa::new(0x1040), 1 << 3 | 1 << 0x30);
        apic.sync(m, descriptor);
        assert_eq!(apic.deliverable(), None, "not announced");
        m.write_u64(Hpa::new(0x1060), 0xab_0000_0001);
        apic.sync(m, descriptor);
        assert_eq!(apic.deliverable(), Some(0x61));
        assert_eq!(m.read_u64(Hpa::new(0x1060)), 0xab_0000_0000);
        assert_eq!(m.read_u64(Hpa::new(0x1048)), 0);
        apic.acknowledge(0x61);
        apic.end_of_interrupt();
        assert_eq!(apic.deliverable(), Some(0x30));
        apic.acknowledge(0x30);
        assert_eq!(apic.irr, [0; 4], "3 isn't a vector");
    }
}
