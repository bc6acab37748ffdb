"""Labels for tokens against transformers' classes for token classification: logits and losses of random weights, every body."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForTokenClassification

from preprocess import import_plm
from salt_fairseq.criterions.salt_classification import SaltClassificationCriterion
from salt_fairseq.data.directory import IGNORED
from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import SaltEncoderConfig
from salt_fairseq.models.salt_tagger import SaltTagger
from salt_fairseq.modules.encoder import PAD
from salt_fairseq.plm import PLM, Description, load_published, pad
from salt_fairseq.tasks.salt_token_labelling import SaltTokenLabellingTask
from support.bodies import BODIES, new_model
from support.in_process import call
from support.running import randomize

LABELS = ["B-X", "I-X", "O", "B-Y", "I-Y"]


@pytest.fixture(scope="module", params=["bert", "xlmr", *BODIES])
def plm(request, sentences, tmp_path_factory):
    """A Hugging Face directory and the PLM directory made of it."""
    if request.param in ("bert", "xlmr"):
        return request.getfixturevalue(f"{request.param}_dir"), request.getfixturevalue(f"{request.param}_plm")
    source = tmp_path_factory.mktemp(request.param) / "hf"
    source.mkdir()
    layers = 3 if request.param == "modernbert" else 2
    randomize(new_model(request.param, sentences[:300], source, num_hidden_layers=layers), 3).save_pretrained(source)
    call(import_plm, source, source.parent / "plm")
    return source, source.parent / "plm"


def taggers(plm, **options):
    """transformers' model and this project's, with the same random classifier."""
    source, directory = plm
    reference = AutoModelForTokenClassification.from_pretrained(source, num_labels=len(LABELS)).eval()
    config = SaltEncoderConfig(plm_description=Description.load(directory).to_json(), **options)
    tagger = SaltTagger(config, len(LABELS))
    tagger.load_plm(directory)
    with torch.no_grad():
        reference.classifier.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
        reference.classifier.bias.normal_(generator=torch.Generator().manual_seed(2))
        tagger.classifier.load_state_dict(reference.classifier.state_dict())
    return reference, tagger.eval()


def batch(plm, sentences):
    """Padded tokens LongTensor (B, T), labels for a third of them, and the reference's inputs, with the published ids."""
    directory = plm[1]
    loaded = PLM.load(directory)
    tokens = pad([loaded.encode(sentence) for sentence in sentences[:6]])
    target = torch.randint(len(LABELS), tokens.shape, generator=torch.Generator().manual_seed(3))
    labelled = (torch.rand(tokens.shape, generator=torch.Generator().manual_seed(4)) < 0.33) & tokens.gt(2)
    target = torch.where(labelled, target, IGNORED)
    ids = load_published(directory, loaded.description)["ids"]
    return tokens, target, {"input_ids": ids[tokens], "attention_mask": tokens.ne(PAD).long(), "labels": target}


def test_logits_and_loss(plm, sentences):
    reference, tagger = taggers(plm)
    tokens, target, inputs = batch(plm, sentences)
    with torch.inference_mode():
        expected, (logits, _) = reference(**inputs), tagger(tokens)
    real = tokens.ne(PAD)
    assert logits.shape == (*tokens.shape, len(LABELS)) and expected.logits[real].std() > 0.1
    torch.testing.assert_close(logits[real], expected.logits[real], atol=1e-5, rtol=1e-5)
    task = SimpleNamespace(cfg=SimpleNamespace(augment="", lexicon=""), data=SimpleNamespace(labels=LABELS), has_token_labels=True, target_dictionary=None)
    sample = {"net_input": {"src_tokens": tokens}, "target": target, "nlabels": int(target.ne(IGNORED).sum()), "ntokens": 1, "nsentences": 6}
    loss, size, log = SaltClassificationCriterion(task)(tagger, sample)
    assert size == target.ne(IGNORED).sum() and log["ncorrect"] == (expected.logits.argmax(-1) == target).sum()
    torch.testing.assert_close(loss / size, expected.loss, atol=1e-5, rtol=1e-5)
    by_sentence = SaltTokenLabellingTask.losses(logits, target)  # which gradient ascent climbs
    for row, labels, mean in zip(expected.logits, target, by_sentence):
        torch.testing.assert_close(mean, F.cross_entropy(row[labels.ne(IGNORED)], labels[labels.ne(IGNORED)]), atol=1e-5, rtol=1e-5)


def test_gradients(plm, sentences):
    """Of the mean loss, by the classifier's weights and the token embeddings."""
    reference, tagger = taggers(plm)
    tokens, target, inputs = batch(plm, sentences)
    reference(**inputs).loss.backward()
    logits, _ = tagger(tokens)
    F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED).backward()
    torch.testing.assert_close(tagger.classifier.weight.grad, reference.classifier.weight.grad, atol=1e-6, rtol=1e-4)
    ids = load_published(plm[1], Description.load(plm[1]))["ids"]
    expected = reference.get_input_embeddings().weight.grad[ids]
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(tagger.encoder.embed_tokens.weight.grad, expected, atol=1e-6, rtol=1e-4)


def test_two_readings_of_the_labelled_tokens(plm, sentences):
    """The consistency loss is that of the tokens with a label, by hand."""
    _, tagger = taggers(plm, dropout=0, attention_dropout=0, classifier_dropout=0, mixup="fixed", mixup_ratio=0.25)
    tokens, target, _ = batch(plm, sentences)
    substitutes = torch.where(tokens.gt(2), tokens.roll(1, 0).clamp(min=4), tokens)
    task = SimpleNamespace(
        cfg=SimpleNamespace(augment="fr", lexicon=""), data=SimpleNamespace(labels=LABELS), has_token_labels=True, target_dictionary=None, mixes=True
    )
    net_input = {"src_tokens": tokens, "substitutes": substitutes, "mixup_seed": 1}
    sample = {"net_input": net_input, "target": target, "nlabels": int(target.ne(IGNORED).sum()), "ntokens": 1, "nsentences": 6}
    tagger.train()
    loss, _, log = SaltClassificationCriterion(task, 0.5)(tagger, sample)
    chosen = target.ne(IGNORED)
    readings = [tagger(tokens)[0][chosen].log_softmax(1), tagger(**net_input)[0][chosen].log_softmax(1)]
    p, q = (reading.double() for reading in readings)
    consistency = ((p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()) / 2
    entropy = -sum(reading.gather(1, target[chosen][:, None]).sum() for reading in (p, q)) / 2
    torch.testing.assert_close(log["consistency"].double(), consistency.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.double(), entropy + 0.5 * consistency, rtol=1e-5, atol=1e-5)


def test_pooling_is_refused(plm):
    config = SaltEncoderConfig(plm_description=Description.load(plm[1]).to_json(), pooling="mean")
    with pytest.raises(InputError, match="--pooling mean with labels for tokens"):
        SaltTagger(config, 3)
