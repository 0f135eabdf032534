//! `septum-image`: checks a system description and builds the bootable image.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use septum_image::{budget, draw, image, isolation, layout, program::Program, sdf};

const USAGE: &str = "usage:
  septum-image check SYSTEM.xml
  septum-image draw SYSTEM.xml
  septum-image build SYSTEM.xml --init INIT.elf --kernel KERNEL.elf --output IMAGE
                     [--search-path DIR]... [--pd-folder DIR] [--ram-mib MIB]
                     [--loader-list FILE]

check   checks the description and the isolation rules, without looking at files
draw    prints a picture (SVG) of who reaches which memory
build   also reads the programs, prints the size table and writes the image
        --search-path  where programs and prefill files are (may stand several times)
        --pd-folder    has PD/Cargo.toml with each PD's code budget (default: SYSTEM.xml's)
        --ram-mib      the machine's RAM (default 1024)
        --loader-list  leaves prefills of regions with a phys_addr out of the image: who boots it
                       is to put them there; writes `ADDRESS FILE` lines
";

/// The last of the RAM below 4 GiB is the firmware's: 128 KiB under QEMU.
const FIRMWARE_BYTES: u64 = 128 << 10;

/// What the kernel and the initial task take of the RAM behind them: root
/// CNode, page tables, small objects.
const START_BYTES: u64 = 4 << 20;

struct Arguments {
    command: String,
    system: PathBuf,
    search: Vec<PathBuf>,
    init: Option<PathBuf>,
    kernel: Option<PathBuf>,
    output: Option<PathBuf>,
    pd_folder: PathBuf,
    ram_mib: u64,
    loader_list: Option<PathBuf>,
}

fn arguments() -> Option<Arguments> {
    let mut words = std::env::args().skip(1);
    let command = words
        .next()
        .filter(|word| ["check", "draw", "build"].contains(&word.as_str()))?;
    let system = PathBuf::from(words.next()?);
    let pd_folder = system
        .parent()
        .map_or(PathBuf::from("."), Path::to_path_buf);
    let mut arguments = Arguments {
        command,
        system,
        search: Vec::new(),
        init: None,
        kernel: None,
        output: None,
        pd_folder,
        ram_mib: 1024,
        loader_list: None,
    };
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--search-path" => arguments.search.push(value.into()),
            "--init" => arguments.init = Some(value.into()),
            "--kernel" => arguments.kernel = Some(value.into()),
            "--output" => arguments.output = Some(value.into()),
            "--pd-folder" => arguments.pd_folder = value.into(),
            "--loader-list" => arguments.loader_list = Some(value.into()),
            "--ram-mib" => arguments.ram_mib = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(arguments)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: can't be read: {error}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(file, bytes)
        .map_err(|error| format!("{}: can't be written: {error}", file.display()))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let file = arguments.system.display().to_string();
    let text = String::from_utf8(read(&arguments.system)?)
        .map_err(|error| format!("{file}: not UTF-8: {error}"))?;
    let search = (arguments.command == "build").then_some(arguments.search.as_slice());
    let system = sdf::parse(&file, &text, search).map_err(|error| error.to_string())?;
    if isolation::applies(&system) {
        isolation::check(&system).map_err(|error| error.to_string())?;
    }
    match arguments.command.as_str() {
        "check" => {
            println!("{file}: correct");
            return Ok(());
        }
        "draw" => {
            print!("{}", draw::svg(&system));
            return Ok(());
        }
        _ => {}
    }
    let init = arguments.init.as_ref().ok_or(USAGE)?;
    let kernel = arguments.kernel.as_ref().ok_or(USAGE)?;
    let output = arguments.output.as_ref().ok_or(USAGE)?;
    let mut programs = layout::read_programs(&system, &arguments.search)?;
    let table = budget::table(&system, &programs, &arguments.pd_folder)?;
    let mut layout = layout::lay_out(&system, &mut programs)?;
    if let Some(list) = &arguments.loader_list {
        let mut lines = String::new();
        for (address, file) in layout.leave_to_loader(&system) {
            let file = std::path::absolute(&file)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            lines += &format!("{address:#x} {}\n", file.display());
        }
        write(list, lines.as_bytes())?;
    }
    let system_image = image::system_image(&mut layout);
    let mut init = Program::read(init).map_err(|error| error.to_string())?;
    let bytes = image::boot_image(&mut init, system_image)?;
    let kernel_end = image::kernel_end(&read(kernel)?)
        .map_err(|error| format!("{}: {error}", kernel.display()))?;
    let ram = layout::Ram {
        start: kernel_end + bytes.len() as u64 + START_BYTES,
        end: (arguments.ram_mib << 20).saturating_sub(FIRMWARE_BYTES),
    };
    layout::check_ram(&system, ram).map_err(|error| error.to_string())?;
    write(output, &bytes)?;
    print!("{table}");
    println!("wrote {}, {} KiB", output.display(), bytes.len() / 1024);
    Ok(())
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("septum-image: {message}");
            ExitCode::FAILURE
        }
    }
}
