//! What the module needs of the machine below it, and of the virtual CPU it drives.

use memory::PhysMemory;
use tdx_abi::layout::{ReportMac, TeeTcbInfo};

/// Logical processors at most.
pub const MAX_LPS: usize = 64;
/// Packages at most.
pub const MAX_PACKAGES: u32 = 8;
/// KeyIDs at most (MKTME and private together).
pub const MAX_KEY_IDS: usize = 64;

/// General-purpose registers by their number in instruction encodings.
pub mod reg {
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

/// The general-purpose registers, indexed by [`reg`]. RSP is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs(pub [u64; 16]);

impl core::ops::Index<usize> for Regs {
    type Output = u64;
    fn index(&self, index: usize) -> &u64 {
        &self.0[index]
    }
}

impl core::ops::IndexMut<usize> for Regs {
    fn index_mut(&mut self, index: usize) -> &mut u64 {
        &mut self.0[index]
    }
}

/// A range of convertible memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// What the platform is: what the SEAM loader tells a hardware module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Convertible memory ranges, ascending; size 0 where unused.
    pub cmrs: [Range; 32],
    /// Physical address width in bits, KeyID bits included.
    pub max_pa: u32,
    /// The lowest physical address bit that belongs to the KeyID.
    pub key_id_start: u32,
    /// KeyID bits.
    pub key_id_bits: u32,
    /// First private KeyID.
    pub private_key_id_min: u16,
    /// Last private KeyID.
    pub private_key_id_max: u16,
    /// Logical processors.
    pub lps: usize,
    /// Packages.
    pub packages: u32,
    /// Package of each logical processor.
    pub lp_package: [u8; MAX_LPS],
    /// TSC frequency in Hz.
    pub tsc_hz: u64,
    /// Where the module itself lives: no operand may overlap it.
    pub seam_range: Range,
    /// Blocks TDH.PHYMEM.CACHE.WB writes back one after the other.
    pub cache_blocks: u64,
    /// Whether reports of this platform can be verified here (TDG.MR.VERIFYREPORT).
    pub verify_report: bool,
    /// What TDH.SYS.RD and TDH.SYS.INFO say of the module's build.
    pub build: Build,
}

/// The module's version, as it enumerates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// yyyymmdd as decimal digits.
    pub date: u32,
    /// Build number.
    pub number: u16,
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Update version.
    pub update: u16,
}

impl Platform {
    /// One package, `lps` logical processors, 52-bit addresses, KeyIDs 1 to 31 MKTME and
    /// 32 to 63 private, one CMR.
    pub const fn simple(memory: Range, lps: usize) -> Self {
        let mut cmrs = [Range { base: 0, size: 0 }; 32];
        cmrs[0] = memory;
        Self {
            cmrs,
            max_pa: 52,
            key_id_start: 46,
            key_id_bits: 6,
            private_key_id_min: 32,
            private_key_id_max: 63,
            lps,
            packages: 1,
            lp_package: [0; MAX_LPS],
            tsc_hz: 2_000_000_000,
            seam_range: Range { base: 0, size: 0 },
            cache_blocks: 1,
            verify_report: true,
            build: Build {
                date: 20231024,
                number: 0,
                major: 1,
                minor: 5,
                update: 1,
            },
        }
    }

    /// The KeyID bits of a physical address.
    pub const fn key_id_mask(&self) -> u64 {
        ((1 << self.key_id_bits) - 1) << self.key_id_start
    }

    /// The KeyID of a physical address.
    pub const fn key_id(&self, pa: u64) -> u16 {
        ((pa & self.key_id_mask()) >> self.key_id_start) as u16
    }

    /// Whether a KeyID is private to TDs.
    pub const fn is_private(&self, key_id: u16) -> bool {
        key_id >= self.private_key_id_min && key_id <= self.private_key_id_max
    }
}

/// Why a key could not be programmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The key table is in use.
    Busy,
    /// Not enough entropy.
    Entropy,
}

/// Why a report is not genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// The CPUSVN is not this platform's.
    CpuSvn,
    /// The MAC does not match.
    Mac,
}

/// The machine below the module.
pub trait Machine {
    /// A handle onto host physical memory, as `&Window`.
    type Memory: PhysMemory + Copy;

    /// Host physical memory. KeyIDs do not change what is there.
    fn memory(&self) -> Self::Memory;
    /// CPUID on `lp`: EAX, EBX, ECX, EDX.
    fn cpuid(&self, lp: usize, leaf: u32, subleaf: u32) -> [u32; 4];
    /// RDMSR on `lp`.
    fn rdmsr(&self, lp: usize, msr: u32) -> u64;
    /// The time stamp counter, unscaled.
    fn tsc(&mut self) -> u64;
    /// 64 random bits, `None` where there is no entropy now.
    fn random(&mut self) -> Option<u64>;
    /// Gives a KeyID a fresh random key on the package of `lp`.
    ///
    /// # Errors
    /// The key table is busy or there is no entropy.
    fn program_key(&mut self, _lp: usize, _key_id: u16) -> Result<(), KeyError> {
        Ok(())
    }
    /// Writes back one block of the caches of the package of `lp`.
    fn write_back(&mut self, _lp: usize, _block: u64) {}
    /// Whether an interrupt waits on `lp`, so that a long call should stop.
    fn interrupt_pending(&mut self, _lp: usize) -> bool {
        false
    }
    /// Completes a report: CPUSVN, the hash of `tcb` and the MAC.
    fn seal_report(&mut self, report: &mut ReportMac, tcb: &mut TeeTcbInfo);
    /// Whether `report` was sealed by this platform.
    ///
    /// # Errors
    /// It was not.
    fn verify_report(&mut self, report: &ReportMac) -> Result<(), ReportError>;
    /// The size of the XSAVE area for `xcr0`, in bytes (CPUID 0xd EBX with that XCR0).
    fn xsave_size(&self, lp: usize, xcr0: u64) -> u32;
}

/// A register of the virtual CPU beyond its general-purpose registers. The numbers are VMCS
/// field encodings where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Field {
    Rip = 0x681e,
    Rsp = 0x681c,
    Rflags = 0x6820,
    Cr0 = 0x6800,
    Cr3 = 0x6802,
    Cr4 = 0x6804,
    Dr7 = 0x681a,
    Efer = 0x2806,
    Pat = 0x2804,
    DebugCtl = 0x2802,
    SysenterCs = 0x482a,
    SysenterEsp = 0x6824,
    SysenterEip = 0x6826,
    Interruptibility = 0x4824,
    PendingDebug = 0x6822,
    EsSelector = 0x800,
    CsSelector = 0x802,
    SsSelector = 0x804,
    DsSelector = 0x806,
    FsSelector = 0x808,
    GsSelector = 0x80a,
    LdtrSelector = 0x80c,
    TrSelector = 0x80e,
    EsLimit = 0x4800,
    CsLimit = 0x4802,
    SsLimit = 0x4804,
    DsLimit = 0x4806,
    FsLimit = 0x4808,
    GsLimit = 0x480a,
    LdtrLimit = 0x480c,
    TrLimit = 0x480e,
    GdtrLimit = 0x4810,
    IdtrLimit = 0x4812,
    EsRights = 0x4814,
    CsRights = 0x4816,
    SsRights = 0x4818,
    DsRights = 0x481a,
    FsRights = 0x481c,
    GsRights = 0x481e,
    LdtrRights = 0x4820,
    TrRights = 0x4822,
    EsBase = 0x6806,
    CsBase = 0x6808,
    SsBase = 0x680a,
    DsBase = 0x680c,
    FsBase = 0x680e,
    GsBase = 0x6810,
    LdtrBase = 0x6812,
    TrBase = 0x6814,
    GdtrBase = 0x6816,
    IdtrBase = 0x6818,
    /// Not in the VMCS: kept in TDVPS.
    Cr2 = 0x1_0000,
    Dr0,
    Dr1,
    Dr2,
    Dr3,
    Dr6,
    Xcr0,
    Xss,
    Star,
    Lstar,
    Fmask,
    KernelGsBase,
    TscAux,
}

impl Field {
    /// The fields that the VMCS holds.
    pub const VMCS: &[Self] = {
        use Field::*;
        &[
            Rip,
            Rsp,
            Rflags,
            Cr0,
            Cr3,
            Cr4,
            Dr7,
            Efer,
            Pat,
            DebugCtl,
            SysenterCs,
            SysenterEsp,
            SysenterEip,
            Interruptibility,
            PendingDebug,
            EsSelector,
            CsSelector,
            SsSelector,
            DsSelector,
            FsSelector,
            GsSelector,
            LdtrSelector,
            TrSelector,
            EsLimit,
            CsLimit,
            SsLimit,
            DsLimit,
            FsLimit,
            GsLimit,
            LdtrLimit,
            TrLimit,
            GdtrLimit,
            IdtrLimit,
            EsRights,
            CsRights,
            SsRights,
            DsRights,
            FsRights,
            GsRights,
            LdtrRights,
            TrRights,
            EsBase,
            CsBase,
            SsBase,
            DsBase,
            FsBase,
            GsBase,
            LdtrBase,
            TrBase,
            GdtrBase,
            IdtrBase,
        ]
    };
    /// The fields that TDVPS holds outside of the VMCS, with their offsets in it.
    pub const TDVPS: &[(Self, u64)] = {
        use Field::*;
        &[
            (Dr0, 0xa00),
            (Dr1, 0xa08),
            (Dr2, 0xa10),
            (Dr3, 0xa18),
            (Dr6, 0xa20),
            (Xcr0, 0xa28),
            (Cr2, 0xa30),
            (Xss, 0xc70),
            (Star, 0xc88),
            (Lstar, 0xc90),
            (Fmask, 0xc98),
            (KernelGsBase, 0xca0),
            (TscAux, 0xca8),
        ]
    };
}

/// The virtual CPU on which a guest runs.
pub trait VcpuState {
    /// A general-purpose register by its number ([`reg`]).
    fn gpr(&self, index: usize) -> u64;
    /// Sets a general-purpose register.
    fn set_gpr(&mut self, index: usize, value: u64);
    /// Another register.
    fn get(&self, field: Field) -> u64;
    /// Sets another register.
    fn set(&mut self, field: Field, value: u64);
    /// XMM register `index`, low half first.
    fn xmm(&self, index: usize) -> [u64; 2];
    /// Sets XMM register `index`.
    fn set_xmm(&mut self, index: usize, value: [u64; 2]);
}

/// A VM exit, as the CPU reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmExit {
    /// VMX exit reason, basic reason in bits 15:0.
    pub reason: u32,
    /// Exit qualification.
    pub qualification: u64,
    /// Guest physical address (EPT violations and misconfigurations), with the SHARED bit.
    pub gpa: u64,
    /// Guest linear address.
    pub gla: u64,
    /// VM-exit interruption information.
    pub interruption: u32,
    /// VM-exit interruption error code.
    pub error_code: u32,
    /// Instruction length in bytes.
    pub instruction_length: u32,
    /// VM-exit instruction information.
    pub instruction_info: u32,
    /// For an EPT violation on a shared address: the EPT entry's suppress-#VE bit is clear, so
    /// that a hardware CPU delivers #VE instead of exiting.
    pub ve_convertible: bool,
}

/// An event the CPU has to deliver to the guest at the next VM entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// VM-entry interruption information (SDM 25.8.3): vector, type, valid.
    pub info: u32,
    /// Error code, where `info` bit 11 is set.
    pub error_code: u32,
}

impl Event {
    /// #GP(0).
    pub const GP: Self = Self::with_code(13, 0);
    /// #UD.
    pub const UD: Self = Self::exception(6);
    /// #DF(0).
    pub const DF: Self = Self::with_code(8, 0);
    /// #VE.
    pub const VE: Self = Self::exception(20);
    /// NMI.
    pub const NMI: Self = Self {
        info: 1 << 31 | 2 << 8 | 2,
        error_code: 0,
    };

    const fn exception(vector: u32) -> Self {
        Self {
            info: 1 << 31 | 3 << 8 | vector,
            error_code: 0,
        }
    }

    /// A hardware exception with an error code.
    pub const fn with_code(vector: u32, error_code: u32) -> Self {
        Self {
            info: 1 << 31 | 1 << 11 | 3 << 8 | vector,
            error_code,
        }
    }

    /// The vector.
    pub const fn vector(self) -> u8 {
        self.info as u8
    }
}
