#!/usr/bin/env bash
#
# Run the tests: bin/run_tests.sh [PYTEST_ARGUMENT...]
#
# Without arguments all of them, in two processes. Arguments go to pytest; paths
# among them are relative to the checkout.

set -euo pipefail

# shellcheck source=bin/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"
cd -- "$MEAS_TRAILS_DIR"

# Two processes share the cores already.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"
export MPLBACKEND=Agg

if [ "$#" -eq 0 ]; then
    set -- -q -n 2 tests
fi
exec python -m pytest "$@"
