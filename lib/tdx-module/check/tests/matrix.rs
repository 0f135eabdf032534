//! Every leaf in every state: the exact completion code, and a refused call changes nothing.
//!
//! Each cell drives a fresh module into the state through legal calls and makes one call there.
//! `matrix.txt` has the codes. `UPDATE=1` writes it anew. That the states in which a leaf is
//! refused are right does not rest on that file: `witness.rs` holds it against the ABI's tables
//! and against calls that Intel's module answered.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tdx_abi::sept::{self, State};
use tdx_abi::{GuestLeaf, HostLeaf, OpState, PageType, Status, op_state, td};
use tdx_module::reg::*;
use tdx_module_check::{Bed, TD_PARAMS, Ways};

const SOURCE: u64 = 0x30_0000;

type Operands = Vec<(usize, u64)>;
type Table = BTreeMap<String, String>;

/// Makes the call on a copy; notes the code; a refused call must change nothing.
fn cell(table: &mut Table, name: String, bed: &Bed, leaf: HostLeaf, operands: &Operands) -> Status {
    let mut after = bed.clone();
    let (status, _) = after.call(0, leaf, operands);
    if status.is_error() {
        // A vCPU is associated with the LP before the last checks. A lock found busy notes that
        // the host wants it.
        let busy = status.is(Status::OPERAND_BUSY);
        let associates = matches!(leaf, HostLeaf::VpRd | HostLeaf::VpWr | HostLeaf::VpEnter);
        assert!(
            associates || busy || after == *bed,
            "{name} answered {status} and changed {:x?}",
            after.memory.difference(&bed.memory)
        );
    }
    let before = table.insert(name.clone(), format!("{status}"));
    assert!(before.is_none(), "{name} is there twice");
    status
}

fn compare(kind: &str, table: &Table) {
    let path = format!("{}/tests/matrix-{kind}.txt", env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for (name, status) in table {
        let _ = writeln!(text, "{name}: {status}");
    }
    println!("{} cells: {kind}", table.len());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).expect("a writable folder");
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let wrong: Vec<_> = text
        .lines()
        .filter(|l| !recorded.lines().any(|r| r == *l))
        .collect();
    assert!(wrong.is_empty(), "not as listed:\n{}", wrong.join("\n"));
    assert_eq!(text.lines().count(), recorded.lines().count());
}

/// A running TD with its vCPU associated with LP 1.
struct Running {
    bed: Bed,
    tdr: u64,
    vcpu: u64,
}

fn running() -> Running {
    let mut bed = Bed::ready();
    let tdr = bed.init_td(40, Ways::default());
    bed.tables_to(tdr, 0, 0);
    let vcpu = bed.new_vcpu(1, tdr);
    bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
    Running { bed, tdr, vcpu }
}

impl Running {
    fn must(&mut self, leaf: HostLeaf, operands: &[(usize, u64)]) {
        self.bed.must(0, leaf, operands);
    }
    fn aug(&mut self, gpa: u64, level: u64) -> u64 {
        let page = if level == 0 {
            self.bed.page()
        } else {
            self.bed.block()
        };
        let operands = [(RCX, gpa | level), (RDX, self.tdr), (R8, page)];
        self.must(HostLeaf::MemPageAug, &operands);
        page
    }
    fn accept(&mut self, gpa: u64, level: u64) {
        self.bed.enter(1, self.vcpu).expect("it can be entered");
        let operands = [(RCX, gpa | level)];
        let (_, status) = self.bed.tdcall(1, GuestLeaf::MemPageAccept, &operands);
        assert!(status.is_success(), "{status}");
        self.bed.leave(1);
    }
    fn block(&mut self, gpa: u64, level: u64) {
        let operands = [(RCX, gpa | level), (RDX, self.tdr)];
        self.must(HostLeaf::MemRangeBlock, &operands);
    }
    fn track(&mut self) {
        let tdr = self.tdr;
        self.must(HostLeaf::MemTrack, &[(RCX, tdr)]);
    }
}

/// Ways into every state that a TD without migration has, at both levels.
fn sept_states() -> Vec<(String, u64, Option<State>, Running)> {
    const AT: u64 = 4 << 21;
    let mut states = Vec::new();
    for level in [0, 1] {
        for (name, state) in [
            ("free", State::Free),
            ("pending", State::Pending),
            ("mapped", State::Mapped),
            ("blocked", State::Blocked),
            ("pending-blocked", State::PendingBlocked),
            ("blocked-tracked", State::Blocked),
            ("pending-blocked-tracked", State::PendingBlocked),
        ] {
            let mut r = running();
            r.bed.tables_to(r.tdr, AT, level);
            if state != State::Free {
                r.aug(AT, level);
            }
            if matches!(state, State::Mapped | State::Blocked) {
                r.accept(AT, level);
            }
            if name.contains("blocked") {
                r.block(AT, level);
            }
            if name.contains("tracked") {
                r.track();
            }
            states.push((format!("{name}-{level}"), AT | level, Some(state), r));
        }
    }
    for (name, state) in [
        ("table", State::NlMapped),
        ("table-blocked", State::NlBlocked),
        ("table-blocked-tracked", State::NlBlocked),
    ] {
        let mut r = running();
        r.bed.tables_to(r.tdr, AT, 0);
        if name.contains("blocked") {
            r.block(AT, 1);
        }
        if name.contains("tracked") {
            r.track();
        }
        states.push((name.into(), AT | 1, Some(state), r));
    }
    let r = running();
    states.push(("no-table-0".into(), 9 << 30, None, r));
    states
}

fn sept_operands(leaf: HostLeaf, bed: &mut Bed, tdr: u64, at: u64) -> Operands {
    if leaf == HostLeaf::MemTrack {
        return vec![(RCX, tdr)];
    }
    let level = at & 7;
    let page = match (leaf, level) {
        (HostLeaf::MemPageAug, 1) => bed.block(),
        _ => bed.page(),
    };
    vec![(RCX, at), (RDX, tdr), (R8, page), (R9, SOURCE)]
}

#[test]
fn leaf_by_sept_state() {
    use HostLeaf as L;
    const LEAVES: [HostLeaf; 15] = [
        L::MemPageAdd,
        L::MemSeptAdd,
        L::MemPageRelocate,
        L::MemPageAug,
        L::MemRangeBlock,
        L::MemPageDemote,
        L::MemPagePromote,
        L::MemSeptRd,
        L::MemPageRemove,
        L::MemSeptRemove,
        L::MemRangeUnblock,
        L::MemRd,
        L::MemWr,
        L::MrExtend,
        L::MemTrack,
    ];
    let mut table = Table::new();
    for (name, at, state, mut r) in sept_states() {
        for leaf in LEAVES {
            let operands = sept_operands(leaf, &mut r.bed, r.tdr, at);
            let cell_name = format!("{leaf} {name}");
            let status = cell(&mut table, cell_name.clone(), &r.bed, leaf, &operands);
            if let Some(state) = state
                && status.is_success()
                && leaf != L::MemTrack
            {
                assert!(sept::host_leaf_allows(leaf, state), "{cell_name} succeeded");
            }
        }
    }
    compare("sept", &table);
}

#[test]
fn guest_leaf_by_sept_state() {
    use GuestLeaf as L;
    let mut table = Table::new();
    for (name, at, state, r) in sept_states() {
        for leaf in [
            L::MemPageAccept,
            L::MemPageAttrRd,
            L::MemPageAttrWr,
            L::MrReport,
            L::MrRtmrExtend,
            L::MrVerifyreport,
        ] {
            let mut bed = r.bed.clone();
            if bed.enter(1, r.vcpu).is_err() {
                panic!("{name}: the vCPU cannot be entered");
            }
            let (outcome, status) = bed.tdcall(1, leaf, &[(RCX, at), (RDX, at & !0xfff)]);
            let text = match outcome {
                Some(tdx_module::GuestOutcome::Resume) => format!("{status}"),
                Some(tdx_module::GuestOutcome::Inject(event)) => format!("event {:#x}", event.info),
                Some(tdx_module::GuestOutcome::ExitToHost { regs, .. }) => {
                    format!("to the host with {:#x}", regs[RAX])
                }
                other => format!("{other:?}"),
            };
            if let (L::MemPageAccept, Some(state), "TDX_SUCCESS") = (leaf, state, text.as_str()) {
                assert!(
                    sept::guest_leaf_allows(leaf, state),
                    "{leaf} {name} succeeded"
                );
            }
            table.insert(format!("{leaf} {name}"), text);
        }
    }
    compare("sept-guest", &table);
}

/// A TD at each step of its life.
fn lives() -> Vec<(&'static str, Bed, u64, u64)> {
    let mut lives = Vec::new();
    let mut bed = Bed::ready();
    let tdr = bed.page();
    bed.must(0, HostLeaf::MngCreate, &[(RCX, tdr), (RDX, 40)]);
    lives.push(("hkid-assigned", bed.clone(), tdr, 0));
    bed.must(0, HostLeaf::MngKeyConfig, &[(RCX, tdr)]);
    lives.push(("key-on-one-package", bed.clone(), tdr, 0));
    bed.must(2, HostLeaf::MngKeyConfig, &[(RCX, tdr)]);
    lives.push(("keys-configured", bed.clone(), tdr, 0));
    let mut bed = Bed::ready();
    let tdr = bed.new_td(40);
    lives.push(("uninitialized", bed, tdr, 0));
    let mut bed = Bed::ready();
    let tdr = bed.init_td(40, Ways::default());
    bed.tables_to(tdr, 0, 0);
    let vcpu = bed.new_vcpu(1, tdr);
    lives.push(("initialized", bed.clone(), tdr, vcpu));
    bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
    lives.push(("runnable", bed.clone(), tdr, vcpu));
    bed.must(1, HostLeaf::VpFlush, &[(RCX, vcpu)]);
    lives.push(("flushed", bed.clone(), tdr, vcpu));
    bed.must(0, HostLeaf::MngVpflushdone, &[(RCX, tdr)]);
    lives.push(("blocked", bed.clone(), tdr, vcpu));
    for lp in [0, 2] {
        let mut resume = 0;
        while !bed
            .call(lp, HostLeaf::PhymemCacheWb, &[(RCX, resume)])
            .0
            .is_success()
        {
            resume = 1;
        }
    }
    lives.push(("written-back", bed.clone(), tdr, vcpu));
    bed.must(0, HostLeaf::MngKeyFreeid, &[(RCX, tdr)]);
    lives.push(("teardown", bed, tdr, vcpu));
    let mut bed = Bed::ready();
    let attributes = td::attributes::DEBUG;
    let tdr = bed.init_td(40, Ways { attributes });
    bed.tables_to(tdr, 0, 0);
    let vcpu = bed.new_vcpu(1, tdr);
    bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
    lives.push(("runnable-debug", bed, tdr, vcpu));
    lives
}

/// Operands that would do, had the TD the right state.
fn td_operands(leaf: HostLeaf, bed: &mut Bed, tdr: u64, vcpu: u64) -> Operands {
    use HostLeaf as L;
    let page = bed.page();
    match leaf {
        L::MngCreate => vec![(RCX, page), (RDX, 41)],
        L::MngAddcx | L::VpCreate => vec![(RCX, page), (RDX, tdr)],
        L::VpAddcx => vec![(RCX, page), (RDX, vcpu)],
        L::VpEnter | L::VpInit | L::VpFlush | L::VpRd | L::VpWr => vec![(RCX, vcpu)],
        L::MngInit => vec![(RCX, tdr), (RDX, TD_PARAMS)],
        L::MngRd | L::MngWr => vec![(RCX, tdr), (RDX, 0x1110_0003_0000_0000)],
        L::PhymemPageReclaim | L::PhymemPageRdmd => vec![(RCX, tdr)],
        L::MemSeptAdd => vec![(RCX, 8 << 21 | 1), (RDX, tdr), (R8, page)],
        l if l.name().starts_with("TDH.MEM.") && l != L::MemTrack => {
            vec![(RCX, 0x5000), (RDX, tdr), (R8, page), (R9, SOURCE)]
        }
        L::MrExtend => vec![(RCX, 0x5000), (RDX, tdr)],
        l if l.name().starts_with("TDH.PHYMEM.") || l.name().starts_with("TDH.SYS.") => {
            vec![(RCX, page)]
        }
        _ => vec![(RCX, tdr), (RDX, tdr)],
    }
}

#[test]
fn leaf_by_life_of_the_td() {
    let mut table = Table::new();
    for (name, mut bed, tdr, vcpu) in lives() {
        for &leaf in HostLeaf::ALL {
            let operands = td_operands(leaf, &mut bed, tdr, vcpu);
            let cell_name = format!("{leaf} {name}");
            let status = cell(&mut table, cell_name.clone(), &bed, leaf, &operands);
            let state = match name {
                "uninitialized" => OpState::Uninitialized,
                "initialized" => OpState::Initialized,
                "runnable" => OpState::Runnable,
                _ => continue,
            };
            // The ABI's table lists what each OP_STATE allows.
            let listed = OpState::ALL.iter().any(|&s| op_state::allows(leaf, s));
            if listed && status.is_success() && leaf != HostLeaf::MngAddcx {
                assert!(op_state::allows(leaf, state), "{cell_name} succeeded");
            }
            let refused = status.is(Status::OP_STATE_INCORRECT);
            assert!(
                !refused || !op_state::allows(leaf, state) || leaf == HostLeaf::MngAddcx,
                "{cell_name}: {status}"
            );
        }
    }
    compare("life", &table);
}

/// Where pages of each type are.
fn page_types() -> (Running, Vec<(&'static str, u64)>) {
    let mut r = running();
    let free = r.bed.page();
    let reg = r.aug(0x1_0000, 0);
    let table = r.bed.page();
    let operands = [(RCX, 8 << 21 | 1), (RDX, r.tdr), (R8, table)];
    r.must(HostLeaf::MemSeptAdd, &operands);
    let tdcx = r.tdr + 4096;
    let other = r.bed.init_td(41, Ways::default());
    r.bed.tables_to(r.tdr, 6 << 21, 1);
    let big = r.aug(6 << 21, 1);
    // What DEMOTE and RELOCATE want: pages that are blocked, with no translation left.
    for (gpa, level) in [(BLOCKED_4K, 0), (BLOCKED_2M, 1)] {
        r.aug(gpa, level);
        r.block(gpa, level);
    }
    r.track();
    let pages = vec![
        ("free", free),
        ("reg", reg),
        ("reg-2m", big),
        ("within-reg-2m", big + 4096),
        ("tdr", r.tdr),
        ("other-tdr", other),
        ("tdcx", tdcx),
        ("tdvpr", r.vcpu),
        ("tdvpr-tdcx", r.vcpu + 4096),
        ("ept", table),
        ("outside-of-tdmr", 0x4000_0000 - 4096),
        ("outside-of-memory", 1 << 45),
        ("unaligned", free + 8),
        ("private-keyid", free | 40 << 46),
        ("shared-keyid", free | 1 << 46),
        ("null", 0),
        ("all-ones", u64::MAX),
    ];
    (r, pages)
}

#[test]
fn leaf_by_page_type() {
    use HostLeaf as L;
    let mut table = Table::new();
    let (mut r, pages) = page_types();
    let tdr = r.tdr;
    // A TD that still takes vCPUs, with one that still takes pages.
    let building = r.bed.init_td(42, Ways::default());
    let bare = r.bed.new_td(43);
    let new_vcpu = r.bed.page();
    r.must(L::VpCreate, &[(RCX, new_vcpu), (RDX, building)]);
    // Each operand that is a page, with right ones around it.
    type Slot<'a> = (HostLeaf, usize, &'a [(usize, u64)]);
    let slots: &[Slot<'_>] = &[
        (L::MngCreate, RCX, &[(RDX, 50)]),
        (L::MngAddcx, RCX, &[(RDX, tdr)]),
        (L::MngAddcx, RDX, &[(RCX, TDMR_FREE)]),
        (L::MngKeyConfig, RCX, &[]),
        (L::MngInit, RCX, &[(RDX, TD_PARAMS)]),
        (L::MngInit, RDX, &[(RCX, bare)]),
        (L::MngVpflushdone, RCX, &[]),
        (L::MngKeyFreeid, RCX, &[]),
        (L::MngRd, RCX, &[(RDX, 0x1110_0003_0000_0000)]),
        (L::MngWr, RCX, &[(RDX, 0x1110_0003_0000_0000)]),
        (L::MrFinalize, RCX, &[]),
        (L::MrExtend, RDX, &[(RCX, 0x1_0000)]),
        (L::VpCreate, RCX, &[(RDX, building)]),
        (L::VpCreate, RDX, &[(RCX, TDMR_FREE)]),
        (L::VpAddcx, RCX, &[(RDX, new_vcpu)]),
        (L::VpAddcx, RDX, &[(RCX, TDMR_FREE)]),
        (L::VpInit, RCX, &[]),
        (L::VpEnter, RCX, &[]),
        (L::VpFlush, RCX, &[]),
        (L::VpRd, RCX, &[(RDX, 0x0024_0003_0000_2012)]),
        (L::VpWr, RCX, &[(RDX, 0x0024_0003_0000_2012)]),
        (L::MemSeptAdd, RDX, &[(RCX, 10 << 21 | 1), (R8, TDMR_FREE)]),
        (L::MemSeptAdd, R8, &[(RCX, 10 << 21 | 1), (RDX, tdr)]),
        (L::MemSeptRemove, RDX, &[(RCX, 8 << 21 | 1)]),
        (L::MemSeptRd, RDX, &[(RCX, 0x1_0000)]),
        (
            L::MemPageAdd,
            RDX,
            &[(RCX, 0x2_0000), (R8, TDMR_FREE), (R9, SOURCE)],
        ),
        (L::MemPageAug, RDX, &[(RCX, 0x2_0000), (R8, TDMR_FREE)]),
        (L::MemPageAug, R8, &[(RCX, 0x2_0000), (RDX, tdr)]),
        (L::MemPageRemove, RDX, &[(RCX, 0x1_0000)]),
        (
            L::MemPageDemote,
            RDX,
            &[(RCX, BLOCKED_2M | 1), (R8, TDMR_FREE)],
        ),
        (L::MemPageDemote, R8, &[(RCX, BLOCKED_2M | 1), (RDX, tdr)]),
        (L::MemPagePromote, RDX, &[(RCX, 8 << 21 | 1)]),
        (
            L::MemPageRelocate,
            RDX,
            &[(RCX, BLOCKED_4K), (R8, TDMR_FREE)],
        ),
        (L::MemPageRelocate, R8, &[(RCX, BLOCKED_4K), (RDX, tdr)]),
        (L::MemRangeBlock, RDX, &[(RCX, 0x1_0000)]),
        (L::MemRangeUnblock, RDX, &[(RCX, 0x1_0000)]),
        (L::MemTrack, RCX, &[]),
        (L::MemRd, RDX, &[(RCX, 0x1_0000)]),
        (L::MemWr, RDX, &[(RCX, 0x1_0000)]),
        (L::PhymemPageReclaim, RCX, &[]),
        (L::PhymemPageRdmd, RCX, &[]),
        (L::PhymemPageWbinvd, RCX, &[]),
    ];
    let mut bed = r.bed.clone();
    let spare = bed.page();
    for &(leaf, slot, rest) in slots {
        for &(name, page) in &pages {
            let mut operands: Operands = rest
                .iter()
                .map(|&(k, v)| (k, if v == TDMR_FREE { spare } else { v }))
                .collect();
            operands.push((slot, page));
            let register = ["rax", "rcx", "rdx", "", "", "", "", "", "r8", "r9"][slot];
            cell(
                &mut table,
                format!("{leaf} {register} {name}"),
                &bed,
                leaf,
                &operands,
            );
        }
    }
    assert!(PageType::from_raw(PageType::Ept as u8).is_some());
    compare("page", &table);
}

const BLOCKED_4K: u64 = 0x1_1000;
const BLOCKED_2M: u64 = 7 << 21;

/// Stands for a free page in a list of operands.
const TDMR_FREE: u64 = 0xfeed;

#[test]
fn leaf_before_ready_and_unknown() {
    let mut table = Table::new();
    let bed = Bed::new();
    for &leaf in HostLeaf::ALL {
        cell(
            &mut table,
            format!("{leaf} power-on"),
            &bed,
            leaf,
            &vec![(RCX, 0x4000_0000)],
        );
    }
    let bed = Bed::ready();
    for &leaf in HostLeaf::ALL {
        for version in 1..4u64 {
            let operands = vec![(RAX, version << 16), (RCX, 0x4000_0000)];
            cell(
                &mut table,
                format!("{leaf} version-{version}"),
                &bed,
                leaf,
                &operands,
            );
        }
        let operands = vec![(RAX, 1 << 24), (RCX, 0x4000_0000)];
        cell(
            &mut table,
            format!("{leaf} reserved-bit"),
            &bed,
            leaf,
            &operands,
        );
    }
    compare("system", &table);
}
