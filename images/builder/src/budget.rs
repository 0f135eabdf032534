//! Sizes: a table for people, and limits that fail the build.

use std::{fmt::Write as _, path::Path};

use crate::{program::Program, sdf::System};

/// Regions that are the guests' memory or the operator's guest image.
pub const GUESTS: [&str; 3] = ["private_pool", "shared_pool", "guest_image"];

/// RAM that everything else may take, in bytes.
pub const FIXED_BUDGET: u64 = 32 << 20;

/// The code budget of a PD, in KiB: `text-budget-kib` under
/// `[package.metadata.septum]` in `FOLDER/NAME/Cargo.toml`.
///
/// # Errors
/// If it isn't there.
pub fn text_budget_kib(folder: &Path, name: &str) -> Result<u64, String> {
    let file = folder.join(name).join("Cargo.toml");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| format!("{}: can't be read: {error}", file.display()))?;
    let mut lines = text.lines().map(str::trim);
    let section = lines.find(|line| *line == "[package.metadata.septum]");
    let value = section.and_then(|_| {
        lines
            .take_while(|line| !line.starts_with('['))
            .find_map(|line| line.strip_prefix("text-budget-kib"))
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            .and_then(|value| value.trim().parse().ok())
    });
    value.ok_or_else(|| {
        format!(
            "{}: no code budget: add [package.metadata.septum] with text-budget-kib = …",
            file.display()
        )
    })
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}

/// The size table.
///
/// # Errors
/// The table with what is over its budget.
pub fn table(system: &System, programs: &[Program], pd_folder: &Path) -> Result<String, String> {
    let mut table = String::new();
    let mut over = Vec::new();
    let mut fixed = 0;
    let _ = writeln!(
        table,
        "{:<12} {:>9} {:>9} {:>9} {:>9} {:>9}  regions",
        "KiB", "text", "budget", "data", "bss", "stack"
    );
    for (pd, program) in system.pds.iter().zip(programs) {
        let budget = text_budget_kib(pd_folder, &pd.name)?;
        let sizes = program.sizes;
        let regions: Vec<&str> = pd.maps.iter().map(|map| map.region.as_str()).collect();
        let _ = writeln!(
            table,
            "{:<12} {:>9} {:>9} {:>9} {:>9} {:>9}  {}",
            pd.name,
            kib(sizes.text),
            budget,
            kib(sizes.data),
            kib(sizes.bss),
            kib(pd.stack_size),
            regions.join(" ")
        );
        if sizes.text > budget * 1024 {
            over.push(format!(
                "{} has {} KiB of code, {budget} KiB is its budget (text-budget-kib in \
                 {}/Cargo.toml)",
                pd.name,
                kib(sizes.text),
                pd.name
            ));
        }
        fixed += program
            .segments
            .iter()
            .map(|segment| segment.size)
            .sum::<u64>()
            + pd.stack_size;
    }
    let _ = writeln!(table);
    for region in &system.regions {
        let guests = GUESTS.contains(&region.name.as_str());
        if !guests {
            fixed += region.size;
        }
        let place = region
            .phys_addr
            .map_or("anywhere".into(), |paddr| format!("{paddr:#010x}"));
        let _ = writeln!(
            table,
            "{:<20} {:>9}  {place}{}",
            region.name,
            kib(region.size),
            if guests { "  (guests)" } else { "" }
        );
    }
    let _ = writeln!(
        table,
        "{:<20} {:>9}  of {}, without guests",
        "fixed RAM",
        kib(fixed),
        kib(FIXED_BUDGET)
    );
    if fixed > FIXED_BUDGET {
        over.push(format!(
            "fixed RAM outside of guests is {} KiB, {} KiB is its budget",
            kib(fixed),
            kib(FIXED_BUDGET)
        ));
    }
    if over.is_empty() {
        Ok(table)
    } else {
        Err(format!("{table}\nover budget: {}", over.join("; ")))
    }
}
