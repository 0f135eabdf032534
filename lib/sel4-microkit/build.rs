//! For the Microkit SDK: compiles `sdk.c` against the SDK's headers and links
//! its library. What else may be wrong with an SDK, `images/sdk/find` checks
//! before anything is built.

#[cfg(not(feature = "sdk"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "sdk")]
fn main() {
    use std::{env, path::Path};

    let variable = |name: &str| {
        println!("cargo::rerun-if-env-changed={name}");
        env::var(name).unwrap_or_else(|_| panic!("{name} is not set: build with images/build"))
    };
    let sdk = variable("MICROKIT_SDK");
    let board = variable("MICROKIT_BOARD");
    let config = variable("MICROKIT_CONFIG");
    let folder = Path::new(&sdk).join("board").join(board).join(config);
    let source = "src/kernel/sdk.c";
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-changed={}", folder.display());
    cc::Build::new()
        .file(source)
        .include(folder.join("include"))
        .std("gnu11")
        .pic(false)
        .flag("-ffreestanding")
        .flag("-fno-stack-protector")
        .flag("-fcf-protection=none")
        .compile("septum_sdk");
    println!(
        "cargo::rustc-link-search=native={}",
        folder.join("lib").display()
    );
    println!("cargo::rustc-link-lib=static=microkit");
}
