"""Records of what `vcbench verify` found: kept outside the submission, and bound to the result files that it read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bench._version import __version__
from bench.core.files import write_atomically
from bench.core.schema import Digest, explain
from bench.engine.provenance import own_revision
from bench.engine.store.folder import safe_name
from bench.engine.verify.cells import CheckedCell, Outcome
from bench.errors import StoreError, UsageError
from bench.records.cell import CellResult, Model, Number

ESSENTIAL = ("bitstream", "rate", "source")
"""What must be equal, beside a metric's value, before a point of that metric's curve counts as verified."""


class CheckRecord(Model):
    """One check, as in `bench.engine.verify.cells.Check`."""

    what: str
    outcome: Outcome
    stored: str | Number | None = None
    found: str | Number | None = None
    reason: str | None = None


class CellRecord(Model):
    """The checks of one result file: what it held, when it was last checked, by which vcbench, and who signs it off.

    sandbox: what its codec was run in, such as "bubblewrap"; None for no sandbox.
    """

    name: str
    result: Digest
    checked: str
    vcbench: str
    revision: str | None = None
    sandbox: str | None = None
    by: str | None = None
    note: str | None = None
    checks: tuple[CheckRecord, ...]

    def outcome(self, what: str) -> Outcome | None:
        """How the check of `what` ended; None where it was not made."""
        return next((check.outcome for check in self.checks if check.what == what), None)

    def differences(self) -> list[str]:
        """What came out different, with the reasons."""
        return [f"{c.what}: {c.reason or 'differs'}" for c in self.checks if c.outcome == "different"]

    def verifies(self, metric: str) -> bool:
        """Whether the rate and the value of the metric were computed again and are equal, and nothing is different."""
        return not self.differences() and all(self.outcome(what) == "equal" for what in (*ESSENTIAL, metric))


class VerificationRecord(Model):
    """The file of one submission in a folder of records."""

    record_version: Literal[1] = 1
    submission: str
    cells: tuple[CellRecord, ...]


@dataclass
class Records:
    """What is known of result files, by `result_digest`. A result file that changed since has no record."""

    cells: Mapping[str, CellRecord] = field(default_factory=dict)

    def of(self, cell: CellResult) -> CellRecord | None:
        """The record of a cell, None where it was not checked or has changed since."""
        return self.cells.get(result_digest(cell))


def result_digest(cell: CellResult) -> str:
    """SHA-256 of everything a result file says; it holds the digests of bitstream and features.

    Fields at their defaults are left out, so that one that a later vcbench adds changes nothing.
    """
    text = json.dumps(cell.model_dump(exclude_defaults=True), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def check_outside(records: Path, submission: Path) -> None:
    """Raise UsageError for a folder of records inside the submission: whoever sends that could write them too."""
    if records.resolve().is_relative_to(submission.resolve()):
        raise UsageError(f"{records}: is inside the submission {submission}; keep records in a folder of your own")


def write_record(
    records: Path,
    submission: Path,
    cells: Iterable[CellResult],
    checked: Sequence[CheckedCell],
    by: str | None = None,
    sandbox: str | None = None,
) -> Path:
    """Add what was found of a submission's cells to its file in the folder `records`; the file is returned.

    Checks that were made before of the same result files are kept where they were not made again.
    Raises UsageError for a folder inside the submission, StoreError where the file cannot be read or written.
    """
    check_outside(records, submission)
    name = submission.resolve().name
    path = records / f"{safe_name(name)}.json"
    digests = {cell.name: result_digest(cell) for cell in cells}
    try:
        records.mkdir(parents=True, exist_ok=True)
        known = {cell.result: cell for cell in _read(path).cells} if path.exists() else {}
        for item in checked:
            digest = digests[item.cell]
            known[digest] = CellRecord(
                name=item.cell,
                result=digest,
                checked=datetime.now(UTC).isoformat(timespec="seconds"),
                vcbench=__version__,
                revision=own_revision(),
                sandbox=sandbox,
                by=by,
                note=item.note,
                checks=_merged(known.get(digest), item),
            )
        record = VerificationRecord(submission=name, cells=tuple(known.values()))
        write_atomically(path, f"{record.model_dump_json(indent=1)}\n".encode())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}; choose another folder") from error
    return path


def _merged(known: CellRecord | None, found: CheckedCell) -> tuple[CheckRecord, ...]:
    checks = {check.what: check for check in known.checks} if known else {}
    for check in found.checks:
        if check.outcome != "unchecked" or check.what not in checks:
            checks[check.what] = CheckRecord.model_validate(asdict(check))
    return tuple(checks.values())


def load_records(folder: Path) -> Records:
    """All records of a folder. Raises StoreError for a file that is not a record: what it said is not known then."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; it is the one given to vcbench verify --record")
    cells: dict[str, CellRecord] = {}
    for path in sorted(folder.glob("*.json")):
        for cell in _read(path).cells:
            cells[cell.result] = cell
    return Records(cells)


def _read(path: Path) -> VerificationRecord:
    try:
        return VerificationRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise StoreError(
            f"{path}: is not a record of vcbench verify: {explain(error)}; move it away and verify again"
        ) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
