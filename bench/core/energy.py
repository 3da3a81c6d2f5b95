"""Energy that this machine's processors take, where it tells: RAPL, as Linux shows it below /sys/class/powercap.

It is that of all that runs meanwhile, the idle machine's included. Linux lets root alone read it unless told otherwise
(``chmod a+r /sys/class/powercap/*/energy_uj``); virtual machines have none.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")
_COUNTED = ("package-", "dram")
"""Zones by the start of their names; others are parts of these, or hold them."""


class EnergyMeter:
    """Counts from when it is made. The counters wrap within an hour or so: ``sample`` must be called more often."""

    def __init__(self, folder: Path = _POWERCAP) -> None:
        self._zones = _zones(folder)
        self._last = [_read(zone / "energy_uj") for zone in self._zones]
        self._microjoules = 0

    def sample(self) -> None:
        """Add what was taken since the last sample."""
        for number, zone in enumerate(self._zones):
            now, last = _read(zone / "energy_uj"), self._last[number]
            if now is not None and last is not None:
                wrapped = now < last
                self._microjoules += now - last + (_read(zone / "max_energy_range_uj") or 0 if wrapped else 0)
                self._last[number] = now

    @property
    def joules(self) -> float | None:
        """Up to the last sample; None where the machine does not tell."""
        return self._microjoules / 1e6 if self._zones else None


@cache
def _zones(folder: Path) -> tuple[Path, ...]:
    """Zones that this user can read."""
    found = []
    for zone in sorted(folder.glob("*-rapl:*")):
        with suppress(OSError):
            name = (zone / "name").read_text(encoding="ascii").strip()
            if name.startswith(_COUNTED) and _read(zone / "energy_uj") is not None:
                found.append(zone)
    return tuple(found)


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
