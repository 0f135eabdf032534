//! Page types the PAMT keeps, and page sizes.

/// The type of a physical page in a TDMR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageType {
    /// Not directly assigned: free, or part of a larger or smaller page.
    Nda = 0,
    /// Reserved area of a TDMR.
    Rsvd = 1,
    /// TD private page.
    Reg = 3,
    /// TD root.
    Tdr = 4,
    /// Child page of TDCS or TDVPS.
    Tdcx = 5,
    /// vCPU root.
    Tdvpr = 6,
    /// Secure EPT page.
    Ept = 8,
}

impl PageType {
    /// The type with this encoding.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Nda),
            1 => Some(Self::Rsvd),
            3 => Some(Self::Reg),
            4 => Some(Self::Tdr),
            5 => Some(Self::Tdcx),
            6 => Some(Self::Tdvpr),
            8 => Some(Self::Ept),
            _ => None,
        }
    }
}

/// Level of a 4 KiB page or the entries that map one.
pub const LEVEL_4K: u8 = 0;
/// Level of a 2 MiB page.
pub const LEVEL_2M: u8 = 1;
/// Level of a 1 GiB page.
pub const LEVEL_1G: u8 = 2;

/// The size in bytes that one Secure EPT entry of `level` covers.
pub const fn level_size(level: u8) -> u64 {
    1 << (12 + 9 * level as u32)
}
