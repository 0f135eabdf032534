//! The registers of one CPU.

use crate::apic::Apic;
use crate::exit::{Event, VmExit};
use crate::flags::{Flags, rflags};
use crate::op::{Op, SEG_ZERO};
use crate::tlb::{Access, Mode, Tlb, mask};
use crate::walk::GpaCache;
use fpu::FpuState;
use gpa::Hpa;

/// CR0 bits.
pub mod cr0 {
    /// Protected mode.
    pub const PE: u64 = 1 << 0;
    /// Monitor coprocessor.
    pub const MP: u64 = 1 << 1;
    /// x87 instructions raise `#NM`, SSE ones `#UD`.
    pub const EM: u64 = 1 << 2;
    /// Task switched.
    pub const TS: u64 = 1 << 3;
    /// Extension type, always one.
    pub const ET: u64 = 1 << 4;
    /// x87 errors by exception.
    pub const NE: u64 = 1 << 5;
    /// Supervisor writes obey read-only pages.
    pub const WP: u64 = 1 << 16;
    /// Alignment mask.
    pub const AM: u64 = 1 << 18;
    /// Not write-through.
    pub const NW: u64 = 1 << 29;
    /// Cache disable.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
    /// All that exist.
    pub const ALL: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// CR4 bits.
pub mod cr4 {
    /// Time-stamp disable.
    pub const TSD: u64 = 1 << 2;
    /// Physical address extension.
    pub const PAE: u64 = 1 << 5;
    /// Machine check.
    pub const MCE: u64 = 1 << 6;
    /// Global pages.
    pub const PGE: u64 = 1 << 7;
    /// `RDPMC` for all.
    pub const PCE: u64 = 1 << 8;
    /// `FXSAVE` and SSE.
    pub const OSFXSR: u64 = 1 << 9;
    /// `#XM` for unmasked SIMD exceptions.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// User-mode instruction prevention.
    pub const UMIP: u64 = 1 << 11;
    /// VMX enabled (a TD has it set, and doesn't see it).
    pub const VMXE: u64 = 1 << 13;
    /// `RDFSBASE` and its family.
    pub const FSGSBASE: u64 = 1 << 16;
    /// Process-context identifiers.
    pub const PCIDE: u64 = 1 << 17;
    /// `XSAVE` and its family.
    pub const OSXSAVE: u64 = 1 << 18;
    /// No supervisor fetches from user pages.
    pub const SMEP: u64 = 1 << 20;
    /// No supervisor data accesses to user pages.
    pub const SMAP: u64 = 1 << 21;
    /// All that this CPU lets the guest have (VMXE is the caller's to set).
    pub const ALL: u64 = 0x1f
        | PAE
        | MCE
        | PGE
        | PCE
        | OSFXSR
        | OSXMMEXCPT
        | UMIP
        | VMXE
        | FSGSBASE
        | PCIDE
        | OSXSAVE
        | SMEP
        | SMAP;
}

/// EFER bits.
pub mod efer {
    /// `SYSCALL` enabled.
    pub const SCE: u64 = 1 << 0;
    /// Long mode enabled.
    pub const LME: u64 = 1 << 8;
    /// Long mode active.
    pub const LMA: u64 = 1 << 10;
    /// Execute-disable enabled.
    pub const NXE: u64 = 1 << 11;
}

/// General registers by their numbers in instruction encodings.
pub mod gpr {
    #![allow(missing_docs)]
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
    pub const R8: usize = 8;
    pub const R9: usize = 9;
    pub const R10: usize = 10;
    pub const R11: usize = 11;
    pub const R12: usize = 12;
    pub const R13: usize = 13;
    pub const R14: usize = 14;
    pub const R15: usize = 15;
}

/// Segment registers by their numbers in instruction encodings.
pub mod seg {
    #![allow(missing_docs)]
    pub const ES: usize = 0;
    pub const CS: usize = 1;
    pub const SS: usize = 2;
    pub const DS: usize = 3;
    pub const FS: usize = 4;
    pub const GS: usize = 5;
}

/// A segment register with what it caches of its descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// First linear address.
    pub base: u64,
    /// Last valid offset.
    pub limit: u32,
    /// Access rights as in a VMCS (SDM vol. 3C, table 25-2): type 3:0, S 4, DPL 6:5, P 7,
    /// AVL 12, L 13, D/B 14, G 15, unusable 16.
    pub rights: u32,
}

impl Segment {
    /// The rights bit of a segment register that holds no segment.
    pub const UNUSABLE: u32 = 1 << 16;

    const fn flat(rights: u32) -> Self {
        Self {
            selector: 0,
            base: 0,
            limit: u32::MAX,
            rights,
        }
    }
    pub(crate) const fn dpl(&self) -> u8 {
        (self.rights >> 5 & 3) as u8
    }
    pub(crate) const fn is_long(&self) -> bool {
        self.rights & 1 << 13 != 0
    }
    pub(crate) const fn is_big(&self) -> bool {
        self.rights & 1 << 14 != 0
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Linear address of the first entry.
    pub base: u64,
    /// Offset of the last byte.
    pub limit: u16,
}

/// Plain MSRs: what is written is what is read, and nothing else happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    pub spec_ctrl: u64,
    pub misc_package_ctls: u64,
    pub umwait_control: u64,
    pub ds_area: u64,
    pub uarch_misc_ctl: u64,
    pub xss: u64,
}

/// What the module that runs the CPU decides about it: the VMCS controls that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// Root table of the private (secure) EPT.
    pub private_root: Hpa,
    /// Root table of the shared EPT.
    pub shared_root: Hpa,
    /// Level of both root tables: 3 for 4-level tables, 4 for 5-level ones.
    pub root_level: u8,
    /// The GPA bit that selects the shared EPT: 47 or 51.
    pub shared_bit: u8,
    /// The VM is no TD: no bit selects, all memory is behind the shared EPT, and may hold code
    /// and page tables.
    pub plain: bool,
    /// Width of guest physical addresses in bits: 48 or 52. Higher bits are reserved in
    /// guest page tables.
    pub gpa_width: u8,
    /// Where others post interrupts for this CPU (64 bytes, 64-byte aligned).
    pub posted_interrupts: Option<Hpa>,
    /// CR0 bits the guest doesn't own: writing one unlike `cr0_shadow` is exit 28, and it is
    /// read from `cr0_shadow`.
    pub cr0_mask: u64,
    /// See [`Controls::cr0_mask`].
    pub cr0_shadow: u64,
    /// CR4 bits the guest doesn't own.
    pub cr4_mask: u64,
    /// See [`Controls::cr4_mask`].
    pub cr4_shadow: u64,
}

impl Controls {
    /// No EPTs yet, 48-bit guest physical addresses, no masks.
    pub const fn new() -> Self {
        Self {
            private_root: Hpa::new(0),
            shared_root: Hpa::new(0),
            root_level: 3,
            shared_bit: 47,
            plain: false,
            gpa_width: 48,
            posted_interrupts: None,
            cr0_mask: 0,
            cr0_shadow: 0,
            cr4_mask: 0,
            cr4_shadow: 0,
        }
    }

    /// The GPA bit of memory that may hold neither code nor page tables; 0: there is none such.
    pub(crate) fn no_code(&self) -> u64 {
        u64::from(!self.plain) << self.shared_bit
    }
}

impl Default for Controls {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an instruction didn't complete; the cause is in [`Cpu::stop`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap;

/// The cause of a [`Trap`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    None,
    Exception {
        vector: u8,
        error_code: Option<u32>,
    },
    PageFault {
        linear: u64,
        error_code: u32,
    },
    /// `#SS(0)` if the operand was in the stack segment, else `#GP(0)`.
    NonCanonical,
    Exit(VmExit),
    /// The instruction wrote into its own block: run it alone.
    Retry,
    /// The instruction isn't known: report it, then `#UD`.
    Unknown,
    /// A software interrupt.
    Event(Event),
}

/// Bits of [`Cpu::attention`]: what must be looked at before the next block.
pub(crate) mod attention {
    /// An event was injected.
    pub const EVENT: u32 = 1 << 0;
    /// The APIC has a deliverable vector.
    pub const INTERRUPT: u32 = 1 << 1;
    /// NMI pending.
    pub const NMI: u32 = 1 << 2;
    /// RFLAGS.TF is set.
    pub const STEP: u32 = 1 << 3;
    /// The next block must be one instruction.
    pub const SINGLE: u32 = 1 << 4;
}

/// One virtual CPU.
pub struct Cpu {
    /// General registers; then the pseudo-registers of address computation.
    pub(crate) regs: [u64; 32],
    pub(crate) rip: u64,
    pub(crate) flags: Flags,
    /// RFLAGS without the arithmetic flags.
    pub(crate) rflags: u64,
    /// Segment bases as address computation wants them: by segment number, then zero.
    pub(crate) seg_base: [u64; 8],
    pub(crate) mask_read: u64,
    pub(crate) mask_write: u64,
    pub(crate) mask_fetch: u64,
    pub(crate) attention: u32,
    /// Frames of the block that is running; not an address when none is.
    pub(crate) running_frame: u64,
    pub(crate) running_second: u64,
    /// Running in 64-bit mode (not compatibility mode).
    pub(crate) long: bool,
    pub(crate) cpl: u8,
    /// STI or a load of SS just now: no interrupts before the next instruction.
    pub(crate) shadow: bool,
    pub(crate) nmi_blocked: bool,
    pub(crate) stop: Stop,
    /// The instruction that trapped.
    pub(crate) trapped: Op,
    pub(crate) pending: Option<Event>,

    pub(crate) segments: [Segment; 6],
    pub(crate) ldtr: Segment,
    pub(crate) tr: Segment,
    pub(crate) gdtr: Table,
    pub(crate) idtr: Table,
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) xcr0: u64,
    pub(crate) dr: [u64; 4],
    pub(crate) dr6: u64,
    pub(crate) dr7: u64,
    pub(crate) efer: u64,
    /// The plain MSRs.
    pub msrs: Msrs,
    /// x87 and SSE.
    pub fpu: FpuState,
    pub(crate) apic: Apic,
    /// The controls; changing a root takes effect for translations not cached
    /// (see [`Cpu::flush_ept`]).
    pub controls: Controls,
    pub(crate) tlb: Tlb,
    pub(crate) gpa_cache: GpaCache,
    pub(crate) code_epoch: u64,
    pub(crate) retired: u64,
}

/// No frame has this address.
pub(crate) const NO_FRAME: u64 = 1;

impl Cpu {
    /// A CPU in its state after `TDH.VP.INIT`: see [`Cpu::reset`].
    pub const fn new() -> Self {
        Self {
            regs: [0; 32],
            rip: 0xffff_fff0,
            flags: Flags::ZERO,
            rflags: rflags::FIXED,
            seg_base: [0; 8],
            mask_read: mask(Access::Read, Mode::Supervisor),
            mask_write: mask(Access::Write, Mode::Supervisor),
            mask_fetch: mask(Access::Fetch, Mode::Supervisor),
            attention: 0,
            running_frame: NO_FRAME,
            running_second: NO_FRAME,
            long: false,
            cpl: 0,
            shadow: false,
            nmi_blocked: false,
            stop: Stop::None,
            trapped: Op::EMPTY,
            pending: None,
            segments: [
                Segment::flat(0xc093),
                Segment::flat(0xc09b),
                Segment::flat(0xc093),
                Segment::flat(0xc093),
                Segment::flat(0xc093),
                Segment::flat(0xc093),
            ],
            ldtr: Segment {
                selector: 0,
                base: 0,
                limit: 0xffff,
                rights: 0x1_0082,
            },
            tr: Segment {
                selector: 0,
                base: 0,
                limit: 0xffff,
                rights: 0x8b,
            },
            gdtr: Table {
                base: 0,
                limit: 0xffff,
            },
            idtr: Table { base: 0, limit: 0 },
            cr0: cr0::PE | cr0::ET | cr0::NE,
            cr2: 0,
            cr3: 0,
            cr4: cr4::MCE | cr4::VMXE,
            xcr0: 1,
            dr: [0; 4],
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            efer: efer::SCE | efer::LME | efer::NXE,
            msrs: Msrs {
                star: 0,
                lstar: 0,
                cstar: 0,
                sfmask: 0x2_0200,
                kernel_gs_base: 0,
                sysenter_cs: 0,
                sysenter_esp: 0,
                sysenter_eip: 0,
                pat: 0x0007_0406_0007_0406,
                tsc_aux: 0,
                spec_ctrl: 0,
                misc_package_ctls: 0,
                umwait_control: 0,
                ds_area: 0,
                uarch_misc_ctl: 0,
                xss: 0,
            },
            fpu: FpuState::new(),
            apic: Apic::new(),
            controls: Controls::new(),
            tlb: Tlb::new(),
            gpa_cache: GpaCache::new(),
            code_epoch: 0,
            retired: 0,
        }
    }

    /// Puts the CPU into its state after `TDH.VP.INIT` (TDX module ABI, "TD VCPU initial
    /// state"): 32-bit protected mode, flat segments, no paging, RIP 0xFFFFFFF0.
    /// General registers are 0 (the module sets the few that aren't); the controls stay.
    pub fn reset(&mut self) {
        let controls = self.controls;
        *self = Self::new();
        self.controls = controls;
    }

    /// A general register, by its number ([`gpr`]).
    pub fn gpr(&self, number: usize) -> u64 {
        self.regs[number & 15]
    }
    /// Sets a general register.
    pub fn set_gpr(&mut self, number: usize, value: u64) {
        self.regs[number & 15] = value;
    }
    /// The instruction pointer.
    pub fn rip(&self) -> u64 {
        self.rip
    }
    /// Sets the instruction pointer.
    pub fn set_rip(&mut self, rip: u64) {
        self.rip = rip;
    }
    /// Moves RIP over an instruction of `length` bytes, that the caller has carried out.
    /// Ends an interrupt shadow, as every instruction does.
    pub fn advance(&mut self, length: u8) {
        self.rip = self.rip.wrapping_add(length as u64);
        if !self.long {
            self.rip &= 0xffff_ffff;
        }
        self.shadow = false;
    }
    /// RFLAGS.
    pub fn rflags(&self) -> u64 {
        self.rflags | self.flags.get()
    }
    /// Sets RFLAGS; bits that don't exist are ignored.
    pub fn set_rflags(&mut self, value: u64) {
        self.flags.set(value);
        self.rflags = value & rflags::ALL & !rflags::ARITHMETIC | rflags::FIXED;
        self.update_modes();
        self.update_attention();
    }
    /// A segment register, by its number ([`seg`]).
    pub fn segment(&self, number: usize) -> Segment {
        self.segments[number.min(5)]
    }
    /// Sets a segment register, unchecked, as VM entry does after its checks.
    pub fn set_segment(&mut self, number: usize, segment: Segment) {
        self.segments[number.min(5)] = segment;
        if number == seg::SS {
            self.cpl = segment.dpl();
        }
        self.update_modes();
    }
    /// LDTR.
    pub fn ldtr(&self) -> Segment {
        self.ldtr
    }
    /// Sets LDTR.
    pub fn set_ldtr(&mut self, segment: Segment) {
        self.ldtr = segment;
    }
    /// TR.
    pub fn tr(&self) -> Segment {
        self.tr
    }
    /// Sets TR.
    pub fn set_tr(&mut self, segment: Segment) {
        self.tr = segment;
    }
    /// GDTR.
    pub fn gdtr(&self) -> Table {
        self.gdtr
    }
    /// Sets GDTR.
    pub fn set_gdtr(&mut self, table: Table) {
        self.gdtr = table;
    }
    /// IDTR.
    pub fn idtr(&self) -> Table {
        self.idtr
    }
    /// Sets IDTR.
    pub fn set_idtr(&mut self, table: Table) {
        self.idtr = table;
    }
    /// Current privilege level.
    pub fn cpl(&self) -> u8 {
        self.cpl
    }
    /// Whether the CPU runs 64-bit code (not compatibility or legacy mode).
    pub fn is_64_bit(&self) -> bool {
        self.long
    }
    /// CR0, unmasked.
    pub fn cr0(&self) -> u64 {
        self.cr0
    }
    /// CR2.
    pub fn cr2(&self) -> u64 {
        self.cr2
    }
    /// Sets CR2.
    pub fn set_cr2(&mut self, value: u64) {
        self.cr2 = value;
    }
    /// CR3.
    pub fn cr3(&self) -> u64 {
        self.cr3
    }
    /// CR4, unmasked.
    pub fn cr4(&self) -> u64 {
        self.cr4
    }
    /// Sets the control registers and EFER, unchecked, as VM entry does after its checks.
    /// Drops all translations of linear addresses.
    pub fn set_control_registers(&mut self, cr0: u64, cr3: u64, cr4: u64, efer: u64) {
        self.cr0 = cr0;
        self.cr3 = cr3;
        self.cr4 = cr4;
        self.efer = efer;
        self.tlb.flush();
        self.update_modes();
    }
    /// EFER.
    pub fn efer(&self) -> u64 {
        self.efer
    }
    /// Sets EFER; LMA and LME stay as they are.
    pub fn set_efer(&mut self, value: u64) {
        let fixed = efer::LME | efer::LMA;
        self.efer = value & (efer::SCE | efer::NXE) | self.efer & fixed;
        self.tlb.flush();
    }
    /// XCR0.
    pub fn xcr0(&self) -> u64 {
        self.xcr0
    }
    /// Sets XCR0 (what the module does on an `XSETBV` exit).
    pub fn set_xcr0(&mut self, value: u64) {
        self.xcr0 = value;
    }
    /// DR0 to DR3, DR6 and DR7 by number; others read 0.
    pub fn dr(&self, number: usize) -> u64 {
        match number {
            0..=3 => self.dr[number],
            6 => self.dr6,
            7 => self.dr7,
            _ => 0,
        }
    }
    /// Sets DR0 to DR3, DR6 or DR7, unchecked.
    pub fn set_dr(&mut self, number: usize, value: u64) {
        match number {
            0..=3 => self.dr[number] = value,
            6 => self.dr6 = value,
            7 => self.dr7 = value,
            _ => {}
        }
    }
    /// The virtual APIC.
    pub fn apic(&self) -> &Apic {
        &self.apic
    }
    /// Requests an interrupt of the virtual APIC.
    pub fn request_interrupt(&mut self, vector: u8) {
        self.apic.request(vector);
        self.update_attention();
    }
    /// Guest instructions run since reset (repetitions of a string instruction count as one).
    pub fn retired(&self) -> u64 {
        self.retired
    }

    /// Injects an event at the next run (VM-entry interruption information).
    /// Replaces an event injected before and not delivered yet.
    pub fn inject(&mut self, event: Event) {
        self.pending = Some(event);
        self.update_attention();
    }
    /// The event that will be injected at the next run.
    pub fn injected(&self) -> Option<Event> {
        self.pending
    }
    /// Makes an NMI pending; delivered as soon as NMIs aren't blocked.
    pub fn inject_nmi(&mut self) {
        self.attention |= attention::NMI;
    }

    /// Drops all translations that went through an EPT, and all linear ones with them.
    /// Until this is called, what an EPT said before may stay in use.
    pub fn flush_ept(&mut self) {
        self.gpa_cache.flush();
        self.tlb.flush();
    }

    /// Recomputes what follows from mode, CPL and RFLAGS.
    pub(crate) fn update_modes(&mut self) {
        self.long = self.efer & efer::LMA != 0 && self.segments[seg::CS].is_long();
        self.seg_base = [0; 8];
        for (number, base) in self.seg_base.iter_mut().enumerate().take(SEG_ZERO as usize) {
            if !self.long || number >= seg::FS {
                *base = self.segments[number].base;
            }
        }
        let mode = self.mode();
        self.mask_read = mask(Access::Read, mode);
        self.mask_write = mask(Access::Write, mode);
        self.mask_fetch = mask(Access::Fetch, mode);
    }

    /// The mode of explicit accesses.
    pub(crate) fn mode(&self) -> Mode {
        if self.cpl == 3 {
            Mode::User
        } else if self.rflags & rflags::AC != 0 {
            Mode::SupervisorAc
        } else {
            Mode::Supervisor
        }
    }

    /// Recomputes [`Cpu::attention`].
    pub(crate) fn update_attention(&mut self) {
        let mut bits = self.attention & attention::NMI;
        if self.pending.is_some() {
            bits |= attention::EVENT;
        }
        if self.apic.deliverable().is_some() {
            bits |= attention::INTERRUPT;
        }
        if self.rflags & rflags::TF != 0 {
            bits |= attention::STEP;
        }
        self.attention = bits;
    }

    /// Raises an exception with no error code.
    #[cold]
    pub(crate) fn raise<T>(&mut self, vector: u8) -> Result<T, Trap> {
        self.stop = Stop::Exception {
            vector,
            error_code: None,
        };
        Err(Trap)
    }
    /// Raises an exception with an error code.
    #[cold]
    pub(crate) fn raise_code<T>(&mut self, vector: u8, code: u32) -> Result<T, Trap> {
        self.stop = Stop::Exception {
            vector,
            error_code: Some(code),
        };
        Err(Trap)
    }
    /// `#GP(0)`.
    #[cold]
    pub(crate) fn general_protection<T>(&mut self) -> Result<T, Trap> {
        self.raise_code(13, 0)
    }
    /// `#UD`.
    #[cold]
    pub(crate) fn undefined<T>(&mut self) -> Result<T, Trap> {
        self.raise(6)
    }
    /// A VM exit.
    #[cold]
    pub(crate) fn exit<T>(&mut self, exit: VmExit) -> Result<T, Trap> {
        self.stop = Stop::Exit(exit);
        Err(Trap)
    }
    /// `#GP(0)` unless CPL is 0.
    #[inline(always)]
    pub(crate) fn require_cpl0(&mut self) -> Result<(), Trap> {
        if self.cpl != 0 {
            return self.general_protection();
        }
        Ok(())
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a linear address is canonical with 48 bits.
#[inline(always)]
pub(crate) const fn is_canonical(linear: u64) -> bool {
    (linear as i64) << 16 >> 16 == linear as i64
}
