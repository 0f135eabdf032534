//! `guest-pack`: the command line.
#![forbid(unsafe_code)]

use guest_image::layout::{MAX_IMAGE, MAX_VCPUS, MemorySize};
use guest_image::{GuestImage, MemoryDesign, layout::MIB};
use guest_pack::pack::{self, Common, DEFAULT_COMMAND_LINE, File};
use guest_pack::{measure, measure::hex};
use lexopt::prelude::*;
use mmu::Finder;
use std::ops::RangeInclusive;
use std::process::ExitCode;

/// Above all memory that a guest can have, below the SHARED bit.
const EXECUTE_ONLY_BITS: RangeInclusive<u8> = 36..=46;

const USAGE: &str = "\
guest-pack: packs a guest image for a TD, and says what the TD's MRTD will be

  guest-pack --kernel bzImage [--initrd FILE] [--cmdline TEXT | --append TEXT] --out guest.img
  guest-pack --hello --out guest.img       a guest that is one binary: the hello TD
  guest-pack --measure guest.img           prints the MRTD
  guest-pack --show guest.img              prints what is in the image

  --mem SIZE      memory of the TD, such as 256M (the default; the hello TD's is 16M)
  --vcpus N       number of vCPUs (1)
  --goal TEXT     the run has reached its goal when the guest prints a line with this
  --name TEXT     the guest's name (linux, hello)
  --cmdline TEXT  Linux's command line; --append adds words to the default one
  --finder NAME   how the MMU finds its tables: walk (the default), stolen, role, packed
  --plain         a VM that is no TD
  --execute-only BIT  the guest physical address bit that says execute-only
  --keep-packed   let the kernel unpack itself in the guest, which takes it much longer
  --binary FILE   the loader's or the hello TD's ELF file (build/guest/td-loader, td-hello)";

#[derive(Default)]
struct Arguments {
    kernel: Option<String>,
    initrd: Option<String>,
    command_line: Option<String>,
    append: Option<String>,
    hello: bool,
    keep_packed: bool,
    plain: bool,
    finder: Option<String>,
    execute_only: Option<String>,
    memory: Option<String>,
    vcpus: Option<String>,
    goal: Option<String>,
    name: Option<String>,
    binary: Option<String>,
    out: Option<String>,
    measure: Option<String>,
    show: Option<String>,
    help: bool,
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    let mut a = Arguments::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let field = match argument {
            Long("kernel") => &mut a.kernel,
            Long("initrd") => &mut a.initrd,
            Long("cmdline") => &mut a.command_line,
            Long("append") => &mut a.append,
            Long("mem") => &mut a.memory,
            Long("vcpus") => &mut a.vcpus,
            Long("goal") => &mut a.goal,
            Long("name") => &mut a.name,
            Long("binary") => &mut a.binary,
            Long("finder") => &mut a.finder,
            Long("execute-only") => &mut a.execute_only,
            Long("out") => &mut a.out,
            Long("measure") => &mut a.measure,
            Long("show") => &mut a.show,
            Long("hello") => {
                a.hello = true;
                continue;
            }
            Long("plain") => {
                a.plain = true;
                continue;
            }
            Long("keep-packed") => {
                a.keep_packed = true;
                continue;
            }
            Long("help") | Short('h') => {
                a.help = true;
                continue;
            }
            _ => return Err(argument.unexpected()),
        };
        *field = Some(parser.value()?.string()?);
    }
    Ok(a)
}

fn main() -> ExitCode {
    match arguments()
        .map_err(|e| format!("{e}\n\n{USAGE}"))
        .and_then(run)
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("guest-pack: error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(a: Arguments) -> Result<(), String> {
    if a.help {
        println!("{USAGE}");
        return Ok(());
    }
    if let Some(path) = &a.measure {
        let (bytes, image) = read_image(path)?;
        println!("{}", hex(&measure::mrtd(&image, &bytes)));
        return Ok(());
    }
    if let Some(path) = &a.show {
        let (bytes, image) = read_image(path)?;
        show(&image, &bytes);
        return Ok(());
    }
    let out = a.out.as_deref().ok_or(format!("no --out\n\n{USAGE}"))?;
    let bytes = if a.hello {
        pack_hello(&a)?
    } else {
        pack_linux(&a)?
    };
    std::fs::write(out, &bytes).map_err(|e| format!("can't write {out}: {e}"))?;
    let (_, image) = read_image(out)?;
    show(&image, &bytes);
    Ok(())
}

fn pack_hello(a: &Arguments) -> Result<Vec<u8>, String> {
    if a.kernel.is_some() || a.initrd.is_some() || a.command_line.is_some() || a.append.is_some() {
        return Err("--hello takes no kernel, initrd or command line".into());
    }
    let name = a.binary.as_deref().unwrap_or("build/guest/td-hello");
    let binary = read(name, "the hello TD", "build it with images/guests/build")?;
    let common = Common {
        memory: memory(a, "16M")?,
        vcpus: vcpus(a)?,
        name: a.name.as_deref().unwrap_or("hello"),
        goal: a.goal.as_deref().unwrap_or("hello: all done"),
        design: design(a)?,
        binary: File {
            name,
            bytes: &binary,
        },
    };
    pack::single(&common).map_err(|e| e.to_string())
}

fn pack_linux(a: &Arguments) -> Result<Vec<u8>, String> {
    let kernel = a
        .kernel
        .as_deref()
        .ok_or(format!("no --kernel (and no --hello)\n\n{USAGE}"))?;
    let fetch = "fetch one with images/guests/fetch-kernel, or give another --kernel";
    let kernel_bytes = read(kernel, "the kernel", fetch)?;
    let build = "build one with images/guests/build-initrd, or give another --initrd";
    let initrd_bytes = match &a.initrd {
        Some(path) => Some(read(path, "the initrd", build)?),
        None => None,
    };
    let initrd = a.initrd.as_deref().zip(initrd_bytes.as_deref());
    let command_line = match (&a.command_line, &a.append) {
        (Some(_), Some(_)) => return Err("give --cmdline or --append, not both".into()),
        (Some(text), None) => text.clone(),
        (None, Some(words)) => format!("{DEFAULT_COMMAND_LINE} {words}"),
        (None, None) => DEFAULT_COMMAND_LINE.into(),
    };
    let name = a.binary.as_deref().unwrap_or("build/guest/td-loader");
    let binary = read(name, "the loader", "build it with images/guests/build")?;
    let common = Common {
        memory: memory(a, "256M")?,
        vcpus: vcpus(a)?,
        name: a.name.as_deref().unwrap_or("linux"),
        goal: a.goal.as_deref().unwrap_or(""),
        design: design(a)?,
        binary: File {
            name,
            bytes: &binary,
        },
    };
    let kernel = File {
        name: kernel,
        bytes: &kernel_bytes,
    };
    let initrd = initrd.map(|(name, bytes)| File { name, bytes });
    pack::linux(&common, kernel, initrd, &command_line, a.keep_packed).map_err(|e| e.to_string())
}

fn memory(a: &Arguments, default: &str) -> Result<MemorySize, String> {
    let text = a.memory.as_deref().unwrap_or(default);
    text.parse().map_err(|e| format!("--mem {text}: {e}"))
}

fn design(a: &Arguments) -> Result<MemoryDesign, String> {
    let finder = match &a.finder {
        None => 0,
        Some(name) => Finder::ALL
            .iter()
            .position(|finder| finder.name() == name)
            .ok_or(format!(
                "--finder {name}: give {}",
                Finder::ALL.map(Finder::name).join(", ")
            ))?,
    };
    let execute_only = match &a.execute_only {
        None => 0,
        Some(text) => match text.parse() {
            Ok(bit) if EXECUTE_ONLY_BITS.contains(&bit) => bit,
            _ => {
                return Err(format!(
                    "--execute-only {text}: give a bit from {} to {}",
                    EXECUTE_ONLY_BITS.start(),
                    EXECUTE_ONLY_BITS.end()
                ));
            }
        },
    };
    Ok(MemoryDesign {
        plain: a.plain,
        execute_only,
        finder: finder as u8,
    })
}

fn vcpus(a: &Arguments) -> Result<u32, String> {
    let text = a.vcpus.as_deref().unwrap_or("1");
    match text.parse() {
        Ok(n) if (1..=MAX_VCPUS).contains(&n) => Ok(n),
        _ => Err(format!(
            "--vcpus {text}: give a number from 1 to {MAX_VCPUS}"
        )),
    }
}

/// Reads a file that is no bigger than an image can be.
fn read(path: &str, what: &str, hint: &str) -> Result<Vec<u8>, String> {
    let refuse = |why: String| format!("{what}, {path}: {why}: {hint}");
    let metadata = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
    if !metadata.is_file() {
        return Err(refuse("not a file".into()));
    }
    if metadata.len() > MAX_IMAGE {
        return Err(refuse(format!(
            "its {} bytes are more than the {MAX_IMAGE} that fit a guest image",
            metadata.len()
        )));
    }
    std::fs::read(path).map_err(|e| refuse(e.to_string()))
}

fn read_image(path: &str) -> Result<(Vec<u8>, GuestImage), String> {
    let bytes = read(path, "the guest image", "pack one with guest-pack")?;
    let image = GuestImage::parse(&bytes).map_err(|e| format!("{path}: {e}"))?;
    Ok((bytes, image))
}

fn show(image: &GuestImage, bytes: &[u8]) {
    println!(
        "{}: {} vCPU(s), {} MiB, ATTRIBUTES {:#x}, XFAM {:#x}, {} bytes, goal {:?}",
        image.name(),
        image.vcpus(),
        image.memory().bytes() / MIB,
        image.attributes(),
        image.xfam(),
        image.total_length(),
        image.goal()
    );
    for s in image.segments() {
        let measured = if s.measured { "measured" } else { "added" };
        println!(
            "  {:#010x} {:8} KiB {measured}, at {:#x}",
            s.gpa,
            s.length >> 10,
            s.offset
        );
    }
    if image.design().plain {
        println!("  no TD: nothing is measured");
    } else {
        println!("  MRTD {}", hex(&measure::mrtd(image, bytes)));
    }
}
