//! A picture of a system: who reaches which memory, and who talks to whom.
//!
//! One column for each protection domain, one row for each memory region in physical order; a
//! filled cell may write, a framed one only read. Regions that the same PDs map in the same way,
//! such as the two rings of a channel, share a row. Sealed memory is red.

use std::fmt::Write;

use crate::{
    isolation,
    sdf::{MemoryRegion, System},
};

const NAMES: usize = 330;
const COLUMN: usize = 136;
const ROW: usize = 26;
const TOP: usize = 150;

/// How a PD reaches a region.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    No,
    Read,
    Write,
}

/// Regions that are reached alike.
struct Row<'a> {
    regions: Vec<&'a MemoryRegion>,
    reach: Vec<Reach>,
}

fn rows(system: &System) -> Vec<Row<'_>> {
    let mut sorted: Vec<_> = system.regions.iter().collect();
    sorted.sort_by_key(|region| region.phys_addr.unwrap_or(u64::MAX));
    let mut rows: Vec<Row<'_>> = Vec::new();
    for region in sorted {
        let reach = |pd: &crate::sdf::ProtectionDomain| {
            let mut maps = pd.maps.iter().filter(|map| map.region == region.name);
            maps.clone()
                .next()
                .map_or(Reach::No, |_| match maps.any(|map| map.writable) {
                    true => Reach::Write,
                    false => Reach::Read,
                })
        };
        let reach: Vec<_> = system.pds.iter().map(reach).collect();
        let alike = |row: &&mut Row<'_>| {
            let first = row.regions[0];
            row.reach == reach && first.phys_addr.is_none() && first.size == region.size
        };
        match rows.iter_mut().find(alike) {
            Some(row) if region.phys_addr.is_none() => row.regions.push(region),
            _ => rows.push(Row {
                regions: vec![region],
                reach,
            }),
        }
    }
    rows
}

fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

/// Where text begins or ends, its class, itself.
fn text(out: &mut String, (x, y): (usize, usize), class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{text}</text>"
    );
}

/// The system as an SVG picture.
pub fn svg(system: &System) -> String {
    let rows = rows(system);
    let columns = system.pds.len();
    let width = NAMES + columns * COLUMN + 20;
    let height = TOP + rows.len() * ROW + 50;
    let middle = |pd: usize| NAMES + pd * COLUMN + COLUMN / 2;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n\
         <style>text{{font:13px monospace;fill:#222}} .pd{{font-weight:bold;text-anchor:middle}} \
         .small{{font-size:10px;fill:#666;text-anchor:middle}} .right{{text-anchor:end;fill:#666}} \
         .sealed{{fill:#b3202a;font-weight:bold}} .box{{fill:#eef2f8;stroke:#35507a}} \
         .bell{{fill:none;stroke:#35507a}} .line{{stroke:#ddd}} \
         .write{{fill:#35507a;stroke:#35507a}} .read{{fill:#fff;stroke:#35507a;stroke-width:2}} \
         .seal{{fill:#b3202a;stroke:#b3202a}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    // Channels: an arc between the heads of two columns, higher the further they are apart.
    for channel in &system.channels {
        let [a, b] = [&channel.ends[0], &channel.ends[1]].map(|end| middle(end.pd));
        let lift = 28 * a.abs_diff(b) / COLUMN;
        let _ = writeln!(
            out,
            "<path class=\"bell\" d=\"M{a} 96 C{a} {y} {b} {y} {b} 96\"/>",
            y = 86usize.saturating_sub(lift)
        );
    }
    text(&mut out, (10, 30), "", "doorbells");
    for (index, pd) in system.pds.iter().enumerate() {
        let x = NAMES + index * COLUMN + 6;
        let _ = writeln!(
            out,
            "<rect class=\"box\" x=\"{x}\" y=\"96\" width=\"{}\" height=\"40\" rx=\"5\"/>",
            COLUMN - 12
        );
        text(&mut out, (middle(index), 113), "pd", &pd.name);
        let irqs = match pd.irqs.len() {
            0 => String::new(),
            irqs => format!(", {irqs} irq"),
        };
        let line = format!("priority {}{irqs}", pd.priority);
        text(&mut out, (middle(index), 129), "small", &line);
    }
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + index * ROW;
        let name = match row.regions.as_slice() {
            [region] => region.name.clone(),
            [region, rest @ ..] => format!("{} +{}", region.name, rest.len()),
            [] => continue,
        };
        let sealed = isolation::SEALED.contains(&row.regions[0].name.as_str());
        let class = if sealed { "sealed" } else { "" };
        text(&mut out, (10, y + 17), class, &name);
        let bytes = size(row.regions.iter().map(|region| region.size).sum());
        if let Some(paddr) = row.regions[0].phys_addr {
            let place = format!("{paddr:#x}");
            text(&mut out, (NAMES - 90, y + 17), "right", &place);
        }
        text(&mut out, (NAMES - 10, y + 17), "right", &bytes);
        let _ = writeln!(
            out,
            "<path class=\"line\" d=\"M10 {line} H{}\"/>",
            width - 10,
            line = y + ROW - 1
        );
        for (pd, reach) in row.reach.iter().enumerate() {
            let class = match reach {
                Reach::No => continue,
                Reach::Read => "read",
                Reach::Write if sealed => "seal",
                Reach::Write => "write",
            };
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"36\" height=\"14\" rx=\"3\"/>",
                middle(pd) - 18,
                y + 5
            );
        }
    }
    let legend = "filled: may write · framed: may read · red: sealed, for pd-tdx alone · \
                  addresses are physical";
    text(&mut out, (10, height - 16), "", legend);
    out.push_str("</svg>\n");
    out
}
