#!/bin/bash
# Run a command as one step of a SLURM job, with its own memory limit:
#
#     slurm_step.sh MEMORY_MIB MULTIPLIER CORES COMMAND [ARGUMENT...]
#
# A step that is killed, as by its memory limit, is repeated with MULTIPLIER
# times the memory, up to the memory that the job has on the node. Its exit code
# is that of the last attempt.
set -uo pipefail
if [ "$#" -lt 4 ] || [ -z "${SLURM_JOB_ID:-}" ]; then
    printf 'Usage, inside a SLURM job: %s MEMORY_MIB MULTIPLIER CORES COMMAND [ARGUMENT...]\n' "$0" >&2
    exit 2
fi
memory=$1 multiplier=$2 cores=$3
shift 3

options=(--nodes=1 --ntasks=1 --cpus-per-task="$cores" --exact --input=none)
# A step inside a step, as with more than one node, shares the resources of the
# outer one; otherwise it waits until cores and memory are free.
if [ -n "${SLURM_STEP_ID:-}" ]; then
    options+=(--overlap)
fi
if [ -n "${SLURMD_NODENAME:-}" ]; then
    options+=(--nodelist="$SLURMD_NODENAME")
fi
# A job without a limit of its own has all memory of the node, at most.
largest=${SLURM_MEM_PER_NODE:-0}
if [ "$largest" -eq 0 ]; then
    largest=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
fi
if [ "$memory" -gt "$largest" ]; then
    printf 'The job has %s MiB on a node, less than the %s MiB of this step; raise mem_per_node.\n' \
        "$largest" "$memory" >&2
    exit 1
fi

# srun ends with 0 if the node fails, so that a step tells its success by a file.
succeeded="$(mktemp)" || exit 1
trap 'rm -f -- "$succeeded"' EXIT

while true; do
    # shellcheck disable=SC2016
    srun "${options[@]}" --mem="${memory}M" bash -c '"${@:2}" && echo yes >"$1"' step "$succeeded" "$@"
    status=$?
    if [ -s "$succeeded" ]; then
        exit 0
    fi
    # After the failure of a node, SLURM takes the job away. Failing now would use
    # up the tries of the job: the end of its worker makes Parsl repeat it elsewhere.
    state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T 2>/dev/null)
    if [ -n "$state" ] && [ "$state" != RUNNING ]; then
        printf 'SLURM has taken the job away: it is %s.\n' "$state" >&2
        sleep 300
    fi
    # 137: SIGKILL. SLURM does not tell the step why it was killed.
    if [ "$status" -ne 137 ]; then
        exit $((status == 0 ? 1 : status))
    fi
    more=$(awk -v memory="$memory" -v multiplier="$multiplier" -v largest="$largest" \
        'BEGIN { more = int(memory * multiplier); print(more > largest ? largest : more) }')
    if [ "$more" -le "$memory" ]; then
        printf 'Killed with %s MiB, the most that the job has on a node; raise mem_per_node.\n' "$memory" >&2
        exit "$status"
    fi
    printf 'Killed with %s MiB: trying again with %s MiB.\n' "$memory" "$more" >&2
    memory=$more
done
