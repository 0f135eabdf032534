//! Boots a Linux kernel as a plain VM on this CPU alone: no TDX module, no devices but a serial
//! port and a timer. A long test program with a known good answer.
//!
//! `cargo run --release -p cpu --example linux -- vmlinuz [initrd [instructions in millions]]`

use cpu::gpr::*;
use cpu::{
    CodeCache, CodeStorage, Controls, Cpu, Event, Exit, Machine, Segment, Table, VmExit, cr0, cr4,
    efer, reason, seg,
};
use gpa::Hpa;
use iced_x86::Mnemonic;
use memory::{HostMemory, PhysMemory, Window};
use std::collections::HashMap;
use std::io::Write;
use std::time::Instant;

const MEMORY: u64 = 512 << 20;
const EPT: u64 = 0x1000;
const TABLES: u64 = 0x4000;
const GDT: u64 = 0x8000;
const BOOT_PARAMS: u64 = 0x9000;
const COMMAND_LINE: u64 = 0xa000;
const KERNEL: u64 = 0x100_0000;
const INITRD: u64 = 0x1800_0000;
const ACPI: u64 = 0xe_0000;
/// Ticks of the TSC per second; one instruction is one tick.
const TSC_HZ: u32 = 1_000_000_000;

struct Plain {
    memory: HostMemory,
    tsc: u64,
}

impl Machine for Plain {
    type Memory = Window;
    fn memory(&self) -> &Window {
        self.memory.window()
    }
    fn tsc(&mut self) -> u64 {
        self.tsc += 20;
        self.tsc
    }
    fn random(&mut self) -> u64 {
        self.tsc = self.tsc.wrapping_add(1);
        self.tsc.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
    fn shared_hpa_allowed(&self, _: Hpa, _: u64) -> bool {
        false
    }
    fn unknown_instruction(&mut self, rip: u64, bytes: &[u8], mnemonic: Mnemonic) {
        println!("[unknown instruction {mnemonic:?} at {rip:#x}: {bytes:02x?}]");
    }
}

struct Devices {
    msrs: HashMap<u32, u64>,
    deadline: u64,
    timer: u64,
    line_control: u8,
    exits: HashMap<u16, u64>,
}

fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    match leaf {
        0 => [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
        // Sapphire Rapids; SSE3 to SSE4.2, PCLMUL, AES, CX16, PCID, x2APIC, MOVBE, POPCNT,
        // TSC-deadline, XSAVE, RDRAND.
        1 => [
            0x8_06f8,
            0x0001_0800,
            1 | 1 << 1
                | 1 << 9
                | 1 << 13
                | 1 << 17
                | 1 << 19
                | 1 << 20
                | 1 << 21
                | 1 << 22
                | 1 << 23
                | 1 << 24
                | 1 << 25
                | 1 << 26
                | 1 << 27
                | 1 << 30
                | 1 << 31,
            1 | 1 << 3
                | 1 << 4
                | 1 << 5
                | 1 << 6
                | 1 << 8
                | 1 << 9
                | 1 << 11
                | 1 << 13
                | 1 << 15
                | 1 << 16
                | 1 << 19
                | 1 << 23
                | 1 << 24
                | 1 << 25
                | 1 << 26,
        ],
        // FSGSBASE, SMEP, ERMS, INVPCID, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB; RDPID, UMIP.
        7 if sub == 0 => [
            0,
            1 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 23 | 1 << 24,
            1 << 2 | 1 << 22,
            1 << 29,
        ],
        0xd if sub == 0 => [3, 576, 576, 0],
        0xd if sub == 1 => [0xf, 576, 0, 0],
        0x15 => [1, 40, 25_000_000, 0],
        0x16 => [1000, 1000, 100, 0],
        0x8000_0000 => [0x8000_0008, 0, 0, 0],
        // KVM without features: what makes Linux take x2APIC without interrupt remapping.
        0x4000_0000 => [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d],
        // LAHF, LZCNT, PREFETCHW; SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
        0x8000_0001 => [
            0,
            0,
            1 | 1 << 5 | 1 << 8,
            1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29,
        ],
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => [0x302e, 0, 0, 0],
        _ => [0; 4],
    }
}

impl Devices {
    fn input(&mut self, port: u16) -> u32 {
        match port {
            0x3fd => 0x60,
            0x3fb => self.line_control as u32,
            0x3f9 | 0x3fa => 0,
            0x3fe => 0xb0,
            _ => u32::MAX,
        }
    }

    fn output(&mut self, port: u16, value: u32) {
        match port {
            0x3f8 if self.line_control & 0x80 == 0 => {
                std::io::stdout().write_all(&[value as u8]).ok();
                std::io::stdout().flush().ok();
            }
            0x3fb => self.line_control = value as u8,
            _ => {}
        }
    }

    /// Handles an exit; `false` ends the VM.
    fn handle(&mut self, cpu: &mut Cpu, machine: &mut Plain, exit: VmExit) -> bool {
        *self.exits.entry(exit.reason).or_default() += 1;
        match exit.reason {
            reason::CPUID => {
                let answer = cpuid(cpu.gpr(RAX) as u32, cpu.gpr(RCX) as u32);
                for (register, value) in [RAX, RBX, RCX, RDX].into_iter().zip(answer) {
                    cpu.set_gpr(register, value as u64);
                }
            }
            reason::IO => {
                let q = exit.qualification;
                let port = (q >> 16) as u16;
                let bits = ((q & 7) + 1) * 8;
                let mask = u64::MAX >> (64 - bits);
                if q & 8 != 0 {
                    let value = self.input(port) as u64 & mask;
                    let old = if bits == 32 { 0 } else { cpu.gpr(RAX) & !mask };
                    cpu.set_gpr(RAX, old | value);
                } else {
                    self.output(port, (cpu.gpr(RAX) & mask) as u32);
                }
            }
            reason::HLT => {
                if !cpu.can_take_event() {
                    if self.deadline == 0 || cpu.rflags() & cpu::rflags::IF == 0 {
                        println!("[halted for good]");
                        return false;
                    }
                    machine.tsc = machine.tsc.max(self.deadline);
                }
            }
            reason::RDMSR => {
                let number = cpu.gpr(RCX) as u32;
                let value = match number {
                    0x1b => 0xfee0_0d00,
                    0x802 => 0,
                    0x803 => 0x5_0014,
                    0x6e0 => self.deadline,
                    // RDCL_NO and its kind: no mitigations.
                    0x10a => 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8,
                    _ => self.msrs.get(&number).copied().unwrap_or(0),
                };
                cpu.set_gpr(RAX, value & 0xffff_ffff);
                cpu.set_gpr(RDX, value >> 32);
            }
            reason::WRMSR => {
                let number = cpu.gpr(RCX) as u32;
                let value = cpu.gpr(RAX) & 0xffff_ffff | cpu.gpr(RDX) << 32;
                match number {
                    0xc000_0080 => cpu.set_efer(value),
                    0x6e0 => self.deadline = value,
                    0x832 => self.timer = value,
                    0xda0 => cpu.msrs.xss = value,
                    0x830 if value & 0xff != 0 => cpu.request_interrupt(value as u8),
                    _ => {
                        self.msrs.insert(number, value);
                    }
                }
            }
            reason::XSETBV => {
                cpu.set_xcr0(cpu.gpr(RAX) & 0xffff_ffff | cpu.gpr(RDX) << 32);
            }
            reason::WBINVD | reason::INVD => {}
            reason::VMCALL => cpu.inject(Event::exception(6, None)),
            _ => {
                println!("[exit {exit:x?} at {:#x}]", cpu.rip());
                println!(
                    "[CR0 {:#x} CR2 {:#x} CR3 {:#x} CR4 {:#x} EFER {:#x} RFLAGS {:#x}]",
                    cpu.cr0(),
                    cpu.cr2(),
                    cpu.cr3(),
                    cpu.cr4(),
                    cpu.efer(),
                    cpu.rflags()
                );
                for number in 0..16 {
                    print!("[r{number} {:#x}] ", cpu.gpr(number));
                }
                println!();
                return false;
            }
        }
        if exit.reason != reason::VMCALL {
            cpu.advance(exit.instruction_length);
        }
        true
    }
}

/// An ACPI table at `at`: signature, length, checksum, contents.
fn acpi_table(m: &Window, at: u64, signature: &[u8; 4], revision: u8, body: &[u8]) {
    let mut table = Vec::from(signature);
    table.extend((36 + body.len() as u32).to_le_bytes());
    table.extend([revision, 0]);
    table.extend(b"SEPTUMSOFTCPU ");
    table.extend([1, 0, 0, 0, b'S', b'E', b'P', b'T', 1, 0, 0, 0]);
    table.extend(body);
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    table[9] = sum.wrapping_neg();
    m.write_bytes(Hpa::new(at), &table);
}

/// The least ACPI that makes Linux use the local APIC: no other hardware.
fn acpi(m: &Window) {
    let (xsdt, fadt, dsdt, madt) = (ACPI + 0x40, ACPI + 0x100, ACPI + 0x300, ACPI + 0x400);
    let mut rsdp = Vec::from(*b"RSD PTR \0SEPTUM\x02");
    rsdp.extend(0u32.to_le_bytes());
    rsdp.extend(36u32.to_le_bytes());
    rsdp.extend(xsdt.to_le_bytes());
    rsdp.extend([0; 4]);
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    rsdp[8] = sum(&rsdp[..20]).wrapping_neg();
    rsdp[32] = sum(&rsdp).wrapping_neg();
    m.write_bytes(Hpa::new(ACPI), &rsdp);
    let tables: Vec<u8> = [fadt, madt]
        .iter()
        .flat_map(|at| at.to_le_bytes())
        .collect();
    acpi_table(m, xsdt, b"XSDT", 1, &tables);
    let mut body = [0; 276 - 36];
    // IAPC_BOOT_ARCH: no VGA, no RTC; flags: hardware-reduced, WBINVD; X_DSDT.
    body[109 - 36..111 - 36].copy_from_slice(&0x24u16.to_le_bytes());
    body[112 - 36..116 - 36].copy_from_slice(&(1u32 << 20 | 1).to_le_bytes());
    body[131 - 36] = 5;
    body[140 - 36..148 - 36].copy_from_slice(&dsdt.to_le_bytes());
    acpi_table(m, fadt, b"FACP", 6, &body);
    acpi_table(m, dsdt, b"DSDT", 2, &[]);
    // Local APIC at its usual address; one processor.
    let madt_body = [0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0];
    acpi_table(m, madt, b"APIC", 5, &madt_body);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let kernel = std::fs::read(&arguments[1]).expect("the kernel");
    let initrd = arguments
        .get(2)
        .map(|path| std::fs::read(path).expect("the initrd"));
    let most: u64 = arguments
        .get(3)
        .map_or(4000, |n| n.parse().expect("a number"));

    let mut machine = Plain {
        memory: HostMemory::new(Hpa::new(0), MEMORY),
        tsc: 1,
    };
    let m = machine.memory.window();
    let poke = |at, value| m.write_u64(Hpa::new(at), value);
    poke(EPT, (EPT + 0x1000) | 7);
    poke(EPT + 0x1000, (EPT + 0x2000) | 7);
    poke(TABLES, (TABLES + 0x1000) | 3);
    poke(TABLES + 0x1000, (TABLES + 0x2000) | 3);
    for i in 0..512 {
        if i << 21 < MEMORY {
            poke(EPT + 0x2000 + 8 * i, i << 21 | 0xb7);
        }
        poke(TABLES + 0x2000 + 8 * i, i << 21 | 0x83);
    }
    poke(GDT + 0x10, 0x00af_9b00_0000_ffff);
    poke(GDT + 0x18, 0x00cf_9300_0000_ffff);

    let setup_sectors = kernel[0x1f1] as usize;
    let body = (setup_sectors + 1) * 512;
    m.write_bytes(Hpa::new(KERNEL), &kernel[body..]);
    m.write_bytes(Hpa::new(BOOT_PARAMS + 0x1f1), &kernel[0x1f1..0x290]);
    m.write_u8(Hpa::new(BOOT_PARAMS + 0x210), 0xff);
    acpi(m);
    m.write_u64(Hpa::new(BOOT_PARAMS + 0x70), ACPI);
    m.write_u32(Hpa::new(BOOT_PARAMS + 0x228), COMMAND_LINE as u32);
    let command_line = b"console=ttyS0 earlyprintk=serial,ttyS0nokaslr pci=off \
        maxcpus=1 no_timer_check tsc=reliable clocksource=tsc random.trust_cpu=on panic=-1 mitigations=off\0";
    m.write_bytes(Hpa::new(COMMAND_LINE), command_line);
    if let Some(initrd) = &initrd {
        m.write_bytes(Hpa::new(INITRD), initrd);
        m.write_u32(Hpa::new(BOOT_PARAMS + 0x218), INITRD as u32);
        m.write_u32(Hpa::new(BOOT_PARAMS + 0x21c), initrd.len() as u32);
    }
    let map = [
        (0x1_0000, 0x9_0000, 1),
        (ACPI, 0x1000, 3),
        (0x10_0000, MEMORY - 0x10_0000, 1),
    ];
    m.write_u8(Hpa::new(BOOT_PARAMS + 0x1e8), map.len() as u8);
    for (i, (start, len, kind)) in map.into_iter().enumerate() {
        let at = BOOT_PARAMS + 0x2d0 + 20 * i as u64;
        m.write_u64(Hpa::new(at), start);
        m.write_u64(Hpa::new(at + 8), len);
        m.write_u32(Hpa::new(at + 16), kind);
    }

    let mut cpu = Box::new(Cpu::new());
    cpu.controls = Controls {
        private_root: Hpa::new(EPT),
        cr4_mask: cr4::VMXE,
        ..Controls::new()
    };
    cpu.set_control_registers(
        cr0::PE | cr0::PG | cr0::NE | cr0::ET,
        TABLES,
        cr4::PAE | cr4::VMXE,
        efer::LME | efer::LMA | efer::NXE | efer::SCE,
    );
    cpu.set_gdtr(Table {
        base: GDT,
        limit: 0x1f,
    });
    let flat = |selector, rights| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        rights,
    };
    cpu.set_segment(seg::CS, flat(0x10, 0xa09b));
    for number in [seg::ES, seg::SS, seg::DS] {
        cpu.set_segment(number, flat(0x18, 0xc093));
    }
    cpu.set_rip(KERNEL + 0x200);
    cpu.set_gpr(RSI, BOOT_PARAMS);
    cpu.set_gpr(RSP, 0x9_0000);

    static STORAGE: std::sync::Mutex<CodeStorage<350_000, 32768>> =
        std::sync::Mutex::new(CodeStorage::new());
    let mut storage = STORAGE.lock().expect("one thread");
    let mut code = CodeCache::new(&mut *storage);
    let mut devices = Devices {
        msrs: HashMap::new(),
        deadline: 0,
        timer: 1 << 16,
        line_control: 0,
        exits: HashMap::new(),
    };
    let start = Instant::now();
    let mut seen = 0;
    while cpu.retired() < most * 1_000_000 {
        let exit = cpu.run(&mut machine, &mut code, 20_000);
        machine.tsc += cpu.retired() - seen;
        seen = cpu.retired();
        if let Exit::Vm(exit) = exit
            && !devices.handle(&mut cpu, &mut machine, exit)
        {
            break;
        }
        if devices.deadline != 0 && machine.tsc >= devices.deadline {
            devices.deadline = 0;
            if devices.timer & 1 << 16 == 0 {
                cpu.request_interrupt(devices.timer as u8);
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let millions = cpu.retired() as f64 / 1e6;
    println!(
        "\n[{millions:.0} M instructions in {seconds:.1} s: {:.1} M/s; RIP {:#x}]",
        millions / seconds,
        cpu.rip()
    );
    println!("[exits by reason: {:?}; TSC {TSC_HZ} Hz]", devices.exits);
}
