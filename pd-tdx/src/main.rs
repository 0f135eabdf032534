//! The only holder of SEAMCALL: the program.
#![no_std]
#![no_main]
// The TSC is read, and memory that system.xml maps is turned into a window, rings and a cache.
#![allow(unsafe_code)]

use gpa::Hpa;
use memory::Window;
use pd_tdx::Tdx;
use pd_tdx::setup::{self, Plan};
use pd_tdx::software::{self, Clock, Code, Cpus, HKID_SHIFT, SoftwareMachine, SoftwareSeam};
use ring::link;
use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, debug_println, memory_region_symbol,
    protection_domain, var,
};

/// The doorbells, as in system.xml: pd-console, pd-vmm, pd-mmu.
const PEERS: [Channel; 3] = [Channel::new(1), Channel::new(2), Channel::new(3)];

/// HKIDs: the module's own, and how many there are for TDs behind it.
const GLOBAL_HKID: u16 = 32;
const TD_HKIDS: u16 = 31;

/// The time-stamp counter, and random numbers from RDRAND or, without it, from the counter.
struct Processor {
    rdrand: bool,
    state: u64,
}

fn rdtsc() -> u64 {
    // SAFETY: RDTSC exists on every x86-64, and the kernel lets programs use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

impl Processor {
    fn new() -> Self {
        // CPUID.1:ECX[30].
        let rdrand = core::arch::x86_64::__cpuid(1).ecx >> 30 & 1 != 0;
        if !rdrand {
            debug_println!("pd-tdx: no RDRAND: keys and random numbers are not secret");
        }
        Self {
            rdrand,
            state: rdtsc(),
        }
    }
}

#[target_feature(enable = "rdrand")]
fn rdrand() -> Option<u64> {
    let mut value = 0;
    (0..10).find_map(|_| (core::arch::x86_64::_rdrand64_step(&mut value) == 1).then_some(value))
}

impl Clock for Processor {
    fn now(&mut self) -> u64 {
        rdtsc()
    }
    fn executed(&mut self, _: u64) {}
    fn random(&mut self) -> u64 {
        if self.rdrand {
            // SAFETY: CPUID says that the instruction is there.
            if let Some(value) = unsafe { rdrand() } {
                return value;
            }
        }
        self.state = (self.state ^ rdtsc())
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .rotate_left(23);
        self.state
    }
}

/// What the instruction decoder allocates: its tables, once, when it decodes for the first time.
/// Nothing else here allocates, and nothing grows.
#[global_allocator]
static HEAP: linked_list_allocator::LockedHeap = linked_list_allocator::LockedHeap::empty();
static mut ARENA: [u8; 1 << 20] = [0; 1 << 20];

/// The processors of the vCPUs.
static mut CPUS: Cpus = Cpus::new();

struct Pd(Tdx<'static, SoftwareSeam<'static, Processor>>);

impl Pd {
    /// Serves and runs until nobody has anything more for this domain.
    fn poll(&mut self) {
        loop {
            let more = self.0.poll();
            for (rings, peer) in self.0.take_doorbells().into_iter().zip(PEERS) {
                if rings {
                    peer.notify();
                }
            }
            if !more {
                return;
            }
        }
    }
}

impl Handler for Pd {
    type Error = Infallible;

    fn notified(&mut self, _: ChannelSet) -> Result<(), Infallible> {
        self.poll();
        Ok(())
    }
}

/// A region with a fixed address: where it is mapped, its host physical address, its size.
macro_rules! region {
    ($symbol:ident, $paddr:ident, $size:ident) => {
        (
            memory_region_symbol!($symbol: *mut u8).as_ptr(),
            Hpa::new(*var!($paddr: usize = 0) as u64),
            *var!($size: usize = 0) as u64,
        )
    };
}

#[protection_domain]
fn init() -> impl Handler {
    // SAFETY: this runs once, before anything allocates, and nobody else names the static.
    unsafe {
        let arena = &raw mut ARENA;
        HEAP.lock().init(arena.cast(), size_of_val(&*arena));
    }
    let control = region!(tdx_control, tdx_control_paddr, tdx_control_size);
    let pamt = region!(tdx_pamt, tdx_pamt_paddr, tdx_pamt_size);
    let shadow = region!(shadow, shadow_paddr, shadow_size);
    let image = region!(guest_image, guest_image_paddr, guest_image_size);
    let shared = region!(shared_pool, shared_pool_paddr, shared_pool_size);
    let private = region!(private_pool, private_pool_paddr, private_pool_size);
    let mut end = control;
    for next in [pamt, shadow, image, shared, private] {
        let (pointer, base, size) = end;
        assert!(
            next.0 == pointer.wrapping_add(size as usize) && next.1 == Hpa::new(base.get() + size),
            "system.xml: tdx_control, tdx_pamt, shadow, guest_image, shared_pool and private_pool \
             must follow each other, in physical and in virtual addresses"
        );
        end = next;
    }
    let (pointer, base, _) = control;
    let len = end.1.get() + end.2 - base.get();
    // SAFETY: the regions are mapped for good, one behind the other. Two of them cannot be
    // written: nothing that the module lets be private or the CPU lets be shared lies in those.
    // Nothing here makes references into any.
    let window = unsafe { Window::new(base, len, pointer) };
    static mut MEMORY: Option<Window> = None;
    let memory = &raw mut MEMORY;
    // SAFETY: this runs once, and nobody else names the static.
    let memory: &'static Window = unsafe { &mut *memory }.insert(window);

    let cache = memory_region_symbol!(cpu_cache: *mut Code);
    let cache_size = *var!(cpu_cache_size: usize = 0);
    assert!(
        size_of::<Code>() <= cache_size,
        "system.xml: cpu_cache is too small"
    );
    // SAFETY: the region is mapped for good, for this alone, is large enough and page aligned;
    // all zeroes, as it is at first, are an empty cache.
    let code = unsafe { &mut *cache.as_ptr() };
    let cpus = &raw mut CPUS;
    // SAFETY: this runs once, and nobody else names the static.
    let cpus = unsafe { &mut *cpus };

    let region = |(_, hpa, size): (*mut u8, Hpa, u64)| (hpa, size);
    let machine = SoftwareMachine::new(memory, Processor::new(), region(shared), region(shadow));
    let mut seam = SoftwareSeam::new(software::platform(base, len), machine, cpus, code);
    let plan = Plan {
        convertible: [region(control), region(private)],
        pamt: region(pamt),
        scratch: Hpa::new(pamt.1.get() + pamt.2 - 2 * gpa::PAGE_SIZE),
        global_hkid: GLOBAL_HKID,
        td_hkids: TD_HKIDS,
    };
    let module = match setup::configure(&mut seam, memory, &plan) {
        Ok(module) => module,
        Err(error) => panic!("the TDX module cannot be configured: {error}"),
    };
    let pools = plan.pools(region(shared), HKID_SHIFT);
    let mut pd = Pd(Tdx::new(
        seam,
        &module,
        pools,
        link!(ring_tdx_to_console, ring_console_to_tdx),
        link!(ring_tdx_to_vmm, ring_vmm_to_tdx),
        link!(ring_tdx_to_mmu, ring_mmu_to_tdx),
    ));
    // What came before there was anybody to be notified.
    pd.poll();
    pd
}
