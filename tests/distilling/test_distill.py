"""Candidates are what the paper's formula says (§2.1), token by token.

Reference: transformers' model on one unmasked sentence at a time, a float64 softmax over the whole vocabulary, and a
search through the target vocabulary word by word (test_target_vocabulary.py has the reference for that).
"""

import functools
from unittest import mock

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import BertForMaskedLM, BertTokenizerFast, XLMRobertaForMaskedLM

from preprocess import binarize, distill
from preprocess.distillation import target_vocabularies
from preprocess.distillation.target_vocabularies import highest, target_vocabulary
from preprocess.distillation.word_lists import REFERENCES
from salt_fairseq.candidates import open_candidates
from salt_fairseq.plm import PLM
from salt_fairseq.tokenizer import Tokenizer
from support.in_process import call
from support.running import QUICKSTART, read_tsv
from support.word_lists import frequencies
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

LANGUAGES = ["en", "fr", "de"]
EXTRA = [
    ("In 1999 THE House was 20 m from the Sea …", "the"),
    ("3.", "?"),
    ("Was it? It was!", "In the end, the end."),
    ("the", "The cat's 2nd life - don't ask"),
    (" ".join(["the house, and"] * 60), "So what"),
]


class Reference:
    """The Hugging Face side of one PLM, its ids named by their pieces."""

    def __init__(self, kind, source):
        self.wordpiece = kind == "bert"
        self.read = functools.cache(self._read)
        if self.wordpiece:
            self.tokenizer = BertTokenizerFast.from_pretrained(source)
            self.model = BertForMaskedLM.from_pretrained(source).double().eval()
            self.pieces = self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer)))
            self.special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
        else:
            self.processor = sentencepiece.SentencePieceProcessor(model_file=str(source / "sentencepiece.bpe.model"))
            self.model = XLMRobertaForMaskedLM.from_pretrained(source).double().eval()
            own = [self.processor.id_to_piece(i) for i in range(3, self.processor.vocab_size())]
            self.pieces = ["<s>", "<pad>", "</s>", "<unk>", *own, "<mask>"]
            self.special = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}
        self.number = {piece: i for i, piece in enumerate(self.pieces)}

    def _read(self, sentence, longest=160):
        """Pieces of a sentence with its final separator, and the log-probabilities (T, V) that the PLM gives at each."""
        if self.wordpiece:
            ids = self.tokenizer(sentence)["input_ids"]
        else:
            ids = [0, *(i + 1 if i else 3 for i in self.processor.encode(sentence)), 2]
        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([[*ids[: longest - 1], ids[-1]] if len(ids) > longest else ids])).logits
        return [self.pieces[i] for i in ids[1:]], logits[0, 1:].log_softmax(1).numpy()

    def text(self, piece):
        return piece.removeprefix("##" if self.wordpiece else "▁").casefold()

    def begins(self, piece):
        return not piece.startswith("##") if self.wordpiece else piece.startswith("▁")

    def has_letter(self, piece):
        return piece not in self.special and any(c.isalpha() for c in self.text(piece))

    def is_candidate(self, pieces, i, positions):
        if not self.has_letter(pieces[i]):
            return False
        following = pieces[i + 1]
        return positions == "tokens" or (self.begins(pieces[i]) and not (self.has_letter(following) and not self.begins(following)))

    @functools.cache
    def texts_and_columns(self, vocabulary):
        return np.array([self.text(v) for v in vocabulary]), [self.number[v] for v in vocabulary]

    def candidates(self, sentence, positions, vocabulary):
        """For each token None, or (best word, its log-probability, that of the second best) among the words of
        ``vocabulary``, a tuple of pieces, that are not the token itself."""
        pieces, log_probs = self.read(sentence)
        texts, columns = self.texts_and_columns(vocabulary)
        for i, piece in enumerate(pieces):
            if i >= len(log_probs) - 1 or not self.is_candidate(pieces, i, positions):
                yield piece, None
                continue
            others = np.where(texts != self.text(piece), log_probs[i, columns], -np.inf)
            second, best = np.argsort(others)[-2:]
            yield piece, (vocabulary[best], others[best], others[second])


@functools.cache
def vocabularies_once(tokenizer_path, kind, languages, keep_shared):
    return target_vocabularies.target_vocabularies(Tokenizer(tokenizer_path, kind), list(languages), {}, "en", keep_shared)


def vocabularies(tokenizer, languages, files, source_language, keep_shared):
    """The command's own, which takes longer than everything else, once for each PLM."""
    assert (files, source_language) == ({}, "en")
    return vocabularies_once(tokenizer.path, tokenizer.kind, tuple(languages), keep_shared)


@pytest.fixture(scope="module", autouse=True)
def vocabularies_made_once():
    with mock.patch.object(distill, "target_vocabularies", vocabularies):
        yield


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def case(request, tmp_path_factory):
    """(reference, PLM directory, data directory, the two sides' sentences)."""
    plm_dir = request.getfixturevalue(f"{request.param}_plm")
    rows = [*read_tsv(QUICKSTART / "train.en.tsv")[:14], *read_tsv(QUICKSTART / "test.de.tsv")[:6]]
    pairs = [(row["sentence1"], row["sentence2"]) for row in rows] + EXTRA
    pairs += [(pairs[0][1], pairs[3][0]), pairs[5]]  # sentences that were there
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "train.tsv").write_text("".join(f"{a}\t{b}\t{i % 2}\n" for i, (a, b) in enumerate(pairs)), encoding="utf-8")
    call(binarize, plm_dir, directory / "data", "--subset", f"train={directory / 'train.tsv'}")
    reference = Reference(request.param, request.getfixturevalue(f"{request.param}_dir"))
    return reference, plm_dir, directory / "data", list(zip(*pairs))


@functools.cache
def distilled(plm_dir, data, *options):
    call(distill, plm_dir, data, "--languages", ",".join(LANGUAGES), "--device", "cpu", *options)
    return {(lang, side): list(open_candidates(data, "train", lang, side)) for lang in LANGUAGES for side in ("input0", "input1")}


@functools.cache
def words_of(plm_dir, language, keep_shared):
    """The pieces of a target vocabulary."""
    tokenizer = PLM.load(plm_dir).tokenizer
    source_words = None if keep_shared or language == "en" else frequencies("en")
    others = {"en", *REFERENCES} - {language}
    elsewhere = None if keep_shared else highest(frequencies(other) for other in others)
    return tuple(tokenizer.pieces[i] for i in target_vocabulary(tokenizer, frequencies(language), source_words, elsewhere))


@pytest.mark.parametrize("keep_shared", [False, True])
@pytest.mark.parametrize("positions", ["tokens", "words"])
def test_candidates(case, positions, keep_shared):
    reference, plm_dir, data, sides = case
    plm = PLM.load(plm_dir)
    number = {piece: i for i, piece in enumerate(plm.tokenizer.pieces)}
    found = distilled(plm_dir, data, "--positions", positions, *(["--keep-shared-words"] if keep_shared else []))
    counts = {"candidates": 0, "none": 0, "clear": 0}
    for language in LANGUAGES:
        vocabulary = words_of(plm_dir, language, keep_shared)
        for side, sentences in zip(("input0", "input1"), sides):
            for sentence, (ids, log_probs) in zip_equal(sentences, found[language, side]):
                expected = list(reference.candidates(sentence, positions, vocabulary))
                assert len(ids) == len(log_probs) == len(expected)
                for (piece, candidate), id, log_prob in zip(expected, ids.tolist(), log_probs.tolist()):
                    if candidate is None:
                        assert log_prob == -np.inf and id == number[piece]
                        counts["none"] += 1
                        continue
                    best, most, second = candidate
                    assert log_prob == pytest.approx(most, abs=1e-4)
                    assert id == number[best] or most - second <= 1e-4
                    assert reference.text(plm.tokenizer.pieces[id]) != reference.text(piece)
                    counts["candidates"] += 1
                    counts["clear"] += most - second > 1e-4
    assert min(counts["candidates"], counts["none"]) > 500 and counts["clear"] > 0.99 * counts["candidates"]


def test_end_of_a_sentence_that_is_too_long(case):
    """The PLM reads 160 tokens; the tokens behind them have no candidates."""
    reference, plm_dir, data, sides = case
    long = sides[0].index(EXTRA[-1][0])
    ids, log_probs = distilled(plm_dir, data, "--positions", "tokens")["fr", "input0"][long]
    assert len(ids) == len(reference.read(EXTRA[-1][0])[0]) > 160
    assert torch.isfinite(log_probs[:158]).any() and not torch.isfinite(log_probs[158:]).any()


@pytest.mark.parametrize("options", [("--max-tokens", 60), ("--max-tokens", 1), ("--logits-budget", 8000), ("--logits-budget", 1)])
def test_batches_do_not_matter(case, options):
    _, plm_dir, data, _ = case
    whole, parts = distilled(plm_dir, data), distilled(plm_dir, data, *options)
    for key in whole:
        for (ids, log_probs), (part_ids, part_log_probs) in zip_equal(whole[key], parts[key]):
            assert torch.equal(ids, part_ids)
            torch.testing.assert_close(log_probs, part_log_probs, atol=1e-5, rtol=1e-5)


def test_bf16(case):
    """Half the digits: nearly the same probabilities at the same positions, and another word only where two are closer, by
    transformers' float64, than rounding moves them: for log-probabilities a > b that rounding brings in the order b' >= a',
    a - b <= (a - a') + (b' - b)."""
    reference, plm_dir, data, sides = case
    pieces = PLM.load(plm_dir).tokenizer.pieces
    single, half = distilled(plm_dir, data), distilled(plm_dir, data, "--dtype", "bf16")
    errors, gaps = [], []
    for (language, side), found in single.items():
        for sentence, (ids, log_probs), (half_ids, halves) in zip_equal(sides[int(side[-1])], found, half[language, side]):
            candidates = torch.isfinite(log_probs)
            assert torch.equal(torch.isfinite(halves), candidates) and torch.equal(ids[~candidates], half_ids[~candidates])
            for k in candidates.nonzero()[:, 0].tolist():
                at, (best, other) = reference.read(sentence)[1][k], (reference.number[pieces[x[k]]] for x in (ids, half_ids))
                errors.append(abs(halves[k].item() - at[other]))
                if best != other:
                    gaps.append(at[best] - at[other])
    assert np.median(errors) < 0.05 and 0 < len(gaps) < 0.2 * len(errors)
    assert max(gaps) <= 2 * max(errors)
