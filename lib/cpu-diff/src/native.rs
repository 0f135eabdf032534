//! Sequences on this machine's own CPU.
//!
//! A sequence runs in this process, in user mode, with all registers its own. It leaves through
//! a jump behind its last instruction, or through a signal, whose handler takes the registers
//! out of the signal frame and sends the thread back to the host's. Its code is mapped a second
//! time for writing, so a stray store can't change it.
//!
//! A store through a random address could in principle hit this process's own memory: with 47
//! address bits and some megabytes mapped that is one in millions of stray stores, nearly all
//! of which meet addresses that aren't canonical anyway.
#![allow(unsafe_code)] // Machine code, signal frames and fixed mappings are the point here.

use crate::layout::{BLOCK, CODE, CODE_BYTES, DATA, PAGE, SLOT, STACK, TRAMPOLINE};
use crate::state::{End, Outcome, Page, Registers};
use std::io::Error;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the trampoline works on; lies at [`BLOCK`].
#[repr(C, align(64))]
struct Block {
    before: Registers,
    after: Registers,
    /// The host's RSP, RBX, RBP, R12 to R15.
    host: [u64; 7],
    default_mxcsr: u64,
    /// Address of the trampoline's exit, which sequences jump to through this word.
    exit: u64,
    /// 1 while a sequence runs.
    running: u64,
    /// 1 where a signal ended the sequence.
    signalled: u64,
    vector: u64,
    error_code: u64,
    address: u64,
    /// Counts sequences, and what the timer saw last.
    sequence: u64,
    watched: u64,
    /// Where the trampoline pushes.
    stack: [u64; 8],
}

const TIMEOUT_VECTOR: u64 = 0x100;

/// This machine's CPU. One at a time in a process: it owns fixed addresses and signals.
pub struct Native {
    /// The writable view of the code.
    code: *mut u8,
    _alternate: Box<[u8]>,
}

static IN_USE: AtomicBool = AtomicBool::new(false);

fn last_error(what: &str) -> String {
    format!("{what}: {}", Error::last_os_error())
}

fn map(address: u64, bytes: u64, protection: i32, fd: i32) -> Result<*mut u8, String> {
    let flags = if fd >= 0 {
        libc::MAP_SHARED
    } else {
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS
    };
    let fixed = if address != 0 {
        libc::MAP_FIXED_NOREPLACE
    } else {
        0
    };
    // SAFETY: a new mapping that replaces none.
    let pointer = unsafe {
        libc::mmap(
            address as *mut _,
            bytes as usize,
            protection,
            flags | fixed,
            fd,
            0,
        )
    };
    if pointer == libc::MAP_FAILED || address != 0 && pointer as u64 != address {
        return Err(last_error(&format!(
            "can't map {bytes} bytes at {address:#x}"
        )));
    }
    Ok(pointer.cast())
}

const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_WRITE;
const EXECUTE: i32 = libc::PROT_EXEC;

/// Whether this machine's processor is an Intel one, whose behaviour the software CPU has also
/// where the SDM leaves it open.
pub fn is_intel() -> bool {
    std::arch::x86_64::__cpuid(0).ebx == u32::from_le_bytes(*b"Genu")
}

impl Native {
    /// Maps memory and catches signals. Fails where an address is taken, as it is while another
    /// `Native` exists.
    pub fn new() -> Result<Self, String> {
        if IN_USE.swap(true, Ordering::SeqCst) {
            return Err("only one native CPU at a time".into());
        }
        // SAFETY: a fresh file descriptor, closed once it is mapped.
        let fd = unsafe { libc::memfd_create(c"code".as_ptr(), 0) };
        // SAFETY: as above.
        if fd < 0 || unsafe { libc::ftruncate(fd, CODE_BYTES as i64) } != 0 {
            return Err(last_error("can't make a file for code"));
        }
        let code = map(0, CODE_BYTES, READ | WRITE, fd)?;
        map(CODE, CODE_BYTES, READ | EXECUTE, fd)?;
        // SAFETY: as above.
        unsafe { libc::close(fd) };
        map(DATA, PAGE, READ | WRITE, -1)?;
        map(STACK, PAGE, READ | WRITE, -1)?;
        map(BLOCK, PAGE, READ | WRITE, -1)?;
        let trampoline = map(TRAMPOLINE, PAGE, READ | WRITE, -1)?;
        let (bytes, exit) = trampoline_code();
        // SAFETY: fresh mappings, large enough (asserted below for the block).
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), trampoline, bytes.len());
            if libc::mprotect(trampoline.cast(), PAGE as usize, READ | EXECUTE) != 0 {
                return Err(last_error("can't make the trampoline executable"));
            }
            let block = BLOCK as *mut Block;
            (*block).exit = TRAMPOLINE + exit as u64;
            (*block).default_mxcsr = u64::from(fpu::MXCSR_RESET);
        }
        let mut alternate = vec![0u8; 0x2_0000].into_boxed_slice();
        let stack = libc::stack_t {
            ss_sp: alternate.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: alternate.len(),
        };
        // SAFETY: the stack lives as long as `Self`.
        if unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } != 0 {
            return Err(last_error("can't set the signal stack"));
        }
        for signal in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGTRAP,
            libc::SIGALRM,
        ] {
            // SAFETY: the handler only touches the block and its own arguments.
            let result = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
                libc::sigaction(signal, &action, ptr::null_mut())
            };
            if result != 0 {
                return Err(last_error("can't catch a signal"));
            }
        }
        let interval = libc::timeval {
            tv_sec: 0,
            tv_usec: 200_000,
        };
        let timer = libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        // SAFETY: a timer whose signal is handled.
        if unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) } != 0 {
            return Err(last_error("can't set the timer"));
        }
        Ok(Self {
            code,
            _alternate: alternate,
        })
    }

    /// Writes a sequence's code to its slot, followed by the jump out; the rest of the slot
    /// holds `INT3`. Call [`Native::synchronize`] before running it.
    pub fn load(&mut self, slot: usize, code: &[u8]) {
        let mut bytes = [0xcc; SLOT as usize];
        let length = code.len().min(SLOT as usize - EXIT_BYTES);
        bytes[..length].copy_from_slice(&code[..length]);
        let exit = absolute(&[0xff, 0x24, 0x25], offset_of!(Block, exit));
        bytes[length..length + EXIT_BYTES].copy_from_slice(&exit);
        let at = slot as u64 % (CODE_BYTES / SLOT) * SLOT;
        // SAFETY: within the mapping; nothing executes it now.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.code.add(at as usize), bytes.len())
        };
    }

    /// Makes the processor see code that was written through the other mapping
    /// (SDM Vol. 3, 9.1.3: a serializing instruction).
    pub fn synchronize(&self) {
        let _ = std::arch::x86_64::__cpuid(0);
    }

    /// Runs the sequence in a slot. The pages are those of `outcome` before; all of it is
    /// replaced.
    pub fn run(&mut self, slot: usize, before: &Registers, outcome: &mut Outcome) {
        let block = BLOCK as *mut Block;
        // SAFETY: all addresses are mapped by `new`; the trampoline keeps the C calling
        // convention whatever the sequence does (see the module's documentation).
        unsafe {
            (*block).before = before.clone();
            (*block).before.rip = CODE + slot as u64 * SLOT;
            (*block).signalled = 0;
            (*block).sequence = (*block).sequence.wrapping_add(1);
            *(DATA as *mut Page) = outcome.data;
            *(STACK as *mut Page) = outcome.stack;
            let enter: extern "C" fn() = std::mem::transmute(TRAMPOLINE);
            (*block).running = 1;
            enter();
            (*block).running = 0;
            outcome.registers = (*block).after.clone();
            outcome.end = match ((*block).signalled, (*block).vector) {
                (0, _) => End::Finished,
                (_, TIMEOUT_VECTOR) => End::Timeout,
                (_, vector) => End::Fault {
                    vector: vector as u8,
                    error_code: (*block).error_code as u32,
                    address: (*block).address,
                },
            };
            outcome.data = *(DATA as *const Page);
            outcome.stack = *(STACK as *const Page);
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        let interval = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let timer = libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        // SAFETY: stops the timer and takes the mappings away, which only `self` uses.
        unsafe {
            libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut());
            libc::munmap(self.code.cast(), CODE_BYTES as usize);
            libc::munmap(CODE as *mut _, CODE_BYTES as usize);
            for address in [DATA, STACK, BLOCK, TRAMPOLINE] {
                libc::munmap(address as *mut _, PAGE as usize);
            }
        }
        IN_USE.store(false, Ordering::SeqCst);
    }
}

const EXIT_BYTES: usize = 7;

/// An instruction that ends in the absolute address of a field of the block.
fn absolute(opcode: &[u8], offset: usize) -> Vec<u8> {
    let address = (BLOCK + offset as u64) as u32;
    [opcode, &address.to_le_bytes()].concat()
}

/// `mov [field], register` or, to load, `mov register, [field]`.
fn mov(load: bool, register: usize, offset: usize) -> Vec<u8> {
    let rex = 0x48 | (register as u8 >> 3) << 2;
    let opcode = if load { 0x8b } else { 0x89 };
    absolute(&[rex, opcode, (register as u8 & 7) << 3 | 4, 0x25], offset)
}

/// RSP, RBX, RBP, R12 to R15.
const HOST_REGISTERS: [usize; 7] = [4, 3, 5, 12, 13, 14, 15];
const GPR: usize = offset_of!(Registers, gpr);

/// The trampoline, and the offset of its exit.
fn trampoline_code() -> (Vec<u8>, usize) {
    let before = offset_of!(Block, before);
    let after = offset_of!(Block, after);
    let rflags = offset_of!(Registers, rflags);
    // mov rsp, end of the block's stack
    let own_stack = {
        let top = (BLOCK + offset_of!(Block, stack) as u64 + 64) as u32;
        [&[0x48, 0xc7, 0xc4][..], &top.to_le_bytes()].concat()
    };
    let mut code = Vec::new();
    for (i, register) in HOST_REGISTERS.into_iter().enumerate() {
        code.extend(mov(false, register, offset_of!(Block, host) + 8 * i));
    }
    code.extend(absolute(&[0x48, 0x0f, 0xae, 0x0c, 0x25], before)); // fxrstor64
    code.extend(&own_stack);
    code.extend(absolute(&[0xff, 0x34, 0x25], before + rflags)); // push
    code.push(0x9d); // popfq
    for register in 0..16 {
        code.extend(mov(true, register, before + GPR + 8 * register));
    }
    code.extend(absolute(
        &[0xff, 0x24, 0x25],
        before + offset_of!(Registers, rip),
    )); // jmp

    let exit = code.len();
    for register in 0..16 {
        code.extend(mov(false, register, after + GPR + 8 * register));
    }
    code.extend(&own_stack);
    code.push(0x9c); // pushfq
    code.extend(absolute(&[0x8f, 0x04, 0x25], after + rflags)); // pop
    code.extend(absolute(&[0x48, 0x0f, 0xae, 0x04, 0x25], after)); // fxsave64
    code.extend(leave_code());
    assert!(code.len() < RESUME);
    code.resize(RESUME, 0xcc);
    code.extend(leave_code());
    assert!(code.len() < PAGE as usize && size_of::<Block>() <= PAGE as usize);
    (code, exit)
}

/// Offset in the trampoline where a signal resumes.
const RESUME: usize = 0x800;

/// Back to the host: direction flag, floating-point control, registers.
fn leave_code() -> Vec<u8> {
    let mut code = vec![0xfc, 0xdb, 0xe3]; // cld; fninit
    code.extend(absolute(
        &[0x0f, 0xae, 0x14, 0x25],
        offset_of!(Block, default_mxcsr),
    )); // ldmxcsr
    for (i, register) in HOST_REGISTERS.into_iter().enumerate() {
        code.extend(mov(true, register, offset_of!(Block, host) + 8 * i));
    }
    code.push(0xc3); // ret
    code
}

/// Where the general registers stand in a signal frame, by their hardware numbers.
const FRAME: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

const PAGE_FAULT: u64 = 14;

extern "C" fn on_signal(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let block = BLOCK as *mut Block;
    // SAFETY: the kernel gives a valid frame; the block is mapped while signals are caught.
    unsafe {
        let frame = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let register = |number: libc::c_int| frame.gregs[number as usize] as u64;
        let rip = register(libc::REG_RIP);
        let own_code = (CODE..CODE + CODE_BYTES).contains(&rip);
        if signal == libc::SIGALRM {
            // Only a sequence that has been running since the last tick is stuck.
            let stuck = own_code && (*block).watched == (*block).sequence;
            (*block).watched = (*block).sequence;
            if !stuck {
                return;
            }
        } else if (*block).running == 0 || (*block).signalled != 0 {
            // The host itself faulted: let it die of that.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        (*block).signalled = 1;
        let vector = register(libc::REG_TRAPNO);
        (*block).vector = if signal == libc::SIGALRM {
            TIMEOUT_VECTOR
        } else {
            vector
        };
        (*block).error_code = register(libc::REG_ERR);
        (*block).address = if vector == PAGE_FAULT {
            register(libc::REG_CR2)
        } else {
            0
        };
        let after = &mut (*block).after;
        for (value, number) in after.gpr.iter_mut().zip(FRAME) {
            *value = register(number);
        }
        after.rip = rip;
        after.rflags = register(libc::REG_EFL);
        ptr::copy_nonoverlapping(frame.fpregs.cast::<u8>(), after.image.as_mut_ptr(), 512);
        frame.gregs[libc::REG_RIP as usize] = (TRAMPOLINE + RESUME as u64) as i64;
        // The direction and trap flags must not follow us.
        frame.gregs[libc::REG_EFL as usize] = 0x202;
    }
}
