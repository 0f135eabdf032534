//! What a TD's report (TDREPORT_STRUCT) says, in lines for a reader.
//!
//! The binary asks Linux's TDX guest driver for the report (`TDX_CMD_GET_REPORT0` on
//! `/dev/tdx_guest`), so that TDG.MR.REPORT happens on behalf of user space.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;
use sha2::{Digest, Sha384};
use tdx_abi::layout::{REPORT_DATA_SIZE, REPORT_TYPE_TDX, TdReport};
use zerocopy::{FromBytes, IntoBytes};

/// What the guest adds to a report.
pub type ReportData = [u8; REPORT_DATA_SIZE as usize];

/// Linux's `struct tdx_report_req`: the request goes in, the report comes out.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes)]
pub struct Request {
    /// REPORTDATA.
    pub data: ReportData,
    /// TDREPORT_STRUCT.
    pub report: [u8; TdReport::SIZE as usize],
}

impl Request {
    /// `TDX_CMD_GET_REPORT0`: `_IOWR('T', 1, struct tdx_report_req)`.
    pub const IOCTL: u32 = 3 << 30 | (size_of::<Self>() as u32) << 16 | (b'T' as u32) << 8 | 1;
}

/// Why a report isn't one on this TD and this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// REPORTTYPE names something else than TDX.
    Type(u8),
    /// REPORTDATA isn't what was given.
    Data,
    /// The hash of TDINFO or of TEE_TCB_INFO isn't the one that the MAC covers.
    Hash,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(kind) => write!(f, "REPORTTYPE {kind:#x} isn't TDX's"),
            Self::Data => f.write_str("REPORTDATA isn't what was given"),
            Self::Hash => f.write_str("a hash in REPORTMACSTRUCT isn't that of what follows it"),
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Checks everything that can be checked without the machine's secret.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(request: &Request, given: &ReportData) -> Result<TdReport, Wrong> {
    let report = TdReport::read_from_bytes(&request.report).map_err(|_| Wrong::Type(0))?;
    let mac = &report.mac;
    if mac.report_type.kind != REPORT_TYPE_TDX {
        return Err(Wrong::Type(mac.report_type.kind));
    }
    if mac.report_data != *given {
        return Err(Wrong::Data);
    }
    let hash = |bytes: &[u8]| <[u8; 48]>::from(Sha384::digest(bytes));
    if hash(report.td_info.as_bytes()) != mac.tee_info_hash
        || hash(report.tee_tcb_info.as_bytes()) != mac.tee_tcb_info_hash
    {
        return Err(Wrong::Hash);
    }
    Ok(report)
}

/// Writes what a checked report says.
///
/// # Errors
/// Those of `out`.
pub fn show(report: &TdReport, out: &mut impl fmt::Write) -> fmt::Result {
    let (kind, info) = (&report.mac.report_type, &report.td_info);
    writeln!(
        out,
        "td-report: type {:#x}.{}.{}, REPORTDATA as given, hashes match",
        kind.kind, kind.subtype, kind.version
    )?;
    writeln!(
        out,
        "td-report: ATTRIBUTES {:#x}, XFAM {:#x}",
        info.attributes.get(),
        info.xfam.get()
    )?;
    writeln!(out, "td-report: MRTD {}", Hex(&info.mr_td))?;
    for (n, rtmr) in info.rtmr.iter().enumerate() {
        writeln!(out, "td-report: RTMR{n} {}", Hex(rtmr))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use zerocopy::FromZeros;

    fn genuine(given: &ReportData) -> Request {
        let mut report = TdReport::new_zeroed();
        report.mac.report_type.kind = REPORT_TYPE_TDX;
        report.mac.report_data = *given;
        report.td_info.mr_td = [0xab; 48];
        report.mac.tee_info_hash = Sha384::digest(report.td_info.as_bytes()).into();
        report.mac.tee_tcb_info_hash = Sha384::digest(report.tee_tcb_info.as_bytes()).into();
        let mut request = Request::new_zeroed();
        request.data = *given;
        request.report.copy_from_slice(report.as_bytes());
        request
    }

    #[test]
    fn ioctl_number_is_linux_own() {
        // From the kernel's include/uapi/linux/tdx-guest.h, worked out by hand.
        assert_eq!(Request::IOCTL, 0xc440_5401);
    }

    #[test]
    fn a_genuine_report_shows_its_mrtd() {
        let given = [7; 64];
        let report = check(&genuine(&given), &given).unwrap();
        let mut text = String::new();
        show(&report, &mut text).unwrap();
        assert!(text.contains(&std::format!("MRTD {}\n", "ab".repeat(48))));
        assert_eq!(text.lines().count(), 7);
    }

    #[test]
    fn every_changed_byte_that_can_be_noticed_is() {
        let given = [7; 64];
        for at in (0x80..0xc0).chain(0x100..0x400) {
            let mut request = genuine(&given);
            request.report[at] ^= 1;
            let wrong = if at < 0xc0 { Wrong::Data } else { Wrong::Hash };
            assert_eq!(check(&request, &given), Err(wrong), "byte {at:#x}");
        }
        let mut request = genuine(&given);
        request.report[0] = 0;
        assert_eq!(check(&request, &given), Err(Wrong::Type(0)));
    }
}
