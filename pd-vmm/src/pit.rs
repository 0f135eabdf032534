//! The alarm clock of the machine that pd-vmm runs on: channel 0 of an 8254 timer (PIT), used
//! one-shot (mode 0). It also measures the TSC.

/// The timer's clock in Hz.
const HZ: u64 = 1_193_182;
/// Data port of channel 0.
const CHANNEL_0: u16 = 0x40;
/// Mode port.
const MODE: u16 = 0x43;
/// Channel 0, low byte then high byte, mode 0: interrupt on terminal count.
const ONE_SHOT: u8 = 0b0011_0000;
/// Latch the count of channel 0.
const LATCH: u8 = 0;
/// How long the TSC is measured: a fiftieth of a second.
const MEASURE: u64 = HZ / 50;

/// The ports of the timer, and the TSC beside it.
pub trait Ports {
    /// Reads a port.
    fn read(&mut self, port: u16) -> u8;
    /// Writes a port.
    fn write(&mut self, port: u16, value: u8);
    /// The TSC.
    fn tsc(&mut self) -> u64;
}

/// The timer.
#[derive(Debug)]
pub struct Pit<P> {
    ports: P,
    tsc_hz: u64,
    /// The deadline that the timer runs for.
    armed: Option<u64>,
}

impl<P: Ports> Pit<P> {
    /// Measures the TSC; takes 20 ms.
    pub fn new(ports: P) -> Self {
        let mut pit = Self {
            ports,
            tsc_hz: 1,
            armed: None,
        };
        pit.start(u16::MAX);
        let (count, tsc) = (pit.count(), pit.ports.tsc());
        let (ticks, cycles) = loop {
            let ticks = u64::from(count.wrapping_sub(pit.count()));
            let cycles = pit.ports.tsc().wrapping_sub(tsc);
            if ticks >= MEASURE {
                break (ticks, cycles);
            }
        };
        let hz = u128::from(cycles) * u128::from(HZ) / u128::from(ticks);
        pit.tsc_hz = u64::try_from(hz).unwrap_or(u64::MAX).max(1);
        pit
    }

    /// TSC ticks of a second.
    pub fn tsc_hz(&self) -> u64 {
        self.tsc_hz
    }

    /// The TSC.
    pub fn now(&mut self) -> u64 {
        self.ports.tsc()
    }

    /// Interrupt when the TSC reaches `deadline`, or earlier: after at most 54 ms. An interrupt
    /// that was asked for before may still come.
    pub fn set_alarm(&mut self, deadline: Option<u64>) {
        if let Some(deadline) = deadline
            && self.armed != Some(deadline)
        {
            let cycles = deadline.saturating_sub(self.ports.tsc());
            let ticks = (u128::from(cycles) * u128::from(HZ)).div_ceil(self.tsc_hz.into());
            // A count of 0 stands for 65536.
            self.start(u16::try_from(ticks).unwrap_or(u16::MAX).max(1));
            self.armed = Some(deadline);
        }
    }

    /// The interrupt came: the timer has stopped.
    pub fn rang(&mut self) {
        self.armed = None;
    }

    fn start(&mut self, count: u16) {
        let [low, high] = count.to_le_bytes();
        self.ports.write(MODE, ONE_SHOT);
        self.ports.write(CHANNEL_0, low);
        self.ports.write(CHANNEL_0, high);
    }

    fn count(&mut self) -> u16 {
        self.ports.write(MODE, LATCH);
        let low = self.ports.read(CHANNEL_0);
        u16::from_le_bytes([low, self.ports.read(CHANNEL_0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A timer that counts with a TSC of `hz`; every access takes 2 µs.
    struct Machine {
        hz: u64,
        cycles: u64,
        started: u64,
        initial: u16,
        latched: u16,
        bytes: Vec<u8>,
        high: bool,
        counts: Vec<u16>,
    }

    impl Machine {
        fn new(hz: u64) -> Self {
            Self {
                hz,
                cycles: 77,
                started: 0,
                initial: 0,
                latched: 0,
                bytes: Vec::new(),
                high: false,
                counts: Vec::new(),
            }
        }
        fn step(&mut self) {
            self.cycles += self.hz / 500_000;
        }
    }

    impl Ports for Machine {
        fn read(&mut self, port: u16) -> u8 {
            assert_eq!(port, 0x40);
            self.step();
            self.high = !self.high;
            self.latched.to_le_bytes()[usize::from(!self.high)]
        }
        fn write(&mut self, port: u16, value: u8) {
            self.step();
            match (port, value) {
                (0x43, 0) => {
                    let ticks = u128::from(self.cycles - self.started) * u128::from(HZ);
                    let ticks = (ticks / u128::from(self.hz)) as u16;
                    self.latched = self.initial.wrapping_sub(ticks);
                }
                (0x43, 0x30) => self.bytes.clear(),
                (0x40, byte) => {
                    self.bytes.push(byte);
                    if let [low, high] = self.bytes[..] {
                        self.initial = u16::from_le_bytes([low, high]);
                        self.started = self.cycles;
                        self.counts.push(self.initial);
                    }
                }
                other => panic!("{other:x?}"),
            }
        }
        fn tsc(&mut self) -> u64 {
            self.cycles
        }
    }

    #[test]
    fn the_tsc_is_measured() {
        for hz in [100_000_000, 1_000_000_000, 2_494_000_000, 9_999_999_999] {
            let measured = Pit::new(Machine::new(hz)).tsc_hz();
            let error = measured.abs_diff(hz);
            assert!(error * 1000 < hz, "{measured} of {hz}");
        }
    }

    #[test]
    fn alarms() {
        let mut pit = Pit::new(Machine::new(1_000_000_000));
        pit.ports.counts.clear();
        let now = pit.now();
        pit.set_alarm(None);
        pit.set_alarm(Some(now + 10_000_000));
        pit.set_alarm(Some(now + 10_000_000));
        // 10 ms; set once.
        let [count] = pit.ports.counts[..] else {
            panic!("{:?}", pit.ports.counts);
        };
        assert!((11_900..=11_960).contains(&count), "{count}");
        pit.rang();
        pit.set_alarm(Some(now + 10_000_000_000));
        pit.rang();
        pit.set_alarm(Some(0));
        pit.set_alarm(Some(u64::MAX));
        assert_eq!(pit.ports.counts[1..], [u16::MAX, 1, u16::MAX]);
    }
}
