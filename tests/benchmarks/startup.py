"""Start-up: what the plugin adds to ``fairseq-train --help``, and how long each command takes to explain itself."""

import sys
from pathlib import Path

import harness

SCRIPTS = Path(sys.executable).parent
HEAVY = ("matplotlib", "scipy", "huggingface_hub", "transformers", "sentencepiece", "wordfreq", "pandas")
IMPORTED = (
    "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    "except SystemExit: pass\nprint('benchmark imported', *sorted(m for m in sys.modules if '.' not in m))"
)


def main():
    parser = harness.parser(__doc__.split("\n")[0], needs_text=False)
    args = parser.parse_args()
    train = [sys.executable, SCRIPTS / "fairseq-train"]
    commands = {"fairseq-train --help": [*train, "--help"], "fairseq-train --user-dir salt_fairseq --help": [*train, "--user-dir", "salt_fairseq", "--help"]}
    own = sorted(Path("preprocess").glob("*.py"))
    own = [path for path in own if "__main__" in path.read_text(encoding="utf-8")]
    commands.update({f"{path} --help": [sys.executable, path, "--help"] for path in own})
    commands.update({f"{m} --help": [sys.executable, "-m", m, "--help"] for m in ("salt_fairseq.evaluate", "salt_fairseq.report", "salt_fairseq.predict")})
    found = harness.in_turn(commands, args.rounds)
    plain, plugin = (harness.medians(found[name]) for name in list(commands)[:2])
    print("\n" + harness.table(found, "fairseq-train --help"))
    added = {key: plugin[key] - plain[key] for key in ("seconds", "cpu_seconds")}
    print(f"\nthe plugin adds {added['seconds']:.3f} s ({added['cpu_seconds']:.3f} s of CPU) to fairseq-train --help\n")
    heavy = {}
    for path in own:
        done = harness.command("python", "-c", IMPORTED, path, "--help")
        heavy[path.name] = [m for m in done.stdout.rsplit("benchmark imported ", 1)[1].split() if m in HEAVY]
        print(f"{path} --help imports {', '.join(heavy[path.name]) or 'none'} of {', '.join(HEAVY)}")
    harness.write(args, "startup", {"runs": found, "added": added, "heavy_imports": heavy})


if __name__ == "__main__":
    main()
