"""Training steps: SALT against vanilla fine-tuning on equal batches, and against transformers' Trainer on the same pairs.

``Trainer`` at its best settings: SDPA, dynamic padding, bf16 autocast as here; ``padded to 128`` is the paper's own setting. All
train two epochs on the same batches, groups of similar length from all over the text, of which the second is timed. The time a
step waits for data is the share between the end of a step and the beginning of the next.
"""

import importlib
import json
import random
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
    return [
        "fairseq-train",
        args.work / "train_data",
        "--user-dir",
        "salt_fairseq",
        "--task",
        "salt_sentence_pair",
        "--arch",
        "salt_encoder",
        "--criterion",
        "salt_classification",
        "--plm",
        args.work / f"{args.shape}.plm",
        "--optimizer",
        "fused_adam",
        "--adam-eps",
        "1e-8",
        "--lr",
        "2e-5",
        "--clip-norm",
        "1.0",
        "--batch-size",
        BATCH,
        "--lr-scheduler",
        "fixed",
        "--max-epoch",
        2,
        "--no-epoch-checkpoints",
        "--autocast-bf16",
        "--no-save",
        "--disable-validation",
        "--seed",
        "1000003",
        "--log-format",
        "none",
        "--save-dir",
        args.work / "checkpoints",
        *(["--cpu"] if args.device == "cpu" else []),
        *more,
    ]


def ours(args, *more, step=None):
    """fairseq-train in this process."""
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
        spans.append((start, time.perf_counter(), began, time.process_time(), samples[0]["nsentences"]))
        return found

    with mock.patch.object(fairseq.trainer.Trainer, "train_step", timed):
        with mock.patch.object(sys, "argv", [str(word) for word in fairseq_words(args, *more)]):
            train.cli_main()
    spans = spans[len(spans) // 2 :]
    waited = sum(after[0] - before[1] for before, after in zip(spans, spans[1:]))
    pairs, seconds = sum(span[4] for span in spans), spans[-1][1] - spans[0][0]
    cpu = spans[-1][3] - spans[0][2]
    return {"seconds": seconds / pairs, "cpu_seconds": cpu / pairs, "share_waiting": waited / seconds, "pairs": pairs}


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
    ratios = sorted(s / v for s, v in zip(seconds["SALT"], seconds["vanilla"]))
    harness.result(ratio=ratios[len(ratios) // 2])


def trainer(args, padded):
    """transformers' Trainer on the same pairs."""
    from torch.utils.data import DataLoader, Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(args.work / args.shape)
    lines = [line.split("\t") for line in (args.work / "train_text.tsv").read_text(encoding="utf-8").split("\n")[:-1]]
    encoded = tokenizer([r[0] for r in lines], [r[1] for r in lines], truncation=True, max_length=128, padding="max_length" if padded else False)

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

    order = sorted(range(len(lines)), key=lambda i: len(encoded["input_ids"][i]))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    class OurBatches(Trainer):
        def get_train_dataloader(self):
            random.shuffle(batches)
            loader = DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)
            return self.accelerator.prepare(loader)

    model = AutoModelForSequenceClassification.from_pretrained(args.work / args.shape, num_labels=3, attn_implementation="sdpa")
    options = TrainingArguments(
        output_dir=str(args.work / "trainer"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=2,
        learning_rate=2e-5,
        bf16=True,
        use_cpu=args.device == "cpu",
        save_strategy="no",
        report_to=[],
        logging_strategy="no",
        disable_tqdm=True,
    )
    timing = Timing()
    OurBatches(
        model=model, args=options, train_dataset=Pairs(), data_collator=DataCollatorWithPadding(tokenizer), processing_class=tokenizer, callbacks=[timing]
    ).train()
    pairs, half = len(lines), len(timing.ended) // 2
    began, ended = timing.began[half:], timing.ended[half:]
    return {"seconds": (ended[-1][0] - began[0][0]) / pairs, "cpu_seconds": (ended[-1][1] - began[0][1]) / pairs, "pairs": pairs}


CHILDREN = {
    "equal": lambda args: equal_batches(args),
    "salt": lambda args: harness.result(**ours(args, "--augment", "en,fr,es,de", "--one-stream")),
    "vanilla": lambda args: harness.result(**ours(args)),
    "trainer": lambda args: harness.result(**trainer(args, padded=False)),
    "padded": lambda args: harness.result(**trainer(args, padded=True)),
}


def main():
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5010, help="sentence pairs of the text, from which the batches are taken")
    parser.add_argument("--batches", type=int, default=8, help="steps of an epoch")
    parser.add_argument("--only", nargs="+", choices=CHILDREN, default=list(CHILDREN))
    args = parser.parse_args()
    if args.child:
        return CHILDREN[args.child[0]](args)
    examples = spread(harness.pairs_of(args), args.batches)
    plm_dirs(args.shape, args.work)
    prepared = args.work / "train_data" / "prepared.json"
    about = json.dumps([args.shape, str(args.text), len(examples)])
    if not prepared.is_file() or prepared.read_text() != about:
        text = harness.write_pairs(examples, args.work / "train_text.tsv")
        shutil.rmtree(args.work / "train_data", ignore_errors=True)
        harness.command(
            "python", "preprocess/binarize.py", args.work / f"{args.shape}.plm", args.work / "train_data", "--subset", f"train={text}", f"valid={text}"
        )
        random_candidates(args.work / "train_data")
        prepared.write_text(about)
    script = [sys.executable, Path(__file__), "--shape", args.shape, "--device", args.device, "--work", args.work, "--child"]
    found = harness.in_turn({name: [*script, name] for name in args.only}, args.rounds)
    equal = [run["ratio"] for run in found.pop("equal", [])]
    if equal:
        print(f"\nSALT / vanilla on equal batches: {sorted(equal)[len(equal) // 2]:.3f} (median of {len(equal)} runs)")
    if "salt" in found:
        print(f"\nseconds a pair, {args.shape}, batches of {BATCH} pairs\n{harness.table(found, 'salt')}\n")
        waiting = 100 * harness.medians(found["salt"])["share_waiting"]
        print(f"of a SALT step, {waiting:.1f} % is waiting for data and fairseq's bookkeeping between steps")
    harness.write(args, f"train.{args.shape}", {"runs": found, "equal_batches": equal})


def spread(examples, batches):
    """Groups of BATCH examples of similar length, evenly spread over all lengths."""
    examples = sorted(examples, key=lambda e: len(e.sentence1) + len(e.sentence2))
    step = len(examples) / batches
    starts = [min(int(step * (k + 0.5)), len(examples) - BATCH) for k in range(batches)]
    return [example for start in starts for example in examples[start : start + BATCH]]


def random_candidates(data):
    """Candidates for 60 % of the tokens of ``train``: what they are does not change the speed."""
    import numpy as np

    from salt_fairseq.candidates import write_candidates
    from salt_fairseq.data.directory import INPUTS, DataDirectory
    from salt_fairseq.storage.manifest import write_manifest

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
            write_candidates(target / side / "train", np.arange(len(stored)), len(ids), [(stored.sizes, ids, log_probs)], tokens.dtype.type)
        write_manifest(target, {"sentences_sha256": {f"{s}/train": directory.meta["subsets"]["train"]["sha256"][s] for s in INPUTS}})


if __name__ == "__main__":
    main()
