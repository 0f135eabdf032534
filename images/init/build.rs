//! Links the initial task.

use freestanding::Place;

fn main() {
    freestanding::link("freestanding", Place::At(0x40_0000));
}
