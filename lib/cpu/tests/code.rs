//! Decoded code follows memory: writes by the code itself, by another CPU, by the caller.

mod common;

use common::*;
use cpu::gpr::*;
use cpu::{Cpu, Exit};
use iced_x86::code_asm::*;

/// `mov eax, value; ret`.
fn returns(value: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(value.to_le_bytes());
    code.push(0xc3);
    code
}

#[test]
fn the_next_instruction_is_the_one_just_written() {
    let mut test = Test::new();
    test.assemble(CODE, |a| {
        // Overwrites the immediate of the MOV that follows, in the same block.
        a.mov(dword_ptr(CODE + 0x10 + 1), 77).unwrap();
        while a.assemble(CODE).unwrap().len() < 0x10 {
            a.nop().unwrap();
        }
        a.mov(eax, 11).unwrap();
        a.hlt().unwrap();
    });
    // Twice: decoded anew, and from the cache.
    for _ in 0..2 {
        test.cpu.set_rip(CODE);
        test.halt();
        assert_eq!(test.gpr(RAX), 77);
    }
}

#[test]
fn a_loop_that_rewrites_a_function() {
    let mut test = Test::new();
    let function = CODE + 0x1000;
    test.load(function, &returns(0));
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.xor(ebx, ebx).unwrap();
        a.mov(ecx, 100).unwrap();
        a.set_label(&mut top).unwrap();
        a.mov(dword_ptr(function + 1), ecx).unwrap();
        a.call(function).unwrap();
        a.add(rbx, rax).unwrap();
        a.dec(ecx).unwrap();
        a.jne(top).unwrap();
        a.hlt().unwrap();
    });
    test.halt();
    assert_eq!(test.gpr(RBX), 5050);
}

#[test]
fn string_instructions_rewrite_code_too() {
    let mut test = Test::new();
    let function = CODE + 0x1000;
    test.load(function, &returns(1));
    test.load(DATA, &returns(2));
    test.assemble(CODE, |a| {
        a.call(function).unwrap();
        a.mov(ebx, eax).unwrap();
        a.mov(esi, DATA as u32).unwrap();
        a.mov(edi, function as u32).unwrap();
        a.mov(ecx, 6).unwrap();
        a.rep().movsb().unwrap();
        a.call(function).unwrap();
        a.hlt().unwrap();
    });
    test.halt();
    assert_eq!((test.gpr(RBX), test.gpr(RAX)), (1, 2));
}

#[test]
fn through_another_mapping() {
    let mut test = Test::new();
    let (function, alias) = (CODE + 0x1000, DATA + 0x5000);
    test.load(function, &returns(1));
    let pte = test.pte(alias);
    test.poke(pte, function | 3);
    test.assemble(CODE, |a| {
        a.call(function).unwrap();
        a.mov(ebx, eax).unwrap();
        a.mov(dword_ptr(alias + 1), 2).unwrap();
        a.call(function).unwrap();
        a.hlt().unwrap();
    });
    test.halt();
    assert_eq!((test.gpr(RBX), test.gpr(RAX)), (1, 2));
}

#[test]
fn by_another_cpu() {
    let mut test = Test::new();
    let function = CODE + 0x1000;
    let writer = CODE + 0x2000;
    test.load(function, &returns(1));
    test.assemble(CODE, |a| {
        a.call(function).unwrap();
        a.hlt().unwrap();
    });
    test.assemble(writer, |a| {
        a.mov(dword_ptr(function + 1), edx).unwrap();
        a.hlt().unwrap();
    });
    // Both CPUs stand in the same machine; the second one writes.
    let mut other = Test::new();
    core::mem::swap(&mut other.machine, &mut test.machine);
    let Test {
        cpu: mut first,
        mut machine,
        ..
    } = Test {
        machine: other.machine,
        ..test
    };
    let mut second = other.cpu;
    let mut code = other.code;
    second.set_gpr(RSP, STACK - 0x4000);
    for value in [5, 6, 7] {
        second.set_rip(writer);
        second.set_gpr(RDX, value);
        halt(&mut second, &mut machine, &mut code);
        first.set_rip(CODE);
        halt(&mut first, &mut machine, &mut code);
        assert_eq!(first.gpr(RAX), value);
    }
}

fn halt(cpu: &mut Cpu, machine: &mut TestMachine, code: &mut cpu::CodeCache<'_>) {
    match cpu.run(machine, code, 1_000_000) {
        Exit::Vm(exit) => assert_eq!(exit.reason, cpu::reason::HLT),
        Exit::Budget => panic!("no exit"),
    }
}

#[test]
fn by_the_caller_who_says_so() {
    let mut test = Test::new();
    let function = CODE + 0x1000;
    test.load(function, &returns(1));
    test.assemble(CODE, |a| {
        a.call(function).unwrap();
        a.hlt().unwrap();
    });
    for value in [3u32, 4] {
        test.load(function, &returns(value));
        test.cpu.set_rip(CODE);
        test.halt();
        assert_eq!(test.gpr(RAX), value as u64);
    }
}

#[test]
fn instructions_across_pages() {
    // `mov rax, imm64` at every offset around the end of a page; then its second half changes,
    // by a write and by another mapping of the next page.
    for start in 0xff0..0x1000 {
        let mut test = Test::new();
        let at = CODE + 0x3000 + start;
        let mut code = vec![0x48, 0xb8];
        code.extend(0x1111_2222_3333_4444u64.to_le_bytes());
        code.push(0xc3);
        test.load(at, &code);
        let next = CODE + 0x4000;
        let crosses = at + 10 > next;
        test.assemble(CODE, |a| {
            a.call(at).unwrap();
            a.hlt().unwrap();
        });
        for _ in 0..2 {
            test.cpu.set_rip(CODE);
            test.halt();
            assert_eq!(test.gpr(RAX), 0x1111_2222_3333_4444);
        }
        // Written by the guest: the last byte of the immediate.
        test.assemble(CODE + 0x100, |a| {
            a.mov(rbx, at + 9).unwrap();
            a.mov(byte_ptr(rbx), 0x55).unwrap();
            a.call(at).unwrap();
            a.hlt().unwrap();
        });
        test.cpu.set_rip(CODE + 0x100);
        test.halt();
        assert_eq!(test.gpr(RAX), 0x5511_2222_3333_4444);
        if crosses {
            // The next page elsewhere, with other bytes.
            let copy = DATA + 0x8000;
            for i in 0..512 {
                let word = test.peek(next + 8 * i);
                test.poke(copy + 8 * i, word);
            }
            let last = copy + (at + 9 - next);
            let word = test.peek(last);
            test.poke(last, word & !0xff | 0x66);
            let pte = test.pte(next);
            test.assemble(CODE + 0x200, |a| {
                a.mov(rbx, next).unwrap();
                a.mov(rcx, pte).unwrap();
                a.mov(dword_ptr(rcx), (copy | 3) as i32).unwrap();
                a.invlpg(byte_ptr(rbx)).unwrap();
                a.call(at).unwrap();
                a.hlt().unwrap();
            });
            test.cpu.set_rip(CODE + 0x200);
            test.halt();
            assert_eq!(test.gpr(RAX), 0x6611_2222_3333_4444, "{start:#x}");
        }
    }
}

#[test]
fn the_cache_may_be_too_small() {
    // More code than the cache has room for, run twice.
    let mut test = Test::new();
    let base = 0x80_0000;
    let mut bytes = Vec::new();
    for _ in 0..40_000 {
        // add rax, 1; jmp +0
        bytes.extend([0x48, 0x83, 0xc0, 0x01, 0xeb, 0x00]);
    }
    bytes.push(0xf4);
    test.load(base, &bytes);
    for round in 1..3 {
        test.cpu.set_rip(base);
        test.halt();
        assert_eq!(test.gpr(RAX), round * 40_000);
    }
}
