"""At full size, logits and features are those of transformers within 1e-4, in fp32, with the eps and positions of each model.

Weights are random, as the published ones are not part of the project; sizes are those of the published models.
"""

import itertools
import json

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM

from preprocess.import_plm import import_plm
from preprocess.importers.tokenizer_files import nmt_nfkc, unigram
from salt_fairseq.plm import PLM, load_published, pad

pytestmark = pytest.mark.long

BASE = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072)
SHAPES = {  # of bert-base-multilingual-cased and xlm-roberta-base
    "mBERT": BertConfig(vocab_size=119_547, max_position_embeddings=512, **BASE),
    "XLM-R": XLMRobertaConfig(
        vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=0, eos_token_id=2, **BASE
    ),
}


def write_tokenizer(directory, family, size):
    """A tokenizer of ``size`` pieces that mean nothing, specials where the published ones are."""
    if family == "bert":
        pieces = [f"w{i}" for i in range(size)]
        pieces[0], pieces[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        (directory / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces), encoding="utf-8")
    else:
        pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁w{i}" for i in range(size - 5)), "<mask>"]
        (directory / "tokenizer.json").write_text(json.dumps(unigram([(p, -1.0) for p in pieces], nmt_nfkc())), encoding="utf-8")


def make(config, directory):
    """A model of this configuration with random weights, written to ``directory``; biases and LayerNorms are random, too."""
    torch.manual_seed(1)
    model = {"bert": BertForMaskedLM, "xlm-roberta": XLMRobertaForMaskedLM}[config.model_type](config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name or "layer_norm" in name:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(directory)
    write_tokenizer(directory, config.model_type, config.vocab_size)
    return model


def batches(vocabulary, separators, positions):
    """Our ids: one token, two, as many as there are positions; then single sentences and pairs of other lengths, padded."""

    def words(n):
        return torch.randint(4, vocabulary - 1, (n,))

    eos = torch.tensor([2])
    pair = torch.cat([torch.tensor([0]), words(4), *[eos] * separators, words(9), eos])
    long_pair = torch.cat([torch.tensor([0]), words(200), *[eos] * separators])
    long_pair = torch.cat([long_pair, words(positions - len(long_pair) - 1), eos])
    yield torch.tensor([[0]])
    yield torch.tensor([[0, 2]])
    yield long_pair[None]
    yield pad([torch.cat([torch.tensor([0]), words(6), eos]), pair, torch.tensor([0, 2])])


def differences(model, plm_dir):
    """Largest absolute difference of (logits, features) for each of the :func:`batches`."""
    plm = PLM.load(plm_dir)
    description = plm.description
    ids = load_published(plm_dir, description)["ids"]
    arch = description.architecture
    for tokens in batches(arch.vocabulary, description.separators, arch.positions):
        at = tokens != 1
        arguments = {"input_ids": ids[tokens], "attention_mask": at.long()}
        if arch.segments == 2:  # the second sentence and the separator that ends it
            arguments["token_type_ids"] = torch.tensor([[int(2 in row[:i]) for i in range(len(row))] for row in tokens.tolist()]) * at
        with torch.no_grad():
            out = model(**arguments, output_hidden_states=True)
        expected = out.logits[at][:, ids] if not torch.equal(ids, torch.arange(len(ids))) else out.logits[at]
        yield ((plm.logits(tokens)[at] - expected).abs().max().item(), (plm.features(tokens)[at] - out.hidden_states[-1][at]).abs().max().item())


@pytest.mark.parametrize("shape", SHAPES)
def test_full_size(shape, tmp_path):
    model = make(SHAPES[shape], tmp_path / "hf")
    import_plm(tmp_path / "hf", tmp_path / "plm")
    largest = list(differences(model, tmp_path / "plm"))
    for weights in itertools.chain(tmp_path.glob("hf/*.safetensors"), tmp_path.glob("plm/model.pt")):
        weights.unlink()  # pytest keeps the directories of three runs
    assert len(largest) == 4 and max(map(max, largest)) <= 1e-4, largest
