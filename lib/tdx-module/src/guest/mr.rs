//! TDG.MR.*: run-time measurement and reports.

use memory::PhysMemory;
use tdx_abi::{
    Operand, Status,
    layout::{REPORT_DATA_SIZE, REPORT_TYPE_TDX, ReportMac, TdInfo, TdReport},
};
use zerocopy::{FromZeros, IntoBytes};

use super::{Guest, GuestOutcome, Stop};
use crate::lock::Mode;
use crate::machine::{Machine, ReportError, VcpuState, reg::*};
use crate::measure::sha384;
use crate::page::tdcs_offset;

const RTMRS: u64 = 4;

impl<M: Machine, V: VcpuState> Guest<'_, M, V> {
    pub fn mr_rtmr_extend(&mut self) -> Result<(), Stop> {
        let (gpa, index) = (self.gpr(RCX), self.gpr(RDX));
        if gpa & 63 != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        let data = self.guest_operand(gpa, false, true, Operand::RCX)?;
        if index >= RTMRS {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX).into());
        }
        let memory = self.mem();
        let lock = self.tdcs.rtmr_lock();
        lock.acquire_guest(&memory, Mode::Exclusive)
            .map_err(|s| s.with(Operand::RTMR))?;
        let offset = tdcs_offset::RTMR + 48 * index;
        let mut both = [0; 96];
        both[..48].copy_from_slice(&self.tdcs.measurement(offset));
        memory.read_bytes(data, &mut both[48..]);
        self.tdcs.set_measurement(offset, &sha384(&both));
        lock.release(&memory, Mode::Exclusive);
        Ok(())
    }

    /// The TD's identity as it is reported.
    fn td_info(&self) -> TdInfo {
        let mr = |i: u64| self.tdcs.measurement(tdcs_offset::MRTD + 48 * i);
        let mut info = TdInfo::new_zeroed();
        info.attributes = self.tdcs.attributes().into();
        info.xfam = self.tdcs.xfam().into();
        info.mr_td = mr(0);
        info.mr_config_id = mr(1);
        info.mr_owner = mr(2);
        info.mr_owner_config = mr(3);
        for (rtmr, i) in info.rtmr.iter_mut().zip(0..) {
            *rtmr = self.tdcs.measurement(tdcs_offset::RTMR + 48 * i);
        }
        info.servtd_hash = self.tdcs.measurement(tdcs_offset::SERVTD_HASH);
        info
    }

    pub fn mr_report(&mut self) -> Result<(), Stop> {
        let (report_gpa, data_gpa, subtype) = (self.gpr(RCX), self.gpr(RDX), self.gpr(R8));
        if report_gpa & (TdReport::ALIGN - 1) != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        if data_gpa & (REPORT_DATA_SIZE - 1) != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RDX).into());
        }
        let data = self.guest_operand(data_gpa, false, false, Operand::RDX)?;
        if subtype != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::R8).into());
        }
        let memory = self.mem();
        let lock = self.tdcs.rtmr_lock();
        lock.acquire_guest(&memory, Mode::Shared)
            .map_err(|s| s.with(Operand::RTMR))?;
        let mut report = TdReport::new_zeroed();
        report.td_info = self.td_info();
        lock.release(&memory, Mode::Shared);
        if self.machine.interrupt_pending(self.lp) {
            return Err(Stop::Outcome(GuestOutcome::Retry));
        }
        report.mac.report_type.kind = REPORT_TYPE_TDX;
        report.mac.report_type.version = u8::from(self.tdcs.servtd_num() > 0);
        report.mac.tee_info_hash = sha384(report.td_info.as_bytes());
        memory.read_bytes(data, &mut report.mac.report_data);
        self.machine
            .seal_report(&mut report.mac, &mut report.tee_tcb_info);
        let target = self.guest_operand(report_gpa, true, false, Operand::RCX)?;
        memory.write_bytes(target, report.as_bytes());
        Ok(())
    }

    pub fn mr_verifyreport(&mut self) -> Result<(), Stop> {
        if !self.module.platform.verify_report {
            return Err(Status::OPERAND_INVALID.with(Operand::RAX).into());
        }
        let gpa = self.gpr(RCX);
        if gpa & (ReportMac::ALIGN - 1) != 0 {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX).into());
        }
        let at = self.guest_operand(gpa, false, true, Operand::RCX)?;
        let mut report = ReportMac::new_zeroed();
        self.mem().read_bytes(at, report.as_mut_bytes());
        match self.machine.verify_report(&report) {
            Ok(()) => Ok(()),
            Err(ReportError::CpuSvn) => Err(Status::INVALID_CPUSVN.into()),
            Err(ReportError::Mac) => Err(Status::INVALID_REPORTMACSTRUCT.into()),
        }
    }
}
