#!/usr/bin/env bash
#
# Train the models that come with the package, by their recipes:
# bin/train_models.sh DIR
#
# Everything goes below DIR (16 GB of simulated tiles). A run that was stopped
# goes on where it was when it is started again. All models begin with the
# weights of `base`; they are then DIR/NAME/NAME.json, each with its
# .safetensors, for NAME one of direct, template and difference.

set -euo pipefail

if [ "$#" -ne 1 ] || [ "${1:0:1}" = - ]; then
    printf 'usage: %s DIR\n\nTrain the models direct, template and difference in DIR, some hours on two cores.\n' "$0" >&2
    case "${1:-}" in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

mkdir -p -- "$1"
# A model is there before its score is calibrated: a file of its own says when
# all is done.
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
