"""Colour, marker and line of a codec: by its name, whatever stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.analysis.looks import COLOURS, MARKERS, looks
from bench.cards import Catalog
from bench.errors import UsageError


def drawn(names: list[str], own: Path | None = None) -> dict[str, tuple[str, str, str]]:
    return {name: (look.colour, look.marker, look.line) for name, look in looks(names, own).items()}


def test_a_codec_looks_the_same_whatever_stands_beside_it() -> None:
    alone = {name: drawn([name])[name] for name in ("x265", "vvenc", "somebody", "x265@slow", "svt-av1@preset-4")}
    assert drawn(list(alone)) == alone
    assert drawn([*reversed(list(alone)), "vtm", "x264", "another"]) | alone == drawn(
        ["another", "vtm", "x264", *alone]
    )


def test_the_looks_of_today_are_those_of_ever() -> None:
    """Figures of years must agree: these do not change."""
    assert drawn(["x265", "x264", "vvenc", "svt-av1", "libaom", "diff-sit-small", "x265@low-delay", "mine"]) == {
        "x265": ("#000000", "circle", "solid"),
        "x264": ("#E69F00", "square", "solid"),
        "vvenc": ("#009E73", "triangle-up", "solid"),
        "svt-av1": ("#0072B2", "triangle-down", "solid"),
        "libaom": ("#0072B2", "x", "solid"),
        "diff-sit-small": ("#D55E00", "diamond", "solid"),
        "x265@low-delay": ("#000000", "square", "longdashdot"),
        "mine": ("#D55E00", "triangle-left", "solid"),
    }


def test_every_card_has_a_look_of_its_own_and_a_configuration_its_codecs_colour() -> None:
    catalog = Catalog(())
    names = [
        configured
        for name in catalog.files("codecs")
        for configured in (name, *(f"{name}@{one}" for one in catalog.card(name).configurations))
    ]
    found = drawn(names)
    assert len(set(found.values())) == len(names) > 100
    assert all(found[name][0] == found[name.partition("@")[0]][0] for name in names)
    assert all(drawn([name])[name] == found[name] for name in catalog.files("codecs"))


def test_the_usual_codecs_have_markers_of_their_own() -> None:
    usual = ["x265", "x264", "vvenc", "svt-av1", "libaom", "vp9", "diff-sit-small", "s2vc-small", "actdiff-vc-small"]
    assert len({look.marker for look in looks(usual).values()}) == len(usual)


def test_no_two_of_many_names_look_the_same() -> None:
    names = [f"codec{number}" for number in range(70)]
    found = drawn(names)
    assert len(set(found.values())) == 70
    assert {colour for colour, _, _ in found.values()} == set(COLOURS)
    assert {marker for _, marker, _ in found.values()} == set(MARKERS)


def test_a_file_of_ones_own_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "looks.toml"
    own.write_text(
        '[mine]\ncolour = "#123456"\nmarker = "hexagon"\nline = "dot"\nlabel = "Ours"\n[x265]\nlabel = "HEVC"'
    )
    found = looks(["mine", "x265"], own)
    assert (found["mine"].colour, found["mine"].dark, found["mine"].marker) == ("#123456", "#123456", "hexagon")
    assert (found["mine"].line, found["mine"].label, found["x265"].label) == ("dot", "Ours", "HEVC")
    assert found["x265"].colour == drawn(["x265"])["x265"][0]
    monkeypatch.setenv("VCBENCH_LOOKS", str(own))
    assert looks(["mine", "x265"]) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[x265]\ncolour = "red"', "x265.colour: String should match"),
        ('[x265]\nmarker = "star"', "x265.marker: Input should be 'circle'"),
        ('[x265]\ncolor = "#000000"', "x265.color: Extra inputs are not permitted; remove it or correct its name"),
        ('x265 = "#000000"', "a table per codec, such as"),
        ("[x265", "is not TOML"),
    ],
)
def test_a_bad_file_is_named_with_the_remedy(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "looks.toml").write_text(text)
    with pytest.raises(UsageError, match=r"looks\.toml: ") as error:
        looks(["x265"], tmp_path / "looks.toml")
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        looks(["x265"], tmp_path / "none.toml")
