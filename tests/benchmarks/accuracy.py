"""The accuracy that vanilla fine-tuning reaches here and with transformers' Trainer: same PLM, pairs, steps and schedule, over seeds.

Both train the whole model in bf16 autocast on batches of pairs of similar length, that of the last step is scored. What must be
alike is the distribution over seeds: initial classifiers, batches and dropout are drawn differently. On little data it is wide:
settle the number of seeds (``--rounds``) beforehand, and take further ones (``--first-seed``) for a second test.
"""

import json
import statistics
import sys
from pathlib import Path

import harness

from preprocess.text.readers import TextFile, every_example
from salt_fairseq.report.significance import welch

BATCH = 32


def here(args, seed):
    """fairseq-train and evaluate, as a user types them: accuracy by subset."""
    work, device = args.work / f"here.{seed}", ["--cpu"] if args.device == "cpu" else []
    harness.command(
        "fairseq-train",
        args.work / "accuracy_data",
        "--user-dir",
        "salt_fairseq",
        "--task",
        "salt_sentence_pair",
        "--arch",
        "salt_encoder",
        "--criterion",
        "salt_classification",
        "--plm",
        args.work / "accuracy_start",
        "--optimizer",
        "adam",
        "--adam-eps",
        "1e-8",
        "--clip-norm",
        "1.0",
        "--lr",
        args.lr,
        "--lr-scheduler",
        "polynomial_decay",
        "--warmup-updates",
        args.warmup,
        "--total-num-update",
        args.updates,
        "--max-update",
        args.updates,
        "--batch-size",
        BATCH,
        "--autocast-bf16",
        "--seed",
        1_000_003 * seed,
        "--disable-validation",
        "--no-epoch-checkpoints",
        "--no-save-optimizer-state",
        "--save-dir",
        work,
        *device,
    )
    harness.command(
        "python",
        "-m",
        "salt_fairseq.evaluate",
        args.work / "accuracy_data",
        "--path",
        work / "checkpoint_last.pt",
        "--subsets",
        "test.*",
        "--device",
        args.device,
        "--out",
        work / "accuracy.json",
    )
    return json.loads((work / "accuracy.json").read_text())["checkpoints"][0]["accuracy"]


def trainer(args, seed):
    """transformers' Trainer: accuracy by subset."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    directory = args.work / "accuracy_plm"
    tokenizer, subsets = AutoTokenizer.from_pretrained(directory), subset_files(args)
    examples = {name: list(every_example(TextFile.open(path), name.partition(".")[2] or "en")) for name, path in subsets.items()}
    labels = sorted({example.label for example in examples["train"]})

    def encoded(examples):
        found = tokenizer([e.sentence1 for e in examples], [e.sentence2 for e in examples], truncation=True, max_length=128)
        return [{**{key: found[key][i] for key in found}, "labels": labels.index(e.label)} for i, e in enumerate(examples)]

    options = TrainingArguments(
        output_dir=str(args.work / "trainer"),
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=64,
        max_steps=args.updates,
        learning_rate=args.lr,
        warmup_steps=args.warmup,
        weight_decay=0.0,
        bf16=True,
        use_cpu=args.device == "cpu",
        seed=1_000_003 * seed,
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        report_to=[],
        logging_strategy="no",
        disable_tqdm=True,
    )
    made = Trainer(
        model_init=lambda: AutoModelForSequenceClassification.from_pretrained(directory, num_labels=len(labels)),
        args=options,
        train_dataset=encoded(examples["train"]),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    made.train()
    found = {}
    for name in examples:
        if name.startswith("test."):
            predicted = made.predict(encoded(sorted(examples[name], key=lambda e: len(e.sentence1) + len(e.sentence2))))
            right = torch.from_numpy(predicted.predictions).argmax(1) == torch.from_numpy(predicted.label_ids)
            found[name] = 100 * right.double().mean().item()
    return found


CHILDREN = {"salt_fairseq": here, "Trainer": trainer}


def subset_files(args):
    return {name: Path(path) for name, _, path in (pair.partition("=") for pair in args.subset)}


def main():
    parser = harness.parser(__doc__.split("\n")[0], needs_text=False)
    parser.add_argument("--plm", type=Path, required=True, help="PLM directory")
    parser.add_argument("--subset", metavar="NAME=FILE", nargs="+", required=True, help="train and test.LANG, as for binarize.py")
    parser.add_argument("--updates", type=int, default=378)
    parser.add_argument("--warmup", type=int, default=23)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=CHILDREN, default=list(CHILDREN))
    args = parser.parse_args()
    if args.child:
        name, seed = args.child
        return harness.result(accuracy=CHILDREN[name](args, int(seed)))
    start, data = args.work / "accuracy_start", args.work / "accuracy_data"
    # An LM head's own layers come out as the encoder's top ones: so that both start from the same encoder, in again.
    for script, made, words in (
        ("export_hf", args.work / "accuracy_plm", [args.plm, args.work / "accuracy_plm"]),
        ("import_plm", start, [args.work / "accuracy_plm", start]),
        ("binarize", data, [start, data, "--subset", *args.subset]),
    ):
        if not made.exists():
            harness.command("python", f"preprocess/{script}.py", *words)
    found = {name: [] for name in args.only}
    for seed in range(args.first_seed, args.first_seed + args.rounds):
        for name in args.only:
            run = harness.measured([sys.executable, __file__, *sys.argv[1:], "--child", name, seed])
            found[name].append({"seed": seed, "seconds": run["seconds"], "accuracy": run["accuracy"], "average": statistics.mean(run["accuracy"].values())})
            print(f"seed {seed}, {name}: {found[name][-1]['average']:.2f} in {run['seconds']:.0f} s", file=sys.stderr, flush=True)
            harness.write(args, "accuracy", {"runs": found})
    averages = {name: [run["average"] for run in runs] for name, runs in found.items()}
    for name, of in averages.items():
        spread = statistics.stdev(of) if len(of) > 1 else float("nan")
        print(f"{name}: {statistics.mean(of):.1f} ± {spread:.1f} ({', '.join(f'{a:.1f}' for a in of)})")
    if len(averages) == 2:
        print(f"Welch's p: {welch(*averages.values()):.2f}")


if __name__ == "__main__":
    main()
