//! From nothing to a running TD and back.

use super::*;
use guest_image::GuestImage;
use guest_image::image::Step as ImageStep;
use tdx_abi::Operand;

#[test]
fn a_td_is_built_as_the_image_says() {
    let mut machine = Machine::new(2, GOAL);
    machine.vmm.poll(&mut machine.world);
    machine.turn();
    assert!(machine.events.is_empty(), "nobody is ready");
    machine.start();
    let vcpu = [
        "ControlPages",
        "TDH.VP.CREATE",
        "TDH.VP.ADDCX",
        "TDH.VP.INIT",
        "TDH.VP.WR",
    ];
    let mut expected = vec![
        "Create",
        "TDH.MNG.CREATE",
        "TDH.MNG.KEY.CONFIG",
        "ControlPages",
        "TDH.MNG.ADDCX",
        "SharedPages",
        "TDH.MNG.INIT",
        "TDH.MNG.RD",
        "AddSlot",
    ];
    expected.extend(vcpu);
    expected.extend(vcpu);
    let names = machine.names();
    let pages = names.len() - 5;
    assert_eq!(names[..expected.len()], expected);
    assert_eq!(
        names[pages + 1..],
        ["TDH.MR.FINALIZE", "Finalized", "TDH.MNG.RD", "TDH.VP.ENTER"]
    );

    // The pages, in the order that the image format defines.
    let image = GuestImage::parse(&image(2, GOAL)).unwrap();
    let steps: Vec<ImageStep> = image.runs().flat_map(|run| run.steps()).collect();
    let mut built = Vec::new();
    for event in &machine.events {
        match *event {
            Event::Mmu(ToMmu::Populate {
                gpa, source, pages, ..
            }) => built.extend((0..u64::from(pages)).map(|i| ImageStep::Add {
                gpa: Gpa::new(gpa + i * 4096),
                offset: source + i * 4096 - IMAGE,
            })),
            Event::Call(call) if call.rax as u16 == HostLeaf::MrExtend.number() => {
                assert_eq!(call.rdx, TDR);
                // An extension has no source: the page was added before.
                let Some(&ImageStep::Add { gpa, offset }) = built.iter().find(
                    |s| matches!(s, ImageStep::Add { gpa, .. } if gpa.get() == call.rcx & !0xfff),
                ) else {
                    panic!("extended before it was added");
                };
                built.push(ImageStep::Extend {
                    gpa: Gpa::new(call.rcx),
                    offset: offset + call.rcx - gpa.get(),
                });
            }
            _ => {}
        }
    }
    assert_eq!(built, steps);

    let mut params = [0; 1024];
    machine
        .world
        .memory()
        .read_bytes(Hpa::new(SHARED_POOL), &mut params);
    assert_eq!(params[..8], (1u64 << 28).to_le_bytes());
    assert_eq!(params[8], 3, "XFAM");
    assert_eq!(params[0x10], 2, "MAX_VCPUS");
    assert_eq!(params[0x18], 0x1e, "EPTP_CONTROLS");
    assert_eq!(params[0x20], 4, "CONFIG_FLAGS");
    assert_eq!(params[0x28], 100, "2.5 GHz");
    // Leaf 7 is entry 5 of the CPUID configuration at 0x100: ERMS; FSRM and SERIALIZE.
    let leaf_7 = 0x100 + 5 * 16;
    assert_eq!(params[leaf_7 + 4..leaf_7 + 8], 0x200u32.to_le_bytes());
    assert_eq!(params[leaf_7 + 12..leaf_7 + 16], 0x4010u32.to_le_bytes());
    params[leaf_7..leaf_7 + 16].fill(0);
    assert!(params[0x2a..].iter().all(|&b| b == 0));

    let create = machine.calls(HostLeaf::MngCreate)[0];
    assert_eq!((create.rcx, create.rdx), (TDR, HKID.into()));
    let writes: Vec<_> = machine
        .calls(HostLeaf::VpWr)
        .iter()
        .filter(|call| call.rcx == machine.tdvpr(1))
        .map(|call| (call.rdx, call.r8 & call.r9))
        .collect();
    let descriptor = SHARED_POOL + 0x800 + 64;
    assert_eq!(
        writes,
        [
            (id::VMCS_POSTED_INTERRUPT_NOTIFICATION_VECTOR.0, 0xf2),
            (id::VMCS_POSTED_INTERRUPT_DESCRIPTOR.0, descriptor),
            (id::VMCS_PIN_BASED_CONTROLS.0, 0x80),
            (id::VMCS_SHARED_EPTP.0, EPTP),
        ]
    );
    assert_eq!(machine.calls(HostLeaf::VpInit)[1].rdx, 0x1234);

    let has = |text: &str| machine.lines.iter().any(|line| line.contains(text));
    let mrtd: String = (0..6).map(|i| format!("0{i}").repeat(8)).collect();
    assert!(has(&format!("MRTD {mrtd}")), "{:?}", machine.lines);
    assert!(has("54 of 54 pages added (100 %)"));
    assert_eq!(machine.entered.len(), 2);
    assert!(machine.ends.is_empty());
}

const TEARDOWN: [&str; 6] = [
    "TDH.VP.FLUSH",
    "TDH.MNG.VPFLUSHDONE",
    "CacheWriteback",
    "TDH.MNG.KEY.FREEID",
    "Destroy",
    "End",
];

fn teardown(machine: &Machine) -> Vec<String> {
    let mut names = machine.names();
    let first = names.iter().position(|n| TEARDOWN.contains(&n.as_str()));
    let mut rest = names.split_off(first.unwrap_or(names.len()));
    rest.extend(machine.ends.iter().map(|_| "End".to_owned()));
    rest
}

#[test]
fn the_goal_ends_the_run() {
    let mut machine = Machine::running(2);
    for byte in "\nnow hello from the TD".bytes() {
        assert!(machine.ends.is_empty());
        machine.out(0x3f8, byte);
    }
    assert_eq!(machine.ends, [0]);
    assert_eq!(machine.output, b"\nnow hello from the TD");
    assert_eq!(teardown(&machine), TEARDOWN);
    let other = machine.tdvpr(1);
    assert!(
        machine.events.contains(&Event::Kick(other)),
        "it was in the TD"
    );
    assert_eq!(machine.calls(HostLeaf::VpFlush).len(), 2);
    machine.turn();
    assert_eq!(
        (machine.ends.len(), machine.vmm.ended()),
        (1, Some(0)),
        "once"
    );
}

#[test]
fn how_a_guest_may_end() {
    type Act = fn(&mut Machine);
    let cases: [(Act, u8, &str); 9] = [
        (|m| m.out(0x600, 0x34), 2, "powered off"),
        (|m| m.out(0x602, 1), 3, "reset itself"),
        (|m| m.out(0xcf9, 6), 3, "reset itself"),
        (
            |m| {
                m.exit(
                    m.tdvpr(0),
                    Registers {
                        rax: 0x4000_0001_0000_0002,
                        ..Registers::default()
                    },
                )
            },
            4,
            "triple fault on vCPU 0",
        ),
        (
            |m| {
                m.vmcall([0, 0x1_0003, 7, 0, u64::from_le_bytes(*b"no stack"), 0]);
            },
            5,
            "the guest says: no stack",
        ),
        (
            |m| {
                let mut registers = Registers {
                    rax: 48,
                    rcx: 2,
                    ..Registers::default()
                };
                registers.r8_r15[0] = 0xdead_0000;
                m.exit(m.tdvpr(0), registers);
            },
            6,
            "EPT violation at 0xdead0000",
        ),
        (
            |m| {
                m.exit(
                    m.tdvpr(0),
                    Registers {
                        rax: 0x6000_0002_0000_0000,
                        ..Registers::default()
                    },
                )
            },
            7,
            "TDX_NON_RECOVERABLE_TD",
        ),
        (
            |m| {
                let rax = Status::VCPU_ASSOCIATED.with(Operand::TDVPR).0;
                m.exit(
                    m.tdvpr(0),
                    Registers {
                        rax,
                        ..Registers::default()
                    },
                );
            },
            7,
            "TDH.VP.ENTER: TDX_VCPU_ASSOCIATED (TDVPR)",
        ),
        (
            |m| {
                m.exit(
                    m.tdvpr(0),
                    Registers {
                        rax: 28,
                        ..Registers::default()
                    },
                )
            },
            7,
            "VM exit 28",
        ),
    ];
    for (act, status, text) in cases {
        let mut machine = Machine::running(1);
        act(&mut machine);
        machine.turn();
        assert_eq!(machine.ends, [status], "{text}");
        assert!(
            machine.lines.iter().any(|l| l.contains(text)),
            "{:?}",
            machine.lines
        );
        assert_eq!(teardown(&machine), TEARDOWN, "{text}");
    }
}

#[test]
fn without_a_goal_power_off_is_good() {
    let mut machine = Machine::new(1, "");
    machine.start();
    machine.out(0x600, 0x34);
    assert_eq!(machine.ends, [0]);
}

#[test]
fn an_image_that_is_none() {
    let mut machine = Machine::with_image(&[0; 4096]);
    machine.start();
    assert_eq!(machine.ends, [1]);
    assert!(machine.events.is_empty());
    assert!(machine.lines[0].contains("not a guest image"));
}

/// Whichever request fails in whatever way: the run ends with an error, once; what was created
/// is taken down in order; the guest never runs.
#[test]
fn every_request_may_fail() {
    let count = {
        let mut machine = Machine::new(2, GOAL);
        machine.start();
        machine.requests()
    };
    assert!(count > 500, "{count}");
    let fatal = Status::OPERAND_INVALID.with(Operand::RCX).0;
    let failures = [Failure::Once(fatal), Failure::Refused, Failure::WrongAnswer];
    for k in 0..count {
        // The many extensions are all alike.
        if k > 80 && k < count - 12 && k % 17 != 0 {
            continue;
        }
        for failure in failures {
            let mut machine = Machine::new(2, GOAL);
            machine.fail_at = Some((k, failure));
            machine.start();
            let context = || format!("request {k} {failure:?}: {:?}", machine.lines);
            assert_eq!(machine.ends, [1], "{}", context());
            assert!(machine.entered.is_empty(), "{}", context());
            let names = machine.names();
            let has = |name: &str| names.iter().any(|n| n == name);
            let down: Vec<String> = teardown(&machine);
            let expected: Vec<&str> = TEARDOWN
                .into_iter()
                .filter(|&name| match name {
                    "TDH.VP.FLUSH" => !machine.vmm.vms[0].vcpus.is_empty(),
                    "Destroy" => k > 0,
                    "End" => true,
                    _ => has("TDH.MNG.CREATE"),
                })
                .collect();
            assert_eq!(down, expected, "{}", context());
            assert!(machine.lines.len() >= 3, "{}", context());
        }
    }
}

#[test]
fn what_is_busy_is_tried_again() {
    let busy = status(Status::OPERAND_BUSY);
    for k in 0..60 {
        let mut machine = Machine::new(1, GOAL);
        machine.start();
        let undisturbed = machine.events.clone();
        let mut machine = Machine::new(1, GOAL);
        machine.fail_at = Some((k, Failure::Once(busy)));
        machine.start();
        if machine.entered.is_empty() {
            let last = machine.lines.iter().any(|l| l.contains("NoMemory"));
            assert!(last, "only pd-mmu may say no: {:?}", machine.lines);
            continue;
        }
        assert_eq!(machine.events.len(), undisturbed.len(), "{k}");
        let calls = |events: &[Event]| {
            let calls = events.iter().filter(|e| matches!(e, Event::Call(_)));
            calls.cloned().collect::<Vec<_>>()
        };
        assert_eq!(calls(&machine.events), calls(&undisturbed), "{k}");
    }
    let mut machine = Machine::new(1, GOAL);
    machine.fail_at = Some((1, Failure::Forever(busy)));
    machine.mmu.send(&FromMmu::Ready).unwrap();
    machine.start();
    assert_eq!(machine.ends, [1], "but not forever");
    assert!(
        machine
            .lines
            .iter()
            .any(|l| l.contains("TDH.MNG.CREATE: TDX_OPERAND_BUSY"))
    );
}

#[test]
fn a_failed_teardown_is_told() {
    let mut machine = Machine::running(1);
    machine.fail_at = Some((machine.requests() + 1, Failure::Refused));
    "hello from the TD"
        .bytes()
        .for_each(|b| machine.out(0x3f8, b));
    assert_eq!(machine.ends, [8]);
    let text = "TDH.MNG.VPFLUSHDONE: refused by pd-tdx's firewall";
    assert!(
        machine.lines.iter().any(|l| l.contains(text)),
        "{:?}",
        machine.lines
    );
}

#[test]
fn a_full_console_loses_no_output_and_no_end() {
    let mut machine = Machine::running(1);
    let mut expected = Vec::new();
    // Nobody reads the console for a while.
    let tdvpr = machine.tdvpr(0);
    for i in 0..70_000u32 {
        let byte = b'a' + (i % 26) as u8;
        let mut registers = Registers {
            rax: 77,
            ..Registers::default()
        };
        // A driver that looks before it writes.
        registers.r8_r15[2..].copy_from_slice(&[0, 0x1e, 1, 0, 0x3fd, 0]);
        machine.exit(tdvpr, registers);
        machine.vmm.poll(&mut machine.world);
        let Some(Ok(ToTdx::Seamcall {
            id,
            registers: back,
        })) = machine.tdx.receive()
        else {
            panic!("not entered");
        };
        machine.entered.insert(tdvpr, id);
        if back.r8_r15[3] & 0x20 == 0 {
            break;
        }
        registers.r8_r15[2..].copy_from_slice(&[0, 0x1e, 1, 1, 0x3f8, byte.into()]);
        machine.exit(tdvpr, registers);
        machine.vmm.poll(&mut machine.world);
        let Some(Ok(ToTdx::Seamcall { id, .. })) = machine.tdx.receive() else {
            panic!("not entered");
        };
        machine.entered.insert(tdvpr, id);
        expected.push(byte);
    }
    assert!(expected.len() < 70_000, "the transmitter gets busy");
    machine.turn();
    machine.out(0x600, 0x34);
    assert_eq!(machine.output, expected);
    assert_eq!(machine.ends, [2]);
}
