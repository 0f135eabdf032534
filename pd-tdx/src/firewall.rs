//! The leaf firewall: which protection domain may call which SEAMCALL leaf.

use tdx_abi::HostLeaf;

/// Who asks for a SEAMCALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// pd-vmm, the untrusted VMM.
    Vmm,
    /// pd-mmu.
    Mmu,
}

/// The table: the classes, as the leaves are named (`TDH.<class>.…`). The SYS leaves configure
/// the whole machine: pd-tdx makes them itself, at start, for nobody else.
const ALLOWED: [(Caller, &[&str]); 2] = [
    (Caller::Vmm, &["MNG", "MR", "VP"]),
    (Caller::Mmu, &["MEM", "PHYMEM"]),
];

/// The class of a leaf: the middle of its name.
fn class(leaf: HostLeaf) -> &'static str {
    leaf.name().split('.').nth(1).unwrap_or_default()
}

/// Whether `caller` may call the leaf in `rax` (bits 15:0). What is no leaf nobody may call.
pub fn allows(caller: Caller, rax: u64) -> bool {
    HostLeaf::from_number(rax as u16).is_some_and(|leaf| {
        ALLOWED
            .iter()
            .any(|&(who, classes)| who == caller && classes.contains(&class(leaf)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_has_at_most_one_caller() {
        let mut by_caller = [0; 2];
        for number in 0..=u16::MAX {
            let vmm = allows(Caller::Vmm, number.into());
            let mmu = allows(Caller::Mmu, number.into());
            assert!(!(vmm && mmu), "leaf {number} has two callers");
            let known = HostLeaf::from_number(number);
            assert!(known.is_some() || !(vmm || mmu), "{number} is no leaf");
            if let Some(leaf) = known {
                let sys = leaf.name().starts_with("TDH.SYS.");
                assert!(!sys || !(vmm || mmu), "{leaf} is pd-tdx's own");
            }
            by_caller[0] += usize::from(vmm);
            by_caller[1] += usize::from(mmu);
        }
        let of = |prefix: &str| {
            HostLeaf::ALL
                .iter()
                .filter(|l| l.name().starts_with(prefix))
                .count()
        };
        assert_eq!(by_caller[0], of("TDH.MNG.") + of("TDH.MR.") + of("TDH.VP."));
        assert_eq!(by_caller[1], of("TDH.MEM.") + of("TDH.PHYMEM."));
    }

    #[test]
    fn version_bits_do_not_open_another_leaf() {
        assert!(allows(
            Caller::Mmu,
            1 << 16 | u64::from(HostLeaf::MemSeptAdd.number())
        ));
        assert!(!allows(
            Caller::Vmm,
            1 << 16 | u64::from(HostLeaf::MemSeptAdd.number())
        ));
    }
}
