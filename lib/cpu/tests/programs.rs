//! Small programs, and what they leave behind.

mod common;

use common::*;
use cpu::gpr::*;
use iced_x86::code_asm::*;

#[test]
fn sums_and_halts() {
    let mut test = Test::new();
    test.assemble(CODE, |a| {
        let mut top = a.create_label();
        a.xor(eax, eax).unwrap();
        a.mov(ecx, 100).unwrap();
        a.set_label(&mut top).unwrap();
        a.add(rax, rcx).unwrap();
        a.dec(ecx).unwrap();
        a.jnz(top).unwrap();
        a.hlt().unwrap();
    });
    test.halt();
    assert_eq!(test.gpr(RAX), 5050);
}
