"""The page of candidates with many sentences, in chromium: size, and seconds until it is there and until it has answered.

Beside each stands the CPU time of the page's own thread, which other processes do not lengthen.

bash recipes/benchmark.sh page plm/embedded data/mine --sentences 50000
"""

import shutil
import statistics
import time
from pathlib import Path

import harness
from playwright.sync_api import sync_playwright

from preprocess.show_candidates import spread
from salt_fairseq.candidates import languages
from salt_fairseq.data.code_switching import thresholds_of
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.pages.candidates import candidates_page
from salt_fairseq.plm import Description
from salt_fairseq.tokenizer import Tokenizer

# Each acts, and waits until the browser has painted what follows.
PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
ACTIONS = {
    "a slider moves": "(() => { const s = document.querySelector('input[type=range]'); s.value = Number(s.value) ? Number(s.value) - 1 : 50; "
    "s.dispatchEvent(new Event('input')); })()",
    "next page": "document.querySelector('.next').click()",
    "first search": "(() => { const q = document.getElementById('query'); q.value = 'house'; q.dispatchEvent(new Event('input')); })()",
    "another search": "(() => { const q = document.getElementById('query'); q.value = q.value + ' '; q.dispatchEvent(new Event('input')); })()",
}


def cpu_seconds(session):
    return {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]


def main():
    parser = harness.parser(__doc__.split("\n")[0], needs_text=False)
    parser.add_argument("plm_dir", type=Path)
    parser.add_argument("data", type=Path, help="data directory with candidates; its examples are repeated if they are too few")
    parser.add_argument("--languages", default="en,fr,es,de")
    parser.add_argument("--sentences", type=int, default=50000)
    args = parser.parse_args()
    data, description = DataDirectory(args.data), Description.load(args.plm_dir)
    chosen = [language for language in languages(args.data) if language in args.languages.split(",")]
    examples, count = len(data.targets("train")), args.sentences // len(data.sides)
    numbers = spread(count, examples) if count <= examples else [k % examples for k in range(count)]
    path = args.work / "page.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    tokenizer = Tokenizer.load(args.plm_dir, description.tokenizer)
    path.write_text(candidates_page(data, "train", tokenizer, thresholds_of(chosen, "50%", data.meta["source_language"]), numbers), encoding="utf-8")
    result = {"seconds to write": time.perf_counter() - start, "MB": path.stat().st_size / 1e6}
    runs = {name: [] for name in ("opened", *ACTIONS)}
    with sync_playwright() as playwright:
        for _ in range(args.rounds):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            for name, action in {"opened": None, **ACTIONS}.items():
                start, cpu = time.perf_counter(), cpu_seconds(session)
                if action:
                    page.evaluate(f"(async () => {{ {action}; await {PAINTED}; }})()")
                else:
                    page.goto(path.resolve().as_uri())
                    page.wait_for_selector("article")
                runs[name].append((time.perf_counter() - start, cpu_seconds(session) - cpu))
            browser.close()
    for i, kind in enumerate(("seconds", "CPU seconds")):
        result |= {f"{name}, {kind}": statistics.median(values[i] for values in pairs) for name, pairs in runs.items()}
    for name, value in result.items():
        print(f"{name}: {value:.3g}")
    harness.write(args, "page", {"sentences": args.sentences, "languages": chosen, "medians": result, "runs": runs})


if __name__ == "__main__":
    main()
