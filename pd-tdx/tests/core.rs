//! The core over a module of a few lines: who is answered what, and who runs when.

use gpa::Hpa;
use ipc_console::{FromConsole, ToConsole};
use ipc_mmu_tdx::{self as mmu, Pool, Pools, Step};
use ipc_seamcall::{Call, Registers};
use ipc_vmm_tdx as vmm;
use pd_tdx::setup::ModuleInfo;
use pd_tdx::{Seam, Tdx, UnknownInstruction};
use ring::{Link, REGION_WORDS};
use std::collections::VecDeque;
use std::sync::atomic::AtomicU32;
use tdx_abi::exit::reason;
use tdx_abi::{HostLeaf, Status};

const TDR: u64 = 0x1000;
const VCPUS: [u64; 2] = [0x2000, 0x3000];

/// Answers TDH.VP.ENTER with the next exit of the script, and everything else with success.
#[derive(Default)]
struct Scripted {
    exits: VecDeque<Registers>,
    vm_exits: VecDeque<vmm::VmExit>,
    forgotten: Vec<u64>,
    made: Vec<u64>,
    entered: Vec<u64>,
    flushes: u32,
    unknown: Option<UnknownInstruction>,
}

impl Seam for Scripted {
    fn take_unknown(&mut self) -> Option<UnknownInstruction> {
        self.unknown
    }
    fn invept(&mut self) {
        self.flushes += 1;
    }
    fn vm_enter(&mut self, root: Hpa, vcpu: u64, _: &vmm::VmEntry) -> vmm::VmExit {
        assert_eq!(root.get(), vcpu & !0xfff);
        self.entered.push(vcpu);
        let next = self.vm_exits.pop_front();
        next.unwrap_or(vm_exit(reason::INTERRUPT))
    }
    fn vm_forget(&mut self, vcpu: u64) {
        self.forgotten.push(vcpu);
    }
    fn seamcall(&mut self, registers: &mut Registers) {
        if registers.rax == u64::from(HostLeaf::VpEnter.number()) {
            self.entered.push(registers.rcx);
            *registers = self
                .exits
                .pop_front()
                .unwrap_or_else(|| exit(reason::INTERRUPT));
        } else {
            self.made.push(registers.rax);
            registers.rax = if registers.r8_r15[0] == 0xbad {
                Status::OPERAND_BUSY.0
            } else {
                0
            };
        }
    }
}

fn exit(reason: u32) -> Registers {
    Registers {
        rax: reason.into(),
        ..Registers::default()
    }
}

fn vm_exit(reason: u32) -> vmm::VmExit {
    vmm::VmExit {
        reason,
        ..vmm::VmExit::default()
    }
}

fn call(leaf: HostLeaf, rcx: u64, rdx: u64) -> Call {
    Call {
        rax: leaf.number().into(),
        rcx,
        rdx,
        ..Call::default()
    }
}

type Ends<'a> = (
    Link<'a, FromConsole, ToConsole>,
    Link<'a, vmm::ToTdx, vmm::ToVmm>,
    Link<'a, mmu::ToTdx, mmu::ToMmu>,
);

/// Runs `test` on a core with two vCPUs, and the other ends of its channels.
fn with_core(test: impl FnOnce(&mut Tdx<'_, Scripted>, &mut Ends<'_>)) {
    let words: Vec<Vec<AtomicU32>> = (0..6)
        .map(|_| (0..REGION_WORDS).map(|_| AtomicU32::new(0)).collect())
        .collect();
    let pool = Pool { base: 0, len: 0 };
    let pools = Pools {
        control: pool,
        private: pool,
        shared: pool,
        hkid_shift: 46,
    };
    let info = ModuleInfo {
        first_hkid: 33,
        hkids: 31,
        tdcs_pages: 6,
        tdvps_pages: 6,
    };
    let mut core = Tdx::new(
        Scripted::default(),
        &info,
        pools,
        Link::new(&words[0], &words[1]),
        Link::new(&words[2], &words[3]),
        Link::new(&words[4], &words[5]),
    );
    let mut ends: Ends<'_> = (
        Link::new(&words[1], &words[0]),
        Link::new(&words[3], &words[2]),
        Link::new(&words[5], &words[4]),
    );
    assert_eq!(ends.0.receive(), Some(Ok(ToConsole::Ready)));
    assert!(matches!(
        ends.1.receive(),
        Some(Ok(vmm::ToVmm::Ready { first_hkid: 33, .. }))
    ));
    assert!(matches!(
        ends.2.receive(),
        Some(Ok(mmu::ToMmu::Ready { .. }))
    ));
    for tdvpr in VCPUS {
        let registers = call(HostLeaf::VpCreate, tdvpr, TDR).into();
        ends.1
            .send(&vmm::ToTdx::Seamcall { id: 0, registers })
            .unwrap();
    }
    assert!(!core.poll());
    for _ in VCPUS {
        assert!(matches!(
            ends.1.receive(),
            Some(Ok(vmm::ToVmm::Returned { id: 0, .. }))
        ));
    }
    test(&mut core, &mut ends);
}

fn enter(ends: &mut Ends<'_>, id: u32, tdvpr: u64) {
    let registers = call(HostLeaf::VpEnter, tdvpr, 0).into();
    ends.1
        .send(&vmm::ToTdx::Seamcall { id, registers })
        .unwrap();
}

#[test]
fn a_leaf_of_somebody_else_is_refused_and_not_made() {
    with_core(|core, ends| {
        let before = core.seam().made.len();
        let registers = call(HostLeaf::MemPageAug, 0, TDR).into();
        ends.1
            .send(&vmm::ToTdx::Seamcall { id: 7, registers })
            .unwrap();
        let steps = [Step::Call(call(HostLeaf::VpFlush, VCPUS[0], 0))]
            .into_iter()
            .collect();
        ends.2.send(&mmu::ToTdx::Program { id: 8, steps }).unwrap();
        core.poll();
        let leaf = HostLeaf::MemPageAug.number();
        assert_eq!(
            ends.1.receive(),
            Some(Ok(vmm::ToVmm::Refused { id: 7, leaf }))
        );
        let Some(Ok(mmu::ToMmu::ProgramDone { id: 8, result })) = ends.2.receive() else {
            panic!("no answer to the program");
        };
        assert!(result.refused);
        assert_eq!(result.succeeded, 0);
        assert_eq!(core.seam().made.len(), before);
        assert_eq!(core.counters().refused, 2);
    });
}

#[test]
fn a_program_ends_at_its_first_failure() {
    with_core(|core, ends| {
        let bad = Call {
            r8: 0xbad,
            ..call(HostLeaf::MemPageAug, 0, TDR)
        };
        let track = Step::Call(call(HostLeaf::MemTrack, TDR, 0));
        let steps = [track, Step::Kick(TDR), Step::Call(bad), track]
            .into_iter()
            .collect();
        ends.2.send(&mmu::ToTdx::Program { id: 1, steps }).unwrap();
        core.poll();
        let Some(Ok(mmu::ToMmu::ProgramDone { id: 1, result })) = ends.2.receive() else {
            panic!("no answer to the program");
        };
        assert_eq!(result.succeeded, 2);
        assert_eq!(core.seam().flushes, 1);
        assert_eq!(result.last.rax, Status::OPERAND_BUSY.0);
        assert!(!result.refused);
    });
}

#[test]
fn entered_vcpus_take_turns_until_they_exit() {
    with_core(|core, ends| {
        enter(ends, 10, VCPUS[0]);
        enter(ends, 11, VCPUS[1]);
        for _ in 0..4 {
            assert!(core.poll());
        }
        let [a, b] = VCPUS;
        assert_eq!(core.seam().entered, [a, b, a, b]);
        core.seam().exits.push_back(exit(reason::TDCALL));
        assert!(core.poll());
        let expected = vmm::ToVmm::Returned {
            id: 10,
            registers: exit(reason::TDCALL),
        };
        assert_eq!(ends.1.receive(), Some(Ok(expected)));
        assert!(core.poll(), "the other one runs on");
        assert_eq!(core.seam().entered.last(), Some(&b));
    });
}

#[test]
fn faults_go_to_the_mmu_and_wait_for_it() {
    with_core(|core, ends| {
        let mut fault = exit(reason::EPT_VIOLATION);
        fault.r8_r15[0] = 0x5000;
        core.seam().exits.push_back(fault);
        enter(ends, 1, VCPUS[0]);
        core.poll();
        let Some(Ok(mmu::ToMmu::Fault {
            tdr: TDR,
            tdvpr,
            gpa: 0x5000,
            ..
        })) = ends.2.receive()
        else {
            panic!("no fault");
        };
        assert!(!core.poll(), "it waits");
        assert_eq!(ends.1.receive(), None, "pd-vmm is not told");
        ends.2.send(&mmu::ToTdx::Resume { tdvpr }).unwrap();
        core.seam().exits.push_back(fault);
        assert!(core.poll());
        ends.2.send(&mmu::ToTdx::Decline { tdvpr }).unwrap();
        core.poll();
        let returned = vmm::ToVmm::Returned {
            id: 1,
            registers: fault,
        };
        assert_eq!(
            ends.1.receive(),
            Some(Ok(returned)),
            "pd-vmm is told what pd-mmu declined"
        );
        // There is nothing to resume any more, and no such vCPU at all.
        ends.2.send(&mmu::ToTdx::Resume { tdvpr }).unwrap();
        ends.2
            .send(&mmu::ToTdx::Resume { tdvpr: 0xdead_0000 })
            .unwrap();
        assert!(!core.poll());
        assert_eq!(core.counters().unknown, 2);
    });
}

#[test]
fn entering_twice_is_busy_and_a_kick_leaves() {
    with_core(|core, ends| {
        enter(ends, 1, VCPUS[0]);
        core.poll();
        enter(ends, 2, VCPUS[0]);
        core.poll();
        let Some(Ok(vmm::ToVmm::Returned { id: 2, registers })) = ends.1.receive() else {
            panic!("no answer");
        };
        assert!(Status(registers.rax).is(Status::OPERAND_BUSY));
        ends.1.send(&vmm::ToTdx::Kick { tdvpr: VCPUS[0] }).unwrap();
        core.poll();
        let returned = vmm::ToVmm::Returned {
            id: 1,
            registers: exit(reason::INTERRUPT),
        };
        assert_eq!(ends.1.receive(), Some(Ok(returned)));
        assert!(!core.poll());
    });
}

/// A guest full of unknown instructions fills no console.
#[test]
fn unknown_instructions_are_named_at_first() {
    with_core(|core, ends| {
        core.seam().unknown = Some(UnknownInstruction {
            rip: 0x1234,
            bytes: [0xc5; 15],
            mnemonic: cpu::Mnemonic::Vaddps,
        });
        let mut lines = Vec::new();
        for _ in 0..100 {
            core.poll();
            while let Some(Ok(ToConsole::Line(line))) = ends.0.receive() {
                lines.push(line);
            }
        }
        let expected = "unknown instruction Vaddps at 0x1234 (bytes c5 c5 ";
        assert!(lines[0].starts_with(expected), "{}", lines[0]);
        assert_eq!(lines.len(), 17);
        assert!(lines[16].contains("not named"));
    });
}

#[test]
fn a_vm_that_is_no_td_has_its_own_doors() {
    const ROOT: u64 = 0x8000;
    const VCPU: u64 = ROOT + 1;
    with_core(|core, ends| {
        let enter = |ends: &mut Ends<'_>, id, vcpu| {
            let entry = vmm::VmEntry::default();
            let message = vmm::ToTdx::Enter { id, vcpu, entry };
            ends.1.send(&message).unwrap();
        };
        let refused = |id| vmm::ToVmm::Exited {
            id,
            exit: vm_exit(vmm::VmExit::NO_ENTRY),
        };
        // A TD's vCPU, a page that is nobody's, a number that is too high.
        for (id, vcpu) in [(1, VCPUS[0]), (2, 0x9000), (3, ROOT + 17)] {
            enter(ends, id, vcpu);
            assert!(!core.poll());
            assert_eq!(ends.1.receive(), Some(Ok(refused(id))));
        }
        assert!(core.seam().entered.is_empty());
        // Faults go to pd-mmu with the root for the TDR; what it declines goes to pd-vmm.
        let fault = vmm::VmExit {
            gpa: 0x5123,
            ..vm_exit(reason::EPT_VIOLATION)
        };
        core.seam().vm_exits.extend([fault, fault]);
        enter(ends, 4, VCPU);
        core.poll();
        enter(ends, 5, VCPU);
        core.poll();
        assert_eq!(ends.1.receive(), Some(Ok(refused(5))), "it waits already");
        for answer in [
            mmu::ToTdx::Resume { tdvpr: VCPU },
            mmu::ToTdx::Decline { tdvpr: VCPU },
        ] {
            let Some(Ok(mmu::ToMmu::Fault {
                tdr: ROOT,
                tdvpr: VCPU,
                gpa: 0x5123,
                ..
            })) = ends.2.receive()
            else {
                panic!("no fault");
            };
            assert_eq!(ends.1.receive(), None, "pd-vmm is not told");
            ends.2.send(&answer).unwrap();
            core.poll();
        }
        let exit = fault;
        assert_eq!(
            ends.1.receive(),
            Some(Ok(vmm::ToVmm::Exited { id: 4, exit }))
        );
        // TDH.VP.ENTER does not enter it, and only such a vCPU is forgotten.
        let registers = call(HostLeaf::VpEnter, VCPU, 0).into();
        let message = vmm::ToTdx::Seamcall { id: 6, registers };
        ends.1.send(&message).unwrap();
        for vcpu in [VCPUS[1], VCPU, VCPU] {
            ends.1.send(&vmm::ToTdx::Forget { vcpu }).unwrap();
        }
        assert!(!core.poll());
        assert!(matches!(
            ends.1.receive(),
            Some(Ok(vmm::ToVmm::Returned { id: 6, registers }))
                if Status(registers.rax).is(Status::OPERAND_BUSY)
        ));
        assert_eq!(core.seam().forgotten, [VCPU]);
        assert_eq!(core.seam().entered, [VCPU, VCPU]);
    });
}
