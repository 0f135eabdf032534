//! Variables that the image tool writes into the program.

use core::{cell::UnsafeCell, hint::black_box};

/// A value that the program reads only and the image tool has changed.
#[repr(transparent)]
pub struct ImmutableCell<T>(UnsafeCell<T>);

// SAFETY: nobody writes while the program runs.
unsafe impl<T: Sync> Sync for ImmutableCell<T> {}

impl<T> ImmutableCell<T> {
    /// The value if the image tool leaves it alone.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value as the image tool left it.
    pub fn get(&self) -> &T {
        // The compiler must not assume the value that it sees in the source.
        let cell = black_box(self.0.get());
        // SAFETY: `cell` is this cell; nobody writes while the program runs.
        unsafe { &*cell }
    }
}

/// A variable for `setvar`: `*var!(SYMBOL: usize = 0)`. A `&'static T`.
#[macro_export]
macro_rules! var {
    ($(#[$attrs:meta])* $symbol:ident: $ty:ty = $default:expr) => {{
        $(#[$attrs])*
        #[used]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".data")]
        #[allow(non_upper_case_globals)]
        static $symbol: $crate::ImmutableCell<$ty> = $crate::ImmutableCell::new($default);
        $symbol.get()
    }};
}

/// A memory region that system.xml maps with `setvar_vaddr="SYMBOL"`, as a
/// `NonNull<T>` or, with `n`, a `NonNull<[T]>`; `bytes` is checked against the
/// type's size.
///
/// # Panics
/// If the variable is 0.
#[macro_export]
macro_rules! memory_region_symbol {
    ($(#[$attrs:meta])* $symbol:ident: *mut [$ty:ty], n = $n:expr, bytes = $bytes:expr $(,)?) => {{
        assert!($bytes == $n * ::core::mem::size_of::<$ty>());
        $crate::memory_region_symbol!($(#[$attrs])* $symbol: *mut [$ty], n = $n)
    }};
    ($(#[$attrs:meta])* $symbol:ident: *mut $ty:ty, bytes = $bytes:expr $(,)?) => {{
        assert!($bytes == ::core::mem::size_of::<$ty>());
        $crate::memory_region_symbol!($(#[$attrs])* $symbol: *mut $ty)
    }};
    ($(#[$attrs:meta])* $symbol:ident: *mut [$ty:ty], n = $n:expr $(,)?) => {{
        ::core::ptr::NonNull::slice_from_raw_parts(
            $crate::memory_region_symbol!($(#[$attrs])* $symbol: *mut $ty),
            $n,
        )
    }};
    ($(#[$attrs:meta])* $symbol:ident: *mut $ty:ty $(,)?) => {{
        match ::core::ptr::NonNull::new(
            *$crate::var!($(#[$attrs])* $symbol: usize = 0) as *mut $ty
        ) {
            Some(region) => region,
            None => panic!("{}: not set by system.xml", stringify!($symbol)),
        }
    }};
}

const NAME_LENGTH: usize = 64;

fn word(cell: &ImmutableCell<u64>) -> u64 {
    *cell.get()
}

/// A variable that the image tool writes, by itself; the SDK's libmicrokit has it.
#[cfg(not(feature = "sdk"))]
macro_rules! tool_variable {
    ($symbol:ident: $ty:ty = $default:expr) => {
        #[used]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".data")]
        #[allow(non_upper_case_globals)]
        static $symbol: ImmutableCell<$ty> = ImmutableCell::new($default);
    };
}

#[cfg(feature = "sdk")]
macro_rules! tool_variable {
    ($symbol:ident: $ty:ty = $default:expr) => {
        unsafe extern "C" {
            #[allow(non_upper_case_globals)]
            safe static $symbol: ImmutableCell<$ty>;
        }
    };
}

tool_variable!(microkit_name: [u8; NAME_LENGTH] = [0; NAME_LENGTH]);
tool_variable!(microkit_passive: u8 = 0);
tool_variable!(microkit_irqs: u64 = 0);
tool_variable!(microkit_notifications: u64 = 0);
tool_variable!(microkit_pps: u64 = 0);
tool_variable!(microkit_ioports: u64 = 0);

pub(crate) fn irqs() -> u64 {
    word(&microkit_irqs)
}

pub(crate) fn notifications() -> u64 {
    word(&microkit_notifications)
}

pub(crate) fn pps() -> u64 {
    word(&microkit_pps)
}

pub(crate) fn io_ports() -> u64 {
    word(&microkit_ioports)
}

/// Whether this PD is passive.
pub fn pd_is_passive() -> bool {
    *microkit_passive.get() != 0
}

/// This PD's name in system.xml.
///
/// # Errors
/// If it isn't UTF-8.
pub fn pd_name() -> Result<&'static str, core::str::Utf8Error> {
    let bytes = microkit_name.get();
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(NAME_LENGTH);
    core::str::from_utf8(&bytes[..end])
}
