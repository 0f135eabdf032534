//! The software TDX module and CPU behind [`crate::Seam`].
