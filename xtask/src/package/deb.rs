//! Debian's package: <https://manpages.debian.org/deb.5>.

use super::{
    DESCRIPTION, NAME, Processor, Release, SUMMARY,
    contents::{Content, Contents, DEFAULTS, File},
    tar::{Archive, gzip, xz},
};
use crate::sources::hexadecimal;
use anyhow::{Context as _, Result};
use jiff::fmt::rfc2822;
use md5::{Digest as _, Md5};
use std::{fmt::Write as _, fs};

/// Debian's package of node_exporter, whose place this one takes.
const PEER: &str = "prometheus-node-exporter";

/// The scripts that dpkg runs, in `packaging/debian`.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// The package: an archive of its format's version, of the control files, and of the files.
pub(super) fn package(
    release: &Release,
    processor: Processor,
    contents: &Contents,
) -> Result<Vec<u8>> {
    let read = |name: &str| {
        let path = format!("packaging/debian/{name}");
        fs::read(release.root.join(&path)).context(path)
    };
    let doc = format!("usr/share/doc/{NAME}");
    let mut files = contents.installed("vendor-completions")?;
    files.push(File::new(format!("{doc}/copyright"), 0o644, read("copyright")?));
    files.push(File::new(
        format!("{doc}/changelog.gz"),
        0o644,
        gzip(changelog(release)?.as_bytes())?,
    ));
    files.push(File::new(format!("usr/share/lintian/overrides/{NAME}"), 0o644, read("lintian")?));
    // The peer's name for the service, with an administrator's additions to it.
    files.push(File {
        path: format!("usr/lib/systemd/system/{PEER}.service"),
        mode: 0o777,
        content: Content::Link("bpf-node-exporter.service"),
    });
    files.sort_by(|a, b| a.path.cmp(&b.path));

    let (mut data, mut sums, mut size) = (Archive::new(release.epoch), String::new(), 0);
    for file in &files {
        data.put(&format!("./{}", file.path), file.mode, &file.content)?;
        if let Content::Bytes(bytes) = &file.content {
            size += bytes.len().div_ceil(1024);
            if file.path != DEFAULTS {
                let sum = hexadecimal(&Md5::digest(bytes));
                let _ = writeln!(sums, "{sum}  {}", file.path);
            }
        }
    }
    let mut control = Archive::new(release.epoch);
    let mut put = |name: &str, mode, bytes: Vec<u8>| {
        control.put(&format!("./{name}"), mode, &Content::Bytes(bytes))
    };
    put("control", 0o644, fields(release, processor, size).into())?;
    put("conffiles", 0o644, format!("/{DEFAULTS}\n").into())?;
    put("md5sums", 0o644, sums.into())?;
    for script in SCRIPTS {
        put(script, 0o755, read(script)?)?;
    }
    let mut package = ar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.xz", xz(&control.end()?)?),
        ("data.tar.xz", xz(&data.end()?)?),
    ] {
        let mut header = ar::Header::new(name.into(), bytes.len() as u64);
        header.set_mtime(release.epoch);
        header.set_mode(0o100_644);
        package.append(&header, &*bytes)?;
    }
    Ok(package.into_inner()?)
}

/// The control file, with the size of the installed files in KiB.
fn fields(release: &Release, processor: Processor, size: usize) -> String {
    let description = DESCRIPTION.replace('\n', "\n ");
    format!(
        "Package: {NAME}\n\
         Version: {version}\n\
         Architecture: {processor}\n\
         Maintainer: {maintainer}\n\
         Installed-Size: {size}\n\
         Depends: systemd | systemd-standalone-sysusers | systemd-sysusers\n\
         Conflicts: {PEER}\n\
         Replaces: {PEER}\n\
         Provides: {PEER}\n\
         Section: net\n\
         Priority: optional\n\
         Description: {SUMMARY}\n {description}\n",
        version = release.version,
        maintainer = release.maintainer,
        processor = processor.short(),
    )
}

/// The changelog in Debian's form; the project's own is in the sources.
fn changelog(release: &Release) -> Result<String> {
    let date = rfc2822::to_string(&release.time()?)?;
    let Release { version, maintainer, .. } = release;
    Ok(format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {maintainer}  {date}\n"
    ))
}
