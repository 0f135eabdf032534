//! Metadata lists: TDH.SYS.RDALL and TDG.SYS.RDALL.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{
    FieldId, Status,
    field::{self, Field},
};

use crate::machine::Machine;
use crate::metadata::{Access, Context, NO_FIELD, SEQUENCE_BITS, is_null};
use crate::module::Module;

const FIELD_CODE: u64 = 0xff_ffff;

impl Module {
    /// The field after the one that starts at `id` that `access` can read.
    fn next_sys_field(field: &'static Field, id: FieldId, access: Access) -> u64 {
        let step = u64::from(field.elements) * (1 + u64::from(field.id.inc_size()));
        let number = u64::from(id.field_code() - field.id.field_code()) / step;
        if number + 1 < u64::from(field.fields) {
            return id.0 + step;
        }
        let next = field::SYS.iter().position(|f| f.id == field.id);
        Context::<&memory::Window>::Sys.first_from(0, next.map_or(0, |i| i + 1), access)
    }

    /// The system field that starts exactly at `id`.
    fn sys_field_at(id: FieldId) -> Option<&'static Field> {
        let (_, i) = Context::<&memory::Window>::Sys.find(id)?;
        let field = &field::SYS[i];
        let step = 1 + field.id.inc_size() as u32;
        let offset = id.field_code() - field.id.field_code();
        let starts = offset.is_multiple_of(step * u32::from(field.elements));
        (starts && id.element_size_code() == field.id.element_size_code()).then_some(field)
    }

    /// Writes a list of the system's fields from `raw` on into `page`; answers the field that
    /// comes after it. A list is a header, then sequences of fields whose codes follow each
    /// other, each with a header of its own.
    pub(crate) fn dump<M: Machine>(
        &self,
        machine: &M,
        raw: u64,
        access: Access,
        page: Option<Hpa>,
    ) -> (Status, u64) {
        const PAGE: u64 = 4096;
        let context = Context::<M::Memory>::Sys;
        let memory = machine.memory();
        let put = |offset: u64, value: u64| {
            if let Some(page) = page {
                memory.write_u64(Hpa::new(page.get() + offset), value);
            }
        };
        let mut id = if is_null(raw) {
            context.first(access)
        } else {
            context.own(raw).0
        };
        let Some(mut field) = Self::sys_field_at(FieldId(id)) else {
            return (Status::METADATA_FIELD_ID_INCORRECT, NO_FIELD);
        };
        // From here on with the sizes and flags of the table, whatever was given.
        id = field.id.0 & !FIELD_CODE | u64::from(FieldId(id).field_code());
        let (mut used, mut sequences) = (8, 0);
        let mut room = true;
        while id != NO_FIELD && room && used + 8 + 8 * u64::from(field.elements) <= PAGE {
            let (header, first) = (used, FieldId(id));
            let (first_field, mut fields) = (field, 0);
            let mut end = used + 8;
            loop {
                let size = 8 * u64::from(field.elements);
                room = end + size <= PAGE;
                if !room {
                    break;
                }
                let readable = access.read_mask(field) != 0;
                if readable {
                    for i in 0..u64::from(field.elements) {
                        let step = 1 + u64::from(field.id.inc_size());
                        let element = FieldId(id + i * step);
                        let value = self.read_field(machine, context, element, access);
                        put(end + 8 * i, value.unwrap_or(0));
                    }
                    end += size;
                    fields += 1;
                }
                let (before, after) = (field, FieldId(id));
                id = Self::next_sys_field(field, after, access);
                let Some(next) = Self::sys_field_at(FieldId(id)) else {
                    break;
                };
                field = next;
                let step = u32::from(before.elements) * (1 + before.id.inc_size() as u32);
                let follows = after.class_code() == FieldId(id).class_code()
                    && after.field_code() + step == FieldId(id).field_code()
                    && before.elements == field.elements
                    && before.id.element_size_code() == field.id.element_size_code();
                if !readable || !follows {
                    break;
                }
            }
            if fields > 0 {
                put(header, sequence_header(first, first_field.elements, fields));
                used = end;
                sequences += 1;
            }
        }
        put(0, used | sequences << 16);
        if id == NO_FIELD {
            (Status::SUCCESS, NO_FIELD)
        } else {
            (Status::METADATA_LIST_OVERFLOW, id)
        }
    }
}

/// The header of a sequence of fields of `elements` each that starts with `first`.
fn sequence_header(first: FieldId, elements: u16, fields: u64) -> u64 {
    const WRITE_MASK_VALID: u64 = 1 << 51;
    first.0 & !(SEQUENCE_BITS | WRITE_MASK_VALID)
        | u64::from(elements - 1) << 34
        | (fields - 1) << 38
}
