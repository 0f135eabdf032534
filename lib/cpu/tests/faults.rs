//! Exceptions: what raises them, with which error code, and how they are delivered.

mod common;

use common::*;
use cpu::gpr::*;
use cpu::{Event, EventKind, cr0, cr4, ept_violation, reason, rflags, seg};
use iced_x86::code_asm::*;

const HANDLER: u64 = CODE + 0x8000;

/// A test whose handler of `vector` halts.
fn catching(vector: u8) -> Test {
    let mut test = Test::new();
    test.gate(vector, HANDLER, 0, 3);
    test.assemble(HANDLER, |a| a.hlt().unwrap());
    test
}

/// Runs to the handler; the frame it was given: error code, RIP, CS, RFLAGS, RSP, SS.
fn frame(test: &mut Test) -> [u64; 6] {
    test.halt();
    assert_eq!(test.cpu.rip(), HANDLER, "another HLT");
    let stack = test.gpr(RSP);
    core::array::from_fn(|i| test.peek(stack + 8 * i as u64))
}

/// Runs `code` with page `DATA - 0x1000`'s table entry set to `pte`; CR2 and the error code of
/// its page fault.
fn page_fault(
    pte: u64,
    prepare: impl FnOnce(&mut Test),
    code: impl FnOnce(&mut CodeAssembler),
) -> (u64, u64) {
    let page = DATA + 0x1000;
    let mut test = catching(14);
    let at = test.pte(page);
    test.poke(at, pte);
    test.assemble(CODE, code);
    prepare(&mut test);
    test.cpu.set_gpr(RBX, page + 8);
    let [error, rip, ..] = frame(&mut test);
    assert_eq!(rip, CODE, "the fault's RIP is the instruction");
    (test.cpu.cr2() - page, error)
}

const PAGE: u64 = DATA + 0x1000;

#[test]
fn page_fault_codes() {
    let read = |a: &mut CodeAssembler| a.mov(rax, qword_ptr(rbx)).unwrap();
    let write = |a: &mut CodeAssembler| a.add(qword_ptr(rbx), 1).unwrap();
    let jump = |a: &mut CodeAssembler| a.jmp(rbx).unwrap();
    let none = |_: &mut Test| {};
    assert_eq!(page_fault(0, none, read), (8, 0));
    assert_eq!(page_fault(0, none, write), (8, 2));
    assert_eq!(page_fault(PAGE | 1, none, write), (8, 3));
    assert_eq!(
        page_fault(PAGE | 1 | 1 << 51, none, read),
        (8, 9),
        "beyond the GPA width"
    );
    let smap = |test: &mut Test| set_cr4(test, cr4::SMAP);
    assert_eq!(page_fault(PAGE | 7, smap, read), (8, 1));
    assert_eq!(page_fault(PAGE | 7, smap, write), (8, 3));
    // A fetch faults at its target.
    for (pte, prepare, want) in [
        (PAGE | 3 | 1 << 63, 0, 0x11),
        (PAGE | 7, cr4::SMEP, 0x11),
        (0, 0, 0x10),
        (PAGE | 3 | SHARED, 0, 0x19),
    ] {
        let mut test = catching(14);
        let at = test.pte(PAGE);
        test.poke(at, pte);
        set_cr4(&mut test, prepare);
        test.assemble(CODE, jump);
        test.cpu.set_gpr(RBX, PAGE + 8);
        let [error, rip, ..] = frame(&mut test);
        assert_eq!(
            (error, rip, test.cpu.cr2()),
            (want, PAGE + 8, PAGE + 8),
            "{pte:#x}"
        );
    }
}

fn set_cr4(test: &mut Test, bits: u64) {
    let cpu = &mut test.cpu;
    cpu.set_control_registers(cpu.cr0(), cpu.cr3(), cpu.cr4() | bits, cpu.efer());
}

#[test]
fn user_page_faults() {
    for (pte, write, want) in [
        (PAGE | 3, false, 5),
        (PAGE | 5, true, 7),
        (0, false, 4),
        (0, true, 6),
    ] {
        let mut test = catching(14);
        let at = test.pte(PAGE);
        test.poke(at, pte);
        let code = 0x60_0000;
        test.assemble(code, |a| {
            if write {
                a.mov(byte_ptr(rbx), al).unwrap();
            } else {
                a.mov(al, byte_ptr(rbx)).unwrap();
            }
        });
        test.user();
        test.cpu.set_rip(code);
        test.cpu.set_gpr(RBX, PAGE);
        test.cpu.set_gpr(RSP, 0x70_0000);
        let [error, rip, code_segment, _, old, stack_segment] = frame(&mut test);
        assert_eq!((error, rip), (want, code));
        assert_eq!(code_segment, USER_CODE as u64);
        assert_eq!((stack_segment, old), (USER_DATA as u64, 0x70_0000));
        assert_eq!(test.gpr(RSP), STACK - 0x1000 - 48, "the TSS's stack");
        assert_eq!(test.cpu.cpl(), 0);
        assert_eq!(test.cpu.segment(seg::SS).selector, 0);
    }
}

#[test]
fn write_protection_and_ac() {
    // Without WP a supervisor may write.
    let mut test = Test::new();
    let at = test.pte(PAGE);
    test.poke(at, PAGE | 1);
    let cpu = &mut test.cpu;
    cpu.set_control_registers(cpu.cr0() & !cr0::WP, cpu.cr3(), cpu.cr4(), cpu.efer());
    test.cpu.set_gpr(RBX, PAGE);
    test.assemble(CODE, |a| {
        a.mov(dword_ptr(rbx), 77).unwrap();
        a.hlt().unwrap();
    });
    test.halt();
    assert_eq!(test.peek(PAGE), 77);
    assert_eq!(test.peek(at), PAGE | 0x61, "accessed and dirty");

    // SMAP and STAC, CLAC.
    let mut test = catching(14);
    let at = test.pte(PAGE);
    test.poke(at, PAGE | 7);
    set_cr4(&mut test, cr4::SMAP);
    test.cpu.set_gpr(RBX, PAGE);
    test.assemble(CODE, |a| {
        a.stac().unwrap();
        a.mov(dword_ptr(rbx), 78).unwrap();
        a.clac().unwrap();
        a.mov(eax, dword_ptr(rbx)).unwrap();
    });
    let [error, rip, ..] = frame(&mut test);
    assert_eq!(test.peek(PAGE), 78);
    assert_eq!((error, rip), (1, CODE + 12));
}

#[test]
fn accessed_and_dirty() {
    let mut test = Test::new();
    let at = test.pte(PAGE);
    test.cpu.set_gpr(RBX, PAGE);
    test.assemble(CODE, |a| {
        a.mov(eax, dword_ptr(rbx)).unwrap();
        a.hlt().unwrap();
        a.mov(dword_ptr(rbx), eax).unwrap();
        a.hlt().unwrap();
    });
    test.halt();
    assert_eq!(test.peek(at), PAGE | 0x23);
    test.cpu.advance(1);
    test.halt();
    assert_eq!(test.peek(at), PAGE | 0x63);
}

#[test]
fn double_and_triple_faults() {
    // #GP whose handler isn't present: #NP in the delivery makes it a double fault.
    let mut test = catching(8);
    test.assemble(CODE, |a| {
        a.mov(rax, 0x8000_0000_0000_0000u64).unwrap();
        a.mov(rax, qword_ptr(rax)).unwrap();
    });
    let [error, rip, ..] = frame(&mut test);
    assert_eq!((error, rip), (0, CODE + 10));

    // Without a double-fault handler: exit 2.
    let mut test = Test::new();
    test.assemble(CODE, |a| a.ud2().unwrap());
    let exit = test.exit();
    assert_eq!(exit.reason, reason::TRIPLE_FAULT);
    assert_eq!(test.cpu.rip(), CODE);
}

#[test]
fn non_canonical_stack_is_ss() {
    let mut test = catching(12);
    test.gate(12, HANDLER, 1, 0);
    test.assemble(CODE, |a| {
        a.mov(rsp, 0x8000_0000_0000_0000u64).unwrap();
        a.push(rax).unwrap();
    });
    let [error, rip, ..] = frame(&mut test);
    assert_eq!((error, rip), (0, CODE + 10));
    assert_eq!(test.gpr(RSP), STACK - 0x2000 - 48, "IST 1");
}

#[test]
fn software_interrupts_and_iret() {
    let mut test = Test::new();
    test.gate(0x80, CODE + 0x100, 0, 3);
    test.gate(3, CODE + 0x200, 0, 3);
    test.assemble(CODE, |a| {
        a.sti().unwrap();
        a.int(0x80).unwrap();
        a.int3().unwrap();
        a.pushfq().unwrap();
        a.pop(rdi).unwrap();
        a.hlt().unwrap();
    });
    test.assemble(CODE + 0x100, |a| {
        a.pushfq().unwrap();
        a.pop(rsi).unwrap();
        a.mov(rax, qword_ptr(rsp)).unwrap();
        a.iretq().unwrap();
    });
    test.assemble(CODE + 0x200, |a| {
        a.mov(rbx, qword_ptr(rsp)).unwrap();
        a.iretq().unwrap();
    });
    test.halt();
    assert_eq!(test.gpr(RAX), CODE + 3);
    assert_eq!(test.gpr(RBX), CODE + 4);
    assert_eq!(test.gpr(RSI) & rflags::IF, 0, "an interrupt gate clears IF");
    assert_ne!(test.gpr(RDI) & rflags::IF, 0);
    assert_eq!(test.gpr(RSP), STACK);
}

#[test]
fn int_needs_the_gates_privilege() {
    let mut test = catching(13);
    test.gate(0x80, HANDLER, 0, 0);
    test.user();
    test.cpu.set_rip(0x60_0000);
    test.assemble(0x60_0000, |a| a.int(0x80).unwrap());
    let [error, rip, ..] = frame(&mut test);
    assert_eq!((error, rip), (0x80 * 8 + 2, 0x60_0000));
}

#[test]
fn syscall_and_sysret() {
    let mut test = Test::new();
    test.cpu.msrs.star = (0x13u64 << 48) | (CODE64 as u64) << 32;
    test.cpu.msrs.lstar = CODE + 0x100;
    test.cpu.msrs.sfmask = rflags::IF | rflags::DF;
    test.user();
    test.cpu.set_rflags(rflags::IF | rflags::DF | rflags::CF);
    test.cpu.set_rip(0x60_0000);
    test.assemble(0x60_0000, |a| {
        a.syscall().unwrap();
        a.ud2().unwrap();
    });
    test.assemble(CODE + 0x100, |a| a.hlt().unwrap());
    test.halt();
    assert_eq!((test.gpr(RCX), test.gpr(R11)), (0x60_0002, 0x603));
    assert_eq!(test.cpu.rflags(), 0x3);
    assert_eq!(test.cpu.cpl(), 0);
    assert_eq!(test.cpu.segment(seg::CS).selector, CODE64);
    // And back.
    test.assemble(CODE + 0x100, |a| a.sysretq().unwrap());
    test.gate(6, HANDLER, 0, 0);
    test.assemble(HANDLER, |a| a.hlt().unwrap());
    test.halt();
    let stack = test.gpr(RSP);
    assert_eq!(test.peek(stack), 0x60_0002);
    assert_eq!(test.peek(stack + 8), USER_CODE as u64);
    assert_eq!(test.peek(stack + 16) & 0xfff, 0x603);
}

#[test]
fn single_step_traps_after_each_instruction() {
    let mut test = Test::new();
    test.gate(1, CODE + 0x100, 0, 0);
    test.assemble(CODE, |a| {
        a.push(0x102).unwrap();
        a.popfq().unwrap();
        a.nop().unwrap();
        a.mov(eax, 1).unwrap();
        a.hlt().unwrap();
    });
    test.assemble(CODE + 0x100, |a| {
        a.inc(rbx).unwrap();
        a.mov(rcx, qword_ptr(rsp)).unwrap();
        a.mov(rdx, dr6).unwrap();
        a.iretq().unwrap();
    });
    test.halt();
    // After NOP and MOV; HLT exits.
    assert_eq!(test.gpr(RBX), 2);
    assert_eq!(test.gpr(RCX), test.cpu.rip());
    assert_ne!(test.gpr(RDX) & 1 << 14, 0);
}

#[test]
fn interrupts_wait_for_if_and_the_shadow() {
    let mut test = Test::new();
    test.gate(0x41, CODE + 0x100, 0, 0);
    test.assemble(CODE, |a| {
        a.mov(ecx, 0x83f).unwrap();
        a.mov(eax, 0x41).unwrap();
        a.xor(edx, edx).unwrap();
        a.wrmsr().unwrap();
        a.inc(rbx).unwrap();
        a.sti().unwrap();
        a.inc(rbx).unwrap();
        a.inc(rbx).unwrap();
        a.hlt().unwrap();
    });
    test.assemble(CODE + 0x100, |a| {
        a.mov(rsi, rbx).unwrap();
        a.mov(ecx, 0x812).unwrap();
        a.rdmsr().unwrap();
        a.mov(edi, eax).unwrap();
        a.mov(ecx, 0x80b).unwrap();
        a.xor(eax, eax).unwrap();
        a.xor(edx, edx).unwrap();
        a.wrmsr().unwrap();
        a.iretq().unwrap();
    });
    test.halt();
    assert_eq!(test.gpr(RSI), 2, "one instruction after STI, and no more");
    assert_eq!(test.gpr(RBX), 3);
    assert_eq!(test.gpr(RDI), 1 << 1, "vector 0x41 is in service");
    assert_eq!(test.cpu.apic().ppr(), 0, "and was ended");
}

#[test]
fn injected_events_and_nmi() {
    let mut test = catching(20);
    test.assemble(CODE, |a| a.nop().unwrap());
    test.cpu.inject(Event::exception(20, None));
    test.halt();
    let stack = test.gpr(RSP);
    assert_eq!(test.peek(stack), CODE, "#VE has no error code");

    let mut test = Test::new();
    test.gate(2, HANDLER, 0, 0);
    test.assemble(CODE, |a| {
        a.nop().unwrap();
        a.hlt().unwrap();
    });
    test.assemble(HANDLER, |a| {
        a.inc(rax).unwrap();
        a.cmp(rax, 1).unwrap();
        let mut out = a.create_label();
        a.jne(out).unwrap();
        a.hlt().unwrap();
        a.set_label(&mut out).unwrap();
        a.iretq().unwrap();
    });
    test.cpu.inject_nmi();
    test.halt();
    assert_eq!(test.gpr(RAX), 1);
    // A second one waits until the first is done.
    test.cpu.inject_nmi();
    test.cpu.advance(1);
    test.halt();
    assert_eq!((test.gpr(RAX), test.cpu.rip()), (2, CODE + 1));
}

#[test]
fn a_violation_in_a_delivery_names_the_event() {
    let mut test = Test::new();
    test.gate(0x55, HANDLER, 0, 0);
    test.assemble(CODE, |a| {
        a.sti().unwrap();
        a.nop().unwrap();
        a.nop().unwrap();
    });
    // The stack's page has no frame.
    let gone = 40 << 20;
    let page = STACK & !0xfff;
    let at = test.pte(page);
    test.poke(at, gone | 3);
    test.poke(EPT + 0x2000 + 8 * 20, 0);
    test.cpu.set_gpr(RSP, page + 0x800);
    test.cpu.request_interrupt(0x55);
    let exit = test.exit();
    assert_eq!(exit.reason, reason::EPT_VIOLATION);
    assert_eq!(exit.vectoring, Some(Event::external(0x55)));
    assert_eq!(exit.gpa.get(), gone + 0x7f8);
    assert_eq!(exit.gla, page + 0x7f8);
    assert!(exit.ve_convertible);
    assert_eq!(
        exit.qualification,
        ept_violation::WRITE | ept_violation::LINEAR_VALID | ept_violation::TRANSLATION
    );
    assert_eq!(test.gpr(RSP), page + 0x800, "nothing changed");
    // Mapped, and injected again, it arrives.
    test.poke(EPT + 0x2000 + 8 * 20, gone | 0xb7);
    test.cpu.flush_ept();
    test.assemble(HANDLER, |a| a.hlt().unwrap());
    test.cpu.inject(exit.vectoring.unwrap());
    test.halt();
    assert_eq!(test.cpu.rip(), HANDLER);
}

#[test]
fn event_information_goes_both_ways() {
    let event = Event::exception(14, Some(7));
    assert_eq!(event.info(), 0x8000_0b0e);
    assert_eq!(Event::from_info(event.info(), 7, 0), Some(event));
    assert_eq!(Event::from_info(0x0000_0b0e, 7, 0), None, "not valid");
    assert_eq!(Event::from_info(0x8000_0100, 0, 0), None, "reserved type");
    let int = Event::from_info(0x8000_0480, 0, 2).unwrap();
    assert_eq!(
        (int.kind, int.instruction_length),
        (EventKind::SoftwareInterrupt, 2)
    );
}

/// A guest that only ever raises exceptions gets no more than its turn.
#[test]
fn a_handler_that_raises_its_own_exception_ends_with_the_budget() {
    const UD: u8 = 6;
    let mut test = Test::new();
    // On the first interrupt stack: every delivery begins at its top again.
    test.gate(UD, HANDLER, 1, 0);
    for at in [CODE, HANDLER] {
        test.assemble(at, |a| a.ud2().unwrap());
    }
    let exit = test.cpu.run(&mut test.machine, &mut test.code, 50_000);
    assert_eq!(exit, cpu::Exit::Budget);
    assert_eq!((test.cpu.retired(), test.cpu.rip()), (0, HANDLER));
}
