#!/usr/bin/env bash
#
# Train the shipped models from their recipes: bin/train_models.sh DIR
#
# Everything is written below DIR (16 GB of simulated tiles). The same command
# resumes a run that was stopped. All models start from the weights of `base`;
# the results are DIR/NAME/NAME.json and .safetensors, for NAME one of direct,
# template and difference.

set -euo pipefail

if [ "$#" -ne 1 ] || [ "${1:0:1}" = - ]; then
    printf 'usage: %s DIR\n\nTrain the models direct, template and difference in DIR, some hours on two cores.\n' "$0" >&2
    case "${1:-}" in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

mkdir -p -- "$1"
# A model exists before its score is calibrated, so that a separate file marks
# complete runs.
if [ ! -e "$1/base/finished" ]; then
    meas-trails train "$1/base" --config base
    : >"$1/base/finished"
fi
for name in direct template difference; do
    if [ ! -e "$1/$name/finished" ]; then
        meas-trails train "$1/$name" --config "$name" --start "$1/base/base.json"
        : >"$1/$name/finished"
    fi
done
