//! FXSAVE and XSAVE images (SDM Vol. 1, 10.5 and 13).
//!
//! All functions work on a copy of the image: the CPU reads the bytes, calls, and writes the
//! bytes back. Alignment, CR4/CR0 checks and `#PF` are the CPU's.

use crate::{FpuState, MXCSR_MASK, MXCSR_RESET, X87};

/// Size of the FXSAVE image, which is the legacy region of an XSAVE image.
pub const FXSAVE_BYTES: usize = 512;
/// Size of an XSAVE image of x87 and SSE, standard and compacted.
pub const XSAVE_BYTES: usize = 576;
/// The state components there are: x87 (bit 0) and SSE (bit 1).
pub const COMPONENTS: u64 = 3;

const X87_COMPONENT: u64 = 1;
const SSE_COMPONENT: u64 = 2;
const COMPACTED: u64 = 1 << 63;

/// `#GP(0)`: the image may not be loaded. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

/// Which registers and pointers an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// REX.W: 64-bit instruction and operand pointers instead of 32-bit offset and selector.
    pub wide_pointers: bool,
    /// XMM8 to XMM15 are included: 64-bit mode.
    pub high_xmm: bool,
}

/// Which of the saving instructions is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XsaveKind {
    /// `XSAVE`.
    Plain,
    /// `XSAVEOPT`: components in their initial configuration aren't written.
    Optimized,
    /// `XSAVEC`, `XSAVES`: compacted format.
    Compacted,
}

fn put<const N: usize>(image: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = image.get_mut(at..at + N) {
        place.copy_from_slice(&bytes);
    }
}

fn take<const N: usize>(image: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(place) = image.get(at..at + N) {
        bytes.copy_from_slice(place);
    }
    bytes
}

fn xmm_count(layout: Layout) -> usize {
    if layout.high_xmm { 16 } else { 8 }
}

fn put_x87(x87: &X87, image: &mut [u8], layout: Layout) {
    put(image, 0, x87.fcw.to_le_bytes());
    put(image, 2, x87.fsw.to_le_bytes());
    put(image, 4, [x87.valid, 0]);
    put(image, 6, x87.fop.to_le_bytes());
    // Selectors are deprecated (CPUID.7.EBX.ZERO_FCS_FDS) and saved as 0.
    let wide = |pointer: u64| {
        if layout.wide_pointers {
            pointer
        } else {
            pointer & 0xffff_ffff
        }
    };
    put(image, 8, wide(x87.fip).to_le_bytes());
    put(image, 16, wide(x87.fdp).to_le_bytes());
    for i in 0..8 {
        let register = x87.regs[(usize::from(x87.top()) + i) & 7];
        put::<10>(image, 32 + 16 * i, take(&register.to_le_bytes(), 0));
        // Bytes 10 to 15 of each register are written as zero.
        put(image, 42 + 16 * i, [0; 6]);
    }
}

fn take_x87(image: &[u8], layout: Layout) -> X87 {
    let pointer = |at: usize| {
        if layout.wide_pointers {
            u64::from_le_bytes(take(image, at))
        } else {
            u64::from(u32::from_le_bytes(take(image, at)))
        }
    };
    let mut x87 = X87 {
        fcw: u16::from_le_bytes(take(image, 0)),
        fsw: u16::from_le_bytes(take(image, 2)),
        valid: take::<1>(image, 4)[0],
        fop: u16::from_le_bytes(take(image, 6)) & 0x7ff,
        fip: pointer(8),
        fdp: pointer(16),
        ..X87::new()
    };
    // Of an instruction pointer the processor keeps 57 bits, as one with 5-level paging does.
    x87.fip = ((x87.fip << 7) as i64 >> 7) as u64;
    x87.normalize_control();
    for i in 0..8 {
        let mut register = [0; 16];
        register[..10].copy_from_slice(&take::<10>(image, 32 + 16 * i));
        x87.regs[(usize::from(x87.top()) + i) & 7] = u128::from_le_bytes(register);
    }
    x87
}

fn put_mxcsr(state: &FpuState, image: &mut [u8]) {
    put(image, 24, state.mxcsr.to_le_bytes());
    put(image, 28, MXCSR_MASK.to_le_bytes());
}

fn take_mxcsr(image: &[u8]) -> Result<u32, GeneralProtection> {
    let mxcsr = u32::from_le_bytes(take(image, 24));
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(GeneralProtection);
    }
    Ok(mxcsr)
}

fn put_xmm(state: &FpuState, image: &mut [u8], layout: Layout) {
    for (i, value) in state.xmm.iter().take(xmm_count(layout)).enumerate() {
        put(image, 160 + 16 * i, value.to_le_bytes());
    }
}

fn take_xmm(state: &mut FpuState, image: &[u8], layout: Layout) {
    for (i, value) in state.xmm.iter_mut().take(xmm_count(layout)).enumerate() {
        *value = u128::from_le_bytes(take(image, 160 + 16 * i));
    }
}

fn initial_xmm(state: &mut FpuState, layout: Layout) {
    for value in state.xmm.iter_mut().take(xmm_count(layout)) {
        *value = 0;
    }
}

/// `FXSAVE` and `FXSAVE64`. Bytes that the instruction doesn't write keep their values.
pub fn fxsave(state: &FpuState, image: &mut [u8; FXSAVE_BYTES], layout: Layout) {
    put_x87(&state.x87, image, layout);
    put_mxcsr(state, image);
    put_xmm(state, image, layout);
}

/// `FXRSTOR` and `FXRSTOR64`. `#GP(0)` where MXCSR has a reserved bit set.
pub fn fxrstor(
    state: &mut FpuState,
    image: &[u8; FXSAVE_BYTES],
    layout: Layout,
) -> Result<(), GeneralProtection> {
    state.mxcsr = take_mxcsr(image)?;
    state.x87 = take_x87(image, layout);
    take_xmm(state, image, layout);
    Ok(())
}

/// The components that aren't in their initial configuration: XINUSE (SDM Vol. 1, 13.6), and
/// what `XGETBV` with ECX = 1 gives (within XCR0).
pub fn in_use(state: &FpuState) -> u64 {
    let mut components = 0;
    if state.x87 != X87::new() {
        components |= X87_COMPONENT;
    }
    if state.xmm != [0; 16] {
        components |= SSE_COMPONENT;
    }
    components
}

/// `XSAVE`, `XSAVEOPT`, `XSAVEC` and `XSAVES` with their 64-bit forms.
///
/// `requested` is RFBM: EDX:EAX and XCR0 (and IA32_XSS, which has no bit here). The modified
/// optimization isn't done: it is the processor's choice.
pub fn xsave(
    state: &FpuState,
    image: &mut [u8; XSAVE_BYTES],
    layout: Layout,
    kind: XsaveKind,
    requested: u64,
) {
    let requested = requested & COMPONENTS;
    let mut used = in_use(state);
    // MXCSR alone keeps SSE from counting as initial in the compacted format (13.10).
    if kind == XsaveKind::Compacted && state.mxcsr != MXCSR_RESET {
        used |= SSE_COMPONENT;
    }
    let written = match kind {
        XsaveKind::Plain => requested,
        XsaveKind::Optimized | XsaveKind::Compacted => requested & used,
    };
    if written & X87_COMPONENT != 0 {
        put_x87(&state.x87, image, layout);
    }
    if written & SSE_COMPONENT != 0 {
        put_xmm(state, image, layout);
    }
    let mxcsr = match kind {
        XsaveKind::Compacted => written & SSE_COMPONENT != 0,
        _ => requested & SSE_COMPONENT != 0,
    };
    if mxcsr {
        put_mxcsr(state, image);
    }
    let before = u64::from_le_bytes(take(image, 512));
    match kind {
        XsaveKind::Compacted => {
            put(image, 512, (requested & used).to_le_bytes());
            put(image, 520, (requested | COMPACTED).to_le_bytes());
        }
        _ => put(
            image,
            512,
            (before & !requested | requested & used).to_le_bytes(),
        ),
    }
}

/// `XRSTOR`, and with `supervisor` `XRSTORS`, with their 64-bit forms.
///
/// `enabled` is XCR0 (for `XRSTORS` with IA32_XSS), `requested` the mask in EDX:EAX. `#GP(0)`
/// for a bad header or a reserved MXCSR bit (SDM Vol. 1, 13.8 and 13.12).
pub fn xrstor(
    state: &mut FpuState,
    image: &[u8; XSAVE_BYTES],
    layout: Layout,
    supervisor: bool,
    enabled: u64,
    requested: u64,
) -> Result<(), GeneralProtection> {
    let enabled = enabled & COMPONENTS;
    let requested = requested & enabled;
    let present = u64::from_le_bytes(take(image, 512));
    let format = u64::from_le_bytes(take(image, 520));
    let compacted = format & COMPACTED != 0;
    let header_bad = if compacted {
        format & !COMPACTED & !enabled != 0
            || present & !format != 0
            || take::<48>(image, 528) != [0; 48]
    } else {
        supervisor || present & !enabled != 0 || format != 0 || take::<8>(image, 528) != [0; 8]
    };
    if header_bad {
        return Err(GeneralProtection);
    }
    // MXCSR comes with SSE; in the standard format even where SSE itself is initial.
    let mut mxcsr = state.mxcsr;
    if requested & SSE_COMPONENT != 0 {
        mxcsr = if compacted && present & SSE_COMPONENT == 0 {
            MXCSR_RESET
        } else {
            take_mxcsr(image)?
        };
    }
    state.mxcsr = mxcsr;
    if requested & X87_COMPONENT != 0 {
        state.x87 = if present & X87_COMPONENT != 0 {
            take_x87(image, layout)
        } else {
            X87::new()
        };
    }
    if requested & SSE_COMPONENT != 0 {
        if present & SSE_COMPONENT != 0 {
            take_xmm(state, image, layout);
        } else {
            initial_xmm(state, layout);
        }
    }
    Ok(())
}
