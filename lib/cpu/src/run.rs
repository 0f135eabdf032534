//! The outer loop: events, blocks, exits.

use crate::Env;
use crate::code_cache::{BLOCK_OPS, Block, CACHED_LIMIT, CodeCache, key};
use crate::decode::{decode_block, mode};
use crate::exit::{Event, EventKind, Exit, VmExit, reason};
use crate::flags::rflags;
use crate::machine::Machine;
use crate::op::Op;
use crate::state::{Cpu, NO_FRAME, Stop, Trap, attention, is_canonical, seg};
use gpa::{Hpa, PAGE_SIZE};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use memory::PhysMemory;

/// Instructions between two looks at the machine's kick.
const KICK_INTERVAL: u64 = 8192;
/// Longest x86 instruction in bytes.
const LONGEST: usize = 15;
/// Bytes that are looked at for one block.
const WINDOW: usize = 192;

impl Cpu {
    /// Runs guest code until a VM exit, or until about `budget` instructions are done (never
    /// more than one block above it, or a portion of a repeated string instruction).
    ///
    /// First delivers what was injected, and takes over posted interrupts.
    pub fn run<M: Machine>(
        &mut self,
        machine: &mut M,
        code: &mut CodeCache<'_>,
        budget: u64,
    ) -> Exit {
        if self.code_epoch != code.index.epoch {
            // Frames became code since: writes to them must be seen.
            self.tlb.deny_writes(None);
            self.code_epoch = code.index.epoch;
        }
        self.sync_posted(machine);
        let mut left = budget;
        while left > 0 {
            if machine.kick_pending() {
                self.sync_posted(machine);
                return Exit::Vm(VmExit::new(reason::EXTERNAL_INTERRUPT));
            }
            let slice = left.min(KICK_INTERVAL);
            let before = self.retired;
            let (traps, exit) = self.run_slice(machine, code, slice);
            let done = self.retired - before;
            self.running_frame = NO_FRAME;
            self.running_second = NO_FRAME;
            if let Some(exit) = exit {
                return Exit::Vm(exit);
            }
            left = left.saturating_sub((done + traps).max(1));
        }
        Exit::Budget
    }

    /// Takes over what others have posted for this CPU (SDM vol. 3C, 30.6). Done at the start
    /// of every run, too.
    pub fn sync_posted<M: Machine>(&mut self, machine: &M) {
        if let Some(descriptor) = self.controls.posted_interrupts {
            self.apic.sync(machine.memory(), descriptor);
        }
        self.update_attention();
    }

    /// Whether the CPU would leave `HLT` now: an event it can take is pending.
    pub fn can_take_event(&self) -> bool {
        let interrupts = self.rflags & rflags::IF != 0 && !self.shadow;
        self.pending.is_some()
            || self.attention & attention::NMI != 0 && !self.nmi_blocked
            || interrupts && self.apic.deliverable().is_some()
    }

    /// Runs until `slice` instructions are done or delivered as exceptions: a handler that raises
    /// its own exception does none. How many were delivered.
    fn run_slice<M: Machine>(
        &mut self,
        machine: &mut M,
        code: &mut CodeCache<'_>,
        slice: u64,
    ) -> (u64, Option<VmExit>) {
        let (mut done, mut traps) = (0, 0);
        while done + traps < slice {
            let mut single = false;
            if self.attention != 0 {
                let mut env = Env {
                    machine: &mut *machine,
                    index: &mut code.index,
                };
                match self.attend(&mut env) {
                    Ok(alone) => single = alone,
                    Err(exit) => return (done, Some(exit)),
                }
            }
            if !self.long {
                self.rip &= 0xffff_ffff;
            }
            let stepping = self.rflags & rflags::TF != 0;
            let shadow = core::mem::replace(&mut self.shadow, false);
            // Only where nothing can come between two blocks they follow each other in there.
            let budget = if self.attention == 0 && self.long {
                slice - done - traps
            } else {
                0
            };
            match self.run_block(machine, code, single, budget) {
                Ok(count) => {
                    done += count;
                    self.retired += count;
                    if stepping {
                        self.stop = Stop::Exception {
                            vector: 1,
                            error_code: None,
                        };
                        self.dr6 |= 1 << 14;
                        if let Err(exit) = self.trap(machine, code) {
                            return (traps, Some(exit));
                        }
                    }
                }
                Err(count) => {
                    done += count;
                    self.retired += count;
                    if let Err(exit) = self.trap(machine, code) {
                        // The instruction didn't happen: neither did the end of its shadow.
                        self.shadow = shadow;
                        return (traps, Some(exit));
                    }
                    traps += 1;
                }
            }
        }
        (traps, None)
    }

    /// Delivers what can be delivered. `true`: only one instruction may run now.
    #[inline(never)]
    fn attend<M: Machine>(&mut self, env: &mut Env<'_, '_, M>) -> Result<bool, VmExit> {
        let mut single = self.attention & (attention::STEP | attention::SINGLE) != 0;
        self.attention &= !attention::SINGLE;
        if let Some(event) = self.pending.take() {
            if event.kind == EventKind::Nmi {
                self.nmi_blocked = true;
            }
            self.update_attention();
            self.shadow = false;
            self.deliver(env, event)?;
            return Ok(self.rflags & rflags::TF != 0);
        }
        if self.attention & attention::NMI != 0 && !self.nmi_blocked {
            if self.shadow {
                return Ok(true);
            }
            self.attention &= !attention::NMI;
            self.nmi_blocked = true;
            self.deliver(env, Event::nmi())?;
            return Ok(false);
        }
        if self.attention & attention::INTERRUPT != 0 && self.rflags & rflags::IF != 0 {
            if self.shadow {
                return Ok(true);
            }
            if let Some(vector) = self.apic.deliverable() {
                self.apic.acknowledge(vector);
                self.update_attention();
                self.deliver(env, Event::external(vector))?;
            }
            single = self.rflags & rflags::TF != 0;
        }
        Ok(single)
    }

    /// Handles the cause of a trap: delivers the exception, or gives the exit.
    #[inline(never)]
    fn trap<M: Machine>(
        &mut self,
        machine: &mut M,
        code: &mut CodeCache<'_>,
    ) -> Result<(), VmExit> {
        let event = match self.take_stop() {
            Ok(event) => event,
            Err(Stop::Exit(exit)) => return Err(exit),
            Err(Stop::Unknown) => {
                self.report_unknown(machine, code);
                Event::exception(6, None)
            }
            Err(_) => {
                // Wrote to its own block: alone, it isn't in the cache and doesn't matter.
                self.attention |= attention::SINGLE;
                return Ok(());
            }
        };
        let mut env = Env {
            machine,
            index: &mut code.index,
        };
        self.deliver(&mut env, event)
    }

    #[cold]
    fn report_unknown<M: Machine>(&mut self, machine: &mut M, code: &mut CodeCache<'_>) {
        let mut bytes = [0; LONGEST];
        let linear = self.linear_rip();
        let mut env = Env {
            machine: &mut *machine,
            index: &mut code.index,
        };
        let mode = self.mode();
        let first = self.translate(&mut env, linear, crate::tlb::Access::Fetch, mode);
        let mut len = 0;
        if let Ok(hpa) = first {
            len = LONGEST.min((PAGE_SIZE - hpa.offset()) as usize);
            machine.memory().read_bytes(hpa, &mut bytes[..len]);
        }
        self.stop = Stop::None;
        let bits = if self.long { 64 } else { 32 };
        let mnemonic = Decoder::new(bits, &bytes[..len], DecoderOptions::NONE)
            .decode()
            .mnemonic();
        let mnemonic = if len == 0 {
            Mnemonic::INVALID
        } else {
            mnemonic
        };
        machine.unknown_instruction(self.rip, &bytes[..len], mnemonic);
    }

    fn linear_rip(&self) -> u64 {
        if self.long {
            self.rip
        } else {
            self.wrap(self.rip.wrapping_add(self.segments[seg::CS].base))
        }
    }

    /// Runs the block at RIP, and what can follow it within the budget. Gives the instructions
    /// done, in `Err` if the last one trapped.
    #[inline(always)]
    fn run_block<M: Machine>(
        &mut self,
        machine: &mut M,
        code: &mut CodeCache<'_>,
        single: bool,
        budget: u64,
    ) -> Result<u64, u64> {
        let linear = self.linear_rip();
        let hpa = match self.tlb.get(linear, 1, self.mask_fetch) {
            Some(hpa) => hpa,
            None => match self.fetch_slow(machine, code, linear) {
                Ok(hpa) => hpa,
                Err(Trap) => return Err(0),
            },
        };
        let mut decoding = if self.long {
            mode::LONG
        } else if self.segments[seg::CS].is_big() {
            0
        } else {
            mode::SMALL
        };
        if single {
            decoding |= mode::SINGLE;
        }
        let key = key(hpa, decoding);
        // What runs alone isn't cached: it may be about to change its own frame.
        if let Some(block) = code.index.find(key)
            && !single
            && (block.second == 0 || self.is_second(machine, code, &block, linear))
        {
            let mut env = Env {
                machine,
                index: &mut code.index,
            };
            return self.execute(&mut env, code.ops, block, hpa, budget);
        }
        self.run_new(machine, code, hpa, linear, decoding)
    }

    /// Translates RIP for a fetch.
    #[inline(never)]
    fn fetch_slow<M: Machine>(
        &mut self,
        machine: &mut M,
        code: &mut CodeCache<'_>,
        linear: u64,
    ) -> Result<u64, Trap> {
        self.running_frame = NO_FRAME;
        self.running_second = NO_FRAME;
        self.trapped = Op::EMPTY;
        if self.long && !is_canonical(linear) {
            return self.general_protection();
        }
        let mut env = Env {
            machine,
            index: &mut code.index,
        };
        let mode = self.mode();
        self.translate(&mut env, linear, crate::tlb::Access::Fetch, mode)
            .map(Hpa::get)
    }

    /// Whether the block's second frame is still the one that the next page maps.
    #[cold]
    fn is_second<M: Machine>(
        &mut self,
        machine: &mut M,
        code: &mut CodeCache<'_>,
        block: &Block,
        linear: u64,
    ) -> bool {
        let next = self.wrap((linear | (PAGE_SIZE - 1)).wrapping_add(1));
        if !code.index.is_current(block) {
            return false;
        }
        match self.fetch_slow(machine, code, next) {
            Ok(hpa) => hpa / PAGE_SIZE == block.second as u64,
            // Decoding will find the same fault.
            Err(Trap) => false,
        }
    }

    /// Decodes the block at RIP and runs it.
    #[inline(never)]
    fn run_new<M: Machine>(
        &mut self,
        machine: &mut M,
        code: &mut CodeCache<'_>,
        hpa: u64,
        linear: u64,
        decoding: u8,
    ) -> Result<u64, u64> {
        let mut bytes = [0; WINDOW];
        let in_page = (PAGE_SIZE - hpa % PAGE_SIZE) as usize;
        let window = in_page.min(WINDOW);
        machine
            .memory()
            .read_bytes(Hpa::new(hpa), &mut bytes[..window]);
        let mut scratch = [Op::EMPTY; BLOCK_OPS];
        let mut decoded = decode_block(&bytes[..window], decoding, &mut scratch);
        let mut second = 0;
        if decoded.incomplete {
            // The instruction runs into the next page.
            let next = self.wrap(linear.wrapping_add(in_page as u64));
            let Ok(next) = self.fetch_slow(machine, code, next) else {
                return Err(0);
            };
            second = next / PAGE_SIZE;
            let end = window + LONGEST;
            machine
                .memory()
                .read_bytes(Hpa::new(next), &mut bytes[window..end]);
            decoded = decode_block(&bytes[..end], decoding | mode::SINGLE, &mut scratch);
        }
        let block = Block {
            key: key(hpa, decoding),
            first: 0,
            ops: decoded.ops as u8,
            instructions: decoded.instructions as u8,
            second: second as u32,
            generation: 0,
        };
        let cacheable = hpa < CACHED_LIMIT && second < CACHED_LIMIT / PAGE_SIZE;
        if cacheable && decoding & mode::SINGLE == 0 {
            let (first, room) = code.reserve();
            room[..decoded.ops].copy_from_slice(&scratch[..decoded.ops]);
            code.insert(block);
            if code.index.mark(hpa) {
                self.tlb.deny_writes(Some(hpa));
            }
            if second != 0 && code.index.mark(second * PAGE_SIZE) {
                self.tlb.deny_writes(Some(second * PAGE_SIZE));
            }
            self.code_epoch = code.index.epoch;
            let block = Block {
                first: first as u32,
                ..block
            };
            let mut env = Env {
                machine,
                index: &mut code.index,
            };
            return self.execute(&mut env, code.ops, block, hpa, 0);
        }
        let mut env = Env {
            machine,
            index: &mut code.index,
        };
        self.execute_alone(&mut env, &scratch, block)
    }
}
