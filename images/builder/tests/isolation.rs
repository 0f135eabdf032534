//! Septum's own description keeps its isolation rules; changed ones don't.

use septum_image::{isolation, sdf};

const SYSTEM: &str = include_str!("../../../system.xml");

fn parse(text: &str) -> sdf::System {
    sdf::parse("system.xml", text, None).expect("correct as a description")
}

fn with_map(pd: &str, region: &str, vaddr: u64) -> String {
    let program = format!("<program_image path=\"{pd}\" />");
    let map = format!("{program}\n<map mr=\"{region}\" vaddr=\"{vaddr:#x}\" perms=\"r\" />");
    let text = SYSTEM.replace(&program, &map);
    assert_ne!(text, SYSTEM, "{pd} has a program");
    text
}

#[test]
fn the_system_keeps_the_rules() {
    assert!(isolation::applies(&parse(SYSTEM)));
    assert_eq!(isolation::check(&parse(SYSTEM)), Ok(()));
}

#[test]
fn sealed_memory_by_its_name_is_refused() {
    for pd in ["pd-vmm", "pd-console", "pd-mmu"] {
        for region in isolation::SEALED {
            let system = parse(&with_map(pd, region, 0x40_0000_0000));
            let error = isolation::check(&system).expect_err("refused").to_string();
            let expected = format!("'{pd}' can reach '{region}' through '{region}'");
            assert!(error.contains(&expected), "{error}");
        }
    }
}

#[test]
fn sealed_memory_under_another_name_is_refused() {
    // As text the overlap is an error of the description already.
    let alias = "<memory_region name=\"alias\" size=\"0x1000\" phys_addr=\"0x1000_0000\" />";
    let text = SYSTEM.replace("<system>", &format!("<system>\n{alias}"));
    let error = sdf::parse("system.xml", &text, None)
        .map(drop)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("overlap"), "{error}");

    // Were it none, the rules would still see it: a ring of 64 KiB, which
    // pd-vmm and pd-mmu map.
    let mut system = parse(SYSTEM);
    for (paddr, refused) in [
        (0x07ff_0000, false),
        (0x07ff_1000, true),
        (0x0800_0000, true),
        (0x0880_0000, true),
        (0x0fff_0000, false),
        (0x27ff_f000, true),
        (0x2800_0000, false),
    ] {
        let ring = system
            .regions
            .iter_mut()
            .find(|region| region.name == "ring_vmm_to_mmu");
        ring.expect("there").phys_addr = Some(paddr);
        let result = isolation::check(&system);
        assert_eq!(result.is_err(), refused, "{paddr:#x}: {result:?}");
    }
}

#[test]
fn sealed_memory_must_be_there_and_fixed() {
    let mut system = parse(SYSTEM);
    let pool = system
        .regions
        .iter_mut()
        .find(|region| region.name == "private_pool");
    pool.expect("there").phys_addr = None;
    let error = isolation::check(&system).expect_err("refused").to_string();
    assert!(error.contains("'private_pool' has no phys_addr"), "{error}");
    system.regions.retain(|region| region.name != "tdx_pamt");
    let error = isolation::check(&system).expect_err("refused").to_string();
    assert!(
        error.contains("'private_pool'") || error.contains("'tdx_pamt'"),
        "{error}"
    );
}
