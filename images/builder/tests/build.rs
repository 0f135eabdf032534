//! From a description and programs to an image that the initial task can read.

mod common;

use septum_image::{
    image,
    layout::{self, Ram},
    program::Program,
    sdf,
};
use system_image::{ANYWHERE, SystemImage, name_str, pd_layout};

const TWO_PDS: &str = r#"<system>
    <memory_region name="pool" size="0x80_0000" phys_addr="0x2000_0000" />
    <memory_region name="low" size="0x20_0000" page_size="0x1000" phys_addr="0x1000_0000" />
    <memory_region name="ring" size="0x2000" />
    <protection_domain name="server" priority="20">
        <program_image path="p" />
        <map mr="pool" vaddr="0x10_2000_0000" perms="r" setvar_vaddr="region" />
        <map mr="ring" vaddr="0x3000_0000" />
        <irq id="3" pin="4" vector="5" trigger="edge" polarity="low" />
        <ioport id="2" addr="0x3f8" size="8" />
    </protection_domain>
    <protection_domain name="client" priority="10" stack_size="0x3000">
        <program_image path="p" />
        <map mr="low" vaddr="0x4000_0000" cached="false" />
        <map mr="ring" vaddr="0x3000_0000" setvar_size="region" />
    </protection_domain>
    <channel>
        <end pd="server" id="0" notify="false" />
        <end pd="client" id="7" pp="true" />
    </channel>
</system>"#;

fn program() -> Program {
    Program::parse("p".into(), &common::program()).expect("a program")
}

fn two_pds() -> (sdf::System, Vec<Program>) {
    let system = sdf::parse("two.xml", TWO_PDS, None).expect("correct");
    (system, vec![program(), program()])
}

fn variable(program: &Program, n: usize) -> u64 {
    let offset = (common::address(n) - program.segments[1].vaddr) as usize;
    let bytes = &program.segments[1].data[offset..offset + 8];
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}

#[test]
fn the_image_says_what_the_description_says() {
    let (system, mut programs) = two_pds();
    let mut layout = layout::lay_out(&system, &mut programs).expect("fits");
    let bytes = image::system_image(&mut layout);
    let mut words = vec![0u64; bytes.len() / 8];
    zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice()).copy_from_slice(&bytes);
    let image = SystemImage::parse(zerocopy::IntoBytes::as_bytes(&words[..])).expect("an image");

    let names: Vec<_> = image.pds.iter().map(|pd| name_str(&pd.name)).collect();
    assert_eq!(names, ["server", "client"]);
    assert_eq!((image.pds[0].priority, image.pds[0].entry), (20, 0x20_1000));

    // Fixed regions after others, by address; large pages where everything is aligned.
    let first = image.regions[..3].iter();
    let regions: Vec<_> = first.map(|r| (name_str(&r.name), r.page_bits)).collect();
    assert_eq!(regions, [("ring", 12), ("low", 12), ("pool", 21)]);
    assert_eq!(image.regions[0].paddr, ANYWHERE);
    assert_eq!(image.regions[2].paddr, 0x2000_0000);

    let map = |pd: u32, name: &str| {
        let found = image
            .maps
            .iter()
            .find(|map| map.pd == pd && name_str(&image.regions[map.region as usize].name) == name);
        *found.expect("mapped")
    };
    assert_eq!(
        (map(0, "pool").vaddr, map(0, "pool").writable),
        (0x10_2000_0000, 0)
    );
    assert_eq!((map(1, "low").cached, map(1, "low").writable), (0, 1));
    assert_eq!(map(0, "ring").region, map(1, "ring").region);
    let stack = map(1, "client stack");
    let stack_size = image.regions[stack.region as usize].size;
    assert_eq!(
        (stack.vaddr + stack_size, stack_size),
        (pd_layout::STACK_TOP, 0x3000)
    );
    let code = map(0, "server 0x201000");
    let data = image
        .data(&image.regions[code.region as usize])
        .expect("inside");
    assert_eq!((code.writable, &data[..16]), (0, &[0x90; 16][..]));

    // Every page has its tables.
    for map in image.maps {
        let region = &image.regions[map.region as usize];
        for page in 0..region.size >> region.page_bits {
            let vaddr = map.vaddr + (page << region.page_bits);
            for level in (if region.page_bits == 12 { 1 } else { 2 })..=3u32 {
                let base = vaddr >> (12 + 9 * level) << (12 + 9 * level);
                assert!(image.tables.iter().any(|table| {
                    (table.pd, table.level, table.vaddr) == (map.pd, level, base)
                }));
            }
        }
    }

    assert_eq!((image.signals.len(), image.calls.len()), (1, 1));
    let call = image.calls[0];
    assert_eq!((call.pd, call.id, call.peer, call.peer_id), (1, 7, 0, 0));
    let irq = image.irqs[0];
    assert_eq!(
        (irq.pd, irq.id, irq.pin, irq.vector, irq.level, irq.low),
        (0, 3, 4, 5, 0, 1)
    );
    let ports = image.io_ports[0];
    assert_eq!(
        (ports.pd, ports.id, ports.first, ports.last),
        (0, 2, 0x3f8, 0x3ff)
    );
}

#[test]
fn variables_are_set() {
    let (system, mut programs) = two_pds();
    layout::lay_out(&system, &mut programs).expect("fits");
    let values = |program: &Program| [0, 1, 2, 3, 4].map(|n| variable(program, n));
    assert_eq!(values(&programs[0]), [1 << 3, 0, 0, 1 << 2, 0x10_2000_0000]);
    assert_eq!(values(&programs[1]), [0, 1 << 7, 1 << 7, 0, 0x2000]);
    assert_eq!(&programs[1].segments[1].data[0x100..0x107], b"client\0");
}

#[test]
fn what_a_loader_places_is_not_in_the_image() {
    let folder = std::env::temp_dir().join(format!("septum-image-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("fill"), [0x5a; 0x3000]).expect("a file");
    let text = TWO_PDS.replace(
        "size=\"0x20_0000\"",
        "size=\"0x20_0000\" prefill_path=\"fill\"",
    );
    let text = text.replace("size=\"0x2000\"", "size=\"0x3000\" prefill_path=\"fill\"");
    let system = sdf::parse("two.xml", &text, Some(std::slice::from_ref(&folder)));
    std::fs::remove_dir_all(&folder).expect("removed");
    let system = system.expect("correct");
    let filled = |layout: &layout::Layout| {
        let lengths = layout.regions.iter().map(|region| region.data_length);
        (
            lengths.take(3).collect::<Vec<_>>(),
            image::system_image(&mut layout.clone()).len(),
        )
    };
    let mut layout = layout::lay_out(&system, &mut [program(), program()]).expect("fits");
    let (lengths, with) = filled(&layout);
    assert_eq!(lengths, [0x3000, 0x3000, 0]);
    assert_eq!(
        layout.leave_to_loader(&system),
        [(0x1000_0000, folder.join("fill"))]
    );
    // The region without an address keeps its data.
    let (lengths, without) = filled(&layout);
    assert_eq!(lengths, [0x3000, 0, 0]);
    assert_eq!(with - without, 0x3000);
}

fn refusal(change: impl Fn(&str) -> String) -> String {
    let text = change(TWO_PDS);
    let system = sdf::parse("two.xml", &text, None).expect("correct by itself");
    layout::lay_out(&system, &mut [program(), program()])
        .map(drop)
        .expect_err("refused")
}

#[test]
fn missing_symbols_are_named_with_their_place() {
    let message = refusal(|text| text.replace("\"region\"", "\"regiom\""));
    let expected = "two.xml:7:9: <setvar>: in 'server': p: has no symbol 'regiom'";
    assert!(message.starts_with(expected), "{message}");
    let message = refusal(|text| text.replace("\"region\"", "\"twice\""));
    assert!(
        message.contains("symbol 'twice' is defined twice"),
        "{message}"
    );
}

#[test]
fn maps_must_not_cover_the_program() {
    let message = refusal(|text| text.replace("0x3000_0000", "0x20_3000"));
    assert!(
        message.contains("two.xml:8:9: <map>: 'ring' [0x203000..0x205000) overlaps the program"),
        "{message}"
    );
}

#[test]
fn zeroed_variables_can_be_set_and_small_ones_not_overrun() {
    let mut program = program();
    program.set("zeroed", &[7; 8]).expect("in the zeroed part");
    assert_eq!(program.segments[1].data.len(), 0x2000);
    assert_eq!(program.segments[1].data[0x1800..0x1808], [7; 8]);
    let error = program.set("region", &[0; 9]).expect_err("9 bytes into 8");
    assert!(
        error
            .to_string()
            .contains("has 8 bytes: 9 are to be written"),
        "{error}"
    );
}

#[test]
fn regions_must_lie_in_free_ram() {
    let (system, _) = two_pds();
    let check = |start, end| layout::check_ram(&system, Ram { start, end });
    assert_eq!(check(0x1000_0000, 0x2080_0000), Ok(()));
    let low = check(0x1000_1000, 0x2080_0000)
        .expect_err("too low")
        .to_string();
    assert!(
        low.starts_with("two.xml:3:5: <memory_region>: 'low' at phys_addr 0x10000000"),
        "{low}"
    );
    let high = check(0x1000_0000, 0x207f_f000)
        .expect_err("too high")
        .to_string();
    assert!(
        high.contains("'pool' at phys_addr 0x20000000 ends past the RAM"),
        "{high}"
    );
}

#[test]
fn other_files_are_no_programs() {
    let refuse = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = common::program();
        change(&mut bytes);
        Program::parse("p".into(), &bytes)
            .map(drop)
            .expect_err("refused")
            .to_string()
    };
    assert!(refuse(&|bytes| bytes[0] = 0).contains("not a 64-bit ELF file"));
    assert!(refuse(&|bytes| bytes[18] = 3).contains("not an x86-64 program"));
    assert!(refuse(&|bytes| bytes[16] = 3).contains("link it with -no-pie"));
    assert!(refuse(&|bytes| bytes[80..82].copy_from_slice(&[0, 0x30])).contains("share the page"));
    assert!(refuse(&|bytes| bytes.truncate(0x1008)).contains("ELF"));
    assert!(refuse(&|bytes| bytes[104] = 0xf).contains("more in the file than in memory"));
    let outside = refuse(&|bytes| bytes[72 + 5] = 0x40);
    assert!(outside.contains("outside the file"), "{outside}");
}

#[test]
fn the_boot_image_holds_init_and_the_system_image() {
    let mut init = program();
    let error = image::boot_image(&mut init.clone(), vec![1; 0x1000]).expect_err("no variable");
    assert!(error.contains("has no symbol 'SYSTEM_IMAGE'"), "{error}");

    let bytes = common::program();
    let renamed: Vec<u8> = {
        let at = bytes
            .windows(13)
            .position(|w| w == b"microkit_name")
            .expect("its name");
        let mut bytes = bytes.clone();
        bytes[at..at + 13].copy_from_slice(b"SYSTEM_IMAGE\0");
        bytes
    };
    init = Program::parse("init".into(), &renamed).expect("a program");
    let file = image::boot_image(&mut init, vec![0xab; 0x2000]).expect("fits");
    let joined = Program::parse("joined".into(), &file).expect("a program again");
    assert_eq!(joined.entry, 0x20_1000);
    let last = joined.segments.last().expect("segments");
    assert_eq!(
        (last.vaddr, last.size, last.data[0]),
        (0x20_4000, 0x2000, 0xab)
    );
    let place = &joined.segments[1].data[0x100..0x110];
    assert_eq!(
        place,
        [0x20_4000u64.to_le_bytes(), 0x2000u64.to_le_bytes()].concat()
    );
}
