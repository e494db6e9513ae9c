#!/usr/bin/env bash
# Rewards learned from simulated people, from nothing to the report: a captioner, captions of its own, a reward model for
# each number of comparisons and seed, then policies trained against the one of configs/learned_rewards.
#
#   scripts/learned_rewards.sh [SEEDS] [OPTION...]
#
# SEEDS are "0 1 2" unless given; options, such as --training.steps 100, go to every run. Everything lies under runs/, as
# the configurations name it. A run that was stopped goes on where it was; a finished one is not run again.
set -euo pipefail

here=$(dirname "$0") seeds=
configs=$here/../configs
numbers='^[0-9 ]+$'
while [[ ${1-} =~ $numbers ]]; do
    seeds="$seeds $1"
    shift
done
seeds=${seeds:-0 1 2}

train() { # RUN CONFIG [OPTION...]
    local run=$1 config=$2
    shift 2
    if [ -e "$run/evaluation/test/scores.json" ]; then
        echo "$run is finished" >&2
    elif [ -e "$run/config.yaml" ]; then
        rlcap train --resume "$run"
    else
        rlcap train --config "$config" --output "$run" "$@"
    fi
}

start=runs/compare_scenes/teacher_forcing own=runs/learned_rewards
train "$start" "$configs/compare/scenes/teacher_forcing.yaml" "$@"
sample() { # SEED TEMPERATURE: captions of all splits
    for split in train val test; do
        if [ ! -e "$start/evaluation/$split-sampled$1" ]; then
            rlcap evaluate "$start" --split "$split" --decoding.temperature "$2" --decoding.seed "$1" --thumbnails 0
        fi
    done
}
sample 0 1
sample 1 1.7
train "$own/scenes_captioner" "$configs/learned_rewards/scenes_captioner.yaml" "$@"
train "$own/scenes_matching" "$configs/learned_rewards/scenes_matching.yaml" "$@"
train "$own/scenes_preference" "$configs/learned_rewards/scenes_preference.yaml" "$@"
for comparisons in ${COMPARISONS:-250 1000 4000 16000}; do
    for seed in $seeds; do
        train "$own/comparisons/$comparisons-$seed" "$configs/learned_rewards/scenes_preference.yaml" \
            --data.init_args.comparisons "$comparisons" --data.init_args.seed "$seed" "$@" --training.seed "$seed"
    done
done
python -P "$here/../benchmarks/comparisons.py" "$own"/comparisons/* --figure "$own/comparisons.svg"
"$here/compare_baselines.sh" "$configs/compare/learned_reward" runs/compare_learned_reward $seeds "$@"
