"""What has no value stands under its cause, once."""

from __future__ import annotations

from typing import Any

from bench.report.site.sections.gaps import grouped


def causes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups with their texts in place."""
    found = grouped(rows)
    texts = found["texts"]
    return [
        {
            **group,
            "reason": texts[group["reason"]],
            "entries": [
                [texts[what], texts[status], *([texts[n] for n in numbers] for numbers in lists)]
                for what, status, *lists in group["entries"]
            ],
        }
        for group in found["causes"]
    ]


def row(what: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"what": what, "status": "undefined", "reason": reason, "dataset": "set", **more}


def test_what_follows_from_a_missing_measurement_stands_under_its_cause() -> None:
    weights = "no weights niqe here; run: vcbench fetch weights niqe"
    rows = [row("measurement", weights, codec=codec, metric="niqe", sequence="bus", rate=22.0) for codec in ("a", "b")]
    rows += [
        row("BD-rate overall", "no sequence has a value (set/bus: ...)", codec="b", metric="niqe"),
        row("BD-rate", f"a: no value (4 x {weights})", codec="b", metric="niqe", sequence="bus"),
        row("BD-rate", "the curves have no quality in common (overlap 0 %)", codec="b", metric="vmaf", sequence="bus"),
        row("BD-rate overall", "no sequence has a value (set/bus: ...)", codec="b", metric="vmaf"),
    ]
    first, second = causes(rows)
    assert (first["reason"], first["count"]) == (weights, 4)
    assert first["entries"] == [
        ["measurement", "undefined", ["a", "b"], ["niqe"], ["set / bus at 22"]],
        ["BD-rate overall", "undefined", ["b"], ["niqe"], ["set"]],
        ["BD-rate", "undefined", ["b"], ["niqe"], ["set / bus"]],
    ]
    assert (second["reason"], second["count"]) == ("the curves have no quality in common (overlap 0 %)", 2)


def test_rows_that_differ_in_codec_metric_or_numbers_are_one_entry_each_with_its_own_reason() -> None:
    rows = [
        row("BD-rate", f"overlap {share} % is under the 75 % asked for", codec=codec, metric=metric, sequence="bus")
        for codec, share in (("a", 12), ("b", 30))
        for metric in ("psnr_y", "ssim")
    ]
    (group,) = causes(rows)
    assert (group["reason"], group["count"]) == ("overlap … % is under the … % asked for", 4)
    assert group["entries"] == [
        ["BD-rate", "undefined", ["a"], ["psnr_y", "ssim"], ["set / bus: overlap 12 % is under the 75 % asked for"]],
        ["BD-rate", "undefined", ["b"], ["psnr_y", "ssim"], ["set / bus: overlap 30 % is under the 75 % asked for"]],
    ]


def test_failed_cells_come_before_what_is_computed_from_cells() -> None:
    rows = [row("BD-rate", "a curve falls", codec="b", metric=name, sequence="bus") for name in ("x", "y")]
    rows.append(row("cell", "timeout: too slow", codec="b", sequence="bus", rate=22.0))
    assert [group["reason"] for group in causes(rows)] == ["timeout: too slow", "a curve falls"]
