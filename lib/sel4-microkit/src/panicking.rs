//! A panic is reported and stops the PD.

use core::panic::PanicInfo;

use crate::{debug_println, kernel, pd_name};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    debug_println!("{}: {info}", pd_name().unwrap_or("?"));
    kernel::stop()
}
