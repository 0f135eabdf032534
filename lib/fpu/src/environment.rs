//! `FNSTENV`, `FLDENV`, `FNSAVE` and `FRSTOR` images (SDM Vol. 1, 8.1.10 and figures 8-9 to 8-12).

use crate::{Env, MathFault, X87};

const ALL_MASKED: u16 = 0x3f;

impl Env {
    const fn wide(self) -> bool {
        matches!(self, Self::Real32 | Self::Protected32)
    }

    const fn real(self) -> bool {
        matches!(self, Self::Real16 | Self::Real32)
    }

    /// The environment's size in bytes.
    pub const fn bytes(self) -> usize {
        if self.wide() { 28 } else { 14 }
    }
}

impl X87 {
    /// The tag word with two bits per register, from the registers' contents.
    fn tag_word(&self) -> u16 {
        (0..8).fold(0, |tags, i| {
            let bits = self.regs[i];
            let field = bits >> 64 & 0x7fff;
            let tag = if self.valid >> i & 1 == 0 {
                3
            } else if field == 0 && bits as u64 == 0 {
                1
            } else if field == 0 || field == 0x7fff || bits as u64 >> 63 == 0 {
                2
            } else {
                0
            };
            tags | tag << (2 * i)
        })
    }

    fn environment(&self, env: Env) -> [u8; 28] {
        let (ip, data) = (self.fip as u32, self.fdp as u32);
        // The selectors are deprecated and read as 0; in real mode the pointers are 20 or 32
        // bits, with the opcode beside the instruction pointer.
        let fields: [u32; 7] = [
            u32::from(self.fcw),
            u32::from(self.fsw),
            u32::from(self.tag_word()),
            if env.real() { ip & 0xffff } else { ip },
            match (env.real(), env.wide()) {
                (true, true) => ip >> 16 << 12 | u32::from(self.fop),
                (true, false) => ip >> 16 << 12 & 0xf000 | u32::from(self.fop),
                (false, true) => u32::from(self.fop) << 16,
                (false, false) => 0,
            },
            if env.real() { data & 0xffff } else { data },
            if env.real() { data >> 16 << 12 } else { 0 },
        ];
        let mut image = [0; 28];
        if env.wide() {
            for (i, field) in fields.into_iter().enumerate() {
                // Reserved halves are ones; those of the pointers and the opcode are in use.
                let value = match i {
                    0..=2 | 6 if !env.real() || i < 3 => field | 0xffff_0000,
                    _ => field,
                };
                image[4 * i..4 * i + 4].copy_from_slice(&value.to_le_bytes());
            }
        } else {
            for (i, field) in fields.into_iter().enumerate() {
                image[2 * i..2 * i + 2].copy_from_slice(&(field as u16).to_le_bytes());
            }
        }
        image
    }

    fn set_environment(&mut self, env: Env, image: &[u8]) {
        let field = |i: usize| -> u32 {
            let size = if env.wide() { 4 } else { 2 };
            image
                .get(size * i..size * (i + 1))
                .unwrap_or(&[])
                .iter()
                .rev()
                .fold(0, |value, &byte| value << 8 | u32::from(byte))
        };
        self.fcw = field(0) as u16;
        self.fsw = field(1) as u16;
        let tags = field(2);
        self.valid = (0..8).fold(0, |valid, i| {
            valid | u8::from(tags >> (2 * i) & 3 != 3) << i
        });
        let (ip, selector, data, high) = (field(3), field(4), field(5), field(6));
        if env.real() {
            self.fip = u64::from(ip & 0xffff | selector >> 12 << 16);
            self.fop = selector as u16 & 0x7ff;
            self.fdp = u64::from(data & 0xffff | high >> 12 << 16);
        } else {
            self.fip = u64::from(ip);
            self.fop = if env.wide() {
                (selector >> 16) as u16 & 0x7ff
            } else {
                0
            };
            self.fdp = u64::from(data);
        }
        self.normalize_control();
    }

    /// `FNSTENV`: gives the image (14 bytes in the 16-bit layouts) and masks all exceptions.
    pub fn store_env(&mut self, env: Env) -> [u8; 28] {
        let image = self.environment(env);
        self.fcw |= ALL_MASKED;
        self.update_summary();
        image
    }

    /// `FLDENV`.
    pub fn load_env(&mut self, env: Env, image: &[u8; 28]) -> Result<(), MathFault> {
        self.check()?;
        self.set_environment(env, image);
        Ok(())
    }

    /// `FNSAVE`: gives the image (94 bytes in the 16-bit layouts) and initializes the x87.
    pub fn save(&mut self, env: Env) -> [u8; 108] {
        let mut image = [0; 108];
        image[..28].copy_from_slice(&self.environment(env));
        for i in 0..8 {
            let register = self.regs[(usize::from(self.top()) + i) & 7].to_le_bytes();
            let at = env.bytes() + 10 * i;
            image[at..at + 10].copy_from_slice(&register[..10]);
        }
        self.initialize();
        image
    }

    /// `FRSTOR`.
    pub fn restore(&mut self, env: Env, image: &[u8; 108]) -> Result<(), MathFault> {
        self.check()?;
        self.set_environment(env, image);
        for i in 0..8 {
            let at = env.bytes() + 10 * i;
            let mut register = [0; 16];
            register[..10].copy_from_slice(&image[at..at + 10]);
            self.regs[(usize::from(self.top()) + i) & 7] = u128::from_le_bytes(register);
        }
        Ok(())
    }
}
