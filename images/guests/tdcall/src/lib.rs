//! TDCALL: what a TD asks of the TDX module (`TDG.*`) and, through TDG.VP.VMCALL, of its host.
//!
//! What the host answers is never trusted further than the operation's own meaning: a wrong
//! answer can stop the guest, not reach its private memory.
#![no_std]
// TDCALL is an instruction: there is no other way to it than inline assembly.
#![allow(unsafe_code)]

use core::arch::asm;
use core::fmt;
use guest_image::ports;
use tdx_abi::GuestLeaf;
use tdx_abi::Status;
use tdx_abi::tdvmcall::{Subfunction, result};

/// Registers that a leaf reads and writes.
#[derive(Clone, Copy, Debug, Default)]
struct Registers {
    rcx: u64,
    rdx: u64,
    r8: u64,
    r9: u64,
    r10: u64,
}

/// Any leaf but TDG.VP.VMCALL.
///
/// # Safety
/// The leaf must do nothing to memory that Rust knows of, other than through pointers that
/// are passed to it.
unsafe fn call(leaf: GuestLeaf, registers: &mut Registers) -> Status {
    let status: u64;
    // SAFETY: TDCALL changes the registers named here only; memory is the caller's promise.
    unsafe {
        asm!(
            "tdcall",
            inlateout("rax") u64::from(leaf.number()) => status,
            inlateout("rcx") registers.rcx,
            inlateout("rdx") registers.rdx,
            inlateout("r8") registers.r8,
            inlateout("r9") registers.r9,
            inlateout("r10") registers.r10,
            lateout("r11") _,
            options(nostack),
        );
    }
    Status(status)
}

/// What the module says of the TD and of this vCPU (TDG.VP.INFO).
#[derive(Clone, Copy, Debug)]
pub struct VpInfo {
    /// Width of guest physical addresses in bits; the SHARED bit is the highest.
    pub gpa_width: u32,
    /// TD_PARAMS.ATTRIBUTES.
    pub attributes: u64,
    /// vCPUs that exist.
    pub vcpus: u32,
    /// This vCPU's index.
    pub index: u32,
}

impl VpInfo {
    /// The SHARED bit.
    pub const fn shared_bit(&self) -> u64 {
        1 << (self.gpa_width - 1)
    }
}

/// TDG.VP.INFO.
pub fn vp_info() -> VpInfo {
    let mut r = Registers::default();
    // SAFETY: the leaf touches no memory. It has no operands, hence no errors.
    unsafe { call(GuestLeaf::VpInfo, &mut r) };
    VpInfo {
        gpa_width: (r.rcx & 0x3f) as u32,
        attributes: r.rdx,
        vcpus: r.r8 as u32,
        index: r.r9 as u32,
    }
}

/// The size of a page to be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageSize {
    /// 4 KiB, level 0.
    Size4K = 0,
    /// 2 MiB, level 1.
    Size2M = 1,
}

impl PageSize {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 1 << 12,
            Self::Size2M => 1 << 21,
        }
    }
}

/// TDG.MEM.PAGE.ACCEPT of the page at `gpa`, which must be a multiple of the size. The page
/// is zero afterwards. A page that is in use already isn't changed: it gives an error.
///
/// # Errors
/// The module's status; [`Status::PAGE_SIZE_MISMATCH`] where the host mapped a smaller page.
pub fn accept(gpa: u64, size: PageSize) -> Result<(), Status> {
    let mut r = Registers {
        rcx: gpa | size as u64,
        ..Registers::default()
    };
    // SAFETY: only a pending page changes, which nothing could have been read from before.
    let status = unsafe { call(GuestLeaf::MemPageAccept, &mut r) };
    if status.is_success() && !status.is(Status::PAGE_ALREADY_ACCEPTED) {
        Ok(())
    } else {
        Err(status)
    }
}

/// Why there was a virtualisation exception (TDG.VP.VEINFO.GET).
#[derive(Clone, Copy, Debug)]
pub struct VeInfo {
    /// Basic exit reason.
    pub reason: u32,
    /// Exit qualification.
    pub qualification: u64,
    /// Guest linear address, where the reason is an EPT violation.
    pub gla: u64,
    /// Guest physical address, where the reason is an EPT violation.
    pub gpa: u64,
    /// Length of the instruction in bytes, where it is known.
    pub instruction_length: u32,
}

/// TDG.VP.VEINFO.GET: takes the information of the last #VE.
///
/// # Errors
/// The module's status where there is none.
pub fn ve_info() -> Result<VeInfo, Status> {
    let mut r = Registers::default();
    // SAFETY: the leaf touches no memory that Rust knows of.
    let status = unsafe { call(GuestLeaf::VpVeinfoGet, &mut r) };
    if !status.is_success() {
        return Err(status);
    }
    Ok(VeInfo {
        reason: r.rcx as u32,
        qualification: r.rdx,
        gla: r.r8,
        gpa: r.r9,
        instruction_length: r.r10 as u32,
    })
}

/// A TDREPORT_STRUCT.
#[derive(Clone, Debug)]
#[repr(C, align(1024))]
pub struct Report(pub [u8; 1024]);

/// What the guest adds to a report.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct ReportData(pub [u8; 64]);

/// TDG.MR.REPORT. Both must be identity mapped, as all static and stack memory is here.
///
/// # Errors
/// The module's status.
pub fn report(data: &ReportData) -> Result<Report, Status> {
    let mut report = Report([0; 1024]);
    let mut r = Registers {
        rcx: (&raw mut report) as u64,
        rdx: (&raw const *data) as u64,
        ..Registers::default()
    };
    // SAFETY: the leaf writes the report, which is ours and long and aligned enough.
    let status = unsafe { call(GuestLeaf::MrReport, &mut r) };
    if status.is_success() {
        Ok(report)
    } else {
        Err(status)
    }
}

/// What an RTMR is extended by: a SHA-384 digest.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Digest(pub [u8; 48]);

/// TDG.MR.RTMR.EXTEND: RTMR `index` becomes the SHA-384 of itself followed by the digest. The
/// digest must be identity mapped, as all static and stack memory is here.
///
/// # Errors
/// The module's status.
pub fn extend_rtmr(index: u64, digest: &Digest) -> Result<(), Status> {
    let mut r = Registers {
        rcx: (&raw const *digest) as u64,
        rdx: index,
        ..Registers::default()
    };
    // SAFETY: the leaf reads the digest and writes no memory.
    let status = unsafe { call(GuestLeaf::MrRtmrExtend, &mut r) };
    if status.is_success() {
        Ok(())
    } else {
        Err(status)
    }
}

/// R10 to R15 pass to the host and back.
const VMCALL_MASK: u64 = 0xfc00;

/// TDG.VP.VMCALL with these R12 to R15; gives (R10, R11) to (R15).
///
/// # Safety
/// The sub-function must do nothing to memory that Rust knows of.
unsafe fn vmcall(subfunction: Subfunction, arguments: [u64; 4]) -> (u64, [u64; 5]) {
    let (r10, r11, r12, r13, r14, r15): (u64, u64, u64, u64, u64, u64);
    // SAFETY: RBX, RBP and the other callee-saved registers aren't in the mask: the module
    // keeps them. Memory is the caller's promise.
    unsafe {
        asm!(
            "tdcall",
            inlateout("rax") u64::from(GuestLeaf::VpVmcall.number()) => _,
            inlateout("rcx") VMCALL_MASK => _,
            inlateout("r10") 0u64 => r10,
            inlateout("r11") subfunction as u64 => r11,
            inlateout("r12") arguments[0] => r12,
            inlateout("r13") arguments[1] => r13,
            inlateout("r14") arguments[2] => r14,
            inlateout("r15") arguments[3] => r15,
            options(nostack),
        );
    }
    (r10, [r11, r12, r13, r14, r15])
}

/// Writes a byte to an I/O port, by way of the host.
pub fn io_write(port: u16, value: u8) {
    // SAFETY: port I/O reaches the host's devices, no memory. There is nothing to be done
    // about a host that refuses.
    unsafe { vmcall(Subfunction::Io, [1, 1, port.into(), value.into()]) };
}

/// What CPUID gives by way of the host: EAX, EBX, ECX, EDX. Not to be trusted.
///
/// # Errors
/// The host's return code.
pub fn cpuid(leaf: u32, subleaf: u32) -> Result<[u32; 4], u64> {
    // SAFETY: touches no memory.
    let (code, values) = unsafe { vmcall(Subfunction::Cpuid, [leaf.into(), subleaf.into(), 0, 0]) };
    match code {
        result::SUCCESS => Ok([1, 2, 3, 4].map(|n| values[n] as u32)),
        code => Err(code),
    }
}

/// Makes `bytes` of memory at `gpa` shared (SHARED bit set in `gpa`) or private (clear).
///
/// # Safety
/// The memory's contents are gone: Rust must know nothing of them.
///
/// # Errors
/// The host's return code.
pub unsafe fn map_gpa(gpa: u64, bytes: u64) -> Result<(), u64> {
    let (mut from, end) = (gpa, gpa + bytes);
    loop {
        // SAFETY: the caller's promise.
        let (code, values) = unsafe { vmcall(Subfunction::MapGpa, [from, end - from, 0, 0]) };
        let next = values[0];
        match code {
            result::SUCCESS => return Ok(()),
            // A host that makes no progress would keep us here for ever.
            result::RETRY if next > from && next < end => from = next,
            code => return Err(code),
        }
    }
}

/// Tells the host that the guest can't go on, with the first 64 bytes of a message.
/// The host isn't to return from this; should it, it is asked again.
pub fn report_fatal_error(message: &[u8]) -> ! {
    let mut words = [0u64; 8];
    for (n, &byte) in message.iter().take(64).enumerate() {
        words[n / 8] |= u64::from(byte) << (8 * (n % 8));
    }
    loop {
        // SAFETY: gives registers to the host and touches no memory. RBX, which inline
        // assembly can't name, is put back.
        unsafe {
            asm!(
                "xchg {rbx}, rbx",
                "tdcall",
                "xchg {rbx}, rbx",
                rbx = inout(reg) words[2] => _,
                inlateout("rax") u64::from(GuestLeaf::VpVmcall.number()) => _,
                // RDX RBX RSI RDI R8..R15
                inlateout("rcx") 0xffccu64 => _,
                inlateout("r10") 0u64 => _,
                inlateout("r11") Subfunction::ReportFatalError as u64 => _,
                inlateout("r12") 0u64 => _,
                inlateout("r13") 0u64 => _,
                inlateout("r14") words[0] => _,
                inlateout("r15") words[1] => _,
                inlateout("rdi") words[3] => _,
                inlateout("rsi") words[4] => _,
                inlateout("r8") words[5] => _,
                inlateout("r9") words[6] => _,
                inlateout("rdx") words[7] => _,
                options(nostack),
            );
        }
    }
}

/// Prints on the guest's console.
pub fn print(text: fmt::Arguments<'_>) {
    // The console's writes don't fail.
    let _ = fmt::Write::write_fmt(&mut Console, text);
}

/// The guest's console: the UART's transmit register, byte by byte.
struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                io_write(ports::UART, b'\r');
            }
            io_write(ports::UART, byte);
        }
        Ok(())
    }
}

/// Powers the machine off. The host isn't to return from this.
pub fn power_off() -> ! {
    io_write(ports::SLEEP_CONTROL, ports::POWER_OFF);
    report_fatal_error(b"the host didn't power off")
}
