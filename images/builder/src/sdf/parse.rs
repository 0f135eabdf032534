//! From XML to the model, each element by itself.

use std::path::{Path, PathBuf};

use super::{
    Channel, End, Error, IoPort, Irq, Map, MemoryRegion, Place, Prefill, ProtectionDomain,
    SetValue, SetVar, System, check, element::Element, limits,
};

/// Reads and checks a description. `file` is its name for messages; files that
/// regions begin with are looked for in the folders `search`, in that order, or
/// with `None` not looked at.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(file: &str, text: &str, search: Option<&[PathBuf]>) -> Result<System, Error> {
    let document = roxmltree::Document::parse(text).map_err(|error| {
        let position = error.pos();
        Error {
            file: file.into(),
            place: Some(Place {
                line: position.row,
                column: position.col,
            }),
            element: "system".into(),
            message: format!("not well-formed XML: {error}"),
        }
    })?;
    let root = Element {
        node: document.root_element(),
        file,
    };
    if root.name() != "system" {
        return Err(root.error("the outermost element must be <system>"));
    }
    root.allow(&[])?;
    let mut system = System {
        file: file.into(),
        pds: Vec::new(),
        regions: Vec::new(),
        channels: Vec::new(),
    };
    let children = root.children()?;
    for child in &children {
        match child.name() {
            "protection_domain" => system.pds.push(protection_domain(child)?),
            "memory_region" => system.regions.push(memory_region(child, search)?),
            // They name PDs that may come later.
            "channel" => {}
            "virtual_machine" => {
                return Err(child.error(
                    "must be the child of a protection domain; and seL4 5.0.0 \
                                        has no 64-bit guests: Septum's guests run in pd-tdx",
                ));
            }
            "io_address_space" => return Err(child.error("the kernel is built without IOMMU")),
            "domains" => return Err(child.error("the kernel is built with one domain")),
            _ => return Err(unknown(child, "protection_domain, memory_region, channel")),
        }
    }
    for child in children.iter().filter(|child| child.name() == "channel") {
        let channel = channel(child, &mut system)?;
        system.channels.push(channel);
    }
    if system.pds.is_empty() {
        return Err(root.error("at least one <protection_domain> must be defined"));
    }
    check::choose_page_sizes(&mut system);
    check::check(&system)?;
    Ok(system)
}

fn unknown(child: &Element, known: &str) -> Error {
    child.error(format!("unknown element here: possible are {known}"))
}

/// Finds a file that the description names.
pub fn find_file(path: &Path, search: &[PathBuf]) -> Option<PathBuf> {
    search
        .iter()
        .map(|folder| folder.join(path))
        .find(|candidate| candidate.is_file())
}

fn protection_domain(element: &Element) -> Result<ProtectionDomain, Error> {
    element.allow(&[
        "name",
        "priority",
        "budget",
        "period",
        "passive",
        "stack_size",
        "cpu",
        "fpu",
        "domain",
        "id",
        "setvar_id",
    ])?;
    let name = element.required("name")?.to_string();
    if name.len() > limits::MAX_NAME {
        return Err(element.error(format!(
            "name '{name}' has {} bytes: {} at most",
            name.len(),
            limits::MAX_NAME
        )));
    }
    let priority = element.optional_number("priority")?.unwrap_or(0);
    if priority > limits::MAX_PRIORITY {
        return Err(element.error(format!(
            "priority {priority}: must be between 0 and {}",
            limits::MAX_PRIORITY
        )));
    }
    let no_budget = "seL4 5.0.0 is built without MCS, so a PD runs until it waits; remove it";
    element.refuse("budget", no_budget)?;
    element.refuse("period", no_budget)?;
    if element.flag("passive", false)? {
        return Err(element.error("passive: seL4 5.0.0 is built without MCS; remove it"));
    }
    if !element.flag("fpu", true)? {
        return Err(element.error("fpu=\"false\": seL4 5.0.0 lets every PD use the FPU; remove it"));
    }
    if element.optional_number("cpu")?.unwrap_or(0) != 0 {
        return Err(element.error("cpu: the kernel is built for one core; remove it"));
    }
    element.refuse("domain", "no domain schedule is possible; remove it")?;
    element.refuse("id", "only child protection domains have one; remove it")?;
    element.refuse(
        "setvar_id",
        "only child protection domains have one; remove it",
    )?;
    let stack_size = element
        .optional_number("stack_size")?
        .unwrap_or(limits::DEFAULT_STACK);
    if !(limits::MIN_STACK..=limits::MAX_STACK).contains(&stack_size) {
        return Err(element.error(format!(
            "stack_size {stack_size:#x}: must be between {:#x} and {:#x} bytes",
            limits::MIN_STACK,
            limits::MAX_STACK
        )));
    }
    if stack_size % 0x1000 != 0 {
        return Err(element.error(format!(
            "stack_size {stack_size:#x}: must be a multiple of the page size, 0x1000"
        )));
    }
    let mut pd = ProtectionDomain {
        name,
        priority,
        stack_size,
        program_image: PathBuf::new(),
        maps: Vec::new(),
        irqs: Vec::new(),
        io_ports: Vec::new(),
        set_vars: Vec::new(),
        place: element.place(),
    };
    let mut program: Option<PathBuf> = None;
    for child in element.children()? {
        match child.name() {
            "program_image" => {
                if program.is_some() {
                    return Err(child.error("must only be specified once: remove this one"));
                }
                program = Some(program_image(&child)?);
            }
            "map" => map(&child, &mut pd)?,
            "irq" => irq(&child, &mut pd)?,
            "ioport" => io_port(&child, &mut pd)?,
            "setvar" => set_var(&child, &mut pd)?,
            "protection_domain" => {
                return Err(child.error(
                    "child protection domains need fault handlers that this \
                                        runtime doesn't have; make it a sibling",
                ));
            }
            "virtual_machine" => {
                return Err(child.error(
                    "seL4 5.0.0 has no 64-bit guests: Septum's guests run in \
                                        pd-tdx; remove it",
                ));
            }
            "cspace" => {
                return Err(child.error("no PD may hold another's capabilities here; remove it"));
            }
            _ => return Err(unknown(&child, "program_image, map, irq, ioport, setvar")),
        }
    }
    pd.program_image = program.ok_or_else(|| {
        element.error(format!(
            "'{}' has no program: add <program_image path=\"…\"/>",
            pd.name
        ))
    })?;
    Ok(pd)
}

fn program_image(element: &Element) -> Result<PathBuf, Error> {
    element.allow(&["path", "path_for_symbols"])?;
    element.refuse(
        "path_for_symbols",
        "symbols are taken from 'path' only; remove it",
    )?;
    element.no_children()?;
    Ok(element.required("path")?.into())
}

fn push_set_var(
    element: &Element,
    pd: &mut ProtectionDomain,
    symbol: &str,
    value: SetValue,
) -> Result<(), Error> {
    if symbol.is_empty() {
        return Err(element.error("the symbol to set has an empty name"));
    }
    if pd.set_vars.iter().any(|other| other.symbol == symbol) {
        return Err(element.error(format!(
            "symbol '{symbol}' is set twice in protection domain '{}'",
            pd.name
        )));
    }
    pd.set_vars.push(SetVar {
        symbol: symbol.into(),
        value,
        place: element.place(),
    });
    Ok(())
}

fn map(element: &Element, pd: &mut ProtectionDomain) -> Result<(), Error> {
    element.allow(&[
        "mr",
        "vaddr",
        "perms",
        "cached",
        "setvar_vaddr",
        "setvar_size",
        "setvar_prefill_size",
    ])?;
    element.no_children()?;
    let region = element.required("mr")?.to_string();
    let vaddr = element.required_number("vaddr")?;
    let perms = element.optional("perms").unwrap_or("rw");
    if perms.is_empty() || perms.chars().any(|c| !"rwx".contains(c)) {
        return Err(element.error(format!(
            "perms '{perms}': must be a combination of 'r', 'w' and 'x'"
        )));
    }
    if !perms.contains('r') {
        return Err(element.error(format!(
            "perms '{perms}': x86-64 has no mapping that can't be read: add 'r'"
        )));
    }
    for (attribute, value) in [
        ("setvar_vaddr", SetValue::Number(vaddr)),
        ("setvar_size", SetValue::Size(region.clone())),
        ("setvar_prefill_size", SetValue::PrefillSize(region.clone())),
    ] {
        if let Some(symbol) = element.optional(attribute) {
            push_set_var(element, pd, symbol, value)?;
        }
    }
    pd.maps.push(Map {
        region,
        vaddr,
        writable: perms.contains('w'),
        cached: element.flag("cached", true)?,
        place: element.place(),
    });
    Ok(())
}

fn id(element: &Element, attribute: &str, highest: u64) -> Result<u64, Error> {
    let id = element.required_number(attribute)?;
    if id > highest {
        return Err(element.error(format!("{attribute} {id}: must be between 0 and {highest}")));
    }
    Ok(id)
}

/// A channel or interrupt id: Microkit's range first, then this kernel's.
fn channel_id(element: &Element) -> Result<u64, Error> {
    let id = id(element, "id", limits::MAX_ID)?;
    let highest = u64::from(system_image::pd_layout::MAX_CHANNEL);
    if id > highest {
        return Err(element.error(format!(
            "id {id}: seL4 5.0.0 has 28-bit badges, so ids go from 0 to {highest} here"
        )));
    }
    Ok(id)
}

fn irq(element: &Element, pd: &mut ProtectionDomain) -> Result<(), Error> {
    if element.optional("irq").is_some() {
        return Err(element.error("'irq' is for ARM and RISC-V: x86-64 takes 'pin' and 'vector'"));
    }
    if element.optional("pcidev").is_some() || element.optional("handle").is_some() {
        return Err(element.error("message-signalled interrupts need PCI, which no PD here uses"));
    }
    element.allow(&[
        "id",
        "pin",
        "vector",
        "ioapic",
        "trigger",
        "polarity",
        "setvar_id",
    ])?;
    element.no_children()?;
    let irq = Irq {
        id: channel_id(element)?,
        ioapic: element.optional_number("ioapic")?.unwrap_or(0),
        pin: id(element, "pin", limits::IOAPIC_PINS - 1)?,
        vector: id(element, "vector", limits::MAX_VECTOR)?,
        level: element.choice("trigger", ["level", "edge"], 0)?,
        low: !element.choice("polarity", ["high", "low"], 0)?,
        place: element.place(),
    };
    if irq.ioapic != 0 {
        return Err(element.error(format!(
            "ioapic {}: the kernel is built for one",
            irq.ioapic
        )));
    }
    if let Some(symbol) = element.optional("setvar_id") {
        push_set_var(element, pd, symbol, SetValue::Number(irq.id))?;
    }
    pd.irqs.push(irq);
    Ok(())
}

fn io_port(element: &Element, pd: &mut ProtectionDomain) -> Result<(), Error> {
    element.allow(&["id", "addr", "size", "setvar_id", "setvar_addr"])?;
    element.no_children()?;
    let port = IoPort {
        id: id(element, "id", limits::MAX_ID)?,
        addr: element.required_number("addr")?,
        size: element.required_number("size")?,
        place: element.place(),
    };
    if port.size == 0 {
        return Err(element.error("size 0: must be 1 or more"));
    }
    if port.addr > 0xffff || port.size > 0x1_0000 - port.addr {
        return Err(element.error(format!(
            "ports {:#x} and {} following: I/O ports end at 0xffff",
            port.addr,
            port.size - 1
        )));
    }
    for (attribute, value) in [("setvar_id", port.id), ("setvar_addr", port.addr)] {
        if let Some(symbol) = element.optional(attribute) {
            push_set_var(element, pd, symbol, SetValue::Number(value))?;
        }
    }
    pd.io_ports.push(port);
    Ok(())
}

fn set_var(element: &Element, pd: &mut ProtectionDomain) -> Result<(), Error> {
    element.allow(&["symbol", "region_paddr"])?;
    element.no_children()?;
    let symbol = element.required("symbol")?;
    let region = element.required("region_paddr")?;
    push_set_var(element, pd, symbol, SetValue::Paddr(region.into()))
}

fn memory_region(element: &Element, search: Option<&[PathBuf]>) -> Result<MemoryRegion, Error> {
    element.allow(&[
        "name",
        "size",
        "page_size",
        "phys_addr",
        "prefill_path",
        "prefill_bootinfo",
    ])?;
    element.no_children()?;
    let name = element.required("name")?.to_string();
    if name.len() > limits::MAX_NAME {
        return Err(element.error(format!(
            "name '{name}' has {} bytes: {} at most",
            name.len(),
            limits::MAX_NAME
        )));
    }
    element.refuse(
        "prefill_bootinfo",
        "only Microkit's own initialiser has it; remove it",
    )?;
    let prefill = match element.optional("prefill_path") {
        Some(path) => Some(read_prefill(element, path.into(), search)?),
        None => None,
    };
    // 0 until the page size is chosen: `check::choose_page_sizes`.
    let page_size = element.optional_number("page_size")?.unwrap_or(0);
    if page_size != 0 && !limits::PAGE_SIZES.contains(&page_size) {
        return Err(element.error(format!(
            "page_size {page_size:#x} is not supported: 0x1000 or 0x200000"
        )));
    }
    let unit = page_size.max(0x1000);
    let size = match (element.optional_number("size")?, &prefill) {
        (Some(size), _) => size,
        (None, Some(prefill)) => (prefill.data.len() as u64).next_multiple_of(unit),
        (None, None) => return Err(element.error("attribute 'size' is missing: add size=\"…\"")),
    };
    if size == 0 || size % unit != 0 {
        return Err(element.error(format!(
            "size {size:#x}: must be a multiple of the page size, {unit:#x}"
        )));
    }
    if let Some(prefill) = &prefill
        && prefill.data.len() as u64 > size
    {
        return Err(element.error(format!(
            "prefill_path: '{}' has {:#x} bytes, the region {size:#x}: make the region larger",
            prefill.path.display(),
            prefill.data.len()
        )));
    }
    let phys_addr = element.optional_number("phys_addr")?;
    if let Some(paddr) = phys_addr {
        if paddr % unit != 0 {
            return Err(element.error(format!(
                "phys_addr {paddr:#x}: must be a multiple of the page size, {unit:#x}"
            )));
        }
        if paddr.checked_add(size).is_none_or(|end| end > 1 << 47) {
            return Err(element.error(format!("phys_addr {paddr:#x}: the region ends past 2^47")));
        }
    }
    Ok(MemoryRegion {
        name,
        size,
        page_size,
        phys_addr,
        prefill,
        place: element.place(),
    })
}

fn read_prefill(
    element: &Element,
    path: PathBuf,
    search: Option<&[PathBuf]>,
) -> Result<Prefill, Error> {
    let Some(search) = search else {
        return Ok(Prefill {
            file: path.clone(),
            path,
            data: Vec::new(),
        });
    };
    let Some(file) = find_file(&path, search) else {
        return Err(element.error(format!(
            "prefill_path: '{}' not found in any --search-path",
            path.display()
        )));
    };
    let data = std::fs::read(&file).map_err(|error| {
        element.error(format!(
            "prefill_path: '{}' can't be read: {error}",
            file.display()
        ))
    })?;
    if data.is_empty() {
        return Err(element.error(format!("prefill_path: '{}' is empty", file.display())));
    }
    Ok(Prefill { path, file, data })
}

fn channel(element: &Element, system: &mut System) -> Result<Channel, Error> {
    element.allow(&[])?;
    let children = element.children()?;
    let mut ends = Vec::new();
    for child in &children {
        if child.name() != "end" {
            return Err(unknown(child, "end"));
        }
        ends.push(end(child, system)?);
    }
    let count = ends.len();
    let ends: [End; 2] = ends
        .try_into()
        .map_err(|_| element.error(format!("has {count} <end> elements: exactly two")))?;
    Ok(Channel {
        ends,
        place: element.place(),
    })
}

fn end(element: &Element, system: &mut System) -> Result<End, Error> {
    element.allow(&["pd", "id", "pp", "notify", "setvar_id"])?;
    element.no_children()?;
    let name = element.required("pd")?;
    let Some(pd) = system.pds.iter().position(|pd| pd.name == name) else {
        return Err(element.error(format!("pd '{name}': no protection domain has this name")));
    };
    let id = channel_id(element)?;
    if let Some(symbol) = element.optional("setvar_id") {
        push_set_var(element, &mut system.pds[pd], symbol, SetValue::Number(id))?;
    }
    Ok(End {
        pd,
        id,
        pp: element.flag("pp", false)?,
        notify: element.flag("notify", true)?,
        place: element.place(),
    })
}
