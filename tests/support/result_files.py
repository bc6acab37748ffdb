"""Files as ``python -m salt_fairseq.evaluate`` writes them, small."""

import json

import numpy as np


def subset(a, b=None):
    return f"test.{a}" if b in (None, a) else f"test.{a}-{b}"


def published(path, *seeds):
    """A file of accuracies alone, as one types in published numbers; each seed is a dict of subset to percent."""
    checkpoints = [{"path": f"{path.stem}.{i}.pt", "seed": i, "accuracy": seed} for i, seed in enumerate(seeds)]
    path.write_text(json.dumps({"checkpoints": checkpoints}), encoding="utf-8")
    return path


def evaluated(path, targets, *seeds, **changes):
    """A file with predictions; ``targets`` and each seed are dicts of subset to a list of labels."""
    checkpoints = [
        {
            "path": f"{path.stem}.{i}.pt",
            "sha256": f"{path.stem}{i}",
            "seed": i,
            "accuracy": {name: 100 * float(np.mean(np.equal(labels, targets[name]))) for name, labels in seed.items()},
            "predictions": seed,
        }
        for i, seed in enumerate(seeds)
    ]
    subsets = {name: {"examples": len(labels), "sha256": {"input0": f"hash of {name}"}} for name, labels in targets.items()}
    content = {
        "salt_fairseq": "0.1.0",
        "versions": {},
        "data": {"path": "data", "source_language": "en", "subsets": subsets},
        "labels": ["no", "yes"],
        "targets": targets,
        "checkpoints": checkpoints,
        **changes,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def table_cells(text, row):
    """The cells of a Markdown table's row after its first cell."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]
