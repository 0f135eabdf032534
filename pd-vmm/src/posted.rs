//! The posted-interrupt descriptor (SDM vol. 3, "Posted-Interrupt Processing").
//!
//! ```text
//! bits 255:0    PIR   one request bit per vector
//! bit  256      ON    outstanding notification
//! bit  257      SN    suppress notification
//! bits 279:272  NV    notification vector
//! bits 319:288  NDST  notification destination
//! ```
//! It lies in memory that the host shares with the CPU, so every access is atomic.

use gpa::Hpa;
use memory::PhysMemory;

/// Size and alignment of a descriptor in bytes.
pub const SIZE: u64 = 64;
/// The notification vector, an interrupt vector of the host. Any would do: nothing but the
/// notification uses it.
pub const NOTIFICATION_VECTOR: u8 = 0xf2;

const ON: u64 = 1;
const CONTROL: u64 = 32;

/// The descriptor of one vCPU.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor(Hpa);

impl Descriptor {
    /// The descriptor at this address, 64-byte aligned.
    pub const fn new(hpa: Hpa) -> Self {
        Self(hpa)
    }

    /// Its host physical address.
    pub const fn hpa(self) -> Hpa {
        self.0
    }

    /// Empties it.
    pub fn reset(self, memory: &impl PhysMemory) {
        memory.zero(self.0, SIZE);
        self.word(CONTROL, |control| {
            memory.write_u64(control, u64::from(NOTIFICATION_VECTOR) << 16)
        });
    }

    /// Requests the interrupt `vector`; whether a notification is due that was not before.
    pub fn post(self, memory: &impl PhysMemory, vector: u8) -> bool {
        self.word(u64::from(vector / 64) * 8, |word| {
            memory.fetch_or_u64(word, 1 << (vector % 64))
        });
        self.word(CONTROL, |control| memory.fetch_or_u64(control, ON)) & ON == 0
    }

    /// Whether something was posted that no vCPU has taken yet.
    pub fn is_outstanding(self, memory: &impl PhysMemory) -> bool {
        self.word(CONTROL, |control| memory.read_u64(control)) & ON != 0
    }

    fn word<T>(self, offset: u64, access: impl FnOnce(Hpa) -> T) -> T {
        access(Hpa::new(self.0.get().wrapping_add(offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory::HostMemory;

    #[test]
    fn vectors_have_their_bits() {
        let memory = HostMemory::new(Hpa::new(0x1000), 0x1000);
        let m = memory.window();
        let descriptor = Descriptor::new(Hpa::new(0x1040));
        descriptor.reset(m);
        assert!(!descriptor.is_outstanding(m));
        assert!(descriptor.post(m, 0x31));
        assert!(!descriptor.post(m, 0xec), "one notification is enough");
        assert!(descriptor.is_outstanding(m));
        assert_eq!(m.read_u64(Hpa::new(0x1040)), 1 << 0x31);
        assert_eq!(m.read_u64(Hpa::new(0x1058)), 1 << (0xec - 0xc0));
        assert_eq!(m.read_u64(Hpa::new(0x1060)), 0xf2_0001);
        assert_eq!(m.swap_u64(Hpa::new(0x1060), 0xf2_0000), 0xf2_0001);
        assert!(descriptor.post(m, 0x20));
    }
}
