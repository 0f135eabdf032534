//! Capability pointers, rights, and the data given when a capability is minted.

/// Index of a capability in its holder's CSpace.
pub type CapPtr = u64;

/// Access rights of a capability (seL4_CapRights: write 1, read 2, grant 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(pub u64);

impl Rights {
    /// Write only.
    pub const WRITE: Self = Self(1);
    /// Read only.
    pub const READ: Self = Self(2);
    /// Read and write.
    pub const READ_WRITE: Self = Self(3);
    /// Write, and hand capabilities on (what a caller needs, for its reply).
    pub const WRITE_GRANT: Self = Self(5);
    /// Everything.
    pub const ALL: Self = Self(7);
}

/// Badge of an endpoint or notification: this kernel keeps 28 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Badge(u64);

impl Badge {
    /// Bits a badge has.
    pub const BITS: u32 = 28;

    /// `None` when the value has more than 28 bits.
    pub const fn new(value: u64) -> Option<Self> {
        if value >> Self::BITS == 0 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// As capability data.
    pub const fn data(self) -> u64 {
        self.0
    }
}

/// Guard of a CNode capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Bits of the guard, 0 to 63; the guard's value is zero.
    pub size: u32,
}

impl Guard {
    /// As capability data.
    pub const fn data(self) -> u64 {
        (1 << 31) | ((self.size as u64 & 0x3f) << 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badges_have_28_bits() {
        assert_eq!(Badge::new((1 << 28) - 1).map(Badge::data), Some(0xfff_ffff));
        assert_eq!(Badge::new(1 << 28), None);
    }

    #[test]
    fn guards_are_marked_and_sized() {
        assert_eq!(Guard { size: 55 }.data(), 0x8000_00dc);
    }
}
