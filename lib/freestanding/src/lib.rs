//! For build scripts: how the binaries are linked that run on no operating system.

#![forbid(unsafe_code)]

/// Where a binary's segments lie.
pub enum Place<'a> {
    /// One behind the other from this virtual address on.
    At(u64),
    /// As this linker script says.
    Script(&'a str),
}

/// Tells cargo to link this package's binaries statically, without start files and C library,
/// if `feature` is on. It is off when the package is only built as a library or for its tests,
/// which run on the host.
pub fn link(feature: &str, place: Place<'_>) {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = feature.to_uppercase().replace('-', "_");
    if std::env::var_os(format!("CARGO_FEATURE_{variable}")).is_none() {
        return;
    }
    let place = match place {
        Place::At(address) => format!("-Wl,--image-base={address:#x}"),
        Place::Script(script) => {
            println!("cargo::rerun-if-changed={script}");
            format!("-Wl,-T,{script}")
        }
    };
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none,--no-eh-frame-hdr,-z,max-page-size=4096,-z,norelro",
        &place,
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
