"""Distilling against two scripts with transformers, on the same sentences: FLOPs that cannot be avoided, time, memory.

``naive``: one pass for each language over every sentence in the file's order, softmax over all of V at every token.
``one pass``: batches by length, all languages at once; ``one pass, distinct``: the same, each distinct sentence once.
"""

import os
import shutil
import sys
from pathlib import Path
from unittest import mock

import harness
import numpy as np
import torch
from shapes import plm_dirs

LANGUAGES = ["en", "fr", "es", "de"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def ours(args, work):
    """The command itself, from its first look at the sentences to when the candidates are written, without the PLM's loading."""
    from preprocess import distill

    clocks, loading = [], []

    class Timed(distill.DistinctSentences):
        def __init__(self, inputs):
            clocks.append(harness.Clock())
            super().__init__(inputs)

    class Loaded(distill.PLM):
        @classmethod
        def load(cls, *words):
            clocks.append(harness.Clock())
            return super().load(*words)

    class Search(distill.CandidateSearch):
        def __init__(self, *words):
            super().__init__(*words)
            if args.device != "cpu":
                torch.cuda.synchronize()
            loading.append(clocks.pop().read())

    words = ["distill", work / f"{args.shape}.plm", work / "data", "--languages", ",".join(LANGUAGES), "--device", args.device]
    with mock.patch.multiple(distill, DistinctSentences=Timed, PLM=Loaded, CandidateSearch=Search):
        with mock.patch.object(sys, "argv", [*map(str, words), "--dtype", args.child[1]]):
            distill.main()
    if os.environ.get("RANK", "0") == "0":
        took = clocks[0].read()
        harness.result(**{name: took[name] - loading[0][name] for name in took})


def sentences_of(work, plm):
    """Text and piece ids (as transformers has them) of all sentences, input0 before input1, and their candidate positions."""
    from salt_fairseq.data.directory import DataDirectory

    lines = [line.split("\t")[:2] for line in (work / "text.tsv").read_text(encoding="utf-8").split("\n")[:-1]]
    stored = [DataDirectory(work / "data").sentences("train", side) for side in ("input0", "input1")]
    masks = [plm.tokenizer.whole_words(s[i].numpy()) for s in stored for i in range(len(s))]
    return [a for a, _ in lines] + [b for _, b in lines], masks


def theirs(args, work):
    """A script with transformers; its candidates are saved, to be compared."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    from preprocess.distillation.target_vocabularies import target_vocabularies
    from salt_fairseq.plm import PLM

    kind, dtype = args.child[0], DTYPES[args.child[1]]
    plm = PLM.load(work / f"{args.shape}.plm")
    tokenizer = AutoTokenizer.from_pretrained(work / args.shape)
    vocabularies = target_vocabularies(plm.tokenizer, LANGUAGES, {}, "en", False)
    fairseq_id = {piece: i for i, piece in enumerate(plm.tokenizer.pieces)}
    own_id = np.array(tokenizer.convert_tokens_to_ids(plm.tokenizer.pieces))  # fairseq id to transformers'
    caseless = torch.empty(len(own_id), dtype=torch.int64)
    caseless[own_id] = torch.from_numpy(plm.tokenizer.caseless)
    columns = {language: torch.from_numpy(own_id[ids]) for language, ids in vocabularies.items()}
    texts, masks = sentences_of(work, plm)
    del plm
    model = AutoModelForMaskedLM.from_pretrained(work / args.shape, dtype=dtype, attn_implementation="sdpa").eval().to(args.device)
    caseless, columns = caseless.to(args.device), {k: v.to(args.device) for k, v in columns.items()}
    clock = harness.Clock()
    encoded = [
        tokenizer.build_inputs_with_special_tokens(ids) if kind == "never" else [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
    ]
    order = list(range(len(encoded)))
    if kind == "one-pass-distinct":
        order = list({tuple(ids): i for i, ids in reversed(list(enumerate(encoded)))}.values())
    if kind != "naive":
        order.sort(key=lambda i: -len(encoded[i]))
    groups = [LANGUAGES] if kind != "naive" else [[language] for language in LANGUAGES]
    found = {language: {} for language in LANGUAGES}
    size = 32 if args.device == "cpu" else 256
    with torch.inference_mode():
        for group in groups:
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                padded = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt").to(args.device)
                log_probs = model(**padded).logits.float().log_softmax(-1)
                for language in group:
                    allowed = log_probs[:, :, columns[language]]
                    same = caseless[columns[language]] == caseless[padded["input_ids"]][:, :, None]
                    values, at = allowed.masked_fill(same, -torch.inf).max(-1)
                    ids, values = columns[language][at].cpu(), values.cpu()
                    for row, i in enumerate(batch):
                        found[language][i] = ids[row, 1 : len(encoded[i])], values[row, 1 : len(encoded[i])]
    read = clock.read()
    ids = {
        language: np.concatenate([own_to(found[language][i][0], fairseq_id, tokenizer)[masks[i]] for i in sorted(found[language])]) for language in LANGUAGES
    }
    np.savez(work / "theirs.npz", which=np.array(sorted(found["en"])), **ids)
    harness.result(**read)


def own_to(ids, fairseq_id, tokenizer):
    return np.array([fairseq_id[piece] for piece in tokenizer.convert_ids_to_tokens(ids.tolist())])


def compared(work, reference):
    """Share of candidates that are the same as the one-pass script's (fp32), by language; None where it did not run."""
    from salt_fairseq.candidates import open_candidates

    theirs, found = np.load(reference), {}
    for language in LANGUAGES:
        opened = [open_candidates(work / "data", "train", language, side) for side in ("input0", "input1")]
        items = [c[i] for c in opened for i in range(len(c))]
        ours = np.concatenate([items[i][0][torch.isfinite(items[i][1])].numpy() for i in theirs["which"]])
        found[language] = float((ours == theirs[language]).mean())
    return found


def work_of(work, shape):
    """``(tokens, candidates, FLOPs)`` that no program can avoid: the encoder on the tokens of each distinct sentence, and the
    LM head over all of V at candidate positions."""
    from preprocess.distillation.distinct_sentences import DistinctSentences
    from salt_fairseq.data.directory import DataDirectory
    from salt_fairseq.plm import Description
    from salt_fairseq.tokenizer import Tokenizer

    description = Description.load(work / f"{shape}.plm")
    arch, data = description.architecture, DataDirectory(work / "data")
    tokenizer = Tokenizer.load(work / f"{shape}.plm", description.tokenizer)
    distinct = DistinctSentences([data.sentences("train", side) for side in ("input0", "input1")])
    candidates = int(tokenizer.whole_words(distinct.tokens(np.arange(len(distinct)))).sum())
    lengths = distinct.lengths + 1
    layer = 4 * arch.dim**2 + 2 * arch.dim * arch.ffn_dim
    attention = 2 * arch.dim * lengths**2  # products of queries and keys, and of their weights and values
    flops = 2 * arch.layers * float((lengths * layer + attention).sum()) + 2.0 * candidates * arch.dim * (arch.vocabulary + arch.dim)
    return int(lengths.sum()), candidates, flops


def scaling(args, options):
    """One process and several, each with one thread (on CPUs) or one GPU."""
    several = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    found = harness.in_turn({f"{n} processes": ["env", "OMP_NUM_THREADS=1", *several, n, *options, "ours", "fp32"] for n in (1, args.processes)}, args.rounds)
    print(f"\n{harness.table(found, f'{args.processes} processes')}\n")
    harness.write(args, f"distill.{args.shape}.processes", {"runs": found})


def main():
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=99, help="sentence pairs of the text")
    parser.add_argument("--without-naive", action="store_true")
    parser.add_argument("--processes", type=int, help="measure only how much faster so many processes are than one")
    args = parser.parse_args()
    if args.child:
        return ours(args, args.work) if args.child[0] == "ours" else theirs(args, args.work)
    examples = harness.pairs_of(args)
    _, plm = plm_dirs(args.shape, args.work)
    text = harness.write_pairs(examples, args.work / "text.tsv")
    shutil.rmtree(args.work / "data", ignore_errors=True)
    harness.command("python", "preprocess/binarize.py", plm, args.work / "data", "--subset", f"train={text}")
    cases = {
        "salt_fairseq fp32": ("ours", "fp32"),
        "one pass, distinct": ("one-pass-distinct", "fp32"),
        "one pass": ("one-pass", "fp32"),
        "naive": ("naive", "fp32"),
        "salt_fairseq bf16": ("ours", "bf16"),
        "one pass bf16": ("one-pass", "bf16"),
    }
    if args.without_naive:
        del cases["naive"]
    options = [Path(__file__), "--shape", args.shape, "--device", args.device, "--work", args.work, "--child"]
    if args.processes:
        return scaling(args, options)
    script = [sys.executable, *options]
    found, same = {name: [] for name in cases}, {}
    for _ in range(args.rounds):
        for name, child in cases.items():
            found[name] += harness.in_turn({name: [*script, *child]}, 1)[name]
            if child == ("one-pass", "fp32"):
                shutil.copy(args.work / "theirs.npz", args.work / "reference.npz")
                harness.measured([*script, "ours", "fp32"]) if "salt_fairseq fp32" not in same else None
                same.setdefault("salt_fairseq fp32", compared(args.work, args.work / "reference.npz"))
            if child == ("ours", "bf16"):
                same.setdefault(name, compared(args.work, args.work / "reference.npz"))
    tokens, candidates, flops = work_of(args.work, args.shape)
    print(
        f"\n{args.shape}, {len(examples):,} pairs: {tokens:,} tokens of distinct sentences, {candidates:,} candidates, "
        f"{flops / 1e12:.2f} TFLOP that cannot be avoided\n\n{harness.table(found, 'salt_fairseq fp32')}\n"
    )
    rates = {dtype: harness.matmul_rate(args.device, DTYPES[dtype]) for dtype in DTYPES}
    key = "cpu_seconds" if args.device == "cpu" else "seconds"
    share = {dtype: flops / harness.medians(found[f"salt_fairseq {dtype}"])[key] / rates[dtype] for dtype in DTYPES}
    for dtype in DTYPES:
        print(f"{dtype}: {rates[dtype] / 1e9:,.0f} GFLOP/s in matrix products; distilling reaches {100 * share[dtype]:.0f} % of it")
    for name, by_language in same.items():
        print(
            f"{name}: the same candidates as the one-pass script in fp32: "
            + ", ".join(f"{language} {100 * value:.2f} %" for language, value in by_language.items())
        )
    harness.write(
        args,
        f"distill.{args.shape}",
        {"runs": found, "flops": flops, "tokens": tokens, "candidates": candidates, "matmul_rate": rates, "share_of_matmul_rate": share, "same": same},
    )


if __name__ == "__main__":
    main()
