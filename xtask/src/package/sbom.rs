//! The list of parts, as `CycloneDX` 1.6 has it: <https://cyclonedx.org/docs/1.6/json/>.

use super::{Processor, Release, dependencies::Part};
use crate::sources::hash_bytes;
use anyhow::Result;
use serde_json::{Value, json};

/// The list, with the same serial number for the same parts.
pub(super) fn json(release: &Release, processor: Processor, parts: &[Part]) -> Result<Vec<u8>> {
    let own =
        format!("pkg:generic/bpf_node_exporter@{}?arch={}", release.version, processor.name());
    let components: Vec<Value> = parts.iter().map(component).collect();
    let mut dependencies: Vec<Value> =
        parts.iter().map(|part| json!({"ref": part.url, "dependsOn": part.uses})).collect();
    let all: Vec<&str> = parts.iter().map(|part| &*part.url).collect();
    dependencies.push(json!({"ref": own, "dependsOn": all}));
    let serial = hash_bytes(format!("{own}{}{components:?}", release.epoch).as_bytes());
    let sbom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&serial)),
        "version": 1,
        "metadata": {
            "timestamp": release.time()?.timestamp().to_string(),
            "component": {
                "type": "application",
                "bom-ref": own,
                "purl": own,
                "name": "bpf_node_exporter",
                "version": release.version,
                "licenses": [{"expression": "Apache-2.0"}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_vec_pretty(&sbom)?;
    text.push(b'\n');
    Ok(text)
}

fn component(part: &Part) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": part.url,
        "purl": part.url,
        "name": part.name,
        "version": part.version,
        "licenses": [{"expression": part.license}],
    });
    if let (Some(sum), Some(fields)) = (&part.checksum, component.as_object_mut()) {
        fields.insert("hashes".into(), json!([{"alg": "SHA-256", "content": sum}]));
    }
    component
}

/// A number of version 8, whose bits are the maker's (RFC 9562).
fn uuid(hash: &str) -> String {
    let digits = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-8{}-8{}-{}",
        digits(0, 8),
        digits(8, 12),
        digits(13, 16),
        digits(17, 20),
        digits(20, 32)
    )
}
