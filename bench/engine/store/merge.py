"""What is stored of a cell when its new result meets the one that is there: nothing that was measured is lost."""

from __future__ import annotations

from collections.abc import Mapping

from bench.records.cell import CellResult, CostRecord, MeasurementRecord

_WITHOUT_VALUE = {"failed", "unavailable"}


def merged(stored: CellResult | None, new: CellResult, wanted: Mapping[str, str]) -> CellResult:
    """The result to store: of two results of one bitstream, all measurements and the better times.

    A cell that failed leaves what was measured before as it was; metrics that were ``wanted`` (by name, with their
    keys) and have no value then say why. Two results of different bitstreams are not merged: ``new`` replaces.
    """
    if stored is None or stored.status != "ok":
        return new
    if new.status != "ok":
        return _with_failures(stored, new, wanted)
    if not same_bitstream(stored, new):
        return new
    known = stored.measurements
    return new.model_copy(
        update={
            "sequence": new.sequence if new.sequence.transfer is not None else stored.sequence,
            "encode": _better(stored.encode, new.encode),
            "decode": _better(stored.decode, new.decode),
            "measurements": {
                **known,
                **{name: found for name, found in new.measurements.items() if not _is_worse(found, known.get(name))},
            },
        }
    )


def same_bitstream(one: CellResult, other: CellResult) -> bool:
    """Whether two results are of the same bytes."""
    return one.bitstream is not None and other.bitstream is not None and one.bitstream.sha256 == other.bitstream.sha256


def _with_failures(stored: CellResult, failed: CellResult, wanted: Mapping[str, str]) -> CellResult:
    reason = f"{failed.reason}: {failed.message}"
    lacking = {
        name: MeasurementRecord(key=key, status="failed", reason=reason)
        for name, key in wanted.items()
        if name not in stored.measurements or stored.measurements[name].status in _WITHOUT_VALUE
    }
    return stored.model_copy(update={"measurements": {**stored.measurements, **lacking}}) if lacking else stored


def _is_worse(found: MeasurementRecord, known: MeasurementRecord | None) -> bool:
    """Whether a metric that has no value now had one before."""
    return known is not None and found.status in _WITHOUT_VALUE and known.status not in _WITHOUT_VALUE


def _better(old: CostRecord | None, new: CostRecord | None) -> CostRecord | None:
    """The newer times, unless the older ones alone were taken with nothing beside them."""
    if old is not None and (new is None or (old.timing == "alone" and new.timing == "shared")):
        return old
    return new
