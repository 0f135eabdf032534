//! Turns an image of Linux into files for a plain VM without TDX: what is packed (kernel,
//! initrd, boot parameters, memory map, ACPI tables, command line) can then be tried on any
//! machine. `images/guests/try-plain-vm` does.
//!
//! `plain-vm guest.img FOLDER` leaves a ROM and the segments' contents in the folder and prints
//! QEMU's arguments. The ROM is the area below 4 GiB; in place of the TD's loader, which would
//! execute TDCALL, it has a start from real mode that does the rest of what the loader does.
#![allow(unsafe_code)] // The start is assembly, and this program copies its bytes.

use guest_image::GuestImage;
use guest_image::launch::Launch;
use guest_image::layout;
use std::arch::global_asm;
use std::error::Error;

/// The ROM: the last 256 KiB below 4 GiB.
const ROM_SIZE: usize = 256 << 10;
/// Where in the ROM's last 64 KiB, which real mode sees, the start stands.
const START: usize = 0x8000;

// Real mode, CS's base 0xffff0000; labels become addresses in the ROM's last 64 KiB.
global_asm!(
    ".section .rodata",
    ".code16",
    "plain_vm_start:",
    "cli",
    // lgdtd cs:[3f]
    ".byte 0x2e, 0x66, 0x0f, 0x01, 0x16",
    ".word 3f - plain_vm_start + {start}",
    "mov eax, cr0",
    "or eax, 1",
    "mov cr0, eax",
    // ljmpl 0x08:5f
    ".byte 0x66, 0xea",
    ".long 5f - plain_vm_start + 0xffff0000 + {start}",
    ".word 0x08",
    "3:",
    ".word 31",
    ".long 4f - plain_vm_start + 0xffff0000 + {start}",
    ".balign 8",
    // Null, 32-bit code, 64-bit code, data: as the boot protocol wants the last two.
    "4: .quad 0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff",
    ".code32",
    "5:",
    "mov eax, 0x18",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    // The page tables that the TD's binary begins with.
    "mov eax, {tables}",
    "mov cr3, eax",
    "mov eax, 0x620",
    "mov cr4, eax",
    // EFER as a TD's vCPU starts with it: SCE, LME, NXE.
    "mov ecx, 0xc0000080",
    "mov eax, 0x901",
    "xor edx, edx",
    "wrmsr",
    "mov eax, cr0",
    "or eax, 0x80010002",
    "mov cr0, eax",
    // ljmp 0x10:6f
    ".byte 0xea",
    ".long 6f - plain_vm_start + 0xffff0000 + {start}",
    ".word 0x10",
    ".code64",
    "6:",
    "mov esi, {boot_params}",
    "mov eax, [rip + 7f]",
    "jmp rax",
    // The kernel's entry point is put here.
    "7: .long 0",
    "plain_vm_end:",
    ".text",
    start = const START,
    tables = const layout::TD_CODE.get() as u32 as i32,
    boot_params = const layout::BOOT_PARAMS.get() as u32 as i32,
);

unsafe extern "C" {
    static plain_vm_start: u8;
    static plain_vm_end: u8;
}

fn start_code() -> Vec<u8> {
    let (start, end) = (&raw const plain_vm_start, &raw const plain_vm_end);
    // SAFETY: both are labels around the bytes above, which nobody writes to.
    unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }.to_vec()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: plain-vm guest.img FOLDER".into());
    };
    let bytes = std::fs::read(&image).map_err(|e| format!("{image}: {e}"))?;
    let parsed = GuestImage::parse(&bytes).map_err(|e| format!("{image}: {e}"))?;
    let rom_start = layout::TOP_END - ROM_SIZE as u64;
    let mut rom = vec![0; ROM_SIZE];
    let mut qemu = vec![
        format!("-m {}M", parsed.memory().bytes() / layout::MIB),
        format!("-bios {folder}/rom"),
    ];
    for (n, segment) in parsed.segments().iter().enumerate() {
        let from = segment.offset as usize;
        let contents = &bytes[from..from + segment.length as usize];
        let gpa = segment.gpa.get();
        if let Some(at) = gpa.checked_sub(rom_start) {
            rom[at as usize..][..contents.len()].copy_from_slice(contents);
        } else {
            let file = format!("{folder}/segment-{n}");
            std::fs::write(&file, contents).map_err(|e| format!("{file}: {e}"))?;
            qemu.push(format!(
                "-device loader,file={file},addr={gpa:#x},force-raw=on"
            ));
        }
    }
    let launch = &rom[(layout::LAUNCH.get() - rom_start) as usize..];
    let launch = launch.first_chunk().ok_or("no launch page")?;
    let entry = Launch::parse(launch).map_err(|e| format!("{image}: {e}"))?;
    if entry.kernel_entry == 0 {
        return Err(format!("{image} isn't an image of Linux").into());
    }
    let mut start = start_code();
    let slot = start.len() - 4;
    start[slot..].copy_from_slice(&(entry.kernel_entry as u32).to_le_bytes());
    let at = ROM_SIZE - 0x1_0000 + START;
    rom[at..at + start.len()].copy_from_slice(&start);
    // The reset vector: jmp START, relative to the next instruction at 0xfff3.
    let distance = (START as u16).wrapping_sub(0xfff3).to_le_bytes();
    rom[ROM_SIZE - 16..][..3].copy_from_slice(&[0xe9, distance[0], distance[1]]);
    std::fs::write(format!("{folder}/rom"), rom)?;
    println!("{}", qemu.join(" "));
    Ok(())
}
