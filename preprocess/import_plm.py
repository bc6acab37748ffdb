"""Import a multilingual masked LM into a PLM directory (model.pt, dict.txt, tokenizer.json, plm.json).

    python preprocess/import_plm.py xlm-roberta-base plm/xlmr
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from preprocess import cli, embedded, huggingface
from preprocess.vocabulary import SPECIAL_TOKENS, kind_of, used_ids, with_fairseq_ids
from salt_fairseq.errors import InputError
from salt_fairseq.files import replacing, sha256
from salt_fairseq.modules.encoder import Architecture
from salt_fairseq.plm import FILES, PLM, Description
from salt_fairseq.tokenizer import Tokenizer


def arguments():
    parser = cli.parser(__doc__.split("\n")[0])
    parser.add_argument("source", metavar="SOURCE", help="Hugging Face directory or hub name (BERT or XLM-R with its "
                        "masked-LM head), or 'embedded': the PLM of the quickstart")
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path, help="directory to write")
    parser.add_argument("--trim-to", metavar="FILE", nargs="+", default=[], help="keep only the pieces that these "
                        "texts use (one sentence a line, .xz too), and single characters")
    return parser.parse_args()


def import_plm(source, plm_dir, trim_to=()):
    """Write the PLM directory of ``source``; returns its :class:`Description`."""
    state, architecture, tokenizer = embedded.read() if source == "embedded" else huggingface.read(source)
    keep = used_ids(tokenizer, trim_to) if trim_to else None
    tokenizer, old_ids = with_fairseq_ids(tokenizer, keep)
    for name in ("encoder.embed_tokens.weight", "lm_head.bias"):
        rows = len(torch.atleast_1d(state[name]))
        if max(old_ids) >= rows:
            raise InputError(f"{source}: the tokenizer has id {max(old_ids)}, but {name} only {rows} rows; "
                             "tokenizer and weights do not belong together")
        state[name] = state[name][old_ids]
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{source}: the weights {name} are not finite: download the model again")
    kind = kind_of(tokenizer)
    with replacing(plm_dir, marker="plm.json") as directory:
        directory.mkdir()
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
        pieces = Tokenizer.load(directory, kind).pieces
        # Specials are fairseq's own first four symbols, and <mask> is the one that its tasks append.
        (directory / "dict.txt").write_text("".join(f"{p} 1\n" for p in pieces[4:-1]), encoding="utf-8")
        torch.save({"model": state}, directory / "model.pt")
        description = Description(
            name=Path(source).name,
            source=str(source),
            tokenizer=kind,
            separators=1 if kind == "wordpiece" else 2,
            special_tokens=dict(zip(("bos", "pad", "eos", "unk", "mask"), SPECIAL_TOKENS[kind])),
            architecture=Architecture(vocabulary=len(pieces), **architecture),
            sha256={name: sha256(directory / name) for name in FILES},
        )
        text = json.dumps(asdict(description), indent=1, ensure_ascii=False)
        (directory / "plm.json").write_text(text + "\n", encoding="utf-8")
        try:
            PLM.load(directory)
        except RuntimeError as error:
            mismatch = str(error).splitlines()[-1].strip()
            raise InputError(f"{source}: the weights do not fit config.json ({mismatch})") from None
    return description


def main():
    args = arguments()
    description = import_plm(args.source, args.plm_dir, args.trim_to)
    arch = description.architecture
    print(f"wrote {args.plm_dir}: {arch.layers} layers, {arch.dim} dimensions, {arch.vocabulary:,} pieces "
          f"({description.tokenizer}), from {args.source}")


if __name__ == "__main__":
    main()
