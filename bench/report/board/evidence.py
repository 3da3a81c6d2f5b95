"""What is known of an entry's points beside its own word: records of `vcbench verify`, and the cards that are here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.identity import codec_key
from bench.cards import Catalog, load_card, parted
from bench.engine.verify.records import CellRecord, Records, load_records
from bench.errors import CardError
from bench.records.cell import CellResult


@dataclass(frozen=True)
class Finding:
    """How far an entry's points by one metric are verified.

    points: cells that have a result. verified: those whose rate and value were computed again and are equal. encoded:
    those whose bytes came out again. encode_s: seconds of the encoder here and as claimed, over the cells coded again,
    None for none. verified_on: dates of the records. problem: why the entry has no rank, None where nothing is wrong.
    doubt: what a reader must know beside the rank. signed_off: when, by whom and by which vcbench it was verified.
    """

    points: int
    verified: int
    encoded: int
    encode_s: tuple[float, float] | None = None
    verified_on: str | None = None
    problem: str | None = None
    doubt: str | None = None
    signed_off: str | None = None


@dataclass(frozen=True)
class Evidence:
    """Records, None where none are asked for, and cards that are not of any submission."""

    records: Records | None
    catalog: Catalog

    @classmethod
    def collect(cls, records: Path | None, catalog: Catalog) -> Evidence:
        """Raises what `load_records` raises."""
        return cls(None if records is None else load_records(records), catalog)

    def of(self, cells: Sequence[CellResult], metric: str) -> Finding:
        """What is known of an entry's cells on a board."""
        done = [cell for cell in cells if cell.status == "ok"]
        found = [(cell, self.records.of(cell) if self.records else None) for cell in done]
        records = [record for _, record in found if record is not None]
        verified = [record for record in records if record.verifies(metric)]
        times = [pair for cell, record in found if record is not None for pair in [_encode_s(cell, record)] if pair]
        encoded = sum(record.outcome("encode") == "equal" for record in records)
        days = sorted({record.checked[:10] for record in records})
        return Finding(
            points=len(done),
            verified=len(verified),
            encoded=encoded,
            encode_s=(sum(here for here, _ in times), sum(claimed for _, claimed in times)) if times else None,
            verified_on=" to ".join(dict.fromkeys([days[0], days[-1]])) if days else None,
            signed_off="; ".join(dict.fromkeys(map(_signed_off, records))) or None,
            problem=self._mixed(done)
            or self._rate_kind(done)
            or self._unverified(done, records, len(verified), metric),
            doubt="which encoder made its bitstreams is as claimed" if records and not encoded else None,
        )

    def _mixed(self, cells: Sequence[CellResult]) -> str | None:
        """The best of several encoders, or of several tries, would be nobody's curve."""
        kinds = len(set(map(codec_key, cells)))
        if kinds > 1:
            return f"its results come from {kinds} different cards or tool versions; send each in a folder of its own"
        counts = Counter((cell.sequence.name, f"{cell.rate.value:g}{cell.at}") for cell in cells)
        twice = sorted(f"{name} at {point}" for (name, point), count in counts.items() if count > 1)
        return f"several results for one rate point: {', '.join(twice[:3])}" if twice else None

    def _rate_kind(self, cells: Sequence[CellResult]) -> str | None:
        for name in sorted({cell.codec.name for cell in cells}):
            path = self.catalog.files("codecs").get(parted(name)[0])
            try:
                kind = load_card(path).rate_kind if path is not None else None
            except CardError:
                continue
            claimed = {cell.codec.rate_kind for cell in cells}
            if kind is not None and claimed != {kind}:
                return f"its rate kind is {', '.join(sorted(claimed))} in its results, {kind} by the card here"
        return None

    def _unverified(
        self, cells: Sequence[CellResult], records: Sequence[CellRecord], verified: int, metric: str
    ) -> str | None:
        if self.records is None:
            return None
        if not cells:
            return "a curve from a paper cannot be verified"
        if verified == len(cells):
            return None
        different = [(record.name, *record.differences()) for record in records if record.differences()]
        if different:
            name, first, *_ = different[0]
            more = f" and in {len(different) - 1} more cells" if len(different) > 1 else ""
            return f"verification found a difference in {name} ({first}){more}"
        missing = len(cells) - len(records)
        unchecked = len(records) - verified
        reasons = [
            f"{missing} have no record, or changed after it was written" if missing else "",
            f"{unchecked} could not be checked by {metric} in full" if unchecked else "",
        ]
        return f"{verified} of {len(cells)} points are verified ({'; '.join(filter(None, reasons))})"


def _signed_off(record: CellRecord) -> str:
    by = f" by {record.by}" if record.by else ""
    revision = f" ({record.revision})" if record.revision else ""
    sandbox = f", in the sandbox ({record.sandbox})" if record.sandbox else ""
    return f"{record.checked[:10]}{by}, vcbench {record.vcbench}{revision}{sandbox}"


def _encode_s(cell: CellResult, record: CellRecord) -> tuple[float, float] | None:
    """Seconds of the encoder here, and as claimed."""
    check = next((check for check in record.checks if check.what == "encode_s"), None)
    if check is None or cell.encode is None or not isinstance(check.found, float):
        return None
    return check.found, cell.encode.seconds
