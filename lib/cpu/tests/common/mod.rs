//! A machine for tests: host memory, an identity EPT of 2 MiB pages, guest page tables.
#![allow(dead_code)]

use cpu::{CodeCache, CodeStorage, Controls, Cpu, Exit, Machine, Segment, cr0, cr4, efer, seg};
use gpa::Hpa;
use iced_x86::Mnemonic;
use iced_x86::code_asm::CodeAssembler;
use memory::{HostMemory, PhysMemory, Window};

/// Host memory of a test machine.
pub const MEMORY: u64 = 64 << 20;
/// Guest page tables: PML4, PDPT, PD, and PTs for the first two 2 MiB.
pub const TABLES: u64 = 0x1_0000;
/// The private EPT's root; the PDPT and PD follow. 0x2_8000 on: the shared EPT.
pub const EPT: u64 = 0x2_0000;
pub const SHARED_EPT: u64 = 0x2_8000;
/// GDT, IDT, TSS.
pub const GDT: u64 = 0x3_0000;
pub const IDT: u64 = 0x3_1000;
pub const TSS: u64 = 0x3_2000;
/// Where code starts, and the top of its stack.
pub const CODE: u64 = 0x10_0000;
pub const STACK: u64 = 0x20_0000 - 0x100;
pub const DATA: u64 = 0x20_0000;
pub const SHARED: u64 = 1 << 47;

pub const CODE64: u16 = 0x08;
pub const DATA64: u16 = 0x10;
pub const USER_DATA: u16 = 0x1b;
pub const USER_CODE: u16 = 0x23;
pub const TSS_SELECTOR: u16 = 0x28;
pub const CODE32: u16 = 0x38;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const LARGE: u64 = 0x80;

pub struct TestMachine {
    pub memory: HostMemory,
    pub tsc: u64,
    pub kick: bool,
    pub shared_from: u64,
    pub unknown: Vec<(u64, Mnemonic)>,
}

impl Machine for TestMachine {
    type Memory = Window;
    fn memory(&self) -> &Window {
        self.memory.window()
    }
    fn tsc(&mut self) -> u64 {
        self.tsc += 100;
        self.tsc
    }
    fn random(&mut self) -> u64 {
        0x1234_5678_9abc_def0
    }
    fn shared_hpa_allowed(&self, hpa: Hpa, len: u64) -> bool {
        hpa.get() >= self.shared_from && hpa.get() + len <= MEMORY
    }
    fn kick_pending(&mut self) -> bool {
        self.kick
    }
    fn unknown_instruction(&mut self, rip: u64, _: &[u8], mnemonic: Mnemonic) {
        self.unknown.push((rip, mnemonic));
    }
}

type Storage = CodeStorage<65536, 8192>;

pub struct Test {
    pub machine: TestMachine,
    pub cpu: Box<Cpu>,
    pub code: CodeCache<'static>,
}

impl Test {
    /// A CPU in 64-bit mode at CPL 0, everything identity-mapped up to 64 MiB, user-accessible
    /// from 4 MiB on, in 4 KiB pages below that.
    pub fn new() -> Self {
        let storage: &'static mut Storage = {
            let zeroed: Box<Storage> = Box::new(Storage::new());
            Box::leak(zeroed)
        };
        let machine = TestMachine {
            memory: HostMemory::new(Hpa::new(0), MEMORY),
            tsc: 0,
            kick: false,
            shared_from: MEMORY / 2,
            unknown: Vec::new(),
        };
        let mut test = Self {
            machine,
            cpu: Box::new(Cpu::new()),
            code: CodeCache::new(storage),
        };
        // EPT: 1 PML4 entry, 1 PDPT entry, 32 large pages, write-back.
        test.poke(EPT, (EPT + 0x1000) | 7);
        test.poke(EPT + 0x1000, (EPT + 0x2000) | 7);
        for i in 0..MEMORY >> 21 {
            test.poke(EPT + 0x2000 + 8 * i, i << 21 | LARGE | 6 << 3 | 7);
        }
        // The shared EPT maps the upper half of memory.
        test.poke(SHARED_EPT + 8 * 256, (SHARED_EPT + 0x1000) | 7);
        test.poke(SHARED_EPT + 0x1000, (SHARED_EPT + 0x2000) | 7);
        for i in MEMORY >> 22..MEMORY >> 21 {
            test.poke(SHARED_EPT + 0x2000 + 8 * i, i << 21 | LARGE | 6 << 3 | 3);
        }
        let all = PRESENT | WRITE | USER;
        test.poke(TABLES, (TABLES + 0x1000) | all);
        test.poke(TABLES + 0x1000, (TABLES + 0x2000) | all);
        for i in 0..2 {
            let table = TABLES + 0x3000 + i * 0x1000;
            test.poke(TABLES + 0x2000 + 8 * i, table | all);
            for j in 0..512 {
                test.poke(table + 8 * j, i << 21 | j << 12 | PRESENT | WRITE);
            }
        }
        for i in 2..MEMORY >> 21 {
            test.poke(TABLES + 0x2000 + 8 * i, i << 21 | LARGE | all);
        }
        let descriptors = [
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
            0x0000_8900_0000_0067 | TSS << 16,
            0,
            0x00cf_9b00_0000_ffff,
        ];
        for (i, descriptor) in descriptors.into_iter().enumerate() {
            test.poke(GDT + 8 * i as u64, descriptor);
        }
        // No I/O permission map.
        test.poke(TSS + 96, 0x68 << 48);
        test.poke(TSS + 4, STACK - 0x1000);
        test.poke(TSS + 36, STACK - 0x2000);

        test.start();
        test
    }

    /// A new CPU, as [`Test::new`] has it.
    pub fn start(&mut self) {
        *self.cpu = Cpu::new();
        let cpu = &mut *self.cpu;
        cpu.controls = Controls {
            private_root: Hpa::new(EPT),
            shared_root: Hpa::new(SHARED_EPT),
            ..Controls::new()
        };
        cpu.set_control_registers(
            cr0::PE | cr0::PG | cr0::NE | cr0::ET | cr0::WP,
            TABLES,
            cr4::PAE
                | cr4::MCE
                | cr4::OSFXSR
                | cr4::OSXMMEXCPT
                | cr4::OSXSAVE
                | cr4::PGE
                | cr4::FSGSBASE,
            efer::LME | efer::LMA | efer::NXE | efer::SCE,
        );
        cpu.set_xcr0(3);
        cpu.set_gdtr(cpu::Table {
            base: GDT,
            limit: 0x3f,
        });
        cpu.set_idtr(cpu::Table {
            base: IDT,
            limit: 0xfff,
        });
        let flat = |selector, rights| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            rights,
        };
        cpu.set_segment(seg::CS, flat(CODE64, 0xa09b));
        for number in [seg::ES, seg::SS, seg::DS, seg::FS, seg::GS] {
            cpu.set_segment(number, flat(DATA64, 0xc093));
        }
        cpu.set_tr(Segment {
            selector: TSS_SELECTOR,
            base: TSS,
            limit: 0x67,
            rights: 0x8b,
        });
        cpu.set_gpr(cpu::gpr::RSP, STACK);
        cpu.set_rip(CODE);
    }

    pub fn poke(&mut self, at: u64, value: u64) {
        self.machine.memory.window().write_u64(Hpa::new(at), value);
    }
    pub fn peek(&self, at: u64) -> u64 {
        self.machine.memory.window().read_u64(Hpa::new(at))
    }
    pub fn load(&mut self, at: u64, bytes: &[u8]) {
        self.machine
            .memory
            .window()
            .write_bytes(Hpa::new(at), bytes);
        for page in 0..=bytes.len() as u64 / 4096 {
            self.code
                .invalidate_frame(Hpa::new(at + page * 4096).frame());
        }
    }
    /// Assembles for address `at` and puts it there.
    pub fn assemble(&mut self, at: u64, write: impl FnOnce(&mut CodeAssembler)) {
        let mut a = CodeAssembler::new(64).unwrap();
        write(&mut a);
        let bytes = a.assemble(at).unwrap();
        self.load(at, &bytes);
    }
    /// The page-table entry of a page below 4 MiB.
    pub fn pte(&self, page: u64) -> u64 {
        TABLES + 0x3000 + 8 * (page >> 12)
    }
    /// An interrupt gate to `at`.
    pub fn gate(&mut self, vector: u8, at: u64, ist: u64, dpl: u64) {
        let low = at & 0xffff
            | (CODE64 as u64) << 16
            | ist << 32
            | 0x8e << 40
            | dpl << 45
            | (at >> 16 & 0xffff) << 48;
        self.poke(IDT + 16 * vector as u64, low);
        self.poke(IDT + 16 * vector as u64 + 8, at >> 32);
    }
    pub fn run(&mut self, budget: u64) -> Exit {
        self.cpu.run(&mut self.machine, &mut self.code, budget)
    }
    /// Runs to a VM exit, which must come soon.
    pub fn exit(&mut self) -> cpu::VmExit {
        match self.run(1_000_000) {
            Exit::Vm(exit) => exit,
            Exit::Budget => panic!("no exit; RIP {:#x}", self.cpu.rip()),
        }
    }
    /// Runs to HLT.
    pub fn halt(&mut self) {
        let exit = self.exit();
        assert_eq!(
            exit.reason,
            cpu::reason::HLT,
            "{exit:x?} at {:#x}",
            self.cpu.rip()
        );
    }
    pub fn gpr(&self, number: usize) -> u64 {
        self.cpu.gpr(number)
    }
    /// To user mode: CS, SS, CPL.
    pub fn user(&mut self) {
        let flat = |selector, rights| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            rights,
        };
        self.cpu.set_segment(seg::CS, flat(USER_CODE, 0xa0fb));
        self.cpu.set_segment(seg::SS, flat(USER_DATA, 0xc0f3));
    }
}
