"""vcbench train: train our own codecs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import CommaList, Command, LocalPath, as_json, counted, existing, print_json
from bench.cli.output import say, tell
from bench.errors import TrainingError, UnknownNameError, UsageError
from bench.neural.training.recipe import RECIPES, Options, Recipe, recipe

if TYPE_CHECKING:
    from torch import nn

    from bench.neural.training.loop import Stage, Training


@click.command("train", cls=Command, short_help="Train our own codecs.")
@click.argument("codec", type=click.Choice(sorted(RECIPES)))
@click.option(
    "--clips",
    type=existing(folder=True),
    required=True,
    help="Folder with videos to train on; its subfolders are searched too. Clips too small or too short for a "
    "stage are counted and left out.",
)
@click.option("--out", type=LocalPath(), required=True, help="Folder of the run; an interrupted run there continues.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Stop after N minutes; the same command continues.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the weights and of the random crops.",
)
@click.option(
    "--steps-scale",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    help="Multiply the number of steps of each stage.",
)
@click.option("--stages", "names", type=CommaList(), help="Only these stages of the codec.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the model, such as temporal_guidance=false; may be repeated.",
)
@click.option(
    "--no-cascade", is_flag=True, help="Pass gradients through at most two frames, with as many pictures per step."
)
@click.option(
    "--from",
    "origin",
    type=existing(),
    help="Start with the weights of another run (its folder, or a file in it) or with a weight file.",
)
@click.option(
    "--export", is_flag=True, help="After the last stage, write the weight file, its model card and the codec's card."
)
@click.option(
    "--keep",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    help="Share of the weights of --from in the exported ones; 0 exports what was trained.",
)
@click.option("--licence", default="none stated", help="Licence of the exported weights, for their cards.")
@as_json
def command(
    codec: str,
    clips: Path,
    out: Path,
    minutes: float | None,
    seed: int,
    steps_scale: float,
    names: tuple[str, ...] | None,
    changes: tuple[str, ...],
    no_cascade: bool,
    origin: Path | None,
    export: bool,
    keep: float,
    licence: str,
    json_output: bool,
) -> int:
    """Train one of our own codecs on a folder of videos, stage by stage.

    Ctrl-C and --minutes stop after the current step; the same command continues, bit for bit. About every tenth
    video is held out, chosen by its name, for the figures at the end of each stage. Training needs the weights
    squeezenet and spynet (vcbench fetch weights).

    \b
    Examples:
      vcbench train s2vc --clips videos/ --out runs/s2vc --minutes 30
      vcbench train s2vc --clips videos/ --out runs/no-tcg --from runs/s2vc --set temporal_guidance=false
      vcbench train diff-sit --clips videos/ --out runs/ours --from OURS.safetensors --stages generator-21 --export
    """
    from bench.neural.training.loop import check_own

    if keep and (origin is None or not export):
        raise UsageError("--keep: mixes the weights of --from into those that --export writes; give both")
    check_own(out)
    options = Options(_settings(changes), seed)
    chosen = recipe(codec)
    chosen.check(options)
    stages = _stages(chosen.stages(options), names, steps_scale, not no_cascade)
    with _prepared(codec, chosen, options, stages, clips, out, origin) as training:
        with _interrupts_noted() as interrupted:
            training.run(minutes=minutes, stop=interrupted, progress=_tell)
            if interrupted():
                raise KeyboardInterrupt
        summary = _summary(codec, training)
        if export and training.done:
            summary |= _export(codec, options, chosen, training, licence, clips, origin if keep else None, keep)
    if json_output:
        print_json(summary)
        return 0
    state = "trained" if training.done else "not done yet; the same command continues"
    say(f"{codec}: {training.total_steps} of {summary['steps']} steps, {state}: {out}")
    for what in ("weights", "model_card", "card"):
        if path := summary.get(what):
            say(f"{path}")
    if card := summary.get("card"):
        say(f"next: vcbench run --codecs {card} --input CLIPS")
    return 0


def _settings(changes: Sequence[str]) -> dict[str, str]:
    pairs = [change.partition("=") for change in changes]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError(f"--set {name}: takes KEY=VALUE, such as temporal_guidance=false")
    return {name: value for name, _, value in pairs}


def _stages(all_stages: list[Stage], names: Sequence[str] | None, factor: float, cascade: bool) -> list[Stage]:
    from bench.neural.training.loop import scaled, without_cascade

    known = [stage.name for stage in all_stages]
    for name in names or ():
        if name not in known:
            raise UnknownNameError("stage", name, known)
    kept = [stage for stage in all_stages if names is None or stage.name in names]
    return scaled(kept if cascade else without_cascade(kept), factor)


@contextmanager
def _prepared(
    codec: str, chosen: Recipe, options: Options, stages: list[Stage], clips: Path, out: Path, origin: Path | None
) -> Iterator[Training]:
    """A training that is ready to run, alone in its folder: clips decoded, model built, weights to begin with read."""
    from bench.networks.device import device
    from bench.neural.coding.weight_file import About, check_origin
    from bench.neural.training.clips import find_clips, is_held_out, training_clips
    from bench.neural.training.loop import Training, alone, weights_of

    start = None
    if origin is not None and origin.suffix == ".safetensors":
        check_origin(origin, codec)
    elif origin is not None:
        start = weights_of(origin)
    paths = find_clips(clips)
    _tell(f"{counted(len(paths), 'video')}: decoding those not decoded before")
    size, frames = max(stage.size for stage in stages), max(stage.length for stage in stages)
    train, held_out = training_clips(clips, size=size, frames=frames)
    _tell(
        f"{counted(len(train), 'clip')} to train on, {len(held_out)} held out, "
        f"{len(paths) - len(train) - len(held_out)} too small or short for {frames} frames of {size}x{size}"
    )
    about = {
        "codec": codec,
        "scale": About.scale,
        **chosen.about(options),
        "clips": sorted(path.name for path in paths if not is_held_out(path.stem)),
        "held_out": sorted(path.name for path in paths if is_held_out(path.stem)),
        **({"from": str(origin)} if origin is not None else {}),
    }
    if not held_out:
        _tell(f"{clips}: no video is held out, so that stages end without figures; a tenth of 20 or more would be")
    task = chosen.build(options, train, held_out, device())
    with alone(out):
        training = Training(task, stages, train, out, seed=options.seed, device=device(), about=about)
        if training.resumed:
            _tell(f"{out}: continues after {counted(training.total_steps, 'step')}")
        elif start is not None:
            training.start_from(start, str(origin))
        elif origin is not None:
            training.start_from_file(origin)
        yield training


def _summary(codec: str, training: Training) -> dict[str, Any]:
    current = None if training.done else training.stages[training.stage_index].name
    return {
        "codec": codec,
        "out": str(training.folder),
        "done": training.done,
        "stage": current,
        "steps_done": training.total_steps,
        "steps": sum(stage.steps for stage in training.stages),
        "skipped": training.skipped,
        "seconds": round(training.seconds, 1),
        "curves": str(training.draw_curves()),
    }


def _export(
    codec: str,
    options: Options,
    chosen: Recipe,
    training: Training,
    licence: str,
    clips: Path,
    kept: Path | None,
    keep: float,
) -> dict[str, str]:
    """Write the averaged weights as coding reads them, their model card and the codec's card into the run's folder.

    ``kept``: the weights that the run began with, of which these have the share ``keep``.
    """
    from bench.neural.coding.weight_file import About, save
    from bench.neural.training.codec_card import write_codec_card
    from bench.neural.training.model_card import CardFacts, write_model_card

    facts = chosen.about(options)
    target = training.folder / f"{codec}-{About.scale}.safetensors"
    with training.averaged() as model:
        if kept is not None:
            _keep(model, kept, codec, keep)
        try:
            sha256 = save(target, About(codec, facts["config"]), model.cpu())
        except ValueError as error:
            raise TrainingError(f"{target}: {error}") from None
    model_card = target.with_suffix(".md")
    described = CardFacts(
        facts.get("title", codec), facts.get("paper", "none stated"), licence, f"videos in {clips.name}", keep
    )
    write_model_card(model_card, target, training.folder / "run.json", described)
    card = write_codec_card(target, described, training.folder.resolve().name)
    return {"weights": str(target), "sha256": sha256, "model_card": str(model_card), "card": str(card)}


def _keep(model: nn.Module, origin: Path, codec: str, share: float) -> None:
    """Move a model's weights back to those it began with, by a share.

    A generator that learned to draw has more texture and more error than before; between the two lie models that have
    most of the one and little of the other (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
    """
    from copy import deepcopy

    from bench.neural.coding.weight_file import begin_with
    from bench.neural.training.loop import weights_of

    before = deepcopy(model)
    if origin.suffix == ".safetensors":
        begin_with(before, origin, codec)
    else:
        before.load_state_dict(weights_of(origin), strict=False)
    own, other = model.state_dict(), before.state_dict()
    model.load_state_dict(
        {name: value.lerp(other[name], share) if value.is_floating_point() else value for name, value in own.items()}
    )


@contextmanager
def _interrupts_noted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C, SIGTERM or SIGHUP came: the step under way ends and is stored; a second one ends at once."""
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True
        _tell("ending after this step; once more to end at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(line: str) -> None:
    tell(line)
