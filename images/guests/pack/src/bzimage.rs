//! What a Linux kernel's file says of itself: the setup header (Linux x86 boot protocol).

use std::fmt;

/// End of the fields that are read here.
const HEADER_END: usize = 0x268;
/// Where the setup header begins.
pub const HEADER_START: usize = 0x1f1;

/// A checked bzImage that can be entered in 64-bit mode.
#[derive(Clone, Copy, Debug)]
pub struct BzImage<'a> {
    bytes: &'a [u8],
    setup_size: usize,
    code_size: usize,
}

impl<'a> BzImage<'a> {
    /// Checks the file's bytes.
    ///
    /// # Errors
    /// What the file isn't, in words.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BzImageError> {
        let image = Self {
            bytes,
            setup_size: 0,
            code_size: 0,
        };
        if bytes.len() < HEADER_END || image.u16(0x1fe) != 0xaa55 || &bytes[0x202..0x206] != b"HdrS"
        {
            return Err(match bytes {
                [0x7f, b'E', b'L', b'F', ..] => BzImageError::Elf,
                _ => BzImageError::NoMagic,
            });
        }
        let version = image.u16(0x206);
        if version < 0x20c {
            return Err(BzImageError::OldProtocol(version));
        }
        let loaded_high = bytes[0x211] & 1 != 0;
        if !loaded_high || image.u16(0x236) & 1 == 0 {
            return Err(BzImageError::No64BitEntry);
        }
        if bytes[0x234] == 0 {
            return Err(BzImageError::NotRelocatable);
        }
        // For historical reasons 0 means 4.
        let setup_sectors = match bytes[0x1f1] {
            0 => 4,
            n => usize::from(n),
        };
        let setup_size = (setup_sectors + 1) * 512;
        let code_size = image.u32(0x1f4) as usize * 16;
        if code_size == 0 || bytes.len() < setup_size + code_size {
            return Err(BzImageError::Truncated {
                needed: setup_size + code_size,
                have: bytes.len(),
            });
        }
        Ok(Self {
            bytes,
            setup_size,
            code_size,
        })
    }

    /// The setup header, as it is copied into the boot parameters.
    pub fn header(&self) -> &'a [u8] {
        // The header's length counts from its jump instruction's end.
        let end = 0x202 + usize::from(self.bytes[0x201]);
        &self.bytes[HEADER_START..end.min(0x290)]
    }
    /// The protected-mode code: what is loaded.
    pub fn code(&self) -> &'a [u8] {
        &self.bytes[self.setup_size..self.setup_size + self.code_size]
    }
    /// The compressed kernel within the code, without the length that is appended to it.
    pub fn payload(&self) -> Option<&'a [u8]> {
        let start = self.u32(0x248) as usize;
        let end = start.checked_add(self.u32(0x24c) as usize)?;
        self.code().get(start..end.checked_sub(4)?)
    }
    /// Where it wants to be loaded, in bytes.
    pub fn preferred_address(&self) -> u64 {
        u64::from_le_bytes(self.bytes[0x258..0x260].try_into().expect("8 bytes"))
    }
    /// How much memory it needs from there on before it knows the memory map, in bytes.
    pub fn init_size(&self) -> u64 {
        u64::from(self.u32(0x260)).max(self.code_size as u64)
    }
    /// Most bytes of a command line, without the zero at its end.
    pub fn command_line_limit(&self) -> usize {
        self.u32(0x238) as usize
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }
    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }
}

/// Why a file isn't a kernel that can be packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BzImageError {
    /// An ELF file, such as vmlinux.
    Elf,
    /// Nothing that is known here.
    NoMagic,
    /// A boot protocol before 2.12.
    OldProtocol(u16),
    /// No entry point for 64-bit mode.
    No64BitEntry,
    /// Can't be loaded at another address.
    NotRelocatable,
    /// The file ends early.
    Truncated {
        /// Bytes that the header speaks of.
        needed: usize,
        /// Bytes of the file.
        have: usize,
    },
}

impl fmt::Display for BzImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf => write!(
                f,
                "an ELF file, not a bzImage: give arch/x86/boot/bzImage (or /boot/vmlinuz-…), not vmlinux"
            ),
            Self::NoMagic => write!(
                f,
                "not a Linux bzImage (no \"HdrS\" at offset 0x202): give a kernel such as images/guests/fetch-kernel fetches"
            ),
            Self::OldProtocol(v) => write!(
                f,
                "Linux boot protocol {}.{}, but 2.12 is needed: give a newer kernel",
                v >> 8,
                v & 0xff
            ),
            Self::No64BitEntry => write!(
                f,
                "a kernel without a 64-bit entry point: give an x86-64 kernel"
            ),
            Self::NotRelocatable => {
                write!(
                    f,
                    "not relocatable: give a kernel with CONFIG_RELOCATABLE=y"
                )
            }
            Self::Truncated { needed, have } => write!(
                f,
                "truncated: its header speaks of {needed} bytes, the file has {have}: fetch it anew"
            ),
        }
    }
}

impl std::error::Error for BzImageError {}
