"""What the training of an LM head draws and computes: masks, neighbours in context, losses, the text.

References: fractions of masking over many draws; the similarity worked out token by token in float64; losses by hand.
"""

import numpy as np
import pytest
import torch

from preprocess.lm_head import head_training, masking, plain_text
from preprocess.lm_head.contextual_neighbours import LEAST, ContextualNeighbours
from preprocess.lm_head.masking import Masking
from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.modules.encoder import BOS, EOS, PAD
from salt_fairseq.plm import PLM, pad

pytestmark = pytest.mark.slow


def test_masking_fractions():
    """200 draws over 25 x 40 tokens: fractions within five standard deviations, specials never, every piece possible."""
    vocabulary, generator = 50, torch.Generator().manual_seed(1)
    tokens = torch.randint(4, vocabulary - 1, (25, 40), generator=generator)
    tokens[:, 0], tokens[:, 30], tokens[:5, 31:], tokens[7, 9], tokens[8, 9] = BOS, EOS, PAD, 3, vocabulary - 1
    special = (tokens < 4) | (tokens == vocabulary - 1)
    counts, drawn = dict.fromkeys(("selected", "masked", "changed"), 0), set()
    mask = Masking(0.3, 0.5, 0.2)
    for _ in range(200):
        read, selected = mask(tokens, vocabulary, generator)
        assert not (selected & special).any() and torch.equal(read[~selected], tokens[~selected])
        masked = read == vocabulary - 1
        changed = (read != tokens) & ~masked
        counts["selected"] += int(selected.sum())
        counts["masked"] += int((masked & ~special).sum())
        counts["changed"] += int(changed.sum())
        drawn |= set(read[changed].tolist())
    n = 200 * int((~special).sum())
    for fraction, total, count in (
        (0.3, n, counts["selected"]),
        (0.5, counts["selected"], counts["masked"]),
        (0.2 * 44 / 45, counts["selected"], counts["changed"]),
    ):  # one in 45 draws the token itself
        assert abs(count / total - fraction) < 5 * np.sqrt(fraction * (1 - fraction) / total)
    assert drawn == set(range(4, vocabulary - 1))


def test_masking_depends_on_the_generator_alone():
    tokens = torch.randint(4, 49, (8, 16), generator=torch.Generator().manual_seed(0))
    first, again, other = (Masking(0.5, 0.8, 0.1)(tokens, 50, torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again)) and not torch.equal(first[1], other[1])
    read, selected = Masking(1.0, 0.0, 0.0)(tokens, 50, torch.Generator())
    assert selected.all() and torch.equal(read, tokens)


def test_similarities_token_by_token(xlmr_plm, texts):
    """The formula in float64, one sentence at a time, with the encoder's own layers."""
    plm = PLM.load(xlmr_plm)
    text, _ = plain_text.read(texts, plm.tokenizer, 40, 1, 32, torch.Generator().manual_seed(0))
    neighbours = ContextualNeighbours(plm.encoder, 1).fit(text, 300, torch.no_grad)
    features = {}
    plm.encoder.layers[0].register_forward_hook(lambda module, inputs, output: features.update(now=output[0].double()))
    rows = []  # (piece, file, feature)
    for sentence, file in zip(text.sentences, text.files):
        plm.features(torch.from_numpy(sentence).long()[None])
        rows += [(i, file, features["now"][k].numpy()) for k, i in enumerate(sentence.tolist()) if i > 3]
    means = [np.mean([h for _, f, h in rows if f == file], 0) for file in (0, 1)]
    by_piece = {}
    for piece, file, feature in rows:
        by_piece.setdefault(piece, []).append(feature - means[file])
    assert neighbours.pieces.tolist() == sorted(p for p, found in by_piece.items() if len(found) >= LEAST)
    weight = plm.encoder.embed_tokens.weight.detach().double().numpy()
    static = weight - weight[4:-1].mean(0)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    sentence = torch.from_numpy(text.sentences[-1]).long()[None]
    assert text.files[-1] == 1
    plm.features(sentence)
    wanted = torch.zeros_like(sentence, dtype=torch.bool)
    wanted[0, 1:4] = True
    found = neighbours(sentence, torch.tensor([1]), wanted, torch.no_grad)
    assert found.shape == (3, len(neighbours.pieces))
    for row, k in zip(found, (1, 2, 3)):
        query, own = features["now"][k].numpy() - means[1], static[sentence[0, k]]
        expected = [(cosine(query, np.mean(by_piece[p], 0)) + cosine(own, static[p])) / 2 for p in neighbours.pieces.tolist()]
        np.testing.assert_allclose(row, expected, atol=2e-5)


def test_losses_by_hand(xlmr_plm, texts):
    """One step's losses from PLM.logits, at the tokens that Masking draws."""
    plm = PLM.load(xlmr_plm)
    text, _ = plain_text.read(texts, plm.tokenizer, 40, 1, 32, torch.Generator().manual_seed(0))
    neighbours = ContextualNeighbours(plm.encoder, 1).fit(text, 300, torch.no_grad)
    mask, (tokens, of) = Masking(0.3, 0.8, 0.1), next(text.batches(300))
    vocabulary = plm.description.architecture.vocabulary
    read, selected = mask(tokens, vocabulary, torch.Generator().manual_seed(2))
    log_probs = plm.logits(read).double()
    itself = -log_probs.log_softmax(-1).gather(2, tokens[..., None])[..., 0]
    seen = masking.is_text(tokens, vocabulary) & ~selected
    target = (neighbours(tokens, of, seen, torch.no_grad).double() / 0.2).softmax(1)
    divergence = (target * (target.log() - log_probs[seen][:, neighbours.pieces].log_softmax(1))).sum(1).mean()
    for unmasked, expected in (("neighbours", divergence), ("itself", itself[seen].mean()), ("nothing", np.nan)):
        fresh = PLM.load(xlmr_plm)
        training = head_training.HeadTraining(fresh, 1, head_training.Objective(mask, unmasked, 0.5, 0.2), neighbours, (1e-3, 1e-3), 10, torch.enable_grad)
        losses = training.step(tokens, of, torch.Generator().manual_seed(2))
        np.testing.assert_allclose(losses, [itself[selected].mean(), expected], rtol=1e-4)


def test_text(xlmr_plm, texts, sentences):
    """Files line by line, blank lines left out; held-out lines are in no training text; batches hold each line once."""
    plm = PLM.load(xlmr_plm)
    lines = [[line for _, line in numbered_lines(path) if line.strip()] for path in texts]
    assert lines == [sentences[:60], sentences[-60:]]
    text, held_out = plain_text.read(texts, plm.tokenizer, 50, 4, 20, torch.Generator().manual_seed(0))
    expected = [plm.encode(s).tolist() for s in sentences[:50] + sentences[-60:-10]]
    expected = sorted(ids if len(ids) <= 20 else [*ids[:19], EOS] for ids in expected)
    assert sorted(s.tolist() for s in text.sentences + held_out.sentences) == expected
    assert np.bincount(text.files).tolist() == [46, 46] and np.bincount(held_out.files).tolist() == [4, 4]
    for generator in (None, torch.Generator().manual_seed(1)):
        batches = list(text.batches(64, generator))
        assert all(ids.numel() <= 64 or len(ids) == 1 for ids, _ in batches) and all(len(ids) == len(of) for ids, of in batches)
        read = sorted((ids[ids != PAD].tolist(), f) for batch, of in batches for ids, f in zip(batch, of.tolist()))
        assert read == sorted(zip((s.tolist() for s in text.sentences), text.files.tolist()))
    assert pad([torch.tensor([0, 2])]).tolist() == [[0, 2]]
