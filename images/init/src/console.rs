//! The kernel's debug console.

use core::fmt;

/// Writes to the kernel's debug console.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(sel4::syscall::debug_put_char);
        Ok(())
    }
}

/// Prints a line on the kernel's debug console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {{
        let _ = ::core::fmt::Write::write_fmt(
            &mut $crate::console::Console,
            ::core::format_args!("{}\n", ::core::format_args!($($arg)*)),
        );
    }};
}
