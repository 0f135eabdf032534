//! From the first instruction to the handler.

use crate::{ChannelSet, Handler, debug_println, kernel, pd_name, symbols};

/// Where a PD starts: at `_start`, as the initial task finds it in the ELF file.
#[cfg(not(feature = "sdk"))]
#[doc(hidden)]
#[macro_export]
macro_rules! entry_symbol {
    () => {
        "_start"
    };
}

/// Where a PD starts: libmicrokit has `_start` and calls `init`.
#[cfg(feature = "sdk")]
#[doc(hidden)]
#[macro_export]
macro_rules! entry_symbol {
    () => {
        "init"
    };
}

/// Declares the start of a protection domain; `#[protection_domain]` uses it.
#[macro_export]
macro_rules! declare_protection_domain {
    { init = $init:expr $(,)? } => {
        // rsp points into the stack of system.xml.
        ::core::arch::global_asm!(
            ".pushsection .text._start, \"ax\", @progbits",
            ::core::concat!(".globl ", $crate::entry_symbol!()),
            ::core::concat!($crate::entry_symbol!(), ":"),
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
            ::core::concat!(".globl ", $crate::entry_symbol!()),
            ::core::concat!($crate::entry_symbol!(), ":"),
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
    let mut handler = init();
    // As libmicrokit does before it first waits: an interrupt that came before it
    // was bound to this PD is masked until somebody acknowledges it.
    for irq in ChannelSet::new(symbols::irqs()) {
        // Only a channel that is no interrupt can't be acknowledged.
        let _ = irq.irq_ack();
    }
    let Err(error) = handler.run();
    debug_println!(
        "{}: stopped by its handler: {error}",
        pd_name().unwrap_or("?")
    );
    kernel::stop()
}
