"""The training loop: chunks of compiled steps; between them validation, callbacks, checkpoints."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import _loop
from ._validation import boolean, finite_number, random_generator
from .callbacks import Event, checked_callbacks
from .history import History
from .io import check_target
from .metrics import draw_targets
from .network import Network, raise_fault
from .optimizers import Optimizer, frozen_bytes, make_trainer
from .pace import Pace
from .samples import Batches, Samples, checked_samples, dense_rows, dense_samples, split
from .schedule import Plan, averaging_weights, make_plan

# seconds of work between two looks at Ctrl-C, progress and callbacks
_CHECKPOINT_SECONDS = 30.0
# the noise variance of a square loss never falls below this share of the targets' variance
_NOISE_FLOOR = 1e-4
# nor below what may be divided by, and by its square
_LEAST_NOISE = {"float32": 1e-16, "float64": 1e-150}
# that draw targets and are kept at once
_MOST_RANDOM_NUMBERS = 2**22


def train(net: Network, X: Any, Y: Any, optimizer: Optimizer, *, steps: int | None = None,
          epochs: int | None = None, batch_size: int | None = None, online: bool = False,
          step_size: str | Callable[[int], float] | None = None, trust_radius: float = 3e-4,
          prior: str | float | None = None, averaging: bool = False, sample_weight: Any = None,
          validation: Any = None, selection: str | int | None = None,
          callbacks: Iterable[Callable[[Event], Any]] = (), progress: bool | None = None,
          checkpoint: Any = None, rng: Any = None, n_threads: int | None = None) -> History:
    """Train `net` in place.

    Parameters
    ----------
    net : Network
    X : (n_samples, n_inputs) array_like or scipy.sparse matrix
        Sparse samples are made dense piece by piece; they need batch_size or online.
    Y : array_like
        Targets as the network's interpretation takes them.
    optimizer : Optimizer
    steps, epochs : int
        Exactly one of them; a whole-batch epoch is one step.
    batch_size : int, optional
        Samples per step, drawn without replacement epoch by epoch; None: the whole batch.
    online : bool
        One sample per step, in the given order, with the metric of [O section 1.3].
    step_size : {"adaptive", "trust_region", "constant"} or callable
        "adaptive" [O section 4]: a step that raises the loss is cancelled and the rate halved, one
        that lowers it raises the rate by a tenth; whole batch only, and its default.
        "trust_region": rate min(ceiling, sqrt(2 trust_radius / s), L / s) times a factor whose
        square falls to 0 by a half-cosine, s = direction . G being the loss that a full step
        promises to remove, L the batch's loss with the prior's: no step may promise more than
        that. The default of other training with a metric. A square loss is taken at the running
        variance of its residuals.
        "constant": the optimizer's learning rate. A callable gives the rate of each step.
    trust_radius : float
        Nats, in the optimizer's own metric.
    prior : None, float or "path"
        Fan-in prior: each weight w_ik is taken as drawn with the precision
        lambda fan_in (range(a_i) / 4)^2 per training run's n samples, biases as free; at
        lambda = 1 that is the distribution of scheme "data". The gradient of its logarithm
        over n is added to the step's, and its curvature to a metric, which needs range damping. A
        number is lambda; "path" walks from 1 to 0.003 in equal ratios, at a constant trust radius.
    averaging : bool
        Validation, checkpoint and the final network take the average of theta over about the
        last tenth of the steps.
    sample_weight : (n_samples,) array_like, optional
        How often an epoch of batches takes each sample: as often as that where the weights are
        whole numbers, else rounded up or down at random with that mean.
    validation : float or (X, Y) or (X, Y, sample_weight), optional
        A share of the samples to hold out, or other samples. Their mean loss (weighted) is taken
        every epoch; in whole batches every hundredth of the steps, under selection every
        fifteenth, rounded down to whole steps; and at the end.
    selection : None, "best" or int
        "best": the network ends with the parameters of the least validation loss, whatever
        callbacks assigned to theta (what is frozen keeps its value). A number: it ends after that
        many steps of the same run, as where another one found them best.
    callbacks : iterable of callables
        Called with an `Event` after every step (those with a true `on_validation` attribute only
        where the validation loss was measured); returning True stops. They may assign theta and
        frozen. One with a method `on_start` has it called first, before anything changes.
    progress : bool, optional
        A tqdm bar on standard error; None: where that is a terminal.
    checkpoint : path, optional
        Where the network is saved, atomically, every 30 seconds and at the end.
    rng : None, int or numpy.random.Generator
        Of the batches, the held-out share and the targets that a Monte Carlo metric draws.
    n_threads : int, optional
        Never changes the result. None: all cores allowed to the process, or fewer where other work
        on them makes those faster.

    Returns
    -------
    History
        Ctrl-C ends training early with the history so far, the network being at its last
        complete step (with averaging the average up to there, with selection "best" the best).

    Raises
    ------
    ValueError, TypeError
        Naming the argument, before anything changes.
    FloatingPointError
        The loss is not finite; the network is left at an earlier step, which is named.
    """
    if not isinstance(net, Network):
        raise TypeError(f"net must be a fisherkern Network; got {type(net).__name__}")
    samples = checked_samples(net, X, Y, sample_weight)
    rng = random_generator(rng)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a fisherkern optimizer; got {optimizer!r}")
    trust_radius = finite_number(trust_radius, "trust_radius", above=0)
    if progress is not None:
        progress = boolean(progress, "progress")
    if checkpoint is not None:
        check_target(checkpoint, "checkpoint")
    callbacks = checked_callbacks(callbacks, validation is not None)
    state = rng.bit_generator.state
    try:
        samples, held_out, kept = split(net, samples, validation, rng)
        plan = _plan(samples, optimizer, steps=steps, epochs=epochs, batch_size=batch_size,
                     online=online, step_size=step_size, prior=prior, averaging=averaging,
                     selection=selection, validated=held_out is not None)
        draw_rng = None
        if optimizer.kind == "monte_carlo":
            # a stream of its own: draws must not depend on how many steps are run at once
            draw_rng = np.random.default_rng(rng.integers(2**63, size=4))
        trainer = start_trainer(net, samples, optimizer, plan, trust_radius, draw_rng, n_threads)
        for callback in callbacks:
            if hasattr(callback, "on_start"):
                callback.on_start()
    except Exception:
        rng.bit_generator.state = state
        raise
    run = _Run(net, trainer, plan, samples, kept, rng, draw_rng, held_out, callbacks, checkpoint,
               n_threads)
    return run.go(progress)


def _plan(samples: Samples, optimizer: Optimizer, validated: bool, **given: Any) -> Plan:
    """The schedule, once it is clear that it suits the samples."""
    if samples.total < 1:
        raise ValueError("sample_weight must add up to at least 1, a sample in an epoch; got "
                         f"{samples.total}")
    plan = make_plan(optimizer, int(samples.total), **given)
    if samples.weights is not None and plan.mode != "mini":
        raise ValueError("sample_weight is how often batches take a sample; it needs batch_size")
    if samples.is_sparse and plan.mode == "whole":
        raise ValueError("sparse X is made dense piece by piece; it needs batch_size or online")
    if plan.selection == "best" and not validated:
        raise ValueError("selection = 'best' needs validation")
    return plan


def start_trainer(net: Network, samples: Samples, optimizer: Optimizer, plan: Plan,
                  trust_radius: float, draw_rng: np.random.Generator | None,
                  n_threads: int | None) -> _loop.Trainer:
    """The compiled loop, its metric started where training is online."""
    X, Y = samples.X, samples.Y
    noise = net.interpretation == "square" and plan.rule == "trust_region"
    floor = max(_NOISE_FLOOR * _target_size(Y), _LEAST_NOISE[net.dtype.name]) if noise else None
    rate = optimizer._update_rate(plan.mode, net)
    trainer = make_trainer(
        optimizer, net, X, Y, plan.batch_size, n_threads, rule=plan.rule,
        learning_rate=plan.learning_rate, trust_radius=trust_radius, metric_rate=rate,
        warm_start=rate is not None, noise_floor=floor,
        whole_batch=plan.mode == "whole", prior=plan.prior is not None,
        averaging=plan.averaging)
    if plan.mode == "online" and rate is not None:
        n_init = optimizer._initial_samples(net, X.shape[0])
        first = make_trainer(optimizer, net, dense_rows(X, slice(n_init)), Y[:n_init], n_init,
                             n_threads).batch
        first.set_shift(trainer.shift)
        if draw_rng is not None:
            draw_targets(first, None, draw_rng, n_init)
        loss = first.run()
        raise_fault(first)
        trainer.start_metric(first.sums(), loss, rate)
    return trainer


def _target_size(Y: np.ndarray) -> float:
    """The targets' variance; their mean square where they are constant, 1 where they are zero."""
    return float(np.var(Y, axis=0, dtype=np.float64).mean()
                 or np.square(Y, dtype=np.float64).mean() or 1.0)


class _Interrupt:
    """Turns the first Ctrl-C into a flag that is read between chunks; a second one raises."""

    def __enter__(self) -> _Interrupt:
        self.asked = False
        self._old = None
        if threading.current_thread() is threading.main_thread():
            self._old = signal.getsignal(signal.SIGINT)
            if self._old is not None and self._old is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, self._note)
            else:
                self._old = None
        return self

    def _note(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: Any) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)


class _Run:
    """One call of `train`: chunks of compiled steps, and what happens between them."""

    def __init__(self, net: Network, trainer: _loop.Trainer, plan: Plan, samples: Samples,
                 kept: np.ndarray, rng: np.random.Generator,
                 draw_rng: np.random.Generator | None, held_out: Samples | None, callbacks: list,
                 checkpoint: Any, n_threads: int | None) -> None:
        self.net, self.trainer, self.plan, self.draw_rng = net, trainer, plan, draw_rng
        self.samples, self.kept = samples, kept
        self.batches = Batches(plan.mode, plan.batch_size, samples, rng)
        self.random_numbers = plan.batch_size * trainer.batch.n_draws * net.n_outputs
        self.held_out, self.callbacks, self.checkpoint = held_out, callbacks, checkpoint
        self.n_threads = n_threads
        self.pace = Pace(trainer.batch.n_threads, adapts=n_threads is None)
        self.every_step = any(not getattr(callback, "on_validation", False)
                              for callback in callbacks)
        self.history = History()
        self.saved_at = time.monotonic()
        self.least, self.final = np.inf, None  # what the network ends with, if not theta

    def go(self, progress: bool | None) -> History:
        bar = _progress_bar(progress, self.plan.last_step)
        done = 0
        try:
            with _Interrupt() as interrupt:
                while done < self.plan.last_step and self.history.stopped is None:
                    size = self.pace.size(self._steps_to_next_look(done))
                    start = time.monotonic()
                    self._chunk(done, size)
                    done += size
                    spent = time.monotonic() - start
                    self.history.extend_seconds(size, spent)
                    self.pace.report(size, spent)
                    self._after(done)
                    bar.update(size)
                    bar.set_postfix_str(f"loss {self.history.last_loss:.4g}", refresh=False)
                    if interrupt.asked:
                        self.history.stopped = "interrupted"
        finally:
            bar.close()
        if self.final is None and self.plan.averaging:
            with self._averaged() as theta:
                self.final = theta.copy()
        if self.final is not None:
            # what is frozen has its value, though it may have moved before
            self.net.theta[:] = np.where(self.net.frozen, self.net.theta, self.final)
        if isinstance(self.plan.selection, int) and done == self.plan.last_step:
            self.history.selected = done
        if self.checkpoint is not None:
            self.net.save(self.checkpoint)
        return self.history

    @contextmanager
    def _averaged(self) -> Iterator[np.ndarray]:
        """theta, which is the average of the steps inside where there is one."""
        theta = self.net.theta
        if not self.plan.averaging:
            yield theta
            return
        before = theta.copy()
        # what is frozen has its value, though it may have moved before
        theta[:] = np.where(self.net.frozen, before, self.trainer.average)
        try:
            yield theta
        finally:
            theta[:] = before

    def _validate(self, done: int) -> tuple[float, np.ndarray]:
        """The validation loss, and the parameters that it was measured at."""
        with self._averaged() as theta:
            # all, unless fewer proved faster: a batch may have work for fewer than these samples
            few = self.pace.n_threads < self.trainer.batch.n_threads
            n_threads = self.pace.n_threads if few else self.n_threads
            measured, parameters = self.held_out.loss(self.net, n_threads), theta.copy()
            accuracy = self.held_out.accuracy(self.net, n_threads)
        if self.plan.selection == "best" and measured < self.least:
            self.least, self.final, self.history.selected = measured, parameters, done
        self.history.validation.append((done, measured))
        if accuracy is not None:
            self.history.accuracy.append((done, accuracy))
        return measured, parameters

    def _steps_to_next_look(self, done: int) -> int:
        """At the end, by a callback or an evaluation, or for new data."""
        size = self.plan.last_step - done
        if self.every_step:
            return 1
        if self.held_out is not None:
            size = min(size, self.plan.next_evaluation(done) - done)
        if self.draw_rng is not None:
            size = min(size, max(1, _MOST_RANDOM_NUMBERS // self.random_numbers))
        if self.samples.is_sparse:
            size = min(size, max(1, dense_samples(self.net) // self.plan.batch_size))
        return size

    def _chunk(self, done: int, size: int) -> None:
        """Attempt steps [done, done + size); on failure theta is as before them."""
        # of a single step, theta is as before it until nothing can fail
        before = self.net.theta.copy() if size > 1 else None
        losses, rates = np.empty(size), np.empty(size)
        accepted = np.ones(size, np.uint8)
        random = None if self.draw_rng is None else self.trainer.batch.random_numbers(
            self.draw_rng, size * self.plan.batch_size)
        rows = places = self.batches.take(size)
        if self.samples.is_sparse:
            self.trainer.set_data(dense_rows(self.samples.X, rows), self.samples.Y[rows])
            places = np.arange(rows.size)
        n_done, status = self.trainer.run(
            places, self.plan.factors(done, done + size), losses, rates, accepted, random,
            self._priors(done, done + size),
            averaging_weights(done, done + size) if self.plan.averaging else None,
            self.pace.n_threads)
        if status == _loop.STATUS_OK:
            if self.trainer.cancelled_before:
                self.history.cancel_last()
            self.history.extend(losses, rates, accepted.astype(bool))
            return
        if before is not None:
            self.net.theta[:] = before
        step = done + n_done
        left = f"at step {step}; the network is left as it was after step {done}"
        try:
            first = 0 if self.plan.mode == "whole" else n_done * self.plan.batch_size
            raise_fault(self.trainer.batch, self.kept[rows[first:]])
        except ValueError as error:
            raise ValueError(f"{error}, {left}") from None
        raise FloatingPointError(f"the {_loop.NOT_FINITE[status]} is not finite {left} (a smaller "
                                 "learning rate or a larger damping may help)")

    def _priors(self, first: int, last: int) -> np.ndarray | None:
        """lambda / (16 n) of the steps [first, last)."""
        if self.plan.prior is None:
            return None
        return self.plan.prior(first, last) / (16 * self.samples.total)

    def _after(self, done: int) -> None:
        """Validation, callbacks and checkpoint after `done` steps."""
        measured = parameters = None
        if self.held_out is not None and done == self.plan.next_evaluation(done - 1):
            measured, parameters = self._validate(done)
        if self.callbacks:
            self._call(Event(done, self.history.last_loss, self.net, measured, parameters))
        if self.checkpoint is not None and time.monotonic() - self.saved_at > _CHECKPOINT_SECONDS:
            with self._averaged():
                self.net.save(self.checkpoint)
            self.saved_at = time.monotonic()

    def _call(self, event: Event) -> None:
        """Callbacks, which may assign theta and frozen."""
        theta, frozen = self.net.theta.copy(), self.net.frozen.copy()
        for callback in self.callbacks:
            if getattr(callback, "on_validation", False) and event.validation is None:
                continue
            if callback(event):
                self.history.stopped = "callback"
        moved = not np.array_equal(theta, self.net.theta)
        if moved or not np.array_equal(frozen, self.net.frozen):
            self.trainer.restart(frozen_bytes(self.net))
        if moved and self.history.stopped is not None and self.plan.selection != "best":
            self.final = self.net.theta.copy()  # that it stops with, not the average


class _NoBar:
    """Stands in for tqdm's bar."""

    def update(self, n: int) -> None: ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

    def close(self) -> None: ...


def _progress_bar(progress: bool | None, total: int) -> Any:
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return _NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        if progress is None:
            return _NoBar()
        raise ImportError("progress=True needs tqdm: pip install 'fisherkern[progress]'") from None
    return tqdm(total=total, unit="step", file=sys.stderr, dynamic_ncols=True)
