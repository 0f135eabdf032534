//! The bytes of the few AML terms that our DSDT needs (ACPI 6.4 §20.2).

/// `Name (path, value)`.
pub fn name(path: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0x08], path, value].concat()
}

/// `Scope (path) { body }`.
pub fn scope(path: &[u8], body: &[u8]) -> Vec<u8> {
    [&[0x10], package_length(&[path, body].concat()).as_slice()].concat()
}

/// `Device (path) { body }`.
pub fn device(path: &[u8], body: &[u8]) -> Vec<u8> {
    [
        &[0x5b, 0x82],
        package_length(&[path, body].concat()).as_slice(),
    ]
    .concat()
}

/// An integer of one byte.
pub fn byte(value: u8) -> Vec<u8> {
    vec![0x0a, value]
}

/// `Package () { elements }`.
pub fn package(elements: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[elements.len() as u8], elements.concat().as_slice()].concat();
    [&[0x12], package_length(&body).as_slice()].concat()
}

/// `EisaId (id)`: three capital letters and four hexadecimal digits, packed (§19.3.4).
///
/// # Panics
/// When `id` isn't that; identifiers are literals here.
pub fn eisa_id(id: &str) -> Vec<u8> {
    let (letters, digits) = id.split_at(3);
    let vendor = letters
        .bytes()
        .fold(0u16, |v, c| v << 5 | u16::from(c - b'@'));
    let product = u16::from_str_radix(digits, 16).expect("four hexadecimal digits");
    let mut bytes = vec![0x0c];
    bytes.extend(vendor.to_be_bytes());
    bytes.extend(product.to_be_bytes());
    bytes
}

/// `ResourceTemplate () { descriptors }`: a buffer that ends with an end tag.
pub fn resources(descriptors: &[Vec<u8>]) -> Vec<u8> {
    let mut template = descriptors.concat();
    // End tag, checksum 0: not used.
    template.extend([0x79, 0]);
    let body = [byte(template.len() as u8), template].concat();
    [&[0x11], package_length(&body).as_slice()].concat()
}

/// `IO (Decode16, first, first, 1, count)` (§6.4.2.5).
pub fn io_ports(first: u16, count: u8) -> Vec<u8> {
    let [low, high] = first.to_le_bytes();
    vec![0x47, 1, low, high, low, high, 1, count]
}

/// `Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { gsi }` (§6.4.3.6).
pub fn interrupt(gsi: u32) -> Vec<u8> {
    let mut bytes = vec![0x89, 6, 0, 0b0011, 1];
    bytes.extend(gsi.to_le_bytes());
    bytes
}

/// The body with its PkgLength before it, which counts itself (§20.2.4).
fn package_length(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = if length + 1 < 1 << 6 {
        vec![length as u8 + 1]
    } else if length + 2 < 1 << 12 {
        let total = length + 2;
        vec![0x40 | (total & 0xf) as u8, (total >> 4) as u8]
    } else {
        let total = length + 3;
        vec![
            0x80 | (total & 0xf) as u8,
            (total >> 4) as u8,
            (total >> 12) as u8,
        ]
    };
    [head.as_slice(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_lengths_count_themselves() {
        assert_eq!(package_length(&[7; 62])[0], 63);
        assert_eq!(package_length(&[7; 63])[..2], [0x41, 0x04]);
        assert_eq!(package_length(&[7; 4093])[..2], [0x4f, 0xff]);
        assert_eq!(package_length(&[7; 4094])[..3], [0x81, 0x00, 0x01]);
    }

    #[test]
    fn known_bytes() {
        assert_eq!(eisa_id("PNP0501"), [0x0c, 0x41, 0xd0, 0x05, 0x01]);
        assert_eq!(
            name(b"\\_S5_", &package(&[byte(5), byte(5)])),
            b"\x08\\_S5_\x12\x06\x02\x0a\x05\x0a\x05"
        );
        assert_eq!(
            resources(&[io_ports(0x3f8, 8)]),
            [0x11, 13, 0x0a, 10, 0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x79, 0]
        );
    }
}
