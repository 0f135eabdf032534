//! The relation between the host's TSC and a TD's.

/// Fractional bits of TSC_MULTIPLIER (SDM vol. 3, "TSC-multiplier").
const FRACTION: u32 = 48;

/// Guest TSC = host TSC × multiplier / 2^48 + offset, as the CPU computes it in the TD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tsc {
    /// TDCS.TSC_OFFSET.
    pub offset: u64,
    /// TDCS.TSC_MULTIPLIER.
    pub multiplier: u64,
}

impl Tsc {
    /// What the guest reads when the host reads `host`.
    pub fn guest(&self, host: u64) -> u64 {
        let scaled = (u128::from(host) * u128::from(self.multiplier)) >> FRACTION;
        (scaled as u64).wrapping_add(self.offset)
    }

    /// The first host TSC at which the guest reads `deadline` or more; all ones if never.
    /// `now` is a host TSC: the guest's TSC may have begun anywhere, so only the distance from
    /// now on counts.
    pub fn host_deadline(&self, deadline: u64, now: u64) -> u64 {
        let distance = deadline.saturating_sub(self.guest(now));
        if self.multiplier == 0 {
            return u64::MAX;
        }
        let ticks = (u128::from(distance) << FRACTION).div_ceil(self.multiplier.into());
        u64::try_from(ticks).map_or(u64::MAX, |ticks| now.saturating_add(ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unity() {
        let tsc = Tsc {
            offset: 1000u64.wrapping_neg(),
            multiplier: 1 << 48,
        };
        assert_eq!(tsc.guest(1500), 500);
        assert_eq!(tsc.host_deadline(700, 1500), 1700);
        assert_eq!(tsc.host_deadline(400, 1500), 1500, "past");
    }

    proptest! {
        /// At the computed host time the deadline has come; a guest's tick (at most 4 of the
        /// host's) before, or two, it had not.
        #[test]
        fn deadlines_are_met(
            start in 0u64..1 << 50,
            later in 0u64..1 << 50,
            ahead in 1u64..1 << 50,
            multiplier in 1u64 << 46..1 << 50,
        ) {
            let begin = Tsc { offset: 0, multiplier };
            let tsc = Tsc { offset: begin.guest(start).wrapping_neg(), multiplier };
            let now = start + later;
            let deadline = tsc.guest(now) + ahead;
            let at = tsc.host_deadline(deadline, now);
            prop_assert!(tsc.guest(at) >= deadline);
            prop_assert!(tsc.guest(at.saturating_sub(8)) < deadline);
        }
    }
}
