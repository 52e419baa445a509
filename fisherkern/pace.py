"""How many steps of training run at once, and on how many threads."""

from __future__ import annotations

# between two looks at the clock, callbacks and Ctrl-C
_CHUNK_SECONDS = 0.05
_MOST_GROWTH = 4.0
# of another number of threads: how long it is tried, and when first
_TRIAL_SECONDS, _FIRST_WAIT = 0.002, 0.02
# least share of the time that makes it worth a change, and most of it that trials may take
_WORTH, _TRIAL_SHARE = 0.9, 0.05


class Pace:
    """Chunks of steps of even time, on as many threads as prove fast; no result depends on either.

    Threads meet several times in every step. Where other processes take the cores, a thread that
    waits for one holds up all, and a step takes many times longer than on one thread alone. So now
    and then a few steps run on half as many threads, or twice, and what is faster stays.

    Parameters
    ----------
    n_threads : int
        At most.
    adapts : bool
        False: always so many.
    """

    def __init__(self, n_threads: int, adapts: bool) -> None:
        self._most, self._adapts = n_threads, adapts and n_threads > 1
        self.n_threads = self._kept = n_threads  # of the next chunk; of those that are no trial
        self._size, self._step_seconds = 1, 0.0
        self._since, self._wait, self._up = 0.0, _FIRST_WAIT, False

    def size(self, most: int) -> int:
        """Steps of the next chunk, at most so many."""
        size = self._size
        if self.n_threads != self._kept:
            size = min(size, int(_TRIAL_SECONDS / max(self._step_seconds, 1e-9)))
        return max(1, min(most, size))

    def report(self, n_steps: int, seconds: float) -> None:
        """The time that the chunk took."""
        self._size = max(1, int(n_steps * min(_MOST_GROWTH, _CHUNK_SECONDS / max(seconds, 1e-6))))
        if not self._adapts:
            return
        step_seconds = seconds / n_steps
        if self.n_threads == self._kept:
            self._step_seconds = step_seconds
            self._since += seconds
            if self._since >= self._wait:
                self.n_threads = self._other()
            return
        if step_seconds < _WORTH * self._step_seconds:
            self._kept, self._step_seconds, self._wait = self.n_threads, step_seconds, _FIRST_WAIT
        else:
            self.n_threads = self._kept
            self._wait = max(2 * self._wait, seconds / _TRIAL_SHARE)
        self._since = 0.0

    def _other(self) -> int:
        """Half as many threads, or at every other trial twice, where that is possible."""
        fewer, more = max(1, self._kept // 2), min(self._most, 2 * self._kept)
        self._up = (not self._up and more > self._kept) or fewer == self._kept
        return more if self._up else fewer
