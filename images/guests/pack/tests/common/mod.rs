//! Made-up files: a TD binary, a vmlinux, a bzImage.

#![allow(dead_code)] // Each test binary uses its own part.

/// A part of an ELF file: address, contents, size in memory.
pub type Part<'a> = (u64, &'a [u8], u64);

/// A 64-bit x86 ELF file with these PT_LOADs.
pub fn elf(entry: u64, parts: &[Part<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend(2u16.to_le_bytes()); // ET_EXEC
    file.extend(62u16.to_le_bytes()); // EM_X86_64
    file.extend(1u32.to_le_bytes());
    file.extend(entry.to_le_bytes());
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for half in [64, 56, parts.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut offset = 64 + 56 * parts.len();
    for (address, contents, memory) in parts {
        file.extend(1u32.to_le_bytes()); // PT_LOAD
        file.extend(7u32.to_le_bytes());
        for word in [
            offset as u64,
            *address,
            *address,
            contents.len() as u64,
            *memory,
            4096,
        ] {
            file.extend(word.to_le_bytes());
        }
        offset += contents.len();
    }
    for (_, contents, _) in parts {
        file.extend(*contents);
    }
    file
}

/// A TD binary: something at its start, the reset vector's page.
pub fn td_binary() -> Vec<u8> {
    let reset = [0xf4; 4096];
    elf(
        0xffff_f000,
        &[(0xfffe_0000, b"code", 0x3000), (0xffff_f000, &reset, 4096)],
    )
}

/// A bzImage with this payload within `code_size` bytes of code (a multiple of 16).
pub fn bzimage(payload: &[u8], code_size: usize, init_size: u32) -> Vec<u8> {
    let setup_sectors = 4;
    let setup_size = (setup_sectors + 1) * 512;
    let mut file = vec![0; setup_size + code_size];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[setup_sectors as u8]);
    put(0x1f4, &(code_size as u32 / 16).to_le_bytes());
    put(0x1fe, &[0x55, 0xaa]);
    put(0x200, &[0xeb, 0x6a]);
    put(0x202, b"HdrS");
    put(0x206, &0x20fu16.to_le_bytes());
    put(0x211, &[1]); // LOADED_HIGH
    put(0x234, &[1]); // relocatable
    put(0x236, &1u16.to_le_bytes()); // XLF_KERNEL_64
    put(0x238, &2047u32.to_le_bytes());
    put(0x248, &0x300u32.to_le_bytes());
    put(0x24c, &(payload.len() as u32 + 4).to_le_bytes());
    put(0x258, &(16u64 << 20).to_le_bytes());
    put(0x260, &init_size.to_le_bytes());
    put(setup_size + 0x300, payload);
    file
}
