#!/usr/bin/env bash
# The fast tests on each Python from 3.9 to 3.12 that is on PATH or among pyenv's versions, each in an environment of its own
# below .venvs (1 GB, or 6 with CUDA libraries). Prints the rows of docs/versions.md. Arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
export OMP_NUM_THREADS=1
failed=0
echo "| Python | fairseq | torch | numpy | hydra-core | omegaconf | transformers | tests |"
echo "|---|---|---|---|---|---|---|---|"
for version in 3.9 3.10 3.11 3.12; do
    PYTHON=$(interpreter "python$version")
    [ "$PYTHON" ] || { echo "Python $version: not found" >&2 && continue; }
    export PYTHON VENV=.venvs/$version
    bash recipes/setup.sh >&2
    "$VENV/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not long" "$@" >"$VENV/tests.txt" 2>&1 || {
        failed=1
        cat "$VENV/tests.txt" >&2
    }
    "$VENV/bin/python" - "$VENV/tests.txt" <<'PYTHON'
import importlib.metadata as metadata
import platform
import re
import sys

names = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
fairseq = next(name for name in ("ve-fairseq", "fairseq") if name in names)
packages = (fairseq, "torch", "numpy", "hydra-core", "omegaconf", "transformers")
cells = [platform.python_version(), *(metadata.version(package) for package in packages)]
cells[1] = f"{fairseq} {cells[1]}"
results = re.findall(r"^(?:=+ )?(\d+ (?:passed|failed|skipped|error).*?)(?: =+)?$", open(sys.argv[1]).read(), re.M)
print("", *cells, results[-1] if results else "none ended", "", sep=" | ", end="\n")
PYTHON
done
exit "$failed"
