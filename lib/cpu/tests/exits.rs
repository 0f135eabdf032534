//! VM exits: which, with what, and what doesn't exit.

mod common;

use common::*;
use cpu::gpr::*;
use cpu::{Controls, Cpu, Exit, cr0, cr4, efer, ept_violation, reason, seg};
use gpa::Hpa;
use iced_x86::code_asm::*;
use memory::PhysMemory;

fn exit_of(
    code: impl FnOnce(&mut CodeAssembler),
    prepare: impl FnOnce(&mut Test),
) -> (cpu::VmExit, Test) {
    let mut test = Test::new();
    test.assemble(CODE, code);
    prepare(&mut test);
    let exit = test.exit();
    assert_eq!(test.cpu.rip(), CODE, "RIP stays at the instruction");
    (exit, test)
}

#[test]
fn instructions_that_exit() {
    let table: [(&[u8], u16); 12] = [
        (&[0x0f, 0xa2], reason::CPUID),
        (&[0xf4], reason::HLT),
        (&[0x0f, 0x08], reason::INVD),
        (&[0x0f, 0x09], reason::WBINVD),
        (&[0xf3, 0x0f, 0x09], reason::WBINVD),
        (&[0x0f, 0x33], reason::RDPMC),
        (&[0x0f, 0x01, 0xc8], reason::MONITOR),
        (&[0x0f, 0x01, 0xc9], reason::MWAIT),
        (&[0x0f, 0x01, 0xc1], reason::VMCALL),
        (&[0x0f, 0x01, 0xd1], reason::XSETBV),
        (&[0x66, 0x0f, 0x01, 0xcc], reason::TDCALL),
        (&[0x66, 0x0f, 0x01, 0xcf], reason::SEAMCALL),
    ];
    for (bytes, reason) in table {
        let mut test = Test::new();
        test.load(CODE, bytes);
        let exit = test.exit();
        assert_eq!(
            (exit.reason, exit.instruction_length as usize),
            (reason, bytes.len()),
            "{bytes:x?}"
        );
        assert_eq!(test.cpu.rip(), CODE);
    }
}

#[test]
fn user_code_exits_only_where_it_may() {
    // (bytes, exit or #GP or #UD)
    for (bytes, vector) in [
        (&[0xf4u8][..], 13),
        (&[0x66, 0x0f, 0x01, 0xcc], 13),
        (&[0x0f, 0x30], 13),
        (&[0xe6, 0x80], 13),
    ] {
        let mut test = Test::new();
        test.gate(vector, CODE, 0, 0);
        test.assemble(CODE, |a| a.hlt().unwrap());
        test.load(0x60_0000, bytes);
        test.user();
        test.cpu.set_rip(0x60_0000);
        test.halt();
        assert_eq!(test.cpu.cpl(), 0, "{bytes:x?}");
    }
    let mut test = Test::new();
    test.load(0x60_0000, &[0x0f, 0xa2]);
    test.user();
    test.cpu.set_rip(0x60_0000);
    assert_eq!(test.exit().reason, reason::CPUID);
}

#[test]
fn port_io_qualifications() {
    let q = |code: fn(&mut CodeAssembler)| {
        let (exit, _) = exit_of(code, |test| test.cpu.set_gpr(RDX, 0x3f8));
        assert_eq!(exit.reason, reason::IO);
        exit.qualification
    };
    assert_eq!(q(|a| a.out(dx, al).unwrap()), 0x3f8 << 16);
    assert_eq!(
        q(|a| a.in_(eax, 0x71).unwrap()),
        0x71 << 16 | 1 << 6 | 1 << 3 | 3
    );
    assert_eq!(q(|a| a.in_(ax, dx).unwrap()), 0x3f8 << 16 | 1 << 3 | 1);
    assert_eq!(
        q(|a| a.rep().outsb().unwrap()),
        0x3f8 << 16 | 1 << 5 | 1 << 4
    );
    assert_eq!(q(|a| a.insd().unwrap()), 0x3f8 << 16 | 1 << 4 | 1 << 3 | 3);
}

#[test]
fn msrs() {
    for (number, native) in [
        (0x10u32, true),
        (0xc000_0101, true),
        (0x277, true),
        (0xc000_0080, true),
        (0x80a, true),
        (0x1b, false),
        (0x6e0, false),
        (0x830, false),
        (0x3a, false),
    ] {
        let mut test = Test::new();
        test.assemble(CODE, |a| {
            a.rdmsr().unwrap();
            a.hlt().unwrap();
        });
        test.cpu.set_gpr(RCX, number as u64);
        let exit = test.exit();
        let want = if native { reason::HLT } else { reason::RDMSR };
        assert_eq!(exit.reason, want, "{number:#x}");
    }
    let (exit, _) = exit_of(
        |a| a.wrmsr().unwrap(),
        |test| test.cpu.set_gpr(RCX, 0xc000_0080),
    );
    assert_eq!(
        (exit.reason, exit.instruction_length),
        (reason::WRMSR, 2),
        "EFER is the module's"
    );
    let mut test = Test::new();
    test.assemble(CODE, |a| {
        a.wrmsr().unwrap();
        a.mov(rbx, qword_ptr(0x10).gs()).unwrap();
        a.hlt().unwrap();
    });
    test.cpu.set_gpr(RCX, 0xc000_0101);
    test.cpu.set_gpr(RAX, DATA);
    test.poke(DATA + 0x10, 99);
    test.halt();
    assert_eq!(test.gpr(RBX), 99);
}

#[test]
fn control_registers_with_masks() {
    let masks = |test: &mut Test| {
        test.cpu.controls.cr4_mask = cr4::VMXE | cr4::MCE;
        test.cpu.controls.cr4_shadow = cr4::MCE;
        test.cpu.controls.cr0_mask = cr0::NE | cr0::CD;
        test.cpu.controls.cr0_shadow = cr0::NE;
    };
    // Clearing MCE.
    let (exit, _) = exit_of(
        |a| a.mov(cr4, rbx).unwrap(),
        |test| {
            masks(test);
            test.cpu.set_gpr(RBX, cr4::PAE);
        },
    );
    assert_eq!(
        (exit.reason, exit.qualification),
        (reason::CR_ACCESS, 3 << 8 | 4)
    );
    // Setting CD, from R12.
    let (exit, _) = exit_of(
        |a| a.mov(cr0, r12).unwrap(),
        |test| {
            masks(test);
            let value = test.cpu.cr0() | cr0::CD;
            test.cpu.set_gpr(R12, value);
        },
    );
    assert_eq!(
        (exit.reason, exit.qualification),
        (reason::CR_ACCESS, 12 << 8)
    );
    // What the guest owns it may change, and it doesn't see VMXE.
    let mut test = Test::new();
    masks(&mut test);
    let (zero, three, efer) = (test.cpu.cr0(), test.cpu.cr3(), test.cpu.efer());
    let real = test.cpu.cr4() | cr4::VMXE;
    test.cpu.set_control_registers(zero, three, real, efer);
    test.assemble(CODE, |a| {
        a.mov(rax, cr4).unwrap();
        a.mov(rbx, rax).unwrap();
        a.or(rbx, (cr4::SMAP | cr4::SMEP) as i32).unwrap();
        a.mov(cr4, rbx).unwrap();
        a.hlt().unwrap();
    });
    test.halt();
    assert_eq!(test.gpr(RAX), real & !cr4::VMXE);
    assert_eq!(test.cpu.cr4(), real | cr4::SMAP | cr4::SMEP);
}

#[test]
fn ept_violations() {
    use ept_violation::*;
    let base = 40 << 20;
    let entry = EPT + 0x2000 + 8 * 20;
    let data = LINEAR_VALID | TRANSLATION;
    let load = |a: &mut CodeAssembler| a.mov(eax, dword_ptr(rbx + 5)).unwrap();
    let store = |a: &mut CodeAssembler| a.mov(dword_ptr(rbx + 5), eax).unwrap();
    let jump = |a: &mut CodeAssembler| a.jmp(rbx).unwrap();
    let check = |code: &dyn Fn(&mut CodeAssembler), value: u64, want: u64, ve: bool| {
        let mut test = Test::new();
        test.poke(entry, value);
        test.cpu.set_gpr(RBX, base);
        test.assemble(CODE, code);
        let exit = test.exit();
        assert_eq!(exit.reason, reason::EPT_VIOLATION);
        assert_eq!(exit.qualification, want, "{value:#x}");
        assert_eq!(exit.ve_convertible, ve);
        let offset = if want & FETCH != 0 { 0 } else { 5 };
        assert_eq!((exit.gpa.get(), exit.gla), (base + offset, base + offset));
        assert_eq!(test.cpu.rip(), if want & FETCH != 0 { base } else { CODE });
    };
    check(&load, 0, READ | data, true);
    check(&load, 1 << 63, READ | data, false);
    check(&store, 1 << 63, WRITE | data, false);
    check(&store, base | 0xb1, WRITE | READABLE | data, true);
    check(&jump, base | 0xb3, FETCH | READABLE | WRITABLE | data, true);
    check(&load, base | 0xb4, READ | EXECUTABLE | data, true);
}

#[test]
fn a_violation_in_the_walk_says_so() {
    use ept_violation::*;
    // The page table of 4 MiB on is where there is no frame.
    let mut test = Test::new();
    test.poke(TABLES + 0x2000 + 8 * 2, 40 << 20 | 7);
    test.poke(EPT + 0x2000 + 8 * 20, 1 << 63);
    test.assemble(CODE, |a| a.mov(eax, dword_ptr(0x40_3004)).unwrap());
    let exit = test.exit();
    assert_eq!(exit.reason, reason::EPT_VIOLATION);
    assert_eq!(exit.qualification, READ | LINEAR_VALID);
    assert_eq!((exit.gpa.get(), exit.gla), ((40 << 20) + 3 * 8, 0x40_3004));
}

#[test]
fn ept_misconfigurations_and_the_shared_pool() {
    // Write without read; a reserved memory type; a shared leaf outside of the pool.
    for value in [40 << 20 | 0xb2, 40 << 20 | 0x97] {
        let mut test = Test::new();
        test.poke(EPT + 0x2000 + 8 * 20, value);
        test.assemble(CODE, |a| a.mov(eax, dword_ptr(40 << 20)).unwrap());
        let exit = test.exit();
        assert_eq!(
            (exit.reason, exit.gpa.get()),
            (reason::EPT_MISCONFIGURATION, 40 << 20)
        );
    }
    let shared = |hpa: u64| {
        let mut test = Test::new();
        let at = test.pte(PAGE);
        test.poke(at, 33 << 20 | SHARED | 3);
        test.poke(SHARED_EPT + 0x2000 + 8 * 16, hpa | 0xb3);
        test.poke((33 << 20) | 8, 0x5555);
        test.poke(PAGE | 8, 0x6666);
        test.cpu.set_gpr(RBX, PAGE + 8);
        test.assemble(CODE, |a| {
            a.mov(rax, qword_ptr(rbx)).unwrap();
            a.hlt().unwrap();
        });
        let exit = test.exit();
        (exit.reason, test.gpr(RAX), exit.gpa.get())
    };
    assert_eq!(shared(32 << 20), (reason::HLT, 0x5555, 0));
    assert_eq!(
        shared(0),
        (reason::EPT_MISCONFIGURATION, 0, 33 << 20 | SHARED | 8)
    );
}

const PAGE: u64 = DATA + 0x1000;

#[test]
fn stale_translations_stay_until_flushed() {
    let mut test = Test::new();
    test.poke(40 << 20, 1);
    test.poke(42 << 20, 2);
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.mov(eax, dword_ptr(40 << 20)).unwrap();
        a.hlt().unwrap();
        a.jmp(top).unwrap();
    });
    let step = |test: &mut Test| {
        test.halt();
        test.cpu.advance(1);
        test.gpr(RAX)
    };
    assert_eq!(step(&mut test), 1);
    test.poke(EPT + 0x2000 + 8 * 20, 42 << 20 | 0xb7);
    assert_eq!(step(&mut test), 1, "the EPT changed, nobody flushed");
    test.cpu.flush_ept();
    assert_eq!(step(&mut test), 2);
}

#[test]
fn guest_flushes() {
    // INVLPG sees a changed entry; global pages survive CR3, not INVLPG.
    for (global, code, want) in [
        (0u64, 0, 0x2222u64),
        (0x100, 0, 0x1111),
        (0x100, 1, 0x2222),
        (0, 2, 0x1111),
    ] {
        let mut test = Test::new();
        let at = test.pte(PAGE);
        test.poke(at, PAGE | 3 | global);
        test.poke(PAGE, 0x1111);
        test.poke(PAGE + 0x1000, 0x2222);
        test.cpu.set_gpr(RBX, PAGE);
        test.assemble(CODE, |a| {
            a.mov(rax, qword_ptr(rbx)).unwrap();
            a.mov(rcx, qword_ptr(at)).unwrap();
            a.add(rcx, 0x1000).unwrap();
            a.mov(qword_ptr(at), rcx).unwrap();
            match code {
                0 => {
                    a.mov(rdx, cr3).unwrap();
                    a.mov(cr3, rdx).unwrap();
                }
                1 => a.invlpg(byte_ptr(rbx)).unwrap(),
                _ => {}
            }
            a.mov(rax, qword_ptr(rbx)).unwrap();
            a.hlt().unwrap();
        });
        test.halt();
        assert_eq!(test.gpr(RAX), want, "{global:#x} {code}");
    }
}

#[test]
fn directories_stay_until_told() {
    // Another table for the second 2 MiB, seen by what isn't in the TLB: after a write of CR3,
    // or INVLPG of any address. A directory that now allows more is no reason for a fault.
    const OTHER: u64 = 0x7_0000;
    const DIRECTORY: u64 = TABLES + 0x2000 + 8;
    for (code, want) in [(0, 0x2222u64), (1, 0x2222), (2, 0x1111), (3, 0x3333)] {
        let mut test = Test::new();
        for i in 0..512 {
            let entry = test.peek(test.pte(DATA) + 8 * i);
            test.poke(OTHER + 8 * i, entry);
        }
        let (near, next) = (DATA + 0x8000, DATA + 0x9000);
        test.poke(OTHER + 8 * 9, (DATA + 0xa000) | 3);
        test.poke(next, 0x1111);
        test.poke(DATA + 0xa000, 0x2222);
        let before = test.peek(DIRECTORY);
        let after = if code == 3 {
            test.poke(DIRECTORY, before & !2);
            before
        } else {
            OTHER | before & 0xfff
        };
        test.assemble(CODE, |a| {
            a.mov(rbx, near).unwrap();
            a.mov(rsi, next).unwrap();
            a.mov(rax, qword_ptr(rbx)).unwrap();
            a.mov(rcx, after).unwrap();
            a.mov(qword_ptr(DIRECTORY), rcx).unwrap();
            match code {
                0 => {
                    a.mov(rdx, cr3).unwrap();
                    a.mov(cr3, rdx).unwrap();
                }
                1 => a.invlpg(byte_ptr(CODE)).unwrap(),
                3 => a.mov(dword_ptr(rsi), 0x3333).unwrap(),
                _ => {}
            }
            a.mov(rax, qword_ptr(rsi)).unwrap();
            a.hlt().unwrap();
        });
        test.halt();
        assert_eq!(test.gpr(RAX), want, "{code}");
    }
}

#[test]
fn kicks_and_budgets() {
    let mut test = Test::new();
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.inc(rax).unwrap();
        a.jmp(top).unwrap();
    });
    assert_eq!(test.run(1000), Exit::Budget);
    assert!((500..520).contains(&test.gpr(RAX)), "{}", test.gpr(RAX));
    test.machine.kick = true;
    let exit = test.run(1000).vm().unwrap();
    assert_eq!(exit.reason, reason::EXTERNAL_INTERRUPT);
    // A long REP is left and resumed.
    let mut test = Test::new();
    test.assemble(CODE, |a| {
        a.mov(ecx, 0x20_0000).unwrap();
        a.mov(edi, 0x80_0000).unwrap();
        a.mov(al, 0x5a).unwrap();
        a.rep().stosb().unwrap();
        a.hlt().unwrap();
    });
    assert_eq!(test.run(5), Exit::Budget);
    assert!(test.gpr(RCX) > 0x10_0000 && test.gpr(RCX) < 0x20_0000);
    test.halt();
    assert_eq!(test.gpr(RCX), 0);
    assert_eq!(test.peek(0x9f_fff8), 0x5a5a_5a5a_5a5a_5a5a);
    assert_eq!(test.peek(0xa0_0000), 0);
}

#[test]
fn posted_interrupts_arrive() {
    let mut test = Test::new();
    let descriptor = 0x4_0000;
    test.cpu.controls.posted_interrupts = Some(Hpa::new(descriptor));
    test.gate(0x51, CODE + 0x100, 0, 0);
    test.assemble(CODE, |a| {
        a.sti().unwrap();
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.pause().unwrap();
        a.jmp(top).unwrap();
    });
    test.assemble(CODE + 0x100, |a| a.hlt().unwrap());
    assert_eq!(test.run(100), Exit::Budget);
    test.poke(descriptor + 8, 1 << (0x51 - 64));
    test.poke(descriptor + 32, 1);
    assert!(!test.cpu.can_take_event());
    test.cpu.sync_posted(&test.machine);
    assert!(test.cpu.can_take_event());
    test.halt();
    assert_eq!(test.cpu.rip(), CODE + 0x100);
    assert_eq!(
        test.machine
            .memory
            .window()
            .read_u64(Hpa::new(descriptor + 32)),
        0
    );
}

#[test]
fn unknown_instructions_are_reported() {
    let mut test = Test::new();
    test.gate(6, CODE + 0x100, 0, 0);
    test.assemble(CODE + 0x100, |a| a.hlt().unwrap());
    // VADDPS: no AVX here.
    test.load(CODE, &[0xc5, 0xf4, 0x58, 0xc2]);
    test.halt();
    assert_eq!(test.machine.unknown, [(CODE, iced_x86::Mnemonic::Vaddps)]);
    // UD2 is meant to be undefined.
    test.load(CODE, &[0x0f, 0x0b]);
    test.cpu.set_rip(CODE);
    test.halt();
    assert_eq!(test.machine.unknown.len(), 1);
}

/// From the state after TDH.VP.INIT through 32-bit protected mode into long mode.
#[test]
fn from_reset_to_long_mode() {
    let mut test = Test::new();
    let controls = test.cpu.controls;
    *test.cpu = Cpu::new();
    test.cpu.controls = Controls {
        cr4_mask: cr4::VMXE | cr4::MCE,
        cr4_shadow: cr4::MCE,
        cr0_mask: cr0::NE,
        cr0_shadow: cr0::NE,
        ..controls
    };
    assert_eq!(test.cpu.rip(), 0xffff_fff0);
    assert_eq!(test.cpu.cr4(), 0x2040);
    assert_eq!(test.cpu.efer(), 0x901);
    assert_eq!(test.cpu.rflags(), 2);
    test.cpu.set_rip(CODE);
    let mut a = CodeAssembler::new(32).unwrap();
    a.mov(esp, STACK as u32).unwrap();
    a.push(0x1234).unwrap();
    a.pop(ebx).unwrap();
    a.lgdt(fword_ptr(DATA as u32)).unwrap();
    a.mov(eax, cr4).unwrap();
    a.or(eax, cr4::PAE as u32).unwrap();
    a.mov(cr4, eax).unwrap();
    a.mov(eax, TABLES as u32).unwrap();
    a.mov(cr3, eax).unwrap();
    a.mov(eax, cr0).unwrap();
    a.or(eax, 0x8000_0000u32).unwrap();
    a.mov(cr0, eax).unwrap();
    let mut bytes = a.assemble(CODE).unwrap();
    // JMP FAR 8:CODE + 0x100
    bytes.push(0xea);
    bytes.extend(((CODE + 0x100) as u32).to_le_bytes());
    bytes.extend(CODE64.to_le_bytes());
    test.load(CODE, &bytes);
    test.assemble(CODE + 0x100, |a| {
        a.mov(eax, DATA64 as u32).unwrap();
        a.mov(ds, eax).unwrap();
        a.mov(ss, eax).unwrap();
        a.mov(r8, 0x1122_3344_5566_7788u64).unwrap();
        a.push(r8).unwrap();
        a.hlt().unwrap();
    });
    test.poke(DATA, 0x3f | GDT << 16);
    test.halt();
    assert_eq!(test.gpr(RBX), 0x1234);
    assert_eq!(test.peek(STACK - 8), 0x1122_3344_5566_7788);
    assert!(test.cpu.is_64_bit());
    assert_eq!(test.cpu.efer(), 0x901 | efer::LMA);
    assert_eq!(test.cpu.segment(seg::SS).selector, DATA64);
}
