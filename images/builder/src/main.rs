//! `septum-image`: checks a system description and builds the bootable image.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use septum_image::{budget, image, isolation, layout, program::Program, sdf};

const USAGE: &str = "usage:
  septum-image check SYSTEM.xml
  septum-image build SYSTEM.xml --init INIT.elf --output IMAGE [--search-path DIR]... [--pd-folder DIR]

check   checks the description and the isolation rules, without programs
build   also reads the programs, prints the size table and writes the image
";

struct Arguments {
    command: String,
    system: PathBuf,
    search: Vec<PathBuf>,
    init: Option<PathBuf>,
    output: Option<PathBuf>,
    pd_folder: PathBuf,
}

fn arguments() -> Option<Arguments> {
    let mut words = std::env::args().skip(1);
    let command = words
        .next()
        .filter(|word| word == "check" || word == "build")?;
    let system = PathBuf::from(words.next()?);
    let pd_folder = system
        .parent()
        .map_or(PathBuf::from("."), Path::to_path_buf);
    let mut arguments = Arguments {
        command,
        system,
        search: Vec::new(),
        init: None,
        output: None,
        pd_folder,
    };
    while let Some(word) = words.next() {
        let value = words.next()?.into();
        match word.as_str() {
            "--search-path" => arguments.search.push(value),
            "--init" => arguments.init = Some(value),
            "--output" => arguments.output = Some(value),
            "--pd-folder" => arguments.pd_folder = value,
            _ => return None,
        }
    }
    Some(arguments)
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let file = arguments.system.display().to_string();
    let text = std::fs::read_to_string(&arguments.system)
        .map_err(|error| format!("{file}: can't be read: {error}"))?;
    let search = (arguments.command == "build").then_some(arguments.search.as_slice());
    let system = sdf::parse(&file, &text, search).map_err(|error| error.to_string())?;
    isolation::check(&system).map_err(|error| error.to_string())?;
    if arguments.command == "check" {
        println!("{file}: correct");
        return Ok(());
    }
    let init = arguments.init.as_ref().ok_or(USAGE)?;
    let output = arguments.output.as_ref().ok_or(USAGE)?;
    let mut programs = layout::read_programs(&system, &arguments.search)?;
    let table = budget::table(&system, &programs, &arguments.pd_folder)?;
    let mut layout = layout::lay_out(&system, &mut programs)?;
    let system_image = image::system_image(&mut layout);
    let mut init = Program::read(init).map_err(|error| error.to_string())?;
    let bytes = image::boot_image(&mut init, system_image)?;
    std::fs::write(output, &bytes)
        .map_err(|error| format!("{}: can't be written: {error}", output.display()))?;
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
