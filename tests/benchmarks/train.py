"""Training steps: SALT against vanilla fine-tuning on equal batches, and against transformers' Trainer on the same pairs.

``Trainer`` at its best settings: SDPA, dynamic padding, group_by_length, bf16 autocast as here; ``padded to 128`` is the
paper's own setting. Batches of pairs of similar length differ in size, so times are by token of the text, padding not counted.
The time a step waits for data is the share between the end of a step and the beginning of the next.
"""

import importlib
import json
import shutil
import sys
import time
from pathlib import Path
from unittest import mock

import harness
import torch
from shapes import plm_dirs

BATCH = 32


def fairseq_words(args, *more):
    return ["fairseq-train", args.work / "train_data", "--user-dir", "salt_fairseq", "--task", "salt_sentence_pair", "--arch",
            "salt_encoder", "--criterion", "salt_classification", "--plm", args.work / f"{args.shape}.plm", "--optimizer", "fused_adam",
            "--adam-eps", "1e-8", "--lr", "2e-5", "--clip-norm", "1.0", "--batch-size", BATCH, "--lr-scheduler", "fixed",
            "--max-update", args.warm_up + args.updates, "--autocast-bf16", "--no-save", "--disable-validation", "--seed",
            "1000003", "--log-format", "none", "--save-dir", args.work / "checkpoints",
            *(["--cpu"] if args.device == "cpu" else []), *more]


def ours(args, *more, step=None):
    """fairseq-train in this process; the steps after the first few, which are slower, are timed."""
    import fairseq.trainer
    from fairseq_cli import train

    for module in ("models.salt_encoder", "tasks.salt_sentence_pair"):  # --user-dir imports no package that is in use already
        importlib.import_module(f"salt_fairseq.{module}")
    spans, original = [], fairseq.trainer.Trainer.train_step

    def timed(trainer, samples, raise_oom=False):
        start, began = time.perf_counter(), time.process_time()
        found = (step or original)(trainer, samples) if step else original(trainer, samples, raise_oom)
        if args.device != "cpu":
            torch.cuda.synchronize()
        spans.append((start, time.perf_counter(), began, time.process_time(), samples[0]["ntokens"]))
        return found

    with mock.patch.object(fairseq.trainer.Trainer, "train_step", timed):
        with mock.patch.object(sys, "argv", [str(word) for word in fairseq_words(args, *more)]):
            train.cli_main()
    spans = spans[args.warm_up :]
    waited = sum(after[0] - before[1] for before, after in zip(spans, spans[1:]))
    tokens, seconds = sum(span[4] for span in spans), spans[-1][1] - spans[0][0]
    return by_token(seconds, spans[-1][3] - spans[0][2], tokens) | {"share_waiting": waited / seconds}


def by_token(seconds, cpu_seconds, tokens):
    return {"seconds": 1000 * seconds / tokens, "cpu_seconds": 1000 * cpu_seconds / tokens, "tokens": tokens}


def equal_batches(args):
    """The same model takes each batch twice, with its substitutes (SALT) and without them (vanilla)."""
    import fairseq.trainer

    original, seconds = fairseq.trainer.Trainer.train_step, {"SALT": [], "vanilla": []}

    def both(trainer, samples):
        plain = [{**s, "net_input": {"src_tokens": s["net_input"]["src_tokens"]}} for s in samples]
        order = [("SALT", samples), ("vanilla", plain)]
        for name, given in order if len(seconds["SALT"]) % 2 else reversed(order):
            clock = harness.Clock()
            found = original(trainer, given)
            if args.device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(clock.read()["cpu_seconds" if args.device == "cpu" else "seconds"])
        return found

    ours(args, "--augment", "en,fr,es,de", "--no-original", step=both)
    kept = {name: values[args.warm_up // 2 :] for name, values in seconds.items()}
    ratios = sorted(s / v for s, v in zip(kept["SALT"], kept["vanilla"]))
    harness.result(ratio=ratios[len(ratios) // 2], salt=kept["SALT"], vanilla=kept["vanilla"])


def trainer(args, padded):
    """transformers' Trainer on the same pairs."""
    from torch.utils.data import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(args.work / args.shape)
    lines = [line.split("\t") for line in (args.work / "train_text.tsv").read_text(encoding="utf-8").split("\n")[:-1]]
    encoded = tokenizer([r[0] for r in lines], [r[1] for r in lines], truncation=True, max_length=128,
                        padding="max_length" if padded else False)

    class Pairs(Dataset):
        def __len__(self):
            return len(lines)

        def __getitem__(self, i):
            return {**{key: encoded[key][i] for key in encoded}, "labels": i % 3}

    class Timing(TrainerCallback):
        began, ended = [], []

        def on_step_begin(self, *unused, **also):
            self.began.append((time.perf_counter(), time.process_time()))

        def on_step_end(self, *unused, **also):
            if args.device != "cpu":
                torch.cuda.synchronize()
            self.ended.append((time.perf_counter(), time.process_time()))

    tokens, pad = [], DataCollatorWithPadding(tokenizer)

    def counting(items):
        batch = pad(items)
        tokens.append(int(batch["attention_mask"].sum()))
        return batch

    model = AutoModelForSequenceClassification.from_pretrained(args.work / args.shape, num_labels=3, attn_implementation="sdpa")
    options = TrainingArguments(
        output_dir=str(args.work / "trainer"), per_device_train_batch_size=BATCH, max_steps=args.warm_up + args.updates,
        learning_rate=2e-5, bf16=True, use_cpu=args.device == "cpu", save_strategy="no", report_to=[], logging_strategy="no",
        train_sampling_strategy="random" if padded else "group_by_length", disable_tqdm=True,
    )
    timing = Timing()
    Trainer(model=model, args=options, train_dataset=Pairs(), data_collator=counting,
            processing_class=tokenizer, callbacks=[timing]).train()
    began, ended = timing.began[args.warm_up :], timing.ended[args.warm_up :]
    return by_token(ended[-1][0] - began[0][0], ended[-1][1] - began[0][1], sum(tokens[args.warm_up :][: len(ended)]))


CHILDREN = {
    "equal": lambda args: equal_batches(args),
    "salt": lambda args: harness.result(**ours(args, "--augment", "en,fr,es,de", "--one-stream")),
    "vanilla": lambda args: harness.result(**ours(args)),
    "trainer": lambda args: harness.result(**trainer(args, padded=False)),
    "padded": lambda args: harness.result(**trainer(args, padded=True)),
}


def main():
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5010, help="sentence pairs of the text")
    parser.add_argument("--updates", type=int, default=12, help="steps that are timed in each run")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them")
    parser.add_argument("--only", nargs="+", choices=CHILDREN, default=list(CHILDREN))
    args = parser.parse_args()
    if args.child:
        return CHILDREN[args.child[0]](args)
    examples = harness.pairs_of(args)
    plm_dirs(args.shape, args.work)
    prepared = args.work / "train_data" / "prepared.json"
    about = json.dumps([args.shape, str(args.text), len(examples)])
    if not prepared.is_file() or prepared.read_text() != about:
        text = harness.write_pairs(examples, args.work / "train_text.tsv")
        shutil.rmtree(args.work / "train_data", ignore_errors=True)
        harness.command("python", "preprocess/binarize.py", args.work / f"{args.shape}.plm", args.work / "train_data", "--subset",
                        f"train={text}", f"valid={text}")
        random_candidates(args.work / "train_data")
        prepared.write_text(about)
    script = [sys.executable, Path(__file__), "--shape", args.shape, "--device", args.device, "--work", args.work,
              "--updates", args.updates, "--warm-up", args.warm_up, "--child"]
    found = harness.in_turn({name: [*script, name] for name in args.only}, args.rounds)
    equal = [run["ratio"] for run in found.pop("equal", [])]
    if equal:
        print(f"\nSALT / vanilla on equal batches: {sorted(equal)[len(equal) // 2]:.3f} (median of {len(equal)} runs)")
    if "salt" in found:
        print(f"\nseconds for 1,000 tokens, {args.shape}, batches of {BATCH} pairs\n{harness.table(found, 'salt')}\n")
        waiting = 100 * harness.medians(found["salt"])["share_waiting"]
        print(f"of a SALT step, {waiting:.1f} % is waiting for data and fairseq's bookkeeping between steps")
    harness.write(args, f"train.{args.shape}", {"runs": found, "equal_batches": equal})


def random_candidates(data):
    """Candidates for 60 % of the tokens of ``train``: what they are does not change the speed."""
    import numpy as np

    from salt_fairseq.candidates import write_candidates
    from salt_fairseq.data_directory import INPUTS, DataDirectory
    from salt_fairseq.manifest import write_manifest

    directory, rng = DataDirectory(data), np.random.default_rng(1)
    for language in ("en", "fr", "es", "de"):
        target = data / "candidates" / language
        for side in INPUTS:
            (target / side).mkdir(parents=True)
            stored = directory.sentences("train", side)
            tokens = stored.elements
            chosen = (rng.random(len(tokens)) < 0.6) & (tokens > 4)
            ids = np.where(chosen, rng.permutation(tokens), tokens)
            log_probs = np.where(chosen, -2.0, -np.inf).astype(np.float32)
            write_candidates(target / side / "train", len(ids), [(stored.sizes, ids, log_probs)], tokens.dtype.type)
        write_manifest(target, {"sentences_sha256": {f"{s}/train": directory.meta["subsets"]["train"]["sha256"][s] for s in INPUTS}})


if __name__ == "__main__":
    main()
