# Sourced with the output directory of a recipe, which is made, and locked until the recipe and all that it started have ended.
mkdir -p "$1"
exec 9> "$1/.lock"
flock --nonblock 9 || {
    echo "error: $1 is being written by another recipe: wait until it has finished, or choose another output directory" >&2
    exit 1
}
