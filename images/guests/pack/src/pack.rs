//! One image from files.

use crate::bzimage::{BzImage, BzImageError};
use crate::kernel::Kernel;
use crate::{acpi, boot_params, td_binary};
use gpa::{Gpa, PAGE_SIZE};
use guest_image::build::{self, Contents, Parameters};
use guest_image::image::{ImageError, MemoryDesign};
use guest_image::launch::{Launch, MAX_ADDED};
use guest_image::layout::{self, MIB, MemorySize};
use std::fmt;
use std::ops::Range;

/// Linux's command line where none is given: the one place that it is written down.
///
/// * `console`, `earlyprintk`: the UART, from the first line on.
/// * `nokaslr`, `mitigations=off`, `init_on_alloc=0`: what costs instructions to boot with and
///   defends the guest against itself only. Leave them out for a guest that is to be hardened.
/// * `tsc=reliable`, `no_timer_check`: a TD's time stamp counter is, and there's no legacy timer.
/// * `random.trust_cpu=on`: RDRAND is the only source that the host can't steer.
/// * `swiotlb=1024`: of 2 KiB each, so 2 MiB of memory become shared with the host; without
///   it 64 MiB do, for devices that don't exist here.
/// * `pci=off`, `8250.nr_uarts=1`: don't look for devices that don't exist here.
/// * `cryptomgr.notests`, `lsm=`: no self tests, no security modules.
/// * `initcall_blacklist`: what takes half of the boot's instructions and isn't needed to run:
///   tests of random numbers and hashes, tracing (a lookup of the name of each of 42,000
///   functions is a fifth of the boot), revoked certificates.
/// * `panic=-1`: reset at once.
pub const DEFAULT_COMMAND_LINE: &str = "console=ttyS0,115200 earlyprintk=serial,ttyS0,115200 \
     nokaslr mitigations=off init_on_alloc=0 tsc=reliable no_timer_check random.trust_cpu=on \
     swiotlb=1024 pci=off 8250.nr_uarts=1 cryptomgr.notests lsm= \
     initcall_blacklist=jent_mod_init,init_kprobe_trace,load_system_certificate_list,bpf_tcp_ca_kfunc_init,trace_eval_init,ftrace_check_for_weak_functions,blake2s_mod_init,bpf_dummy_struct_ops_init panic=-1";

/// TD_PARAMS.ATTRIBUTES.SEPT_VE_DISABLE. Linux refuses to run without it; the hello TD wants
/// the virtualisation exceptions that it suppresses.
pub const SEPT_VE_DISABLE: u64 = 1 << 28;
/// TD_PARAMS.XFAM: x87 and SSE.
pub const XFAM: u64 = 0b11;

/// A file's contents and its name for messages.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// As the user named it.
    pub name: &'a str,
    /// The contents.
    pub bytes: &'a [u8],
}

/// What every image needs.
#[derive(Clone, Debug)]
pub struct Common<'a> {
    /// The TD's memory.
    pub memory: MemorySize,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// The guest's name.
    pub name: &'a str,
    /// The goal (see [`guest_image::GuestImage::goal`]).
    pub goal: &'a str,
    /// What the guest asks of the MMU.
    pub design: MemoryDesign,
    /// The ELF file of the loader, or of a guest that is nothing else.
    pub binary: File<'a>,
}

/// An image of a guest that is one binary, such as the hello TD.
///
/// # Errors
/// [`PackError`] in words for the user.
pub fn single(common: &Common<'_>) -> Result<Vec<u8>, PackError> {
    assemble(common, 0, 0, Vec::new())
}

/// An image of Linux. The kernel is unpacked beforehand where that can be done, unless
/// `keep_packed`.
///
/// # Errors
/// [`PackError`] in words for the user.
pub fn linux(
    common: &Common<'_>,
    kernel: File<'_>,
    initrd: Option<File<'_>>,
    command_line: &str,
    keep_packed: bool,
) -> Result<Vec<u8>, PackError> {
    let image = BzImage::parse(kernel.bytes).map_err(|error| PackError::Kernel {
        name: kernel.name.into(),
        error,
    })?;
    let limit = image.command_line_limit().min(PAGE_SIZE as usize - 1);
    if command_line.len() > limit || command_line.contains('\0') {
        return Err(PackError::CommandLine {
            length: command_line.len(),
            limit,
        });
    }
    if let Some(initrd) = initrd {
        check_initrd(initrd)?;
    }
    let initrd_size = initrd.map_or(0, |file| file.bytes.len() as u64);
    let kernel_parts = Kernel::unpacked(&image)
        .filter(|_| !keep_packed)
        .unwrap_or_else(|| Kernel::packed(&image));
    let initrd_pages = initrd_size.next_multiple_of(PAGE_SIZE);
    let needed = kernel_parts
        .end
        .saturating_add(initrd_pages)
        .saturating_add(MemorySize::GRANULE - 1)
        / MemorySize::GRANULE
        * MemorySize::GRANULE;
    if common.memory.bytes() < needed {
        return Err(PackError::Memory {
            kernel: kernel.name.into(),
            initrd_size,
            needed,
            given: common.memory,
        });
    }
    let initrd_start = common.memory.bytes() - initrd_pages;
    let initrd_range = match initrd {
        Some(_) => initrd_start..initrd_start + initrd_size,
        None => 0..0,
    };

    let mut contents = vec![
        measured(layout::ACPI, acpi::tables(common.vcpus)),
        measured(layout::COMMAND_LINE, with_zero(command_line)),
        measured(
            layout::BOOT_PARAMS,
            boot_params::page(&image, initrd_range, common.memory),
        ),
    ];
    let entry = kernel_parts.entry;
    for (gpa, bytes) in kernel_parts.parts {
        contents.push(measured(gpa, bytes));
    }
    if let Some(initrd) = initrd {
        contents.push(measured(Gpa::new(initrd_start), initrd.bytes.to_vec()));
    }
    let total: u64 = contents.iter().map(|c| c.bytes.len() as u64).sum();
    // The rest (the loader, the header) is less than 1 MiB.
    let room = layout::MAX_IMAGE - MIB;
    if total > room {
        return Err(PackError::Room {
            kernel: total.saturating_sub(initrd_size),
            initrd: initrd_size,
            room,
        });
    }
    assemble(common, entry, SEPT_VE_DISABLE, contents)
}

fn measured(gpa: Gpa, bytes: Vec<u8>) -> Contents {
    Contents {
        gpa,
        bytes,
        measured: true,
    }
}

fn with_zero(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Adds the TD's own binary and the launch page, and writes the image.
fn assemble(
    common: &Common<'_>,
    kernel_entry: u64,
    attributes: u64,
    mut contents: Vec<Contents>,
) -> Result<Vec<u8>, PackError> {
    let binary = td_binary::contents(common.binary.bytes).map_err(|what| PackError::Binary {
        name: common.binary.name.into(),
        what,
    })?;
    contents.extend(binary);
    let launch = Launch {
        vcpus: common.vcpus,
        memory: common.memory,
        kernel_entry,
        added: added(&contents, common.memory),
    };
    contents.push(measured(layout::LAUNCH, launch.to_bytes().to_vec()));
    // The start code's vCPUs wait here, whoever wakes them.
    contents.push(measured(layout::MAILBOX, vec![0; PAGE_SIZE as usize]));
    let parameters = Parameters {
        memory: common.memory,
        vcpus: common.vcpus,
        attributes,
        xfam: XFAM,
        entry_value: 0,
        design: common.design,
        name: common.name.into(),
        goal: common.goal.into(),
    };
    build::write(&parameters, &contents).map_err(PackError::Image)
}

/// The ranges of memory that the contents fill: whole pages, ascending.
fn added(contents: &[Contents], memory: MemorySize) -> heapless::Vec<Range<u64>, MAX_ADDED> {
    let mut ranges: Vec<Range<u64>> = contents
        .iter()
        .map(|c| c.gpa.get()..c.gpa.get() + (c.bytes.len() as u64).next_multiple_of(PAGE_SIZE))
        .filter(|range| range.start < memory.bytes())
        .collect();
    ranges.sort_by_key(|range| range.start);
    ranges.into_iter().collect()
}

/// First bytes of what Linux takes for an initrd.
const INITRD_MAGIC: &[&[u8]] = &[
    b"070701",
    b"070702",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x5d\0\0",
    b"\x89LZO",
    b"\x02\x21\x4c\x18",
    b"\x28\xb5\x2f\xfd",
];

fn check_initrd(file: File<'_>) -> Result<(), PackError> {
    if INITRD_MAGIC.iter().any(|m| file.bytes.starts_with(m)) {
        return Ok(());
    }
    Err(PackError::Initrd {
        name: file.name.into(),
        empty: file.bytes.is_empty(),
    })
}

/// Why an image can't be packed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PackError {
    /// The kernel isn't one that can be packed.
    Kernel {
        /// The file.
        name: String,
        /// What it isn't.
        error: BzImageError,
    },
    /// The initrd isn't one.
    Initrd {
        /// The file.
        name: String,
        /// Whether it is empty.
        empty: bool,
    },
    /// The command line is too long.
    CommandLine {
        /// Its bytes.
        length: usize,
        /// Most bytes.
        limit: usize,
    },
    /// Kernel and initrd don't fit the TD's memory.
    Memory {
        /// The kernel's file.
        kernel: String,
        /// Bytes of the initrd.
        initrd_size: u64,
        /// Bytes of memory that are needed.
        needed: u64,
        /// What was given.
        given: MemorySize,
    },
    /// Kernel and initrd don't fit the image.
    Room {
        /// Bytes of the kernel.
        kernel: u64,
        /// Bytes of the initrd.
        initrd: u64,
        /// Bytes there is room for.
        room: u64,
    },
    /// The loader's or the hello TD's file isn't one.
    Binary {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The image would break a rule of its format.
    Image(ImageError),
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { name, error } => write!(f, "kernel {name}: {error}"),
            Self::Initrd { name, empty: true } => write!(
                f,
                "initrd {name}: empty: build one with images/guests/build-initrd"
            ),
            Self::Initrd { name, empty: false } => write!(
                f,
                "initrd {name}: neither a cpio archive (newc) nor a compressed one: build one with images/guests/build-initrd"
            ),
            Self::CommandLine { length, limit } => write!(
                f,
                "the command line's {length} bytes are more than the {limit} that the kernel takes (or hold a zero byte): shorten it"
            ),
            Self::Memory {
                kernel,
                initrd_size,
                needed,
                given,
            } => {
                write!(
                    f,
                    "kernel {kernel} with an initrd of {initrd_size} bytes needs {}M of memory, not {}M: ",
                    needed / MIB,
                    given.bytes() / MIB
                )?;
                match MemorySize::new(*needed) {
                    Ok(_) => write!(f, "give at least {}M", needed / MIB),
                    Err(_) => write!(
                        f,
                        "but a TD has at most {}M here: give a smaller kernel or initrd",
                        MemorySize::MAX.bytes() / MIB
                    ),
                }
            }
            Self::Room {
                kernel,
                initrd,
                room,
            } => write!(
                f,
                "kernel ({kernel} bytes) and initrd ({initrd} bytes) are more than the {room} bytes that fit a guest image: give a smaller initrd, or a compressed one"
            ),
            Self::Binary { name, what } => write!(f, "{name}: {what}"),
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PackError {}
