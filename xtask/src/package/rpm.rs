//! The package of Fedora, RHEL, SUSE and their kin.

use super::{
    DESCRIPTION, NAME, Processor, Release, SUMMARY,
    contents::{Content, Contents, DEFAULTS},
};
use anyhow::{Context as _, Result};
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder};
use std::fs;

pub(super) fn package(
    release: &Release,
    processor: Processor,
    contents: &Contents,
) -> Result<Vec<u8>> {
    let script = |name: &str| {
        let path = format!("packaging/rpm/{name}");
        fs::read_to_string(release.root.join(&path)).context(path)
    };
    let mut package =
        PackageBuilder::new(NAME, release.version, "Apache-2.0", processor.name(), SUMMARY);
    let config = BuildConfig::v4()
        .source_date(u32::try_from(release.epoch)?)
        .compression(CompressionWithLevel::Xz(9));
    package
        .using_config(config)
        .release("1")
        .description(DESCRIPTION)
        .packager(&*release.maintainer)
        .requires(Dependency::script_post("systemd"))
        .post_install_script(script("post")?)
        .pre_uninstall_script(script("preun")?)
        .post_uninstall_script(script("postun")?);
    let mut files = contents.installed("site-functions")?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for file in files {
        let path = format!("/{}", file.path);
        let mode = u16::try_from(file.mode)?;
        match file.content {
            Content::Bytes(bytes) => {
                let options = FileOptions::new(path).permissions(mode);
                let options = match &*file.path {
                    DEFAULTS => options.config().noreplace(),
                    path if path.starts_with("usr/share/doc/") => options.doc(),
                    _ => options,
                };
                package.with_file_contents(bytes, options)?
            }
            Content::Link(target) => package.with_symlink(FileOptions::symlink(path, target))?,
            Content::Folder => package.with_dir_entry(FileOptions::dir(path).permissions(mode))?,
        };
    }
    let licence = FileOptions::new(format!("/usr/share/licenses/{NAME}/LICENSE"));
    package.with_file_contents(&*contents.licence, licence.permissions(0o644).license())?;
    let mut bytes = Vec::new();
    package.build()?.write(&mut bytes)?;
    Ok(bytes)
}
