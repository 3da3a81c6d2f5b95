"""Adapters and metrics by name: ours, plug-ins that misbehave, files beside a card."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import registry
from bench.adapters.base import Codec
from bench.adapters.command import CommandCodec
from bench.adapters.compressai import CompressaiCodec
from bench.adapters.ffmpeg import FFmpegCodec
from bench.adapters.neural import NeuralCodec
from bench.cards import Catalog
from bench.errors import CardError, UnavailableError, UnknownNameError, UsageError
from bench.metrics.base import Metric

CODEC = """
from bench.adapters.base import Codec

class Mine(Codec):
    def encode(self, source, rate, bitstream): ...
    def decode(self, bitstream): ...

class Other: ...
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution with one good plug-in and some bad ones of each kind."""
    site = tmp_path / "site"
    info = site / "plugins-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1.0\n")
    kinds = ("good", "raising", "leaving", "missing", "wrong")
    entries = ""
    for group, good in (("vcbench.adapters", "Mine"), ("vcbench.metrics", "Extra")):
        entries += f"[{group}]\n"
        for kind in kinds:
            entries += f"{kind}-{group[8:-1]} = plugin_{kind}:{'Other' if kind == 'wrong' else good}\n"
    (info / "entry_points.txt").write_text(entries)
    metric = "\nfrom bench.metrics.base import Metric\nclass Extra(Metric): ...\n"
    (site / "plugin_good.py").write_text(CODEC + metric)
    (site / "plugin_wrong.py").write_text(CODEC + metric)
    (site / "plugin_raising.py").write_text("raise RuntimeError('no GPU here')\n")
    (site / "plugin_leaving.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(site)
    yield site
    for kind in kinds:
        sys.modules.pop(f"plugin_{kind}", None)


def test_our_adapters() -> None:
    assert registry.adapter_class("ffmpeg") is FFmpegCodec
    assert registry.adapter_class("command") is CommandCodec
    assert registry.adapter_class("neural") is NeuralCodec
    assert registry.adapter_class("compressai") is CompressaiCodec
    family = {"dcvc-dc", "dcvc-fm", "dcvc-hem", "dcvc-rt", "dcvc-uf", "ehvc", "sevc", "glc-video", "yoda"}
    research = {"worker", "coolchic", "s2vc-official", "actdiff-official", *family}
    assert set(registry.builtin_settings()) == {"ffmpeg", "command", "neural", "compressai", *research}


def test_our_metrics() -> None:
    for name in registry.BUILTIN_METRICS:
        kind = registry.metric_class(name)
        assert issubclass(kind, Metric), name
        assert kind.name == name


def test_default_metrics_are_known() -> None:
    assert set(registry.DEFAULT_METRICS) <= set(registry.metric_names())


def test_unknown_names_get_a_suggestion(plugins: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean ffmpeg"):
        registry.adapter_class("fmpeg")
    with pytest.raises(UnknownNameError, match="did you mean good-adapter"):
        registry.adapter_class("god-adapter")
    with pytest.raises(UnknownNameError, match="did you mean psnr_y"):
        registry.metric_class("psnr-y")


@pytest.mark.parametrize(
    ("kind", "word"),
    [("raising", "no GPU here"), ("leaving", "SystemExit"), ("missing", "No module"), ("wrong", "not a subclass")],
)
def test_plugin_that_fails_makes_only_itself_unavailable(plugins: Path, kind: str, word: str) -> None:
    with pytest.raises(UnavailableError, match=f"{kind}-adapter.*{word}"):
        registry.adapter_class(f"{kind}-adapter")
    with pytest.raises(UnavailableError, match=f"{kind}-metric.*{word}"):
        registry.metric_class(f"{kind}-metric")
    assert issubclass(registry.adapter_class("good-adapter"), Codec)
    assert issubclass(registry.metric_class("good-metric"), Metric)
    assert registry.adapter_class("ffmpeg") is FFmpegCodec


def test_metric_names_hold_plugins_without_importing_them(plugins: Path) -> None:
    assert {"good-metric", "raising-metric"} <= set(registry.metric_names())
    assert "plugin_raising" not in sys.modules
    assert "plugin_good" not in sys.modules


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "codecs"
        (folder / "inner").mkdir(parents=True)
        for path in (folder / "mine.py", folder / "inner" / "mine.py", tmp_path / "outside.py"):
            path.write_text(CODEC)
        return folder

    @pytest.mark.parametrize("name", ["mine.py:Mine", "inner/mine.py:Mine"])
    def test_trusted_file(self, folder: Path, name: str) -> None:
        assert issubclass(registry.adapter_class(name, folder=folder, trust=True), Codec)

    def test_two_files_of_one_name_are_two_codecs(self, folder: Path) -> None:
        outer, inner = (
            registry.adapter_class(name, folder=folder, trust=True) for name in ("mine.py:Mine", "inner/mine.py:Mine")
        )
        made_of = [sys.modules[kind.__module__].__file__ for kind in (outer, inner)]
        assert made_of == [str(folder / "mine.py"), str(folder / "inner" / "mine.py")]

    def test_untrusted_file_is_not_executed(self, folder: Path, tmp_path: Path) -> None:
        (folder / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
        with pytest.raises(UnavailableError, match=r"would execute .*mine\.py; give --trust"):
            registry.adapter_class("mine.py:Mine", folder=folder)
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("trust", [False, True])
    @pytest.mark.parametrize("name", ["../outside.py:Mine", "{root}/outside.py:Mine", "inner/../../outside.py:Mine"])
    def test_path_that_leads_out_is_refused(self, folder: Path, tmp_path: Path, name: str, trust: bool) -> None:
        with pytest.raises(CardError, match="leads out of the card's folder"):
            registry.adapter_class(name.format(root=tmp_path), folder=folder, trust=trust)

    def test_link_that_leads_out_is_refused(self, folder: Path, tmp_path: Path) -> None:
        (folder / "linked.py").symlink_to(tmp_path / "outside.py")
        with pytest.raises(CardError, match="leads out of the card's folder"):
            registry.adapter_class("linked.py:Mine", folder=folder, trust=True)

    def test_file_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(CardError, match="is not a Python file"):
            registry.adapter_class("nothing.py:Mine", folder=folder, trust=True)

    def test_class_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(CardError, match="has no class Yours"):
            registry.adapter_class("mine.py:Yours", folder=folder, trust=True)

    def test_class_that_is_no_codec(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="not a subclass"):
            registry.adapter_class("mine.py:Other", folder=folder, trust=True)

    @pytest.mark.parametrize(
        "content", ["raise RuntimeError('no')", "import sys; sys.exit(2)", "def (", "import nothing_x"]
    )
    def test_file_that_does_not_import(self, folder: Path, content: str) -> None:
        (folder / "mine.py").write_text(content)
        before = set(sys.modules)
        with pytest.raises(UnavailableError, match=r"mine\.py cannot be imported"):
            registry.adapter_class("mine.py:Mine", folder=folder, trust=True)
        assert set(sys.modules) <= before

    def test_card_without_a_folder(self) -> None:
        with pytest.raises(CardError, match="the card has no folder"):
            registry.adapter_class("mine.py:Mine", trust=True)


def test_every_card_of_ours_can_be_built() -> None:
    catalog = Catalog((Path(__file__).resolve().parents[1],))
    for name in catalog.files("codecs"):
        card = catalog.card(name)
        for configuration in (None, *card.configurations):
            registry.build(card.configured(configuration))
