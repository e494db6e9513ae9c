#!/usr/bin/env bash
# From one teacher-forced checkpoint, every configuration of a folder for every seed, and the page that compares them.
#
#   scripts/compare_baselines.sh FOLDER OUTPUT [SEEDS] [OPTION...]
#
# FOLDER holds teacher_forcing.yaml, trained once (seed 0), and a file per method; a run is OUTPUT/METHOD-SEED.
# SEEDS are "0 1 2" unless given. Options go to every run, such as: --training.steps 100 --data.init_args.train 500
# A run that was stopped goes on where it was; a finished one is not run again; when one fails the others go on.
# JOBS=4 in the environment trains four runs at once: they share the cores, and write what they say to OUTPUT/logs.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '4p' "$0" | sed 's/^# */usage: /' >&2
    exit 2
fi
folder=$1 output=$2 jobs=${JOBS:-1} seeds=
shift 2
numbers='^[0-9 ]+$'
while [[ ${1-} =~ $numbers ]]; do
    seeds="$seeds $1"
    shift
done
seeds=${seeds:-0 1 2} teacher=$output/teacher_forcing
if [ ! -e "$folder/teacher_forcing.yaml" ]; then
    echo "$folder holds no teacher_forcing.yaml, from which the others start" >&2
    exit 2
fi
if ! [[ $jobs =~ ^[1-9][0-9]*$ ]]; then
    echo "JOBS is how many runs train at once, got '$jobs'" >&2
    exit 2
fi
if [ "$jobs" -gt 1 ]; then
    cores=$(getconf _NPROCESSORS_ONLN)
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > jobs ? cores / jobs : 1))}
    mkdir -p "$output/logs"
fi

running='' # process ids
names=()   # of their runs, by process id
failed='' stopping=''

await() { # MOST: until no more than MOST runs are under way
    local process left count
    while :; do
        left='' count=0
        for process in $running; do
            if kill -0 "$process" 2>/dev/null; then
                left="$left $process" count=$((count + 1))
            elif ! wait "$process"; then
                failed="$failed${failed:+, }${names[process]}"
                [ -n "$stopping" ] || echo "${names[process]} failed" >&2
            fi
        done
        running=$left
        [ "$count" -gt "$1" ] || return 0
        sleep 0.2
    done
}

ask() { # the runs to stop: each saves its state first, and asked a second time stops at once
    local process
    for process in $running; do
        kill -TERM "$process" 2>/dev/null || true
    done
}

stop() {
    stopping=yes
    trap ask INT TERM HUP
    ask
    await 0
    echo "stopped; the same command goes on" >&2
    exit 130
}
trap stop INT TERM HUP

train() { # NAME CONFIG [OPTION...]
    local name=$1 config=$2 run=$output/$1 log=$output/logs/$1.log
    shift 2
    if [ -e "$run/evaluation/test/scores.json" ]; then
        echo "$run is finished" >&2
        return
    elif [ -e "$run/config.yaml" ]; then
        set -- --resume "$run"
    else
        set -- --config "$config" --output "$run" "$@"
    fi
    await $((jobs - 1))
    set -m # a run is a process group of its own, so that Ctrl-C reaches it through this script alone
    if [ "$jobs" -gt 1 ]; then
        echo "$run: $log" >&2
        rlcap train "$@" </dev/null >>"$log" 2>&1 &
    else
        rlcap train "$@" </dev/null &
    fi
    set +m
    names[$!]=$name running="$running $!"
}

train teacher_forcing "$folder/teacher_forcing.yaml" "$@" --training.seed 0
await 0
if [ -n "$failed" ]; then
    echo "without $teacher no other run can start" >&2
    exit 1
fi
for seed in $seeds; do
    for config in "$folder"/*.yaml; do
        method=$(basename "$config" .yaml)
        if [ "$method" != teacher_forcing ]; then
            train "$method-$seed" "$config" --policy.init_args.directory "$teacher" "$@" --training.seed "$seed"
        fi
    done
done
await 0

set -- "$teacher"
for run in "$output"/*/; do
    run=${run%/}
    if [ "$run" != "$teacher" ] && [ -e "$run/config.yaml" ] && [ -s "$run/metrics.jsonl" ]; then
        set -- "$@" "$run" # one that failed before its first step has nothing to report
    fi
done
rlcap report "$@" --output "$output/report"
if [ -n "$failed" ]; then
    echo "failed: $failed" >&2
    exit 1
fi
