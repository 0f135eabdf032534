//! Executes one instruction on this machine with all its floating-point state given.
#![allow(unsafe_code)] // Machine code is what is tested here.

use iced_x86::{Encoder, Instruction};

/// Registers and memory before or after the instruction.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct State {
    /// The FXSAVE64 image.
    pub image: [u8; 512],
    /// The memory operand is `[rsi]`, which points here.
    pub memory: [u8; 128],
    pub rax: u64,
    pub rflags: u64,
}

#[repr(C, align(64))]
struct Block {
    before: State,
    image_after: [u8; 512],
    default_mxcsr: u32,
}

pub struct Machine {
    code: *mut u8,
    block: Box<Block>,
}

const CODE_BYTES: usize = 4096;
const RAX: i32 = core::mem::offset_of!(State, rax) as i32;
const RFLAGS: i32 = core::mem::offset_of!(State, rflags) as i32;
const MEMORY: i32 = core::mem::offset_of!(State, memory) as i32;
const IMAGE_AFTER: i32 = core::mem::offset_of!(Block, image_after) as i32;
const DEFAULT: i32 = core::mem::offset_of!(Block, default_mxcsr) as i32;

impl Machine {
    pub fn new() -> Self {
        // SAFETY: a fresh anonymous mapping, owned by this value until the process ends.
        let code = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                CODE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(
            code,
            libc::MAP_FAILED,
            "no executable page: {}",
            std::io::Error::last_os_error()
        );
        let empty = State {
            image: [0; 512],
            memory: [0; 128],
            rax: 0,
            rflags: 0,
        };
        Self {
            code: code.cast(),
            block: Box::new(Block {
                before: empty,
                image_after: [0; 512],
                default_mxcsr: fpu::MXCSR_RESET,
            }),
        }
    }

    /// Where the instruction under test stands.
    pub fn address(&self) -> u64 {
        self.code as u64 + 0x100
    }

    /// What the instruction under test notes about itself.
    pub fn pointers(&self, memory: bool) -> fpu::Pointers {
        // SAFETY: `assemble` wrote these bytes; x87 instructions have no prefix here.
        let opcode = unsafe { std::slice::from_raw_parts(self.code.add(0x100), 2) };
        let operand = self.block.before.memory.as_ptr() as u64;
        fpu::Pointers {
            opcode: u16::from(opcode[0] & 7) << 8 | u16::from(opcode[1]),
            ip: self.address(),
            data: if memory { operand } else { 0 },
        }
    }

    pub fn assemble(&mut self, instruction: &Instruction) {
        let with =
            |opcode: &[u8], displacement: i32| [opcode, &displacement.to_le_bytes()].concat();
        let enter = [
            with(&[0x48, 0x8d, 0xb7], MEMORY), // lea rsi, [rdi + MEMORY]
            vec![0x48, 0x0f, 0xae, 0x0f],      // fxrstor64 [rdi]
            with(&[0x48, 0x8b, 0x87], RAX),    // mov rax, [rdi + RAX]
            with(&[0xff, 0xb7], RFLAGS),       // push [rdi + RFLAGS]
            vec![0x9d],                        // popfq
        ]
        .concat();
        let leave = [
            vec![0x9c],                                   // pushfq
            with(&[0x8f, 0x87], RFLAGS),                  // pop [rdi + RFLAGS]
            with(&[0x48, 0x89, 0x87], RAX),               // mov [rdi + RAX], rax
            with(&[0x48, 0x0f, 0xae, 0x87], IMAGE_AFTER), // fxsave64 [rdi + IMAGE_AFTER]
            vec![0xdb, 0xe3],                             // fninit
            with(&[0x0f, 0xae, 0x97], DEFAULT),           // ldmxcsr [rdi + DEFAULT]
            vec![0xc3],                                   // ret
        ]
        .concat();
        let mut encoder = Encoder::new(64);
        encoder
            .encode(instruction, self.address())
            .expect("a valid instruction");
        let under_test = encoder.take_buffer();
        // The entry ends where the instruction under test begins.
        let start = 0x100 - enter.len();
        let whole = [enter, under_test, leave].concat();
        // SAFETY: within the page, and nothing executes it now.
        unsafe {
            std::ptr::write_bytes(self.code, 0x90, 0x100);
            std::ptr::copy_nonoverlapping(whole.as_ptr(), self.code.add(start), whole.len());
        }
    }

    pub fn run(&mut self, before: &State) -> State {
        self.block.before = before.clone();
        let block: *mut Block = &mut *self.block;
        // SAFETY: the code written by `assemble` keeps the C calling convention: it changes RAX,
        // RSI, RFLAGS and floating-point registers, all volatile, restores the control words,
        // and writes only into the block.
        unsafe {
            let entry: extern "C" fn(*mut Block) = std::mem::transmute(self.code);
            entry(block);
        }
        State {
            image: self.block.image_after,
            ..self.block.before.clone()
        }
    }
}
