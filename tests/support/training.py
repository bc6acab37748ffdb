"""Training and validation commands for the tests, and a training process that can be watched."""

import contextlib
import re
import sys
from pathlib import Path
from unittest import mock

import torch
from fairseq.logging import metrics
from fairseq_cli import train
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from salt_fairseq.experiments import composition

# fairseq imports none of these when --user-dir names a package that is in use already, as it is in the tests' own process.
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairTask
from salt_fairseq.tasks.salt_token_labelling import SaltTokenLabellingTask
from support.running import ROOT, run

USER_DIR = "salt_fairseq"  # as typed in the checkout
TOKEN_LABELLING = SaltTokenLabellingTask.name


def training(data, plm, save_dir, *more, updates=8):
    """The words after ``fairseq-train`` for a few updates; options in ``more`` win over these."""
    return [
        data,
        "--user-dir",
        USER_DIR,
        "--task",
        "salt_sentence_pair",
        "--arch",
        "salt_encoder",
        "--criterion",
        "salt_classification",
        "--plm",
        plm,
        "--optimizer",
        "adam",
        "--adam-eps",
        "1e-8",
        "--lr",
        "1e-3",
        "--lr-scheduler",
        "polynomial_decay",
        "--total-num-update",
        30,
        "--max-update",
        updates,
        "--clip-norm",
        "1.0",
        "--batch-size",
        32,
        "--seed",
        100003,
        "--save-dir",
        save_dir,
        "--no-epoch-checkpoints",
        "--log-format",
        "simple",
        "--log-interval",
        5,
        *more,
    ]


def typed(config):
    """The words after ``fairseq-train`` that say what a configuration says."""
    words = [config["task"].pop("data")]
    for group, options in config.items():
        for name, value in options.items() if isinstance(options, dict) else [("_name", options)]:
            option = "--" + ({"model": "arch"}.get(group, group) if name == "_name" else name).replace("_", "-")
            if isinstance(value, bool):
                words += [option] if value else []
            elif value is not None:
                words += [option, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return words


def without_fairseqs_store():
    """What fairseq-hydra-train has stored in this process, which then completes every configuration, is put aside."""
    Plugins.instance()  # stores what Hydra's own plugins are configured with, once in a process
    store = ConfigStore.instance()
    own = {name: value for name, value in store.repo.items() if name.startswith(("hydra", "_"))}
    return mock.patch.object(store, "repo", own)


def composed(name, *overrides):
    """A configuration of recipes/config, as hydra reads it."""
    with without_fairseqs_store():
        return OmegaConf.to_container(composition.composed(ROOT / "recipes" / "config", name, list(overrides)), resolve=True)


def checkpoint(save_dir):
    """What ``checkpoint_last.pt`` of a directory holds, read without running code from it."""
    return torch.load(Path(save_dir) / "checkpoint_last.pt", weights_only=True)


def assert_equal_parameters(a, b):
    """Two state dicts are equal, bit for bit."""
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def validate(data, path, subsets, *more, check=True):
    """Subset to its logged numbers, ``{"loss": ..., "accuracy": ..., "examples": ...}``, of ``fairseq-validate``."""
    done = run(
        "fairseq-validate",
        data,
        "--user-dir",
        USER_DIR,
        "--task",
        "salt_sentence_pair",
        "--path",
        path,
        "--valid-subset",
        ",".join(subsets),
        *more,
        check=check,
    )
    found = {}
    for subset, numbers in re.findall(r"\| INFO \| (\S+) \| valid on '\S+' subset \| (.*)", done.stdout + done.stderr):
        fields = (field.split() for field in numbers.split(" | "))
        found[subset] = {name: float(value) for name, value in fields}
    return found


def watched_rank(rank, words, port, out):
    """One of two processes that train together: writes its mixup seeds, examples and final parameters to ``out``."""
    models, draws, ids, step = [], [], [], SaltSentencePairTask.train_step

    def embed(self, *args, original=SaltEncoder.embed, **kwargs):
        embeddings = original(self, *args, **kwargs)
        draws.append(torch.rand(4, generator=self._generator))  # what follows this batch's coefficients
        return embeddings

    def train_step(self, sample, model, *args, **kwargs):
        models[:] = [model]
        ids.extend(sample["id"].tolist())
        return step(self, sample, model, *args, **kwargs)

    distributed = [
        "--distributed-no-spawn",
        "--distributed-rank",
        rank,
        "--distributed-world-size",
        2,
        "--cpu",
        "--distributed-init-method",
        f"tcp://127.0.0.1:{port}",
        "--distributed-backend",
        "gloo",
        "--ddp-backend",
        "legacy_ddp",
    ]
    argv = ["fairseq-train", *map(str, [*words, *distributed])]
    spies = {SaltEncoder: {"embed": embed}, SaltSentencePairTask: {"train_step": train_step}, sys: {"argv": argv}}
    with contextlib.ExitStack() as stack:
        for target, values in spies.items():
            stack.enter_context(mock.patch.multiple(target, **values))
        train.cli_main()
    state = {k.removeprefix("module."): v for k, v in models[0].state_dict().items()}
    torch.save({"state": state, "draws": torch.stack(draws), "ids": ids}, Path(out) / f"{rank}.pt")


def trained(words):
    """Run fairseq-train in this process."""
    metrics.reset()
    with mock.patch.object(sys, "argv", ["fairseq-train", *map(str, words)]):
        train.cli_main()


def epoch_batches(t, dataset, epoch, **options):
    """The batches of an epoch, as the trainer asks for them."""
    iterator = t.get_batch_iterator(dataset, epoch=epoch, required_batch_size_multiple=8, **options)
    batches = list(iterator.next_epoch_itr(shuffle=True))
    iterator._cur_epoch_itr = None  # ends the workers now; the garbage collector would wait five seconds for each
    return batches
