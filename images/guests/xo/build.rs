//! Links the guest's binary.

use freestanding::Place;

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../td-start/td.ld");
    freestanding::link("td", Place::Script(script));
}
