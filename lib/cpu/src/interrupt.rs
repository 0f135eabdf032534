//! Delivery of interrupts and exceptions through the IDT (SDM vol. 3A, chapter 6).

use crate::Env;
use crate::exit::{Event, EventKind, VmExit, reason};
use crate::flags::rflags;
use crate::machine::Machine;
use crate::op::Op;
use crate::segment::{GP, NP, SS, TS, rights};
use crate::state::{Cpu, NO_FRAME, Segment, Stop, Trap, cr0, efer, gpr, is_canonical, seg};
use crate::tlb::{Access, Mode, mask};
use gpa::Hpa;
use memory::PhysMemory;

const DOUBLE_FAULT: u8 = 8;

/// How exceptions combine (SDM vol. 3A, table 6-5).
#[derive(PartialEq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
}

fn class(event: &Event) -> Class {
    if event.kind != EventKind::Exception {
        return Class::Benign;
    }
    match event.vector {
        0 | 10 | 11 | 12 | 13 | 21 => Class::Contributory,
        14 | 20 => Class::PageFault,
        _ => Class::Benign,
    }
}

impl Cpu {
    /// Turns a [`Trap`]'s cause into an exception; `Err` is an exit.
    /// Sets CR2 for a page fault.
    pub(crate) fn take_stop(&mut self) -> Result<Event, Stop> {
        Ok(match core::mem::replace(&mut self.stop, Stop::None) {
            Stop::Exception { vector, error_code } => Event::exception(vector, error_code),
            Stop::PageFault { linear, error_code } => {
                self.cr2 = linear;
                Event::exception(14, Some(error_code))
            }
            Stop::NonCanonical => {
                let stack = self.trapped.place.segment() as usize == seg::SS;
                Event::exception(if stack { SS } else { GP }, Some(0))
            }
            Stop::Event(event) => event,
            other => return Err(other),
        })
    }

    /// Delivers an event, or what becomes of it: a double fault, an exit.
    pub(crate) fn deliver<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        first: Event,
    ) -> Result<(), VmExit> {
        let mut event = first;
        self.running_frame = NO_FRAME;
        self.running_second = NO_FRAME;
        loop {
            self.trapped = Op::EMPTY;
            let Err(Trap) = self.try_deliver(env, event) else {
                return Ok(());
            };
            let second = match self.take_stop() {
                Ok(second) => second,
                Err(Stop::Exit(exit)) => {
                    return Err(VmExit {
                        vectoring: Some(event),
                        ..exit
                    });
                }
                // The stack lay on code, which is forgotten now.
                Err(_) => continue,
            };
            let doubled = matches!(
                (class(&event), class(&second)),
                (Class::Contributory, Class::Contributory)
                    | (Class::PageFault, Class::Contributory | Class::PageFault)
            );
            if event.kind == EventKind::Exception && event.vector == DOUBLE_FAULT {
                return Err(VmExit::new(reason::TRIPLE_FAULT));
            }
            event = if doubled {
                Event::exception(DOUBLE_FAULT, Some(0))
            } else {
                second
            };
        }
    }

    fn try_deliver<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        event: Event,
    ) -> Result<(), Trap> {
        if self.efer & efer::LMA != 0 {
            self.deliver_long(env, event)
        } else {
            self.deliver_legacy(env, event)
        }
    }

    fn is_software(event: &Event) -> bool {
        matches!(
            event.kind,
            EventKind::SoftwareInterrupt
                | EventKind::SoftwareException
                | EventKind::PrivilegedSoftwareException
        )
    }

    /// RFLAGS as they are pushed: faults set RF, so that they resume past a breakpoint.
    fn pushed_flags(&self, event: &Event) -> u64 {
        let fault = event.kind == EventKind::Exception && event.vector != 1;
        self.rflags() | if fault { rflags::RF } else { 0 }
    }

    fn return_rip(&self, event: &Event) -> u64 {
        if Self::is_software(event) {
            self.wrap(self.rip.wrapping_add(event.instruction_length as u64))
        } else {
            self.rip
        }
    }

    fn enter_handler(&mut self, gate: u64) {
        let mut flags = self.rflags() & !(rflags::TF | rflags::NT | rflags::RF | rflags::VM);
        if gate >> 40 & 1 == 0 {
            flags &= !rflags::IF;
        }
        self.set_rflags(flags);
    }

    fn deliver_long<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        event: Event,
    ) -> Result<(), Trap> {
        let software = Self::is_software(&event);
        let external = !software as u32;
        let at = event.vector as u64 * 16;
        let gate_code = event.vector as u32 * 8 + 2 + external;
        if at + 15 > self.idtr.limit as u64 {
            return self.raise_code(GP, gate_code);
        }
        let gate = self.read_system::<u64, M>(env, self.idtr.base.wrapping_add(at))?;
        let high = self.read_system::<u64, M>(env, self.idtr.base.wrapping_add(at + 8))?;
        let checks_dpl = matches!(
            event.kind,
            EventKind::SoftwareInterrupt | EventKind::SoftwareException
        );
        let gate_dpl = (gate >> 45 & 3) as u8;
        // Interrupt and trap gates: type 14 and 15, not a segment.
        if gate >> 41 & 0xf != 7 || checks_dpl && gate_dpl < self.cpl {
            return self.raise_code(GP, gate_code);
        }
        if gate >> 47 & 1 == 0 {
            return self.raise_code(NP, gate_code);
        }
        let selector = (gate >> 16) as u16;
        let target = gate & 0xffff | gate >> 32 & 0xffff_0000 | high << 32;
        let code = self.descriptor(env, selector, external)?.segment;
        let code_error = selector as u32 & 0xfffc | external;
        let is_code =
            code.rights & (rights::SEGMENT | rights::CODE) == rights::SEGMENT | rights::CODE;
        let is_long = code.rights & (rights::LONG | rights::BIG) == rights::LONG;
        if !is_code || !is_long || code.dpl() > self.cpl {
            return self.raise_code(GP, code_error);
        }
        if code.rights & rights::PRESENT == 0 {
            return self.raise_code(NP, code_error);
        }
        let conforming = code.rights & rights::CONFORMING != 0;
        let cpl = if conforming { self.cpl } else { code.dpl() };
        let ist = gate >> 32 & 7;
        let inner = cpl < self.cpl;
        let stack = if ist != 0 {
            Some(28 + 8 * ist)
        } else if inner {
            Some(4 + 8 * cpl as u64)
        } else {
            None
        };
        let mut rsp = match stack {
            Some(offset) => {
                if offset + 7 > self.tr.limit as u64 {
                    return self.raise_code(TS, self.tr.selector as u32 & 0xfffc | external);
                }
                self.read_system::<u64, M>(env, self.tr.base.wrapping_add(offset))?
            }
            None => self.regs[gpr::RSP],
        };
        if !is_canonical(rsp) {
            return self.raise_code(SS, external);
        }
        if !is_canonical(target) {
            return self.raise_code(GP, external);
        }
        rsp &= !15;
        let frame = [
            self.segments[seg::SS].selector as u64,
            self.regs[gpr::RSP],
            self.pushed_flags(&event),
            self.segments[seg::CS].selector as u64,
            self.return_rip(&event),
        ];
        let mode = if cpl == 3 {
            Mode::User
        } else {
            Mode::Supervisor
        };
        // A fault in between changes nothing but memory below the stack.
        self.trapped.place = self.trapped.place.with_segment(seg::SS as u8);
        let write = mask(Access::Write, mode);
        for value in frame.into_iter().chain(event.error_code.map(u64::from)) {
            rsp = rsp.wrapping_sub(8);
            match self.tlb.get(rsp, 8, write) {
                Some(hpa) => env.machine.memory().write_u64(Hpa::new(hpa), value),
                None => self.write_slow(env, rsp, 8, value, mode)?,
            }
        }
        if inner {
            self.segments[seg::SS] = Segment {
                selector: cpl as u16,
                base: 0,
                limit: 0,
                rights: Segment::UNUSABLE | (cpl as u32) << 5,
            };
        }
        self.regs[gpr::RSP] = rsp;
        self.segments[seg::CS] = Segment {
            selector: selector & !3 | cpl as u16,
            ..code
        };
        self.cpl = cpl;
        self.rip = target;
        self.update_modes();
        self.enter_handler(gate);
        Ok(())
    }

    /// Protected mode without long mode: 32-bit gates to the same privilege level, which is
    /// what a TD can need between its reset vector and long mode.
    fn deliver_legacy<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        event: Event,
    ) -> Result<(), Trap> {
        let external = !Self::is_software(&event) as u32;
        let at = event.vector as u64 * 8;
        let gate_code = event.vector as u32 * 8 + 2 + external;
        if self.cr0 & cr0::PE == 0 || at + 7 > self.idtr.limit as u64 {
            return self.raise_code(GP, gate_code);
        }
        let gate = self.read_system::<u64, M>(env, self.idtr.base.wrapping_add(at))?;
        if gate >> 41 & 0xf != 7 {
            return self.raise_code(GP, gate_code);
        }
        if gate >> 47 & 1 == 0 {
            return self.raise_code(NP, gate_code);
        }
        let selector = (gate >> 16) as u16;
        let target = gate & 0xffff | gate >> 32 & 0xffff_0000;
        let code = self.descriptor(env, selector, external)?.segment;
        let is_code =
            code.rights & (rights::SEGMENT | rights::CODE) == rights::SEGMENT | rights::CODE;
        if !is_code || code.dpl() != self.cpl || code.rights & rights::PRESENT == 0 {
            return self.raise_code(GP, selector as u32 & 0xfffc | external);
        }
        let frame = [
            self.pushed_flags(&event),
            self.segments[seg::CS].selector as u64,
            self.return_rip(&event),
        ];
        let rsp = self.regs[gpr::RSP];
        for value in frame.into_iter().chain(event.error_code.map(u64::from)) {
            if let Err(trap) = self.push(env, 4, value) {
                self.regs[gpr::RSP] = rsp;
                return Err(trap);
            }
        }
        self.segments[seg::CS] = Segment {
            selector: selector & !3 | self.cpl as u16,
            ..code
        };
        self.rip = target;
        self.update_modes();
        self.enter_handler(gate);
        Ok(())
    }

    /// `INT n`, `INT3`, `INTO`, `INT1`.
    pub(crate) fn software_interrupt(&mut self, op: &Op) -> Result<(), Trap> {
        let kind = match op.sub {
            4 => EventKind::SoftwareInterrupt,
            5 => EventKind::PrivilegedSoftwareException,
            _ => EventKind::SoftwareException,
        };
        let vector = op.immediate as u8;
        if kind == EventKind::SoftwareException && vector == 4 && !self.flags.of() {
            self.rip = self.next_rip(op);
            return Ok(());
        }
        self.stop = Stop::Event(Event {
            vector,
            kind,
            error_code: None,
            instruction_length: op.length(),
        });
        Err(Trap)
    }
}
