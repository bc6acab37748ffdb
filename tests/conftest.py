"""Small masked LMs with random weights, made with transformers, and data from the quickstart's sentences."""

import gc
import os
import shutil
import sys

import filelock
import pytest
import sentencepiece
import wordfreq

from preprocess import binarize, distill, import_plm
from support.in_process import call
from support.running import LANGUAGES, QUICKSTART, randomize, read_tsv


def pytest_collection_modifyitems(items):
    """Slow tests first, so that two processes end at about the same time."""
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("slow", "long")))


def pytest_collection_finish():
    """What was imported by now stays to the end; the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


@pytest.fixture(autouse=True)
def no_best_of_another_training():
    """fairseq keeps the best score of a process's trainings as an attribute of a function, and a later one that stays below it
    writes no checkpoint_best.pt."""
    if "fairseq.checkpoint_utils" in sys.modules:
        vars(sys.modules["fairseq.checkpoint_utils"].save_checkpoint).pop("best", None)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """``once(name, make)``: the path ``name`` that ``make(path)`` writes, made by one of pytest-xdist's processes for all."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent / "shared"
        root.mkdir(exist_ok=True)

    def made(name, make):
        path, done = root / name, root / f"{name}.done"
        with filelock.FileLock(root / f"{name}.lock"):
            if not done.exists():
                make(path)
                done.touch()
        return path

    return made


@pytest.fixture(scope="session")
def sentences():
    """About 3,000 sentences in nine languages."""
    rows = [row for path in sorted(QUICKSTART.glob("*.tsv")) for row in read_tsv(path)]
    return [row[side] for row in rows for side in ("sentence1", "sentence2")]


@pytest.fixture(scope="session")
def bert_dir(once):
    """A Hugging Face directory: uncased BERT with WordPiece, 3 layers, 48 dimensions, pooler and LM head."""
    from transformers import BertConfig, BertForPreTraining, BertTokenizerFast

    def make(directory):
        directory.mkdir()
        words = [w for lang in LANGUAGES for w in wordfreq.top_n_list(lang, 700) if w.isalpha()]
        letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789.,;:!?'\"-()")
        pieces = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters[:26]), *words]
        (directory / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n", encoding="utf-8")
        tokenizer = BertTokenizerFast(str(directory / "vocab.txt"), do_lower_case=True)
        tokenizer.save_pretrained(directory)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=112, max_position_embeddings=160
        )
        randomize(BertForPreTraining(config), 1).save_pretrained(directory)

    return once("bert0", make)


@pytest.fixture(scope="session")
def xlmr_dir(sentences, once):
    """A Hugging Face directory: XLM-R with SentencePiece (sentencepiece.bpe.model only), 2 layers, 40 dimensions."""
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    def make(directory):
        directory.mkdir()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_prefix=str(directory / "sentencepiece.bpe"),
            vocab_size=2500,
            normalization_rule_name="nmt_nfkc",
            character_coverage=0.9995,
            minloglevel=2,
            num_threads=1,
        )
        processor = sentencepiece.SentencePieceProcessor(model_file=str(directory / "sentencepiece.bpe.model"))
        config = XLMRobertaConfig(
            vocab_size=processor.vocab_size() + 2,
            hidden_size=40,
            num_hidden_layers=2,
            num_attention_heads=5,
            intermediate_size=96,
            max_position_embeddings=162,
            type_vocab_size=1,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            layer_norm_eps=1e-5,
        )
        randomize(XLMRobertaForMaskedLM(config), 2).save_pretrained(directory)

    return once("xlmr0", make)


@pytest.fixture(scope="session")
def bert_plm(bert_dir, once):
    return once("bert", lambda path: call(import_plm, bert_dir, path))


@pytest.fixture(scope="session")
def xlmr_plm(xlmr_dir, once):
    return once("xlmr", lambda path: call(import_plm, xlmr_dir, path))


def _binarized(plm, data):
    subsets = [f"{name}={QUICKSTART / name}.tsv" for name in ("test.en", "test.fr", "test.de", "test.ru")]
    call(binarize, plm, data, "--workers", 1, "--subset", f"train={QUICKSTART / 'train.en.tsv'}", f"valid={QUICKSTART / 'valid.en.tsv'}", *subsets)
    call(distill, plm, data, "--languages", ",".join(LANGUAGES))


@pytest.fixture(scope="session")
def bert_data(bert_plm, once):
    """Data directory of the quickstart's sentences with candidates in en, fr, es, de. Read it; copy it to change it."""
    return once("bert-quickstart", lambda path: _binarized(bert_plm, path))


@pytest.fixture(scope="session")
def xlmr_data(xlmr_plm, once):
    return once("xlmr-quickstart", lambda path: _binarized(xlmr_plm, path))


@pytest.fixture(scope="session")
def checkpoints(xlmr_data, xlmr_plm, once):
    """Two, as fairseq-train writes them; the PLM directory that they name is gone. Do not change them."""
    from support import scored  # imports all of fairseq, which few tests need

    return scored.checkpoints_in(once("checkpoints", lambda path: scored.two_checkpoints(xlmr_data, xlmr_plm, path)))


@pytest.fixture(scope="session")
def world(once):
    """The directory of small_world.py. Copy it to use it."""
    from support import small_world  # imports all of fairseq and every command, which few tests need

    return once("world", small_world.build)


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    """A copy of it as working directory."""
    monkeypatch.chdir(shutil.copytree(world, tmp_path / "world"))
    return tmp_path / "world"
