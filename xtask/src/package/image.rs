//! The image for containers, in the layout of OCI:
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.
//!
//! It holds the program, the licences, the authorities that Mozilla trusts and the user's name. The
//! program's file *permits* the capabilities that collectors may need and does not make them
//! effective: it can be run where the container grants none, and takes up the granted ones.

use super::{
    Processor, Release,
    contents::{Content, Contents, File},
    tar::{Archive, gzip},
};
use crate::sources::hash_bytes;
use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The number that other images without root use.
const USER: &str = "65532";

/// The numbers of the capabilities (`include/uapi/linux/capability.h`) that README.md lists:
/// `CAP_DAC_READ_SEARCH`, `CAP_NET_ADMIN`, `CAP_SYS_PTRACE`, `CAP_PERFMON`, `CAP_BPF`.
const CAPABILITIES: [u32; 5] = [2, 12, 19, 38, 39];

/// The layout as one archive, which holds every part under its hash.
pub(super) fn layout(
    release: &Release,
    processor: Processor,
    contents: &Contents,
) -> Result<Vec<u8>> {
    let mut layout = Layout { archive: Archive::new(release.epoch) };
    let layer = layer(release, contents)?;
    let config = json!({
        "created": release.time()?.timestamp().to_string(),
        "architecture": processor.short(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "ExposedPorts": {"9100/tcp": {}},
            "Entrypoint": ["/bin/bpf_node_exporter"],
            "WorkingDir": "/",
            "Labels": annotations(release),
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hash_bytes(&layer))]},
        "history": [{"created_by": "cargo xtask package"}],
    });
    let mut put =
        |kind, bytes: &[u8]| layout.put(&format!("application/vnd.oci.image.{kind}"), bytes);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put("config.v1+json", &serde_json::to_vec(&config)?)?,
        "layers": [put("layer.v1.tar+gzip", &gzip(&layer)?)?],
        "annotations": annotations(release),
    });
    let mut manifest = put("manifest.v1+json", &serde_json::to_vec(&manifest)?)?;
    if let Some(fields) = manifest.as_object_mut() {
        let platform = json!({"architecture": processor.short(), "os": "linux"});
        fields.insert("platform".into(), platform);
        let name = json!({"org.opencontainers.image.ref.name": release.version});
        fields.insert("annotations".into(), name);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let mut archive = layout.archive;
    let mut put = |path, bytes| archive.put(path, 0o644, &Content::Bytes(bytes));
    put("index.json", serde_json::to_vec(&index)?)?;
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())?;
    archive.end()
}

struct Layout {
    archive: Archive,
}

impl Layout {
    /// Puts a part and returns its descriptor.
    fn put(&mut self, media: &str, bytes: &[u8]) -> Result<Value> {
        let hash = hash_bytes(bytes);
        self.archive.put(
            &format!("blobs/sha256/{hash}"),
            0o644,
            &Content::Bytes(bytes.to_vec()),
        )?;
        Ok(json!({"mediaType": media, "digest": format!("sha256:{hash}"), "size": bytes.len()}))
    }
}

/// The files of the image.
fn layer(release: &Release, contents: &Contents) -> Result<Vec<u8>> {
    let mut archive = Archive::new(release.epoch);
    let program = Content::Bytes(contents.program.clone());
    let attribute = ("SCHILY.xattr.security.capability", &*permitted(&CAPABILITIES));
    archive.put_with("bin/bpf_node_exporter", 0o755, &program, &[attribute])?;
    for file in [
        File::new("LICENSE", 0o644, &*contents.licence),
        File::new("licences.txt", 0o644, &*contents.licences),
        File::new("etc/group", 0o644, format!("root:x:0:\nnonroot:x:{USER}:\n")),
        File::new("etc/passwd", 0o644, format!("root:x:0:0::/:/\nnonroot:x:{USER}:{USER}::/:/\n")),
        File::new("etc/ssl/certs/ca-certificates.crt", 0o644, authorities()),
    ] {
        archive.put(&file.path, file.mode, &file.content)?;
    }
    archive.end()
}

/// `struct vfs_cap_data` of revision 2, not effective: twice 32 bits of permitted capabilities and 32
/// of inheritable ones.
fn permitted(capabilities: &[u32]) -> Vec<u8> {
    const REVISION: u32 = 0x0200_0000;
    let bits: u64 = capabilities.iter().map(|number| 1 << number).sum();
    let [low, high] = [bits & u64::from(u32::MAX), bits >> 32];
    let words = [u64::from(REVISION), low, 0, high, 0];
    words.iter().flat_map(|word| word.to_le_bytes().into_iter().take(4)).collect()
}

fn authorities() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let base64 = STANDARD.encode(certificate);
        text += "-----BEGIN CERTIFICATE-----\n";
        for line in base64.as_bytes().chunks(64) {
            text += &String::from_utf8_lossy(line);
            text.push('\n');
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

fn annotations(release: &Release) -> Value {
    json!({
        "org.opencontainers.image.title": "bpf_node_exporter",
        "org.opencontainers.image.description": super::SUMMARY,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": release.version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_permitted_and_not_effective() {
        // As `setcap cap_dac_read_search,cap_bpf=p` writes them.
        let want = [[0, 0, 0, 2], [4, 0, 0, 0], [0; 4], [0x80, 0, 0, 0], [0; 4]];
        assert_eq!(permitted(&[2, 39]), want.concat());
    }
}
