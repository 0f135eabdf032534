//! The hello TD: tries what a TD can do, says each step on the console, powers off.
//! Built for a TD only (see `images/guests/build`).
//!
//! Its memory, all of it unaccepted at first:
//!
//! ```text
//! 2 MiB   a page that is accepted, shared and made private again
//! 4 MiB   a page that is touched without having been accepted: #VE
//! 6 MiB   2 MiB that are accepted by 4 KiB; the host may make one page of them
//! ```
#![no_std]
#![no_main]
// An interrupt table, raw memory outside of the binary: a machine without an operating system.
#![allow(unsafe_code)]

mod exception;
mod memory;

use core::arch::x86_64::__cpuid_count;
use core::mem::offset_of;
use memory::Word;
use tdcall::{Digest, PageSize, ReportData};
use tdx_abi::layout::{REPORT_TYPE_TDX, TdInfo, TdReport};

macro_rules! say {
    ($($what:tt)*) => {
        tdcall::print(format_args!("hello: {}\n", format_args!($($what)*)))
    };
}
pub(crate) use say;

/// The first trial's page.
const CONVERTED: u64 = 2 << 20;
/// The second trial's page.
const UNACCEPTED: u64 = 4 << 20;
/// The third trial's pages.
const SMALL_PAGES: u64 = 6 << 20;
/// What is written to find out whether it is still there.
const PATTERN: u64 = 0x5345_5054_554d_2100;

/// Ends the TD, saying why.
fn fail(what: &str) -> ! {
    say!("error: {what}");
    tdcall::report_fatal_error(what.as_bytes())
}

fn check(holds: bool, what: &str) {
    if !holds {
        fail(what);
    }
}

/// Called by the start code on vCPU 0, with the width of guest physical addresses in bits.
#[unsafe(no_mangle)]
extern "C" fn td_main(gpa_width: u64) -> ! {
    let info = tdcall::vp_info();
    say!(
        "a TD with {} vCPU(s), {}-bit guest physical addresses, ATTRIBUTES {:#x}",
        info.vcpus,
        info.gpa_width,
        info.attributes
    );
    check(
        gpa_width == u64::from(info.gpa_width),
        "EBX at reset isn't what TDG.VP.INFO says",
    );
    // SAFETY: nobody else writes to the launch page.
    let launch = unsafe { td_start::launch() };
    match launch {
        Ok(launch) => say!("{} MiB of memory", launch.memory.bytes() >> 20),
        Err(error) => {
            say!("{error}");
            fail("wrong launch page");
        }
    }
    // SAFETY: once, before there are exceptions.
    unsafe { exception::install() };

    convert(info.shared_bit());
    touch_unaccepted();
    accept_by_small_pages();
    identify();
    check(
        exception::avx_is_invalid(),
        "an AVX instruction gave no #UD, though XFAM has no AVX",
    );
    say!("AVX: #UD, as XFAM has none");
    report();

    say!("all done");
    tdcall::power_off()
}

/// Accepts the 4 KiB page at `gpa`, in whatever size the host mapped it.
fn accept(gpa: u64) {
    use tdx_abi::Status;
    let size = match tdcall::accept(gpa, PageSize::Size4K) {
        Err(status) if status.is(Status::PAGE_SIZE_MISMATCH) => {
            let large = gpa - gpa % PageSize::Size2M.bytes();
            tdcall::accept(large, PageSize::Size2M).map(|()| PageSize::Size2M)
        }
        other => other.map(|()| PageSize::Size4K),
    };
    match size {
        Ok(size) => say!("accepted {gpa:#x} in a page of {} KiB", size.bytes() >> 10),
        Err(status) => {
            say!("TDG.MEM.PAGE.ACCEPT of {gpa:#x}: {status:?}");
            fail("can't accept a page");
        }
    }
}

/// Private, shared, private again: what was written stays on its own side.
fn convert(shared_bit: u64) {
    accept(CONVERTED);
    // SAFETY: identity mapped memory that the binary doesn't use.
    let private = unsafe { Word::at(CONVERTED) };
    check(private.read() == 0, "an accepted page isn't zero");
    private.write(PATTERN);
    check(private.read() == PATTERN, "private memory lost a write");
    say!("private memory at {CONVERTED:#x}: written and read");

    // SAFETY: the page holds nothing but the trial's word.
    check(
        unsafe { tdcall::map_gpa(CONVERTED | shared_bit, 4096) }.is_ok(),
        "MapGPA to shared",
    );
    // SAFETY: once, before the window is used.
    let window = unsafe { memory::shared_window(shared_bit) };
    // SAFETY: the window maps the page, shared.
    let shared = unsafe { Word::at(window + CONVERTED) };
    check(
        shared.read() != PATTERN,
        "what was private is in shared memory",
    );
    shared.write(!PATTERN);
    check(shared.read() == !PATTERN, "shared memory lost a write");
    say!("shared memory at {CONVERTED:#x}: written and read");

    // SAFETY: as above.
    check(
        unsafe { tdcall::map_gpa(CONVERTED, 4096) }.is_ok(),
        "MapGPA to private",
    );
    accept(CONVERTED);
    check(private.read() == 0, "what was shared is in private memory");
    private.write(PATTERN);
    check(private.read() == PATTERN, "private memory lost a write");
    say!("private again at {CONVERTED:#x}: zeroed, written and read");
}

/// A #VE for a page that wasn't accepted; its handler accepts.
fn touch_unaccepted() {
    // SAFETY: identity mapped memory that the binary doesn't use.
    let word = unsafe { Word::at(UNACCEPTED) };
    let before = exception::count();
    word.write(PATTERN);
    check(word.read() == PATTERN, "private memory lost a write");
    match exception::count() - before {
        1 => say!("one #VE at {UNACCEPTED:#x}, then written and read"),
        n => {
            say!("{n} exceptions at {UNACCEPTED:#x}");
            fail("an unaccepted page didn't give one #VE");
        }
    }
}

/// 2 MiB accepted by 4 KiB, and some pages more that give the host time to join them: what was
/// written stays, however they are mapped.
fn accept_by_small_pages() {
    const PAGES: u64 = 512;
    const MORE: u64 = 8;
    let address = |page| SMALL_PAGES + 4096 * page;
    for page in 0..PAGES + MORE {
        if let Err(status) = tdcall::accept(address(page), PageSize::Size4K) {
            say!("TDG.MEM.PAGE.ACCEPT of {:#x}: {status:?}", address(page));
            fail("can't accept a small page");
        }
        // SAFETY: identity mapped memory that the binary doesn't use.
        unsafe { Word::at(address(page)) }.write(PATTERN ^ page);
    }
    let holds = |page| {
        // SAFETY: as above.
        let word = unsafe { Word::at(address(page)) };
        word.read() == PATTERN ^ page
    };
    check((0..PAGES + MORE).all(holds), "private memory lost a write");
    say!("{PAGES} pages of 4 KiB at {SMALL_PAGES:#x}: accepted, written and read");
}

/// CPUID that the TDX module answers, and CPUID that gives #VE and that the host answers.
fn identify() {
    let leaf = __cpuid_count(0x21, 0);
    let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    check(
        name.as_flattened() == b"IntelTDX    ",
        "CPUID 0x21 doesn't name TDX",
    );
    say!("CPUID 0x21 names TDX");
    let before = exception::count();
    let leaf = __cpuid_count(0x4000_0000, 0);
    check(
        exception::count() == before + 1,
        "CPUID 0x40000000 didn't give one #VE",
    );
    say!("CPUID 0x40000000 by way of the host: {:#x}", leaf.eax);
}

/// SHA-384 of 96 zeros: a fresh RTMR that was extended by 48 zeros.
const EXTENDED_ONCE: u64 = 0xf57b_b7ed_82c6_ae4a;

/// Reports on this TD: what was measured, and an RTMR before and after it was extended.
fn report() {
    let info = offset_of!(TdReport, td_info);
    let mr_td = info + offset_of!(TdInfo, mr_td);
    let rtmr_3 = info + offset_of!(TdInfo, rtmr) + 3 * 48;
    let before = fresh_report();
    say!("MRTD {:016x}...", start_of(&before, mr_td));
    check(start_of(&before, rtmr_3) == 0, "RTMR3 isn't zero at first");
    if let Err(status) = tdcall::extend_rtmr(3, &Digest([0; 48])) {
        say!("TDG.MR.RTMR.EXTEND: {status:?}");
        fail("RTMR3 can't be extended");
    }
    let after = fresh_report();
    check(
        start_of(&after, rtmr_3) == EXTENDED_ONCE,
        "RTMR3 isn't the hash of what it was and its extension",
    );
    check(
        after.0[mr_td..rtmr_3] == before.0[mr_td..rtmr_3],
        "RTMR3's extension changed something else",
    );
    say!("RTMR3 extended: {:016x}...", start_of(&after, rtmr_3));
}

fn fresh_report() -> tdcall::Report {
    match tdcall::report(&ReportData([0x5a; 64])) {
        Ok(report) => {
            check(report.0[0] == REPORT_TYPE_TDX, "not a TDX report");
            check(report.0[128..192] == [0x5a; 64], "not our REPORTDATA");
            report
        }
        Err(status) => {
            say!("TDG.MR.REPORT: {status:?}");
            fail("no report");
        }
    }
}

/// The first eight bytes at an offset, in the order in which they are printed.
fn start_of(report: &tdcall::Report, offset: usize) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&report.0[offset..offset + 8]);
    u64::from_be_bytes(start)
}
