"""Energy counters as Linux shows them, in folders made up to be like those of /sys/class/powercap."""

from __future__ import annotations

from pathlib import Path

from bench.core.energy import EnergyMeter


def zone(folder: Path, number: str, name: str, energy: int | None, most: int = 1_000_000) -> Path:
    path = folder / f"intel-rapl:{number}"
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{most}\n")
    if energy is not None:
        (path / "energy_uj").write_text(f"{energy}\n")
    return path


def test_sums_packages_and_memory_over_a_wrap(tmp_path: Path) -> None:
    first = zone(tmp_path, "0", "package-0", 900_000)
    memory = zone(tmp_path, "0:1", "dram", 5)
    core = zone(tmp_path, "0:0", "core", 0)  # a part of the package
    meter = EnergyMeter(tmp_path)
    (core / "energy_uj").write_text("700000\n")
    (first / "energy_uj").write_text("950000\n")
    meter.sample()
    (first / "energy_uj").write_text("30000\n")
    (memory / "energy_uj").write_text("2005\n")
    meter.sample()
    assert meter.joules == (50_000 + 80_000 + 2_000) / 1e6


def test_is_unknown_where_no_counter_can_be_read(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "none").joules is None
    zone(tmp_path, "0", "package-0", None)
    meter = EnergyMeter(tmp_path)
    meter.sample()
    assert meter.joules is None
