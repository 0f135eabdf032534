//! Lock words in memory: shared, exclusive, and shared/exclusive with host priority.
//!
//! The module runs one call at a time, so a lock is found taken in three cases only: a vCPU is
//! inside the TD (its TDR and TDVPR stay share-locked), one page is given in two operands, or a
//! test holds the lock. The words are real all the same, so that each of those answers as it
//! does on hardware.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::Status;

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// What kind of word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bit 0 exclusive, bits 15:1 readers.
    Plain,
    /// Bit 0 exclusive, bit 1 host priority, bits 15:2 readers.
    HostPriority,
}

const EXCLUSIVE: u16 = 1;
const HOST_PRIORITY: u16 = 2;

/// A lock word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Where the 2-byte word is.
    pub word: Hpa,
    /// Its kind.
    pub kind: Kind,
}

impl Lock {
    /// A lock with host priority.
    pub const fn host_priority(word: Hpa) -> Self {
        Self {
            word,
            kind: Kind::HostPriority,
        }
    }
    /// A plain lock.
    pub const fn plain(word: Hpa) -> Self {
        Self {
            word,
            kind: Kind::Plain,
        }
    }

    const fn reader(self) -> u16 {
        match self.kind {
            Kind::Plain => 2,
            Kind::HostPriority => 4,
        }
    }

    const fn priority(self) -> u16 {
        match self.kind {
            Kind::Plain => 0,
            Kind::HostPriority => HOST_PRIORITY,
        }
    }

    /// Takes the lock for the host.
    ///
    /// # Errors
    /// `TDX_OPERAND_BUSY`, and the host has priority from now on.
    pub fn acquire(self, memory: &impl PhysMemory, mode: Mode) -> Result<(), Status> {
        let word = memory.read_u16(self.word);
        let held = word & !self.priority();
        let free = match mode {
            Mode::Shared => held & EXCLUSIVE == 0 && held < u16::MAX - self.reader(),
            Mode::Exclusive => held == 0,
        };
        if !free {
            memory.write_u16(self.word, word | self.priority());
            return Err(Status::OPERAND_BUSY);
        }
        let taken = match mode {
            Mode::Shared => held + self.reader(),
            Mode::Exclusive => EXCLUSIVE,
        };
        memory.write_u16(self.word, taken);
        Ok(())
    }

    /// Takes the lock for a guest, who has to wait while the host has priority.
    ///
    /// # Errors
    /// `TDX_OPERAND_BUSY`, or `TDX_OPERAND_BUSY_HOST_PRIORITY`.
    pub fn acquire_guest(self, memory: &impl PhysMemory, mode: Mode) -> Result<(), Status> {
        let word = memory.read_u16(self.word);
        if word & self.priority() != 0 {
            return Err(Status::OPERAND_BUSY_HOST_PRIORITY);
        }
        let free = match mode {
            Mode::Shared => word & EXCLUSIVE == 0,
            Mode::Exclusive => word == 0,
        };
        if !free {
            return Err(Status::OPERAND_BUSY);
        }
        let taken = match mode {
            Mode::Shared => word + self.reader(),
            Mode::Exclusive => EXCLUSIVE,
        };
        memory.write_u16(self.word, taken);
        Ok(())
    }

    /// Turns the one shared hold into an exclusive one.
    ///
    /// # Errors
    /// `TDX_OPERAND_BUSY` where there are other readers.
    pub fn promote(self, memory: &impl PhysMemory) -> Result<(), Status> {
        let word = memory.read_u16(self.word);
        if word & !self.priority() != self.reader() {
            memory.write_u16(self.word, word | self.priority());
            return Err(Status::OPERAND_BUSY);
        }
        memory.write_u16(self.word, EXCLUSIVE);
        Ok(())
    }

    /// Gives the lock back.
    pub fn release(self, memory: &impl PhysMemory, mode: Mode) {
        let word = memory.read_u16(self.word);
        let left = match mode {
            Mode::Shared => word.wrapping_sub(self.reader()),
            Mode::Exclusive => word & self.priority(),
        };
        memory.write_u16(self.word, left);
    }

    /// Takes (`Some`) or frees (`None`) the lock whatever it was: contention for tests.
    pub fn force(self, memory: &impl PhysMemory, mode: Option<Mode>) {
        let word = match mode {
            None => 0,
            Some(Mode::Shared) => self.reader(),
            Some(Mode::Exclusive) => EXCLUSIVE,
        };
        memory.write_u16(self.word, word);
    }
}
