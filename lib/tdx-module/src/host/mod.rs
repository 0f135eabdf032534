//! The host leaves (TDH.*), by class.

mod cpuid_config;
mod mem;
mod mem_page;
mod mng;
mod mng_init;
mod mr;
mod phymem;
mod sys;
mod sys_config;
mod vp;

pub(crate) use mem::ACCEPT_COUNTER;
pub(crate) use vp::{EPF_LIST, EPF_LIST_LEN};
