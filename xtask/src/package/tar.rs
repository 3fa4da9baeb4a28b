//! Archives: those of a release, and those within packages and images.

use super::{Contents, Release, contents::Content};
use anyhow::Result;
use flate2::{Compression, GzBuilder};
use liblzma::write::XzEncoder;
use std::{collections::BTreeSet, io::Write as _};
use tar::{Builder, EntryType, Header};

/// The archive that is unpacked anywhere: the program and its texts in one folder.
pub(super) fn release(release: &Release, folder: &str, contents: &Contents) -> Result<Vec<u8>> {
    let mut archive = Archive::new(release.epoch);
    for file in contents.loose() {
        archive.put(&format!("{folder}/{}", file.path), file.mode, &file.content)?;
    }
    gzip(&archive.end()?)
}

/// An archive whose entries belong to root and are of one time.
pub(super) struct Archive {
    builder: Builder<Vec<u8>>,
    epoch: u64,
    folders: BTreeSet<String>,
}

impl Archive {
    pub(super) fn new(epoch: u64) -> Self {
        Self { builder: Builder::new(Vec::new()), epoch, folders: BTreeSet::new() }
    }

    /// Puts a file, a link or a folder, behind the folders above it.
    pub(super) fn put(&mut self, path: &str, mode: u32, content: &Content) -> Result<()> {
        self.put_with(path, mode, content, &[])
    }

    /// The same, with extended attributes.
    pub(super) fn put_with(
        &mut self,
        path: &str,
        mode: u32,
        content: &Content,
        attributes: &[(&str, &[u8])],
    ) -> Result<()> {
        for (end, _) in path.match_indices('/') {
            let folder = path.split_at(end).0;
            if folder != "." && self.folders.insert(folder.to_owned()) {
                self.entry(folder, EntryType::Directory, 0o755, b"", "")?;
            }
        }
        if !attributes.is_empty() {
            self.builder.append_pax_extensions(attributes.iter().copied())?;
        }
        match content {
            Content::Bytes(bytes) => self.entry(path, EntryType::Regular, mode, bytes, ""),
            Content::Link(target) => self.entry(path, EntryType::Symlink, 0o777, b"", target),
            Content::Folder => self.entry(path, EntryType::Directory, mode, b"", ""),
        }
    }

    fn entry(
        &mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        content: &[u8],
        target: &str,
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(self.epoch);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_size(content.len() as u64);
        if kind == EntryType::Symlink {
            self.builder.append_link(&mut header, path, target)?;
        } else {
            let end = if kind == EntryType::Directory { "/" } else { "" };
            self.builder.append_data(&mut header, format!("{path}{end}"), content)?;
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<Vec<u8>> {
        Ok(self.builder.into_inner()?)
    }
}

/// Packs without a name and a time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

pub(super) fn xz(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = XzEncoder::new(Vec::new(), 9);
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_file_has_its_attributes() {
        let mut archive = Archive::new(7);
        let (attribute, program) = (b"\x01\x00\x00\x02", Content::Bytes(b"program".to_vec()));
        archive.put_with("bin/x", 0o755, &program, &[("SCHILY.xattr.x", attribute)]).unwrap();
        let bytes = archive.end().unwrap();
        let mut archive = tar::Archive::new(&*bytes);
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let mut entry = entries.find(|entry| entry.path().unwrap().ends_with("x")).unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 7);
        let attributes = entry.pax_extensions().unwrap().unwrap();
        let attributes: Vec<_> = attributes.map(|a| a.unwrap().value_bytes().to_vec()).collect();
        assert_eq!(attributes, [b"\x01\x00\x00\x02".to_vec()]);
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        assert_eq!(content, "program");
    }
}
