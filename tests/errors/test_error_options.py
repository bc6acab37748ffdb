"""Options that contradict each other, are out of range or misspelt: exit code 1 and a sentence, 2 where argparse refuses.

And ``--debug``, which every command has, and what each command looks like from outside when it fails.
"""

import runpy
import shutil
import subprocess
import sys

import pytest

from salt_fairseq.errors import InputError
from support.running import ROOT, run
from support.small_world import COMMANDS, SCRIPTS, TYPED, assert_refused, changed, ended, listing

pytestmark = pytest.mark.slow

# command, changes of its words, what the sentence says
REFUSED = [
    (
        "binarize",
        ["--subset train=train.tsv -> --subset train=train.tsv train=test.fr.tsv"],
        "--subset train=test.fr.tsv: train is given twice, also as train.tsv; leave one of them out",
    ),
    ("binarize", ["--labels no,,yes"], "--labels no,,yes: a label is empty or given twice; give each once"),
    ("binarize", ["--source-language ../en"], "--source-language '../en': one language code is needed"),
    ("binarize", ["--labels ''"], "--labels : a label is empty or given twice"),
    ("binarize", ["--pawsx absent"], "--pawsx absent: no such directory"),
    ("target_vocabulary", ["fr=words -> f=words"], "--word-list f=words.fr.txt: this list is not used, only those of fr, en, ca, de"),
    ("target_vocabulary", ["fr=words.fr.txt -> fr=words.fr.txt fr=en-fr.txt"], "--word-list fr=en-fr.txt: fr is given twice, also as words.fr.txt"),
    ("target_vocabulary", ["plm fr -> plm fr frr"], "there is no word list for language 'frr' in wordfreq (it has: "),
    ("distill", ["--languages fr -> --languages fr,frr"], "there is no word list for language 'frr'"),
    ("distill", ["fr=words -> ../fr=words"], "--word-list ../fr=words.fr.txt: LANG=FILE is needed"),
    ("distill", ["fr=words -> gr=words"], "--word-list gr=words.fr.txt: this list is not used"),
    ("distill", ["--device cuda:99"], "--device cuda:99 cannot be used here ("),
    ("distill", ["--device gpu"], "--device gpu cannot be used here ("),
    ("show_candidates", ["--languages fr -> --languages fr,frr"], "data has no candidates in language 'frr' (it has: fr): run preprocess/distill.py"),
    ("show_candidates", ["50% -> 50%,frr=10%"], "--thresholds 50%,frr=10% names frr, none of fr: correct or remove it"),
    ("show_candidates", ["50% -> fr=50%,fr=10%"], "--thresholds fr=50%,fr=10% names two values for fr: leave one of them out"),
    ("show_candidates", ["50% -> en=50%"], "--thresholds en=50% says nothing of language fr: add a value for all others"),
    ("show_candidates", ["50% -> 150%"], "threshold '150%': give a probability in [0, 1] or a fraction from 0% to 100%"),
    ("look_up", ["--name again -> --name ../again"], "--name ../again: a plain name is needed"),
    ("look_up", ["fr=en-fr.txt -> en-fr.txt"], "--dictionary en-fr.txt: LANG=FILE is needed"),
    ("train_lm_head", ["--steps 2 -> --steps -2"], "--steps -2: more than 0 is needed"),
    ("train_lm_head", ["--temperature nan"], "--temperature nan: more than 0 is needed"),
    ("train_lm_head", ["--lr inf"], "--lr inf: more than 0 is needed"),
    ("train_lm_head", ["--masked-weight -1"], "--masked-weight -1.0: 0 or more is needed"),
    ("train_lm_head", ["--seed 9999999999999999999"], "--seed 9999999999999999999: 0 or more is needed, less than 2^31"),
    ("train_lm_head", ["--device gpu"], "--device gpu cannot be used here ("),
    ("substitution_precision", ["fr=en-fr.txt -> frr=en-fr.txt"], "data has no candidates in language 'frr'"),
    ("export_hf", ["checkpoint.pt -> plm", "--plm plm"], "--plm is for checkpoints, and plm is a PLM directory: leave it out"),
    ("export_hf", ["checkpoint.pt -> absent.pt"], "absent.pt does not exist: name a checkpoint that fairseq-train wrote"),
    ("evaluate", ["--subsets test.frr"], "data has no subset 'test.frr'; it has train, valid, test.en, test.fr"),
    ("evaluate", ["--subsets 'dev.*'"], "--subsets dev.* matches no subset of data, which has train"),
    ("evaluate", ["--generalized tset"], "--generalized tset: sentence pairs of this split in two languages or more are needed"),
    ("evaluate", ["--generalized ''"], "--generalized : sentence pairs of this split in two languages or more are needed"),
    ("evaluate", ["--max-tokens 100"], "--max-tokens 100 is less than the --max-length 128 of checkpoint.pt"),
    ("report", ["--languages en,frr"], "results.json has no accuracy of test.frr, which --languages names: evaluate it"),
    ("report", ["--source-language xx"], "results.json has no accuracy of the source language (test.xx): evaluate it"),
    ("predict", ["--device gpu"], "--device gpu cannot be used here ("),
    ("predict", ["--plm data"], "data is no PLM directory, and the tokenizer of checkpoint.pt is needed: name"),
    ("fairseq-train", ["--augment fr,fr"], "--augment fr,fr names a language twice: leave one of them out"),
    ("fairseq-train", ["--augment fr --thresholds frr=1e-3,1e-7"], "--thresholds frr=1e-3,1e-7 names frr, none of fr: correct"),
    ("fairseq-train", ["--augment frr"], "data has no candidates in language 'frr' (it has: fr): run preprocess/distill.py"),
    ("fairseq-train", ["--augment fr --lexicon muse"], "--lexicon and --augment: substitutes come from a lexicon or from the PLM, choose one"),
    ("fairseq-train", ["--max-length 4"], "--max-length 4 is less than the 5 tokens of the shortest examples: give more"),
    ("fairseq-train", ["--word-ratio 1.5"], "--word-ratio 1.5 is outside [0, 1]"),
    ("fairseq-train", ["--sentence-ratio nan"], "--sentence-ratio nan is outside [0, 1]"),
    ("fairseq-train", ["--batch-size 32 -> "], "fairseq says: Must specify batch size either with --max-tokens or --batch-size"),
    ("fairseq-train", ["--seed 100003 -> --seed -1"], "fairseq says: Seed must be between 0 and 2**32 - 1; correct the options"),
    ("fairseq-train", ["--dropout nan"], "--dropout nan is outside [0, 1)"),
    ("fairseq-train", ["--attention-dropout -0.5"], "--attention-dropout -0.5 is outside [0, 1)"),
    ("fairseq-train", ["--variants 99999"], "--variants 99999 is outside [1, 1000]"),
    ("fairseq-validate", ["--path checkpoint.pt -> --path ''"], "fairseq says: Model file not found"),
    ("fairseq-validate", ["--model-overrides 0"], "fairseq says: 'int' object is not iterable; correct the options"),
    ("fairseq-train", ["--num-workers 0 -> --num-workers -1"], "fairseq says: num_workers option should be non-negative"),
    ("fairseq-train", ["--update-freq 0"], "fairseq says: float division by zero; correct the options"),
    ("fairseq-train", ["--radius inf --perturbation random"], "--radius inf is outside [0, 1000]"),
    # pytorch/pytorch#52291, facebookresearch/fairseq#1368: with --fp16, operations that a CPU does not have for half precision
    ("fairseq-train", ["--bf16"], "--bf16 needs a GPU: use --autocast-bf16, which computes in bfloat16 on a CPU, too"),
    ("fairseq-train", ["--fp16"], "--fp16 needs a GPU: use --autocast-bf16, which computes in bfloat16 on a CPU, too"),
    # facebookresearch/fairseq#1324: with the default task, the checkpoint of another one does not load
    ("fairseq-validate", ["--task salt_sentence_pair -> "], "--task is missing: add --task salt_sentence_pair"),
    ("fairseq-train", ["--train-subset test.fr --augment fr"], "--train-subset test.fr with --augment: candidates and lexicons are made for the subset train"),
    ("fairseq-train", ["--train-subset test.fr --augment xx,yy"], "--train-subset test.fr with --augment: candidates and lexicons are made for the subset"),
    ("fairseq-train", ["--train-subset test.fr --lexicon muse"], "--train-subset test.fr with --lexicon: candidates and lexicons are made for the subset"),
    ("fairseq-train", ["--train-subset test.fr --no-original"], "--no-original without --augment or --lexicon leaves nothing to train on"),
    ("fairseq-train", ["--train-subset train,test.xx"], "data has no subset 'test.xx'; it has train"),
    (
        "fairseq-train",
        ["--disable-validation -> --combine-valid-subsets"],
        "--combine-valid-subsets is not supported: name every subset with --valid-subset instead",
    ),
    ("predict", ["--device meta"], "--device meta cannot be used here (Cannot copy out of meta tensor"),
    ("distill", ["--languages fr -> --languages fr,fr"], "--languages fr,fr names a language twice: leave one of them out"),
    ("fairseq-train", ["--adam-betas x"], "fairseq says: name 'x' is not defined; correct the options"),
    ("fairseq-validate", ["test.en -> test.en,test.frr"], "data has no subset 'test.frr'; it has train, valid, test.en, test.fr"),
]
# command, changes of its words, what argparse says
USAGE = [
    # brentyi/tyro#45, freedomofpress/securedrop-workstation#1071: argparse takes a prefix for the whole option
    ("import_plm", ["--trim train.tsv"], "unrecognized arguments: --trim"),
    ("binarize", ["--sbuset x=y"], "unrecognized arguments: --sbuset"),
    ("target_vocabulary", ["plm fr -> plm"], "the following arguments are required: LANG"),
    ("distill", ["--max-tokens 0"], "argument --max-tokens: '0' is no whole number of at least 1"),
    ("distill", ["--positions word"], "argument --positions: invalid choice: 'word'"),
    ("distill", ["--logits-budget -3"], "argument --logits-budget: '-3' is no whole number of at least 1"),
    ("show_candidates", ["--sentences -1"], "argument --sentences: '-1' is no whole number of at least 1"),
    ("look_up", ["--dictionary fr=en-fr.txt -> "], "the following arguments are required: --dictionary"),
    ("train_lm_head", ["--steps 2 -> --steps two"], "argument --steps: invalid int value: 'two'"),
    ("substitution_precision", ["--function-words -5"], "argument --function-words: '-5' is no whole number"),
    ("export_hf", ["checkpoint.pt new -> checkpoint.pt"], "the following arguments are required: OUT"),
    ("evaluate", ["--max-tokens 1e3"], "argument --max-tokens: '1e3' is no whole number of at least 1"),
    ("report", ["--out new -> "], "the following arguments are required: --out"),
    ("predict", ["--dtype fp8"], "argument --dtype: invalid choice: 'fp8'"),
    ("fairseq-train", ["--agument fr"], "unrecognized arguments: --agument fr"),
    ("fairseq-train", ["--mixup instances"], "argument --mixup: invalid choice: 'instances'"),
]


def name_of(case):
    return f"{case[0]} {case[1][0]}"


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_refused(case, here):
    command, changes, said = case
    assert_refused(command, changed(command, *changes), said)


@pytest.mark.parametrize("case", USAGE, ids=name_of)
def test_usage(case, here):
    command, changes, said = case
    before = listing()
    code, lines = ended(command, changed(command, *changes))
    assert code == 2 and said in lines[-1] and not any("Traceback" in line for line in lines)
    assert listing() == before


def test_default_thresholds_name_a_language_that_is_not_augmented(here):
    """The paper's own, en=1e-3, say how synonyms would be chosen; they are no mistake."""
    for thresholds in ("en=1e-3,1e-7", "en=25%,50%"):
        assert ended("show_candidates", changed("show_candidates", f"50% -> {thresholds}"))[0] == 0


BREAKING = {
    command: "checkpoint.pt -> absent" if "checkpoint.pt" in words else "results.json -> absent" if "results" in words else "plm -> absent"
    for command, words in TYPED.items()
} | {"import_plm": "hf -> train.tsv", "fairseq-train": "--plm plm -> --plm absent"}


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("fairseq")])
def test_debug(command, here, monkeypatch):
    """The same sentence, and before it the traceback, which ends with it."""
    monkeypatch.setenv("SALT_DEBUG", "0")
    words = changed(command, BREAKING[command])
    (_, [sentence]), (code, lines) = ended(command, words), ended(command, f"{words} --debug")
    assert code == 1 and lines[0] == "Traceback (most recent call last):" and lines[-1] == sentence
    assert lines[-2] == sentence.replace("error: ", "salt_fairseq.errors.InputError: ", 1)


HYDRA = (
    f"--config-dir {ROOT}/recipes/config --config-name xnli common.user_dir={ROOT}/salt_fairseq common.cpu=true task.data=data "
    "checkpoint.save_dir=new model.plm=absent task.augment=fr"
)


@pytest.mark.parametrize("command", [command for command in SCRIPTS if not command.startswith("fairseq")])
def test_errors_become_sentences_from_the_start(command, here, monkeypatch):
    """Run as a program, every command first asks for what test_in_a_process_of_its_own shows of a few."""
    started = []
    monkeypatch.setattr("salt_fairseq.cli.command.start_command", lambda: started.append(command))
    monkeypatch.setattr(sys, "argv", [command, *changed(command, BREAKING[command]).split()])
    module = f"preprocess.{command}" if SCRIPTS[command][1] != "-m" else f"salt_fairseq.{command}"
    with pytest.raises(InputError):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert started == [command]


@pytest.mark.parametrize("command", ["binarize", "fairseq-validate"])
def test_in_a_process_of_its_own(command, here):
    """Exit code 1, and on stderr the sentence alone."""
    done = run(*SCRIPTS[command], *changed(command, BREAKING[command]).split(), check=False, cwd=here, PYTHONPATH=str(ROOT))
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    *before, last = done.stderr.splitlines()
    assert last.startswith("error: ") and "absent" in last and done.stderr.count("error: ") == 1, done.stderr
    assert command.startswith("fairseq") or (before == [] and done.stdout == "")  # hydra, which fairseq runs on, warns before
    assert not (here / "new").exists() or not any((here / "new").rglob("*.pt"))


def test_configuration_of_hydra(here):
    """A value that its dataclass refuses."""
    said = "error: the configuration is invalid: Invalid value 'all', expected one of [instance, token"
    done = run("fairseq-hydra-train", *HYDRA.split(), "model.mixup=all", check=False, cwd=here, PYTHONPATH=str(ROOT), HYDRA_FULL_ERROR="1")
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout and said in done.stderr, done.stderr[-3000:]


def test_debug_of_fairseqs_commands(here):
    """They have no such option; the environment variable does it."""
    words = changed("fairseq-train", "--plm plm -> --plm absent").split()
    done = run("fairseq-train", *words, check=False, cwd=here, SALT_DEBUG="1")
    assert done.returncode == 1 and "Traceback (most recent" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: absent/plm.json does not exist")


@pytest.mark.parametrize(
    "words, said",
    [
        (["xnli", "--colour", "blue"], "unknown option --colour"),
        (["xnli", "--systems", "SALTY"], "unknown system SALTY"),
        (["ablation"], "name the data set first"),
        (["baselines", "--seeds", "1"], "name the data set first"),
        (["xnli", "--seeds", "1 -2"], '--seeds "1 -2": whole numbers'),
        (["pawsx", "--seeds"], "--seeds needs a value"),
        (["pawsx", "--updates", "many"], "--updates many"),
        (["generalized", "xnil"], "no recipes/config/xnil.yaml"),
    ],
)
def test_recipes(words, said, tmp_path):
    """Refused before anything is installed or made."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "recipes/setup.sh").write_text("touch installed\n")
    done = subprocess.run(["bash", f"recipes/{words[0]}.sh", *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and done.stdout == "" and line.startswith("error: ") and said in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipes"]
