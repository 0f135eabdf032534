//! Sequences on the software CPU: 64-bit mode, CPL 3, the same linear addresses.
//!
//! A sequence ends in `CPUID`, which is a VM exit. Exceptions go through a real IDT to a handler
//! that is a `CPUID`, too, one for each vector, and are read off its stack.

use crate::layout::{CODE, CODE_BYTES, DATA, PAGE, SLOT, STACK};
use crate::state::{End, Outcome, Page, Registers};
use cpu::{
    CodeCache, CodeStorage, Controls, Cpu, Exit, Machine, Segment, Table, cr0, cr4, efer, gpr,
    reason, seg,
};
use ept::{Access, Entry, MemoryType};
use fpu::image::{self, Layout};
use gpa::Hpa;
use iced_x86::Mnemonic;
use memory::{HostMemory, PhysMemory, Window};

/// Host physical memory there is; guest physical addresses are the same.
const MEMORY_BYTES: u64 = 0x20_0000;
const EPT_ROOT: u64 = 0x1000;
const EPT_DIRECTORIES: u64 = 0x2000;
const EPT_DIRECTORY: u64 = 0x3000;
const PAGE_MAP: u64 = 0x4000;
const DIRECTORIES: u64 = 0x5000;
const DIRECTORY: u64 = 0x6000;
const TABLES: u64 = 0x7000;
const CODE_FRAMES: u64 = 0x2_0000;
const DATA_FRAME: u64 = 0x4_0000;
const STACK_FRAME: u64 = 0x4_1000;
const SYSTEM_FRAMES: u64 = 0x5_0000;

/// Supervisor pages: handlers, IDT, GDT and TSS, stack.
const SYSTEM: u64 = 0x7ac5_6000;
const HANDLERS: u64 = SYSTEM;
const IDT: u64 = SYSTEM + PAGE;
const GDT: u64 = SYSTEM + 2 * PAGE;
const TSS: u64 = GDT + 0x100;
const SYSTEM_STACK_TOP: u64 = SYSTEM + 4 * PAGE;
const SYSTEM_PAGES: u64 = 4;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;
const NO_EXECUTE: u64 = 1 << 63;

/// Linux's selectors, which `MOV r, Sreg` shows.
const USER_CODE: u16 = 0x33;
const USER_STACK: u16 = 0x2b;
const SYSTEM_CODE: u16 = 0x10;

const CPUID: [u8; 2] = [0x0f, 0xa2];
/// Instructions until a sequence counts as stuck.
const BUDGET: u64 = 1 << 16;
/// Vectors with an error code (SDM Vol. 3, table 6-1).
const ERROR_CODES: u32 = 0x0022_7d00;
const PAGE_FAULT: u8 = 14;
const INVALID_OPCODE: u8 = 6;

const LAYOUT: Layout = Layout {
    wide_pointers: true,
    high_xmm: true,
};

/// The machine around the CPU: memory, and what it doesn't know.
struct Board {
    memory: HostMemory,
    unknown: bool,
}

impl Machine for Board {
    type Memory = Window;

    fn memory(&self) -> &Window {
        self.memory.window()
    }
    fn tsc(&mut self) -> u64 {
        0
    }
    fn random(&mut self) -> u64 {
        0
    }
    fn shared_hpa_allowed(&self, _: Hpa, _: u64) -> bool {
        false
    }
    fn unknown_instruction(&mut self, _: u64, _: &[u8], _: Mnemonic) {
        self.unknown = true;
    }
}

/// Room for decoded code.
pub type Storage = CodeStorage<0x4_0000, 0x8000>;

/// The software CPU.
pub struct Software<'a> {
    cpu: Box<Cpu>,
    board: Board,
    code: CodeCache<'a>,
}

impl<'a> Software<'a> {
    /// A CPU with its tables, in the given storage.
    pub fn new(storage: &'a mut Storage) -> Self {
        let memory = HostMemory::new(Hpa::new(0), MEMORY_BYTES);
        let window = memory.window();
        build_tables(window);
        build_system(window);
        let mut cpu = Box::new(Cpu::new());
        cpu.controls = Controls {
            private_root: Hpa::new(EPT_ROOT),
            ..Controls::new()
        };
        cpu.set_control_registers(
            cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::PG,
            PAGE_MAP,
            cr4::PAE
                | cr4::MCE
                | cr4::PGE
                | cr4::OSFXSR
                | cr4::OSXMMEXCPT
                | cr4::UMIP
                | cr4::FSGSBASE
                | cr4::OSXSAVE
                | cr4::SMEP
                | cr4::SMAP,
            efer::SCE | efer::LME | efer::LMA | efer::NXE,
        );
        cpu.set_xcr0(3);
        cpu.set_gdtr(Table {
            base: GDT,
            limit: 0xff,
        });
        cpu.set_idtr(Table {
            base: IDT,
            limit: 0xfff,
        });
        cpu.set_tr(Segment {
            selector: 0x40,
            base: TSS,
            limit: 0x67,
            rights: 0x8b,
        });
        Self {
            cpu,
            board: Board {
                memory,
                unknown: false,
            },
            code: CodeCache::new(storage),
        }
    }

    /// Writes a sequence's code to its slot, followed by `CPUID`; the rest of the slot holds
    /// `INT3`. Call [`Software::synchronize`] before running it.
    pub fn load(&mut self, slot: usize, code: &[u8]) {
        let mut bytes = [0xcc; SLOT as usize];
        let length = code.len().min(SLOT as usize - CPUID.len());
        bytes[..length].copy_from_slice(&code[..length]);
        bytes[length..length + CPUID.len()].copy_from_slice(&CPUID);
        let at = CODE_FRAMES + slot as u64 % (CODE_BYTES / SLOT) * SLOT;
        self.board.memory().write_bytes(Hpa::new(at), &bytes);
    }

    /// Makes the CPU forget code that was replaced.
    pub fn synchronize(&mut self) {
        for at in (0..CODE_BYTES).step_by(PAGE as usize) {
            self.code
                .invalidate_frame(Hpa::new(CODE_FRAMES + at).frame());
        }
    }

    /// Whether an instruction was met that the CPU doesn't know, since this was last asked.
    pub fn met_unknown(&mut self) -> bool {
        std::mem::take(&mut self.board.unknown)
    }

    /// Runs the sequence in a slot. The pages are those of `outcome` before; all of it is
    /// replaced.
    pub fn run(&mut self, slot: usize, length: usize, before: &Registers, outcome: &mut Outcome) {
        let start = CODE + slot as u64 * SLOT;
        let window = self.board.memory.window();
        window.write_bytes(Hpa::new(DATA_FRAME), &outcome.data);
        window.write_bytes(Hpa::new(STACK_FRAME), &outcome.stack);
        let flat = Segment {
            selector: 0,
            base: 0,
            limit: u32::MAX,
            rights: Segment::UNUSABLE,
        };
        for number in [seg::ES, seg::DS, seg::FS, seg::GS] {
            self.cpu.set_segment(number, flat);
        }
        self.cpu.set_segment(
            seg::CS,
            Segment {
                selector: USER_CODE,
                rights: 0xa0fb,
                ..flat
            },
        );
        self.cpu.set_segment(
            seg::SS,
            Segment {
                selector: USER_STACK,
                rights: 0xc0f3,
                ..flat
            },
        );
        for (number, &value) in before.gpr.iter().enumerate() {
            self.cpu.set_gpr(number, value);
        }
        self.cpu.set_rip(start);
        self.cpu.set_rflags(before.rflags);
        let restored = image::fxrstor(&mut self.cpu.fpu, &before.image, LAYOUT);
        debug_assert_eq!(restored, Ok(()), "a sequence starts from a valid image");

        let exit = self.cpu.run(&mut self.board, &mut self.code, BUDGET);

        let registers = &mut outcome.registers;
        for (number, value) in registers.gpr.iter_mut().enumerate() {
            *value = self.cpu.gpr(number);
        }
        registers.rip = self.cpu.rip();
        registers.rflags = self.cpu.rflags();
        registers.image = [0; 512];
        image::fxsave(&self.cpu.fpu, &mut registers.image, LAYOUT);
        let handler = registers.rip.wrapping_sub(HANDLERS);
        outcome.end = match exit {
            Exit::Budget => End::Timeout,
            Exit::Vm(exit) if exit.reason != reason::CPUID => End::Exit(exit.reason),
            Exit::Vm(_) if handler < PAGE => self.fault((handler / 16) as u8, registers),
            Exit::Vm(_) if registers.rip == start + length as u64 => End::Finished,
            Exit::Vm(exit) => End::Exit(exit.reason),
        };
        let window = self.board.memory.window();
        window.read_bytes(Hpa::new(DATA_FRAME), &mut outcome.data);
        window.read_bytes(Hpa::new(STACK_FRAME), &mut outcome.stack);
    }

    /// Takes an exception's frame off the handler's stack.
    fn fault(&self, vector: u8, registers: &mut Registers) -> End {
        let window = self.board.memory.window();
        let mut at = registers.gpr[gpr::RSP].wrapping_sub(SYSTEM) + SYSTEM_FRAMES;
        let mut pop = || {
            let value = window.read_u64(Hpa::new(at));
            at += 8;
            value
        };
        let has_error_code = u32::from(vector) < 32 && ERROR_CODES >> vector & 1 != 0;
        let error_code = if has_error_code { pop() as u32 } else { 0 };
        registers.rip = pop();
        let _selector = pop();
        registers.rflags = pop();
        registers.gpr[gpr::RSP] = pop();
        let address = if vector == PAGE_FAULT {
            self.cpu.cr2()
        } else {
            0
        };
        End::Fault {
            vector,
            error_code,
            address,
        }
    }
}

/// An instruction that isn't one.
pub const fn is_invalid_opcode(end: End) -> bool {
    matches!(
        end,
        End::Fault {
            vector: INVALID_OPCODE,
            ..
        }
    )
}

fn build_tables(window: &Window) {
    let put = |at: u64, value: u64| window.write_u64(Hpa::new(at), value);
    put(EPT_ROOT, Entry::table(Hpa::new(EPT_DIRECTORIES)).0);
    put(EPT_DIRECTORIES, Entry::table(Hpa::new(EPT_DIRECTORY)).0);
    put(
        EPT_DIRECTORY,
        Entry::leaf(Hpa::new(0), 1, Access::ALL, MemoryType::WriteBack).0,
    );

    let table = PRESENT | WRITABLE | USER;
    put(PAGE_MAP, DIRECTORIES | table);
    // Everything lies in the second GiB.
    put(DIRECTORIES + 8, DIRECTORY | table);
    let mut free = TABLES;
    let mut map = |linear: u64, frames: u64, pages: u64, rights: u64| {
        put(DIRECTORY + 8 * (linear >> 21 & 511), free | table);
        for page in 0..pages {
            let entry = free + 8 * ((linear >> 12 & 511) + page);
            put(entry, (frames + page * PAGE) | PRESENT | rights);
        }
        free += PAGE;
    };
    map(CODE, CODE_FRAMES, CODE_BYTES / PAGE, USER);
    map(DATA, DATA_FRAME, 1, USER | WRITABLE | NO_EXECUTE);
    map(STACK, STACK_FRAME, 1, USER | WRITABLE | NO_EXECUTE);
    map(SYSTEM, SYSTEM_FRAMES, SYSTEM_PAGES, WRITABLE);
}

fn build_system(window: &Window) {
    let frame = |linear: u64| Hpa::new(linear - SYSTEM + SYSTEM_FRAMES);
    for vector in 0..256 {
        let handler = HANDLERS + 16 * vector;
        window.write_bytes(frame(handler), &CPUID);
        // A 64-bit interrupt gate that INT3 may use, too (SDM Vol. 3, figure 6-8).
        let low = handler & 0xffff
            | u64::from(SYSTEM_CODE) << 16
            | 0xee00 << 32
            | (handler >> 16 & 0xffff) << 48;
        window.write_u64(frame(IDT + 16 * vector), low);
        window.write_u64(frame(IDT + 16 * vector + 8), handler >> 32);
    }
    window.write_u64(frame(GDT + u64::from(SYSTEM_CODE)), 0x00af_9b00_0000_ffff);
    // No I/O permission bitmap: its base is the limit (SDM Vol. 3, figure 8-11). Then RSP0.
    window.write_u16(frame(TSS + 0x66), 0x68);
    window.write_u64(frame(TSS + 4), SYSTEM_STACK_TOP);
}

const _: () = assert!(size_of::<Page>() as u64 == PAGE && CODE_BYTES <= DATA_FRAME - CODE_FRAMES);
