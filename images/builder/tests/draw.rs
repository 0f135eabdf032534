//! The picture in docs is the picture of the system.

use septum_image::{draw, sdf};

#[test]
fn the_picture_is_the_systems() {
    let system =
        sdf::parse("system.xml", include_str!("../../../system.xml"), None).expect("right");
    let picture = include_str!("../../../docs/system.svg");
    assert!(
        draw::svg(&system) == picture,
        "docs/system.svg is of another system.xml: draw it again with\n    \
         cargo run -p septum-image -- draw system.xml > docs/system.svg"
    );
}
