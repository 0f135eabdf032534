//! CPUID virtualisation as a table: what of each leaf is fixed, configurable, native.

/// One register of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Bits that read 0, or that depend on the TD's state.
    pub fixed0_or_dynamic: u32,
    /// Bits that read 1.
    pub fixed1: u32,
    /// Bits TD_PARAMS gives, whatever the CPU has.
    pub config_direct: u32,
    /// Bits TD_PARAMS gives, 1 only if the CPU has them.
    pub allow_direct: u32,
    /// Bits the real CPU must have so ...
    pub verify_mask: u32,
    /// ... for the module to start on it.
    pub verify_value: u32,
    /// Bits that must be the same on all logical processors.
    pub verify_same: u32,
}

/// A leaf (or sub-leaf).
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    /// The leaf, EAX of CPUID.
    pub leaf: u32,
    /// The sub-leaf, ECX of CPUID; [`NO_SUBLEAF`] where there is none.
    pub subleaf: u32,
    /// Which entry of TD_PARAMS.cpuid configures the leaf, [`CONFIG`] has the way back.
    pub config: Option<u8>,
    /// CPUID of this leaf gives #VE.
    pub faulting: bool,
    /// EAX, EBX, ECX, EDX.
    pub registers: [Register; 4],
}

/// "This leaf has no sub-leaves".
pub const NO_SUBLEAF: u32 = u32::MAX;
/// Entries that TD_PARAMS configures.
pub const NUM_CONFIG: usize = 12;
/// Index into [`LEAVES`] of each entry of TD_PARAMS.cpuid.
pub const CONFIG: [usize; NUM_CONFIG] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 59];
/// Highest base leaf.
pub const LAST_BASE_LEAF: u32 = 0x23;
/// Highest extended leaf.
pub const LAST_EXTENDED_LEAF: u32 = 0x8000_0008;

const fn r(
    f0: u32,
    f1: u32,
    direct: u32,
    allow: u32,
    mask: u32,
    value: u32,
    same: u32,
) -> Register {
    Register {
        fixed0_or_dynamic: f0,
        fixed1: f1,
        config_direct: direct,
        allow_direct: allow,
        verify_mask: mask,
        verify_value: value,
        verify_same: same,
    }
}

const fn leaf(
    leaf: u32,
    subleaf: u32,
    flags: (Option<u8>, bool),
    registers: [Register; 4],
) -> Leaf {
    Leaf {
        leaf,
        subleaf,
        config: flags.0,
        faulting: flags.1,
        registers,
    }
}

/// Bits of register `register` (0 = EAX .. 3 = EDX) of a leaf that read 0 unless XFAM has `bit`.
#[derive(Clone, Copy, Debug)]
pub struct XfamMask {
    /// Index into [`LEAVES`].
    pub entry: usize,
    /// 0 = EAX .. 3 = EDX.
    pub register: usize,
    /// XFAM bit.
    pub bit: u32,
    /// The bits it controls.
    pub mask: u32,
}

const fn x(entry: usize, register: usize, bit: u32, mask: u32) -> XfamMask {
    XfamMask {
        entry,
        register,
        bit,
        mask,
    }
}

/// The position of a leaf in [`LEAVES`]. Leaves without sub-leaves match any `subleaf`.
pub fn index_of(leaf: u32, subleaf: u32) -> Option<usize> {
    LEAVES
        .iter()
        .position(|e| e.leaf == leaf && (e.subleaf == subleaf || e.subleaf == NO_SUBLEAF))
}

/// The table.
#[rustfmt::skip]
pub const LEAVES: &[Leaf] = &[
    leaf(0x1, NO_SUBLEAF, (Some(0), false), [
        r(0xf000c000, 0, 0xfff3fff, 0, 0, 0, 0xf000c000),
        r(0xff0000ff, 0, 0xff0000, 0, 0xff00, 0x800, 0xffff),
        r(0x8010060, 0x80000000, 0, 0x31044d88, 0x47faa217, 0x47faa217, 0xf7ffff9f),
        r(0x40120400, 0x200, 0, 0xb8440000, 0x1fa9fbff, 0x1fa9fbff, 0xffffffff),
    ]),
    leaf(0x4, 0x0, (Some(1), false), [
        r(0x3c00, 0, 0xffffc3ff, 0, 0, 0, 0xffffffff),
        r(0, 0, 0xfffff000, 0, 0xfff, 0x3f, 0xffffffff),
        r(0, 0, 0xffffffff, 0, 0, 0, 0xffffffff),
        r(0x4, 0, 0xfffffffb, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x4, 0x1, (Some(2), false), [
        r(0x3c00, 0, 0xffffc3ff, 0, 0, 0, 0xffffffff),
        r(0, 0, 0xfffff000, 0, 0xfff, 0x3f, 0xffffffff),
        r(0, 0, 0xffffffff, 0, 0, 0, 0xffffffff),
        r(0x4, 0, 0xfffffffb, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x4, 0x2, (Some(3), false), [
        r(0x3c00, 0, 0xffffc3ff, 0, 0, 0, 0xffffffff),
        r(0, 0, 0xfffff000, 0, 0xfff, 0x3f, 0xffffffff),
        r(0, 0, 0xffffffff, 0, 0, 0, 0xffffffff),
        r(0x4, 0, 0xfffffffb, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x4, 0x3, (Some(4), false), [
        r(0x3c00, 0, 0xffffc3ff, 0, 0xe0, 0x60, 0xffffffff),
        r(0, 0, 0xfffff000, 0, 0xfff, 0x3f, 0xffffffff),
        r(0, 0, 0xffffffff, 0, 0, 0, 0xffffffff),
        r(0xfffffff8, 0, 0x7, 0, 0x1, 0, 0xffffffff),
    ]),
    leaf(0x7, 0x0, (Some(5), false), [
        r(0, 0, 0, 0, 0xffffffff, 0x2, 0xffffffff),
        r(0x404006, 0, 0, 0xdc2b9b18, 0x219424c3, 0x219424c3, 0xfffffffb),
        r(0x643e8010, 0, 0, 0x2417f65, 0x99000000, 0x99000000, 0xbfc1ff6f),
        r(0x2298c3, 0, 0, 0x5411c, 0xfc082600, 0xfc080400, 0xffebffff),
    ]),
    leaf(0x7, 0x1, (Some(6), false), [
        r(0xffffe2cf, 0, 0, 0x1d30, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xa, NO_SUBLEAF, (Some(7), false), [
        r(0, 0, 0, 0, 0xff00, 0x800, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0xffffff80, 0, 0xffffffff),
        r(0xffff6000, 0, 0, 0, 0x8000, 0x8000, 0xffffffff),
    ]),
    leaf(0x1c, NO_SUBLEAF, (Some(8), false), [
        r(0, 0, 0, 0xff, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x80000008, NO_SUBLEAF, (Some(9), false), [
        r(0xffff0000, 0, 0, 0, 0xff, 0x34, 0xffffffff),
        r(0xfffffdff, 0, 0, 0x200, 0x200, 0x200, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x0, NO_SUBLEAF, (None, false), [
        r(0xffffffdc, 0x23, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0xffffffff, 0x756e6547, 0xffffffff),
        r(0, 0, 0, 0, 0xffffffff, 0x6c65746e, 0xffffffff),
        r(0, 0, 0, 0, 0xffffffff, 0x49656e69, 0xffffffff),
    ]),
    leaf(0x3, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x4, 0x4, (None, false), [
        r(0xffffffff, 0, 0, 0, 0x1f, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x6, NO_SUBLEAF, (None, true), [
        r(0, 0, 0, 0, 0x800000, 0, 0x800000),
        r(0, 0, 0, 0, 0, 0, 0),
        r(0, 0, 0, 0, 0, 0, 0),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x7, 0x2, (Some(10), false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffc0, 0, 0, 0x28, 0x17, 0x17, 0xffffffff),
    ]),
    leaf(0x8, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0xd, 0x0, (None, false), [
        r(0xfff9fd18, 0, 0, 0, 0x3, 0x3, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x1, (None, false), [
        r(0xffffffe0, 0, 0, 0, 0xf, 0xf, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffff26ff, 0, 0, 0, 0x1800, 0x1800, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x2, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x3, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x4, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x5, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x6, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x7, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x8, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x9, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0xa, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0xb, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0xc, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0xd, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0xe, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0xf, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x10, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x11, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xd, 0x12, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0xe, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x11, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x12, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x13, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x14, 0x0, (None, false), [
        r(0, 0, 0, 0, 0xffffffff, 0x1, 0xffffffff),
        r(0xfffffe00, 0, 0, 0, 0, 0, 0xffffffff),
        r(0x7ffffff0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x14, 0x1, (None, false), [
        r(0xfff8, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x15, NO_SUBLEAF, (None, false), [
        r(0xfffffffe, 0x1, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xfe8287bf, 0x17d7840, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x19, NO_SUBLEAF, (None, false), [
        r(0xfffffff8, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffeb, 0, 0, 0, 0, 0, 0xfffffffe),
        r(0xfffffffd, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x1d, 0x0, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x1d, 0x1, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x1e, NO_SUBLEAF, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x1f, 0x0, (None, true), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x1f, 0x1, (None, true), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x1f, 0x2, (None, true), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x1f, 0x3, (None, true), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x1f, 0x4, (None, true), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x1f, 0x5, (None, true), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0xff00, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x20, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x21, 0x0, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0x9a8b91b6, 0x65746e49, 0, 0, 0, 0, 0),
        r(0xdfdfdfdf, 0x20202020, 0, 0, 0, 0, 0),
        r(0xa7bbab93, 0x5844546c, 0, 0, 0, 0, 0),
    ]),
    leaf(0x80000000, NO_SUBLEAF, (None, false), [
        r(0x7ffffff7, 0x80000008, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x80000001, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xfffffede, 0, 0, 0, 0x121, 0x121, 0xffffffff),
        r(0xd3efffff, 0, 0, 0, 0x2c100800, 0x2c100800, 0xffffffff),
    ]),
    leaf(0x80000006, NO_SUBLEAF, (None, true), [
        r(0, 0, 0, 0, 0, 0, 0),
        r(0, 0, 0, 0, 0, 0, 0),
        r(0, 0, 0, 0, 0xff, 0x40, 0xff),
        r(0, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x80000007, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xfffffeff, 0, 0, 0, 0x100, 0x100, 0x100),
    ]),
    leaf(0x22, NO_SUBLEAF, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
        r(0xffffffff, 0, 0, 0, 0, 0, 0),
    ]),
    leaf(0x23, 0x0, (Some(11), false), [
        r(0xfffffff0, 0, 0, 0xf, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x23, 0x1, (None, false), [
        r(0, 0, 0, 0, 0xffffff00, 0, 0xffffffff),
        r(0, 0, 0, 0, 0xfffffff0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x23, 0x2, (None, false), [
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x23, 0x3, (None, false), [
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffffffff, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
    leaf(0x5, NO_SUBLEAF, (None, false), [
        r(0xffff0000, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xffff0000, 0, 0, 0, 0, 0, 0xffffffff),
        r(0xfffffffc, 0, 0, 0, 0, 0, 0xffffffff),
        r(0, 0, 0, 0, 0, 0, 0xffffffff),
    ]),
];

/// What XFAM switches off.
#[rustfmt::skip]
pub const XFAM_MASKS: &[XfamMask] = &[
    x(0, 2, 2, 0x30001000),
    x(5, 1, 2, 0x20),
    x(5, 1, 5, 0xdc230000),
    x(5, 1, 6, 0xdc230000),
    x(5, 1, 7, 0xdc230000),
    x(5, 1, 8, 0x2000000),
    x(5, 2, 2, 0x600),
    x(5, 2, 5, 0x5842),
    x(5, 2, 6, 0x5842),
    x(5, 2, 7, 0x5842),
    x(5, 2, 9, 0x8),
    x(5, 2, 11, 0x80),
    x(5, 2, 12, 0x80),
    x(5, 3, 5, 0x80010c),
    x(5, 3, 6, 0x80010c),
    x(5, 3, 7, 0x80010c),
    x(5, 3, 11, 0x100000),
    x(5, 3, 12, 0x100000),
    x(5, 3, 14, 0x20),
    x(5, 3, 15, 0x80000),
    x(5, 3, 17, 0x3400000),
    x(5, 3, 18, 0x3400000),
    x(6, 0, 5, 0x30),
    x(6, 0, 6, 0x30),
    x(6, 0, 7, 0x30),
    x(16, 0, 2, 0x4),
    x(16, 0, 5, 0xe0),
    x(16, 0, 6, 0xe0),
    x(16, 0, 7, 0xe0),
    x(16, 0, 9, 0x200),
    x(16, 0, 17, 0x60000),
    x(16, 0, 18, 0x60000),
    x(17, 2, 8, 0x100),
    x(17, 2, 11, 0x1800),
    x(17, 2, 12, 0x1800),
    x(17, 2, 14, 0x4000),
    x(17, 2, 15, 0x8000),
];
