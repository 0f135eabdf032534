//! A virtual CPU that is registers only.

use std::collections::HashMap;

use tdx_module::{Field, VcpuState};

#[derive(Default)]
pub(crate) struct PlainCpu {
    pub gprs: [u64; 16],
    fields: HashMap<Field, u64>,
    xmm: [[u64; 2]; 16],
}

impl VcpuState for PlainCpu {
    fn gpr(&self, index: usize) -> u64 {
        self.gprs[index]
    }
    fn set_gpr(&mut self, index: usize, value: u64) {
        self.gprs[index] = value;
    }
    fn get(&self, field: Field) -> u64 {
        self.fields.get(&field).copied().unwrap_or(0)
    }
    fn set(&mut self, field: Field, value: u64) {
        self.fields.insert(field, value);
    }
    fn xmm(&self, index: usize) -> [u64; 2] {
        self.xmm[index]
    }
    fn set_xmm(&mut self, index: usize, value: [u64; 2]) {
        self.xmm[index] = value;
    }
}

impl PlainCpu {
    /// The recorded guests are in 64-bit mode from their first exit on.
    pub fn enter_64_bit(&mut self) {
        self.set(Field::Efer, self.get(Field::Efer) | 1 << 10 | 1 << 8);
        let rights = self.get(Field::CsRights);
        self.set(Field::CsRights, rights & !(1 << 14) | 1 << 13);
    }
}
