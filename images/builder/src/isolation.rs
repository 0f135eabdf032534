//! Who may reach what: the rules that keep a guest's private memory from the
//! protection domains that need not be trusted with it.

use crate::sdf::{Error, System};

/// Memory that only [`TRUSTED`] may map: guests' private pages, the TDX
/// module's control structures and its page metadata.
pub const SEALED: [&str; 3] = ["private_pool", "tdx_control", "tdx_pamt"];

/// The only protection domain that may map [`SEALED`] memory.
pub const TRUSTED: &str = "pd-tdx";

/// Whether the rules are about this system: it has the trusted PD or sealed
/// memory. Small systems for tests have neither.
pub fn applies(system: &System) -> bool {
    system.pds.iter().any(|pd| pd.name == TRUSTED)
        || SEALED.iter().any(|name| system.region(name).is_some())
}

/// Checks a system against the rules: sealed regions exist, have a physical
/// address and are mapped by the trusted PD only, by whatever name.
///
/// # Errors
/// The first rule that is broken.
pub fn check(system: &System) -> Result<(), Error> {
    for name in SEALED {
        let nowhere = |message: String| Error {
            file: system.file.clone(),
            place: None,
            element: "system".into(),
            message,
        };
        let Some(sealed) = system.region(name) else {
            return Err(nowhere(format!(
                "isolation: there is no memory region '{name}'"
            )));
        };
        let Some(start) = sealed.phys_addr else {
            let message = format!("isolation: '{name}' has no phys_addr");
            return Err(system.error(sealed.place, "memory_region", message));
        };
        let end = start + sealed.size;
        for pd in system.pds.iter().filter(|pd| pd.name != TRUSTED) {
            for map in &pd.maps {
                let reaches = system.region(&map.region).is_some_and(|region| {
                    region.name == name
                        || region
                            .phys_addr
                            .is_some_and(|paddr| paddr < end && start < paddr + region.size)
                });
                if reaches {
                    let message = format!(
                        "isolation: '{}' can reach '{name}' through '{}'; only '{TRUSTED}' may: \
                         remove the map",
                        pd.name, map.region
                    );
                    return Err(system.error(map.place, "map", message));
                }
            }
        }
    }
    Ok(())
}
