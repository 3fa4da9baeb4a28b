//! The committed programs of the kernel side are those of the sources.

#[path = "../../xtask/src/sources.rs"]
mod sources;

use std::path::Path;

use sources::{MANIFEST, PREBUILT};

const REMEDY: &str = "run `cargo xtask ebpf` and commit its changes";

#[test]
#[expect(clippy::disallowed_methods, reason = "reads the project, not the machine")]
fn prebuilt_programs_are_those_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = root.join(PREBUILT);
    let manifest = std::fs::read_to_string(folder.join(MANIFEST)).unwrap();
    let says = |name: &str, hash: &str| {
        manifest.lines().any(|line| line == format!("{name} = \"{hash}\""))
    };
    assert!(says("sources", &sources::hash(root).unwrap()), "the sources have changed: {REMEDY}");
    let objects = sources::objects(&folder).unwrap();
    assert_eq!(
        objects.iter().map(|object| object.file_stem()).collect::<Vec<_>>(),
        ["cpu", "cpu_events", "neighbour", "tasks"].map(|name| Some(name.as_ref()))
    );
    for object in objects {
        let name = object.file_stem().unwrap().to_string_lossy();
        let hash = sources::hash_file(&object).unwrap();
        assert!(says(&name, &hash), "{name} is not the object that was built: {REMEDY}");
    }
}
