"""The recipes as typed, with stand-ins for Python and fairseq that make at once what their commands would make."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time

import pytest

from support.running import ROOT
from support.training import composed

pytestmark = pytest.mark.slow

WAIT = 3  # seconds, instead of the recipes' 10
PYTHON = f"""#!/usr/bin/env bash
echo "$*" >> "$CALLS"
for out; do :; done # the last word
case "$1 $2" in
    */benchmarks/*) ;;
    *salt_fairseq.experiments.settings*) exec {sys.executable} "$@" ;;
    *salt_fairseq.experiments.updates*) echo 7 ;;
    *salt_fairseq.evaluate*) printf '2 subsets\\n%s: test avg. without en 50.00 (1 s)\\nwrote\\n' "$5"; touch "$out" ;;
    *salt_fairseq.report*) mkdir -p "$out"; touch "$out/table.md" ;;
    */import_plm.py*) mkdir -p "$3"; touch "$3/plm.json" ;;
    */binarize.py*) mkdir -p "$3"; touch "$3/meta.json" ;;
    */distill.py*) mkdir -p "$3/candidates/${{5##*,}}"; touch "$3/candidates/${{5##*,}}/meta.json" ;;
    */look_up.py*) mkdir -p "$3/lexicons/$5"; touch "$3/lexicons/$5/meta.json" ;;
esac
"""
TRAIN = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
for word; do [[ $word != checkpoint.save_dir=* ]] || run=$(eval "echo ${word#*=}"); done
[[ " $*" != *" +system=RS-DA"* ]] || { echo "error: there is no lexicon" >&2; exit 1; }
touch "$run/checkpoint_best.pt"
"""
FLOCK = f"""#!/usr/bin/env bash
[ "$1" != --timeout ] || set -- --timeout {WAIT} "${{@:3}}"
exec {shutil.which("flock")} "$@"
"""
BUSY = "{} is being written by another recipe: wait until it has finished, or choose another output directory"
SUBSETS = ["--subset", "train=train.tsv", "test.en=test.tsv", "test.fr=test.tsv"]


@pytest.fixture
def recipe(tmp_path):
    """A function that runs a recipe in another folder and returns what it printed and which commands it started."""
    root, here = tmp_path / "checkout", tmp_path / "here"
    shutil.copytree(ROOT / "recipes", root / "recipes")
    (root / "recipes" / "setup.sh").write_text("")
    (root / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(ROOT / "tests" / "benchmarks", root / "tests" / "benchmarks")
    for name, text in {"python": PYTHON, "fairseq-hydra-train": TRAIN, "flock": FLOCK}.items():
        (root / ".venv" / "bin" / name).write_text(text)
        (root / ".venv" / "bin" / name).chmod(0o755)
    (here / "salt_fairseq").mkdir(parents=True)  # a folder of the package's name, as where a checkout lies
    for file in ("train.tsv", "test.tsv", "other.tsv"):
        (here / file).write_text(file)

    def run(name, *words):
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            ["bash", f"{root}/recipes/{name}.sh", *words], cwd=here, env={**os.environ, "CALLS": str(calls)}, capture_output=True, text=True, timeout=300
        )
        started = [short(line) for line in calls.read_text().splitlines()]
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), started

    run.here, run.calls = here, lambda: (tmp_path / "calls").read_text()
    return run


def short(call):
    """``binarize``, ``evaluate SALT.1`` or ``train SALT``, of the words of a command."""
    words = call.split()
    if words[0] == "--config-dir":
        return "train " + next(word for word in words if word.startswith("+system=")).removeprefix("+system=")
    name = words[1].rpartition(".")[2] if words[0] == "-m" else words[0].rpartition("/")[2].removesuffix(".py")
    return f"evaluate {words[4].split('/')[-2]}" if name == "evaluate" else name


def test_what_is_done_and_said(recipe):
    """Two systems, of which one fails; then with its lexicon; then more seeds; at last nothing."""
    words = [*SUBSETS, "--plm", "name", "--seeds", "1", "--out", "out", "--systems", "vanilla RS-DA SALT"]
    code, said, errors, started = recipe("pawsx", *words, "--updates", "9")
    assert code == 1 and errors == ["error: failed: RS-DA, seed 1: error: there is no lexicon (out/RS-DA.1/log)"]
    assert said == [
        "== vanilla, seed 1: 9 updates, output in out/vanilla.1/log",
        "== vanilla, seed 1: test avg. without en 50.00 (1 s)",
        "== RS-DA, seed 1: 9 updates, output in out/RS-DA.1/log",
        "== SALT, seed 1: 9 updates, output in out/SALT.1/log",
        "== SALT, seed 1: test avg. without en 50.00 (1 s)",
    ]
    done = ["train vanilla", "evaluate vanilla.1", "train RS-DA", "train SALT", "evaluate SALT.1", "report"]
    assert started == ["settings", "import_plm", "binarize", "distill", *done]
    *others, _ = words
    code, _, errors, started = recipe("pawsx", *others, "SALT vanilla", "--updates", "9", "--seeds", "1 2", "--jobs", "2", "--report", "r", "--device", "cpu")
    assert (code, errors) == (0, [])
    assert sorted(started[1:-1]) == ["evaluate SALT.2", "evaluate vanilla.2", "train SALT", "train vanilla"]
    code, said, errors, started = recipe("generalized", "pawsx", *others, "SALT", "--updates", "9", "--seeds", "2")
    assert (code, errors, started) == (0, [], ["settings", "evaluate SALT.2", "report"])
    code, said, errors, started = recipe("pawsx", *others, "SALT vanilla", "--updates", "9", "--seeds", "1 2")
    assert (code, said, errors, started) == (0, [], [], ["settings", "report"])


def test_other_settings(recipe):
    words = [*SUBSETS, "--plm", "name", "--seeds", "1", "--out", "out", "--systems", "vanilla SALT"]
    assert recipe("pawsx", *words)[3].count("updates") == 2
    for other, said in (
        (
            ["--updates", "9"],
            "out/vanilla.1 was begun with other settings, which out/vanilla.1.fingerprint records: optimization.max_epoch 3 (now 0), optimization.max_update",
        ),
        (["--augment", "en"], "out/candidates was begun with other settings, which out/candidates.fingerprint records: --augment en,fr,es,de (now en); "),
        (["--", "dataset.batch_size=4"], "out/vanilla.1 was begun with other settings, "),
        (["--", "task.thresholds=en=1"], "task.thresholds=en=1 is no override of one value ("),
    ):
        code, printed, errors, started = recipe("pawsx", *words, *other)
        assert (code, printed, started) == (1, [], ["settings"])
        assert len(errors) == 1 and errors[0].startswith(f"error: {said}")
    code, _, errors, started = recipe("pawsx", *words, "--force", "--augment", "en")
    assert (code, errors, started) == (0, [], ["settings", "distill", "updates", "train SALT", "evaluate SALT.1", "report"])


@pytest.mark.parametrize("name", ["panx", "udpos"])
def test_words_with_tags(recipe, name):
    """Whatever is given as subsets, its words have tags; the task is the one for these."""
    code, _, errors, started = recipe(name, *SUBSETS, "--plm", "name", "--seeds", "1", "--out", "out", "--systems", "vanilla")
    assert (code, errors, started[2]) == (0, [], "binarize")
    assert recipe.calls().splitlines()[2].endswith(" --tags detect")
    config = composed(name, "+system=SALT", "task.data=data", "model.plm=plm")
    assert (config["task"]["_name"], config["task"]["augment"]) == ("salt_token_labelling", "en,fr,es,de") and config["task"]["one_stream"]
    assert config["checkpoint"]["best_checkpoint_metric"] == {"panx": "f1", "udpos": "accuracy"}[name]


def test_a_download_and_its_languages(recipe):
    """The folder comes first and is relative to where the command is typed; other source languages are other data."""
    (recipe.here / "my data").mkdir()
    words = ["my data", "--plm", "name", "--seeds", "1", "--out", "out", "--systems", "vanilla", "--languages", "de,fr"]
    code, _, errors, started = recipe("sib200", *words, "--source-language", "en,de")
    assert (code, errors, started[2]) == (0, [], "binarize")
    assert recipe.calls().splitlines()[2].endswith("/binarize.py out/plm out/data --sib200 my data --languages de,fr --source-language en,de")
    code, _, (error,), started = recipe("sib200", *words)
    assert (code, started) == (1, ["settings"]) and "data.fingerprint records: --source-language en,de (now none); " in error
    code, _, errors, started = recipe("sib200", *words[1:])  # finished data need no folder
    assert (code, errors, started) == (0, [], ["settings", "report"])


def test_average_of_a_run(recipe):
    """Of the last three checkpoints, of which checkpoint_last.pt is one; another number is another run."""
    words = [*SUBSETS, "--plm", "name", "--seeds", "1", "--out", "out", "--systems", "vanilla"]
    contents = {"checkpoint_1_900": "a", "checkpoint_1_1000": "b", "checkpoint_2_1100": "c", "checkpoint_2_1200": "d", "checkpoint_last": "d"}
    with open(recipe.here.parent / "checkout" / ".venv" / "bin" / "fairseq-hydra-train", "a") as train:
        train.writelines(f'echo {content} > "$run/{name}.pt"\n' for name, content in contents.items())
    code, _, errors, started = recipe("pawsx", *words, "--average", "3")
    assert (code, errors, started[-3:]) == (0, [], ["average", "evaluate vanilla.1", "report"])
    *averaged, average = (f"out/vanilla.1/{name}.pt" for name in ("checkpoint_1_1000", "checkpoint_2_1100", "checkpoint_2_1200", "average"))
    assert " ".join([*averaged, "--out", average]) in recipe.calls() and f"--path {average}" in recipe.calls()
    assert "checkpoint.keep_interval_updates=3" in recipe.calls()
    code, _, errors, _ = recipe("pawsx", *words)
    assert code == 1 and "--average 3 (now none)" in errors[0], errors


@contextlib.contextmanager
def held(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_runs_of_others(recipe):
    """A run that another recipe is at is left to it; what a killed one held for a moment longer is waited for."""
    words = [*SUBSETS, "--plm", "name", "--seeds", "1", "--out", "out", "--systems", "vanilla SALT", "--jobs", "2"]
    with held(recipe.here / "out" / "SALT.1" / ".lock"):
        code, said, errors, started = recipe("pawsx", *words)
    assert (code, errors) == (0, []) and "evaluate vanilla.1" in started and "report" not in started
    assert said[-1] == "1 runs are going on in another recipe, which will make the report: SALT, seed 1"
    code = "import fcntl, sys, time; files = [open(path, 'a') for path in sys.argv[1:]]; [fcntl.flock(f, 2) for f in files]; print(flush=True); time.sleep(1)"
    paths = [recipe.here / "out" / ".lock", recipe.here / "out" / "SALT.1" / ".lock"]
    with subprocess.Popen([sys.executable, "-c", code, *paths], stdout=subprocess.PIPE) as dying:
        dying.stdout.readline()
        code, said, errors, started = recipe("pawsx", *words)
    assert (code, errors) == (0, []) and started[-2:] == ["evaluate SALT.1", "report"]


def test_two_recipes_of_one_directory(recipe):
    """The second waits for the first one's data no longer than a killed one would take, and starts nothing anew beside it."""
    words = [*SUBSETS, "--plm", "name", "--seeds", "1", "--out", "out", "--systems", "vanilla"]
    with held(recipe.here / "out" / ".lock"):
        began = time.monotonic()
        code, said, errors, started = recipe("pawsx", *words)
        assert time.monotonic() - began > WAIT
    assert (code, said, started) == (1, [], [])
    assert errors == [f"error: {BUSY.format('out')}"]
    with held(recipe.here / "out" / ".recipes.lock"):
        code, said, errors, started = recipe("pawsx", *words, "--force")
    assert (code, said, started, errors) == (1, [], [], ["error: other recipes are at work in out: wait until they have finished to start anew"])


def test_everything_for_a_gpu(recipe):
    """A part that fails does not stop the next ones; what is finished is not done again."""
    words = ["--text", "test.tsv", *SUBSETS, "--seeds", "1", "--device", "cpu", "--out", "out"]
    (recipe.here / "out" / "experiment").mkdir(parents=True)
    with held(recipe.here / "out" / "experiment" / ".lock"):
        code, said, errors, started = recipe("gpu", *words)
    assert code == 1 and [line.split(":")[0] for line in said] == ["tests", "distill", "train", "experiment", "tests", "distill", "train"]
    assert errors == [f"error: failed: experiment; out/experiment.log ends with: error: {BUSY.format('out/experiment')}"]
    code, said, errors, started = recipe("gpu", *words)
    assert (code, errors, said[-1].split(" in ")[0]) == (0, [], "experiment: done")
    assert [each for each in started if each in ("pytest", "distill", "report") or each.startswith("train")] == [
        "distill",
        "train vanilla",
        "train SALT",
        "report",
    ]
    assert recipe("gpu", "--text", "absent", *words[2:])[2] == ["error: --text absent: no such file"]
    assert recipe("gpu", *words, "--updates", "0")[2] == ["error: --updates 0: a whole number of at least 1 is needed"]


@pytest.mark.parametrize(
    "name",
    [
        "xnli",
        "pawsx",
        "sib200",
        "xsid",
        "panx",
        "udpos",
        "ablation",
        "baselines",
        "generalized",
        "experiment",
        "quickstart",
        "setup",
        "test",
        "benchmark",
        "gpu",
    ],
)
@pytest.mark.parametrize("words", [["--help"], ["xnli", "--out", "x", "-h"]], ids=["first", "last"])
def test_help_is_the_comment_at_the_head(name, words, tmp_path):
    done = subprocess.run(["bash", ROOT / "recipes" / f"{name}.sh", *words], cwd=tmp_path, capture_output=True, text=True)
    comment = (ROOT / "recipes" / f"{name}.sh").read_text(encoding="utf-8").split("\n")[1]
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith(comment.removeprefix("# ")) and list(tmp_path.iterdir()) == []
    assert ("--jobs N" in done.stdout) == (name in ("experiment", "gpu")) and "set -euo" not in done.stdout


@pytest.mark.parametrize(
    "name, words, said",
    [
        ("xnli", ["--systems", "vanilla SALTY"], "unknown system SALTY"),
        ("xnli", ["--colour", "blue"], "unknown option --colour"),
        ("xnli", ["--out", "a${x}"], "a${x}: fairseq takes ${ in a path for the beginning of a variable: choose a path without it"),
        ("quickstart", ["--seeds", "1"], "--seeds 1: quickstart.sh takes no option but --force"),
    ],
)
def test_usage_errors(recipe, name, words, said):
    code, printed, (error,), started = recipe(name, *words)
    assert (code, printed, started) == (2, [], []) and error.startswith(f"error: {said}")
