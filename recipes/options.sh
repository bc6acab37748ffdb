# Sourced by experiment.sh and run.sh with CONFIG and the options that experiment.sh explains: checks them and sets the variables
# below, and the function override. The Hydra overrides after -- are left as "$@".
config=${1:-}
[[ -n $config && $config != base && -e $root/recipes/config/$config.yaml ]] ||
    fail "no recipes/config/$config.yaml: name the data set first, xnli, pawsx, sib200, xsid, panx or udpos"
shift

systems="vanilla SALT" plm=bert-base-multilingual-uncased augment=en,fr,es,de seeds="1 2 3 4 5" jobs=1 average=1 out=results/$config
report=report sources=() subsets=() dictionaries=() synonyms='' updates='' generalized=() device=() force=()
[[ $config == @(panx|udpos) ]] && tags=(--tags detect) || tags=() # a tag for each word, in subsets too
while [ $# -gt 0 ]; do
    [[ $1 == @(--|--force) || $# -gt 1 ]] || fail "$1 needs a value, or is no option: bash recipes/experiment.sh --help lists them"
    case $1 in
        --systems) systems=$2; shift 2 ;;
        --downloads) sources+=("--$config" "$2"); shift 2 ;;
        --subset) shift; while [ $# -gt 0 ] && [[ $1 == *=* ]]; do subsets+=("$1"); shift; done ;;
        --source-language | --languages) sources+=("$1" "$2"); shift 2 ;;
        --plm) plm=$2; shift 2 ;;
        --augment) augment=$2; shift 2 ;;
        --dictionary) shift; while [ $# -gt 0 ] && [[ $1 == *=* ]]; do dictionaries+=("$1"); shift; done ;;
        --synonyms) synonyms=$2; shift 2 ;;
        --seeds) seeds=$2; shift 2 ;;
        --jobs) jobs=$2; shift 2 ;;
        --updates) updates=$2; shift 2 ;;
        --average) average=$2; shift 2 ;;
        --generalized) generalized=(--generalized "$2"); shift 2 ;;
        --out) out=$2; shift 2 ;;
        --report) report=$2; shift 2 ;;
        --device) device=(--device "$2"); shift 2 ;;
        --force) force=(--force); shift ;;
        --) shift; break ;;
        *) fail "unknown option $1: bash recipes/experiment.sh --help lists them" ;;
    esac
done
for system in $systems; do
    [ -e "$root/recipes/config/system/$system.yaml" ] ||
        fail "unknown system $system; recipes/config/system has $(cd "$root/recipes/config/system" && echo *.yaml)"
done
for seed in $seeds; do
    [[ $seed =~ ^[0-9]{1,3}$ ]] || fail "--seeds \"$seeds\": whole numbers below 1000 are needed, separated by spaces"
done
[[ -z $updates || $updates =~ ^[1-9][0-9]*$ ]] || fail "--updates $updates: a whole number of at least 1 is needed"
[[ $average =~ ^[1-9][0-9]*$ ]] || fail "--average $average: a whole number of at least 1 is needed"
[[ $jobs =~ ^[1-9][0-9]*$ ]] || fail "--jobs $jobs: a whole number of at least 1 is needed"
for path in "$out" "$plm" "$root"; do
    [[ $path != *'${'* ]] || fail "$path: fairseq takes \${ in a path for the beginning of a variable: choose a path without it"
done

[ ${#subsets[@]} -eq 0 ] || sources+=(--subset "${subsets[@]}")
data=$out/data
[ -e "$plm/plm.json" ] && plm_dir=$plm || plm_dir=$out/plm # where it is imported to
[ ${#generalized[@]} -eq 0 ] && ending=json || ending=generalized.json # of a run's results
config_files=(--config-dir "$root/recipes/config" --config-name "$config")

override() { # system $1, and further overrides: with what it is trained, whatever the seed, into the array overrides
    overrides=("+system=$1" "task.data=$(quoted "$data")" "model.plm=$(quoted "$plm_dir")")
    [[ $1 != SALT* || $1 == SALT-en-only ]] || overrides+=("task.augment=$(quoted "$augment")")
    [ -z "$updates" ] || overrides+=("optimization.max_update=$updates" optimization.max_epoch=0)
    [ "$average" -eq 1 ] || overrides+=("checkpoint.keep_interval_updates=$average")
    overrides+=("${@:2}")
}
