#!/usr/bin/env bash
# Lint, format, types, and all tests. Arguments go to pytest, which then runs alone: bash recipes/test.sh tests/modules -k mixup
#
#   bash recipes/test.sh --fast    leaves out types, and the tests marked slow
#   bash recipes/test.sh --all     runs those marked long, too, as before a release
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
install
selected=() checks=("ruff check" "ruff format --check")
case ${1:-} in
    --fast) selected=(-m "not slow and not long"); shift ;;
    --all) checks+=(mypy); shift ;;
    '') selected=(-m "not long") checks+=(mypy) ;;
esac
if [ $# -eq 0 ]; then
    for check in "${checks[@]}"; do $check; done
fi
# Two processes of one thread each: most tests wait for commands to start, and the models in them are tiny.
export OMP_NUM_THREADS=1
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "${selected[@]}" "$@"
