"""Binarizing against fairseq-preprocess, whose tokenizer has to be applied beforehand (and is counted).

Of transformers' tokenizers, the fast one of the PLM cuts all sentences of a column at once; fairseq-preprocess gets the
pieces, the PLM's vocabulary, and as many workers as this project has.
"""

import shutil
import sys
from pathlib import Path

import harness
from shapes import plm_dirs

from preprocess.text.parallel import usable_cores


def preprocess(args):
    """Tokenize with the PLM's own tokenizer, write the pieces, run fairseq-preprocess for both columns."""
    clock = harness.Clock()
    from transformers import AutoTokenizer

    out = args.work / "preprocessed"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    tokenizer = AutoTokenizer.from_pretrained(args.work / args.shape)
    rows = [line.split("\t") for line in (args.work / "binarize.tsv").read_text(encoding="utf-8").split("\n")[:-1]]
    for column in (0, 1):
        encoded = tokenizer([row[column] for row in rows], add_special_tokens=False)
        with open(out / f"text{column}", "w", encoding="utf-8") as file:
            for ids in encoded["input_ids"]:
                file.write(" ".join(tokenizer.convert_ids_to_tokens(ids)) + "\n")
    for column in (0, 1):
        harness.command(
            "fairseq-preprocess",
            "--only-source",
            "--trainpref",
            out / f"text{column}",
            "--destdir",
            out / f"input{column}",
            "--srcdict",
            args.work / f"{args.shape}.plm" / "dict.txt",
            "--workers",
            args.cores,
        )
    (out / "labels").write_text("".join(f"{row[2]}\n" for row in rows), encoding="utf-8")
    harness.command("fairseq-preprocess", "--only-source", "--trainpref", out / "labels", "--destdir", out / "label", "--workers", args.cores)
    harness.result(seconds=clock.read()["seconds"])


def main():
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=100_000, help="sentence pairs of the text")
    parser.add_argument("--repeat", type=int, default=1, help="how often the text is taken: more work for large machines")
    parser.add_argument("--cores", type=int, default=usable_cores())
    args = parser.parse_args()
    if args.child:
        return preprocess(args)
    examples = harness.pairs_of(args) * args.repeat
    plm_dirs(args.shape, args.work)
    text = harness.write_pairs(examples, args.work / "binarize.tsv")
    plm, data = args.work / f"{args.shape}.plm", args.work / "binarized"
    ours = [sys.executable, "preprocess/binarize.py", plm, data, "--replace", "--subset", f"train={text}"]
    commands = {f"salt_fairseq, {cores} workers": [*ours, "--workers", cores] for cores in sorted({1, args.cores})}
    commands["fairseq-preprocess"] = [
        sys.executable,
        Path(__file__),
        "--shape",
        args.shape,
        "--work",
        args.work,
        "--cores",
        args.cores,
        "--child",
        "preprocess",
    ]
    found = harness.in_turn(commands, args.rounds)
    print(f"\n{args.shape}, {len(examples):,} pairs\n{harness.table(found, f'salt_fairseq, {args.cores} workers')}\n")
    harness.write(args, f"binarize.{args.shape}", {"runs": found, "pairs": len(examples)})


if __name__ == "__main__":
    main()
