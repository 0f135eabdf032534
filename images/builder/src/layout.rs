//! Decides where everything goes: from the description and the programs to the
//! records that the initial task carries out.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use system_image::{
    ANYWHERE, Backing, Call, IoPorts, Irq, Map, Pd, Region, Signal, Table, name_bytes, pd_layout,
};

use crate::{
    program::Program,
    sdf::{Error, ProtectionDomain, SetValue, System},
};

const PAGE: u64 = system_image::PAGE;

/// Everything that goes into the image.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Protection domains.
    pub pds: Vec<Pd>,
    /// Memory regions: those that may lie anywhere, the fixed ones by address,
    /// the PDs' own.
    pub regions: Vec<Region>,
    /// Data of each region.
    pub data: Vec<Vec<u8>>,
    /// Where regions are mapped.
    pub maps: Vec<Map>,
    /// Page tables, outer ones first.
    pub tables: Vec<Table>,
    /// Notifications.
    pub signals: Vec<Signal>,
    /// Calls.
    pub calls: Vec<Call>,
    /// Interrupts.
    pub irqs: Vec<Irq>,
    /// I/O ports.
    pub io_ports: Vec<IoPorts>,
}

/// Reads the programs that the description names.
///
/// # Errors
/// What is wrong, as a line.
pub fn read_programs(system: &System, search: &[PathBuf]) -> Result<Vec<Program>, String> {
    let read = |pd: &ProtectionDomain| {
        let path: &Path = &pd.program_image;
        let Some(file) = search
            .iter()
            .map(|folder| folder.join(path))
            .find(|file| file.is_file())
        else {
            let message = format!(
                "program_image '{}' of '{}' not found in any --search-path",
                path.display(),
                pd.name
            );
            return Err(system
                .error(pd.place, "protection_domain", message)
                .to_string());
        };
        Program::read(&file).map_err(|error| error.to_string())
    };
    system.pds.iter().map(read).collect()
}

/// Sets the variables of all programs and lays the system out.
///
/// # Errors
/// What is wrong, as a line.
pub fn lay_out(system: &System, programs: &mut [Program]) -> Result<Layout, String> {
    let mut layout = Layout::default();
    layout.add_regions(system);
    for (index, (pd, program)) in system.pds.iter().zip(programs).enumerate() {
        set_variables(system, index, program)?;
        layout.add_pd(system, index, program)?;
        layout.add_devices(index as u32, pd);
    }
    layout.add_channels(system);
    layout.add_tables();
    Ok(layout)
}

/// What of the machine's memory a region may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    /// First byte past the kernel, the initial task and what they take at the
    /// start.
    pub start: u64,
    /// First byte past the RAM that the kernel gives away.
    pub end: u64,
}

/// Regions with a physical address must lie in free RAM.
///
/// # Errors
/// The first that doesn't.
pub fn check_ram(system: &System, ram: Ram) -> Result<(), Error> {
    for region in &system.regions {
        let Some(paddr) = region.phys_addr else {
            continue;
        };
        let message = if paddr < ram.start {
            format!(
                "'{}' at phys_addr {paddr:#x} overlaps the kernel and the initial task, which end \
                 at {:#x}: move it up",
                region.name, ram.start
            )
        } else if paddr + region.size > ram.end {
            format!(
                "'{}' at phys_addr {paddr:#x} ends past the RAM, which ends at {:#x}: move it \
                 down, or give --ram-mib",
                region.name, ram.end
            )
        } else {
            continue;
        };
        return Err(system.error(region.place, "memory_region", message));
    }
    Ok(())
}

fn set_variables(system: &System, index: usize, program: &mut Program) -> Result<(), String> {
    let pd = &system.pds[index];
    for set_var in &pd.set_vars {
        let region = |name: &str| system.region(name).ok_or(format!("no region '{name}'"));
        let value = match &set_var.value {
            SetValue::Number(number) => *number,
            SetValue::Paddr(name) => region(name)?.phys_addr.unwrap_or_default(),
            SetValue::Size(name) => region(name)?.size,
            SetValue::PrefillSize(name) => region(name)?
                .prefill
                .as_ref()
                .map_or(0, |prefill| prefill.data.len() as u64),
        };
        program
            .set(&set_var.symbol, &value.to_le_bytes())
            .map_err(|error| {
                system
                    .error(
                        set_var.place,
                        "setvar",
                        format!("in '{}': {error}", pd.name),
                    )
                    .to_string()
            })?;
    }
    let ends = || system.channels.iter().flat_map(|channel| &channel.ends);
    let own = || ends().filter(|end| end.pd == index);
    let mask = |ids: &mut dyn Iterator<Item = u64>| ids.fold(0u64, |mask, id| mask | 1 << id);
    let words = [
        ("microkit_irqs", mask(&mut pd.irqs.iter().map(|irq| irq.id))),
        (
            "microkit_notifications",
            mask(&mut own().filter(|end| end.notify).map(|end| end.id)),
        ),
        (
            "microkit_pps",
            mask(&mut own().filter(|end| end.pp).map(|end| end.id)),
        ),
        (
            "microkit_ioports",
            mask(&mut pd.io_ports.iter().map(|port| port.id)),
        ),
    ];
    let mut set = |symbol: &str, value: &[u8]| -> Result<(), String> {
        program
            .set(symbol, value)
            .map_err(|error| error.to_string())
    };
    for (symbol, value) in words {
        set(symbol, &value.to_le_bytes())?;
    }
    set("microkit_name", &name_bytes::<64>(&pd.name))
}

impl Layout {
    fn add_region(&mut self, region: Region, data: Vec<u8>) -> u32 {
        self.regions.push(region);
        self.data.push(data);
        self.regions.len() as u32 - 1
    }

    /// The description's regions. Those that may lie anywhere come first, then
    /// the fixed ones by address, as the initial task takes memory at rising
    /// addresses.
    fn add_regions(&mut self, system: &System) {
        let mut sorted: Vec<_> = system.regions.iter().collect();
        sorted.sort_by_key(|region| region.phys_addr);
        for region in sorted {
            let data = region
                .prefill
                .as_ref()
                .map_or(Vec::new(), |prefill| prefill.data.clone());
            self.add_region(
                Region {
                    name: name_bytes(&region.name),
                    size: region.size,
                    paddr: region.phys_addr.unwrap_or(ANYWHERE),
                    data_offset: 0,
                    data_length: data.len() as u64,
                    page_bits: region.page_size.ilog2(),
                    backing: Backing::Memory as u32,
                },
                data,
            );
        }
    }

    /// Takes the prefills of regions with a physical address out: whoever boots
    /// the image is to put them there. The addresses and files.
    pub fn leave_to_loader(&mut self, system: &System) -> Vec<(u64, PathBuf)> {
        let mut left = Vec::new();
        for region in &system.regions {
            let (Some(paddr), Some(prefill)) = (region.phys_addr, &region.prefill) else {
                continue;
            };
            if let Some(index) = self.region_index(&region.name) {
                self.regions[index as usize].data_length = 0;
                self.data[index as usize].clear();
                left.push((paddr, prefill.file.clone()));
            }
        }
        left
    }

    fn region_index(&self, name: &str) -> Option<u32> {
        let name = name_bytes::<64>(name);
        self.regions
            .iter()
            .position(|region| region.name == name)
            .map(|index| index as u32)
    }

    /// Memory of the PD's own: program, stack, IPC buffer.
    fn add_own(&mut self, pd: u32, name: &str, vaddr: u64, size: u64, writable: bool) -> u32 {
        let region = self.add_region(
            Region {
                name: name_bytes(name),
                size,
                paddr: ANYWHERE,
                data_offset: 0,
                data_length: 0,
                page_bits: PAGE.ilog2(),
                backing: Backing::Memory as u32,
            },
            Vec::new(),
        );
        self.maps.push(Map {
            pd,
            region,
            vaddr,
            writable: writable.into(),
            cached: 1,
        });
        region
    }

    fn add_pd(&mut self, system: &System, index: usize, program: &Program) -> Result<(), String> {
        let pd = &system.pds[index];
        let number = index as u32;
        for map in &pd.maps {
            let Some(region) = self.region_index(&map.region) else {
                continue;
            };
            let size = self.regions[region as usize].size;
            let taken = program.segments.iter().find(|segment| {
                map.vaddr < segment.vaddr + segment.size && segment.vaddr < map.vaddr + size
            });
            if let Some(segment) = taken {
                let message = format!(
                    "'{}' [{:#x}..{:#x}) overlaps the program '{}' [{:#x}..{:#x}): move it",
                    map.region,
                    map.vaddr,
                    map.vaddr + size,
                    program.file,
                    segment.vaddr,
                    segment.vaddr + segment.size
                );
                return Err(system.error(map.place, "map", message).to_string());
            }
            self.maps.push(Map {
                pd: number,
                region,
                vaddr: map.vaddr,
                writable: map.writable.into(),
                cached: map.cached.into(),
            });
        }
        let end = crate::sdf::map_end(pd);
        for segment in &program.segments {
            if segment.vaddr + segment.size > end {
                return Err(format!(
                    "{}: segment at {:#x}: too high",
                    program.file, segment.vaddr
                ));
            }
            let name = format!("{} {:#x}", pd.name, segment.vaddr);
            let loaded = segment.data.len() as u64;
            if loaded > 0 {
                let region = self.add_own(number, &name, segment.vaddr, loaded, segment.writable);
                let record = &mut self.regions[region as usize];
                record.backing = Backing::Image as u32;
                record.data_length = loaded;
                self.data[region as usize] = segment.data.clone();
            }
            if segment.size > loaded {
                let rest = segment.size - loaded;
                self.add_own(
                    number,
                    &name,
                    segment.vaddr + loaded,
                    rest,
                    segment.writable,
                );
            }
        }
        let stack = pd_layout::STACK_TOP - pd.stack_size;
        self.add_own(
            number,
            &format!("{} stack", pd.name),
            stack,
            pd.stack_size,
            true,
        );
        let buffer_name = format!("{} IPC buffer", pd.name);
        let buffer = self.add_own(number, &buffer_name, pd_layout::IPC_BUFFER, PAGE, true);
        self.pds.push(Pd {
            name: name_bytes(&pd.name),
            entry: program.entry,
            priority: pd.priority as u32,
            ipc_buffer: buffer,
        });
        Ok(())
    }

    fn add_devices(&mut self, number: u32, pd: &ProtectionDomain) {
        self.irqs.extend(pd.irqs.iter().map(|irq| Irq {
            pd: number,
            id: irq.id as u32,
            ioapic: irq.ioapic as u32,
            pin: irq.pin as u32,
            level: irq.level.into(),
            low: irq.low.into(),
            vector: irq.vector as u32,
            reserved: 0,
        }));
        self.io_ports.extend(pd.io_ports.iter().map(|port| IoPorts {
            pd: number,
            id: port.id as u32,
            first: port.addr as u32,
            last: (port.addr + port.size - 1) as u32,
        }));
    }

    fn add_channels(&mut self, system: &System) {
        for channel in &system.channels {
            let [a, b] = &channel.ends;
            for (end, peer) in [(a, b), (b, a)] {
                let (pd, id) = (end.pd as u32, end.id as u32);
                let (peer, peer_id) = (peer.pd as u32, peer.id as u32);
                if end.notify {
                    self.signals.push(Signal {
                        pd,
                        id,
                        peer,
                        peer_id,
                    });
                }
                if end.pp {
                    self.calls.push(Call {
                        pd,
                        id,
                        peer,
                        peer_id,
                    });
                }
            }
        }
    }

    /// The page tables that the maps need.
    fn add_tables(&mut self) {
        let mut needed = BTreeSet::new();
        for map in &self.maps {
            let region = &self.regions[map.region as usize];
            let lowest = if region.page_bits > 12 { 2 } else { 1 };
            for level in lowest..=3u32 {
                let covers = 1u64 << (12 + 9 * level);
                let first = map.vaddr / covers;
                let last = (map.vaddr + region.size - 1) / covers;
                for index in first..=last {
                    needed.insert((map.pd, 3 - level, index * covers));
                }
            }
        }
        self.tables = needed
            .into_iter()
            .map(|(pd, depth, vaddr)| Table {
                pd,
                level: 3 - depth,
                vaddr,
            })
            .collect();
    }
}
