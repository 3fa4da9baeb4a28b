//! The files of the packages.

use super::{Release, program::Manual, tar::gzip};
use anyhow::{Context as _, Result};
use std::fs;

/// A file, a link or a folder.
#[derive(Debug)]
pub(super) struct File {
    /// The path without a slash at its beginning.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    Link(&'static str),
    Folder,
}

impl File {
    pub(super) fn new(path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode, content: Content::Bytes(bytes.into()) }
    }
}

/// Everything that packages are made of.
pub(super) struct Contents {
    pub(super) program: Vec<u8>,
    /// The project's licence.
    pub(super) licence: Vec<u8>,
    /// The licences of the parts.
    pub(super) licences: String,
    /// The list of parts.
    pub(super) sbom: Vec<u8>,
    pub(super) manual: Manual,
    service: Vec<u8>,
    socket: Vec<u8>,
    user: Vec<u8>,
    defaults: Vec<u8>,
}

/// The flags of the service, which an administrator changes.
pub(super) const DEFAULTS: &str = "etc/default/bpf-node-exporter";

impl Contents {
    pub(super) fn new(
        release: &Release,
        program: Vec<u8>,
        manual: Manual,
        licences: String,
        sbom: Vec<u8>,
    ) -> Result<Self> {
        let read = |path| fs::read(release.root.join(path)).with_context(|| String::from(path));
        Ok(Self {
            program,
            licence: read("LICENSE")?,
            licences,
            sbom,
            manual,
            service: read("packaging/bpf-node-exporter.service")?,
            socket: read("packaging/bpf-node-exporter.socket")?,
            user: read("packaging/sysusers.conf")?,
            defaults: read("packaging/default")?,
        })
    }

    /// The files that a package installs; `zsh` is the distribution's folder for its completions.
    pub(super) fn installed(&self, zsh: &str) -> Result<Vec<File>> {
        let Manual { page, bash: bash_script, zsh: zsh_script } = &self.manual;
        let file = |path: &str, bytes: &[u8]| File::new(path, 0o644, bytes);
        Ok(vec![
            File::new("usr/bin/bpf_node_exporter", 0o755, &*self.program),
            file("usr/lib/systemd/system/bpf-node-exporter.service", &self.service),
            file("usr/lib/systemd/system/bpf-node-exporter.socket", &self.socket),
            file("usr/lib/sysusers.d/bpf-node-exporter.conf", &self.user),
            file(DEFAULTS, &self.defaults),
            file("usr/share/man/man1/bpf_node_exporter.1.gz", &gzip(page.as_bytes())?),
            file("usr/share/bash-completion/completions/bpf_node_exporter", bash_script.as_bytes()),
            file(&format!("usr/share/zsh/{zsh}/_bpf_node_exporter"), zsh_script.as_bytes()),
            file("usr/share/doc/bpf-node-exporter/licences.gz", &gzip(self.licences.as_bytes())?),
            file("usr/share/doc/bpf-node-exporter/parts.cdx.json.gz", &gzip(&self.sbom)?),
            // Where Debian's programs put files for the textfile collector.
            File {
                path: "var/lib/prometheus/node-exporter".into(),
                mode: 0o755,
                content: Content::Folder,
            },
        ])
    }

    /// The files of an archive that is unpacked anywhere.
    pub(super) fn loose(&self) -> Vec<File> {
        let file = |path: &str, bytes: &[u8]| File::new(path, 0o644, bytes);
        vec![
            File::new("bpf_node_exporter", 0o755, &*self.program),
            file("LICENSE", &self.licence),
            file("licences.txt", self.licences.as_bytes()),
            file("parts.cdx.json", &self.sbom),
            file("bpf_node_exporter.1", self.manual.page.as_bytes()),
            file("completions/bpf_node_exporter.bash", self.manual.bash.as_bytes()),
            file("completions/_bpf_node_exporter", self.manual.zsh.as_bytes()),
            file("systemd/bpf-node-exporter.service", &self.service),
            file("systemd/bpf-node-exporter.socket", &self.socket),
            file("systemd/sysusers.conf", &self.user),
            file("systemd/default", &self.defaults),
        ]
    }
}
