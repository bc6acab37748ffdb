"""Import a multilingual masked LM into a PLM directory (model.pt, dict.txt, tokenizer.json, plm.json).

python preprocess/import_plm.py xlm-roberta-base plm/xlmr
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from preprocess.importers import embedded, fairseq_xlmr, hub, huggingface
from preprocess.importers.vocabulary import SPECIAL_TOKENS, WORDPIECE_OPTIONS, kind_of, used_ids, with_fairseq_ids
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import Architecture, Encoder, LMHead, without_weights
from salt_fairseq.plm import FILES, PLM, Description
from salt_fairseq.storage.files import replacing, sha256
from salt_fairseq.tokenizer import Tokenizer

OF_VOCABULARY = ("encoder.embed_tokens.weight", "lm_head.bias")  # tensors with a row for each piece


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="Hugging Face directory or hub name (BERT, XLM-R or DistilBERT), "
        "directory of fairseq's xlmr.base or xlmr.large, or 'embedded': the PLM of the quickstart",
    )
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path, help="directory to write")
    parser.add_argument(
        "--trim-to",
        metavar="FILE",
        nargs="+",
        default=[],
        help="keep only the pieces that these "
        "texts and word lists use (one sentence or word a line, .xz too), and single characters",
    )
    return parser.parse_args()


def read(source):
    """The :class:`~preprocess.importers.source.Source` of a name or directory, told apart by its files."""
    directory = Path(source)
    if source == "embedded":
        return embedded.read()
    if directory.is_file():
        raise InputError(f"{source} is a file: give the directory that holds the model (unpack it first if it is an archive)")
    if not directory.is_dir():
        directory = hub.download(str(source))
    if (directory / "plm.json").is_file():
        raise InputError(f"{source} is a PLM directory already: use it as it is, or import what it was made from")
    if (directory / "model.pt").is_file() or (directory / "dict.txt").is_file():
        return fairseq_xlmr.read(directory)
    if (directory / "config.json").is_file():
        return huggingface.read(directory)
    raise InputError(f"{source} holds no model: it has neither config.json (Hugging Face) nor model.pt (fairseq)")


def import_plm(source, plm_dir, trim_to=()):
    """Write the PLM directory of ``source``; returns its :class:`Description`."""
    found = read(source)
    keep = used_ids(found.tokenizer, trim_to) if trim_to else None
    tokenizer, ids = with_fairseq_ids(found.tokenizer, keep)
    rows = dict(found.rows)
    for name in OF_VOCABULARY:
        every = torch.atleast_1d(found.state[name])
        if max(ids) >= len(every):
            raise InputError(
                f"{source}: the tokenizer has id {max(ids)}, but {name} only {len(every)} rows; "
                "tokenizer and weights do not belong together"
            )
        found.state[name] = every[ids]
        if keep is None and len(every) > len(ids):
            without_piece = torch.ones(len(every), dtype=torch.bool).index_fill_(0, torch.tensor(ids), False)
            rows[name] = every[without_piece]
    for name, tensor in found.state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{source}: the weights {name} are not finite: download the model again")
    kind = kind_of(tokenizer)
    normalizer = tokenizer["normalizer"] or {}
    with replacing(plm_dir, marker="plm.json") as directory:
        directory.mkdir()
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
        pieces = Tokenizer.load(directory, kind).pieces
        try:
            architecture = Architecture(vocabulary=len(pieces), **found.architecture)
        except ValueError as error:
            raise InputError(f"{source} describes a model that cannot be ({error}): download it again") from None
        # Specials are fairseq's own first four symbols, and <mask> is the one that its tasks append.
        (directory / "dict.txt").write_text("".join(f"{p} 1\n" for p in pieces[4:-1]), encoding="utf-8")
        published = {
            "ids": torch.tensor(ids).argsort().argsort() if trim_to else torch.tensor(ids),
            "rows": rows,
            "tensors": found.tensors,
        }
        torch.save({"model": found.state, "published": published}, directory / "model.pt")
        description = Description(
            name=Path(source).name,
            source=str(source),
            tokenizer=kind,
            separators=1 if kind == "wordpiece" else 2,
            special_tokens=dict(zip(("bos", "pad", "eos", "unk", "mask"), SPECIAL_TOKENS[kind])),
            architecture=architecture,
            sha256={name: sha256(directory / name) for name in FILES},
            family=found.family,
            pooling=found.pooling,
            lm_head=found.lm_head,
            weights_dtype=found.weights_dtype,
            tokenizer_options={name: normalizer[name] for name in WORDPIECE_OPTIONS if name in normalizer},
            trimmed_from=len(every) if trim_to else 0,
        )
        description.save(directory)
        del found, every  # a large model fits into memory once, not twice
        try:
            PLM.load(directory)
        except InputError as error:
            mismatch = str(error).partition("does not fit plm.json (")[2].rpartition(")")[0]
            raise InputError(f"{source}: the weights do not fit config.json ({mismatch}): download the model again") from None
    return description


def parameters(architecture):
    """Number of parameters of the encoder and its LM head."""
    with without_weights():
        modules = Encoder(architecture), LMHead(architecture)
    return sum(p.numel() for module in modules for p in module.parameters())


def report(description, plm_dir):
    """The sentences with which the command ends."""
    arch = description.architecture
    size, pieces = parameters(arch), f"{arch.vocabulary:,} pieces ({description.tokenizer})"
    if description.trimmed_from:
        before = parameters(replace(arch, vocabulary=description.trimmed_from))
        yield (
            f"trimmed {description.trimmed_from:,} pieces to {arch.vocabulary:,}: {before:,} parameters "
            f"({4 * before:,} bytes) to {size:,} ({4 * size:,} bytes)"
        )
    yield (
        f"wrote {plm_dir}: {arch.layers} layers, {arch.dim} dimensions, {pieces}, {size:,} parameters, "
        f"from {description.source}"
    )


def main():
    args = arguments()
    description = import_plm(args.source, args.plm_dir, args.trim_to)
    if description.lm_head == "untrained":
        print(
            f"note: {args.source} was published without a masked-LM head: train one with preprocess/train_lm_head.py "
            "before distilling; fine-tuning works without",
            file=sys.stderr,
        )
    for line in report(description, args.plm_dir):
        print(line)


if __name__ == "__main__":
    main()
