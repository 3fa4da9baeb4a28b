//! `--web.config.file`: any text is a configuration or a fault, and the same one each time.
#![no_main]

use exporter::web::Guard;
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;
use tempfile::TempDir;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let memory = std::path::Path::new("/dev/shm");
            let folder = if memory.is_dir() { memory } else { std::path::Path::new("/tmp") };
            tempfile::tempdir_in(folder).expect("a temporary folder")
        });
        let path = folder.path().join("web.yml");
        std::fs::write(&path, data).expect("a writable file");
        let path = path.to_str().expect("UTF-8");
        let opened = || Guard::open(path).map(|guard| (guard.has_tls(), guard.has_http2()));
        let first = opened();
        assert!(first.as_ref().err().is_none_or(|said| !said.is_empty()));
        assert_eq!(first, opened());
    });
});
