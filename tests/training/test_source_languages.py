"""Training data in two source languages. References: data directories of one source language each, and thresholds by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import wordfreq

from preprocess import binarize, distill, look_up
from preprocess.distillation.word_lists import REFERENCES
from salt_fairseq import evaluate
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.tasks.training_streams import training_streams
from support.in_process import call, error_of
from support.running import QUICKSTART, read_tsv
from support.training import checkpoint, training

TARGETS = ("en", "fr", "de")
SOURCES = ("en", "de")


@pytest.fixture(scope="module")
def directories(xlmr_plm, tmp_path_factory):
    """Source languages to data directory: one of English, one of German, and one of both."""
    root = tmp_path_factory.mktemp("sources")
    for language in REFERENCES:  # hardly any words in the others: they take long to read
        listed = wordfreq.top_n_list(language, 1500) if language in TARGETS else ["xyzzy"]
        (root / f"{language}.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    for language, rows in (("en", 24), ("de", 17), ("fr", 12)):
        lines = (QUICKSTART / f"test.{language}.tsv").read_text(encoding="utf-8").splitlines(True)
        (root / f"{language}.tsv").write_text("".join(lines[: rows + 1]), encoding="utf-8")
    made = {}
    for sources in ("en", "de", "en,de"):
        names = [(f"{split}.{language}" if sources == "en,de" else split, language) for split in ("train", "valid") for language in sources.split(",")]
        names += [(f"test.{language}", language) for language in TARGETS]
        made[sources] = root / f"data-{sources}"
        subsets = [f"{name}={root / language}.tsv" for name, language in names]
        call(binarize, xlmr_plm, made[sources], "--source-language", sources, "--workers", 1, "--subset", *subsets)
        call(distill, xlmr_plm, made[sources], *words(made[sources]))
    return made


def words(data):
    lists = [f"{language}={data.parent / language}.txt" for language in REFERENCES]
    return ["--languages", ",".join(TARGETS), "--device", "cpu", "--word-list", *lists]


def values(candidates):
    return [torch.cat(parts) for parts in zip(*candidates)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_each_source_language_has_candidates_of_its_own(directories, source, target):
    """As if it were the only one: for the same sentences, words shared with *this* source language are left out."""
    for side in ("input0", "input1"):
        alone = values(open_candidates(directories[source], "train", target, side))
        together = values(open_candidates(directories["en,de"], f"train.{source}", target, side))
        assert torch.equal(alone[0], together[0]) and torch.isfinite(alone[1]).sum() > 20
        torch.testing.assert_close(alone[1], together[1], rtol=1e-5, atol=1e-5)  # other batches, other rounding


@pytest.mark.slow
def test_interrupted_in_the_second(directories, xlmr_plm, monkeypatch):
    """What was found for the first source language, and the beginning of the second, is not searched for again."""
    data, read, stop = directories["en,de"], [], 60

    class Counting(distill.CandidateSearch):
        def __call__(self, sentences, masks):
            read.extend(sentences)
            if len(read) > stop:
                raise KeyboardInterrupt
            return super().__call__(sentences, masks)

    def files():
        return {path.relative_to(data): path.read_bytes() for path in (data / "candidates").rglob("*") if path.is_file()}

    whole = files()
    monkeypatch.setattr(distill, "CandidateSearch", Counting)
    monkeypatch.setattr("salt_fairseq.storage.resumable.CHECKPOINT_SECONDS", 0)
    options = [*words(data), "--max-tokens", 64]
    with pytest.raises(KeyboardInterrupt):
        call(distill, xlmr_plm, data, *options)
    before, stop = len(read), 1000
    assert files() == whole and (data / ".candidates.distillation" / "train.de").is_dir()
    call(distill, xlmr_plm, data, *options)
    distinct = sum(
        len({row["sentence1"] for row in rows} | {row["sentence2"] for row in rows})
        for rows in map(read_tsv, (data.parent / f"{source}.tsv" for source in SOURCES))
    )
    assert before < len(read) < before + distinct / 2 and not (data / ".candidates.distillation").exists()
    again = files()
    for name, content in whole.items():
        assert name.name == "meta.json" or "log_probs" in name.name or again[name] == content  # rounded otherwise in other batches


def options(**changed):
    cfg = {"augment": ",".join(TARGETS), "thresholds": "source=20%,60%", "lexicon": "", "no_original": False, "one_stream": False, "seed": 1}
    return SimpleNamespace(**cfg | changed)


def substituted(data, source, target, fraction):
    """Side to the sentences of a directory of one source language, the most probable such fraction of candidates in place."""
    sides = ("input0", "input1")
    candidates = {side: list(open_candidates(data.path, "train", target, side)) for side in sides}
    log_probs = np.sort(np.concatenate([p[torch.isfinite(p)].numpy() for side in sides for _, p in candidates[side]]))
    least = log_probs[len(log_probs) - round(fraction * len(log_probs))]
    sentences = {side: data.sentences("train", side) for side in sides}
    return {
        side: [[int(c) if p >= least else int(t) for t, c, p in zip(sentences[side][i], *candidates[side][i])] for i in range(len(sentences[side]))]
        for side in sides
    }


def test_streams_of_both(directories, xlmr_plm):
    """English sentences with 20 % of their candidates in English and 60 % of those in French and German; German ones likewise."""
    data, singles = DataDirectory(directories["en,de"]), {source: DataDirectory(directories[source]) for source in SOURCES}
    streams = training_streams(options(), data, "train", mixed=False)
    dataset = SentencePairDataset(data.load("train"), Description.load(xlmr_plm).join, 128, streams)
    assert dataset.targets.tolist() == [*singles["en"].targets("train"), *singles["de"].targets("train")] and len(dataset) == 4 * 41
    for number, target in enumerate(TARGETS, 1):
        expected = {source: substituted(singles[source], source, target, 0.2 if source == target else 0.6) for source in SOURCES}
        for side, name in enumerate(("input0", "input1")):
            sentences = [sentence for source in SOURCES for sentence in expected[source][name]]
            source_of = streams.sources[number]
            assert [source_of.text(side, i, dataset.inputs[side][i]).tolist() for i in range(41)] == sentences
    unchanged = [dataset[i]["tokens"].tolist() for i in (0, 24)]
    join = Description.load(xlmr_plm).join
    assert unchanged == [join(*(singles[source].sentences("train", side)[0] for side in ("input0", "input1"))).tolist() for source in SOURCES]
    german = training_streams(options(), data, "train.de", mixed=False).sources[3]
    assert german.text(0, 5, data.sentences("train.de", "input0")[5]).tolist() == expected["de"]["input0"][5]


def test_names(directories):
    data = DataDirectory(directories["en,de"])
    assert data.parts("train") == ["train.en", "train.de"] and data.parts("test.fr") == ["test.fr"] and data.source_languages == SOURCES
    assert data.parts("valid,train.de") == ["valid.en", "valid.de", "train.de"]
    assert data.ids("train") == data.ids("train.en") + data.ids("train.de") and len(data.checksums("train")) == 6
    assert DataDirectory(directories["de"]).parts("train") == ["train"] and DataDirectory(directories["de"]).language("train") == "de"


def test_refusals(directories, xlmr_plm, tmp_path):
    data, file = directories["en,de"], QUICKSTART / "valid.en.tsv"
    said = error_of(binarize, xlmr_plm, tmp_path / "data", "--source-language", "en,de", "--subset", f"train={file}")
    assert said == f"--subset train={file}: the source languages are en, de: name that of the file, as in --subset train.en={file}"
    assert "or several, as in en,de" in error_of(binarize, xlmr_plm, tmp_path / "data", "--source-language", "en,en", "--subset", f"test.en={file}")
    (tmp_path / "dictionary").write_text("house maison\n")
    looked_up = [xlmr_plm, data, "--dictionary", f"fr={tmp_path / 'dictionary'}"]
    assert "several source languages: name one with --subset train.en" in error_of(look_up, *looked_up)
    assert "--subset train.fr: the training data of " in error_of(look_up, *looked_up, "--subset", "train.fr")
    for changed, subset, said in (
        ({}, "test.fr", "are made for the subset train.en, train.de only"),
        ({"augment": "", "lexicon": "muse"}, "train", "a lexicon is in one source language"),
        ({"thresholds": "zh=1%,2%"}, "train", "names zh, none of en, fr, de"),
    ):
        with pytest.raises(InputError, match=said):
            training_streams(options(**changed), DataDirectory(data), subset, mixed=True)


@pytest.mark.slow
def test_trained_on_both(directories, xlmr_plm, tmp_path, capsys):
    from fairseq_cli import train

    more = ["--augment", "en,fr,de", "--thresholds", "source=20%,60%", "--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"]
    call(train, *training(directories["en,de"], xlmr_plm, tmp_path / "run", *more, updates=6))
    assert checkpoint(tmp_path / "run")["task_state"]["source_language"] == "en,de"
    call(
        evaluate,
        directories["en,de"],
        "--path",
        tmp_path / "run" / "checkpoint_last.pt",
        "--subsets",
        "valid,test.*",
        "--device",
        "cpu",
        "--out",
        tmp_path / "r.json",
    )
    said = capsys.readouterr().out
    assert "test avg. without en, de " in said and ", with en, de " in said and "5 subsets" in said
