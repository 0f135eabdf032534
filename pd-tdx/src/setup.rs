//! Configuring the TDX module at start (module spec, "Intel TDX module lifecycle"):
//! SYS.INIT, SYS.LP.INIT, SYS.INFO, SYS.CONFIG, SYS.KEY.CONFIG, SYS.TDMR.INIT.

use crate::Seam;
use core::fmt;
use gpa::{Hpa, PAGE_SIZE};
use ipc_mmu_tdx::{Pool, Pools};
use ipc_seamcall::Registers;
use memory::PhysMemory;
use tdx_abi::layout::{MAX_RESERVED_AREAS, PAMT_ENTRY_SIZE, ReservedArea, TdSysInfo, TdmrInfo};
use tdx_abi::{HostLeaf, Status};
use zerocopy::{FromZeros, IntoBytes, little_endian as le};

/// TDMRs are aligned to and sized in this.
const GIB: u64 = 1 << 30;

/// What of the machine's memory is to be TDX memory.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Stretches that may become private, for control pages and for guests, ascending, each `(first address, bytes)`, 4 KiB
    /// aligned, and all in the one TDMR that begins at the GiB of the first.
    pub convertible: [(Hpa, u64); 2],
    /// Memory for the PAMT, and its size in bytes.
    pub pamt: (Hpa, u64),
    /// Two pages for the structures that SYS.INFO and SYS.CONFIG read and write.
    pub scratch: Hpa,
    /// The HKID of the module itself; the TDs' follow it.
    pub global_hkid: u16,
    /// HKIDs for TDs.
    pub td_hkids: u16,
}

impl Plan {
    /// What pd-mmu is to manage: both convertible stretches, and `shared`.
    pub fn pools(&self, shared: (Hpa, u64), hkid_shift: u8) -> Pools {
        let pool = |(base, len): (Hpa, u64)| Pool {
            base: base.get(),
            len,
        };
        let [control, private] = self.convertible.map(pool);
        Pools {
            control,
            private,
            shared: pool(shared),
            hkid_shift,
        }
    }
}

/// What the other domains need to know of the configured module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The first HKID for TDs.
    pub first_hkid: u16,
    /// How many there are.
    pub hkids: u16,
    /// Pages that TDH.MNG.ADDCX is to be called with.
    pub tdcs_pages: u8,
    /// Pages of a TDVPS, the TDVPR among them.
    pub tdvps_pages: u8,
}

/// Why the module could not be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The plan's stretches are not ascending, or more than one TDMR would be needed.
    Plan,
    /// The memory for the PAMT is too small: this many bytes are wanted.
    Pamt(u64),
    /// A leaf failed.
    Leaf(HostLeaf, Status),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str(
                "the private memory regions must ascend and lie within one GiB: see system.xml",
            ),
            Self::Pamt(wanted) => {
                write!(
                    f,
                    "the PAMT region is too small, it needs {wanted:#x} bytes: see system.xml"
                )
            }
            Self::Leaf(leaf, status) => write!(f, "{leaf}: {status}"),
        }
    }
}

fn call(seam: &mut impl Seam, leaf: HostLeaf, operands: [u64; 4]) -> Result<Registers, SetupError> {
    let [rcx, rdx, r8, r9] = operands;
    let rax = leaf.number().into();
    let mut registers = ipc_seamcall::Call {
        rax,
        rcx,
        rdx,
        r8,
        r9,
    }
    .into();
    seam.seamcall(&mut registers);
    match Status(registers.rax) {
        status if status.is_success() => Ok(registers),
        status => Err(SetupError::Leaf(leaf, status)),
    }
}

/// Takes the module from power-on to where TDs can be created.
pub fn configure<M: PhysMemory>(
    seam: &mut impl Seam,
    memory: &M,
    plan: &Plan,
) -> Result<ModuleInfo, SetupError> {
    let tdmr = tdmr(plan)?;
    call(seam, HostLeaf::SysInit, [0; 4])?;
    call(seam, HostLeaf::SysLpInit, [0; 4])?;

    // SYS.INFO: the structure in the first scratch page, the CMRs in the second.
    let scratch = plan.scratch.get();
    call(
        seam,
        HostLeaf::SysInfo,
        [scratch, TdSysInfo::SIZE, scratch + PAGE_SIZE, 32],
    )?;
    let mut info = TdSysInfo::new_zeroed();
    memory.read_bytes(plan.scratch, info.as_mut_bytes());

    // SYS.CONFIG: the array of one pointer in the first page, the TDMR_INFO in the second.
    memory.zero(plan.scratch, 2 * PAGE_SIZE);
    memory.write_u64(plan.scratch, scratch + PAGE_SIZE);
    memory.write_bytes(Hpa::new(scratch + PAGE_SIZE), tdmr.as_bytes());
    call(
        seam,
        HostLeaf::SysConfig,
        [scratch, 1, plan.global_hkid.into(), 0],
    )?;
    call(seam, HostLeaf::SysKeyConfig, [0; 4])?;
    let end = tdmr.base.get() + tdmr.size.get();
    while call(seam, HostLeaf::SysTdmrInit, [tdmr.base.get(), 0, 0, 0])?.rdx < end {}

    let pages = |bytes: u64| bytes.div_ceil(PAGE_SIZE) as u8;
    Ok(ModuleInfo {
        first_hkid: plan.global_hkid + 1,
        hkids: plan.td_hkids,
        tdcs_pages: pages(info.tdcs_base_size.get().into()),
        tdvps_pages: pages(
            u64::from(info.tdvps_base_size.get()) + u64::from(info.tdvps_xfam_dependent_size),
        ),
    })
}

/// One TDMR of 1 GiB, everything reserved but what may become private.
fn tdmr(plan: &Plan) -> Result<TdmrInfo, SetupError> {
    let base = plan.convertible[0].0.get() & !(GIB - 1);
    let mut info = TdmrInfo::new_zeroed();
    info.base = base.into();
    info.size = GIB.into();

    let mut at = 0;
    let mut reserved = [ReservedArea::new_zeroed(); MAX_RESERVED_AREAS];
    let mut areas = reserved.iter_mut();
    let mut reserve = |from: u64, to: u64| {
        if let Some(area) = areas.next().filter(|_| from < to) {
            *area = ReservedArea {
                offset: from.into(),
                size: (to - from).into(),
            };
        }
    };
    for (first, len) in plan.convertible {
        let from = first
            .get()
            .checked_sub(base)
            .filter(|&from| from >= at)
            .ok_or(SetupError::Plan)?;
        // Adjoining stretches leave nothing between them to reserve.
        if from > at {
            reserve(at, from);
        }
        at = from
            .checked_add(len)
            .filter(|&to| to <= GIB)
            .ok_or(SetupError::Plan)?;
    }
    if at < GIB {
        reserve(at, GIB);
    }
    info.reserved = reserved;

    // PAMT, the big part first so that all parts are aligned to their pages.
    let mut pamt = plan.pamt.0.get();
    let mut take = |page: u64| -> (le::U64, le::U64) {
        let size = (GIB / page * PAMT_ENTRY_SIZE).next_multiple_of(PAGE_SIZE);
        pamt += size;
        ((pamt - size).into(), size.into())
    };
    (info.pamt_4k_base, info.pamt_4k_size) = take(PAGE_SIZE);
    (info.pamt_2m_base, info.pamt_2m_size) = take(2 << 20);
    (info.pamt_1g_base, info.pamt_1g_size) = take(GIB);
    let wanted = pamt - plan.pamt.0.get();
    if wanted > plan.pamt.1 {
        return Err(SetupError::Pamt(wanted));
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn plan() -> Plan {
        Plan {
            convertible: [
                (Hpa::new(128 * MIB), 8 * MIB),
                (Hpa::new(256 * MIB), 384 * MIB),
            ],
            pamt: (Hpa::new(136 * MIB), 6 * MIB),
            scratch: Hpa::new(141 * MIB),
            global_hkid: 32,
            td_hkids: 31,
        }
    }

    #[test]
    fn all_but_the_convertible_is_reserved() {
        let info = tdmr(&plan()).unwrap();
        let areas = info
            .reserved
            .map(|a| (a.offset.get() / MIB, a.size.get() / MIB));
        assert_eq!(areas[..4], [(0, 128), (136, 120), (640, 384), (0, 0)]);
        assert_eq!(info.pamt_4k_size.get(), 4 * MIB);
        assert_eq!(info.pamt_2m_base.get(), 140 * MIB);
        assert_eq!(info.pamt_1g_base.get(), 140 * MIB + 0x2000);
    }

    #[test]
    fn a_plan_that_cannot_be_is_refused() {
        let swapped = Plan {
            convertible: [plan().convertible[1], plan().convertible[0]],
            ..plan()
        };
        assert_eq!(tdmr(&swapped).unwrap_err(), SetupError::Plan);
        let beyond = Plan {
            convertible: [plan().convertible[0], (Hpa::new(GIB), 1)],
            ..plan()
        };
        assert_eq!(tdmr(&beyond).unwrap_err(), SetupError::Plan);
        let small = Plan {
            pamt: (Hpa::new(0), MIB),
            ..plan()
        };
        assert_eq!(tdmr(&small).unwrap_err(), SetupError::Pamt(0x40_3000));
    }
}
