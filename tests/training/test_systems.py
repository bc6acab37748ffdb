"""The systems of DESIGN's grid (the paper's Tables 1 to 3): rows of configuration, each trained by the same code."""

import contextlib
import sys
from unittest import mock

import pytest
import torch
from fairseq_cli import train, validate

from preprocess import distill
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.models.salt_encoder import SaltEncoder
from support.in_process import call
from support.running import ROOT, run
from support.tiny_plm import binarized, looked_up, tiny_plm
from support.training import USER_DIR, assert_equal_parameters, checkpoint, composed, typed

pytestmark = pytest.mark.slow

ALL = "en,fr,es,de"
# System: (substitutes from the PLM in, from the lexicon), mixing, perturbation. A perturbation or substitutes: None is none.
SYSTEMS = {
    "vanilla": (None, None, None, None),
    "SALT": (ALL, None, "instance", None),
    "SALT-en-only": ("en", None, "instance", None),
    "SALT-without-mixup": (ALL, None, "none", None),
    "RS-RP": (None, None, None, "random"),
    "RS-ADV": (None, None, None, "adversarial"),
    "RS-DA": (None, "synonyms", "none", None),
    "CoSDA-ML": (None, "muse", "none", None),
    "SCOPA": (None, "muse", "fixed", None),
    "SALT-consistency": (ALL, None, "instance", None),
    "R-Drop": (None, None, None, None),
}
CONSISTENT = {"SALT-consistency", "R-Drop"}
KNOBS = {
    "augment",
    "lexicon",
    "variants",
    "sentence_ratio",
    "word_ratio",
    "redraw",
    "no_original",
    "one_stream",
    "consistency",
    "mixup",
    "mixup_ratio",
    "perturbation",
    "radius",
    "norm",
    "ascent_steps",
    "ascent_step_size",
}


def test_every_file_is_a_system():
    assert {path.stem for path in (ROOT / "recipes" / "config" / "system").iterdir()} == set(SYSTEMS)


@pytest.mark.parametrize("name", ["xnli", "pawsx"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_rows_of_the_table(name, system):
    """What the composed configuration says of source, mixing and perturbation; all else is that of the data set."""
    plain = composed(name, "task.data=x", "model.plm=x")
    config = composed(name, "task.data=x", "model.plm=x", f"+system={system}")
    task, mixup = config["task"], config["model"]["mixup"]
    augment, lexicon, mixing, perturbation = SYSTEMS[system]
    assert (task["augment"] or None, task["lexicon"] or None) == (augment, lexicon)
    assert mixing in (mixup, None) and task["perturbation"] == (perturbation or "none")
    if lexicon:
        assert task["no_original"], "the sentence itself is among what is drawn"
        assert task["redraw"] is (lexicon == "muse"), "only dictionaries are drawn from anew"
        assert task["variants"] == (1 if lexicon == "muse" else {"xnli": 3, "pawsx": 10}[name])
        # Every word of every sentence; of CoSDA-ML's and SCOPA's, the share that the file's comment explains.
        assert (task["sentence_ratio"], task["word_ratio"]) == (1.0, 0.4 if lexicon == "muse" else 1.0)
    else:
        # A consistency loss reads the unchanged instance beside each code-switched one.
        assert task["no_original"] is task["one_stream"] is (system == "SALT-consistency")
    assert config["criterion"]["consistency"] == (1 if system in CONSISTENT else 0)
    assert task["radius"] > 0 and task["norm"] == "l2"
    for group in config:
        if group in ("task", "model", "criterion"):
            config[group] = {k: v for k, v in config[group].items() if k not in KNOBS}
            plain[group] = {k: v for k, v in plain[group].items() if k not in KNOBS}
    assert config == plain


@pytest.fixture(scope="module")
def plm(tmp_path_factory):
    return tiny_plm(tmp_path_factory.mktemp("plm") / "tiny", lowercase=True)


@pytest.fixture(scope="module")
def data(plm, tmp_path_factory):
    """64 pairs with candidates and both lexicons."""
    pairs = [("The big house sleeps.", "A big cat"), ("The cat, the house", "House 3 sleeps big"), ("Cat sleeps", "the resume, the cat.")]
    data = binarized(plm, tmp_path_factory.mktemp("data") / "data", [pairs[i % 3] for i in range(64)])
    words = {"en": "the house sleeps big cat", "fr": "maison la le peniche chat", "es": "casa gato", "de": "haus katze"}
    for language, listed in words.items():
        (data.parent / f"words.{language}").write_text(listed.replace(" ", "\n") + "\n", encoding="utf-8")
    call(distill, plm, data, "--languages", ALL, "--word-list", *(f"{language}={data.parent / f'words.{language}'}" for language in words))
    looked_up(plm, data, fr="the le\nthe la\nhouse maison\nhouse peniche\ncat chat\nbig grande\n", es="house casa\ncat gato\n")
    looked_up(plm, data, "--name", "synonyms", "--include-word", en={"the": ["le", "la"], "house": ["casa", "penicheboat"], "cat": ["chat"]})
    return data


@contextlib.contextmanager
def examples():
    """The ids of the examples of every batch that is made in this block, a list of lists."""
    ids = []

    def collater(self, items, original=SentencePairDataset.collater):
        ids.append([item["id"] for item in items])
        return original(self, items)

    with mock.patch.object(SentencePairDataset, "collater", collater):
        yield ids


def options(data, plm, directory, *more):
    return [
        f"task.data={data}",
        f"model.plm={plm}",
        "optimization.max_epoch=2",
        "common.seed=100003",
        "optimization.lr=[1e-2]",
        "dataset.batch_size=16",
        *more,
    ], f"checkpoint.save_dir={directory}"


def trained(data, plm, directory, system, *more):
    """Train in this process; the model's inputs in each step, the batches' ids, the parameters at the start and the end."""
    overrides, save_dir = options(data, plm, directory, "task.max_length=40", "dataset.num_workers=0", *more)
    words = typed(composed("xnli", f"+system={system}", *overrides, f"+{save_dir}"))
    inputs, start = [], {}

    def forward(self, *args, original=SaltEncoder.forward, **net_input):
        if self.training:
            start.setdefault("state", {k: v.clone() for k, v in self.state_dict().items()})
            inputs.append(net_input)
        else:
            assert set(net_input) == {"src_tokens"}, "evaluation knows no augmentation"
        return original(self, *args, **net_input)

    with mock.patch.object(SaltEncoder, "forward", forward), mock.patch.object(sys, "argv", ["fairseq-train", *words]), examples() as ids:
        train.cli_main()
    return inputs, ids, start["state"], checkpoint(directory)["model"]


@pytest.fixture(scope="module")
def vanilla(data, plm, tmp_path_factory):
    return trained(data, plm, tmp_path_factory.mktemp("vanilla"), "vanilla")


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_trains(data, plm, tmp_path, system, vanilla):
    """Two epochs: the number of steps, what the model is given, the same start as vanilla's and another end."""
    augment, lexicon, mixing, perturbation = SYSTEMS[system]
    inputs, _, start, end = trained(data, plm, tmp_path, system)
    one_stream = system == "SALT-consistency"
    streams = 1 + len(augment.split(",")) if augment and not one_stream else {"synonyms": 3}.get(lexicon, 1)
    assert len(inputs) == 2 * streams * 64 / 16
    mixed = (augment or lexicon) and mixing != "none"
    given = {"src_tokens", "mixup_seed"} | ({"substitutes"} if mixed else set()) | ({"perturbation"} if perturbation else set())
    assert all(set(net_input) == given for net_input in inputs)
    assert all(len(net_input["src_tokens"]) == (32 if system in CONSISTENT else 16) for net_input in inputs)
    assert_equal_parameters(start, vanilla[2])
    changed = [name for name in end if not torch.equal(end[name], vanilla[3][name])]
    assert (changed == []) is (system == "vanilla")
    if lexicon == "muse" and mixed:
        assert {x["substitutes"].dim() for x in inputs} == {3}, "a translation has more than one token"
    if perturbation:
        lengths = torch.cat([x["perturbation"].norm(dim=-1).flatten() for x in inputs])
        radius = composed("xnli", "task.data=x", "model.plm=x", f"+system={system}")["task"]["radius"]
        assert 0.9 * radius < lengths.max() <= radius * (1 + 1e-6)


def texts(inputs):
    return [row for net_input in inputs for row in net_input["src_tokens"].tolist()]


def test_scopa_at_ratio_1_trains_vanilla(data, plm, tmp_path, vanilla):
    """Two epochs with dropout and validation: equal parameters, bit for bit."""
    inputs, ids, start, end = trained(data, plm, tmp_path, "SCOPA", "model.mixup_ratio=1.0")
    assert ids == vanilla[1] and texts(inputs) == texts(vanilla[0])
    assert any(not torch.equal(x["substitutes"][:, :, 0], x["src_tokens"]) for x in inputs)
    assert_equal_parameters(end, vanilla[3])


@pytest.mark.long
def test_cosda_ml_as_typed(data, plm, tmp_path):
    """fairseq-hydra-train in a process of its own, and the same in this one: equal bit for bit; another seed is not."""
    overrides, save_dir = options(data, plm, tmp_path / "hydra", "task.max_length=40", "task.word_ratio=0.9")
    done = run("fairseq-hydra-train", "--config-dir", "recipes/config", "--config-name", "xnli", "+system=CoSDA-ML", *overrides, save_dir)
    assert "train: 64 instances, 64 in all streams of an epoch" in done.stdout + done.stderr
    inputs, _, _, again = trained(data, plm, tmp_path / "again", "CoSDA-ML", "task.word_ratio=0.9")
    assert_equal_parameters(checkpoint(tmp_path / "hydra")["model"], again)
    first, second = (sorted(tuple(t for t in row if t != 1) for row in texts(half)) for half in (inputs[:4], inputs[4:]))
    assert first != second, "drawn anew in the second epoch"
    _, _, _, other = trained(data, plm, tmp_path / "other", "CoSDA-ML", "task.word_ratio=0.9", "common.seed=2")
    assert not torch.equal(other["classifier.weight"], again["classifier.weight"])


def test_salt_with_a_random_perturbation(data, plm, tmp_path):
    """A cell of the grid that is no row of the table."""
    inputs, *_ = trained(data, plm, tmp_path, "SALT", "task.perturbation=random", "task.radius=0.3")
    assert all({"substitutes", "perturbation"} <= set(net_input) for net_input in inputs)
    assert sum(not torch.equal(x["substitutes"], x["src_tokens"]) for x in inputs) > len(inputs) / 2
    for x in inputs:
        assert torch.equal(x["perturbation"].ne(0).any(-1), x["src_tokens"] > 2)


def test_a_checkpoint_needs_no_lexicon(data, plm, tmp_path):
    """A model trained on a lexicon is validated where there is none."""
    trained(data, plm, tmp_path / "ckpt", "SCOPA")
    bare = binarized(plm, tmp_path / "data", [("The big house sleeps.", "A big cat")] * 5)
    assert not (bare / "lexicons").exists()
    words = [
        bare,
        "--user-dir",
        USER_DIR,
        "--task",
        "salt_sentence_pair",
        "--path",
        tmp_path / "ckpt" / "checkpoint_best.pt",
        "--valid-subset",
        "valid",
        "--batch-size",
        "2",
        "--num-workers",
        "0",
    ]
    with mock.patch.object(sys, "argv", ["fairseq-validate", *map(str, words)]), examples() as ids:
        validate.cli_main()
    assert sorted(i for batch in ids for i in batch) == list(range(5))
