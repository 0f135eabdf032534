//! Measures how fast the CPU runs some loops: `cargo run --release -p cpu --example speed`.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{CODE, DATA, Test};
use iced_x86::code_asm::*;
use std::time::Instant;

fn measure(name: &str, test: &mut Test) {
    test.run(1_000_000);
    let before = test.cpu.retired();
    let start = Instant::now();
    while start.elapsed().as_millis() < 1000 {
        test.run(4_000_000);
    }
    let done = test.cpu.retired() - before;
    let rate = done as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{name:<28} {rate:8.1} M instructions/s");
}

fn main() {
    let mut test = Test::new();
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.add(rax, rbx).unwrap();
        a.sub(rcx, 1).unwrap();
        a.xor(edx, eax).unwrap();
        a.lea(rsi, rax + rdx * 4 + 5).unwrap();
        a.and(edi, 0xfff).unwrap();
        a.shl(r8, 3).unwrap();
        a.or(r8, r9).unwrap();
        a.cmp(rcx, r10).unwrap();
        a.jne(top).unwrap();
        a.jmp(top).unwrap();
    });
    measure("integer loop", &mut test);

    let mut test = Test::new();
    test.cpu.set_gpr(cpu::gpr::RSI, DATA);
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.mov(rax, qword_ptr(rsi + 8)).unwrap();
        a.mov(qword_ptr(rsi + 64), rax).unwrap();
        a.mov(ecx, dword_ptr(rsi + rdi * 4)).unwrap();
        a.movzx(edx, byte_ptr(rsi + 3)).unwrap();
        a.add(dword_ptr(rsi + 128), 1).unwrap();
        a.cmp(dword_ptr(rsi + 128), 7).unwrap();
        a.je(top).unwrap();
        a.inc(edi).unwrap();
        a.and(edi, 1023).unwrap();
        a.jmp(top).unwrap();
    });
    measure("loads and stores", &mut test);

    let mut test = Test::new();
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        let mut function = a.create_label();
        a.set_label(&mut top).unwrap();
        a.mov(rdi, rax).unwrap();
        a.call(function).unwrap();
        a.add(rbx, rax).unwrap();
        a.jmp(top).unwrap();
        a.set_label(&mut function).unwrap();
        a.push(rbp).unwrap();
        a.mov(rbp, rsp).unwrap();
        a.push(rbx).unwrap();
        a.lea(rax, rdi + 1).unwrap();
        a.test(eax, eax).unwrap();
        let mut out = a.create_label();
        a.js(out).unwrap();
        a.mov(rbx, rax).unwrap();
        a.set_label(&mut out).unwrap();
        a.pop(rbx).unwrap();
        a.pop(rbp).unwrap();
        a.ret().unwrap();
    });
    measure("calls", &mut test);

    let mut test = Test::new();
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.mov(rsi, DATA + 0x10_0000).unwrap();
        a.mov(rdi, DATA + 0x20_0000).unwrap();
        a.mov(ecx, 0x8_0000).unwrap();
        a.rep().movsb().unwrap();
        a.jmp(top).unwrap();
    });
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed().as_millis() < 1000 {
        test.run(1000);
        rounds += 1;
    }
    // Each 5 instructions copy 512 KiB; a portion of a repetition counts as one.
    let copied = test.cpu.retired() as f64 / (4.0 + 32.0) * 0.5;
    let rate = copied / start.elapsed().as_secs_f64();
    println!("{:<28} {rate:8.1} MiB/s ({rounds} runs)", "rep movsb");

    let mut test = Test::new();
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        // One page after the other of 32 MiB: every access misses the TLB.
        a.mov(eax, dword_ptr(rdi + 0x40_0000)).unwrap();
        a.add(edi, 4096).unwrap();
        a.and(edi, 0x1ff_ffff).unwrap();
        a.jmp(top).unwrap();
    });
    measure("page walks (1 in 4)", &mut test);

    let mut test = Test::new();
    test.gate(6, CODE + 0x800, 0, 0);
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.ud2().unwrap();
        a.jmp(top).unwrap();
    });
    test.assemble(CODE + 0x800, |a| {
        a.add(qword_ptr(rsp), 2).unwrap();
        a.iretq().unwrap();
    });
    measure("exceptions (1 in 3)", &mut test);

    let mut test = Test::new();
    test.cpu.set_gpr(cpu::gpr::RSI, DATA);
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.movdqu(xmm0, xmmword_ptr(rsi)).unwrap();
        a.movdqu(xmm1, xmmword_ptr(rsi + 16)).unwrap();
        a.pxor(xmm0, xmm1).unwrap();
        a.pcmpeqb(xmm2, xmm0).unwrap();
        a.pmovmskb(eax, xmm2).unwrap();
        a.movups(xmmword_ptr(rsi + 32), xmm0).unwrap();
        a.jmp(top).unwrap();
    });
    measure("SSE2", &mut test);
}
