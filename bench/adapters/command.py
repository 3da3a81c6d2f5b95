"""Any external encoder and decoder, driven by the argument templates of a card."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bench.adapters.base import Command, ExternalCodec, RatePoint, Settings, fill, placeholders, program_files
from bench.adapters.ffmpeg import check_version
from bench.core import process
from bench.core.files import file_digest
from bench.core.schema import InnerPath
from bench.errors import UnavailableError
from bench.video import ffmpeg
from bench.video.formats import VideoFormat
from bench.video.sequence import Sequence

_ANY_VERSION = r"(\d+\.\d+[\w.-]*)"


class Located(Settings):
    """A file that the card needs, found by an environment variable, in the tool's folder, or on PATH, in that order."""

    env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$", description="environment variable that names the file")
    paths: tuple[InnerPath, ...] = Field(default=(), description="where it is, below the folder that root_env names")
    names: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")], ...] = Field(
        default=(), description="program names looked up on PATH"
    )


class Program(Located):
    """One program and its argument template.

    Without {input} the encoder reads frames from its standard input; without {output} the decoder writes frames to
    its standard output.
    """

    arguments: tuple[str, ...] = Field(description="template of the arguments")
    version_arguments: tuple[str, ...] = Field(default=(), description="arguments that make it print its version")
    version_pattern: str | None = Field(
        default=None,
        description="regular expression whose group 1 is the version; a program that prints no match is refused",
    )
    bundled: Literal["ffmpeg"] | None = Field(
        default=None, description="use the program that vcbench brings if env names none"
    )


class CommandSettings(Settings):
    """The ``settings`` table of a card with adapter = "command"."""

    root_env: str | None = Field(
        default=None, pattern=r"^[A-Z][A-Z0-9_]*$", description="environment variable that names the tool's folder"
    )
    get: str = Field(description="how to get the programs, printed when they are missing")
    encoder: Program = Field(description="the program that encodes")
    decoder: Program = Field(description="the program that decodes")
    files: dict[str, Located] = Field(default={}, description="further files, named {file_<key>} in arguments")
    frames_in: Literal["raw", "y4m"] = Field(default="raw", description="form of the frames that the encoder reads")
    frames_out: Literal["raw", "y4m"] = Field(default="raw", description="form of the frames that the decoder writes")


class CommandCodec(ExternalCodec):
    """Programs run in the folder of the cell; frames travel through pipes or temporary files as the templates say."""

    settings_model = CommandSettings
    settings: CommandSettings

    def check(self) -> None:
        for program in (self.settings.encoder, self.settings.decoder, *self.settings.files.values()):
            self._locate(program)
        version = self._version
        if self.card.tool_version is not None:
            check_version(self._locate(self.settings.encoder).name, version, self.card.tool_version)

    def tool(self) -> dict[str, str]:
        used = {"encoder": self.settings.encoder, "decoder": self.settings.decoder, **self.settings.files}
        digests = {f"{key}_sha256": file_digest(self._locate(located)) for key, located in used.items()}
        return {"version": self._version, **digests}

    def made_of(self) -> dict[str, tuple[Path, ...]]:
        settings = self.settings
        files = {key: (self._locate(located),) for key, located in settings.files.items()}
        encoder, decoder = (
            program_files(role, self._locate(program), program.arguments)
            for role, program in (("encoder", settings.encoder), ("decoder", settings.decoder))
        )
        return {**super().made_of(), **encoder, **decoder, **files}

    def encode_command(self, source: Sequence, coded: VideoFormat, rate: RatePoint, bitstream: Path) -> Command:
        program = self.settings.encoder
        frames = bitstream.with_name(f"input.{'y4m' if self.settings.frames_in == 'y4m' else 'yuv'}")
        values = {**placeholders(coded, source.frames, rate), **self._files, "input": frames, "bitstream": bitstream}
        argv = self._argv(program, values, "encoder")
        by_file = any("{input}" in argument for argument in program.arguments)
        return Command(argv, self.settings.frames_in, "file" if by_file else "pipe", frames if by_file else None)

    def decode_command(self, bitstream: Path, coded: VideoFormat) -> Command:
        program = self.settings.decoder
        frames = bitstream.with_name(f"decoded.{'y4m' if self.settings.frames_out == 'y4m' else 'yuv'}")
        values = {**self._files, "bitstream": bitstream, "output": frames, "bit_depth": coded.bit_depth}
        argv = self._argv(program, values, "decoder")
        by_file = any("{output}" in argument for argument in program.arguments)
        return Command(argv, self.settings.frames_out, "file" if by_file else "pipe", frames if by_file else None)

    def _argv(self, program: Program, values: Mapping[str, object], role: str) -> tuple[str, ...]:
        where = f"card {self.card.name}: settings.{role}.arguments"
        return (str(self._locate(program)), *fill(program.arguments, values, where))

    @property
    def _files(self) -> dict[str, Path]:
        return {f"file_{key}": self._locate(located) for key, located in self.settings.files.items()}

    @cached_property
    def _version(self) -> str:
        encoder = self.settings.encoder
        program = self._locate(encoder)
        try:
            with tempfile.TemporaryDirectory() as folder:
                out, err, _ = process.run(self.confined([str(program), *encoder.version_arguments], Path(folder)))
        except (OSError, process.ProcessError) as error:
            raise UnavailableError(f"{program} cannot be asked for its version: {error}") from None
        match = re.search(encoder.version_pattern or _ANY_VERSION, out.decode("utf-8", "replace") + err)
        if match is None and encoder.version_pattern is not None:
            raise UnavailableError(
                f"{program} is not the program that card {self.card.name} needs: it does not print "
                f"{encoder.version_pattern!r}; set {encoder.env} to the right one. {self.settings.get}"
            )
        return match.group(1) if match else "not stated by the program"

    def _locate(self, located: Located) -> Path:
        # before it is looked up: not even the variable that a stranger's card names is read
        self.require_trust(f"would run {' or '.join((*located.names, f'what {located.env} names'))}")
        path = self._found(located)
        if isinstance(located, Program) and not os.access(path, os.X_OK):
            raise UnavailableError(f"{path} is not executable; set {located.env} to a program, or chmod +x it")
        return path

    def _found(self, located: Located) -> Path:
        named = os.environ.get(located.env)
        if named:
            found = shutil.which(named) or (named if Path(named).is_file() else None)
            if found is None:
                raise UnavailableError(f"{located.env}={named} is not a file; correct it or unset it")
            return Path(found).resolve()
        if isinstance(located, Program) and located.bundled is not None:
            return Path(ffmpeg.executable()).resolve()
        root = os.environ.get(self.settings.root_env or "")
        for path in located.paths if root else ():
            if (Path(str(root)) / path).is_file():
                return (Path(str(root)) / path).resolve()
        for name in located.names:
            if (program := shutil.which(name)) is not None:
                return Path(program).resolve()
        where = [f"set {located.env} to it"]
        if self.settings.root_env and located.paths:
            where.append(f"or {self.settings.root_env} to the folder that holds {located.paths[0]}")
        if located.names:
            where.append(f"or put {' or '.join(located.names)} on PATH")
        what = (located.names or located.paths or ("a file",))[0].rpartition("/")[2]
        raise UnavailableError(f"{what} is not on this machine: {' '.join(where)}. {self.settings.get}")
