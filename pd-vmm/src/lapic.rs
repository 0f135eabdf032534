//! The part of an x2APIC that the CPU doesn't virtualise for a TD: identity, timer, the local
//! vector table and IPIs. TPR, EOI, ISR, IRR and self-IPI never leave the TD.
//!
//! Times are guest TSC ticks. The timer counts the TD's virtual crystal clock (25 MHz), of
//! which the guest's TSC is a whole multiple.

use crate::ioapic::{Destination, Message};
use x86::msr::{
    IA32_TSC_DEADLINE as TSC_DEADLINE, IA32_X2APIC_APICID as ID,
    IA32_X2APIC_CUR_COUNT as CURRENT_COUNT, IA32_X2APIC_DIV_CONF as DIVIDE, IA32_X2APIC_ESR as ESR,
    IA32_X2APIC_ICR as ICR, IA32_X2APIC_INIT_COUNT as INITIAL_COUNT, IA32_X2APIC_LDR as LDR,
    IA32_X2APIC_LVT_ERROR as LVT_ERROR, IA32_X2APIC_LVT_LINT0 as LVT_LINT0,
    IA32_X2APIC_LVT_LINT1 as LVT_LINT1, IA32_X2APIC_LVT_PMI as LVT_PERFORMANCE,
    IA32_X2APIC_LVT_THERMAL as LVT_THERMAL, IA32_X2APIC_LVT_TIMER as LVT_TIMER,
    IA32_X2APIC_SIVR as SVR, IA32_X2APIC_VERSION as VERSION,
};

/// Version 0x14 and the number of the last LVT entry.
const VERSION_VALUE: u64 = 0x14 | 5 << 16;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const MODE_SHIFT: u32 = 17;
/// LVT entries by MSR number from [`LVT_TIMER`] on: the bits that may be written.
const LVT_WRITABLE: [u32; 6] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
/// ICR bits that x2APIC software may set (delivery status and the rest are reserved).
const ICR_WRITABLE: u64 = 0xffff_ffff_000c_cfff;
/// The shortest period of the timer, in crystal ticks: 200 µs. A guest doesn't get to keep
/// the host busy with its ticks.
const MIN_PERIOD: u64 = 5000;

/// The register does not exist, can't be written, or not with this value: #GP for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What a write asks of the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Send this interrupt message to the processors it names.
    Send(Message),
    /// Send this vector to every processor, or to every other one.
    Broadcast {
        /// The vector.
        vector: u8,
        /// To the sender as well.
        with_self: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    OneShot,
    Periodic,
    Deadline,
}

/// The local APIC of one vCPU.
#[derive(Clone, Debug)]
pub struct Lapic {
    id: u32,
    ticks: u64,
    svr: u32,
    lvt: [u32; 6],
    initial: u32,
    divide: u32,
    /// When the timer expires next, in guest TSC ticks.
    deadline: Option<u64>,
}

impl Lapic {
    /// The APIC after INIT; `ticks` is the number of guest TSC ticks in one crystal tick.
    pub fn new(id: u32, ticks: u64) -> Self {
        Self {
            id,
            ticks: ticks.max(1),
            svr: 0xff,
            lvt: [MASKED; 6],
            initial: 0,
            divide: 0,
            deadline: None,
        }
    }

    /// Whether this MSR is one of the APIC's.
    pub fn owns(msr: u32) -> bool {
        matches!(msr, TSC_DEADLINE | 0x800..=0x8ff)
    }

    /// Whether a message with this destination is for this APIC.
    pub fn matches(&self, destination: Destination) -> bool {
        match destination {
            Destination::Physical(id) => id == self.id || id == u32::MAX || id == 0xff,
            Destination::Logical(to) => {
                let ldr = self.logical_id();
                to == u32::MAX || to >> 16 == ldr >> 16 && to & ldr & 0xffff != 0
            }
        }
    }

    /// Reads an MSR; `now` in guest TSC ticks.
    pub fn read(&self, msr: u32, now: u64) -> Result<u64, Refused> {
        Ok(match msr {
            ID => self.id.into(),
            VERSION => VERSION_VALUE,
            LDR => self.logical_id().into(),
            SVR => self.svr.into(),
            ESR | ICR => 0,
            LVT_TIMER..=LVT_ERROR => self.lvt[(msr - LVT_TIMER) as usize].into(),
            INITIAL_COUNT => self.initial.into(),
            CURRENT_COUNT => self.current_count(now).into(),
            DIVIDE => self.divide.into(),
            TSC_DEADLINE if self.mode() == Mode::Deadline => self.deadline.unwrap_or(0),
            TSC_DEADLINE => 0,
            _ => return Err(Refused),
        })
    }

    /// Writes an MSR; `now` in guest TSC ticks.
    pub fn write(&mut self, msr: u32, value: u64, now: u64) -> Result<Effect, Refused> {
        if msr == ICR {
            return self.command(value);
        }
        if msr == TSC_DEADLINE {
            if self.mode() == Mode::Deadline {
                self.deadline = (value != 0).then_some(value);
            }
            return Ok(Effect::None);
        }
        let value = u32::try_from(value).map_err(|_| Refused)?;
        match msr {
            SVR if value & !0x1ff == 0 => {
                self.svr = value;
                if value & SOFTWARE_ENABLE == 0 {
                    self.lvt.iter_mut().for_each(|entry| *entry |= MASKED);
                }
            }
            // There are no errors to report.
            ESR if value == 0 => {}
            LVT_TIMER..=LVT_ERROR => self.write_lvt((msr - LVT_TIMER) as usize, value)?,
            INITIAL_COUNT => {
                self.initial = value;
                if self.mode() != Mode::Deadline {
                    self.deadline = (value != 0).then(|| now.saturating_add(self.period()));
                }
            }
            DIVIDE if value & !0xb == 0 => {
                let left = self.current_count(now);
                self.divide = value;
                if self.mode() != Mode::Deadline && self.deadline.is_some() {
                    self.deadline = Some(now.saturating_add(self.span(left)));
                }
            }
            _ => return Err(Refused),
        }
        Ok(Effect::None)
    }

    /// When the timer wants to be looked at next, in guest TSC ticks.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Expires the timer if it is time; the vector to interrupt with.
    pub fn expire(&mut self, now: u64) -> Option<u8> {
        let deadline = self.deadline.filter(|&deadline| deadline <= now)?;
        // Periods that were slept through are lost, as with masked interrupts.
        self.deadline = match self.mode() {
            Mode::Periodic => Some(match deadline.saturating_add(self.period()) {
                next if next > now => next,
                _ => now.saturating_add(self.period()),
            }),
            Mode::OneShot | Mode::Deadline => None,
        };
        let vector = self.lvt[0] as u8;
        (self.lvt[0] & MASKED == 0 && vector >= 16).then_some(vector)
    }

    fn write_lvt(&mut self, index: usize, value: u32) -> Result<(), Refused> {
        // Delivery status and remote IRR are read-only, not reserved.
        let value = value & !(1 << 12 | 1 << 14);
        if value & !LVT_WRITABLE[index] != 0 || index == 0 && value >> MODE_SHIFT & 3 == 3 {
            return Err(Refused);
        }
        let mode = self.mode();
        self.lvt[index] = match self.svr & SOFTWARE_ENABLE {
            0 => value | MASKED,
            _ => value,
        };
        if (mode == Mode::Deadline) != (self.mode() == Mode::Deadline) {
            self.deadline = None;
            self.initial = 0;
        }
        Ok(())
    }

    /// The interrupt command register. Fixed and lowest-priority interrupts are sent; the
    /// vCPUs of a TD start by themselves, so INIT and SIPI do nothing, and so do NMI and SMI.
    fn command(&self, value: u64) -> Result<Effect, Refused> {
        if value & !ICR_WRITABLE != 0 {
            return Err(Refused);
        }
        let vector = value as u8;
        let mode = value >> 8 & 7;
        if mode > 1 || vector < 16 {
            return Ok(Effect::None);
        }
        let to = (value >> 32) as u32;
        Ok(match value >> 18 & 3 {
            0 => Effect::Send(Message {
                vector,
                destination: match value >> 11 & 1 {
                    0 => Destination::Physical(to),
                    _ => Destination::Logical(to),
                },
                lowest_priority: mode == 1,
            }),
            1 => Effect::Send(Message {
                vector,
                destination: Destination::Physical(self.id),
                lowest_priority: false,
            }),
            shorthand => Effect::Broadcast {
                vector,
                with_self: shorthand == 2,
            },
        })
    }

    /// SDM vol. 3, "Logical x2APIC ID".
    fn logical_id(&self) -> u32 {
        (self.id >> 4) << 16 | 1 << (self.id & 15)
    }

    fn mode(&self) -> Mode {
        match self.lvt[0] >> MODE_SHIFT & 3 {
            0 => Mode::OneShot,
            1 => Mode::Periodic,
            _ => Mode::Deadline,
        }
    }

    /// Guest TSC ticks of one count.
    fn count_ticks(&self) -> u64 {
        let shift = match self.divide & 3 | self.divide >> 1 & 4 {
            7 => 0,
            n => n + 1,
        };
        self.ticks << shift
    }

    /// Guest TSC ticks of `count` counts.
    fn span(&self, count: u32) -> u64 {
        u64::from(count).saturating_mul(self.count_ticks())
    }

    fn period(&self) -> u64 {
        let span = self.span(self.initial);
        match self.mode() {
            Mode::Periodic => span.max(self.ticks.saturating_mul(MIN_PERIOD)),
            _ => span,
        }
    }

    fn current_count(&self, now: u64) -> u32 {
        match (self.mode(), self.deadline) {
            (Mode::Deadline, _) | (_, None) => 0,
            (_, Some(deadline)) => {
                let left = deadline.saturating_sub(now).div_ceil(self.count_ticks());
                u32::try_from(left).unwrap_or(u32::MAX)
            }
        }
    }
}

// The other LVT entries exist and never fire; their numbers are here for the table's sake.
const _: () = assert!(LVT_ERROR - LVT_TIMER == 5);
const _: () =
    assert!(LVT_THERMAL < LVT_PERFORMANCE && LVT_PERFORMANCE < LVT_LINT0 && LVT_LINT0 < LVT_LINT1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2.5 GHz: 100 TSC ticks in a crystal tick.
    fn enabled(id: u32) -> Lapic {
        let mut lapic = Lapic::new(id, 100);
        lapic.write(SVR, 0x1ff, 0).unwrap();
        lapic
    }

    #[test]
    fn identity() {
        let lapic = enabled(5);
        assert_eq!(lapic.read(ID, 0), Ok(5));
        assert_eq!(lapic.read(LDR, 0), Ok(1 << 5));
        assert_eq!(lapic.read(VERSION, 0), Ok(0x5_0014));
        assert_eq!(enabled(0x23).read(LDR, 0), Ok(2 << 16 | 1 << 3));
        assert_eq!(lapic.read(0x80b, 0), Err(Refused));
        assert_eq!(lapic.clone().write(ID, 1, 0), Err(Refused));
        assert!(lapic.matches(Destination::Physical(5)));
        assert!(lapic.matches(Destination::Logical(0x30)));
        assert!(!lapic.matches(Destination::Logical(0x1_0020)));
    }

    #[test]
    fn one_shot() {
        let mut lapic = enabled(0);
        lapic.write(LVT_TIMER, 0xec, 0).unwrap();
        lapic.write(DIVIDE, 0b0011, 0).unwrap();
        lapic.write(INITIAL_COUNT, 10, 1000).unwrap();
        // Divide by 16: 10 counts are 16000 TSC ticks.
        assert_eq!(lapic.deadline(), Some(17_000));
        assert_eq!(lapic.read(CURRENT_COUNT, 1000), Ok(10));
        assert_eq!(lapic.read(CURRENT_COUNT, 1000 + 4 * 1600), Ok(6));
        assert_eq!(lapic.expire(16_999), None);
        assert_eq!(lapic.expire(17_000), Some(0xec));
        assert_eq!(lapic.expire(99_000), None, "once");
        assert_eq!(lapic.read(CURRENT_COUNT, 99_000), Ok(0));
    }

    #[test]
    fn periodic_never_falls_behind_nor_storms() {
        let mut lapic = enabled(0);
        lapic.write(LVT_TIMER, 1 << 17 | 0x40, 0).unwrap();
        lapic.write(DIVIDE, 0b1011, 0).unwrap();
        lapic.write(INITIAL_COUNT, 10_000, 0).unwrap();
        assert_eq!(lapic.expire(1_000_000), Some(0x40));
        assert_eq!(lapic.deadline(), Some(2_000_000));
        assert_eq!(lapic.expire(7_500_000), Some(0x40));
        assert_eq!(lapic.deadline(), Some(8_500_000));
        lapic.write(INITIAL_COUNT, 1, 0).unwrap();
        assert_eq!(lapic.deadline(), Some(500_000), "200 microseconds at least");
        lapic.write(INITIAL_COUNT, 0, 0).unwrap();
        assert_eq!(lapic.deadline(), None);
    }

    #[test]
    fn tsc_deadline() {
        let mut lapic = enabled(0);
        lapic.write(TSC_DEADLINE, 5, 0).unwrap();
        assert_eq!(lapic.deadline(), None, "not in this mode");
        lapic.write(LVT_TIMER, 2 << 17 | 0xec, 0).unwrap();
        lapic.write(TSC_DEADLINE, 777, 0).unwrap();
        assert_eq!(lapic.read(TSC_DEADLINE, 0), Ok(777));
        assert_eq!(lapic.expire(778), Some(0xec));
        assert_eq!(lapic.read(TSC_DEADLINE, 0), Ok(0));
        lapic.write(TSC_DEADLINE, 777, 0).unwrap();
        lapic.write(LVT_TIMER, 0xec, 0).unwrap();
        assert_eq!(lapic.deadline(), None, "another mode disarms");
        assert_eq!(lapic.write(LVT_TIMER, 3 << 17, 0), Err(Refused));
    }

    #[test]
    fn disabled_by_software_masks() {
        let mut lapic = Lapic::new(0, 100);
        lapic.write(LVT_TIMER, 2 << 17 | 0xec, 0).unwrap();
        assert_eq!(lapic.read(LVT_TIMER, 0), Ok(0x5_00ec));
        lapic.write(TSC_DEADLINE, 1, 0).unwrap();
        assert_eq!(lapic.expire(2), None);
        assert_eq!(lapic.deadline(), None, "it expires all the same");
    }

    #[test]
    fn commands() {
        let mut lapic = enabled(1);
        let send = |vector, destination| {
            Ok(Effect::Send(Message {
                vector,
                destination,
                lowest_priority: false,
            }))
        };
        assert_eq!(
            lapic.write(ICR, 2 << 32 | 0xfd, 0),
            send(0xfd, Destination::Physical(2))
        );
        assert_eq!(
            lapic.write(ICR, 3 << 32 | 0x800 | 0xfd, 0),
            send(0xfd, Destination::Logical(3))
        );
        assert_eq!(
            lapic.write(ICR, 1 << 18 | 0x30, 0),
            send(0x30, Destination::Physical(1))
        );
        assert_eq!(
            lapic.write(ICR, 3 << 18 | 0xfb, 0),
            Ok(Effect::Broadcast {
                vector: 0xfb,
                with_self: false
            })
        );
        assert_eq!(lapic.write(ICR, 0xc500, 0), Ok(Effect::None), "INIT");
        assert_eq!(lapic.write(ICR, 1 << 13, 0), Err(Refused), "reserved");
    }

    proptest! {
        /// No sequence of accesses panics, a read back of the deadline register tells the
        /// truth, and an expired timer is never due again at the same instant.
        #[test]
        fn any_access(
            accesses in prop::collection::vec(
                (any::<bool>(), prop_oneof![Just(TSC_DEADLINE), 0x800u32..0x840], any::<u64>(), any::<u64>(), any::<bool>()),
                0..200,
            ),
            ticks in 0u64..400,
        ) {
            let mut lapic = Lapic::new(0, ticks);
            for (write, msr, value, now, small) in accesses {
                let value = if small { value & 0x7_00ff } else { value };
                if write {
                    let _ = lapic.write(msr, value, now);
                } else {
                    let _ = lapic.read(msr, now);
                }
                lapic.expire(now);
                prop_assert!(lapic.deadline().is_none_or(|d| d > now || now == u64::MAX));
            }
        }
    }
}
