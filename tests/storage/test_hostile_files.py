"""Files that are made to take memory, time or other files: one sentence within seconds, and a bound on the memory."""

import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from preprocess import import_plm
from preprocess.importers.tokenizer_files import read_tokenizer
from preprocess.importers.vocabulary import with_fairseq_ids
from preprocess.importers.weight_files import read_tensors, safe_load
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import Architecture
from salt_fairseq.plm import Description
from salt_fairseq.storage.archives import check_archive
from salt_fairseq.storage.manifest import read_verified
from support.in_process import error_of


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.fixture(autouse=True)
def bounded():
    """No case takes 100 MB."""
    before = peak()
    yield
    assert peak() - before < 100 << 20


def packed(path, compression=zipfile.ZIP_DEFLATED, size=1 << 32):
    """An archive as ``torch.save`` makes it, of one tensor of zeros, but compressed: about a thousandth of its size."""
    torch.save({"model": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                if name.endswith("/data/0"):
                    for _ in range(size >> 20):
                        member.write(bytes(1 << 20))
                else:
                    member.write(content)
    return path


# promptfoo/modelaudit#502, python/cpython#83522: archives that unpack to a multiple of their size
@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("check", [check_archive, safe_load])
def test_compressed_archives(check, compression, tmp_path):
    path = packed(tmp_path / "c.pt", compression, 64 << 20)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match=f"^{path} has the compressed member .*, which torch.save never writes: do not use it$"):
        check(path)


@pytest.mark.parametrize("check", [check_archive, safe_load])
def test_members_that_overlap(check, tmp_path):
    """A hundred entries of the directory name the same megabyte."""
    path = tmp_path / "c.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", bytes(1 << 20))
        archive.filelist += [archive.filelist[0]] * 99
    with pytest.raises(InputError, match=f"^{path} has members larger than itself"):
        check(path)


def test_tensor_that_repeats_one_value(tmp_path):
    """4 bytes that say they are 4 TB."""
    torch.save({"bert.a": torch.zeros(1).expand(1 << 40)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="holds a tensor of shape .* and not as many numbers, which torch.save never writes"):
        read_tensors(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() == 0 and shutil.which("setpriv") is None, reason="root reads every file, and setpriv, which takes that right, is missing")
def test_unreadable_checkpoint(tmp_path):
    """Read as a user who may not: the permissions are what is wrong, not the file."""
    path = tmp_path / "c.pt"
    torch.save({}, path)
    path.chmod(0)
    code = f"import sys; sys.path.insert(0, {str(Path(import_plm.__file__).parents[1])!r})\nfrom salt_fairseq.storage.archives import check_archive\n"
    code += f"try: check_archive({str(path)!r})\nexcept Exception as error: print(error)"
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    restricted = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    done = subprocess.run([*restricted, sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"{path} cannot be read (Permission denied): check its permissions and the disk\n", done.stderr


# huggingface/transformers#47176: names of shards lead out of the model's directory
@pytest.mark.parametrize("shard", [3, None, True, "", ".", "..", "../model.safetensors", "/etc/passwd", "a/b.safetensors", "config.json", "x\0.bin", [], {}])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_names_of_shards(name, shard, tmp_path):
    index = tmp_path / f"{name}.index.json"
    save_file({"a": torch.zeros(1)}, tmp_path / "good.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": "good.safetensors", "b": shard}}))
    with pytest.raises(InputError) as raised:
        read_tensors(tmp_path)
    assert str(raised.value).startswith(f"{index} ") and "\n" not in str(raised.value) and "download" in str(raised.value)


NESTED = "[" * 100_000 + "]" * 100_000


def test_deep_json(bert_dir, bert_plm, tmp_path):
    plm = shutil.copytree(bert_plm, tmp_path / "plm")
    for depth in (100_000, 980):
        (plm / "plm.json").write_text('{"a":' + "[" * depth + "]" * depth + "}")
        with pytest.raises(InputError, match=f"^{plm / 'plm.json'} "):
            read_verified(plm / "plm.json", "import_plm.py")
    with pytest.raises(InputError, match="does not describe a PLM"):
        Description.from_json(NESTED, "c.pt")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"):
        source = shutil.copytree(bert_dir, tmp_path / name)
        (source / name).write_text(NESTED)
        (source / "model.safetensors").rename(source / "model-1.safetensors" if "index" in name else source / "model.safetensors")
        assert str(source) in error_of(import_plm, source, tmp_path / "out")


@pytest.mark.parametrize("number", [10**12, 1 << 62, 1 << 70, 10**300])
@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])
def test_sizes_of_no_model(name, number, bert_dir, tmp_path):
    source = shutil.copytree(bert_dir, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, name: number}))
    assert error_of(import_plm, source, tmp_path / "out") == f"{source / 'config.json'}: {name} is {number}, which no model has: download it again"
    sizes = dict(vocabulary=9, dim=4, layers=1, heads=1, ffn_dim=4, positions=9, segments=1, layer_norm_eps=1e-5, pooler=False)
    Architecture(**sizes)
    with pytest.raises(ValueError, match=f"layers is {number}, and 1 to 1,024 is possible"):
        Architecture(**{**sizes, "layers": number})


# huggingface/tokenizers#2060: a regular expression of tokenizer.json that takes exponential time
BACKTRACKING = ["(a+)+$", "(a|a)*$", "a*a*a*a*a*b", r"(\w+\s?)+!"]


@pytest.mark.parametrize("regex", BACKTRACKING)
@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer", "decoder"])
def test_regular_expressions(part, regex, bert_dir, tmp_path):
    source = shutil.copytree(bert_dir, tmp_path / "source")
    value = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    made = {
        "normalizer": {"type": "Replace", "pattern": {"Regex": regex}, "content": "x"},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
        "decoder": {"type": "Replace", "pattern": {"Regex": regex}, "content": "x"},
    }[part]
    kinds = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}
    value[part] = {"type": "Sequence", kinds[part]: [value[part], made]}
    (source / "tokenizer.json").write_text(json.dumps(value))
    sentence = error_of(import_plm, source, tmp_path / "out")
    assert sentence == f"{source / 'tokenizer.json'} has the regular expression {regex!r}, which no supported tokenizer has: use another"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_line_breaks_in_pieces(end, bert_dir):
    tokenizer = read_tokenizer(bert_dir)
    with_fairseq_ids(tokenizer)
    tokenizer["model"]["vocab"][f"house{end}1"] = len(tokenizer["model"]["vocab"])
    with pytest.raises(InputError, match="has the piece 'house.*1', and no line break can be in dict.txt"):
        with_fairseq_ids(tokenizer)
