"""What a recipe's stages depend on: which settings count as a difference, what is said of them, and what --force makes anew."""

import functools
import json
import os
import shutil
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from salt_fairseq.experiments import settings as experiment_settings
from salt_fairseq.experiments.fingerprint import differences
from salt_fairseq.pipeline.stages import hydra_value
from support.in_process import call, error_of
from support.running import ROOT
from support.training import without_fairseqs_store

pytestmark = pytest.mark.slow

SUBSETS = {name: f"{name}.tsv" for name in ("train", "valid", "test.en", "test.fr")}
MADE = [
    "plm/plm.json",
    "data/meta.json",
    "data/candidates/fr/meta.json",
    "data/lexicons/muse/meta.json",
    *(f"{run}.1{end}" for run in ("SALT", "CoSDA-ML") for end in ("/trained", "/checkpoint_last.pt", ".json", ".generalized.json")),
]
RUNS = {path for path in MADE if path[0] in "SC"}
EVALUATIONS = {path for path in RUNS if path.endswith(".generalized.json")}
SALT, COSDA = ({path for path in RUNS if path.startswith(system)} for system in ("SALT", "CoSDA-ML"))


def words(plm="org/plm", subsets=SUBSETS, augment="en,fr", dictionary="fr=en-fr.txt", generalized="test", seeds="1", more=(), **trained):
    options = [
        *("out", "--config-dir", ROOT / "recipes" / "config", "--config-name", "xnli", "--plm", plm, "--seeds", *seeds.split()),
        *(("--subset", *(f"{name}={file}" for name, file in subsets.items())) if subsets else ()),
        *(("--augment", augment) if augment else ()),
        *(("--dictionary", dictionary) if dictionary else ()),
        *(("--generalized", generalized) if generalized else ()),
    ]
    overrides = ["task.data='out/data'", "model.plm='out/plm'", *(f"{key.replace('__', '.')}={value}" for key, value in trained.items())]
    for system in ("SALT", "CoSDA-ML"):
        options += ["--system", system, f"+system={system}", *overrides, *([f"task.augment='{augment}'"] if system == "SALT" else [])]
    return [*options, *more]


composed_once = functools.cache(experiment_settings.training_settings)  # Hydra takes a while, and most tests ask for the same


def composed_alone(*given):
    """As in a process of its own."""
    with without_fairseqs_store():
        return composed_once(*given[:2], tuple(given[2]))


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """An experiment of two runs that is finished, with empty files for what its stages make."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment_settings, "training_settings", composed_alone)
    for file in (*SUBSETS.values(), "other.tsv", "en-fr.txt", "en-fr.2.txt"):
        (tmp_path / file).write_text(file)
    call(experiment_settings, *words())
    for path in MADE:
        (tmp_path / "out" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / path).touch()
    return tmp_path / "out"


def state(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CHANGED = [  # what is otherwise, what is said of it, what is made anew
    ({"plm": "org/other"}, "out/plm", "--plm org/plm (now org/other)", set(MADE)),
    ({"subsets": SUBSETS | {"train": "other.tsv"}}, "out/data", "--subset train train.tsv (now other.tsv)", set(MADE) - {"plm/plm.json"}),
    (
        {"subsets": SUBSETS | {"test.fr": "other.tsv"}},
        "out/data",
        "--subset test.fr test.fr.tsv (now other.tsv)",
        {path for path in MADE if path.startswith("data/") or path.endswith(".generalized.json")},
    ),
    ({"augment": "en,de"}, "out/candidates", "--augment en,fr (now en,de)", {"data/candidates/fr/meta.json"} | SALT),
    ({"dictionary": "fr=en-fr.2.txt"}, "out/muse", "--dictionary fr en-fr.txt (now en-fr.2.txt)", {"data/lexicons/muse/meta.json"} | COSDA),
    ({"optimization__lr": "[1e-4]"}, "out/SALT.1", "optimization.lr [2e-05] (now [0.0001])", RUNS),
    ({"optimization__max_update": 7}, "out/SALT.1", "optimization.max_update 61360 (now 7)", RUNS),
    ({"task__thresholds": "'en=1e-3,1e-7,de=1'"}, "out/SALT.1", "task.thresholds source=1e-3,1e-7 (now en=1e-3,1e-7,de=1)", RUNS),
    ({"checkpoint__patience": 3}, "out/SALT.1", "checkpoint.patience none (now 3)", RUNS),
    ({"dataset__validate_interval_updates": 0}, "out/SALT.1", "dataset.validate_interval_updates 1000 (now 0)", RUNS),
    ({"generalized": "valid"}, "out/SALT.1.generalized.json", "--generalized test (now valid)", EVALUATIONS),
]


@pytest.mark.parametrize("change, where, said, anew", CHANGED, ids=[said.split()[0] for _, _, said, _ in CHANGED])
def test_other_settings(begun, change, where, said, anew):
    before = state(begun)
    sentence = error_of(experiment_settings, *words(**change))
    assert sentence.startswith(f"{where} was begun with other settings, which {where}.fingerprint records: {said}; go on with those, ")
    assert state(begun) == before
    call(experiment_settings, *words(**change), "--force")
    assert {path for path in MADE if not (begun / path).exists()} == anew
    call(experiment_settings, *words(**change))  # which go on from here
    assert where in error_of(experiment_settings, *words())


def test_another_yaml_of_a_system(begun, tmp_path):
    config = shutil.copytree(ROOT / "recipes" / "config", tmp_path / "config")
    text = (config / "system" / "SALT.yaml").read_text()
    (config / "system" / "SALT.yaml").write_text(text.replace("mixup: instance", "mixup: token # another comment"))
    changed = [config if word == ROOT / "recipes" / "config" else word for word in words()]
    assert "records: model.mixup instance (now token); " in error_of(experiment_settings, *changed)
    call(experiment_settings, *changed, "--force")
    assert {path for path in MADE if not (begun / path).exists()} == SALT


def test_changed_content(begun, tmp_path):
    (tmp_path / "train.tsv").write_text("other")
    assert "records: --subset train train.tsv (its content has changed); go on" in error_of(experiment_settings, *words())


def test_what_is_no_difference(begun, tmp_path):
    before = state(begun)
    call(experiment_settings, *words(seeds="1 2"))  # one more
    call(experiment_settings, *words(common__cpu="true", common__log_interval=1, dataset__num_workers=0, checkpoint__save_dir="x"))
    call(experiment_settings, *words(optimization__lr="[0.00002]", dataset__batch_size=32))  # as the YAML says
    call(experiment_settings, *words(subsets={}, dictionary=""))  # which finished stages do not need
    os.utime(tmp_path / "train.tsv", (1, 1))
    (tmp_path / "elsewhere").mkdir()
    moved = {name: shutil.copy(tmp_path / file, tmp_path / "elsewhere") for name, file in SUBSETS.items()}
    call(experiment_settings, *words(subsets=moved))
    call(experiment_settings, *words())
    shutil.rmtree(tmp_path / "elsewhere")
    for file in SUBSETS.values():
        (tmp_path / file).unlink()  # finished data need no sources
    call(experiment_settings, *words())
    after = state(begun)
    assert {path: after[path] for path in MADE} == {path: before[path] for path in MADE}
    assert differences(*(json.loads(after[f"SALT.{seed}.fingerprint"]) for seed in (1, 2))) == []


def test_records_without_products(begun, tmp_path):
    """A mistyped first command is corrected; while another recipe is at work, what that one will make is settled."""
    shutil.rmtree(begun)
    call(experiment_settings, *words())
    assert "--augment en,fr (now en,de)" in error_of(experiment_settings, *words(augment="en,de"))
    call(experiment_settings, *words(augment="en,de"), "--alone")
    assert json.loads((begun / "candidates.fingerprint").read_text())["--augment"] == "en,de"


def test_products_without_records(begun):
    (begun / "data.fingerprint").unlink()
    sentence = "out/data exists, but out/data.fingerprint, which would say with which settings it was made, does not: choose another --out"
    assert error_of(experiment_settings, *words()).startswith(sentence)
    (begun / "candidates.fingerprint").unlink()
    handmade = words(subsets={}, dictionary="")
    assert "out/data exists" in error_of(experiment_settings, *handmade)


@pytest.mark.parametrize("more, missing", [((), "test.en"), (("--source-language", "fr,de"), "test.de")])
def test_source_languages_are_evaluated(begun, more, missing):
    """The report needs them; it comes last, after hours of training."""
    subsets = {name: file for name, file in SUBSETS.items() if name != "test.en"}
    assert f"--subset names no {missing}, and the report" in error_of(experiment_settings, *words(subsets=subsets, more=more))


@pytest.mark.parametrize("override", ["task.thresholds=en=1e-3,1e-7", "task.augment=en,fr", "optimization.lr=[1e-4", "common.cpu"])
def test_overrides_that_hydra_reads_otherwise(begun, override):
    key, _, value = override.partition("=")
    said = error_of(experiment_settings, *words(), override)
    assert said.startswith(f"{override} is no override of one value (") and said.endswith(f"as in \"{key}='{value or 'VALUE'}'\"")


@pytest.mark.parametrize("override", ["model.poling=mean", "optimizer.layer_decay=0.9", "task.threshold=1"])
def test_keys_that_hydra_would_refuse(begun, override):
    before = state(begun)
    said = error_of(experiment_settings, *words(), override)
    assert said.startswith(f"{override}: the configuration has no such key, {override.split('.')[0]} has ") and said.endswith(f" is added by +{override}")
    assert state(begun) == before
    composed_alone(ROOT / "recipes" / "config", "xnli", ["+preset=stable", "model.pooling=mean", "optimizer.layer_decay=0.9"])


def test_values_reach_hydra_as_they_are():
    """The quoting of the recipes and of salt train, read by Hydra's own parser."""
    values = ["é", "a,b", "(", "it's", "a=b", 'say "x"', "a b ", "\\", "a\\'b", "a\\\\", "\\\\'", "{a: 1}", "[1]", "null", "1e3", "#", "%", "$x", "\t", "~", ""]
    code = f'. {ROOT}/recipes/lib.sh; for value; do quoted "$value"; printf "\\0"; done'
    done = subprocess.run(["bash", "-c", code, "bash", *values], capture_output=True, text=True, check=True)
    quoted, parser = done.stdout.split("\0")[:-1], OverridesParser.create()
    for written in (quoted, [hydra_value(value) for value in values]):
        assert [parser.parse_override(f"task.data={text}").value() for text in written] == values


def test_hydra_1_0_reads_the_configurations():
    """fairseq 0.12.2 runs on it: it refuses defaults in any file but the first, and settings of its own that came later."""
    config = ROOT / "recipes" / "config"
    base, *systems = (OmegaConf.load(path) for path in (config / "base.yaml", *config.glob("system/*.yaml")))
    assert set(base.hydra) == {"run", "sweep", "output_subdir", "job_logging"} and len(systems) > 8
    assert not [file for file in (base, *systems) if "defaults" in file]
