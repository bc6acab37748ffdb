"""``salt train`` in Python: labelled examples in one language to a classifier for many.

>>> from salt_fairseq import api
>>> classifier = api.train(model="embedded", train="train.tsv", targets=["fr", "de"], out="my-classifier")  # doctest: +ELLIPSIS
salt train: SALT, embedded, into my-classifier
...
>>> classifier.labels
['other', 'paraphrase']
>>> classifier.predict([("Il pleut.", "La pluie tombe."), ("Es regnet.", "Die Sonne scheint.")])  # doctest: +SKIP
['paraphrase', 'other']
>>> classifier.save_pretrained("published")
>>> api.load("published").labels
['other', 'paraphrase']
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from salt_fairseq.cli.command import keep_log_level
from salt_fairseq.errors import InputError

if TYPE_CHECKING:
    import numpy as np

BATCH = 32  # examples that the model reads at once
Text = Union[str, tuple[str, str]]


def train(
    *,
    model: str,
    train: Any,
    targets: Sequence[str] | None = None,
    valid: Any = None,
    test: Mapping[str, Any] | None = None,
    out: str | os.PathLike | None = None,
    **settings: Any,
) -> "Classifier":
    """Train a classifier, as ``salt train`` does, and print its progress.

    ``train``, ``valid`` and each value of ``test`` (by language) are a path, a ``pandas.DataFrame``, a ``datasets.Dataset``, or
    rows: mappings with the columns that ``salt binarize`` knows, ``(text, label)`` or ``(text, text, label)``. Without
    ``valid``, a tenth of ``train`` is held out. ``settings`` are the other options of ``salt train``, as in ``batch_size=32``;
    what is not given is chosen from the data's size.

    The classifier, and everything that is made on the way, is in the directory ``out``, a temporary one by default. After an
    interruption, the same call goes on. Raises :class:`~salt_fairseq.errors.InputError`.
    """
    keep_log_level()
    from salt_fairseq.pipeline.plan import make_plan
    from salt_fairseq.pipeline.rows import as_file
    from salt_fairseq.pipeline.run import check_out, run
    from salt_fairseq.pipeline.stages import WORK

    directory = Path(out or tempfile.mkdtemp(prefix="salt-"))
    check_out(directory)
    texts = directory / WORK / "texts"
    given = {"model": os.fspath(model), "train": as_file(train, texts, "train"), "out": str(directory), **settings}
    if targets is not None:
        given["targets"] = list(targets)
    if valid is not None:
        given["valid"] = as_file(valid, texts, "valid")
    if test:
        given["test"] = {language: as_file(data, texts, f"test.{language}") for language, data in test.items()}
    return Classifier(run(make_plan(given), set(given)))


def load(directory: str | os.PathLike) -> "Classifier":
    """The classifier in a directory that :func:`train`, ``salt train`` or ``salt export`` wrote."""
    return Classifier(directory)


class Classifier:
    """A trained classifier, run by transformers.

    ``labels`` are the names of its classes in order, ``model`` and ``tokenizer`` what transformers' ``Auto`` classes load.
    """

    def __init__(self, directory: str | os.PathLike, device: str | None = None):
        self.directory = Path(directory)
        if not (self.directory / "config.json").is_file():
            raise InputError(f"{directory} holds no classifier: name a directory that salt train or salt export wrote")
        if "ForTokenClassification" in (self.directory / "config.json").read_text(encoding="utf-8"):
            raise InputError(f"{directory} tags words: load it with transformers' AutoModelForTokenClassification")
        import torch

        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError:
            raise InputError("classifiers are run by transformers: pip install 'salt_fairseq[api]'") from None
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = AutoModelForSequenceClassification.from_pretrained(self.directory).to(self.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(self.directory)
        self.labels = [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]

    def probabilities(self, texts: Sequence[Text]) -> "np.ndarray":
        """float32 (N, classes): the probability of each label for sentences, or for pairs of sentences. Those longer than in
        training are cut as in training."""
        import numpy as np
        import torch

        if isinstance(texts, str):
            raise InputError("a list of sentences, or of pairs of sentences, is needed, not a single string")
        pairs = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        for number, pair in enumerate(pairs):
            if len(pair) != len(pairs[0]) or not all(isinstance(side, str) and side.strip() for side in pair):
                raise InputError(f"text {number} is {texts[number]!r:.80}: sentences, or pairs of them throughout, are needed")
        result = np.empty((len(pairs), len(self.labels)), np.float32)
        order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))  # alike in length, so little is padded
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                sides = [list(side) for side in zip(*(pairs[i] for i in chosen))]
                tokens = self.tokenizer(*sides, padding=True, truncation=True, return_tensors="pt").to(self.device)
                result[chosen] = self.model(**tokens).logits.float().softmax(1).cpu().numpy()
        return result

    def predict(self, texts: Sequence[Text]) -> list[str]:
        """The most probable label of each sentence or pair."""
        return [self.labels[i] for i in self.probabilities(texts).argmax(1)] if len(texts) else []

    def evaluate(self, data: Any, **reading: Any) -> dict[str, float]:
        """``{"accuracy": %, "macro_f1": %, "examples": n}`` on labelled data, which :func:`train` takes, too.

        ``reading`` are the options of ``salt binarize`` that say how to read it, such as ``columns``.
        """
        import numpy as np

        from salt_fairseq.evaluation import scores
        from salt_fairseq.pipeline.inputs import read_examples, reading_of
        from salt_fairseq.pipeline.rows import as_file
        from salt_fairseq.pipeline.settings import Settings

        with tempfile.TemporaryDirectory() as folder:
            examples = read_examples(as_file(data, Path(folder), "data"), "en", reading_of(Settings(**reading)))
        unknown = {example.label for example in examples} - set(self.labels)
        if unknown or not examples:
            reason = f"the label {min(unknown)!r}, which the classifier does not know" if unknown else "no examples"
            raise InputError(f"the data has {reason}: its labels are {', '.join(self.labels)}")
        texts = [e.sentence1 if e.sentence2 is None else (e.sentence1, e.sentence2) for e in examples]
        targets = np.array([self.labels.index(example.label) for example in examples])
        confusion = scores.confusion_matrix(targets, self.probabilities(texts).argmax(1), len(self.labels))
        return {"accuracy": scores.accuracy(confusion), "macro_f1": scores.macro_f1(confusion), "examples": len(examples)}

    def save_pretrained(self, directory: str | os.PathLike) -> None:
        """Copy the classifier, with its model card, table and figures, but nothing that was made on the way."""
        from salt_fairseq.pipeline.stages import WORK

        if Path(directory).exists() and any(Path(directory).iterdir()):
            raise InputError(f"{directory} is not empty: name another directory")
        shutil.copytree(self.directory, directory, ignore=shutil.ignore_patterns(WORK, ".*"), dirs_exist_ok=True)
