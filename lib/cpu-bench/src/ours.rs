//! The flat binary on the software CPU.

use crate::image::{self, BASE, CODE_SELECTOR, DATA_SELECTOR, MARKER_PORT, PAGE_MAP};
use crate::{Times, peer};
use cpu::{
    CodeCache, CodeStorage, Controls, Cpu, Exit, Machine, Segment, Table, cr0, cr4, efer, gpr,
    reason, seg,
};
use gpa::Hpa;
use memory::{HostMemory, PhysMemory, Window};

const MEMORY: u64 = 64 << 20;
/// The EPT, where the image uses nothing: root, directories, directory.
const EPT: u64 = 0x9_0000;

struct Board(HostMemory);

impl Machine for Board {
    type Memory = Window;
    fn memory(&self) -> &Window {
        self.0.window()
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
}

/// Processor time and instructions of each kernel.
pub fn run(tdcall: bool) -> (Times, [u64; 3]) {
    let mut storage = Box::new(CodeStorage::<0x1_0000, 0x4000>::new());
    let mut code = CodeCache::new(&mut storage);
    let mut board = Board(HostMemory::new(Hpa::new(0), MEMORY));
    let window = board.0.window();
    window.write_bytes(Hpa::new(BASE), &image::image(tdcall));
    // Read, write, execute; leaves of 2 MiB, write-back.
    window.write_u64(Hpa::new(EPT), (EPT + 0x1000) | 7);
    window.write_u64(Hpa::new(EPT + 0x1000), (EPT + 0x2000) | 7);
    for i in 0..MEMORY >> 21 {
        window.write_u64(Hpa::new(EPT + 0x2000 + 8 * i), i << 21 | 0xb7);
    }

    let mut cpu = Box::new(Cpu::new());
    cpu.controls = Controls {
        private_root: Hpa::new(EPT),
        ..Controls::new()
    };
    cpu.set_control_registers(
        cr0::PE | cr0::ET | cr0::NE | cr0::WP | cr0::PG,
        PAGE_MAP,
        cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT,
        efer::LME | efer::LMA,
    );
    // Where the boot code has it, with the segments that it has.
    let gdt = 0x10_0000;
    for (i, descriptor) in [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff]
        .into_iter()
        .enumerate()
    {
        window.write_u64(Hpa::new(gdt + 8 * i as u64), descriptor);
    }
    cpu.set_gdtr(Table {
        base: gdt,
        limit: 23,
    });
    let flat = |selector, rights| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        rights,
    };
    cpu.set_segment(seg::CS, flat(CODE_SELECTOR, 0xa09b));
    for number in [seg::ES, seg::SS, seg::DS, seg::FS, seg::GS] {
        cpu.set_segment(number, flat(DATA_SELECTOR, 0xc093));
    }
    cpu.set_rip(image::entry());

    let mut marks = Vec::new();
    while marks.len() < 4 {
        let exit = match cpu.run(&mut board, &mut code, 50_000) {
            Exit::Budget => continue,
            Exit::Vm(exit) => exit,
        };
        match exit.reason {
            // Exit qualification of I/O instructions: the port is in bits 31:16.
            reason::IO if exit.qualification >> 16 == MARKER_PORT.into() => {
                marks.push((peer::own_processor_time(), cpu.retired()));
            }
            reason::CPUID | reason::TDCALL => cpu.set_gpr(gpr::RAX, 0),
            _ => panic!("the image does nothing that gives {exit:x?}"),
        }
        cpu.advance(exit.instruction_length);
    }
    let between = |i: usize| (marks[i + 1].0 - marks[i].0, marks[i + 1].1 - marks[i].1);
    let kernels = [0, 1, 2].map(between);
    (kernels.map(|k| k.0), kernels.map(|k| k.1))
}
