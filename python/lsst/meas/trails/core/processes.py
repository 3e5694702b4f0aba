# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

"""Function calls in several processes."""

from __future__ import annotations

__all__ = ("run_all",)

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import threadpoolctl


def run_all[T](tasks: Sequence[tuple[Callable[..., T], tuple[object, ...]]], jobs: int) -> Iterator[T]:
    """Call functions with their arguments, and yield the results in order.

    Parameters
    ----------
    tasks
        Functions and their arguments; other processes must be able to import them.
    jobs
        Largest number of processes. Each uses one thread of the numerical libraries. One job, or one task,
        runs in this process.
    """
    if jobs == 1 or len(tasks) <= 1:
        for function, arguments in tasks:
            yield function(*arguments)
        return
    # Threads of libraries that are already loaded do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        max_workers=min(jobs, len(tasks)),
        mp_context=context,
        initializer=threadpoolctl.threadpool_limits,
        initargs=(1,),
    ) as pool:
        futures = [pool.submit(function, *arguments) for function, arguments in tasks]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
