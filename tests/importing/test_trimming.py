"""A trimmed PLM reads text that needs only kept pieces exactly as the whole one does.

Reference: the untrimmed PLM, whose softmax over the kept pieces is the trimmed one's.
"""

import json
import random
import re

import pytest
import torch

from preprocess import import_plm
from preprocess.importers.tokenizer_files import nmt_nfkc, unigram
from preprocess.importers.vocabulary import used_ids, with_fairseq_ids
from salt_fairseq.plm import PLM, Description, load_published, load_state, pad
from salt_fairseq.tokenizer import Tokenizer
from support.in_process import call


@pytest.fixture(scope="module", params=["bert", "xlmr"])
def trimmed(request, sentences, tmp_path_factory):
    """``(whole PLM, trimmed PLM, directory of the trimmed one)``: kept is what 150 sentences and a word list need."""
    directory = tmp_path_factory.mktemp("trimmed")
    (directory / "text.txt").write_text("".join(f"{s}\n" for s in sentences[::20]), encoding="utf-8")
    (directory / "words.txt").write_text("house\nmaison\nHaus\n", encoding="utf-8")
    source = request.getfixturevalue(f"{request.param}_dir")
    import_plm.import_plm(source, directory / "plm", [directory / "text.txt", directory / "words.txt"])
    return PLM.load(request.getfixturevalue(f"{request.param}_plm")), PLM.load(directory / "plm"), directory / "plm"


def test_text_of_kept_pieces(trimmed, sentences):
    """Sentences that were not given, but whose pieces are kept: same pieces, same logits of kept pieces, and so the same
    probabilities up to the normalizer."""
    whole, small, _ = trimmed
    row = {piece: i for i, piece in enumerate(whole.tokenizer.pieces)}
    kept = torch.tensor([row[piece] for piece in small.tokenizer.pieces])
    assert len(kept) < 0.9 * len(row)
    given = set(sentences[::20])
    allowed = set(kept.tolist())
    others = [(s, ids) for s, ids in zip(sentences, whole.tokenizer(sentences)) if s not in given and allowed.issuperset(ids)]
    texts, expected = zip(*others)
    assert len(texts) > 100
    assert [kept[ids].tolist() for ids in small.tokenizer(list(texts))] == list(expected)
    inputs = list(zip(texts[:24:2], texts[1:24:2]))
    ours, theirs = (pad([plm.encode(a, b) for a, b in inputs]) for plm in (small, whole))
    at = theirs != 1
    logits, expected = small.logits(ours)[at], whole.logits(theirs)[at]
    torch.testing.assert_close(logits, expected[:, kept], atol=1e-5, rtol=0)
    probabilities = expected.softmax(-1)[:, kept]
    torch.testing.assert_close(logits.softmax(-1), probabilities / probabilities.sum(-1, keepdim=True), atol=1e-5, rtol=0)


def test_words_of_the_list_are_kept(trimmed):
    whole, small, _ = trimmed
    for word in ("house", "maison", "Haus"):
        cut = [[plm.tokenizer.pieces[i] for i in plm.tokenizer([word])[0]] for plm in (whole, small)]
        assert cut[0] == cut[1]


def test_published_ids_are_without_gaps(trimmed):
    """An export of a trimmed PLM has the kept pieces in the order of the published vocabulary."""
    whole, small, plm_dir = trimmed
    ids = load_published(plm_dir, small.description)["ids"]
    assert ids.sort().values.tolist() == list(range(len(ids)))
    row = {piece: i for i, piece in enumerate(whole.tokenizer.pieces)}
    kept = torch.tensor([row[piece] for piece in small.tokenizer.pieces])
    if small.tokenizer.kind == "sentencepiece":  # our order is the published one
        assert ids.tolist() == list(range(len(ids))) and kept.tolist() == sorted(kept.tolist())
    else:  # [PAD] came first, then [unused1], [UNK], [CLS], [SEP], [MASK]
        assert ids[[1, 3, 0, 2, -1]].tolist() == [0, 1, 2, 3, 4] and "[unused1]" not in small.tokenizer.pieces


def tokenizer_of(value, directory):
    (directory / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    return Tokenizer.load(directory, "sentencepiece")


@pytest.mark.slow
def test_unigrams_with_any_scores(tmp_path):
    """120 random vocabularies over three letters, and text with a fourth: pieces that a text does not use change nothing
    about its own when they are dropped, though an unknown letter costs 10 more than the rarest piece."""
    rng, charsmap, compared = random.Random(1), nmt_nfkc(), 0
    for _ in range(120):
        made = {"".join(rng.choices("abcd", k=rng.randint(2, 5))) for _ in range(40)}
        made = {"▁" * rng.randint(0, 1) + piece for piece in sorted(made)} | {"▁", "a", "b", "c"}
        vocabulary = [(piece, -rng.choice([1, 2, 3, 5, 8, 13, 21, 34]) + rng.random()) for piece in sorted(made)]
        value = unigram([("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *vocabulary, ("<mask>", 0.0)], charsmap)
        texts = [" ".join("".join(rng.choices("abcd", k=rng.randint(1, 9))) for _ in range(5)) for _ in range(8)]
        (tmp_path / "text.txt").write_text("\n".join(texts[:2]) + "\n", encoding="utf-8")
        whole = tokenizer_of(with_fairseq_ids(value)[0], tmp_path)
        small = tokenizer_of(with_fairseq_ids(value, used_ids(value, [tmp_path / "text.txt"]))[0], tmp_path)
        assert len(small.pieces) < len(whole.pieces)
        cut, cut_small = ([[t.pieces[i] for i in ids] for ids in t(texts)] for t in (whole, small))
        assert cut_small[:2] == cut[:2]
        for ours, expected in zip(cut_small[2:], cut[2:]):
            if set(expected) <= set(small.pieces):
                compared += 1
                assert ours == expected
    assert compared > 10, compared


def test_command(bert_dir, bert_plm, tmp_path, capsys):
    """Ends with a line of parameters and bytes before and after, which are those of the files."""
    (tmp_path / "text.txt").write_text("the house\n", encoding="utf-8")
    call(import_plm, bert_dir, tmp_path / "plm", "--trim-to", tmp_path / "text.txt")
    line, wrote = capsys.readouterr().out.splitlines()
    numbers = [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", line)]
    sizes = []
    for plm_dir in (bert_plm, tmp_path / "plm"):
        description = Description.load(plm_dir)
        state = load_state(plm_dir, description)
        parameters = sum(t.numel() for name, t in state.items() if not name.startswith("pooler"))
        sizes.append((description.architecture.vocabulary, parameters))
    (pieces, parameters), (pieces_after, parameters_after) = sizes
    assert numbers == [pieces, pieces_after, parameters, 4 * parameters, parameters_after, 4 * parameters_after]
    assert wrote.startswith("wrote ") and f"{parameters_after:,} parameters" in wrote
