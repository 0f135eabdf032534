//! Microkit 2.3.0's rules for a system description on x86-64, as its manual
//! states them, one after the other: a second opinion, which shares nothing
//! with the builder.

use std::{collections::HashSet, ops::Range, path::Path};

use roxmltree::{Document, Node};

/// What an attribute's value must be.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    /// Up to this one.
    UpTo(u64),
    Bool,
    OneOf(&'static [&'static str]),
}
use Kind::{Bool, Number, OneOf, Text, UpTo};

/// The highest channel, interrupt, virtual CPU or I/O port id.
const ID: Kind = UpTo(61);
const PAGE: u64 = 0x1000;
/// Past the IPC buffer's page, user addresses end.
const USER_TOP: u64 = 0x7fff_ffff_f000;

/// Name of an attribute, whether it must be there, what it must be.
type Attribute = (&'static str, bool, Kind);

/// An element's attributes and the elements it may have.
fn element(name: &str) -> Option<(&'static [Attribute], &'static [&'static str])> {
    Some(match name {
        "system" => (
            &[],
            &["protection_domain", "memory_region", "channel", "domains"],
        ),
        "protection_domain" => (
            &[
                ("name", true, Text),
                ("priority", false, UpTo(254)),
                ("budget", false, Number),
                ("period", false, Number),
                ("passive", false, Bool),
                ("stack_size", false, Number),
                // One core, unless the configuration is for more.
                ("cpu", false, UpTo(0)),
                ("fpu", false, Bool),
            ],
            &[
                "program_image",
                "map",
                "irq",
                "setvar",
                "protection_domain",
                "ioport",
                "cspace",
            ],
        ),
        "program_image" => (
            &[("path", true, Text), ("path_for_symbols", false, Text)],
            &[],
        ),
        "map" => (
            &[
                ("mr", true, Text),
                ("vaddr", true, Number),
                ("perms", false, Text),
                ("cached", false, Bool),
                ("setvar_vaddr", false, Text),
                ("setvar_size", false, Text),
                ("setvar_prefill_size", false, Text),
            ],
            &[],
        ),
        "irq" => (
            &[
                ("id", true, ID),
                ("vector", true, UpTo(107)),
                ("pin", false, Number),
                ("ioapic", false, Number),
                ("trigger", false, OneOf(&["edge", "level"])),
                ("polarity", false, OneOf(&["high", "low"])),
                ("pcidev", false, Text),
                ("handle", false, Number),
                ("setvar_id", false, Text),
            ],
            &[],
        ),
        "ioport" => (
            &[
                ("id", true, ID),
                ("addr", true, Number),
                ("size", true, Number),
                ("setvar_id", false, Text),
                ("setvar_addr", false, Text),
            ],
            &[],
        ),
        "setvar" => (&[("symbol", true, Text), ("region_paddr", true, Text)], &[]),
        "memory_region" => (
            &[
                ("name", true, Text),
                ("size", false, Number),
                ("page_size", false, Number),
                ("phys_addr", false, Number),
                ("prefill_path", false, Text),
                ("prefill_bootinfo", false, Text),
            ],
            &[],
        ),
        "channel" => (&[], &["end"]),
        "end" => (
            &[
                ("pd", true, Text),
                ("id", true, ID),
                ("pp", false, Bool),
                ("notify", false, Bool),
                ("setvar_id", false, Text),
            ],
            &[],
        ),
        "cspace" => (&[], &["cap_tcb", "cap_sc", "cap_vspace"]),
        "cap_tcb" | "cap_sc" | "cap_vspace" => (&[("slot", true, Number), ("pd", true, Text)], &[]),
        _ => return None,
    })
}

fn number(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule()) }
}

/// An attribute that [`shape`] has seen to be a number, if it is there.
fn value(node: Node<'_, '_>, name: &str) -> Option<u64> {
    node.attribute(name).and_then(number)
}

fn is(node: Node<'_, '_>, name: &str, default: bool) -> bool {
    node.attribute(name).map_or(default, |word| word == "true")
}

fn below<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children()
        .filter(move |child| child.has_tag_name(name))
}

/// Elements and attributes, each by itself.
fn shape(node: Node<'_, '_>) -> Result<(), String> {
    let name = node.tag_name().name();
    let (attributes, children) = element(name).ok_or_else(|| format!("no element <{name}>"))?;
    let child_pd = name == "protection_domain"
        && node
            .parent_element()
            .is_some_and(|parent| parent.has_tag_name(name));
    for given in node.attributes() {
        let Some((_, _, kind)) = attributes.iter().find(|known| known.0 == given.name()) else {
            let of_a_child = matches!(given.name(), "id" | "setvar_id");
            ensure(child_pd && of_a_child, || {
                format!("<{name}> has no attribute {}", given.name())
            })?;
            continue;
        };
        let text = given.value();
        let fits = match kind {
            Text => true,
            Number => number(text).is_some(),
            UpTo(highest) => number(text).is_some_and(|value| value <= *highest),
            Bool => matches!(text, "true" | "false"),
            OneOf(words) => words.contains(&text),
        };
        ensure(fits, || format!("<{name}> {}='{text}'", given.name()))?;
    }
    for (attribute, required, _) in attributes {
        ensure(!required || node.has_attribute(*attribute), || {
            format!("<{name}> without {attribute}")
        })?;
    }
    for child in node.children() {
        if child.is_text() {
            let blank = child.text().is_none_or(|text| text.trim().is_empty());
            ensure(blank, || format!("text in <{name}>"))?;
        }
        if child.is_element() {
            let tag = child.tag_name().name();
            ensure(children.contains(&tag), || format!("<{tag}> in <{name}>"))?;
            shape(child)?;
        }
    }
    Ok(())
}

fn overlap(ranges: &[Range<u64>], range: &Range<u64>) -> bool {
    ranges
        .iter()
        .any(|other| range.start < other.end && other.start < range.end)
}

fn page_size(region: Node<'_, '_>) -> u64 {
    value(region, "page_size").unwrap_or(PAGE)
}

fn region<'a>(system: Node<'a, 'a>, name: &str) -> Result<Node<'a, 'a>, String> {
    below(system, "memory_region")
        .find(|region| region.attribute("name") == Some(name))
        .ok_or_else(|| format!("no memory region {name}"))
}

fn regions(system: Node<'_, '_>, files: &Path) -> Result<(), String> {
    let mut names = HashSet::new();
    let mut taken = Vec::new();
    for region in below(system, "memory_region") {
        let name = region.attribute("name").unwrap_or_default();
        ensure(names.insert(name), || format!("two regions {name}"))?;
        let unit = page_size(region);
        ensure(matches!(unit, 0x1000 | 0x20_0000), || {
            format!("{name}: page size")
        })?;
        let prefill = match region.attribute("prefill_path") {
            Some(path) => Some(
                std::fs::metadata(files.join(path))
                    .map_err(|_| format!("{name}: no file {path}"))?
                    .len(),
            ),
            None => None,
        };
        ensure(prefill != Some(0), || format!("{name}: empty file"))?;
        let size = value(region, "size").or(prefill.map(|len| len.next_multiple_of(unit)));
        let size = size.ok_or_else(|| format!("{name}: no size"))?;
        ensure(size % unit == 0, || format!("{name}: size of whole pages"))?;
        ensure(prefill.is_none_or(|len| len <= size), || {
            format!("{name}: file too large")
        })?;
        if let Some(paddr) = value(region, "phys_addr") {
            ensure(paddr % unit == 0, || {
                format!("{name}: phys_addr of whole pages")
            })?;
            let range = paddr..paddr.wrapping_add(size);
            ensure(!overlap(&taken, &range), || format!("{name}: overlaps"))?;
            taken.push(range);
        }
    }
    Ok(())
}

fn domain(system: Node<'_, '_>, pd: Node<'_, '_>) -> Result<(), String> {
    let name = pd.attribute("name").unwrap_or_default();
    ensure(below(pd, "program_image").count() == 1, || {
        format!("{name}: exactly one program")
    })?;
    let stack = value(pd, "stack_size").unwrap_or(2 * PAGE);
    ensure(
        (PAGE..=16 << 20).contains(&stack) && stack.is_multiple_of(PAGE),
        || format!("{name}: stack of {stack:#x}"),
    )?;
    let mut taken = Vec::new();
    for map in below(pd, "map") {
        let region = region(system, map.attribute("mr").unwrap_or_default())?;
        let vaddr = value(map, "vaddr").unwrap_or_default();
        let perms = map.attribute("perms").unwrap_or("rw");
        ensure(perms.chars().all(|c| "rwx".contains(c)), || {
            format!("{name}: perms {perms}")
        })?;
        ensure(perms != "w", || format!("{name}: perms w"))?;
        ensure(vaddr.is_multiple_of(page_size(region)), || {
            format!("{name}: vaddr {vaddr:#x}")
        })?;
        ensure(
            !map.has_attribute("setvar_prefill_size") || region.has_attribute("prefill_path"),
            || format!("{name}: size of no prefill"),
        )?;
        let size = value(region, "size").unwrap_or(PAGE);
        let end = vaddr.saturating_add(size);
        // Stack, and a free page on each side of it.
        ensure(end <= USER_TOP - 2 * PAGE - stack, || {
            format!("{name}: {vaddr:#x} too high")
        })?;
        ensure(!overlap(&taken, &(vaddr..end)), || {
            format!("{name}: maps overlap")
        })?;
        taken.push(vaddr..end);
    }
    for set_var in below(pd, "setvar") {
        let region = region(
            system,
            set_var.attribute("region_paddr").unwrap_or_default(),
        )?;
        ensure(region.has_attribute("phys_addr"), || {
            format!("{name}: setvar of no phys_addr")
        })?;
    }
    for irq in below(pd, "irq") {
        let line = irq.has_attribute("pin");
        let message = irq.has_attribute("pcidev") && irq.has_attribute("handle");
        ensure(line != message, || {
            format!("{name}: irq by pin, or by pcidev and handle")
        })?;
    }
    let mut ids = HashSet::new();
    for port in below(pd, "ioport") {
        ensure(ids.insert(value(port, "id")), || {
            format!("{name}: two ioports of one id")
        })?;
    }
    Ok(())
}

/// Every `setvar…` of one PD names another symbol.
fn symbols(system: Node<'_, '_>, pd: Node<'_, '_>) -> Result<(), String> {
    let name = pd.attribute("name");
    let own = pd.children().filter(Node::is_element);
    let ends = system
        .descendants()
        .filter(|node| node.has_tag_name("end") && node.attribute("pd") == name);
    let mut seen = HashSet::new();
    for node in own.chain(ends) {
        for attribute in node.attributes() {
            let symbol = attribute.name() == "symbol" || attribute.name().starts_with("setvar_");
            ensure(!symbol || seen.insert(attribute.value()), || {
                format!("symbol {} twice", attribute.value())
            })?;
        }
    }
    Ok(())
}

fn channels(system: Node<'_, '_>, pds: &[Node<'_, '_>]) -> Result<(), String> {
    let mut ids = HashSet::new();
    for (pd, irq) in pds
        .iter()
        .flat_map(|pd| below(*pd, "irq").map(move |irq| (pd, irq)))
    {
        ensure(ids.insert((pd.attribute("name"), value(irq, "id"))), || {
            "irq id twice".into()
        })?;
    }
    for channel in below(system, "channel") {
        let ends: Vec<_> = below(channel, "end").collect();
        let [a, b] = ends[..] else {
            return Err("a channel of two ends".into());
        };
        ensure(!(is(a, "pp", false) && is(b, "pp", false)), || {
            "calls both ways".into()
        })?;
        let priority = |end: Node<'_, '_>| {
            let pd = pds
                .iter()
                .find(|pd| pd.attribute("name") == end.attribute("pd"));
            pd.map(|pd| value(*pd, "priority").unwrap_or(0))
                .ok_or("an end in no protection domain")
        };
        for (end, peer) in [(a, b), (b, a)] {
            let up = priority(end)? < priority(peer)?;
            ensure(!is(end, "pp", false) || up, || "calls go up".into())?;
            ensure(ids.insert((end.attribute("pd"), value(end, "id"))), || {
                "channel id twice".into()
            })?;
        }
    }
    Ok(())
}

/// The first rule that `text` breaks; prefill files are those in `files`.
pub fn check(text: &str, files: &Path) -> Result<(), String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let system = document.root_element();
    ensure(system.has_tag_name("system"), || {
        "the root is <system>".into()
    })?;
    shape(system)?;
    let pds: Vec<_> = system
        .descendants()
        .filter(|node| node.has_tag_name("protection_domain"))
        .collect();
    ensure((1..=63).contains(&pds.len()), || {
        "1 to 63 protection domains".into()
    })?;
    let mut names = HashSet::new();
    let unique = pds.iter().all(|pd| names.insert(pd.attribute("name")));
    ensure(unique, || "two protection domains of one name".into())?;
    regions(system, files)?;
    for pd in &pds {
        domain(system, *pd)?;
        symbols(system, *pd)?;
    }
    let mut vectors = HashSet::new();
    let mut ports = Vec::new();
    for node in system.descendants() {
        if node.has_tag_name("irq") {
            ensure(vectors.insert(value(node, "vector")), || {
                "a vector twice".into()
            })?;
        }
        if node.has_tag_name("ioport") {
            let first = value(node, "addr").unwrap_or_default();
            let size = value(node, "size").unwrap_or_default();
            let end = first.checked_add(size).filter(|end| *end > first);
            let range = first..end.ok_or("an ioport of no size")?;
            ensure(!overlap(&ports, &range), || "ioports overlap".into())?;
            ports.push(range);
        }
    }
    channels(system, &pds)
}
