//! The memory map of the system, out of `system.xml`.

use gpa::Hpa;
use std::path::Path;

/// Regions with fixed addresses, each `(first address, bytes)`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct MemoryMap {
    pub tdx_control: (Hpa, u64),
    pub tdx_pamt: (Hpa, u64),
    pub shadow: (Hpa, u64),
    pub guest_image: (Hpa, u64),
    pub shared_pool: (Hpa, u64),
    pub private_pool: (Hpa, u64),
}

impl MemoryMap {
    /// The map that the repository's `system.xml` describes.
    pub fn of_the_system() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../system.xml");
        let text = std::fs::read_to_string(&file).expect("system.xml is in the repository");
        let document = roxmltree::Document::parse(&text).expect("system.xml is well-formed");
        let region = |name: &str| {
            let of = |attribute: &str| {
                let element = document
                    .descendants()
                    .find(|n| n.has_tag_name("memory_region") && n.attribute("name") == Some(name));
                let value = element.and_then(|e| e.attribute(attribute));
                let value =
                    value.unwrap_or_else(|| panic!("system.xml: {name} has no {attribute}"));
                let digits = value.replace('_', "");
                u64::from_str_radix(digits.trim_start_matches("0x"), 16)
                    .unwrap_or_else(|_| panic!("system.xml: {name}: {attribute}={value:?}"))
            };
            (Hpa::new(of("phys_addr")), of("size"))
        };
        Self {
            tdx_control: region("tdx_control"),
            tdx_pamt: region("tdx_pamt"),
            shadow: region("shadow"),
            guest_image: region("guest_image"),
            shared_pool: region("shared_pool"),
            private_pool: region("private_pool"),
        }
    }

    fn regions(&self) -> [(Hpa, u64); 6] {
        [
            self.tdx_control,
            self.tdx_pamt,
            self.shadow,
            self.guest_image,
            self.shared_pool,
            self.private_pool,
        ]
    }

    /// The lowest address.
    pub fn base(&self) -> Hpa {
        self.regions()
            .map(|(hpa, _)| hpa)
            .into_iter()
            .min()
            .unwrap_or_default()
    }

    /// Bytes from the lowest address to the end of the highest region.
    pub fn len(&self) -> u64 {
        let end = self
            .regions()
            .map(|(hpa, len)| hpa.get() + len)
            .into_iter()
            .max();
        end.unwrap_or_default() - self.base().get()
    }

    /// Whether there is no memory at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
