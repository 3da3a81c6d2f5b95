"""Cards: where they are found, what is wrong with wrong ones, what listing must never do."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.cards import Card, Catalog, Input, Rates, load_card, parted
from bench.errors import CardError, UnknownNameError, UsageError
from bench.records.cell import codec_label
from bench.registry import build, card_schema

OURS = Path(__file__).resolve().parents[1]

GOOD = """\
name = "mine"
title = "{title}"
adapter = "ffmpeg"
licence = "unknown"
gop = "all intra"
extension = "bin"
[rates]
parameter = "qp"
values = [20, 30]
minimum = 1
maximum = 51
[settings]
encoder = "libx264"
arguments = ["-qp", "{{rate}}"]
muxer = "h264"
demuxer = "h264"
"""


def write(folder: Path, title: str = "Mine", name: str = "mine.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(GOOD.format(title=title))
    return path


class TestSearchOrder:
    @pytest.fixture
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
        places = {name: tmp_path / name for name in ("path", "environment", "work")}
        for folder in places.values():
            folder.mkdir()
        monkeypatch.chdir(places["work"])
        monkeypatch.setenv("VCBENCH_PATH", str(places["environment"]))
        return places

    def test_a_nearer_folder_comes_first(self, places: dict[str, Path]) -> None:
        catalog = Catalog((places["path"],))
        for name in ("work", "environment", "path"):
            write(places[name] / "codecs", name)
            assert catalog.card("mine").title == name

    def test_a_card_of_ours_is_replaced(self, places: dict[str, Path]) -> None:
        assert Catalog().card("x264").title == "x264, preset medium, constant QP"
        path = write(places["work"] / "codecs", "replaced", "x264.toml")
        path.write_text(path.read_text().replace('"mine"', '"x264"'))
        assert Catalog().card("x264").title == "replaced"

    def test_folder_of_cards_itself(self, places: dict[str, Path]) -> None:
        write(places["path"])
        (places["path"] / "notes.toml").write_text("x = 1\n")
        assert Catalog((places["path"],)).card("mine").title == "Mine"
        assert "notes" not in Catalog((places["path"],)).files("codecs")

    def test_several_folders_in_the_variable(self, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        write(places["environment"] / "codecs", "second")
        write(places["path"] / "codecs", "first")
        monkeypatch.setenv("VCBENCH_PATH", os.pathsep.join([str(places["path"]), str(places["environment"])]))
        assert Catalog().card("mine").title == "first"

    def test_card_by_path(self, places: dict[str, Path]) -> None:
        path = write(places["path"] / "elsewhere")
        assert Catalog().card(str(path)).title == "Mine"

    def test_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"nowhere: no such folder; --path"):
            Catalog((tmp_path / "nowhere",)).files("codecs")

    def test_things_that_are_no_cards_are_passed_over(self, places: dict[str, Path]) -> None:
        (places["path"] / "folder.toml").mkdir()
        (places["path"] / "codecs").mkdir()
        (places["path"] / "codecs" / "folder.toml").mkdir()
        assert "folder" not in Catalog((places["path"],)).files("codecs")

    @pytest.mark.parametrize(("name", "near"), [("x256", "x265"), ("vvenk", "vvenc"), ("svtav1", "svt-av1")])
    def test_unknown_name_gets_a_suggestion(self, name: str, near: str) -> None:
        with pytest.raises(UnknownNameError, match=f"did you mean .*{near}"):
            Catalog((OURS,)).card(name)

    def test_path_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such file"):
            Catalog().card(str(tmp_path / "mine.toml"))


class TestWrongCards:
    """The message has the file, the key and the remedy."""

    @pytest.mark.parametrize(
        ("old", "new", "key", "remedy"),
        [
            ('licence = "unknown"', "", "licence", "add it"),
            ('licence = "unknown"', 'license = "unknown"', "license", "remove it or correct its name"),
            ("values = [20, 30]", 'values = ["low"]', "rates.values.0", "valid"),
            ("values = [20, 30]", "values = []", "rates.values", "at least 1"),
            ("values = [20, 30]", "values = [20, 60]", "rates", "qp 60 is outside 1 to 51"),
            ("values = [20, 30]", "values = [20.5, 30]", "rates", "not a whole number"),
            ("values = [20, 30]", "values = [20, 20]", "rates.values", "may appear only once"),
            ("maximum = 51", "maximum = inf", "rates.maximum", "finite"),
            ("minimum = 1", "minimum = nan", "rates.minimum", "finite"),
            ('name = "mine"', 'name = "../mine"', "name", "pattern"),
            ('name = "mine"', 'name = "-mine"', "name", "pattern"),
            ('name = "mine"', 'name = "a mine"', "name", "pattern"),
            ('name = "mine"', 'name = "mine\\n"', "name", "pattern"),
            ('name = "mine"', 'name = "other"', "name", "name the file other.toml"),
            ('name = "mine"', 'name = "mine@fast"', "name", "what follows @ names a configuration"),
            ('extension = "bin"', 'extension = "../x"', "extension", "pattern"),
            ("[rates]", "[input]\nbit_depths = [9]\n[rates]", "input.bit_depths.0", "8, 10 or 12"),
            ("[rates]", "[input]\nchroma = ['411']\n[rates]", "input.chroma.0", "'420'"),
            ("[rates]", "[[weights]]\nfile = '../w'\nsha256 = '" + "0" * 64 + "'\n[rates]", "weights.0.file", "below"),
            ("[rates]", "[[weights]]\nfile = '/w'\nsha256 = '" + "0" * 64 + "'\n[rates]", "weights.0.file", "below"),
            ("[rates]", "[[weights]]\nfile = 'w'\nsha256 = 'abc'\n[rates]", "weights.0.sha256", "pattern"),
            ("[settings]", "[settings]\nx = nan", "settings", "numbers"),
            ("[settings]", "[settings]\nx = 2020-01-01", "settings", "numbers"),
            ('title = "Mine"', "title = ", "", "is not TOML"),
        ],
    )  # fmt: skip
    def test_wrong_card(self, tmp_path: Path, old: str, new: str, key: str, remedy: str) -> None:
        path = write(tmp_path)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(CardError) as caught:
            load_card(path)
        message = str(caught.value)
        assert message.startswith(f"{path}:")
        assert key in message
        assert remedy in message

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00", b"=", b"[[["])
    def test_file_that_is_no_text(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "mine.toml").write_bytes(content)
        with pytest.raises(CardError, match="is not TOML"):
            load_card(tmp_path / "mine.toml")

    def test_folder_named_like_a_card(self, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").mkdir()
        with pytest.raises(CardError, match="cannot be read"):
            load_card(tmp_path / "mine.toml")

    def test_wrong_settings_name_card_and_key(self, tmp_path: Path) -> None:
        path = write(tmp_path)
        path.write_text(path.read_text().replace("muxer", "muxor"))
        with pytest.raises(CardError, match=r"(?s)card mine: settings:\n.*  muxor: .*remove it or correct") as caught:
            build(load_card(path))
        assert "muxer: Field required; add it" in str(caught.value)

    def test_every_problem_is_listed_at_once(self, tmp_path: Path) -> None:
        path = write(tmp_path)
        path.write_text('name = "mine"\nodd = 1\n')
        with pytest.raises(CardError) as caught:
            load_card(path)
        assert all(key in str(caught.value) for key in ("title", "adapter", "licence", "gop", "rates", "odd"))


class TestConfigurations:
    @pytest.fixture
    def card(self, tmp_path: Path) -> Card:
        path = write(tmp_path)
        path.write_text(
            path.read_text() + "\n[settings.tool]\nenv = 'A'\nnames = ['a', 'b']\n"
            "[configurations.fast]\ntitle = 'Fast'\nsettings.muxer = 'other'\nsettings.tool.names = ['c']\n"
            "[configurations.wide]\ngop = 'random access'\n"
            "rates = { parameter = 'crf', values = [5], minimum = 0, maximum = 9 }\n"
            "input = { chroma = ['444'], bit_depths = [10] }\n"
        )
        return load_card(path)

    def test_what_it_changes_and_what_it_keeps(self, card: Card) -> None:
        fast = card.configured("fast")
        assert (fast.name, fast.title, fast.gop) == ("mine@fast", "Fast", "all intra")
        assert fast.settings["muxer"] == "other"
        assert fast.settings["encoder"] == "libx264"
        assert fast.settings["tool"] == {"env": "A", "names": ["c"]}
        assert card.settings["muxer"] == "h264"
        wide = card.configured("wide")
        assert wide.rates == Rates(parameter="crf", values=(5,), minimum=0, maximum=9)
        assert wide.input == Input(chroma=("444",), bit_depths=(10,))
        assert card.configured(None) is card

    def test_it_is_part_of_the_name(self, tmp_path: Path, card: Card) -> None:
        assert Catalog((tmp_path,)).card("mine@fast") == card.configured("fast")
        assert Catalog().card(f"{tmp_path / 'mine.toml'}@wide").gop == "random access"

    def test_unknown_one_gets_a_suggestion(self, card: Card) -> None:
        with pytest.raises(UnknownNameError, match="unknown configuration of mine 'fats'; did you mean fast"):
            card.configured("fats")

    def test_digest_changes_with_what_changes_the_bits(self, tmp_path: Path, card: Card) -> None:
        digests = {card.configured(name).digest() for name in (None, "fast", "wide")}
        assert len(digests) == 3
        told = card.model_copy(update={"title": "Another title", "homepage": "https://example.org", "gop": "as before"})
        assert told.digest() == card.digest()
        other = card.model_copy(update={"settings": {**card.settings, "arguments": ("-qp", "{rate}", "-bf", "0")}})
        assert other.digest() != card.digest()


@pytest.mark.parametrize(
    ("value", "integer", "expected"), [(20, True, 20), (20.0, True, 20), (20.5, False, 20.5), (1, False, 1)]
)
def test_rate_values(value: float, integer: bool, expected: float) -> None:
    rates = Rates(parameter="q", values=(1,), minimum=1, maximum=51, integer=integer)
    assert rates.check(value) == expected
    assert isinstance(rates.check(value), int) == (integer or isinstance(value, int))


@pytest.mark.parametrize("value", [0, 52, 20.5, float("nan"), float("inf"), -float("inf")])
def test_rate_values_that_are_none(value: float) -> None:
    with pytest.raises(ValueError, match="q"):
        Rates(parameter="q", values=(1,), minimum=1, maximum=51).check(value)


def test_listing_and_validating_never_import(tmp_path: Path) -> None:
    folder = tmp_path / "codecs"
    path = write(folder)
    path.write_text(path.read_text().replace('"ffmpeg"', '"mine.py:Codec"'))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    catalog = Catalog((tmp_path,))
    assert "mine" in catalog.files("codecs")
    assert catalog.card("mine").adapter == "mine.py:Codec"
    with pytest.raises(Exception, match="--trust"):
        build(catalog.card("mine"), folder=folder)
    assert not (tmp_path / "executed").exists()


EXPECTED = {
    "x264", "x265", "x265-ldp-fast", "vvenc", "svt-av1", "libaom", "vp9", "hm", "vtm", "ecm",
}  # fmt: skip


def test_our_cards_are_there_and_valid() -> None:
    files = {path.stem: path for path in (OURS / "codecs").glob("*.toml")}
    assert set(files) >= EXPECTED
    for path in files.values():
        load_card(path)


def test_our_cards_fit_the_exported_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = card_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for path in (OURS / "codecs").glob("*.toml"):
        card: dict[str, Any] = tomllib.loads(path.read_text())
        validator.validate(card)
        if card["adapter"] in schema["x-settings"]:
            jsonschema.Draft202012Validator(schema["x-settings"][card["adapter"]]).validate(card["settings"])
        for broken in ({**card, "odd": 1}, {key: value for key, value in card.items() if key != "gop"}):
            assert not validator.is_valid(broken), path


def test_rates_of_a_bit_depth(tmp_path: Path) -> None:
    rates = {"parameter": "qp", "values": [27, 31], "minimum": 1, "maximum": 51}
    own = {"10": {"values": [39, 43, 60], "maximum": 63}, "12": {"values": [50]}}
    found = Rates.model_validate({**rates, "bit_depths": own})
    assert found.at(8) is found
    assert (found.at(10).values, found.at(10).minimum, found.at(10).maximum) == ((39, 43, 60), 1, 63)
    assert (found.at(12).values, found.at(12).maximum) == ((50,), 51)
    assert found.at(10).check(60) == 60
    with pytest.raises(ValueError, match="qp 60 is outside 1 to 51"):
        found.at(8).check(60)
    with pytest.raises(ValidationError, match="qp 60 is outside 1 to 51"):
        Rates.model_validate({**rates, "bit_depths": {"10": {"values": [60]}}})
    with pytest.raises(ValidationError, match="bit_depths"):
        Rates.model_validate({**rates, "bit_depths": {"9": {"values": [30]}}})


def test_rates_are_those_of_the_depth_that_the_encoder_is_given() -> None:
    card = Catalog().card("x264")
    assert card.rates_at(10).values == tuple(qp + 12 for qp in card.rates_at(8).values)
    shifted = card.model_copy(update={"input": card.input.model_copy(update={"coding_bit_depth": 10})})
    assert shifted.rates_at(8) == card.rates_at(10)
    # what the defaults are is no part of a cell's key
    assert card.digest() == card.model_copy(update={"rates": card.rates_at(10)}).digest()


@pytest.mark.parametrize(
    ("named", "card", "configuration"),
    [
        ("x265", "x265", None),
        ("x265@fast", "x265", "fast"),
        ("x265@", "x265", None),
        ("dir@lab/mine.toml", "dir@lab/mine.toml", None),
        ("dir@lab/mine.toml@fast", "dir@lab/mine.toml", "fast"),
        ("dir/mine@2.toml", "dir/mine@2.toml", None),
        ("/a@b/c@d/mine.toml@fast", "/a@b/c@d/mine.toml", "fast"),
    ],
)
def test_an_at_of_a_path_names_no_configuration(named: str, card: str, configuration: str | None) -> None:
    assert parted(named) == (card, configuration)


# HM, VTM and ECM are named by their configuration file; the others have no presets, or FFmpeg sets none (OpenH264).
WITHOUT_PRESET = {"hm", "vtm", "ecm", "mpeg2", "theora", "h264-vaapi", "hevc-vaapi", "av1-vaapi", "openh264"}


def test_titles_name_the_preset_that_is_set() -> None:
    """The preset in a title, which legends show, is an argument of the card's command line."""
    cards = [load_card(path) for path in (OURS / "codecs").glob("*.toml")]
    with_preset = [card for card in cards if card.kind == "classical" and card.name not in WITHOUT_PRESET]
    for own in (card.configured(name) for card in with_preset for name in (None, *card.configurations)):
        label = codec_label(own.name, own.title)
        value = label.removesuffix(")").split()[-1] if "(" in label else None
        named = [own.name.partition("@")[2].removeprefix("preset-")] if value is None else [value]
        words = re.split(r"[\s'\",=:\[\]]+", str(own.settings))
        assert set(named) & set(words), (own.name, own.title)
