#!/usr/bin/env bash
# A reward model per fold of judged photos, each tested on photos it never saw, and the table of their means.
#
#   scripts/flickr8k_judgements.sh CONFIG OUTPUT [OPTION...]
#
# CONFIG is configs/learned_rewards/flickr8k_judgements.yaml or one like it; a run is OUTPUT/fold-N. Options go to every
# run. A run that was stopped goes on where it was; a finished one is not run again.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '4p' "$0" | sed 's/^# */usage: /' >&2
    exit 2
fi
config=$1 output=$2 runs=()
shift 2
for fold in 0 1 2 3 4; do
    run=$output/fold-$fold
    if [ -e "$run/evaluation/test/scores.json" ]; then
        echo "$run is finished" >&2
    elif [ -e "$run/config.yaml" ]; then
        rlcap train --resume "$run"
    else
        rlcap train --config "$config" --output "$run" --data.init_args.division.fold "$fold" "$@"
    fi
    runs+=("$run")
done
python -P "$(dirname "$0")/../benchmarks/folds.py" "${runs[@]}"
