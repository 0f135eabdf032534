//! VMs that are no TDs, on the software CPU: what VMLAUNCH and VMRESUME are for.
//!
//! Such a VM has one EPT, whose tables lie in shadow memory and whose leaves in shared memory:
//! the CPU takes no others. What it does that isn't its own to do is an exit to the host.

use crate::software::{Clock, SoftwareSeam, from_regs, to_regs};
use cpu::{Controls, Event, Exit, gpr, seg};
use gpa::Hpa;
use ipc_vmm_tdx::{VmEntry, VmExit};
use tdx_abi::exit::reason;

/// Invalid opcode.
const UD: u8 = 6;
/// Page fault.
const PF: u8 = 14;
/// Width of guest physical addresses.
const GPA_WIDTH: u8 = 48;

impl<C: Clock> SoftwareSeam<'_, C> {
    /// One turn of a vCPU.
    pub(crate) fn enter_plain(&mut self, root: Hpa, vcpu: u64, entry: &VmEntry) -> VmExit {
        let Self {
            machine,
            cpus,
            code,
            turn,
            ..
        } = self;
        let known = cpus.0.iter().position(|slot| slot.tdvpr == vcpu);
        let free = || cpus.0.iter().position(|slot| slot.tdvpr == 0);
        let Some(index) = known.or_else(free) else {
            return VmExit {
                reason: VmExit::NO_ENTRY,
                ..VmExit::default()
            };
        };
        let slot = &mut cpus.0[index];
        let cpu = &mut slot.cpu;
        if known.is_none() {
            slot.tdvpr = vcpu;
            slot.again = None;
            // What a TD's vCPU begins with, too: its index, and the width of addresses.
            cpu.reset();
            cpu.set_gpr(gpr::RSI, vcpu.wrapping_sub(root.get()).wrapping_sub(1));
            cpu.set_gpr(gpr::RBX, GPA_WIDTH.into());
            // The host has written to the VM's memory: what was there may have been code.
            code.clear();
        } else {
            let registers = to_regs(&entry.registers);
            for number in (0..16).filter(|&number| number != gpr::RSP) {
                cpu.set_gpr(number, registers[number]);
            }
        }
        cpu.controls = Controls {
            shared_root: root,
            plain: true,
            gpa_width: GPA_WIDTH,
            ..Controls::new()
        };
        machine.tsc_offset = 0;
        machine.tsc_multiplier = 1 << 48;
        if entry.skip != 0 {
            cpu.advance(entry.skip);
        }
        let event = Event::from_info(entry.event, entry.error_code, 0);
        if event.is_some_and(|event| event.vector == PF) {
            cpu.set_cr2(entry.cr2);
        }
        if let Some(event) = event.or_else(|| slot.again.take()) {
            cpu.inject(event);
        }
        let mut left = *turn;
        loop {
            let before = cpu.retired();
            let exit = cpu.run(machine, code, left);
            let done = cpu.retired() - before;
            machine.clock.executed(done);
            // An exit costs something, too: a guest could do nothing else.
            left = left.saturating_sub(done.max(1));
            let exit = match exit {
                Exit::Vm(exit) => exit,
                Exit::Budget => cpu::VmExit::new(reason::INTERRUPT as u16),
            };
            // There is no module below that these could call.
            if matches!(exit.reason.into(), reason::TDCALL | reason::SEAMCALL) {
                cpu.inject(Event::exception(UD, None));
                continue;
            }
            slot.again = exit.vectoring;
            let mut registers = tdx_module::Regs::default();
            for number in (0..16).filter(|&number| number != gpr::RSP) {
                registers[number] = cpu.gpr(number);
            }
            return VmExit {
                reason: exit.reason.into(),
                qualification: exit.qualification,
                gpa: exit.gpa.get(),
                gla: exit.gla,
                instruction_length: exit.instruction_length,
                cpl: (cpu.segment(seg::SS).rights >> 5 & 3) as u8,
                registers: from_regs(&registers),
            };
        }
    }

    pub(crate) fn forget_plain(&mut self, vcpu: u64) {
        for slot in self.cpus.0.iter_mut().filter(|slot| slot.tdvpr == vcpu) {
            slot.tdvpr = 0;
        }
    }
}
