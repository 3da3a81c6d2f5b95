"""External programs by card: real encoders through pipes and files, the reference encoders' command lines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.adapters.base import RatePoint, copy_alone
from bench.adapters.command import CommandCodec
from bench.cards import Card, load_card
from bench.errors import CardError, DecodeError, EncodeError, TimeLimitError, UnavailableError
from bench.registry import build
from bench.video.formats import VideoFormat
from bench.video.frame import Frame
from bench.video.sequence import Sequence, open_sequence

pytestmark = pytest.mark.slow

TinyClip = Callable[..., Path]
Table = dict[str, Any]

OURS = Path(__file__).resolve().parents[2] / "codecs"


def card(encoder: Table, decoder: Table, input: Table | None = None, **settings: Any) -> Card:  # noqa: A002
    return Card.model_validate(
        {
            "name": "external",
            "title": "An external program",
            "adapter": "command",
            "licence": "unknown",
            "gop": "low delay",
            "extension": "bin",
            "rates": {"parameter": "qp", "values": [20, 40], "minimum": 1, "maximum": 63},
            "input": input or {},
            "settings": {
                "get": "Install it.",
                "encoder": {"env": "T_ENCODER", **encoder},
                "decoder": {"env": "T_DECODER", **decoder},
                **settings,
            },
        }
    )


def codec(*args: Any, **settings: Any) -> CommandCodec:
    built = build(card(*args, **settings))
    assert isinstance(built, CommandCodec)
    return built


def there_and_back(built: CommandCodec, sequence: Sequence, folder: Path, rate: float = 20) -> tuple[int, list[Frame]]:
    """Size of the bitstream and the decoded frames in the source's format."""
    built.check()
    folder.mkdir(exist_ok=True)
    bitstream = folder / f"bitstream.{built.card.extension}"
    info = built.encode(sequence, RatePoint("qp", rate), bitstream)
    assert info.usage is not None and info.usage.wall_s > 0
    transform = built.transform(sequence.format)
    with built.open_decoder(copy_alone(bitstream, folder / f"decode-{rate}"), transform.coded) as decoder:
        frames = [transform.inverse(frame) for frame in decoder.frames()]
    assert decoder.usage is not None
    return bitstream.stat().st_size, frames


def psnr(sequence: Sequence, frames: list[Frame]) -> float:
    error = np.mean(
        [np.mean((a.data.astype(float) - b.data) ** 2) for a, b in zip(sequence.read(), frames, strict=True)]
    )
    return float(10 * np.log10(sequence.format.peak**2 / max(float(error), 1e-6)))


def is_lossless(sequence: Sequence, frames: list[Frame]) -> bool:
    return all(np.array_equal(a.data, b.data) for a, b in zip(sequence.read(), frames, strict=True))


@pytest.fixture
def ffmpeg_as_program(ffmpeg_exe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("T_ENCODER", "T_DECODER"):
        monkeypatch.setenv(name, ffmpeg_exe)


QUIET = ["-v", "error", "-y"]
RAW_IN = ["-f", "rawvideo", "-pix_fmt", "{pix_fmt}", "-video_size", "{width}x{height}", "-framerate", "{fps}"]


@pytest.mark.usefixtures("ffmpeg_as_program")
class TestFFmpegAsAnExternalProgram:
    FFV1 = ("-c:v", "ffv1", "-f", "nut", "{bitstream}")

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "gray"])
    @pytest.mark.parametrize("frames_in", ["raw", "y4m"])
    @pytest.mark.parametrize("way_in", ["pipe:0", "{input}"])
    @pytest.mark.parametrize(
        ("frames_out", "way_out"), [("raw", "pipe:1"), ("y4m", "pipe:1"), ("raw", "{output}"), ("y4m", "{output}")]
    )
    def test_every_way_of_passing_frames(
        self,
        tiny_clip: TinyClip,
        tmp_path: Path,
        pix_fmt: str,
        frames_in: str,
        way_in: str,
        frames_out: str,
        way_out: str,
    ) -> None:
        muxer = ["-strict", "-1", "-f", "yuv4mpegpipe"] if frames_out == "y4m" else ["-f", "rawvideo"]
        built = codec(
            {
                "arguments": [
                    *QUIET,
                    *(RAW_IN if frames_in == "raw" else ["-f", "yuv4mpegpipe"]),
                    "-i",
                    way_in,
                    *self.FFV1,
                ]
            },
            {"arguments": [*QUIET, "-i", "{bitstream}", *muxer, way_out]},
            {"chroma": ["gray", "420", "444"], "bit_depths": [8, 10]},
            frames_in=frames_in,
            frames_out=frames_out,
        )
        sequence = open_sequence(tiny_clip(67, 45, 4, pix_fmt))
        _, frames = there_and_back(built, sequence, tmp_path)
        assert is_lossless(sequence, frames)
        assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("input")]

    def test_rate_reaches_the_program(self, tiny_clip: TinyClip, tmp_path: Path) -> None:
        built = codec(
            {
                "arguments": [
                    *QUIET,
                    *RAW_IN,
                    "-i",
                    "-",
                    "-c:v",
                    "mpeg2video",
                    "-q:v",
                    "{rate}",
                    "-f",
                    "mpeg2video",
                    "{bitstream}",
                ]
            },
            {"arguments": [*QUIET, "-i", "{bitstream}", "-f", "rawvideo", "-"]},
        )
        sequence = open_sequence(tiny_clip())
        fine, coarse = (there_and_back(built, sequence, tmp_path, rate) for rate in (2, 31))
        assert fine[0] > 2 * coarse[0]
        assert psnr(sequence, fine[1]) > psnr(sequence, coarse[1])

    def test_padding_and_depth_are_undone(self, tiny_clip: TinyClip, tmp_path: Path) -> None:
        built = codec(
            {"arguments": [*QUIET, *RAW_IN, "-i", "-", *self.FFV1]},
            {"arguments": [*QUIET, "-i", "{bitstream}", "-f", "rawvideo", "-"]},
            {"size_multiple": 16, "coding_bit_depth": 10},
        )
        sequence = open_sequence(tiny_clip(67, 45))
        assert built.transform(sequence.format).coded.describe() == "80x48 yuv420p10le at 25 fps"
        assert is_lossless(sequence, there_and_back(built, sequence, tmp_path)[1])

    def test_version_and_digest_are_told(self) -> None:
        from bench.video import ffmpeg

        built = codec(
            {"arguments": [], "version_arguments": ["-version"], "version_pattern": r"ffmpeg version (\S+)"},
            {"arguments": []},
        )
        tool = built.tool()
        assert tool["version"] == ffmpeg.version()
        assert len(tool["encoder_sha256"]) == len(tool["decoder_sha256"]) == 64


def test_gzip_is_a_lossless_codec(tiny_clip: TinyClip, tmp_path: Path) -> None:
    built = codec(
        {"names": ["sh"], "arguments": ["-c", 'exec gzip -nc > "$1"', "gzip", "{bitstream}"]},
        {"names": ["gzip"], "arguments": ["-dc", "{bitstream}"]},
    )
    built = build(built.card.model_copy(update={"extension": "gz"}))  # type: ignore[assignment]
    sequence = open_sequence(tiny_clip())
    size, frames = there_and_back(built, sequence, tmp_path)
    assert is_lossless(sequence, frames)
    assert 0 < size < 9 * sequence.format.frame_bytes


Y4M_IN = {"frames_in": "y4m"}
CLI_ENCODERS: dict[str, tuple[Table, Table, Table, Table]] = {
    "x265": (
        {"names": ["x265"], "version_arguments": ["--version"], "version_pattern": r"version (\d\S+)",
         "arguments": ["--log-level", "error", "--y4m", "--input", "-", "--qp", "{rate}", "--pools", "1",
                       "--frame-threads", "1", "--no-info", "-o", "{bitstream}"]},
        {"names": ["ffmpeg"], "arguments": [*QUIET, "-f", "hevc", "-i", "{bitstream}", "-f", "rawvideo", "-"]},
        {"minimum_size": 32}, Y4M_IN,
    ),
    "SvtAv1EncApp": (
        {"names": ["SvtAv1EncApp"], "version_arguments": ["--version"], "version_pattern": r"SVT-AV1 v?(\d\S+)",
         "arguments": ["-i", "{input}", "-w", "{width}", "-h", "{height}", "--fps-num", "25", "--fps-denom", "1",
                       "-n", "{frames}", "--preset", "10", "--rc", "0", "--qp", "{rate}",
                       "-b", "{bitstream}"]},
        {"names": ["SvtAv1DecApp"], "arguments": ["-i", "{bitstream}", "-o", "{output}"]},
        {"minimum_size": 64}, {},
    ),
    "vpxenc": (
        {"names": ["vpxenc"], "version_arguments": ["--help"], "version_pattern": r"VP9 Encoder v(\d\S+)",
         "arguments": ["--codec=vp9", "--ivf", "--end-usage=q", "--cq-level={rate}", "--cpu-used=4", "--threads=1",
                       "--passes=1", "--quiet", "-o", "{bitstream}", "-"]},
        {"names": ["vpxdec"], "arguments": ["--i420", "--rawvideo", "-o", "-", "{bitstream}"]},
        {}, Y4M_IN,
    ),
    "aomenc": (
        {"names": ["aomenc"], "version_arguments": ["--help"], "version_pattern": r"AV1 Encoder v?(\d\S+)",
         "arguments": ["--obu", "--end-usage=q", "--cq-level={rate}", "--cpu-used=6", "--threads=1", "--quiet",
                       "--passes=1", "-o", "{bitstream}", "{input}"]},
        {"names": ["aomdec"], "arguments": ["--rawvideo", "--i420", "-o", "{output}", "{bitstream}"]},
        {}, Y4M_IN,
    ),
    "kvazaar": (
        {"names": ["kvazaar"], "version_arguments": ["--version"], "version_pattern": r"Kvazaar v?(\d\S+)",
         "arguments": ["-i", "{input}", "--input-res", "{width}x{height}", "--input-fps", "{fps}", "-q", "{rate}",
                       "--threads", "0", "-o", "{bitstream}"]},
        {"names": ["ffmpeg"], "arguments": [*QUIET, "-f", "hevc", "-i", "{bitstream}", "-f", "rawvideo", "-"]},
        {"size_multiple": 8}, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", CLI_ENCODERS)
def test_encoders_of_the_distribution(
    tiny_clip: TinyClip, tmp_path: Path, ffmpeg_exe: str, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on PATH")
    encoder, decoder, takes, settings = CLI_ENCODERS[program]
    if decoder["names"] == ["ffmpeg"]:
        monkeypatch.setenv("T_DECODER", ffmpeg_exe)
    built = codec(encoder, decoder, takes, **settings)
    sequence = open_sequence(tiny_clip(96, 64, 20))
    fine, coarse = (there_and_back(built, sequence, tmp_path / str(rate), rate) for rate in (12, 45))
    assert len(fine[1]) == len(coarse[1]) == 20
    assert fine[0] > coarse[0]
    assert psnr(sequence, fine[1]) > max(30, psnr(sequence, coarse[1]) + 3)
    assert built.tool()["version"][0].isdigit()


class TestFindingPrograms:
    @pytest.fixture
    def programs(self, tmp_path: Path) -> Path:
        for name in ("env", "root/bin", "path"):
            folder = tmp_path / name
            folder.mkdir(parents=True)
            for tool in ("tenc", "tdec"):
                (folder / tool).write_text(f"#!/bin/sh\necho 'version 1.2 of {name}'\n")
                (folder / tool).chmod(0o755)
        return tmp_path

    @staticmethod
    def built(**changes: Any) -> CommandCodec:
        encoder = {"paths": ["bin/tenc"], "names": ["tenc"], "arguments": [], **changes}
        return codec(encoder, {"paths": ["bin/tdec"], "names": ["tdec"], "arguments": []}, root_env="T_ROOT")

    def found(self) -> str:
        command = self.built().decode_command(Path("b"), VideoFormat(2, 2))
        return command.argv[0]

    def test_order(self, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UnavailableError):
            self.built().check()
        monkeypatch.setenv("PATH", str(programs / "path"), prepend=":")
        assert self.found() == str(programs / "path" / "tdec")
        monkeypatch.setenv("T_ROOT", str(programs / "root"))
        assert self.found() == str(programs / "root" / "bin" / "tdec")
        monkeypatch.setenv("T_DECODER", str(programs / "env" / "tdec"))
        assert self.found() == str(programs / "env" / "tdec")
        self.built().check()

    def test_missing_program_says_everything_that_helps(self) -> None:
        with pytest.raises(UnavailableError) as caught:
            self.built().check()
        message = str(caught.value)
        for word in ("tenc", "T_ENCODER", "T_ROOT", "bin/tenc", "PATH", "Install it."):
            assert word in message

    def test_wrong_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("T_ENCODER", "/no/such/program")
        with pytest.raises(UnavailableError, match="T_ENCODER=/no/such/program is not a file"):
            self.built().check()

    def test_file_that_is_not_executable(self, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (programs / "root" / "bin" / "tenc").chmod(0o644)
        monkeypatch.setenv("T_ROOT", str(programs / "root"))
        with pytest.raises(UnavailableError, match=r"tenc is not executable; .*T_ENCODER"):
            self.built().check()

    def test_file_of_another_machine(self, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (programs / "root" / "bin" / "tenc").write_bytes(b"\x00\x01\x02")
        monkeypatch.setenv("T_ROOT", str(programs / "root"))
        with pytest.raises(UnavailableError, match="cannot be asked for its version"):
            self.built().check()

    def test_program_of_that_name_that_is_another(self, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("T_ROOT", str(programs / "root"))
        self.built(version_pattern=r"version (\S+) of root").check()
        with pytest.raises(UnavailableError, match="is not the program that card external needs"):
            self.built(version_pattern=r"version (\S+) of path").check()

    def test_required_version(self, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("T_ROOT", str(programs / "root"))
        old = self.built().card.model_copy(update={"tool_version": ">=2"})
        with pytest.raises(UnavailableError, match=r"tenc 1\.2 is installed, the card requires >=2"):
            build(old).check()

    def test_another_binary_is_another_tool(self, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("T_ROOT", str(programs / "root"))
        before = self.built().tool()
        assert self.built().tool() == before
        with (programs / "root" / "bin" / "tenc").open("a") as stream:
            stream.write("# rebuilt\n")
        after = self.built().tool()
        assert after["encoder_sha256"] != before["encoder_sha256"]
        assert after["decoder_sha256"] == before["decoder_sha256"]

    @pytest.mark.parametrize(
        "change",
        [
            {"paths": ["../../bin/sh"]}, {"paths": ["/bin/sh"]}, {"paths": ["bin/../../x"]}, {"paths": [""]},
            {"names": ["../sh"]}, {"names": ["-rf"]}, {"names": ["a b"]}, {"env": "lower"}, {"unknown": 1},
        ],
    )  # fmt: skip
    def test_hostile_places_are_refused(self, change: Table) -> None:
        with pytest.raises(CardError, match=rf"card external: settings:\n  encoder\.{next(iter(change))}"):
            self.built(**change)


class TestFailures:
    @pytest.fixture
    def sequence(self, tiny_clip: TinyClip) -> Sequence:
        return open_sequence(tiny_clip())

    @staticmethod
    def shell(encoder: str, decoder: str = "true") -> CommandCodec:
        return codec(
            {"names": ["sh"], "arguments": ["-c", encoder, "sh", "{bitstream}"]},
            {"names": ["sh"], "arguments": ["-c", decoder, "sh", "{bitstream}"]},
        )

    def test_encoder_that_fails(self, sequence: Sequence, tmp_path: Path) -> None:
        with pytest.raises(EncodeError, match=r"(?s)status 5.*no licence") as caught:
            self.shell("echo 'no licence' >&2; exit 5").encode(sequence, RatePoint("qp", 20), tmp_path / "b")
        assert caught.value.reason == "exit_status"

    def test_encoder_that_is_killed(self, sequence: Sequence, tmp_path: Path) -> None:
        with pytest.raises(EncodeError, match="SIGSEGV"):
            self.shell("kill -SEGV $$").encode(sequence, RatePoint("qp", 20), tmp_path / "b")

    def test_encoder_that_hangs(self, sequence: Sequence, tmp_path: Path) -> None:
        built = self.shell("sleep 600 & wait")
        built.time_limit = 0.3
        with pytest.raises(TimeLimitError):
            built.encode(sequence, RatePoint("qp", 20), tmp_path / "b")

    def test_decoder_that_hangs_with_its_output_open(self, tmp_path: Path) -> None:
        built = self.shell("true", "sleep 600")
        built.time_limit = 0.3
        (tmp_path / "b").write_bytes(b"x")
        with built.open_decoder(tmp_path / "b", VideoFormat(4, 4)) as decoder, pytest.raises(TimeLimitError):
            list(decoder.frames())

    @pytest.mark.parametrize(
        ("decoder", "word", "reason"),
        [
            ("head -c 30 /dev/zero", "ends inside frame 1", "damaged_output"),
            ("head -c 30 /dev/zero; echo 'no memory' >&2; exit 9", "(?s)status 9.*no memory", "exit_status"),
            ("head -c 30 /dev/zero; kill -SEGV $$", "SIGSEGV", "exit_status"),
        ],
        ids=["exit 0", "exit 9", "crash"],
    )
    def test_decoder_that_ends_inside_a_frame(self, tmp_path: Path, decoder: str, word: str, reason: str) -> None:
        (tmp_path / "b").write_bytes(b"x")
        running = self.shell("true", decoder).open_decoder(tmp_path / "b", VideoFormat(4, 4))
        with running, pytest.raises(DecodeError, match=word) as caught:
            list(running.frames())
        assert caught.value.reason == reason

    def test_decoder_that_writes_no_file(self, tmp_path: Path) -> None:
        built = codec(
            {"names": ["true"], "arguments": []}, {"names": ["true"], "arguments": ["{bitstream}", "{output}"]}
        )  # fmt: skip
        (tmp_path / "b").write_bytes(b"x")
        decoder = built.open_decoder(tmp_path / "b", VideoFormat(4, 4))
        with decoder, pytest.raises(DecodeError, match=r"wrote no decoded\.yuv") as caught:
            list(decoder.frames())
        assert caught.value.reason == "no_output"

    def test_names_with_shell_signs_reach_the_program_as_they_are(self, sequence: Sequence, tmp_path: Path) -> None:
        folder = tmp_path / "a $(touch hacked); b & c"
        folder.mkdir()
        built = self.shell('cat > "$1"')
        built.encode(sequence, RatePoint("qp", 20), folder / "bitstream.bin")
        assert (folder / "bitstream.bin").stat().st_size == 9 * sequence.format.frame_bytes
        assert not list(tmp_path.rglob("hacked"))

    def test_unknown_placeholder(self, sequence: Sequence, tmp_path: Path) -> None:
        built = codec({"names": ["true"], "arguments": ["{quality}"]}, {"names": ["true"], "arguments": ["{rate}"]})
        with pytest.raises(CardError, match=r"settings\.encoder\.arguments: \{quality\} is not a placeholder"):
            built.encode(sequence, RatePoint("qp", 20), tmp_path / "b")
        # a decoder knows the bitstream alone
        with pytest.raises(CardError, match=r"settings\.decoder\.arguments: \{rate\} is not a placeholder"):
            built.decode_command(tmp_path / "b", sequence.format)


# Stands in for a reference encoder: checks that it was given each option it is documented to need, packs the frames
# that the options describe, and unpacks them again.
STAND_IN = """\
#!{python}
import sys, zlib
BANNER, ROLE = {banner!r}, {role!r}
print(BANNER)
args = sys.argv[1:]
if args == ["--help"]:
    sys.exit(1)
short = {{"-c": "Cfg", "-f": "FramesToBeEncoded", "-q": "QP"}}
short |= {{"-b": "BitstreamFile", "-o": "ReconFile", "-d": "OutputBitDepth"}}
options, rest = {{}}, iter(args)
for argument in rest:
    if argument.startswith("--"):
        name, _, value = argument[2:].partition("=")
    else:
        name, value = short[argument], next(rest)
    assert name not in options, name
    options[name] = value
if ROLE == "encoder":
    assert open(options["Cfg"]).read() == "low delay", options["Cfg"]
    assert options["Level"] == "6.2"
    width, height = int(options["SourceWidth"]), int(options["SourceHeight"])
    assert width % 8 == height % 8 == 0
    sample = 1 if options["InputBitDepth"] == "8" else 2
    per_pixel = {{"420": 1.5, "444": 3}}[options["InputChromaFormat"]]
    data = open(options["InputFile"], "rb").read()
    assert len(data) == width * height * per_pixel * sample * int(options["FramesToBeEncoded"])
    assert int(options["QP"]) >= 0 and int(options["FrameRate"]) > 0
    open(options["ReconFile"], "wb").write(data)
    open(options["BitstreamFile"], "wb").write(options["InputBitDepth"].encode() + b" " + zlib.compress(data))
else:
    depth, _, packed = open(options["BitstreamFile"], "rb").read().partition(b" ")
    assert depth.decode() == options["OutputBitDepth"]
    open(options["ReconFile"], "wb").write(zlib.decompress(packed))
"""

BANNERS = {
    "hm": "HM software: Encoder Version [16.25] (including RExt)[Linux][GCC 12.2.0][64 bit] ",
    "vtm": "VVCSoftware: VTM Encoder Version 17.0 [Linux][GCC 12.2.0][64 bit] [SIMD=AVX2]",
    "ecm": "VVCSoftware: ECM Encoder Version 5.0 (VTM-10.0) [Linux][GCC 12.2.0][64 bit]",
}
PROGRAMS = {"hm": "TApp{}Static", "vtm": "{}AppStatic", "ecm": "{}AppStatic"}
CFGS = {"hm": "encoder_{}_main10.cfg", "vtm": "encoder_{}_vtm.cfg", "ecm": "encoder_{}_ecm.cfg"}


def install(name: str, root: Path, banner: str) -> None:
    (root / "bin").mkdir(parents=True)
    (root / "cfg").mkdir()
    for kind in ("lowdelay", "randomaccess", "intra"):
        text = "low delay" if kind == "lowdelay" else kind
        (root / "cfg" / CFGS[name].format(kind)).write_text(text)
    (root / "cfg" / "encoder_lowdelay_main_rext.cfg").write_text("low delay")
    for role in ("Encoder", "Decoder"):
        program = root / "bin" / PROGRAMS[name].format(role)
        program.write_text(STAND_IN.format(python=sys.executable, banner=banner, role=role.lower()))
        program.chmod(0o755)


def reference(name: str, configuration: str | None = None) -> CommandCodec:
    built = build(load_card(OURS / f"{name}.toml").configured(configuration))
    assert isinstance(built, CommandCodec)
    return built


@pytest.mark.parametrize("name", BANNERS)
class TestReferenceEncoders:
    @pytest.fixture
    def root(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        root = tmp_path / "root"
        install(name, root, BANNERS[name])
        monkeypatch.setenv(f"VCBENCH_{name.upper()}", str(root))
        return root

    @pytest.mark.parametrize(
        ("configuration", "cfg", "structure"),
        [
            (None, "lowdelay", ["--IntraPeriod=-1", "--DecodingRefreshType=2"]),
            ("ip32", "lowdelay", ["--IntraPeriod=32", "--DecodingRefreshType=2"]),
            ("ip96", "lowdelay", ["--IntraPeriod=96", "--DecodingRefreshType=2"]),
            ("random-access", "randomaccess", ["--IntraPeriod=64"]),
            ("all-intra", "intra", []),
        ],
    )
    def test_encoder_command_line(
        self, root: Path, tiny_clip: TinyClip, name: str, configuration: str | None, cfg: str, structure: list[str]
    ) -> None:
        built = reference(name, configuration)
        sequence = open_sequence(tiny_clip(67, 45, rate="60000/1001"))
        coded = built.transform(sequence.format).coded
        command = built.encode_command(sequence, coded, RatePoint("qp", 32), Path("/cell/bitstream.bin"))
        assert list(command.argv) == [
            str(root / "bin" / PROGRAMS[name].format("Encoder")),
            "-c", str(root / "cfg" / CFGS[name].format(cfg)),
            "--InputFile=/cell/input.yuv", "--InputBitDepth=8", "--InputChromaFormat=420",
            "--SourceWidth=72", "--SourceHeight=48", "--FrameRate=60", "-f", "9",
            "-q", "32", *structure, "--Level=6.2",
            "-b", "/cell/bitstream.bin", "-o", "/dev/null",
        ]  # fmt: skip
        assert command.through == "file"
        assert command.frames_as == "raw"

    @pytest.mark.parametrize("depth", [8, 10])
    def test_decoder_command_line(self, root: Path, name: str, depth: int) -> None:
        command = reference(name).decode_command(Path("/d/bitstream.bin"), VideoFormat(64, 64, bit_depth=depth))
        assert list(command.argv) == [
            str(root / "bin" / PROGRAMS[name].format("Decoder")),
            "-b", "/d/bitstream.bin", "-o", "/d/decoded.yuv", "-d", str(depth),
        ]  # fmt: skip

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
    @pytest.mark.parametrize("size", [(64, 64), (67, 45)])
    @pytest.mark.parametrize("configuration", [None, "ip32", "ip96"])
    def test_options_are_the_ones_the_program_reads(
        self, root: Path, tiny_clip: TinyClip, tmp_path: Path, name: str, pix_fmt: str, size: tuple[int, int],
        configuration: str | None,
    ) -> None:  # fmt: skip
        sequence = open_sequence(tiny_clip(*size, 4, pix_fmt))
        _, frames = there_and_back(reference(name, configuration), sequence, tmp_path)
        assert is_lossless(sequence, frames)

    def test_version_is_read(self, root: Path, name: str) -> None:
        assert reference(name).tool()["version"] == {"hm": "16.25", "vtm": "17.0", "ecm": "5.0"}[name]

    def test_changed_configuration_file_is_another_tool(self, root: Path, name: str) -> None:
        before = reference(name).tool()
        (root / "cfg" / CFGS[name].format("lowdelay")).write_text("low delay, but changed")
        assert reference(name).tool() != before

    def test_missing_encoder_says_how_to_get_it(self, name: str) -> None:
        with pytest.raises(UnavailableError) as caught:
            reference(name).check()
        up = name.upper()
        for word in (PROGRAMS[name].format("Encoder"), f"VCBENCH_{up}_ENCODER", f"VCBENCH_{up} ", "git clone", "PATH"):
            assert word in str(caught.value)

    def test_missing_configuration_file_is_named(self, root: Path, name: str) -> None:
        (root / "cfg" / CFGS[name].format("randomaccess")).unlink()
        reference(name).check()
        with pytest.raises(UnavailableError, match=CFGS[name].format("randomaccess").replace(".", r"\.")):
            reference(name, "random-access").check()

    def test_sequence_it_cannot_take_is_skipped(self, name: str) -> None:
        from bench.errors import SkippedError

        with pytest.raises(SkippedError):
            reference(name).transform(VideoFormat(64, 64, chroma="444"))


@pytest.mark.parametrize(("name", "installed"), [("vtm", "ecm"), ("ecm", "vtm")])
def test_vtm_and_ecm_are_not_taken_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, installed: str
) -> None:
    install(name, tmp_path / "root", BANNERS[installed])
    monkeypatch.setenv(f"VCBENCH_{name.upper()}", str(tmp_path / "root"))
    with pytest.raises(UnavailableError, match=f"not the program that card {name} needs"):
        reference(name).check()


def test_hm_codes_444_by_the_range_extensions(
    tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("hm", tmp_path / "root", BANNERS["hm"])
    monkeypatch.setenv("VCBENCH_HM", str(tmp_path / "root"))
    built = reference("hm", "444")
    sequence = open_sequence(tiny_clip(64, 64, 3, "yuv444p10le"))
    command = built.encode_command(sequence, sequence.format, RatePoint("qp", 32), tmp_path / "b")
    assert command.argv[2].endswith("encoder_lowdelay_main_rext.cfg")
    assert "--InputChromaFormat=444" in command.argv
    assert is_lossless(sequence, there_and_back(built, sequence, tmp_path)[1])


# Stands in for AVM's programs: options as its argument parser has them, y4m in and out.
AVM_STAND_IN = """\
#!{python}
import sys, zlib
args = sys.argv[1:]
if args == ["--help"]:
    print("Included encoders:\\n\\n    av2    - AOMedia Project AV2 Encoder v1.0.0 (default)")
    sys.exit(0)
flags, short = {{"obu", "i420"}}, {{"-o": "output", "-w": "width", "-h": "height"}}
options, files, rest = {{}}, [], iter(args)
for argument in rest:
    if argument.startswith("--"):
        name, has_value, value = argument[2:].partition("=")
        assert bool(has_value) != (name in flags), argument
    elif argument.startswith("-"):
        name, value = short[argument], next(rest)
    else:
        files.append(argument)
        continue
    assert name not in options, name
    options[name] = value
(source,) = files
assert options.pop("codec") == "av2"
data = open(source, "rb").read()
if {encodes}:
    head, _, frames = data.partition(b"\\n")
    assert head.split()[1:3] == [b"W" + options["width"].encode(), b"H" + options["height"].encode()]
    assert b"420p10" in head and options["bit-depth"] == options["input-bit-depth"] == "10"
    assert frames.count(b"FRAME\\n") == int(options["limit"])
    data = zlib.compress(data)
else:
    assert set(options) == {{"output"}}
    data = zlib.decompress(data)
open(options["output"], "wb").write(data)
"""

CTC = {
    *("--codec=av2", "--obu", "--frame-parallel=0", "--cpu-used=0", "--passes=1", "--end-usage=q", "--i420"),
    *("--use-fixed-qp-offsets=1", "--deltaq-mode=0", "--enable-tpl-model=0", "--enable-intrabc-ext=1"),
    *("--tile-rows=0", "--tile-columns=0", "--threads=1", "--row-mt=0"),
    *("--enable-fwd-kf=0", "--enable-keyframe-filtering=0"),
}
"""What AVM's own test framework gives avmenc for each configuration (VideoEncoder.py of tools/convexhull_framework)."""

PYRAMID = {"--min-gf-interval=16", "--max-gf-interval=16", "--gf-min-pyr-height=4", "--gf-max-pyr-height=4"}
CTC_STRUCTURE = {
    None: {*PYRAMID, "--kf-min-dist=65", "--kf-max-dist=65", "--lag-in-frames=19", "--auto-alt-ref=1"},
    "low-delay": {
        *PYRAMID, "--kf-min-dist=9999", "--kf-max-dist=9999", "--lag-in-frames=0", "--subgop-config-str=ld",
    },
    "all-intra": {"--kf-min-dist=0", "--kf-max-dist=0"},
}  # fmt: skip


class TestAvm:
    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        root = tmp_path / "avm"
        root.mkdir()
        for name in ("avmenc", "avmdec"):
            (root / name).write_text(AVM_STAND_IN.format(python=sys.executable, encodes=name == "avmenc"))
            (root / name).chmod(0o755)
        monkeypatch.setenv("VCBENCH_AVM", str(root))
        return root

    @pytest.mark.parametrize("configuration", CTC_STRUCTURE)
    def test_options_are_those_of_the_common_test_conditions(
        self, root: Path, tiny_clip: TinyClip, configuration: str | None
    ) -> None:
        built = reference("avm", configuration)
        sequence = open_sequence(tiny_clip(67, 45, rate="60000/1001"))
        coded = built.transform(sequence.format).coded
        command = built.encode_command(sequence, coded, RatePoint("qp", 160), Path("/cell/bitstream.av2"))
        program, *options = command.argv
        assert program == str(root / "avmenc")
        assert options[-3:] == ["-o", "/cell/bitstream.av2", "/cell/input.y4m"]
        sizes = {"--limit=9", "--fps=60000/1001", "-w", "68", "-h", "46", "--input-bit-depth=10", "--bit-depth=10"}
        assert set(options[:-3]) == {*CTC, *CTC_STRUCTURE[configuration], *sizes, "--qp=160"}

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
    @pytest.mark.parametrize("configuration", CTC_STRUCTURE)
    def test_frames_come_back(
        self, root: Path, tiny_clip: TinyClip, tmp_path: Path, pix_fmt: str, configuration: str | None
    ) -> None:
        built = reference("avm", configuration)
        built.check()
        assert built.tool()["version"] == "1.0.0"
        sequence = open_sequence(tiny_clip(67, 45, 4, pix_fmt))
        assert is_lossless(sequence, there_and_back(built, sequence, tmp_path, 160)[1])

    def test_rates_are_those_of_the_common_test_conditions(self) -> None:
        card = load_card(OURS / "avm.toml")
        assert card.rates.values == (110, 135, 160, 185, 210, 235)
        assert card.configured("all-intra").rates.values == (85, 110, 135, 160, 185, 210)
