//! The real-time clock behind ports 0x70 and 0x71 (MC146818), as much of it as a kernel reads
//! when it boots.
//!
//! Nothing in the system knows the date: the clock starts at [`EPOCH_YEAR`] and runs with the
//! TSC. It never updates while it is read, and has no alarm and no interrupt.

/// First of January of this year is when the machine was switched on.
const EPOCH_YEAR: u8 = 26;

const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
const CENTURY: u8 = 0x32;

/// Bit 1: 24 hours; bit 2 clear: binary coded decimals.
const HOURS_24: u8 = 1 << 1;
/// 32.768 kHz time base, 1024 Hz rate; bit 7, update in progress, is clear.
const TIME_BASE: u8 = 0x26;
/// The battery is good.
const VALID: u8 = 1 << 7;

/// The clock and the index register in front of it.
#[derive(Debug, Default)]
pub struct Rtc {
    index: u8,
}

impl Rtc {
    /// Chooses a register; bit 7 (NMI mask) is nothing here.
    pub fn select(&mut self, index: u8) {
        self.index = index & 0x7f;
    }

    /// Reads the chosen register, `seconds` after the start.
    pub fn read(&self, seconds: u64) -> u8 {
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match self.index {
            0 => decimal(seconds % 60),
            2 => decimal(minutes % 60),
            4 => decimal(hours % 24),
            // The first of January 2026 is a Thursday, day 5 of a week that begins on Sunday.
            6 => decimal((days + 4) % 7 + 1),
            // A run of more than January's days is not foreseen: the date stays, the time goes on.
            7 => decimal(days.min(30) + 1),
            8 => decimal(1),
            9 => decimal(EPOCH_YEAR.into()),
            STATUS_A => TIME_BASE,
            STATUS_B => HOURS_24,
            STATUS_C => 0,
            STATUS_D => VALID,
            CENTURY => decimal(20),
            _ => 0,
        }
    }
}

fn decimal(value: u64) -> u8 {
    (value / 10 % 10 * 16 + value % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_day() {
        let mut rtc = Rtc::default();
        let mut read = |index, seconds| {
            rtc.select(index);
            rtc.read(seconds)
        };
        let at = 86_400 + 23 * 3600 + 59 * 60 + 58;
        let clock = [0, 2, 4, 7, 8, 9, CENTURY].map(|index| read(index, at));
        assert_eq!(clock, [0x58, 0x59, 0x23, 0x02, 0x01, 0x26, 0x20]);
        assert_eq!(read(0x80 | STATUS_A, 0) & 0x80, 0, "no update in progress");
        assert_eq!(read(STATUS_D, 0), 0x80);
    }

    #[test]
    fn every_register_at_every_time() {
        let mut rtc = Rtc::default();
        for index in 0..=255 {
            rtc.select(index);
            rtc.read(0);
            rtc.read(u64::MAX);
        }
    }
}
