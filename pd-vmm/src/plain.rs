//! A VM that is no TD: its memory is shared with the host, its exits are VMX's.
//!
//! It has a serial port and an ACPI sleep register, but no interrupts: enough for a guest that
//! tries what an MMU can do.

use crate::lapic::Lapic;
use crate::lifecycle::Cursor;
use crate::lifecycle::Step;
use crate::outcome::Outcome;
use crate::tdvmcall::{Access, Width};
use crate::vcpu::{Run, Vcpu};
use crate::vm::Vm;
use crate::{Context, Host};
use gpa::{Hpa, PAGE_SIZE};
use ipc_vmm_tdx::{ToTdx, VmEntry, VmExit};
use memory::PhysMemory;
use tdx_abi::exit::{ept_violation, reason};

/// A hardware exception with an error code: VM-entry interruption information (SDM table 25-19).
const fn exception(vector: u32) -> u32 {
    1 << 31 | 1 << 11 | 3 << 8 | vector
}
/// General protection.
const GP: u32 = 13;
/// Page fault.
const PF: u32 = 14;
/// Bits of a page fault's error code (SDM vol. 3A, 4.7).
const PF_PRESENT: u32 = 1 << 0;
const PF_WRITE: u32 = 1 << 1;
const PF_USER: u32 = 1 << 2;

/// Exit qualification of an I/O instruction (SDM table 28-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Io {
    width: Width,
    input: bool,
    port: u16,
}

impl Io {
    /// `None`: a string instruction, or a width that there isn't.
    fn decode(qualification: u64) -> Option<Self> {
        let width = match qualification & 7 {
            size @ (0 | 1 | 3) => Width(size as u8 + 1),
            _ => return None,
        };
        (qualification & 1 << 4 == 0).then_some(Self {
            width,
            input: qualification & 1 << 3 != 0,
            port: (qualification >> 16) as u16,
        })
    }
}

impl Vm {
    /// The VM's memory is known to pd-mmu: its vCPUs need none of their own.
    pub(crate) fn add_plain_vcpus(&mut self) {
        for number in 0..u64::from(self.image.vcpus()) {
            // Never used: there are no interrupts.
            let lapic = Lapic::new(number as u32, self.tsc_frequency.into());
            let vcpu = Vcpu::new(self.tdr + 1 + number, lapic, self.descriptor(0));
            // The image has no more vCPUs than there is room for.
            let _ = self.vcpus.push(vcpu);
        }
        self.go(Step::Load(Cursor::START));
    }

    /// Fills pages that pd-mmu has mapped, and goes on to the next.
    pub(crate) fn load<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        cursor: Cursor,
        pages: &[u64],
    ) {
        let Some(&segment) = self.image.segments().get(cursor.segment) else {
            return;
        };
        let left = segment.length / PAGE_SIZE - cursor.page;
        if pages.is_empty() || pages.len() as u64 > left {
            let count = pages.len();
            return self.fail(cx, format_args!("pd-mmu gave {count} pages of {left}"));
        }
        let mut source = self.image_hpa + segment.offset + cursor.page * PAGE_SIZE;
        for &page in pages {
            if !cx.is_shared_page(page) {
                return self.fail(cx, format_args!("{page:#x} is no page of the shared pool"));
            }
            let memory = cx.host.memory();
            let mut bytes = [0; PAGE_SIZE as usize];
            memory.read_bytes(Hpa::new(source), &mut bytes);
            memory.write_bytes(Hpa::new(page), &bytes);
            source += PAGE_SIZE;
        }
        let next = cursor.advance(&segment, pages.len() as u64);
        if next.segment < self.image.segments().len() {
            self.go(Step::Load(next));
        } else {
            self.start(cx);
        }
    }

    /// Enters a vCPU that is to be entered.
    pub(crate) fn send_plain_run<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, number: usize) {
        let vcpu = &mut self.vcpus[number];
        if vcpu.run == Run::Ready {
            let id = cx.id();
            let message = ToTdx::Enter {
                id,
                vcpu: vcpu.tdvpr,
                entry: vcpu.entry,
            };
            if cx.links.tdx.send(&message).is_ok() {
                vcpu.call = Some(id);
                vcpu.run = Run::Entered;
            }
        }
        if vcpu.kick {
            let tdvpr = vcpu.tdvpr;
            vcpu.kick = cx.links.tdx.send(&ToTdx::Kick { tdvpr }).is_err();
        }
    }

    /// [`Step::Forget`]: pd-tdx need not know the vCPUs any more. Where the ring is full the rest
    /// is said at the next poll.
    pub(crate) fn forget_plain_vcpus<H: Host>(&mut self, cx: &mut Context<'_, '_, H>) {
        if self.step != Step::Forget {
            return;
        }
        while let Some(vcpu) = self.vcpus.last() {
            let vcpu = vcpu.tdvpr;
            if cx.links.tdx.send(&ToTdx::Forget { vcpu }).is_err() {
                return;
            }
            self.vcpus.pop();
        }
        self.go(Step::Gone);
    }

    /// A vCPU left its VM.
    pub(crate) fn plain_exited<H: Host>(
        &mut self,
        cx: &mut Context<'_, '_, H>,
        number: usize,
        exit: VmExit,
    ) {
        let Some(vcpu) = self.vcpus.get_mut(number) else {
            return;
        };
        vcpu.call = None;
        vcpu.kick = false;
        if vcpu.run != Run::Entered {
            return;
        }
        self.counters.exits += 1;
        let mut entry = VmEntry {
            registers: exit.registers,
            ..VmEntry::default()
        };
        match exit.reason {
            reason::INTERRUPT => {}
            reason::IO_INSTRUCTION => {
                let Some(io) = Io::decode(exit.qualification) else {
                    return self.cannot_run(cx, number, format_args!("string I/O"));
                };
                self.plain_io(cx, io, &mut entry.registers.rax);
                if self.powered(cx) {
                    return;
                }
                entry.skip = exit.instruction_length;
            }
            reason::CPUID_INSTRUCTION => {
                self.counters.cpuid += 1;
                let design = self.image.design();
                let leaf = exit.registers.rax as u32;
                let [eax, ebx, ecx, edx] = crate::cpuid::cpuid(leaf, design.execute_only);
                entry.registers.rax = eax.into();
                entry.registers.rbx = ebx.into();
                entry.registers.rcx = ecx.into();
                entry.registers.rdx = edx.into();
                entry.skip = exit.instruction_length;
            }
            reason::MSR_READ | reason::MSR_WRITE => {
                self.counters.msrs += 1;
                entry.event = exception(GP);
            }
            reason::EPT_VIOLATION if self.is_execute_only(exit.gpa) => {
                self.counters.refused += 1;
                // What the guest's own page tables would give, were they able to say it.
                let write = exit.qualification & ept_violation::WRITE != 0;
                entry.event = exception(PF);
                entry.error_code = PF_PRESENT;
                entry.error_code |= if write { PF_WRITE } else { 0 };
                entry.error_code |= if exit.cpl == 3 { PF_USER } else { 0 };
                entry.cr2 = exit.gla;
            }
            reason::EPT_VIOLATION | reason::EPT_MISCONFIGURATION => {
                return self.end(
                    cx,
                    Outcome::BadAccess {
                        vcpu: number,
                        gpa: exit.gpa,
                        qualification: exit.qualification,
                    },
                );
            }
            reason::TRIPLE_FAULT => return self.end(cx, Outcome::TripleFault { vcpu: number }),
            reason::HLT_INSTRUCTION => {
                let why = format_args!("HLT, and nothing to wake it");
                return self.cannot_run(cx, number, why);
            }
            other => return self.cannot_run(cx, number, format_args!("VM exit {other:#x}")),
        }
        if let Some(vcpu) = self.vcpus.get_mut(number) {
            vcpu.entry = entry;
            vcpu.run = Run::Ready;
        }
    }

    fn plain_io<H: Host>(&mut self, cx: &mut Context<'_, '_, H>, io: Io, rax: &mut u64) {
        self.counters.io += 1;
        let access = match io.input {
            true => Access::Read,
            false => Access::Write(*rax & io.width.mask()),
        };
        let seconds = cx.now.saturating_sub(self.started) / cx.host.tsc_hz().max(1);
        let value = self.board.io(io.port, io.width, access, seconds);
        if io.input {
            // A result of 32 bits clears the upper half, smaller ones leave what is above.
            let kept = match io.width.bytes() {
                4 => 0,
                _ => *rax & !io.width.mask(),
            };
            *rax = kept | value;
        }
    }

    /// Whether the address is in memory, by its execute-only alias.
    fn is_execute_only(&self, gpa: u64) -> bool {
        let bit = self.image.design().execute_only;
        bit != 0 && gpa >> bit == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_qualifications() {
        let decoded = Io::decode(0x3f8 << 16);
        let out = Io {
            width: Width(1),
            input: false,
            port: 0x3f8,
        };
        assert_eq!(decoded, Some(out));
        let input = Io {
            width: Width(4),
            input: true,
            port: 0xffff,
        };
        assert_eq!(Io::decode(0xffff << 16 | 1 << 3 | 3), Some(input));
        for string in [1 << 4, 1 << 4 | 1 << 5, 2, 4, 7] {
            assert_eq!(Io::decode(string), None);
        }
    }
}
