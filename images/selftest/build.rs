//! Links the protection domain.

use freestanding::Place;

fn main() {
    freestanding::link("microkit", Place::At(0x20_0000));
}
