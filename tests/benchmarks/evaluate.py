"""Evaluation against a bare loop over perfectly sorted batches, and against fairseq-validate, one subset after another.

The text is cut into parts that stand for languages; of the subsets of the generalized setting, fairseq-validate runs a few,
and its time for all is extrapolated.
"""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import harness
import torch
from shapes import plm_dirs

LANGUAGES = "en ar bg de el es fr hi ru sw th tr ur vi zh".split()


def loop(args):
    """The project's scoring and a bare loop over batches that are made beforehand, in turn, on the same distinct pairs."""
    from salt_fairseq.checkpoints import load_checkpoint
    from salt_fairseq.data.directory import DataDirectory
    from salt_fairseq.data.distinct_pairs import Batches, DistinctPairs
    from salt_fairseq.evaluate import CPU_TOKENS, GPU_TOKENS, score

    data, checkpoint = DataDirectory(args.work / "evaluate_data"), load_checkpoint(args.work / "evaluate" / "checkpoint_last.pt")
    model, tokens = checkpoint.model.to(args.device), CPU_TOKENS if args.device == "cpu" else GPU_TOKENS
    pairs = DistinctPairs({"test.en": data.load("test.en"), "test.de": data.load("test.de")})
    nothing_before = SimpleNamespace(load=lambda name: None, due=lambda: False)
    prepared = [batch for _, _, batch in Batches(pairs, model.description.join, 128, tokens, args.device)]
    seconds = {"evaluate": [], "bare loop": []}

    def bare():
        with torch.no_grad():
            found = [model(batch)[0].argmax(1) for batch in prepared]
        return torch.cat(found).cpu()

    def whole():
        return score(model, Batches(pairs, model.description.join, 128, tokens, args.device), args.device, "", nothing_before, "")

    for i in range(args.rounds + 1):
        for name, run in (("evaluate", whole), ("bare loop", bare)):
            clock = harness.Clock()
            run()
            seconds[name].append(clock.read()["cpu_seconds" if args.device == "cpu" else "seconds"])
    ratios = sorted(b / e for b, e in zip(seconds["bare loop"][1:], seconds["evaluate"][1:]))
    harness.result(
        throughput_ratio=ratios[len(ratios) // 2], distinct_pairs=len(pairs), pairs_per_second=len(pairs) / sorted(seconds["evaluate"])[len(ratios) // 2]
    )


def main():
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=480, help="sentence pairs of the text, 1/15 of them for each language")
    parser.add_argument("--subsets", type=int, default=2, help="subsets that fairseq-validate scores")
    args = parser.parse_args()
    if args.child:
        return loop(args)
    examples, data = harness.pairs_of(args), args.work / "evaluate_data"
    _, plm = plm_dirs(args.shape, args.work)
    each, files = len(examples) // len(LANGUAGES), []
    for k, language in enumerate(LANGUAGES):
        part = examples[k * each : (k + 1) * each]
        for i, example in enumerate(part):
            example.label = str(i % 3)  # an example has the same label in all languages
        files.append(f"test.{language}={harness.write_pairs(part, args.work / 'languages' / f'{language}.tsv')}")
    shutil.rmtree(data, ignore_errors=True)
    first = files[0].partition("=")[2]
    harness.command("python", "preprocess/binarize.py", plm, data, "--subset", f"train={first}", f"valid={first}", *files)
    device = ["--cpu"] if args.device == "cpu" else []
    if not (args.work / "evaluate" / "checkpoint_last.pt").is_file() or args.shape not in json.dumps(checkpoint_plm(args)):
        shutil.rmtree(args.work / "evaluate", ignore_errors=True)
        harness.command(
            "fairseq-train",
            data,
            "--user-dir",
            "salt_fairseq",
            "--task",
            "salt_sentence_pair",
            "--arch",
            "salt_encoder",
            "--plm",
            plm,
            "--criterion",
            "salt_classification",
            "--optimizer",
            "adam",
            "--batch-size",
            "4",
            "--max-update",
            "1",
            "--save-dir",
            args.work / "evaluate",
            "--no-epoch-checkpoints",
            "--no-save-optimizer-state",
            "--disable-validation",
            *device,
        )
    path = args.work / "evaluate" / "checkpoint_last.pt"
    script = [sys.executable, Path(__file__), "--shape", args.shape, "--device", args.device, "--work", args.work]
    bare = harness.measured([*script, "--rounds", args.rounds, "--child", "loop"])
    print(f"\nevaluate has {bare['throughput_ratio']:.3f} of the throughput of a bare loop over sorted batches ({bare['pairs_per_second']:.1f} pairs/s)")
    names = [f"test.{a}-{b}" for a, b in zip(LANGUAGES, LANGUAGES[1:])][: args.subsets]
    validate = {
        f"fairseq-validate {name}": [
            sys.executable,
            Path(sys.executable).parent / "fairseq-validate",
            data,
            "--user-dir",
            "salt_fairseq",
            "--task",
            "salt_sentence_pair",
            "--path",
            path,
            "--valid-subset",
            name,
            "--batch-size",
            "64",
            *device,
        ]
        for name in names
    }
    out = args.work / "evaluate.matrix.json"
    ours = {
        "evaluate, 225 subsets": [
            sys.executable,
            "-m",
            "salt_fairseq.evaluate",
            data,
            "--path",
            path,
            "--generalized",
            "test",
            "--subsets",
            "test.en",
            "--device",
            args.device,
            "--out",
            out,
        ]
    }
    found = harness.in_turn({**ours, **validate}, 1)
    matrix = harness.medians(found["evaluate, 225 subsets"])
    one = {key: sum(harness.medians(found[name])[key] for name in validate) / len(validate) for key in ("seconds", "cpu_seconds")}
    ratio = {key: 225 * one[key] / matrix[key] for key in one}
    print(
        f"225 subsets of {each} pairs: {matrix['seconds']:.1f} s; fairseq-validate {one['seconds']:.1f} s a subset, so "
        f"{225 * one['seconds']:.0f} s for all (extrapolated from {len(validate)}): {ratio['seconds']:.1f}x "
        f"({ratio['cpu_seconds']:.1f}x in CPU time)"
    )
    harness.write(args, f"evaluate.{args.shape}", {"loop": bare, "runs": found, "ratio": ratio, "pairs_of_a_subset": each})


def checkpoint_plm(args):
    """Which PLM the checkpoint that is there was trained from."""
    from salt_fairseq.checkpoints import load_checkpoint

    return load_checkpoint(args.work / "evaluate" / "checkpoint_last.pt").cfg.model.plm


if __name__ == "__main__":
    main()
