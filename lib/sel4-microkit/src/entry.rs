//! From the first instruction to the handler.

use crate::{Handler, debug_println, kernel, pd_name};

/// Declares the start of a protection domain; `#[protection_domain]` uses it.
#[macro_export]
macro_rules! declare_protection_domain {
    { init = $init:expr $(,)? } => {
        // The initial task sets rsp to the top of the stack of system.xml.
        ::core::arch::global_asm!(
            ".pushsection .text._start, \"ax\", @progbits",
            ".globl _start",
            "_start:",
            "xor ebp, ebp",
            "and rsp, -16",
            "call {main}",
            "ud2",
            ".popsection",
            main = sym __sel4_microkit_main,
        );
        extern "C" fn __sel4_microkit_main() -> ! {
            $crate::_private::run($init)
        }
    };
    { init = $init:expr, stack_size = $stack_size:expr $(,)? } => {
        #[repr(C, align(4096))]
        struct __Sel4MicrokitStack($crate::ImmutableCell<[u8; $stack_size]>);
        static __SEL4_MICROKIT_STACK: __Sel4MicrokitStack =
            __Sel4MicrokitStack($crate::ImmutableCell::new([0; $stack_size]));
        ::core::arch::global_asm!(
            ".pushsection .text._start, \"ax\", @progbits",
            ".globl _start",
            "_start:",
            "xor ebp, ebp",
            "lea rsp, [{stack} + {size}]",
            "and rsp, -16",
            "call {main}",
            "ud2",
            ".popsection",
            main = sym __sel4_microkit_main,
            stack = sym __SEL4_MICROKIT_STACK,
            size = const $stack_size,
        );
        extern "C" fn __sel4_microkit_main() -> ! {
            $crate::_private::run($init)
        }
    };
}

/// Runs a PD. Ends only when a handler fails; then the PD stops.
pub fn run<H: Handler>(init: impl FnOnce() -> H) -> ! {
    let Err(error) = init().run();
    debug_println!(
        "{}: stopped by its handler: {error}",
        pd_name().unwrap_or("?")
    );
    kernel::stop()
}
