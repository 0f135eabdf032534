//! Links the protection domain as a freestanding, fixed-address program.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_MICROKIT").is_none() {
        return;
    }
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--image-base=0x200000,--build-id=none,-z,max-page-size=4096,-z,norelro",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
