# Sourced by the recipes. Typed as a recipe's first word, --help prints the comment at the recipe's head. No recipe that takes
# paths changes the folder, so they are relative to where they are typed.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0; }
[[ ${1:-} != @(-h|--help) ]] || usage

fail() { echo "error: $1" >&2; exit 2; }

install() { # make or repair .venv, and take Python and all commands from it
    bash "$root/recipes/setup.sh"
    export PATH=$root/.venv/bin:$PATH
}

lock() { # make directory $1 and lock it until this recipe and all that it started have ended, or fd 9 is closed
    mkdir -p "$1"
    exec 9> "$1/.lock"
    flock --nonblock 9 || {
        echo "error: $1 is being written by another recipe: wait until it has finished, or choose another output directory" >&2
        exit 1
    }
}
