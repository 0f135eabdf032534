//! Makes the protection domains' objects.

use sel4::{
    Attributes, Badge, BootInfo, CNode, CapPtr, Guard, IoPort, IpcBuffer, IrqControl, IrqHandler,
    ObjectType, Page, PagingStructure, Rights, Tcb, UserContext, initial_slot,
};
use system_image::{ANYWHERE, Backing, Map, Region, SystemImage, name_str, pd_layout};

use crate::kernel_memory::{KernelMemory, OWN_CNODE};

/// PDs a system has at most.
pub const MAX_PDS: usize = 32;
/// Regions a system has at most.
pub const MAX_REGIONS: usize = 256;

/// Where the initial task maps a page to fill it.
const SCRATCH: u64 = 64 << 30;

/// A PD's kernel objects, by their slots in the initial task's CSpace.
#[derive(Clone, Copy, Default)]
pub struct PdObjects {
    pub tcb: CapPtr,
    cnode: CapPtr,
    vspace: CapPtr,
    endpoint: CapPtr,
    notification: CapPtr,
}

impl PdObjects {
    fn cspace(&self) -> CNode {
        CNode {
            cap: self.cnode,
            depth: pd_layout::CNODE_BITS,
        }
    }
}

/// The system in the making, then running.
pub struct System<'a> {
    pub image: &'a SystemImage<'a>,
    pub memory: KernelMemory,
    pub pds: [PdObjects; MAX_PDS],
    /// Slot of each region's first page; the others follow.
    pages: [CapPtr; MAX_REGIONS],
    /// Whether the windows for large and for small pages have page tables.
    windows: [bool; 2],
    /// The endpoint that faults arrive at; badge: PD index + 1.
    pub fault_endpoint: CapPtr,
}

/// A refused step is a bug of the image builder or of this program: say which.
#[track_caller]
fn expect<T>(result: Result<T, sel4::Error>, what: &str, name: &[u8]) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what} of '{}': the kernel says {error:?}", name_str(name)),
    }
}

fn rights(map: &Map) -> Rights {
    if map.writable != 0 {
        Rights::READ_WRITE
    } else {
        Rights::READ
    }
}

fn attributes(map: &Map) -> Attributes {
    if map.cached != 0 {
        Attributes::WriteBack
    } else {
        Attributes::Uncacheable
    }
}

fn page_count(region: &Region) -> u64 {
    region.size >> region.page_bits
}

impl<'a> System<'a> {
    /// Makes everything.
    pub fn build(
        boot_info: &BootInfo,
        image: &'a SystemImage<'a>,
        memory: KernelMemory,
        buffer: &mut IpcBuffer,
    ) -> Self {
        if image.pds.len() > MAX_PDS || image.regions.len() > MAX_REGIONS {
            panic!("more than {MAX_PDS} PDs or {MAX_REGIONS} regions");
        }
        let mut system = Self {
            image,
            memory,
            pds: [PdObjects::default(); MAX_PDS],
            pages: [0; MAX_REGIONS],
            windows: [false; 2],
            fault_endpoint: 0,
        };
        system.fault_endpoint = system.memory.make(buffer, ObjectType::Endpoint, 0, 1);
        system.make_regions(boot_info, buffer);
        system.make_pds(buffer);
        system.map_regions(buffer);
        system.connect(buffer);
        system
    }

    /// Pages of all regions, filled.
    fn make_regions(&mut self, boot_info: &BootInfo, buffer: &mut IpcBuffer) {
        for (index, region) in self.image.regions.iter().enumerate() {
            self.pages[index] = if region.backing == Backing::Image as u32 {
                self.image_pages(boot_info, region)
            } else {
                let first = if region.paddr == ANYWHERE {
                    let kind = crate::kernel_memory::page_kind(region.page_bits);
                    self.memory.make(buffer, kind, 0, page_count(region))
                } else {
                    let first = self.memory.make_fixed(buffer, region);
                    self.probe(buffer, region, first + page_count(region) - 1);
                    first
                };
                self.fill(buffer, region, first);
                first
            };
        }
    }

    /// The kernel's capabilities to the image's own pages that hold `region`.
    fn image_pages(&self, boot_info: &BootInfo, region: &Region) -> CapPtr {
        let frames = boot_info.user_image_frames();
        // The image is the last thing loaded: its end is the end of the frames.
        let image_pages = self.image.pages();
        let first = frames.end - image_pages;
        first + region.data_offset / system_image::PAGE
    }

    /// Copies the region's data into its pages, whose capabilities start at
    /// slot `caps`, through a window of our own.
    fn fill(&mut self, buffer: &mut IpcBuffer, region: &Region, caps: CapPtr) {
        let page = 1usize << region.page_bits;
        let chunks = self.image.data(region).unwrap_or_default().chunks(page);
        if chunks.len() == 0 {
            return;
        }
        let window = self.open_window(buffer, region.page_bits);
        for (index, chunk) in chunks.enumerate() {
            let cap = Page(caps + index as u64);
            let vspace = initial_slot::VSPACE;
            let mapped = cap.map(
                buffer,
                vspace,
                window,
                Rights::READ_WRITE,
                Attributes::WriteBack,
            );
            expect(mapped, "filling", &region.name);
            // SAFETY: the page was just mapped at `window`, nothing else is
            // there, and `chunk` is no longer than a page.
            unsafe {
                core::ptr::copy_nonoverlapping(chunk.as_ptr(), window as *mut u8, chunk.len());
            }
            expect(cap.unmap(buffer), "filling", &region.name);
        }
    }

    /// Makes sure that there is memory behind the last page of a fixed region:
    /// the kernel gives away addresses without memory as device memory, too.
    fn probe(&mut self, buffer: &mut IpcBuffer, region: &Region, cap: CapPtr) {
        let window = self.open_window(buffer, region.page_bits);
        let page = Page(cap);
        let vspace = initial_slot::VSPACE;
        let mapped = page.map(
            buffer,
            vspace,
            window,
            Rights::READ_WRITE,
            Attributes::WriteBack,
        );
        expect(mapped, "probing", &region.name);
        let word = (window + (1 << region.page_bits) - 8) as *mut u64;
        // SAFETY: the last word of the page, which was just mapped at `window`
        // and nowhere else; it holds in the end what it held.
        let there = unsafe {
            let was = word.read_volatile();
            word.write_volatile(!was);
            let there = word.read_volatile() == !was;
            word.write_volatile(was);
            there
        };
        if !there {
            panic!(
                "region '{}': no memory at {:#x}: give the machine more, or the region another \
                 phys_addr",
                name_str(&region.name),
                region.paddr + region.size - 8
            );
        }
        expect(page.unmap(buffer), "probing", &region.name);
    }

    /// The window's address, for pages of that size; the first time, makes the
    /// page tables above it.
    fn open_window(&mut self, buffer: &mut IpcBuffer, page_bits: u32) -> u64 {
        let small = page_bits == sel4::PAGE_BITS;
        // A GiB, and so a page directory, for each page size.
        let window = SCRATCH + if small { 0 } else { 1 << 30 };
        let open = &mut self.windows[usize::from(small)];
        if core::mem::replace(open, true) {
            return window;
        }
        let kinds = [ObjectType::PageDirectory, ObjectType::PageTable];
        for kind in &kinds[..1 + usize::from(small)] {
            let cap = self.memory.make(buffer, *kind, 0, 1);
            let table = PagingStructure { cap, kind: *kind };
            expect(
                table.map(buffer, initial_slot::VSPACE, window),
                "window",
                b"init",
            );
        }
        window
    }

    /// Threads, CSpaces, address spaces, endpoints.
    fn make_pds(&mut self, buffer: &mut IpcBuffer) {
        for (index, pd) in self.image.pds.iter().enumerate() {
            let memory = &mut self.memory;
            let objects = PdObjects {
                tcb: memory.make(buffer, ObjectType::Tcb, 0, 1),
                cnode: memory.make(buffer, ObjectType::CNode, pd_layout::CNODE_BITS, 1),
                vspace: memory.make(buffer, ObjectType::Pml4, 0, 1),
                endpoint: memory.make(buffer, ObjectType::Endpoint, 0, 1),
                notification: memory.make(buffer, ObjectType::Notification, 0, 1),
            };
            let asid =
                PagingStructure::assign_asid(buffer, initial_slot::ASID_POOL, objects.vspace);
            expect(asid, "address space", &pd.name);
            self.pds[index] = objects;
        }
        for table in self.image.tables {
            let (pd, objects) = self.pd(table.pd);
            let kind = match table.level {
                3 => ObjectType::Pdpt,
                2 => ObjectType::PageDirectory,
                _ => ObjectType::PageTable,
            };
            let cap = self.memory.make(buffer, kind, 0, 1);
            let mapped = PagingStructure { cap, kind }.map(buffer, objects.vspace, table.vaddr);
            expect(mapped, "page table", &pd.name);
        }
    }

    fn pd(&self, index: u32) -> (&'a system_image::Pd, PdObjects) {
        let Some(pd) = self.image.pds.get(index as usize) else {
            panic!(
                "the system image names PD {index} of {}",
                self.image.pds.len()
            );
        };
        (pd, self.pds[index as usize])
    }

    /// Whether an address that ends in `address_low` can be in the MiB below
    /// that PD's stack.
    pub fn is_below_stack(&self, pd: usize, address_low: u32) -> bool {
        let mut maps = self.image.maps.iter().filter(|map| map.pd as usize == pd);
        maps.any(|map| {
            let stack = map.vaddr + self.region(map).size == pd_layout::STACK_TOP;
            stack && (map.vaddr as u32).wrapping_sub(address_low).wrapping_sub(1) < 1 << 20
        })
    }

    /// The region that `map` maps.
    pub fn region(&self, map: &Map) -> &'a Region {
        match self.image.regions.get(map.region as usize) {
            Some(region) => region,
            None => panic!("the system image maps region {}", map.region),
        }
    }

    fn map_regions(&mut self, buffer: &mut IpcBuffer) {
        for (index, map) in self.image.maps.iter().enumerate() {
            let region = self.region(map);
            let earlier = &self.image.maps[..index];
            // A capability maps its page once: later maps use copies. Pages of
            // the image are mapped here already.
            let shared = region.backing == Backing::Image as u32
                || earlier.iter().any(|other| other.region == map.region);
            self.map_pages(buffer, map, shared);
        }
    }

    /// Maps a region's pages, by copies of their capabilities if `shared`.
    fn map_pages(&mut self, buffer: &mut IpcBuffer, map: &Map, shared: bool) {
        let region = self.region(map);
        let (_, objects) = self.pd(map.pd);
        for index in 0..page_count(region) {
            let mut cap = self.pages[map.region as usize] + index;
            if shared {
                let copy = self.memory.slots(1);
                let copied = OWN_CNODE.copy(buffer, copy, OWN_CNODE, cap, Rights::ALL);
                expect(copied, "sharing", &region.name);
                cap = copy;
            }
            let vaddr = map.vaddr + (index << region.page_bits);
            let mapped = Page(cap).map(buffer, objects.vspace, vaddr, rights(map), attributes(map));
            expect(mapped, "mapping", &region.name);
        }
    }

    /// Channels, interrupts, I/O ports, and the threads' configuration.
    fn connect(&mut self, buffer: &mut IpcBuffer) {
        for (index, pd) in self.image.pds.iter().enumerate() {
            let objects = self.pds[index];
            let cspace = objects.cspace();
            let input = cspace.copy(
                buffer,
                pd_layout::INPUT_SLOT,
                OWN_CNODE,
                objects.endpoint,
                Rights::READ,
            );
            expect(input, "endpoint", &pd.name);
            let fault = cspace.mint_badged(
                buffer,
                pd_layout::FAULT_SLOT,
                OWN_CNODE,
                self.fault_endpoint,
                Rights::WRITE_GRANT,
                badge(index as u64 + 1),
            );
            expect(fault, "fault endpoint", &pd.name);
            let tcb = Tcb(objects.tcb);
            let configured = tcb.configure(
                buffer,
                pd_layout::FAULT_SLOT,
                pd.priority.min(254) as u8,
                objects.cnode,
                Guard {
                    size: 64 - pd_layout::CNODE_BITS,
                },
                objects.vspace,
                pd_layout::IPC_BUFFER,
                self.pages
                    .get(pd.ipc_buffer as usize)
                    .copied()
                    .unwrap_or_default(),
            );
            expect(configured, "thread", &pd.name);
            expect(
                tcb.bind_notification(buffer, objects.notification),
                "notification",
                &pd.name,
            );
        }
        for signal in self.image.signals {
            let (pd, objects) = self.pd(signal.pd);
            let slot = pd_layout::NOTIFICATION_BASE + u64::from(signal.id);
            let peer = self.pd(signal.peer).1.notification;
            let badge = badge(1 << signal.peer_id);
            let minted =
                objects
                    .cspace()
                    .mint_badged(buffer, slot, OWN_CNODE, peer, Rights::WRITE, badge);
            expect(minted, "channel", &pd.name);
        }
        for call in self.image.calls {
            let (pd, objects) = self.pd(call.pd);
            let slot = pd_layout::ENDPOINT_BASE + u64::from(call.id);
            let peer = self.pd(call.peer).1.endpoint;
            let badge = badge(pd_layout::CALL_BADGE | u64::from(call.peer_id));
            let minted = objects.cspace().mint_badged(
                buffer,
                slot,
                OWN_CNODE,
                peer,
                Rights::WRITE_GRANT,
                badge,
            );
            expect(minted, "channel", &pd.name);
        }
        self.connect_devices(buffer);
    }

    fn connect_devices(&mut self, buffer: &mut IpcBuffer) {
        for irq in self.image.irqs {
            let (pd, objects) = self.pd(irq.pd);
            let handler = self.memory.slots(1);
            let made = IrqControl(initial_slot::IRQ_CONTROL).get_ioapic(
                buffer,
                OWN_CNODE,
                handler,
                irq.ioapic.into(),
                irq.pin.into(),
                irq.level != 0,
                irq.low != 0,
                irq.vector.into(),
            );
            expect(made, "interrupt", &pd.name);
            let signal = self.memory.slots(1);
            let minted = OWN_CNODE.mint_badged(
                buffer,
                signal,
                OWN_CNODE,
                objects.notification,
                Rights::ALL,
                badge(1 << irq.id),
            );
            expect(minted, "interrupt", &pd.name);
            let handler_cap = IrqHandler(handler);
            expect(
                handler_cap.set_notification(buffer, signal),
                "interrupt",
                &pd.name,
            );
            // Unmasks it, in case it fired before there was a notification.
            expect(handler_cap.ack(buffer), "interrupt", &pd.name);
            let slot = pd_layout::IRQ_BASE + u64::from(irq.id);
            let copied = objects
                .cspace()
                .copy(buffer, slot, OWN_CNODE, handler, Rights::ALL);
            expect(copied, "interrupt", &pd.name);
        }
        for ports in self.image.io_ports {
            let (pd, objects) = self.pd(ports.pd);
            let slot = pd_layout::IO_PORT_BASE + u64::from(ports.id);
            let range = IoPort::range(ports.first as u16, ports.last as u16);
            let minted = objects.cspace().mint(
                buffer,
                slot,
                OWN_CNODE,
                initial_slot::IO_PORT,
                Rights::ALL,
                range,
            );
            expect(minted, "I/O ports", &pd.name);
        }
    }

    /// Starts the PDs: they run when this task waits.
    pub fn start(&mut self, buffer: &mut IpcBuffer) {
        for (index, pd) in self.image.pds.iter().enumerate() {
            let context = UserContext {
                rip: pd.entry,
                rsp: pd_layout::STACK_TOP,
            };
            expect(
                Tcb(self.pds[index].tcb).start(buffer, context),
                "start",
                &pd.name,
            );
        }
    }
}

fn badge(value: u64) -> Badge {
    match Badge::new(value) {
        Some(badge) => badge,
        None => panic!("badge {value:#x} has more than 28 bits"),
    }
}
