"""One table and one figure from what ``fairseq-validate --log-format json`` printed for several systems and seeds.

    python -m salt_fairseq.report vanilla=v1.log,v2.log SALT=s1.log,s2.log --out results
"""

import argparse
import json
import re
import statistics
from pathlib import Path

from salt_fairseq.errors import InputError
from salt_fairseq.files import replacing

RESULT = re.compile(r"\| ([\w.-]+) \| (\{.*\})$")


def read_validation(path):
    """Language to accuracy in percent, from the log of one ``fairseq-validate`` over ``test.LANG`` subsets."""
    accuracies = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from None
    for line in lines:
        match = RESULT.search(line)
        if match and f"{match[1]}_accuracy" in match[2]:
            values = json.loads(match[2])
            accuracies[match[1].partition(".")[2] or match[1]] = float(values[f"{match[1]}_accuracy"])
    if not accuracies:
        raise InputError(f"{path} holds no accuracies: it must be the output of fairseq-validate --log-format json")
    return accuracies


def read_systems(pairs):
    """``NAME=LOG,LOG`` options to system name to a list (one per seed) of language to accuracy, all of the same languages."""
    systems, languages = {}, None
    for pair in pairs:
        name, equals, paths = pair.partition("=")
        if not equals or not paths:
            raise InputError(f"{pair!r}: NAME=LOG[,LOG...] is needed")
        systems[name] = [read_validation(path) for path in paths.split(",")]
        for path, accuracies in zip(paths.split(","), systems[name]):
            languages = languages or set(accuracies)
            if set(accuracies) != languages:
                odd = ", ".join(sorted(set(accuracies) ^ languages))
                raise InputError(f"{path} was validated on other languages than the first log ({odd})")
    return systems


def average(accuracies, without=None):
    """Mean accuracy over languages, the source language ``without`` left out if given."""
    return statistics.fmean(value for language, value in accuracies.items() if language != without)


def rows(systems, source):
    """``[(language, [[accuracy of each seed] of each system])]``, the source language first, averages last."""
    languages = sorted(next(iter(systems.values()))[0], key=lambda language: (language != source, language))
    table = [(language, [[run[language] for run in runs] for runs in systems.values()]) for language in languages]
    for name, without in ((f"avg. without {source}", source), (f"avg. with {source}", None)):
        table.append((name, [[average(run, without) for run in runs] for runs in systems.values()]))
    return table


def _cell(values):
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


def markdown(systems, source):
    """Languages x systems, and the difference of each system to the first; ± is the standard deviation over seeds."""
    names = list(systems)
    header = ["language", *names, *(["difference"] if len(names) == 2 else [f"{n} − {names[0]}" for n in names[1:]])]
    lines = []
    for language, cells in rows(systems, source):
        base = statistics.fmean(cells[0])
        differences = [f"{statistics.fmean(values) - base:+.1f}" for values in cells[1:]]
        lines.append([language, *map(_cell, cells), *differences])
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    pad = [[c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))] for line in [header, *lines]]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    text = "\n".join("| " + " | ".join(line) + " |" for line in [pad[0], rule, *pad[1:]])
    seeds = ", ".join(f"{name} {len(runs)}" for name, runs in systems.items())
    return f"{text}\n\nAccuracy in percent. Seeds: {seeds}.\n"


def figure(systems, source, path):
    """Grouped bars, one group per language, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    table = rows(systems, source)
    fig, axes = plt.subplots(figsize=(max(6, 0.7 * len(table)), 4), layout="constrained")
    width = 0.8 / len(systems)
    for k, name in enumerate(systems):
        heights = [statistics.fmean(cells[k]) for _, cells in table]
        errors = [statistics.stdev(cells[k]) if len(cells[k]) > 1 else 0 for _, cells in table]
        places = [i + (k - (len(systems) - 1) / 2) * width for i in range(len(table))]
        axes.bar(places, heights, width, label=name, yerr=errors if any(errors) else None)
    axes.set_xticks(range(len(table)), [name.replace(" ", "\n") for name, _ in table])
    lowest = min(statistics.fmean(values) for _, cells in table for values in cells)
    axes.set_ylim(bottom=max(0, 5 * (lowest // 5) - 5))
    axes.set_ylabel("accuracy (%)")
    axes.legend(loc="upper right", ncols=len(systems))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    fig.savefig(path, format="png", dpi=150)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("systems", metavar="NAME=LOG,...", nargs="+", help="a system and its logs, one per seed; the "
                        "first system is the baseline")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="table.md and figure.png go here")
    parser.add_argument("--source-language", default="en")
    args = parser.parse_args()
    systems = read_systems(args.systems)
    if args.source_language not in next(iter(systems.values()))[0]:
        raise InputError(f"the logs hold no accuracy of the source language {args.source_language}: validate on it too, "
                         "or name another with --source-language")
    table = markdown(systems, args.source_language)
    with replacing(args.out / "table.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    with replacing(args.out / "figure.png") as temporary:
        figure(systems, args.source_language, temporary)
    print(f"{table}\nwrote {args.out / 'table.md'} and {args.out / 'figure.png'}")


if __name__ == "__main__":
    main()
