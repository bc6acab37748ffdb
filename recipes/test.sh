#!/usr/bin/env bash
# Lint, format, types, and all tests. Arguments go to pytest, which then runs alone: bash recipes/test.sh tests/modules -k mixup
#
#   bash recipes/test.sh --fast    leaves out the tests marked slow: under 90 seconds on two cores
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
install
selected=()
if [[ ${1:-} == --fast ]]; then
    selected=(-m "not slow")
    shift
fi
if [ $# -eq 0 ]; then
    ruff check
    ruff format --check
    mypy
fi
# Two processes of one thread each: most tests wait for commands to start, and the models in them are tiny.
export OMP_NUM_THREADS=1
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "${selected[@]}" "$@"
