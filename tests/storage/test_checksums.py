"""The hashes that verify outputs: a change of one bit is an error that names the file."""

import hashlib
import json
import shutil

import pytest

from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import PLM
from salt_fairseq.storage.manifest import read_verified, write_with_checksum

pytestmark = pytest.mark.slow


def test_checksum_of_metadata(tmp_path):
    """Of the content in order of its keys, whatever the layout; without it, or with another, the file is refused."""
    path = tmp_path / "meta.json"
    write_with_checksum(path, {"b": [1, 2.5], "a": "é"})
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["checksum"] == hashlib.sha256(b'{"a": "\\u00e9", "b": [1, 2.5]}').hexdigest()
    assert read_verified(path, "it") == {"a": "é", "b": [1, 2.5]}
    for changed in ({**written, "b": [1, 2.6]}, {"a": "é", "b": [1, 2.5]}, {**written, "c": None}, [written], None):
        path.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=f"{path} is not as it was written .its checksum does not fit.: make it again with it"):
            read_verified(path, "it")


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at * len(content) // 5] ^= 4
    path.write_bytes(content)


USES = {  # the first use of a file of the data directory
    "input0/train.bin": lambda data: data.load("train"),
    "input1/train.idx": lambda data: data.load("train"),
    "label/test.fr.bin": lambda data: data.load("test.fr"),
    "label/test.fr.idx": lambda data: data.load("test.fr"),
    "id/test.de.txt": lambda data: data.load("test.en-de"),
    "input0/dict.txt": lambda data: data.dictionary,
    "candidates/fr/input0/train.bin": lambda data: open_candidates(data.path, "train", "fr"),
    "candidates/fr/input1/train.idx": lambda data: open_candidates(data.path, "train", "fr", "input1"),
    "candidates/fr/input0/train.log_probs.npy": lambda data: open_candidates(data.path, "train", "fr"),
    "candidates/fr/meta.json": lambda data: open_candidates(data.path, "train", "fr"),
    "meta.json": lambda data: data,
}


@pytest.mark.parametrize("name", USES)
def test_flipped_bit(bert_data, tmp_path, name):
    """One bit, near the beginning, in the middle, near the end: an error that names the file."""
    data = shutil.copytree(bert_data, tmp_path / "data")
    whole = (data / name).read_bytes()
    USES[name](DataDirectory(data))
    for at in (0, 1, 2, 4):
        flipped(data / name, at)
        with pytest.raises(InputError) as error:
            USES[name](DataDirectory(data))
        assert str(error.value).startswith(f"{data / name} ") and "again with preprocess/" in str(error.value)
        (data / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["model.pt", "dict.txt", "tokenizer.json", "plm.json"])
def test_flipped_bit_in_a_plm(bert_plm, tmp_path, name):
    plm = shutil.copytree(bert_plm, tmp_path / "plm")
    flipped(plm / name, 2)
    with pytest.raises(InputError, match=f"^{plm / name} .*again"):
        PLM.load(plm)
