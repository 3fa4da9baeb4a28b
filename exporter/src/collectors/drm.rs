//! Load and memory of AMD's graphics cards, from `/sys/class/drm`
//! (`drivers/gpu/drm/amd/amdgpu/amdgpu_ttm.c` and its neighbours, `Documentation/gpu/amdgpu`).
//!
//! A number that a card does not have is exposed as 0, so that every card has every series.

use crate::{
    host::tree::{Dir, Entry},
    parse::{any_base, is_digits},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "drm",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(Drm(host.sys.folder("class/drm")))),
};

static INFO: Metric<5> = gauge("node_drm_card_info", "Card information").by([
    "card",
    "memory_vendor",
    "power_performance_level",
    "unique_id",
    "vendor",
]);
static NUMBERS: [(&str, Metric<1>); 7] = [
    (
        "gpu_busy_percent",
        gauge("node_drm_gpu_busy_percent", "How busy the GPU is as a percentage.").by(["card"]),
    ),
    (
        "mem_info_gtt_total",
        gauge(
            "node_drm_memory_gtt_size_bytes",
            "The size of the graphics translation table (GTT) block in bytes.",
        )
        .by(["card"]),
    ),
    (
        "mem_info_gtt_used",
        gauge(
            "node_drm_memory_gtt_used_bytes",
            "The used amount of the graphics translation table (GTT) block in bytes.",
        )
        .by(["card"]),
    ),
    (
        "mem_info_vis_vram_total",
        gauge("node_drm_memory_vis_vram_size_bytes", "The size of visible VRAM in bytes.")
            .by(["card"]),
    ),
    (
        "mem_info_vis_vram_used",
        gauge("node_drm_memory_vis_vram_used_bytes", "The used amount of visible VRAM in bytes.")
            .by(["card"]),
    ),
    (
        "mem_info_vram_total",
        gauge("node_drm_memory_vram_size_bytes", "The size of VRAM in bytes.").by(["card"]),
    ),
    (
        "mem_info_vram_used",
        gauge("node_drm_memory_vram_used_bytes", "The used amount of VRAM in bytes.").by(["card"]),
    ),
];

struct Drm(Folder);

impl Collector for Drm {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Some(entries) = self.0.list().unless_absent()? else { return Ok(()) };
        let mut faults = Faults::default();
        for entry in entries {
            let name = entry.name();
            let Some(number) = name.strip_prefix("card") else { continue };
            if is_digits(number) {
                put_card(&entry, &name, &mut faults, out);
            }
        }
        faults.end()
    }
}

/// Puts a card if AMD made it.
fn put_card(entry: &Entry<'_>, card: &str, faults: &mut Faults, out: &mut Sink) {
    let Some(card_dir) = faults.read(entry.dir()) else { return };
    let Some(device) = faults.read(card_dir.dir("device")) else { return };
    let is_amd = |event: &[u8]| event.split(|b| *b == b'\n').any(|line| line == b"DRIVER=amdgpu");
    if !faults.read(device.bytes("uevent")).is_some_and(|event| is_amd(&event)) {
        return;
    }
    put_info(&device, card, out);
    for (file, metric) in &NUMBERS {
        if let Some(value) = faults.keep(device.parse(file, any_base).unless_unreadable()) {
            out.put(metric, [&card], value.unwrap_or(0.0));
        }
    }
}

fn put_info(device: &Dir<'_>, card: &str, out: &mut Sink) {
    let [memory_vendor, level, id] =
        device.texts(["mem_info_vram_vendor", "power_dpm_force_performance_level", "unique_id"]);
    out.put(&INFO, [&card, &memory_vendor, &level, &id, &"amd"], true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn only_cards_of_amd_are_exposed_and_a_vanished_card_hides_no_other() {
        let machine = Machine::new()
            .with("sys/class/drm/card0-DP-1/device/uevent", "DRIVER=amdgpu\n")
            .with("sys/class/drm/card1/device/uevent", "DRIVER=i915\n")
            .with("sys/class/drm/card10/device/uevent", "DRIVER=amdgpu\nPCI_CLASS=30000\n")
            .with("sys/class/drm/card10/device/gpu_busy_percent", "much\n")
            .with("sys/class/drm/card10/device/mem_info_gtt_used", "-1\n")
            .with("sys/class/drm/card10/device/mem_info_vram_used/is_a_directory", "");
        let link = machine.path().join("sys/class/drm/card2");
        std::os::unix::fs::symlink("gone", link).unwrap();
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/gpu_busy_percent: bad number: \"much\""), "{error}");
        assert!(text.contains("node_drm_memory_vram_used_bytes{card=\"card10\"} 0\n"));
        assert!(text.contains("node_drm_memory_gtt_used_bytes{card=\"card10\"} -1\n"));
        assert_eq!(sample_lines(&text).count(), 7, "{text}");
    }

    #[test]
    fn no_class_is_no_error() {
        assert!(Machine::new().collect(&SPEC, &[]).1.is_ok());
    }
}
