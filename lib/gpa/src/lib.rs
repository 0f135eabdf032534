//! Guest and host physical addresses, and the one function that splits off stolen bits.
//!
//! A guest physical address (GPA) of a confidential VM is two things in one word: *where*
//! (the guest frame number) and *what kind* (the stolen bits: TDX's SHARED bit, an
//! execute-only bit). [`StolenBits::split`] is the only place in Septum that takes them apart,
//! and [`StolenBits::join`] the only one that puts them together.
#![no_std]
#![forbid(unsafe_code)]

mod stolen;
pub use stolen::{Stolen, StolenBits, StolenError};

/// log2 of the size of a 4 KiB page.
pub const PAGE_SHIFT: u32 = 12;
/// Size of a 4 KiB page in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

macro_rules! address {
    ($(#[$doc:meta])* $addr:ident, $(#[$fdoc:meta])* $frame:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $addr(u64);

        impl $addr {
            /// The address with this value.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }
            /// The address as a plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
            /// The 4 KiB frame that holds this address.
            pub const fn frame(self) -> $frame {
                $frame(self.0 >> PAGE_SHIFT)
            }
            /// The offset within the 4 KiB frame.
            pub const fn offset(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }
            /// Whether the address is a multiple of `align` (a power of two).
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }
            /// The address `bytes` further on, or `None` where that wraps.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }
        }

        impl core::fmt::Debug for $addr {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($addr), "({:#x})"), self.0)
            }
        }

        impl core::fmt::LowerHex for $addr {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::LowerHex::fmt(&self.0, f)
            }
        }

        $(#[$fdoc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $frame(u64);

        impl $frame {
            /// The frame with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }
            /// The frame number (address / 4096).
            pub const fn get(self) -> u64 {
                self.0
            }
            /// The first address of the frame.
            pub const fn base(self) -> $addr {
                $addr(self.0 << PAGE_SHIFT)
            }
        }

        impl core::fmt::Debug for $frame {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($frame), "({:#x})"), self.0)
            }
        }
    };
}

address!(
    /// A guest physical address *with* its stolen bits, as the guest and the CPU use it.
    Gpa,
    /// A guest frame number *without* stolen bits: one frame, however it is reached.
    Gfn
);
address!(
    /// A host physical address.
    Hpa,
    /// A host frame number.
    Hfn
);
