"""vcbench import: results that others publish sequence by sequence -> published curves."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import Command, LocalPath, as_json, counted, existing, print_json
from bench.cli.output import say


@click.command("import", cls=Command, short_help="Convert published results to curves to compare with.")
@click.argument("kind", type=click.Choice(["dcvc", "aom-ctc"]))
@click.argument("files", nargs=-1, required=True, type=existing())
@click.option(
    "--names", help="Names of the codecs, one per file, such as AV1-3.12,AV2-v13; default the names of the files."
)
@click.option("--out", type=LocalPath(), required=True, help="Folder for the curves, which report and compare take.")
@as_json
def command(kind: str, files: tuple[Path, ...], names: str | None, out: Path, json_output: bool) -> int:
    """Convert published results to curves to compare with: dcvc or aom-ctc.

    dcvc reads the anchors' JSON of microsoft/DCVC, aom-ctc the result tables (CSV) of AOM's common test conditions. The
    curves keep a mark of their own and are compared with measured ones of the same sequence, metric, number of frames
    and size.

    \b
    Examples:
      vcbench import dcvc DCVC/anchors/vtm_17.0_yuv420_LB_allf_ip0.json --out published/vtm
      vcbench import aom-ctc r4.csv v13.csv --names AVM-r4.0,AV2-v13 --out published/avm
      vcbench compare results/mine published/vtm --anchor dcvc:VTM-17.0 --test x265 --metric psnr_y:dcvc
    """
    from bench.core.untrusted import parse_json
    from bench.errors import UsageError
    from bench.records import anchors
    from bench.records.published import write_published

    labels = [part.strip() for part in names.split(",")] if names else [path.stem for path in files]
    if len(labels) != len(files) or len(set(labels)) != len(labels):
        raise UsageError(f"--names: give one name for each of the {counted(len(files), 'file')}, each once")
    try:
        texts = {label: path.read_text(encoding="utf-8") for label, path in zip(labels, files, strict=True)}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{kind}: a file cannot be read: {error}") from None
    if kind == "aom-ctc":
        found = anchors.aom_ctc(texts)
    elif len(files) > 1:
        raise UsageError("dcvc: give one file, whose codec --names names")
    else:
        try:
            data = parse_json(texts[labels[0]])
        except ValueError as error:
            raise UsageError(f"{files[0]}: is not strict JSON: {error}") from None
        found = anchors.dcvc(data, labels[0] if names else "VTM-17.0", files[0].name)
    path = write_published(out, found)
    if json_output:
        print_json({"curves": len(found.curves), "file": str(path)})
    else:
        say(f"{counted(len(found.curves), 'curve')} in {path}")
    return 0
