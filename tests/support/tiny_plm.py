"""A PLM directory with a vocabulary that is known piece by piece, a data directory of a few sentences, dictionaries."""

import json

import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers

from preprocess import binarize, look_up
from salt_fairseq.modules.bodies.bert import BertEncoder
from salt_fairseq.modules.encoder import Architecture, LMHead
from salt_fairseq.plm import FILES, Description
from salt_fairseq.storage.files import sha256
from support.in_process import call

SPECIALS = {"wordpiece": ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"], "sentencepiece": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]}
WORDPIECES = (
    "the The house House ##boat ##s sleeps big Big cat resume . , ' 3 maison demeure le la peniche pen ##iche chat "
    "grand ##e haus Haus ##boot katze gross casa gato sum ##mary don t"
).split()
UNIGRAMS = "▁the ▁The ▁house ▁House boat s ▁sleeps ▁big ▁cat . , ▁maison ▁pen iche ▁chat ▁Haus boot ▁Katze ▁".split()


def tiny_plm(directory, kind="wordpiece", lowercase=False):
    """Write the PLM directory, with the same random weights each time; returns it. One layer, 8 dimensions, 128 positions."""
    bos, pad, eos, unk, mask = SPECIALS[kind]
    pieces = [bos, pad, eos, unk, *(WORDPIECES if kind == "wordpiece" else UNIGRAMS), mask]
    if kind == "wordpiece":
        fast = tokenizers.Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token=unk))
        fast.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        fast = tokenizers.Tokenizer(models.Unigram([(p, -1.0) for p in pieces], unk_id=3))
        fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.add_special_tokens([bos, pad, eos, unk, mask])
    directory.mkdir(parents=True)
    fast.save(str(directory / "tokenizer.json"))
    (directory / "dict.txt").write_text("".join(f"{p} 1\n" for p in pieces[4:-1]), encoding="utf-8")
    arch = Architecture(len(pieces), 8, 1, 2, 12, 128, 2, 1e-12, False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        modules = torch.nn.ModuleDict({"encoder": BertEncoder(arch), "lm_head": LMHead(BertEncoder, arch)})
    torch.save({"model": modules.state_dict(), "published": {"ids": torch.arange(len(pieces))}}, directory / "model.pt")
    names = dict(zip(("bos", "pad", "eos", "unk", "mask"), (bos, pad, eos, unk, mask)))
    description = Description(
        "tiny", "test", kind, 1, names, arch, {name: sha256(directory / name) for name in FILES}, "bert" if kind == "wordpiece" else "roberta"
    )
    description.save(directory)
    return directory


def binarized(plm, data, pairs):
    """Data directory whose ``train`` and ``valid`` hold these pairs of sentences (or single ones), labels 0 and 1 in turn."""
    data.parent.mkdir(parents=True, exist_ok=True)
    columns = ["sentence1", "sentence2"] if isinstance(pairs[0], tuple) else ["sentence1"]
    rows = [[*(pair if isinstance(pair, tuple) else (pair,)), str(i % 2)] for i, pair in enumerate(pairs)]
    lines = ["\t".join(row) for row in [[*columns, "label"], *rows]]
    (data.parent / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    call(binarize, plm, data, "--replace", "--labels", "0,1", "--subset", *(f"{subset}={data.parent / 'train.tsv'}" for subset in ("train", "valid")))
    return data


def looked_up(plm, data, *more, **dictionaries):
    """Look up dictionaries, which are texts in MUSE's layout or dicts to be written as JSON, language to dictionary."""
    words = []
    for language, listed in dictionaries.items():
        path = data.parent / f"en-{language}.{'txt' if isinstance(listed, str) else 'json'}"
        path.write_text(listed if isinstance(listed, str) else json.dumps(listed), encoding="utf-8")
        words.append(f"{language}={path}")
    call(look_up, plm, data, *more, "--dictionary", *words)
