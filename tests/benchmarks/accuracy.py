"""The accuracy that vanilla fine-tuning reaches here and with transformers' Trainer: same encoder, data, steps and schedule, over seeds.

Both train the whole model, or all but its token embeddings, on batches of examples of similar length, with dropout 0.1, Adam,
gradients clipped to norm 1 and linear decay; that of the last step is scored. What must be alike is the distribution over seeds:
initial classifiers, batches and dropout are drawn differently. On little data it is wide: settle the number of seeds
(``--rounds``) beforehand, and take further ones (``--first-seed``) for a second test. With ``--tags``, words are labelled.
"""

import hashlib
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness

from salt_fairseq.errors import InputError
from salt_fairseq.report.significance import deviation, welch

APART = {"work", "name", "rounds", "first_seed", "only", "jobs", "results", "device", "child"}  # may differ in runs that are compared


def here(args, seed):
    """fairseq-train and evaluate, as a user types them: accuracy by subset."""
    work, data = args.work / f"{args.name}.here.{seed}", prepared(args) / "data"
    options = {
        "--user-dir": "salt_fairseq",
        "--task": "salt_token_labelling" if args.tags else "salt_sentence_pair",
        "--arch": "salt_encoder",
        "--criterion": "salt_classification",
        "--plm": args.plm,
        "--pooling": args.pooling,
        "--optimizer": args.optimizer,
        "--adam-eps": 1e-8,
        "--clip-norm": 1.0,
        "--lr": args.lr,
        "--lr-scheduler": "polynomial_decay",
        "--warmup-updates": args.warmup,
        "--total-num-update": args.updates,
        "--max-update": args.updates,
        "--batch-size": args.batch_size,
        "--seed": 1_000_003 * seed,
        "--save-dir": work,
    }
    switches = {
        "--autocast-bf16": args.dtype == "bf16",
        "--freeze-embeddings": args.freeze_embeddings,
        "--cpu": args.device == "cpu",
        "--disable-validation": True,
        "--no-epoch-checkpoints": True,
        "--no-save-optimizer-state": True,
    }
    words = [word for option in options.items() for word in option]
    harness.command("fairseq-train", data, *words, *(name for name, is_on in switches.items() if is_on))
    evaluated, out = ["--path", work / "checkpoint_last.pt", "--device", args.device], work / "accuracy.json"
    harness.command("python", "-m", "salt_fairseq.evaluate", data, *evaluated, "--out", out)
    return json.loads(out.read_text())["checkpoints"][0]["accuracy"]


def there(args, seed):
    """transformers' Trainer: accuracy by subset."""
    import with_transformers

    return with_transformers.accuracy(args, seed, prepared(args) / "plm", subset_files(args))


CHILDREN = {"salt_fairseq": here, "Trainer": there}


def subset_files(args):
    return {name: Path(path) for name, _, path in (pair.partition("=") for pair in args.subset)}


def prepared(args):
    """The folder of the data directory and of the PLM in Hugging Face's layout, which are made once for a PLM and its subsets."""
    made_of = json.dumps([str(args.plm), args.subset, args.tags])
    folder = args.work / f"accuracy.{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"
    if not (folder / "plm").exists():
        import with_transformers

        with_transformers.export_encoder(args.plm, folder / "plm")
    if not (folder / "data").exists():
        tags = ["--tags", args.tags] if args.tags else []
        harness.command("python", "preprocess/binarize.py", args.plm, folder / "data", *tags, "--subset", *args.subset)
    return folder


def earlier(args):
    """The runs of the files ``--results``, which must have been made with the same options."""
    found = {}
    for path in args.results:
        values, own = json.loads(path.read_text()), harness.options(args)
        others = [f"--{name.replace('_', '-')}" for name in own.keys() - APART if own[name] != values["options"].get(name)]
        if others:
            raise InputError(f"--results {path}: these runs had another {', '.join(sorted(others))}")
        for name, runs in values["runs"].items():
            found.setdefault(name, []).extend(runs)
    return found


def summary(found):
    """Mean and standard deviation over seeds of each side's average, its mean by subset, and Welch's p of the averages; no
    deviation or p of single runs."""
    averages = {name: [run["average"] for run in runs] for name, runs in found.items()}
    values = {
        name: {
            "seeds": len(runs),
            "mean": statistics.mean(averages[name]),
            "sd": deviation(averages[name]) if len(runs) > 1 else None,
            "by_subset": {subset: statistics.mean(run["accuracy"][subset] for run in runs) for subset in runs[0]["accuracy"]},
        }
        for name, runs in found.items()
    }
    is_test = len(averages) == 2 and min(map(len, averages.values())) > 1
    return {"sides": values, **({"welch": welch(*averages.values())} if is_test else {})}


def arguments():
    parser = harness.parser(__doc__.split("\n")[0], needs_text=False)
    add = parser.add_argument
    add("--plm", type=Path, required=True, help="PLM directory")
    add("--subset", metavar="NAME=FILE", nargs="+", required=True, help="train and test.LANG, as for binarize.py")
    add("--tags", metavar="LAYOUT", help="the files have a tag for each word, as for binarize.py, e.g. conllu")
    add("--pooling", choices=["plm", "mean"], default="plm", help="plm: transformers' own classifier of sequences")
    add("--freeze-embeddings", action="store_true", help="train all but the token embeddings")
    add("--dtype", choices=["fp32", "bf16"], default="bf16", help="of matrix products")
    add("--optimizer", choices=["adam", "fused_adam"], default="adam", help="the one here")
    add("--batch-size", type=int, default=32)
    add("--updates", type=int, default=378)
    add("--warmup", type=int, default=23)
    add("--lr", type=float, default=5e-5)
    add("--first-seed", type=int, default=1)
    add("--device", default="cpu")
    add("--only", nargs="+", choices=CHILDREN, default=list(CHILDREN), help="sides")
    add("--jobs", type=int, default=1, help="runs at once")
    add("--name", default="accuracy", help="of the file of results, for calls that share the folder")
    add("--results", metavar="FILE.json", type=Path, nargs="+", default=[], help="count the runs of earlier calls, too")
    args = parser.parse_args()
    if args.tags and args.pooling == "mean":
        parser.error("--pooling mean is for sentences and pairs")
    return args


def main():
    args = arguments()
    if args.child:
        name, seed = args.child
        return harness.result(accuracy=CHILDREN[name](args, int(seed)))
    found = earlier(args)
    if args.rounds or not found:
        prepared(args)

    def run(of):
        seed, name = of
        return seed, name, harness.measured([sys.executable, __file__, *sys.argv[1:], "--child", name, seed])

    turns = [(seed, name) for seed in range(args.first_seed, args.first_seed + args.rounds) for name in args.only]
    with ThreadPoolExecutor(args.jobs) as pool:
        for seed, name, made in pool.map(run, turns):
            average = statistics.mean(made["accuracy"].values())
            found.setdefault(name, []).append({"seed": seed, **made, "average": average})
            print(f"seed {seed}, {name}: {average:.2f} in {made['seconds']:.0f} s", file=sys.stderr, flush=True)
            harness.write(args, args.name, {"runs": found, **summary(found)})
    values = summary(found)
    if found and not turns:
        harness.write(args, args.name, {"runs": found, **values})
    for name, side in values["sides"].items():
        spread = f" ± {side['sd']:.1f}" if side["sd"] is not None else ""
        print(f"{name}: {side['mean']:.1f}{spread} ({', '.join(format(run['average'], '.1f') for run in found[name])})")
    if "welch" in values:
        print(f"Welch's p: {values['welch']:.2f}")


if __name__ == "__main__":
    main()
