//! Links the binary: a static Linux program without a C library.

use freestanding::Place;

fn main() {
    // Where Linux programs usually lie.
    freestanding::link("td", Place::At(0x40_0000));
}
