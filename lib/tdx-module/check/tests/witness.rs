//! The matrices' codes were noted from the module itself. Here each cell is held against two
//! sources that know nothing of this module: the ABI's tables (`abi.txt`) and the calls that
//! were recorded from Intel's module.
//!
//! The tables say where a leaf is allowed: a cell must be refused, for that reason, exactly
//! there. A recorded call that was made in a cell's situation is its witness if it was answered
//! with the cell's code, and contradicts it if that situation decided on another one.
//! `TRACES=FOLDER` takes other recorded calls than the repository's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use replay::{Event, Scene};
use tdx_abi::{HostLeaf, PageType, Status};
use tdx_module::{SysState, reg::*};

const MATRICES: [(&str, &str); 5] = [
    ("system", include_str!("matrix-system.txt")),
    ("life", include_str!("matrix-life.txt")),
    ("page", include_str!("matrix-page.txt")),
    ("sept", include_str!("matrix-sept.txt")),
    ("sept-guest", include_str!("matrix-sept-guest.txt")),
];
const ABI: &str = include_str!("abi.txt");
const REGISTERS: [(&str, usize); 4] = [("rcx", RCX), ("rdx", RDX), ("r8", R8), ("r9", R9)];

/// Cells with an independent witness, at least.
const LEAST: u32 = 1_900;

/// What the ABI lists of a leaf under `kind`: `None` where it lists nothing.
fn abi(kind: &str, name: &str) -> Option<BTreeSet<&'static str>> {
    let start = format!("{kind} {name}:");
    let line = ABI.lines().find_map(|line| line.strip_prefix(&start))?;
    Some(line.split_whitespace().collect())
}

fn code(status: &str) -> &str {
    status.split(" (").next().unwrap_or_default()
}

/// Whether the status is about this register.
fn about(status: &str, register: &str) -> bool {
    status.ends_with(&format!("({})", register.to_uppercase()))
}

/// Refused for the state of the Secure EPT entry.
const ENTRY: [&str; 5] = [
    "TDX_EPT_ENTRY_STATE_INCORRECT",
    "TDX_EPT_ENTRY_NOT_PRESENT",
    "TDX_EPT_ENTRY_NOT_FREE",
    "TDX_EPT_WALK_FAILED",
    "TDX_GPA_RANGE_ALREADY_BLOCKED",
];
/// The entry's state is one in which the leaf is allowed, whatever else is wrong with it.
const ENTRY_FITS: [&str; 5] = [
    "TDX_SUCCESS",
    "TDX_TLB_TRACKING_NOT_DONE",
    "TDX_EPT_INVALID_PROMOTE_CONDITIONS",
    "TDX_EPT_PAGE_NOT_FREE",
    "TDX_GPA_RANGE_NOT_BLOCKED",
];
/// Refused for where the TD is in its life.
const LIFE: [&str; 4] = [
    "TDX_LIFECYCLE_STATE_INCORRECT",
    "TDX_TD_KEYS_NOT_CONFIGURED",
    "TDX_TDCS_NOT_ALLOCATED",
    "TDX_OP_STATE_INCORRECT",
];
const NOT_A_PAGE: [&str; 3] = ["outside-of-tdmr", "outside-of-memory", "null"];
const BAD_ADDRESS: [&str; 4] = ["unaligned", "private-keyid", "shared-keyid", "all-ones"];

struct Cell {
    leaf: &'static str,
    /// The rest of its name, the last word of which is the state.
    state: &'static str,
    register: &'static str,
    status: &'static str,
}

fn cells(text: &'static str) -> impl Iterator<Item = Cell> {
    text.lines().filter_map(|line| {
        let (name, status) = line.split_once(": ")?;
        let (front, state) = name.rsplit_once(' ')?;
        let (leaf, register) = front.split_once(' ').unwrap_or((front, ""));
        Some(Cell {
            leaf,
            state,
            register,
            status,
        })
    })
}

/// What the ABI's tables say of a cell: nothing, that it is right, or why it is not.
fn by_tables(matrix: &str, cell: &Cell) -> Option<Result<(), String>> {
    let status = code(cell.status);
    let success = status == "TDX_SUCCESS";
    let check = |holds: bool, why: &str| Some(holds.then_some(()).ok_or_else(|| why.to_string()));
    let listed = abi("leaf", cell.leaf);
    match matrix {
        "system" => {
            let listed = listed?;
            let bad = cell.status == "TDX_OPERAND_INVALID (RAX)";
            match cell.state.strip_prefix("version-") {
                Some(v) if listed.contains(format!("v{v}").as_str()) => {
                    check(!bad, "a version that exists")
                }
                Some(_) => check(bad, "a version that does not exist"),
                None if cell.state == "reserved-bit" => check(bad, "a reserved bit"),
                None if listed.contains("early") => {
                    check(status != "TDX_SYS_NOT_READY", "it may come early")
                }
                None => check(status == "TDX_SYS_NOT_READY", "it may not come early"),
            }
        }
        "life" => {
            let mut listed = listed?;
            listed.retain(|word| !word.starts_with('v') && *word != "early");
            // Features that are not enumerated: refused before anything is looked at.
            if ["EXPORT", "IMPORT", "SERVTD", "MIG"]
                .iter()
                .any(|class| cell.leaf.split('.').nth(1) == Some(class))
            {
                return check(
                    cell.status == "TDX_OPERAND_INVALID (RAX)",
                    "its feature is not enumerated",
                );
            }
            if listed.is_empty() {
                return None;
            }
            let life = match cell.state {
                "hkid-assigned" | "key-on-one-package" => "hkid-assigned",
                "blocked" | "written-back" => "blocked",
                "teardown" => "teardown",
                _ => "keys-configured",
            };
            if !listed.contains(life) {
                // A vCPU's leaves look at the operands first where there is no vCPU yet.
                let none = cell.leaf.starts_with("TDH.VP.") && about(cell.status, "rcx")
                    || about(cell.status, "rdx");
                let refused = LIFE[..2].contains(&status)
                    || status == "TDX_KEY_STATE_INCORRECT"
                    || none && life == "hkid-assigned";
                return check(refused, "a life cycle state in which it is not allowed");
            }
            if LIFE[..2].contains(&status) {
                return check(false, "a life cycle state in which it is allowed");
            }
            let op_states = abi("op-state", cell.leaf)?;
            let op_state = match cell.state {
                "keys-configured" if cell.leaf == "TDH.MNG.ADDCX" => return None,
                "keys-configured" => return check(!success, "it has no TDCS"),
                "uninitialized" | "initialized" => cell.state,
                _ => "runnable",
            };
            let refused = status == "TDX_OP_STATE_INCORRECT";
            if op_states.contains(op_state) {
                check(!refused, "an OP_STATE in which it is allowed")
            } else if cell.leaf == "TDH.MNG.ADDCX" {
                // Counted first: OP_STATE matters for pages beyond those that a TD has to have.
                check(!success, "an OP_STATE in which it is not allowed")
            } else {
                let no_vcpu = op_state == "uninitialized" && cell.leaf.starts_with("TDH.VP.");
                check(
                    refused || no_vcpu && !success,
                    "an OP_STATE in which it is not allowed",
                )
            }
        }
        "page" => {
            let wanted = abi("page", &format!("{} {}", cell.leaf, cell.register));
            let flags = wanted.as_ref().is_some_and(|w| w.contains("flags"));
            let mine = about(cell.status, cell.register);
            if cell.leaf == "TDH.MNG.INIT" && cell.register == "rdx" {
                return None;
            }
            if NOT_A_PAGE.contains(&cell.state) {
                let range = mine && status == "TDX_OPERAND_ADDR_RANGE_ERROR";
                return check(range, "an address in no TDMR");
            }
            if BAD_ADDRESS.contains(&cell.state) {
                // Flags may be there; a write-back takes an address with any KeyID.
                let key_id = cell.state.ends_with("keyid") && wanted.is_none();
                if flags && cell.state == "unaligned" || key_id {
                    return None;
                }
                return check(mine && status == "TDX_OPERAND_INVALID", "no page's address");
            }
            let wanted = wanted?;
            let kind = match cell.state {
                "other-tdr" => "tdr",
                other => other,
            };
            if wanted.contains(kind) {
                let wrong = mine && status == "TDX_PAGE_METADATA_INCORRECT";
                return check(!wrong, "a page of the type that it has to be");
            }
            // A page that the call has locked already is found busy before its type is looked at.
            let refused = status == "TDX_PAGE_METADATA_INCORRECT" || status == "TDX_OPERAND_BUSY";
            check(mine && refused, "a page of another type")
        }
        "sept" => {
            if !abi("op-state", cell.leaf)?.contains("runnable") {
                return check(status == "TDX_OP_STATE_INCORRECT", "not for a running TD");
            }
            let states = abi("sept", cell.leaf)?;
            let state = entry_state(cell.state);
            if cell.leaf == "TDH.MEM.SEPT.ADD" && state == "nl-mapped" {
                // Allowed for the tables of nested guests only (version 1).
                return None;
            }
            if states.contains(state) {
                let refused = status == "TDX_EPT_ENTRY_STATE_INCORRECT";
                check(!refused, "an entry state in which it is allowed")
            } else {
                // Operands are looked at before the entry: a level that the leaf does not have.
                let level = cell.status == "TDX_OPERAND_INVALID (RCX)";
                let debug = status == "TDX_TD_NON_DEBUG";
                check(
                    level || debug || ENTRY.contains(&status) || status == ENTRY_FITS[4],
                    "an entry state in which it is not allowed",
                )
            }
        }
        _ => {
            let states = abi("sept", cell.leaf)?;
            if states.contains(entry_state(cell.state)) {
                None
            } else {
                check(!success, "an entry state in which it is not allowed")
            }
        }
    }
}

/// `mapped-0` is MAPPED, `table-blocked-tracked` NL_BLOCKED.
fn entry_state(name: &str) -> &str {
    let name = name.strip_suffix("-0").unwrap_or(name);
    let name = name.strip_suffix("-1").unwrap_or(name);
    match name.strip_suffix("-tracked").unwrap_or(name) {
        "table" => "nl-mapped",
        "table-blocked" => "nl-blocked",
        other => other,
    }
}

/// How the recorded calls were answered, by situation.
type Seen = BTreeMap<String, BTreeSet<String>>;

struct Operands<'e>(&'e Event);

impl Operands<'_> {
    fn get(&self, name: &str) -> u64 {
        self.0.r#in.get(name).map_or(0, |h| h.0)
    }
    fn answer(&self) -> Option<String> {
        if let Some(ret) = &self.0.seamret {
            let rax = ret.get("rax").map_or(0, |h| h.0);
            return Some(format!("to the host with {rax:#x}"));
        }
        if self.0.entered {
            return Some(Status::SUCCESS.to_string());
        }
        if self.0.inject.is_some() {
            return None;
        }
        let rax = self.0.out.as_ref()?.get("rax");
        Some(Status(rax.map_or(self.get("rax"), |h| h.0)).to_string())
    }
}

/// What a page is, in the words of the matrices.
fn page_kinds(scene: &mut Scene<'_, '_>, page: u64) -> &'static [&'static str] {
    const KEY_IDS: u64 = 0x3f << 46;
    const PRIVATE: u64 = 32 << 46;
    if page == u64::MAX {
        return &["all-ones"];
    }
    if page >> 52 != 0 {
        return &[];
    }
    if page & KEY_IDS != 0 {
        return match page & KEY_IDS {
            _ if page & 0xfff != 0 => &[],
            PRIVATE.. => &["private-keyid"],
            _ => &["shared-keyid"],
        };
    }
    let Some(r) = scene.ask(HostLeaf::PhymemPageRdmd, &[(RCX, page & !0xfff)]) else {
        let ready = scene.sys_state() == SysState::Ready;
        return if ready && page & 0xfff == 0 && page >= 1 << 45 {
            &["outside-of-memory"]
        } else {
            &[]
        };
    };
    if page & 0xfff != 0 {
        return &["unaligned"];
    }
    match PageType::from_raw(r[RCX] as u8) {
        Some(PageType::Nda) => &["free"],
        Some(PageType::Reg) if r[R8] == 0 => &["reg"],
        Some(PageType::Reg) if page & 0x1f_ffff == 0 => &["reg-2m"],
        Some(PageType::Reg) => &["within-reg-2m"],
        Some(PageType::Tdr) => &["tdr", "other-tdr"],
        Some(PageType::Tdcx) => &["tdcx", "tdvpr-tdcx"],
        Some(PageType::Tdvpr) => &["tdvpr"],
        Some(PageType::Ept) => &["ept"],
        _ => &[],
    }
}

/// Where the TD is in its life, in the words of the matrices, and whether it runs.
fn lives(scene: &Scene<'_, '_>, tdr: u64) -> &'static [&'static str] {
    const ADDRESS: u64 = (1 << 46) - 4096;
    let word = |at: u64| scene.read_u64(tdr + at);
    match word(0x10) as u32 {
        0 => &["hkid-assigned", "key-on-one-package"],
        1 if (0..6).any(|i| word(0x18 + 8 * i) & ADDRESS == 0) => &["keys-configured"],
        1 => match scene.read_u64((word(0x18) & ADDRESS) + 8) as u32 {
            0 => &["uninitialized"],
            1 => &["initialized"],
            2 => &["runnable", "runnable-debug", "flushed"],
            _ => &[],
        },
        2 => &["blocked", "written-back"],
        _ => &["teardown"],
    }
}

/// The state of the entry for `gpa`, as TDH.MEM.SEPT.RD tells it.
fn entry(scene: &mut Scene<'_, '_>, tdr: u64, gpa: u64) -> Vec<String> {
    let level = gpa & 7;
    let Some(r) = scene.ask(HostLeaf::MemSeptRd, &[(RCX, gpa), (RDX, tdr)]) else {
        return Vec::new();
    };
    let name = match r[RDX] >> 8 & 0xff {
        _ if r[RDX] & 7 != level || level > 1 => return Vec::new(),
        0x00 => "free",
        0x01 => "blocked",
        0x02 => "pending",
        0x03 => "pending-blocked",
        0x04 => "mapped",
        0x81 if level == 1 => {
            return ["table-blocked", "table-blocked-tracked"]
                .map(String::from)
                .to_vec();
        }
        0x84 if level == 1 => return vec!["table".into()],
        _ => return Vec::new(),
    };
    let mut names = vec![format!("{name}-{level}")];
    if name.ends_with("blocked") {
        names.push(format!("{name}-tracked-{level}"));
    }
    names
}

fn owner(scene: &mut Scene<'_, '_>, page: u64) -> Option<u64> {
    let r = scene.ask(HostLeaf::PhymemPageRdmd, &[(RCX, page)])?;
    match PageType::from_raw(r[RCX] as u8)? {
        PageType::Tdr => Some(page),
        PageType::Nda | PageType::Rsvd => None,
        _ => Some(r[RDX]),
    }
}

/// The cells, as far as they are in a recorded call's situation.
fn situations(scene: &mut Scene<'_, '_>, event: &Event) -> Vec<String> {
    let given = Operands(event);
    let Some(leaf) = event.leaf.as_deref() else {
        return Vec::new();
    };
    let mut names = Vec::new();
    if event.kind == "tdcall" {
        let inside = scene.inside(event.lp);
        let tdr = inside.and_then(|tdvpr| owner(scene, tdvpr));
        if let Some(tdr) = tdr {
            let states = entry(scene, tdr, given.get("rcx"));
            names.extend(states.iter().map(|state| format!("{leaf} {state}")));
        }
        return names;
    }
    let rax = given.get("rax");
    match scene.sys_state() {
        _ if rax >> 24 != 0 => names.push(format!("{leaf} reserved-bit")),
        _ if rax >> 16 != 0 => names.push(format!("{leaf} version-{}", rax >> 16)),
        SysState::InitPending => names.push(format!("{leaf} power-on")),
        _ => {}
    }
    if scene.sys_state() != SysState::Ready || rax >> 16 != 0 {
        return names;
    }
    for (register, _) in REGISTERS {
        let wanted = abi("page", &format!("{leaf} {register}"));
        let flags = wanted.is_some_and(|w| w.contains("flags"));
        for kind in page_kinds(scene, given.get(register)) {
            if flags && *kind == "unaligned" {
                continue;
            }
            names.push(format!("{leaf} {register} {kind}"));
        }
    }
    // The TD is the operand that a table calls one, or the owner of the vCPU or the page.
    let operand = REGISTERS.iter().find(|(register, _)| {
        let wanted = abi("page", &format!("{leaf} {register}"));
        let page = leaf == "TDH.PHYMEM.PAGE.RECLAIM" && *register == "rcx";
        page || wanted.is_some_and(|w| w.contains("tdr") || w.contains("tdvpr"))
    });
    let Some((register, _)) = operand else {
        return names;
    };
    let page = given.get(register) & !0xfff;
    let Some(tdr) = owner(scene, page) else {
        return names;
    };
    let td = lives(scene, tdr);
    names.extend(td.iter().map(|life| format!("{leaf} {life}")));
    if td.contains(&"runnable") && page == tdr {
        let states = entry(scene, tdr, given.get("rcx"));
        names.extend(states.iter().map(|state| format!("{leaf} {state}")));
    }
    names
}

fn seen() -> (Seen, u64) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let folder = std::env::var_os("TRACES").map_or(own, PathBuf::from);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder with traces")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "gz"))
        .collect();
    files.sort();
    let (mut seen, mut calls) = (Seen::new(), 0);
    for file in &files {
        let report = replay::watch(file, 1, |scene, event| {
            let Some(answer) = Operands(event).answer() else {
                return;
            };
            for name in situations(scene, event) {
                seen.entry(name).or_default().insert(answer.clone());
            }
        });
        let total = report.expect("a readable trace").total();
        // Looking must not change what comes after.
        assert_eq!(total.all, total.calls, "{}", file.display());
        calls += total.calls;
    }
    (seen, calls)
}

/// Whether what was seen in a cell's situation says that its code is wrong: an answer that this
/// very situation decides on, and not the cell's.
fn contradicts(matrix: &str, cell: &Cell, answer: &str) -> bool {
    let (status, other) = (code(cell.status), code(answer));
    let success = other == "TDX_SUCCESS";
    let busy = |s: &str| s.contains("BUSY");
    if busy(status) || busy(other) {
        return false;
    }
    match matrix {
        "system" => about(cell.status, "rax") && answer != cell.status,
        "life" => {
            let decided = |s: &str| LIFE.contains(&s);
            decided(status) && (success || decided(other))
                || status == "TDX_SUCCESS" && decided(other)
        }
        "page" => about(cell.status, cell.register) && (success || about(answer, cell.register)),
        "sept" => {
            let fits = |s: &str| ENTRY_FITS.contains(&s);
            let refused = |s: &str| ENTRY.contains(&s);
            refused(status) && (fits(other) || refused(other)) || fits(status) && refused(other)
        }
        _ => {
            cell.leaf == "TDG.MEM.PAGE.ACCEPT"
                && (cell.status == "TDX_SUCCESS") != (answer == "TDX_SUCCESS")
        }
    }
}

#[test]
fn every_cell_agrees_with_the_abi_and_with_intels_module() {
    let (seen, calls) = seen();
    let mut wrong = Vec::new();
    let (mut all, mut any) = (0, 0);
    println!("{calls} recorded calls");
    println!("matrix        cells  by tables  by calls  by either  by none");
    for (matrix, text) in MATRICES {
        let (mut count, mut tables, mut recorded, mut either) = (0, 0, 0, 0);
        for cell in cells(text) {
            let name = [cell.leaf, cell.register, cell.state];
            let name = name.iter().filter(|word| !word.is_empty());
            let name = name.copied().collect::<Vec<_>>().join(" ");
            let by_tables = by_tables(matrix, &cell);
            if let Some(Err(why)) = &by_tables {
                wrong.push(format!("{name}: {}, but in the tables: {why}", cell.status));
            }
            let answers = seen.get(&name).into_iter().flatten();
            let by_call = answers.clone().any(|answer| answer == cell.status);
            if !by_call {
                let others: Vec<_> = answers
                    .filter(|answer| contradicts(matrix, &cell, answer))
                    .collect();
                if !others.is_empty() {
                    wrong.push(format!("{name}: {}, but recorded: {others:?}", cell.status));
                }
            }
            count += 1;
            tables += u32::from(by_tables.is_some());
            recorded += u32::from(by_call);
            either += u32::from(by_tables.is_some() || by_call);
            if by_tables.is_none() && !by_call && std::env::var_os("LIST").is_some() {
                println!("no witness: {name}: {}", cell.status);
            }
        }
        println!(
            "{matrix:<12} {count:>6} {tables:>10} {recorded:>9} {either:>10} {:>8}",
            count - either
        );
        all += count;
        any += either;
    }
    println!("{any} of {all} cells have an independent witness");
    assert!(any >= LEAST, "only {any} cells have an independent witness");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
