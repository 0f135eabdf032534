//! The flat binary as the boot ROM of another emulator.

use crate::Times;
use crate::image;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Which emulator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bochs, with the Skylake model.
    Bochs,
    /// QEMU with its translator.
    Qemu,
}

/// Linux's USER_HZ: ticks of a second in /proc/PID/stat.
const TICKS: u64 = 100;

/// User and system time of a process (proc(5): fields 14 and 15 of stat).
fn processor_time(process: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, field 2, is in parentheses and may hold anything.
    let rest = &text[text.rfind(')')? + 2..];
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// This process's own processor time.
pub fn own_processor_time() -> Duration {
    processor_time("self").unwrap_or_default()
}

/// Processor time of each kernel; `None`, and a line that says why, where it can't be had.
pub fn run(kind: Kind) -> Option<Times> {
    let folder = std::env::temp_dir().join(format!("cpu-bench-{}", std::process::id()));
    let result = std::fs::create_dir_all(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))
        .and_then(|()| attempt(kind, &folder));
    let _ = std::fs::remove_dir_all(&folder);
    result
        .inspect_err(|error| eprintln!("cpu-bench: {error}"))
        .ok()
}

fn attempt(kind: Kind, folder: &Path) -> Result<Times, String> {
    let rom = folder.join("rom");
    write(&rom, &image::image(false))?;
    let mut command = match kind {
        Kind::Bochs => {
            // It won't start without one; nobody runs it.
            let video = folder.join("video");
            write(&video, &[0; 2048])?;
            let settings = format!(
                "romimage: file={}, address=0xffff0000\n\
                 vgaromimage: file={}\n\
                 sound: driver=dummy\n\
                 speaker: enabled=0\n\
                 megs: 128\n\
                 cpu: model=corei7_skylake_x, reset_on_triple_fault=0\n\
                 display_library: rfb, options=\"timeout=0\"\n\
                 port_e9_hack: enabled=1\n\
                 log: {}\n",
                rom.display(),
                video.display(),
                folder.join("log").display()
            );
            write(&folder.join("settings"), settings.as_bytes())?;
            // Its debugger is compiled in and waits for a command.
            write(&folder.join("commands"), b"c\n")?;
            let mut command = Command::new("bochs");
            command.args(["-q", "-f"]).arg(folder.join("settings"));
            command.arg("-rc").arg(folder.join("commands"));
            command
        }
        Kind::Qemu => {
            let mut command = Command::new("qemu-system-x86_64");
            command.args(
                "-machine pc -accel tcg -cpu max -m 128 -nodefaults -display none".split(' '),
            );
            command.args(
                "-chardev stdio,id=marks -device isa-debugcon,iobase=0xe9,chardev=marks".split(' '),
            );
            command.arg("-bios").arg(&rom);
            command
        }
    };
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{name}: {error} (images/setup bench installs it)"))?;
    let times = watch(&mut child);
    let _ = child.kill();
    let _ = child.wait();
    times.ok_or_else(|| format!("{name} ended before the kernels did"))
}

/// Takes the processor's time when each marker comes.
fn watch(child: &mut Child) -> Option<Times> {
    let mut output = child.stdout.take()?;
    let process = child.id().to_string();
    let mut marks = Vec::new();
    let mut byte = [0];
    while marks.len() < 4 {
        output.read_exact(&mut byte).ok()?;
        if usize::from(byte[0]) == marks.len() + 1 {
            marks.push(processor_time(&process)?);
        }
    }
    Some([0, 1, 2].map(|i| marks[i + 1] - marks[i]))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display()))
}
