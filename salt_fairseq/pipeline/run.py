"""A run from its plan to the classifier. What is done is not done again, so that the same command goes on after a kill."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from salt_fairseq.checkpoint_file import read_checkpoint_file
from salt_fairseq.cli.commands import call
from salt_fairseq.cli.printable import print_line, printable
from salt_fairseq.errors import InputError
from salt_fairseq.pipeline import estimate
from salt_fairseq.pipeline.fine_tuning import fine_tune
from salt_fairseq.pipeline.inputs import hold_out, percent_of, read_examples, reading_of, write_jsonl
from salt_fairseq.pipeline.plan import Plan
from salt_fairseq.pipeline.settings import FIELDS, RUN_FILE, check_same, option, read_run_file, shown, write_run_file
from salt_fairseq.pipeline.stages import WORK, Stage, rewritten_files, stages_of
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import locked, read_json, replacing

UNLISTED = {"model", "train", "valid", "test", "out"}  # settings that the lines above the list name
MARKER = "salt_fairseq.json"  # the last file of an export


def check_out(out: Path) -> None:
    """Raise unless a run may write there: nothing, or an earlier run."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: name a directory")
    others = {path.name for path in out.iterdir()} - {WORK} if out.is_dir() else set()
    if others and not (out / RUN_FILE).is_file():
        raise InputError(f"--out {out} exists and holds no {RUN_FILE}: name another directory, or empty this one")


def describe(plan: Plan) -> Iterator[str]:
    """The lines that say what was read and chosen."""
    settings = plan.settings
    yield f"salt train: {settings.system}, {settings.model}, into {_near(settings.out)}"
    yield ""
    yield f"train    {plan.train}"
    if plan.valid:
        yield f"valid    {plan.valid}"
    else:
        yield f"valid    {settings.hold_out} of train, about {plan.held_out:,}, held out (--valid FILE takes others)"
    for language, test in plan.tests.items():
        yield f"test {language:3} {test}"
    if not plan.transfers:
        yield "test     no other language, so that there will be no table (--test LANG=FILE)"
    if plan.tests_on_valid:
        yield f"test {settings.source_language:3} valid, again (--test {settings.source_language}=FILE takes others)"
    yield ""
    for name in FIELDS:
        value = getattr(settings, name)
        if value is not None and name not in UNLISTED | ({"hold_out"} if plan.valid else set()):
            reason = f"  ({plan.reasons[name]})" if name in plan.reasons else ""
            yield f"{option(name):21} {shown(value):14}{reason}".rstrip()
    yield ""
    shape = "" if plan.is_shape_known else " if the PLM is of XLM-R base's size"
    yield f"about {estimate.duration(plan.seconds)} and at most {estimate.size(plan.bytes)} of disk{shape}"


def dry_run(plan: Plan) -> None:
    """Print what would run."""
    for line in describe(plan):
        print(printable(line))
    print("\ncommands:")
    plm_dir = plan.plm_dir or Path("PLM_DIR")
    for stage in stages_of(plan, plm_dir):
        print(printable(f"  {_typed(stage)}{'  # done' if stage.is_done else ''}"))


def run(plan: Plan, given: set[str]) -> Path:
    """Do everything that is not done yet; returns the classifier's directory. ``given`` names the settings that a user gave."""
    out, plm_dir = Path(plan.settings.out), plan.plm_dir
    assert plm_dir is not None
    check_out(out)
    with locked(out):
        out.mkdir(parents=True, exist_ok=True)
        if (out / RUN_FILE).is_file():
            before = read_run_file(out / RUN_FILE)
            if "precision" not in given:
                plan.settings.precision = before[0].get("precision", plan.settings.precision)
            check_same(out, before, (plan.settings, plan.checksums))
        for line in describe(plan):
            print_line(line)
        write_run_file(out / RUN_FILE, plan.settings, plan.reasons, plan.checksums)
        print_line(f"all of this is in {_near(out / RUN_FILE)}, with which salt train --config goes on or repeats it")
        _check_space(out, plan.bytes)
        stages = stages_of(plan, plm_dir)
        for number, stage in enumerate(stages, 1):
            if not stage.is_done:
                print_line("")
                print_line(f"[{number}/{len(stages)}] {_title(stage, plan)}")
                _do(stage, plan, plm_dir)
        best, accuracy = best_checkpoint(out)
        table = f"; table and figures in {_near(out / 'report')}" if plan.transfers else ""
        print_line("")
        print_line(f"{_near(out)} is the classifier: transformers.pipeline('text-classification', '{_near(out)}')")
        print_line(
            f"seed {best.stem.rpartition('-')[2]} of {plan.settings.seeds}, accuracy on valid {accuracy:.1f} %; model card "
            f"{_near(out / 'README.md')}{table}"
        )
    return out


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if free < needed:
        print_line(f"warning: {estimate.size(free)} of disk are free where {_near(out)} is, less than may be needed")


def _do(stage: Stage, plan: Plan, plm_dir: Path) -> None:
    out = Path(plan.settings.out)
    if stage.name == "fine-tune":
        _fine_tune(stage, plan)
    elif stage.name == "export":
        best, _ = best_checkpoint(out)
        with contextlib.redirect_stdout(io.StringIO()):  # which names a directory that is about to be moved
            call("export", best, *stage.words[1:])
        _add_note(plan, Path(stage.words[1]) / "README.md")
        publish(Path(stage.words[1]), out)
    elif stage.name == "import":
        with locked(plm_dir, wait=True):  # in the user's cache, where another run may be importing the same PLM
            if not stage.is_done:
                call("import", *stage.words)
    else:
        if stage.name == "binarize":
            _check_head(plan, plm_dir)
            if not plan.settings.valid:
                _hold_out(plan)
        call(stage.name, *stage.words)
    if stage.name == "report":
        _add_note(plan, stage.made)


def _check_head(plan: Plan, plm_dir: Path) -> None:
    """Raise if candidates are needed that the PLM cannot give, before hours of other work."""
    if plan.augment and Description.load(plm_dir).lm_head == "untrained":
        raise InputError(
            f"{plan.settings.model} was published without a masked-LM head, from which {plan.settings.system} takes its "
            f"substitutes: train one with salt train-head {plm_dir} PLM_DIR and name PLM_DIR with --model, or take "
            "--system vanilla"
        )


def _add_note(plan: Plan, path: Path) -> None:
    """Say in a file with results what is special about them."""
    if plan.tests_on_valid:
        note = f"{plan.settings.source_language} was evaluated on the validation data, by which the checkpoint was chosen."
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"\n{note}\n")


def _hold_out(plan: Plan) -> None:
    settings, files = plan.settings, {name: Path(path) for name, path in rewritten_files(plan.settings).items()}
    files["train"].parent.mkdir(parents=True, exist_ok=True)
    percent, reading = percent_of(settings.hold_out, plan.train.examples), reading_of(settings)
    hold_out(settings.train, settings.source_language, reading, percent, files["train"], files["valid"])
    for language, path in (settings.test or {}).items():
        write_jsonl(read_examples(path, language, reading), files[f"test.{language}"])


def _fine_tune(stage: Stage, plan: Plan) -> None:
    """Train with one seed, and keep the best checkpoint without the optimizer's state, a third of its size."""
    log, save_dir = stage.made.with_suffix(".log"), stage.made.with_suffix("")
    fine_tune(stage.words, plan.settings.updates or 0, log, _title(stage, plan))
    best = read_checkpoint_file(save_dir / "checkpoint_best.pt")
    with replacing(stage.made) as temporary:
        torch.save({**best, "last_optimizer_state": None}, temporary)
    shutil.rmtree(save_dir)


def best_checkpoint(out: Path) -> tuple[Path, float]:
    """The checkpoint with the highest accuracy (%) on the source language's validation data; of equals the first."""
    results = read_json(out / WORK / "results.json", "salt train")
    accuracies = [checkpoint["accuracy"]["valid"] for checkpoint in results["checkpoints"]]
    best = accuracies.index(max(accuracies))
    return Path(results["checkpoints"][best]["path"]), accuracies[best]


def publish(exported: Path, out: Path) -> None:
    """Move the files of an export to ``out``, the marker last."""
    for path in sorted(exported.iterdir(), key=lambda path: path.name == MARKER):
        os.replace(path, out / path.name)
    exported.rmdir()


def _title(stage: Stage, plan: Plan) -> str:
    if stage.name != "fine-tune":
        return stage.name
    return "fine-tune" + (f", seed {stage.seed} of {plan.settings.seeds}" if plan.settings.seeds > 1 else "")


def _typed(stage: Stage) -> str:
    command = ["fairseq-hydra-train"] if stage.name == "fine-tune" else ["salt", stage.name]
    return shlex.join([*command, *stage.words]).replace(f"{Path.cwd()}/", "")


def _near(path: str | Path) -> str:
    """A path as it is shown: relative, where it is below the working directory."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
