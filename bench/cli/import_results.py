"""vcbench import: results that others publish sequence by sequence -> published curves."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import Command, LocalPath, as_json, counted, existing, print_json
from bench.cli.output import say


@click.command("import", cls=Command, short_help="Convert published results to curves to compare with.")
@click.argument("kind", type=click.Choice(["dcvc", "aom-ctc", "cool-chic", "jvet"]))
@click.argument("files", nargs=-1, required=True, type=existing())
@click.option(
    "--names",
    help="Names of the codecs, one per file, such as AV1-3.12,AV2-v13; default the names of the files. For jvet: of the"
    " reference and the tested codec.",
)
@click.option("--out", type=LocalPath(), required=True, help="Folder for the curves, which report and compare take.")
@as_json
def command(kind: str, files: tuple[Path, ...], names: str | None, out: Path, json_output: bool) -> int:
    """Convert published results to curves to compare with.

    dcvc reads the anchors' JSON of microsoft/DCVC, aom-ctc the result tables (CSV) of AOM's common test conditions,
    cool-chic those (TSV) of Orange-OpenSource/Cool-Chic, jvet the Excel sheet that JVET's engineers exchange. The
    curves keep a mark of their own and are compared with measured ones of the same sequence, metric, number of frames
    and size.

    \b
    Examples:
      vcbench import dcvc DCVC/anchors/vtm_17.0_yuv420_LB_allf_ip0.json --out published/vtm
      vcbench import aom-ctc r4.csv v13.csv --names AVM-r4.0,AV2-v13 --out published/avm
      vcbench compare results/mine published/vtm --anchor dcvc:VTM-17.0 --test x265 --metric psnr_y:dcvc
      vcbench import jvet proposal.xlsx --names VTM-23,proposal --out published/proposal
    """
    from bench.core.untrusted import parse_json
    from bench.errors import UsageError
    from bench.records import anchors, jvet
    from bench.records.published import write_published

    labels = [part.strip() for part in names.split(",")] if names else [path.stem for path in files]
    if kind in {"dcvc", "jvet"} and len(files) > 1:
        raise UsageError(f"{kind}: give one file at a time")
    if kind == "jvet":
        if names and len(labels) != 2:
            raise UsageError("--names: name the reference and the tested codec of the sheet, such as VTM-23,proposal")
        found = jvet.read(files[0], (labels[0], labels[1]) if names else None)
    else:
        texts: dict[str, list[str]] = {}
        if len(labels) != len(files) or (len(set(labels)) != len(labels) and kind != "cool-chic"):
            raise UsageError(f"--names: give one name for each of the {counted(len(files), 'file')}, each once")
        try:
            for label, path in zip(labels, files, strict=True):
                texts.setdefault(label, []).append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{kind}: a file cannot be read: {error}") from None
        if kind == "aom-ctc":
            found = anchors.aom_ctc({label: text for label, (text,) in texts.items()})
        elif kind == "cool-chic":
            found = anchors.coolchic(texts)
        else:
            try:
                data = parse_json(texts[labels[0]][0])
            except ValueError as error:
                raise UsageError(f"{files[0]}: is not strict JSON: {error}") from None
            found = anchors.dcvc(data, labels[0] if names else "VTM-17.0", files[0].name)
    path = write_published(out, found)
    if json_output:
        print_json({"curves": len(found.curves), "file": str(path)})
    else:
        say(f"{counted(len(found.curves), 'curve')} in {path}")
    return 0
