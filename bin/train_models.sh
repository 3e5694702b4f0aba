#!/usr/bin/env bash
#
# Train models from their recipes: bin/train_models.sh [--minutes N] [--device DEVICE] DIR [RECIPE...]
#
# Everything is written below DIR.  The same command resumes a run that was
# stopped.  The results are DIR/NAME/*.json and .safetensors.  Without names, the
# recipes of the shipped models run.

set -euo pipefail

usage() {
    cat <<END
usage: $0 [--minutes N] [--device DEVICE] DIR [RECIPE...]

Train the models of recipes in DIR, by default those that are shipped.

  --minutes N      longest time of the training of each model
  --device DEVICE  torch device: auto, cpu, cuda, ...
END
}

options=()
while [ "$#" -gt 0 ] && [ "${1:0:1}" = - ]; do
    case "$1" in
        --minutes | --device)
            [ "$#" -ge 2 ] || { usage >&2; exit 2; }
            options+=("$1" "$2")
            shift 2
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
[ "$#" -ge 1 ] || { usage >&2; exit 2; }
dir=$1
shift

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

mkdir -p -- "$dir"

# A model exists before its score is calibrated, so that a separate file marks
# complete runs.
train() {
    local output
    output="$dir/$(basename -- "$1" .yaml)"
    if [ ! -e "$output/finished" ]; then
        meas-trails train "$output" --config "$1" "${options[@]}"
        : >"$output/finished"
    fi
}

[ "$#" -gt 0 ] || set -- sky difference
for name in "$@"; do
    train "$name"
done
