//! What must hold between elements.

use std::collections::HashMap;

use system_image::pd_layout;

use super::{Error, MemoryRegion, Place, ProtectionDomain, SetValue, System, limits};

/// Gives regions without a page size the largest that their size and all their
/// addresses are aligned to.
pub fn choose_page_sizes(system: &mut System) {
    for index in 0..system.regions.len() {
        let region = &system.regions[index];
        if region.page_size != 0 {
            continue;
        }
        let maps = system.pds.iter().flat_map(|pd| &pd.maps);
        let vaddrs = maps
            .filter(|map| map.region == region.name)
            .map(|map| map.vaddr);
        let alignment = vaddrs
            .chain(region.phys_addr)
            .fold(region.size, |bits, address| bits | address);
        let fits = |size: &&u64| alignment % **size == 0;
        let size = limits::PAGE_SIZES
            .iter()
            .rev()
            .find(fits)
            .copied()
            .unwrap_or(0x1000);
        system.regions[index].page_size = size;
    }
}

/// Checks a whole system.
pub fn check(system: &System) -> Result<(), Error> {
    names(system)?;
    physical_overlaps(system)?;
    for pd in &system.pds {
        maps(system, pd)?;
        set_vars(system, pd)?;
        io_ports(system, pd)?;
    }
    irqs(system)?;
    channels(system)
}

fn unique<'a>(
    system: &System,
    element: &str,
    what: &str,
    items: impl Iterator<Item = (&'a str, Place)>,
) -> Result<(), Error> {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    for (name, place) in items {
        if let Some(first) = seen.insert(name, place) {
            let message = format!(
                "{what} '{name}' is already defined in line {}: rename one",
                first.line
            );
            return Err(system.error(place, element, message));
        }
    }
    Ok(())
}

fn names(system: &System) -> Result<(), Error> {
    if let Some(pd) = system.pds.get(limits::MAX_PDS) {
        let message = format!(
            "too many protection domains ({}): {} at most",
            system.pds.len(),
            limits::MAX_PDS
        );
        return Err(system.error(pd.place, "protection_domain", message));
    }
    let pds = system.pds.iter().map(|pd| (pd.name.as_str(), pd.place));
    unique(system, "protection_domain", "protection domain", pds)?;
    let regions = system
        .regions
        .iter()
        .map(|region| (region.name.as_str(), region.place));
    unique(system, "memory_region", "memory region", regions)
}

/// First address, first address past it, and what they are of.
type Range<T> = (u64, u64, T);

/// The first two of the ranges that overlap, the lower one first.
fn overlap<T>(ranges: &mut [Range<T>]) -> Option<(&Range<T>, &Range<T>)> {
    ranges.sort_by_key(|range| range.0);
    ranges
        .windows(2)
        .find(|pair| pair[1].0 < pair[0].1)
        .map(|pair| (&pair[0], &pair[1]))
}

fn physical_overlaps(system: &System) -> Result<(), Error> {
    let fixed = |region: &'_ MemoryRegion| region.phys_addr.map(|paddr| paddr + region.size);
    let mut ranges: Vec<(u64, u64, &MemoryRegion)> = system
        .regions
        .iter()
        .filter_map(|region| Some((region.phys_addr?, fixed(region)?, region)))
        .collect();
    match overlap(&mut ranges) {
        Some(((start, end, region), (other_start, other_end, other))) => {
            let message = format!(
                "memory region '{}' physical addresses [{other_start:#x}..{other_end:#x}) overlap \
                 memory region '{}' [{start:#x}..{end:#x}): move one",
                other.name, region.name
            );
            Err(system.error(other.place, "memory_region", message))
        }
        None => Ok(()),
    }
}

/// First address that no `<map>` may reach: a free page, the stack, a free
/// page, the IPC buffer.
pub fn map_end(pd: &ProtectionDomain) -> u64 {
    pd_layout::STACK_TOP - pd.stack_size - 0x1000
}

fn maps(system: &System, pd: &ProtectionDomain) -> Result<(), Error> {
    let mut ranges = Vec::new();
    for map in &pd.maps {
        let error = |message| Err(system.error(map.place, "map", message));
        let Some(region) = system.region(&map.region) else {
            return error(format!(
                "mr '{}': no memory region has this name",
                map.region
            ));
        };
        if map.vaddr % region.page_size != 0 {
            return error(format!(
                "vaddr {:#x}: must be a multiple of the page size of '{}', {:#x}",
                map.vaddr, region.name, region.page_size
            ));
        }
        if map.vaddr == 0 {
            return error("vaddr 0x0: null pointers must stay unmapped; move it".into());
        }
        let end = map_end(pd);
        match map.vaddr.checked_add(region.size) {
            Some(last) if last <= end => ranges.push((map.vaddr, last, map)),
            _ => {
                return error(format!(
                    "vaddr {:#x}: '{}' would end past {end:#x}, where the stack's guard page \
                     begins",
                    map.vaddr, region.name
                ));
            }
        }
    }
    match overlap(&mut ranges) {
        Some(((start, end, map), (other_start, other_end, other))) => {
            let message = format!(
                "'{}' [{other_start:#x}..{other_end:#x}) overlaps the map of '{}' \
                 [{start:#x}..{end:#x}) in protection domain '{}': move one",
                other.region, map.region, pd.name
            );
            Err(system.error(other.place, "map", message))
        }
        None => Ok(()),
    }
}

fn set_vars(system: &System, pd: &ProtectionDomain) -> Result<(), Error> {
    for set_var in &pd.set_vars {
        let (name, need) = match &set_var.value {
            SetValue::Number(_) => continue,
            SetValue::Paddr(name) => (name, "phys_addr"),
            SetValue::Size(name) => (name, "size"),
            SetValue::PrefillSize(name) => (name, "prefill_path"),
        };
        let Some(region) = system.region(name) else {
            let message = format!("region_paddr '{name}': no memory region has this name");
            return Err(system.error(set_var.place, "setvar", message));
        };
        let missing = match &set_var.value {
            SetValue::Paddr(_) => region.phys_addr.is_none(),
            SetValue::PrefillSize(_) => region.prefill.is_none(),
            _ => false,
        };
        if missing {
            let message = format!(
                "symbol '{}' needs the {need} of memory region '{name}', which has none: add it",
                set_var.symbol
            );
            return Err(system.error(set_var.place, "setvar", message));
        }
    }
    Ok(())
}

fn io_ports(system: &System, pd: &ProtectionDomain) -> Result<(), Error> {
    let mut ids = HashMap::new();
    for port in &pd.io_ports {
        if ids.insert(port.id, port.place).is_some() {
            let message = format!(
                "id {} stands twice in protection domain '{}'",
                port.id, pd.name
            );
            return Err(system.error(port.place, "ioport", message));
        }
    }
    // Two PDs that drive one device get in each other's way: all PDs at once.
    let all = system
        .pds
        .iter()
        .flat_map(|pd| pd.io_ports.iter().map(move |port| (pd, port)));
    let mut ranges: Vec<_> = all
        .map(|(pd, port)| (port.addr, port.addr + port.size, (pd, port)))
        .collect();
    match overlap(&mut ranges) {
        Some(((start, end, (pd, _)), (other_start, other_end, (other_pd, other)))) => {
            let message = format!(
                "ports [{other_start:#x}..{other_end:#x}) of protection domain '{}' overlap ports \
                 [{start:#x}..{end:#x}) of protection domain '{}': give them to one only",
                other_pd.name, pd.name
            );
            Err(system.error(other.place, "ioport", message))
        }
        None => Ok(()),
    }
}

fn irqs(system: &System) -> Result<(), Error> {
    let mut pins = HashMap::new();
    let mut vectors = HashMap::new();
    for irq in system.pds.iter().flat_map(|pd| &pd.irqs) {
        if let Some(first) = pins.insert((irq.ioapic, irq.pin), irq.place) {
            let message = format!("pin {} is already taken in line {}", irq.pin, first.line);
            return Err(system.error(irq.place, "irq", message));
        }
        if let Some(first) = vectors.insert(irq.vector, irq.place) {
            let message = format!(
                "vector {} is already taken in line {}",
                irq.vector, first.line
            );
            return Err(system.error(irq.place, "irq", message));
        }
    }
    Ok(())
}

fn channels(system: &System) -> Result<(), Error> {
    let mut ids = HashMap::new();
    for (index, pd) in system.pds.iter().enumerate() {
        for irq in &pd.irqs {
            if ids.insert((index, irq.id), irq.place).is_some() {
                let message = format!(
                    "id {} stands twice in protection domain '{}'",
                    irq.id, pd.name
                );
                return Err(system.error(irq.place, "irq", message));
            }
        }
    }
    for channel in &system.channels {
        let [a, b] = &channel.ends;
        if a.pp && b.pp {
            let message = "protected procedure calls go one way only: set pp on one end".into();
            return Err(system.error(channel.place, "channel", message));
        }
        for (end, peer) in [(a, b), (b, a)] {
            let pd = &system.pds[end.pd];
            if let Some(first) = ids.insert((end.pd, end.id), end.place) {
                let message = format!(
                    "id {} of protection domain '{}' is already taken in line {}",
                    end.id, pd.name, first.line
                );
                return Err(system.error(end.place, "end", message));
            }
            let callee = &system.pds[peer.pd];
            if end.pp && callee.priority <= pd.priority {
                let message = format!(
                    "pp: protected procedure calls must go to a strictly higher priority, but \
                     '{}' has {} and '{}' {}",
                    pd.name, pd.priority, callee.name, callee.priority
                );
                return Err(system.error(end.place, "end", message));
            }
        }
    }
    Ok(())
}
