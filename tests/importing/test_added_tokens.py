"""Tokens added to a vocabulary, in the files of all ages: cut as transformers cuts them, with the same ids."""

import json
import shutil

import pytest
import tokenizers
import transformers
from transformers import AutoTokenizer

from preprocess.importers.tokenizer_files import read_tokenizer
from preprocess.importers.vocabulary import with_fairseq_ids
from salt_fairseq.errors import InputError
from salt_fairseq.tokenizer import Tokenizer

TEXTS = ["The <url> of <user>", "a<url>b", "covid19 covid19s the covid19", "Foo foo thefoo", "no added token < url >", "<user><url>"]
ADDED = ("<url>", "covid19", "Foo", "<user>")


@pytest.fixture(params=["bert", "xlmr"])
def source(request, bert_dir, xlmr_dir, tmp_path):
    """A directory with the oldest files alone, and added_tokens.json."""
    original = {"bert": bert_dir, "xlmr": xlmr_dir}[request.param]
    for name in ("config.json", "vocab.txt", "sentencepiece.bpe.model"):
        if (original / name).is_file():
            shutil.copy(original / name, tmp_path)
    size = len(tokenizers.Tokenizer.from_str(json.dumps(read_tokenizer(tmp_path))).get_vocab())
    (tmp_path / "added_tokens.json").write_text(json.dumps({content: size + i for i, content in enumerate(ADDED)}))
    return tmp_path


# georg-jung/FastBertTokenizer#100, huggingface/tokenizers#507, #555: added tokens that are left out, not found or cut
@pytest.mark.parametrize("special", [[], ["<url>", "<user>"]])
def test_as_transformers(source, special, tmp_path):
    if (source / "sentencepiece.bpe.model").is_file() and transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 leaves a piece of its own for the blank before an added token, version 5 none")
    (source / "tokenizer_config.json").write_text(json.dumps({"additional_special_tokens": special}))
    published, (value, ids) = AutoTokenizer.from_pretrained(source), with_fairseq_ids(read_tokenizer(source))
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    kind = "wordpiece" if (source / "vocab.txt").is_file() else "sentencepiece"
    tokenizer = Tokenizer.load(tmp_path, kind)
    assert published.convert_tokens_to_ids(list(ADDED)) == [ids[tokenizer.pieces.index(content)] for content in ADDED]
    for text, own in zip(TEXTS, tokenizer(TEXTS)):
        assert [ids[i] for i in own] == published(text, add_special_tokens=False)["input_ids"], text


@pytest.mark.parametrize(
    "content", ["[", "[]", '{"<url>": "5"}', '{"<url>": 7}', '{"<url>": 1000000000000}', '{"<url>": null}', pytest.param("[" * 100_000, id="deep")]
)
def test_damaged(source, content):
    (source / "added_tokens.json").write_text(content)
    with pytest.raises(InputError, match=f"^{source / 'added_tokens.json'} .*: download it again$"):
        read_tokenizer(source)


# huggingface/transformers#131, #2742: do_lower_case was true unless said otherwise, and strips accents, too
@pytest.mark.parametrize("option", ["do_lower_case", "tokenize_chinese_chars", "strip_accents"])
@pytest.mark.parametrize("value", [None, "yes", 1, []])
def test_options_of_wordpiece(option, value, bert_dir, tmp_path):
    """The file that is wrong is named; ``strip_accents`` may be null, which leaves it to ``do_lower_case``."""
    shutil.copy(bert_dir / "vocab.txt", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({option: value}))
    if (option, value) == ("strip_accents", None):
        assert read_tokenizer(tmp_path)["normalizer"]["strip_accents"] is None
        return
    with pytest.raises(InputError, match=f"^{tmp_path / 'tokenizer_config.json'}: {option} is .*, and true or false is needed: correct it$"):
        read_tokenizer(tmp_path)
