//! A PD's program: its segments, and the variables that are set in it.

use std::{fmt, path::Path};

use object::{
    Endianness, Object, ObjectSymbol,
    elf::{EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PT_LOAD},
    read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _},
};

const PAGE: u64 = system_image::PAGE;

/// What is wrong with a program, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The program's file.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.message)
    }
}

impl std::error::Error for Error {}

/// Whole pages of a program, of one kind.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Address of the first page.
    pub vaddr: u64,
    /// What the first pages hold, whole pages; the rest is zero.
    pub data: Vec<u8>,
    /// Bytes, whole pages.
    pub size: u64,
    /// Whether the program may write.
    pub writable: bool,
    /// Whether it is code.
    pub executable: bool,
}

/// A program, ready to be changed.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file, for messages.
    pub file: String,
    /// Its first instruction.
    pub entry: u64,
    /// Its segments, by address.
    pub segments: Vec<Segment>,
    /// Bytes of code, of initialised data, and of zeroed data.
    pub sizes: Sizes,
    symbols: Vec<(String, u64, u64)>,
}

/// Bytes of a program's sections, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Code.
    pub text: u64,
    /// Constants and initialised variables.
    pub data: u64,
    /// Zeroed variables.
    pub bss: u64,
}

impl Program {
    /// Reads a program from a file.
    ///
    /// # Errors
    /// If it can't be read, or isn't a program that fits here.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let name = file.display().to_string();
        let bytes = std::fs::read(file).map_err(|error| Error {
            file: name.clone(),
            message: format!("can't be read: {error}"),
        })?;
        Self::parse(name, &bytes)
    }

    /// Takes a program apart.
    ///
    /// # Errors
    /// If it isn't a fixed-address x86-64 program.
    pub fn parse(file: String, bytes: &[u8]) -> Result<Self, Error> {
        let fail = |message: String| Error {
            file: file.clone(),
            message,
        };
        let elf = ElfFile64::<Endianness>::parse(bytes)
            .map_err(|error| fail(format!("not a 64-bit ELF file: {error}")))?;
        let endian = elf.endian();
        let header: &FileHeader64<Endianness> = elf.elf_header();
        if header.e_machine(endian) != EM_X86_64 {
            return Err(fail("not an x86-64 program".into()));
        }
        if header.e_type(endian) != ET_EXEC {
            return Err(fail(
                "not a fixed-address program: link it with -no-pie".into(),
            ));
        }
        let mut segments: Vec<Segment> = Vec::new();
        let mut sizes = Sizes::default();
        for segment in elf.elf_program_headers() {
            if segment.p_type(endian) != PT_LOAD || segment.p_memsz(endian) == 0 {
                continue;
            }
            let (address, bytes_used) = (segment.p_vaddr(endian), segment.p_memsz(endian));
            let content = segment
                .data(endian, bytes)
                .map_err(|()| fail("a segment lies outside the file".into()))?;
            if content.len() as u64 > bytes_used {
                return Err(fail(format!(
                    "segment at {address:#x}: more in the file than in memory"
                )));
            }
            let end = address.checked_add(bytes_used).filter(|end| *end < 1 << 47);
            let end = end.ok_or_else(|| fail(format!("segment at {address:#x}: too high")))?;
            let start = address / PAGE * PAGE;
            if start == 0 {
                return Err(fail("a segment lies at address 0".into()));
            }
            let mut data = vec![0; (address - start) as usize];
            data.extend_from_slice(content);
            data.resize(data.len().next_multiple_of(PAGE as usize), 0);
            let flags = segment.p_flags(endian);
            sizes.bss += bytes_used - content.len() as u64;
            *(if flags & PF_X != 0 {
                &mut sizes.text
            } else {
                &mut sizes.data
            }) += content.len() as u64;
            segments.push(Segment {
                vaddr: start,
                data,
                size: (end - start).next_multiple_of(PAGE),
                writable: flags & PF_W != 0,
                executable: flags & PF_X != 0,
            });
        }
        segments.sort_by_key(|segment| segment.vaddr);
        if segments.is_empty() {
            return Err(fail("has nothing to load".into()));
        }
        if let Some(pair) = segments
            .windows(2)
            .find(|pair| pair[0].vaddr + pair[0].size > pair[1].vaddr)
        {
            return Err(fail(format!(
                "segments share the page at {:#x}: link it with -z max-page-size=4096",
                pair[1].vaddr
            )));
        }
        let symbols = elf
            .symbols()
            .filter(|symbol| symbol.is_definition())
            .filter_map(|symbol| {
                Some((
                    symbol.name().ok()?.to_string(),
                    symbol.address(),
                    symbol.size(),
                ))
            })
            .collect();
        Ok(Self {
            file,
            entry: header.e_entry(endian),
            segments,
            sizes,
            symbols,
        })
    }

    fn fail(&self, message: String) -> Error {
        Error {
            file: self.file.clone(),
            message,
        }
    }

    /// Address and bytes of a symbol; `None` if there is none.
    ///
    /// # Errors
    /// If there are two.
    pub fn symbol(&self, name: &str) -> Result<Option<(u64, u64)>, Error> {
        let mut found = self.symbols.iter().filter(|symbol| symbol.0 == name);
        let first = found.next().map(|symbol| (symbol.1, symbol.2));
        match found.next() {
            Some(_) => Err(self.fail(format!("symbol '{name}' is defined twice"))),
            None => Ok(first),
        }
    }

    /// Overwrites the beginning of a variable.
    ///
    /// # Errors
    /// If there is no such variable, it is too small, or it lies in no segment.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        let Some((address, size)) = self.symbol(name)? else {
            return Err(self.fail(format!(
                "has no symbol '{name}': declare it with var! or memory_region_symbol!, and use it"
            )));
        };
        if size != 0 && (value.len() as u64) > size {
            return Err(self.fail(format!(
                "symbol '{name}' has {size} bytes: {} are to be written",
                value.len()
            )));
        }
        let segment = self.segments.iter_mut().find(|segment| {
            segment.vaddr <= address && address + value.len() as u64 <= segment.vaddr + segment.size
        });
        let Some(segment) = segment else {
            return Err(self.fail(format!("symbol '{name}' at {address:#x} is in no segment")));
        };
        let offset = (address - segment.vaddr) as usize;
        let end = (offset + value.len()).next_multiple_of(PAGE as usize);
        if segment.data.len() < end {
            // The variable is among the zeroed ones.
            segment.data.resize(end, 0);
        }
        segment.data[offset..offset + value.len()].copy_from_slice(value);
        Ok(())
    }
}
