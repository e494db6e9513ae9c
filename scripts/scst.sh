#!/usr/bin/env bash
# From data to report: teacher forcing, self-critical training from its best checkpoint, and the page that compares them.
#
#   scripts/scst.sh TEACHER_FORCING.yaml SELF_CRITICAL.yaml OUTPUT [OPTION...]
#
# Options go to both stages, such as: --training.seed 1 --data.init_args.images photos
# A stage that was stopped goes on where it was; a finished one is not run again.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '4p' "$0" | sed 's/^# */usage: /' >&2
    exit 2
fi
teacher_config=$1 critical_config=$2 output=$3
shift 3
teacher=$output/teacher_forcing critical=$output/self_critical

stage() { # RUN CONFIG [OPTION...]
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

stage "$teacher" "$teacher_config" "$@"
stage "$critical" "$critical_config" --policy.init_args.directory "$teacher" "$@"
rlcap report "$teacher" "$critical" --output "$output/report"
