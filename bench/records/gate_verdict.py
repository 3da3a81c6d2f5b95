"""What ``vcbench gate --json`` wrote, read back: the verdict on one candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.schema import explain
from bench.core.untrusted import parse_json, read_text
from bench.errors import StoreError

FILE = "gate.json"
"""Name of the file in a result folder."""


class _Part(BaseModel):
    """Keys that a later vcbench adds are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class GateCheck(_Part):
    """One rule on one codec."""

    codec: str
    rule: str
    verdict: Literal["pass", "fail", "inconclusive", "error"]
    blocks: bool
    reason: str = ""
    change: float | None = None
    unit: str = ""


class GateVerdict(_Part):
    """The verdict on a candidate, and its checks."""

    passed: bool
    baseline: list[str] = []
    checks: list[GateCheck] = []

    @property
    def word(self) -> Literal["pass", "fail", "inconclusive", "error"]:
        """The verdict in a word: what blocks decides, then what could not be decided."""
        if self.passed:
            return "inconclusive" if any(check.verdict == "inconclusive" for check in self.checks) else "pass"
        blocking = {check.verdict for check in self.checks if check.blocks}
        return "error" if blocking == {"error"} or not blocking else "fail"

    @property
    def blocking(self) -> list[GateCheck]:
        """The checks that keep the candidate from passing."""
        return [check for check in self.checks if check.blocks]


def read_verdict(folder: Path) -> GateVerdict | None:
    """The verdict in a result folder's ``gate.json``; None without one.

    Raises StoreError, with the remedy, for a file that the gate did not write.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return GateVerdict.model_validate(parse_json(read_text(path, folder)))
    except ValidationError as error:
        problem = explain(error)
    except (ValueError, RecursionError) as error:
        problem = str(error)
    except OSError as error:
        problem = error.strerror or str(error)
    raise StoreError(
        f"{path}: cannot be read as output of vcbench gate --json ({problem}); write it again, or remove it"
    )
