//! The guest runs: what it asks for, and interrupts.

use super::*;
use crate::vcpu::Run;
use ipc_vmm_mmu::Error as MmuError;
use proptest::prelude::*;

const INVALID: u64 = 1 << 63;
const UNSUPPORTED: u64 = 1 << 63 | 3;

#[test]
fn instructions() {
    let mut m = Machine::running(1);
    let hypervisor = m.vmcall([0, 0xa, 0x4000_0000, 0, 0, 0]).unwrap();
    assert_eq!(hypervisor[0], 0);
    assert_eq!(
        hypervisor[2..],
        [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]
    );
    assert_eq!(m.vmcall([0, 0xa, 0xb, 0, 5, 6]).unwrap()[2..], [0; 4]);
    assert_eq!(
        m.vmcall([0, 0x1f, 0x1b, 0, 0, 0]).unwrap()[..2],
        [0, 0xfee0_0d00]
    );
    assert_eq!(m.vmcall([0, 0x1f, 0x12345, 0, 0, 0]).unwrap()[0], INVALID);
    assert_eq!(m.wrmsr(0x10, 0), INVALID);
    assert_eq!(m.vmcall([0, 0x1_0000, 0, 9, 9, 0]).unwrap()[..5], [0; 5]);
    assert_eq!(
        m.vmcall([0, 0x1_0002, 1 << 47, 0x2000, 0, 0]).unwrap()[0],
        UNSUPPORTED
    );
    assert_eq!(m.vmcall([0, 0x36, 0, 0, 0, 0]).unwrap()[0], UNSUPPORTED);
    // PCI configuration space, an unknown port, an unknown address: all ones.
    assert_eq!(m.vmcall([0, 0x1e, 4, 0, 0xcfc, 0]).unwrap()[1], 0xffff_ffff);
    assert_eq!(
        m.vmcall([0, 0x1e, 4, 0, 0xffff, 0]).unwrap()[1],
        0xffff_ffff
    );
    assert_eq!(
        m.vmcall([0, 0x30, 8, 0, 1 << 47 | 0xfed0_0000, 0]).unwrap()[1],
        u64::MAX
    );
    assert_eq!(
        m.vmcall([0, 0x30, 4, 0, 0xfed0_0000, 0]).unwrap()[0],
        INVALID
    );
    m.out(0x70, 0x8b);
    assert_eq!(m.input(0x71), 2, "24 hours, binary coded decimals");
    m.out(0x80, 1);
}

#[test]
fn registers_that_say_nothing_come_back_as_they_were() {
    let mut m = Machine::running(1);
    let tdvpr = m.tdvpr(0);
    let registers = Registers {
        rax: 77,
        rcx: 0xffff,
        rdx: 2,
        rbx: 3,
        rbp: 5,
        rsi: 6,
        rdi: 7,
        r8_r15: [8, 9, 0, 0x1e, 1, 1, 0x80, 15],
    };
    m.events.clear();
    m.exit(tdvpr, registers);
    m.turn();
    let Event::Enter(_, _, back) = &m.events[0] else {
        panic!("{:?}", m.events);
    };
    let expected = Registers {
        rax: 0,
        rcx: tdvpr,
        r8_r15: [8, 9, 0, 0x1e, 1, 1, 0x80, 15],
        ..registers
    };
    assert_eq!(**back, expected);
    // After an interrupt of the host there is nothing to say.
    m.events.clear();
    m.exit(
        tdvpr,
        Registers {
            rax: 1,
            rcx: 3,
            ..registers
        },
    );
    m.turn();
    let Event::Enter(_, _, back) = &m.events[0] else {
        panic!("{:?}", m.events);
    };
    assert_eq!(
        **back,
        Registers {
            rcx: tdvpr,
            ..Registers::default()
        }
    );
}

#[test]
fn an_entry_that_found_a_lock_held_is_made_again() {
    let mut m = Machine::running(1);
    let tdvpr = m.tdvpr(0);
    m.vmcall([0, 0x1f, 0x1b, 0, 0, 0]).unwrap();
    m.events.clear();
    let rax = status(Status::OPERAND_BUSY) | 0xa9;
    m.exit(
        tdvpr,
        Registers {
            rax,
            ..Registers::default()
        },
    );
    m.turn();
    let Event::Enter(_, _, back) = &m.events[0] else {
        panic!("{:?}", m.events);
    };
    assert_eq!(back.r8_r15[3], 0xfee0_0d00, "the answer isn't lost");
}

/// Sets the I/O APIC up as Linux does for the UART.
fn route_uart(m: &mut Machine, vector: u64) {
    let base = 1 << 47 | 0xfec0_0000;
    for (register, value) in [(0x19, 0), (0x18, vector)] {
        m.vmcall([0, 0x30, 4, 1, base, register]).unwrap();
        m.vmcall([0, 0x30, 4, 1, base + 0x10, value]).unwrap();
    }
    assert_eq!(
        m.vmcall([0, 0x30, 4, 0, base + 0x10, 0]).unwrap()[1],
        vector
    );
    m.out(0x3fc, 0x08);
}

#[test]
fn typed_bytes_interrupt_a_running_guest() {
    let mut m = Machine::running(1);
    route_uart(&mut m, 0x31);
    m.out(0x3f9, 1);
    m.events.clear();
    m.typed(b"hi");
    assert_eq!(m.events, [Event::Notify(m.tdvpr(0))]);
    assert_eq!(m.descriptor(0, 0), 1 << 0x31);
    assert_eq!(m.descriptor(0, 4), 0xf2_0001);
    assert_eq!(m.take_posted(0)[0], 1 << 0x31);
    assert_eq!((m.input(0x3f8), m.input(0x3f8)), (b'h', b'i'));
    assert_eq!(m.input(0x3fd) & 1, 0);
}

#[test]
fn a_halted_vcpu_wakes_for_an_interrupt_only() {
    let mut m = Machine::running(1);
    route_uart(&mut m, 0x31);
    m.out(0x3f9, 1);
    assert_eq!(m.vmcall([0, 0xc, 0, 0, 0, 0]), None);
    assert_eq!(m.names().last().unwrap(), "TDH.VP.RD");
    m.turn();
    assert!(m.entered.is_empty());
    m.events.clear();
    m.typed(b"x");
    assert_eq!(
        m.names(),
        ["TDH.VP.ENTER", "Notify"],
        "entered, then told to look"
    );
    // HLT with an interrupt posted and not taken: no sleep, and no question either.
    m.events.clear();
    assert!(m.vmcall([0, 0xc, 0, 0, 0, 0]).is_some());
    assert_eq!(m.names(), ["TDH.VP.ENTER", "Notify"]);
    // HLT with one taken into the APIC.
    m.take_posted(0);
    m.state_details = 1;
    assert!(m.vmcall([0, 0xc, 0, 0, 0, 0]).is_some());
    // With interrupts disabled that doesn't count.
    assert_eq!(m.vmcall([0, 0xc, 1, 0, 0, 0]), None);
    assert!(m.entered.is_empty());
}

#[test]
fn output_comes_in_lines_or_when_the_guest_waits() {
    let mut m = Machine::running(1);
    b"abc".iter().for_each(|&b| m.out(0x3f8, b));
    assert_eq!(m.output, b"");
    m.out(0x3f8, b'\n');
    assert_eq!(m.output, b"abc\n");
    b"login: ".iter().for_each(|&b| m.out(0x3f8, b));
    assert_eq!(m.output, b"abc\n");
    m.vmcall([0, 0xc, 0, 0, 0, 0]);
    assert_eq!(m.output, b"abc\nlogin: ");
}

const SVR: u64 = 0x80f;
const LVT_TIMER: u64 = 0x832;
const TSC_DEADLINE: u64 = 0x6e0;

#[test]
fn the_timer_sets_the_alarm_and_interrupts() {
    let mut m = Machine::running(1);
    assert_eq!(m.world.alarm, None);
    assert_eq!(m.wrmsr(SVR, 0x1ff), 0);
    assert_eq!(m.wrmsr(LVT_TIMER, 2 << 17 | 0xec), 0);
    // The guest's TSC was 0 when the host's was 1000000.
    assert_eq!(m.wrmsr(TSC_DEADLINE, 500_000), 0);
    assert_eq!(m.world.alarm, Some(1_500_000));
    assert_eq!(m.vmcall([0, 0xc, 0, 0, 0, 0]), None);
    m.world.now = 1_499_999;
    m.turn();
    assert!(m.entered.is_empty());
    assert_eq!(m.world.alarm, Some(1_500_000));
    m.world.now = 1_500_000;
    m.turn();
    assert_eq!(m.entered.len(), 1);
    assert_eq!(m.world.alarm, None);
    assert_eq!(m.take_posted(0)[3], 1 << (0xec - 0xc0));
    // 25 MHz: 1000 counts, divided by 1, are 100000 ticks of 2.5 GHz.
    assert_eq!(m.wrmsr(LVT_TIMER, 0xec), 0);
    assert_eq!(m.wrmsr(0x83e, 0xb), 0);
    assert_eq!(m.wrmsr(0x838, 1000), 0);
    assert_eq!(m.world.alarm, Some(1_600_000));
}

#[test]
fn the_alarm_stays_as_it_is_while_the_deadline_does() {
    let mut m = Machine::new(1, GOAL);
    // Guest and host ticks don't meet: computed at different times, the alarm would differ.
    m.tsc_multiplier = (1 << 48) / 3 * 4;
    m.start();
    m.wrmsr(SVR, 0x1ff);
    m.wrmsr(LVT_TIMER, 2 << 17 | 0xec);
    for deadline in [800_000, 900_000] {
        m.wrmsr(TSC_DEADLINE, deadline);
        let alarm = m.world.alarm;
        assert!(alarm.is_some());
        for _ in 0..10 {
            m.world.now += 1001;
            m.turn();
            assert_eq!(m.world.alarm, alarm);
        }
    }
    m.world.now = m.world.alarm.unwrap();
    m.turn();
    assert_eq!(m.world.alarm, None);
    assert_ne!(m.take_posted(0)[3], 0);
}

#[test]
fn interprocessor_interrupts() {
    let mut m = Machine::running(4);
    m.events.clear();
    assert_eq!(m.wrmsr(0x830, 2 << 32 | 0xfd), 0);
    assert!(m.events.contains(&Event::Notify(m.tdvpr(2))));
    assert_eq!(m.take_posted(2)[3], 1 << (0xfd - 0xc0));
    // vCPU 3 sleeps; all but self.
    assert_eq!(m.vmcall_of(3, [0, 0xc, 0, 0, 0, 0]), None);
    assert_eq!(m.wrmsr(0x830, 3 << 18 | 0xfb), 0);
    let posted: [bool; 4] = std::array::from_fn(|v| m.take_posted(v as u64)[3] != 0);
    assert_eq!(posted, [false, true, true, true]);
    assert!(m.entered.contains_key(&m.tdvpr(3)), "woken");
}

#[test]
fn map_gpa() {
    let mut m = Machine::running(2);
    let shared = 1 << 47 | 0x1f_f000;
    m.events.clear();
    assert_eq!(
        m.vmcall([0, 0x1_0001, shared, 0x20_2000, 0, 0]).unwrap()[..2],
        [0, 0]
    );
    let steps: Vec<_> = m
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Mmu(ToMmu::MapGpa { gpa, len, .. }) => Some((gpa & !(1 << 47), *len)),
            _ => None,
        })
        .collect();
    assert_eq!(
        steps,
        [
            (0x1f_f000, 0x1000),
            (0x20_0000, 0x20_0000),
            (0x40_0000, 0x1000)
        ]
    );

    // One at a time, and between two steps interrupts get their turn.
    m.hold_map = true;
    m.events.clear();
    assert_eq!(m.vmcall([0, 0x1_0001, shared, 0x20_2000, 0, 0]), None);
    assert_eq!(m.vmcall_of(1, [0, 0x1_0001, 0x5000, 0x1000, 0, 0]), None);
    let maps = |m: &Machine| {
        m.events
            .iter()
            .filter(|e| matches!(e, Event::Mmu(_)))
            .count()
    };
    assert_eq!(maps(&m), 1);
    m.vmm.vms[0].vcpus[0]
        .posted
        .post(m.world.memory.window(), 0x55);
    m.send_mmu(&FromMmu::Done { vm: 0 });
    m.turn();
    let Event::Enter(_, _, back) = m
        .events
        .iter()
        .find(|e| matches!(e, Event::Enter(..)))
        .unwrap()
    else {
        unreachable!();
    };
    assert_eq!(
        back.r8_r15[2..4],
        [1, 1 << 47 | 0x20_0000],
        "retry from there"
    );
    assert_eq!(maps(&m), 2, "the other's turn");
    m.events.clear();
    m.send_mmu(&FromMmu::Failed {
        vm: 0,
        error: MmuError::NoSlot,
    });
    m.turn();
    let Event::Enter(to, _, back) = &m.events[0] else {
        panic!("{:?}", m.events);
    };
    assert_eq!(
        (*to, &back.r8_r15[2..4]),
        (m.tdvpr(1), &[INVALID, 0x5000][..])
    );
    // What pd-mmu can't do now is tried again by the guest.
    assert_eq!(m.vmcall([0, 0x1_0001, 0x7000, 0x1000, 0, 0]), None);
    m.events.clear();
    m.send_mmu(&FromMmu::Failed {
        vm: 0,
        error: MmuError::Busy,
    });
    m.turn();
    let Event::Enter(_, _, back) = &m.events[0] else {
        panic!("{:?}", m.events);
    };
    assert_eq!(back.r8_r15[2..4], [1, 0x7000]);
    // An answer to no question changes nothing.
    m.events.clear();
    m.send_mmu(&FromMmu::Done { vm: 0 });
    m.send_mmu(&FromMmu::Done { vm: 9 });
    m.turn();
    assert!(m.events.is_empty() && m.ends.is_empty());
}

#[test]
fn the_end_waits_for_who_is_under_way() {
    let mut m = Machine::running(2);
    m.hold_map = true;
    m.vmcall_of(1, [0, 0x1_0001, 0x5000, 0x1000, 0, 0]);
    m.out(0x600, 0x34);
    let flushed = m.names().iter().any(|name| name == "TDH.VP.FLUSH");
    assert!(!flushed && m.ends.is_empty(), "pd-mmu is still at work");
    m.send_mmu(&FromMmu::Done { vm: 0 });
    m.turn();
    assert_eq!(m.ends, [2]);
}

#[test]
fn the_operator_gets_a_report() {
    let mut m = Machine::running(1);
    m.out(0x80, 0);
    m.send_console(&FromConsole::Report);
    m.send_console(&FromConsole::Input {
        vm: 7,
        bytes: Default::default(),
    });
    m.turn();
    let has = |text: &str| m.lines.iter().any(|line| line.contains(text));
    assert!(has("TD 0: 1 exits: 1 I/O"), "{:?}", m.lines);
    assert!(has("no TD 7"));
}

fn registers() -> impl Strategy<Value = Registers> {
    let number = prop_oneof![
        Just(0x1eu64),
        Just(0x20),
        Just(0x30),
        Just(0x1_0001),
        Just(0xc),
        Just(0x1f),
        0u64..0x42,
        0x1_0000u64..0x1_0007,
        any::<u64>()
    ];
    let word = || {
        prop_oneof![
            0u64..9,
            Just(0x3f8),
            0x3f8u64..0x400,
            0x800u64..0x840,
            Just(0x6e0),
            (0u64..1 << 36).prop_map(|page| page << 12),
            (0u64..1 << 20).prop_map(|offset| 1 << 47 | 0xfec0_0000 | offset & 0x50),
            any::<u64>()
        ]
    };
    let rax = prop_oneof![
        40 => Just(77u64),
        4 => Just(1u64),
        1 => 0u64..80,
        1 => Just(0x8000_0200_0000_00a9),
        1 => any::<u64>(),
    ];
    (
        rax,
        number,
        prop_oneof![30 => Just(0u64), 1 => any::<u64>()],
        prop::array::uniform4(word()),
    )
        .prop_map(|(rax, r11, r10, [r12, r13, r14, r15])| Registers {
            rax,
            rcx: 0xfc00,
            rdx: r14,
            rbx: r15,
            rbp: 1,
            rsi: r12,
            rdi: r13,
            r8_r15: [r13, r14, r10, r11, r12, r13, r14, r15],
        })
}

fn garbage() -> impl Strategy<Value = FromTdx> {
    let result = (any::<u16>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
        |(succeeded, rax, r8, refused)| BatchResult {
            succeeded,
            last: Call {
                rax,
                r8,
                ..Call::default()
            },
            refused,
        },
    );
    let id = prop_oneof![0u32..2000, any::<u32>()];
    prop_oneof![
        (id.clone(), registers()).prop_map(|(id, registers)| FromTdx::Returned { id, registers }),
        (id.clone(), any::<u16>()).prop_map(|(id, leaf)| FromTdx::Refused { id, leaf }),
        (id, result).prop_map(|(id, result)| FromTdx::BatchDone { id, result }),
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| FromTdx::Ready {
            first_hkid: u16::from(a) << 8,
            hkids: b.into(),
            tdcs_pages: c,
            tdvps_pages: d,
        }),
    ]
}

fn answers() -> impl Strategy<Value = FromMmu> {
    let vm = prop_oneof![5 => Just(0u16), 1 => any::<u16>()];
    (vm, 0..6, any::<u64>(), 0usize..17).prop_map(|(vm, kind, value, count)| match kind {
        0 => FromMmu::Ready,
        1 => FromMmu::Created {
            vm,
            tdr: value,
            shared_eptp: value,
        },
        2 => FromMmu::Pages {
            vm,
            pages: (0..count.min(16))
                .map(|i| value.wrapping_add(i as u64))
                .collect(),
        },
        3 => FromMmu::Done { vm },
        4 => FromMmu::Stats {
            vm,
            stats: Default::default(),
        },
        _ => FromMmu::Failed {
            vm,
            error: MmuError::Module(value),
        },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a guest does, on whichever vCPU: after each exit the vCPU is in the TD again,
    /// sleeps in HLT, or the run is over, and then the TD is torn down.
    #[test]
    fn any_exit_is_answered(exits in prop::collection::vec((0u64..3, registers(), any::<u16>()), 1..150)) {
        let mut m = Machine::running(3);
        for (vcpu, registers, later) in exits {
            let tdvpr = m.tdvpr(vcpu);
            m.world.now += u64::from(later) * 1000;
            if m.entered.contains_key(&tdvpr) {
                m.exit(tdvpr, registers);
            }
            m.turn();
            if !m.ends.is_empty() {
                break;
            }
            for vcpu in 0..3u64 {
                let run = m.vmm.vms[0].vcpus[vcpu as usize].run;
                let entered = m.entered.contains_key(&m.tdvpr(vcpu));
                prop_assert_eq!(run == Run::Entered, entered);
                prop_assert!(entered || run == Run::Halted, "vCPU {} is {:?}", vcpu, run);
            }
        }
        if let Some(&status) = m.ends.first() {
            prop_assert_eq!(m.ends.len(), 1);
            prop_assert!(status != 0);
            prop_assert!(m.entered.is_empty());
            prop_assert!(m.names().last().is_some_and(|name| name == "Destroy"));
        }
    }

    /// Whatever the peers send, and when: no panic, no vCPU entered twice, and at most one end.
    #[test]
    fn any_message_is_survived(
        started in any::<bool>(),
        messages in prop::collection::vec((any::<bool>(), garbage(), answers()), 1..60),
    ) {
        let mut m = Machine::new(2, GOAL);
        if started {
            m.start();
        }
        for (tdx, garbage, answer) in messages {
            match tdx {
                true => m.send_tdx(&garbage),
                false => m.send_mmu(&answer),
            }
            m.vmm.poll(&mut m.world);
            while let Some(message) = m.tdx.receive() {
                prop_assert!(message.is_ok());
            }
            while let Some(message) = m.mmu.receive() {
                prop_assert!(message.is_ok());
            }
            while let Some(message) = m.console.receive() {
                if let ToConsole::End { status } = message.unwrap() {
                    m.ends.push(status);
                }
            }
        }
        prop_assert!(m.ends.len() <= 1);
    }
}
