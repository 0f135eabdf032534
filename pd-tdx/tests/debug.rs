//! A debugger's writes to a vCPU of a debug TD reach the software processor.

use gpa::Hpa;
use ipc_seamcall::Registers;
use memory::{HostMemory, PhysMemory};
use pd_tdx::Seam;
use pd_tdx::setup::{Plan, configure};
use pd_tdx::software::{Clock, Code, Cpus, SoftwareMachine, SoftwareSeam, platform};
use tdx_abi::exit::reason;
use tdx_abi::layout::TdParams;
use tdx_abi::{HostLeaf, Status, td};
use zerocopy::{FromZeros, IntoBytes};

const BASE: u64 = 0x800_0000;
const CONTROL: (Hpa, u64) = (Hpa::new(BASE), 0x80_0000);
const PAMT: (Hpa, u64) = (Hpa::new(0x880_0000), 0x60_0000);
const SHARED: (Hpa, u64) = (Hpa::new(0x8e0_0000), 0x10_0000);
const PRIVATE: (Hpa, u64) = (Hpa::new(0x900_0000), 0x20_0000);
const GUEST_RIP: u64 = 0x0024_0003_0000_681e;

struct StoppedClock(u64);

impl Clock for StoppedClock {
    fn now(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
    fn executed(&mut self, _instructions: u64) {}
    fn random(&mut self) -> u64 {
        self.now()
    }
}

fn call(seam: &mut impl Seam, leaf: HostLeaf, [rcx, rdx, r8, r9]: [u64; 4]) -> Registers {
    let mut registers = Registers {
        rax: leaf.number().into(),
        rcx,
        rdx,
        ..Registers::default()
    };
    registers.r8_r15[0] = r8;
    registers.r8_r15[1] = r9;
    seam.seamcall(&mut registers);
    let status = Status(registers.rax);
    assert!(!status.is_error(), "{leaf}: {status}");
    registers
}

/// The guest has no memory: it stops at its first instruction, and this is where.
fn stops_at(seam: &mut impl Seam, tdvpr: u64) -> u64 {
    let out = call(seam, HostLeaf::VpEnter, [tdvpr, 0, 0, 0]);
    assert_eq!(out.rax as u32, reason::EPT_VIOLATION);
    out.r8_r15[0]
}

#[test]
fn a_register_that_a_debugger_writes_is_the_processors() {
    let memory = HostMemory::new(Hpa::new(BASE), 0x120_0000);
    let window = memory.window();
    let mut cpus = Box::new(Cpus::new());
    let mut code = Code::new_box_zeroed().expect("memory for decoded code");
    let machine = SoftwareMachine::new(window, StoppedClock(1 << 40), SHARED, SHARED);
    let platform = platform(Hpa::new(BASE), 0x120_0000);
    let mut seam = SoftwareSeam::new(platform, machine, &mut cpus, &mut code);
    let plan = Plan {
        convertible: [CONTROL, PRIVATE],
        pamt: PAMT,
        scratch: Hpa::new(PAMT.0.get() + PAMT.1 - 0x2000),
        global_hkid: 32,
        td_hkids: 31,
    };
    let info = configure(&mut seam, window, &plan).expect("the module takes the plan");
    let seam = &mut seam;

    let mut pages = (BASE..).step_by(4096);
    let mut page = || pages.next().expect("there are more");
    let tdr = page();
    call(
        seam,
        HostLeaf::MngCreate,
        [tdr, info.first_hkid.into(), 0, 0],
    );
    call(seam, HostLeaf::MngKeyConfig, [tdr, 0, 0, 0]);
    for _ in 0..info.tdcs_pages {
        call(seam, HostLeaf::MngAddcx, [page(), tdr, 0, 0]);
    }
    let mut params = TdParams::new_zeroed();
    params.attributes = td::attributes::DEBUG.into();
    params.xfam = 3.into();
    params.max_vcpus = 1.into();
    params.eptp_controls = (td::eptp_controls::WB | td::eptp_controls::WALK_4).into();
    params.tsc_frequency = 80.into();
    window.write_bytes(SHARED.0, params.as_bytes());
    call(seam, HostLeaf::MngInit, [tdr, SHARED.0.get(), 0, 0]);
    let tdvpr = page();
    call(seam, HostLeaf::VpCreate, [tdvpr, tdr, 0, 0]);
    for _ in 1..info.tdvps_pages {
        call(seam, HostLeaf::VpAddcx, [page(), tdvpr, 0, 0]);
    }
    call(seam, HostLeaf::VpInit, [tdvpr, 0, 0, 0]);
    call(seam, HostLeaf::MrFinalize, [tdr, 0, 0, 0]);

    assert_eq!(stops_at(seam, tdvpr) & !0xfff, 0xffff_f000, "reset vector");
    let write = [tdvpr, GUEST_RIP, 0x1234_5678, u64::MAX];
    call(seam, HostLeaf::VpWr, write);
    assert_eq!(stops_at(seam, tdvpr) & !0xfff, 0x1234_5000);
    // Whoever doesn't write finds the vCPU where it stopped.
    assert_eq!(stops_at(seam, tdvpr) & !0xfff, 0x1234_5000);
}
