"""The networks, loaded in a thread while the executor spins."""

import threading
from collections.abc import Callable

from rclpy.executors import Executor
from rclpy.task import Future

from asyncmde_ros.engine.loader import log_progress
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline

LOADER_TIMEOUT_S = 0.5
"""Longest wait for an interrupted load; the node has a second to end in."""


class BuildProgress:
    """How far a build of engines is: told by the thread that builds, read by the node's."""

    def __init__(self) -> None:
        self._now: tuple[str, float] | None = None

    def __call__(self, what: str, share: float) -> None:
        self._now = what, share
        log_progress(what, share)

    def __str__(self) -> str:
        """Say it as 'building 40 %'; empty where nothing is built."""
        now = self._now
        return '' if now is None else f'building {100 * now[1]:.0f} %'

    @property
    def what(self) -> str:
        """Return what is built, in words."""
        now = self._now
        return '' if now is None else now[0]

    def end(self) -> None:
        self._now = None


Recipe = Callable[[threading.Event], DepthPipeline]
"""Builds a pipeline; the event set ends that."""


class Loading:
    """One load, from its start."""

    def __init__(self, recipe: Recipe, executor: Executor | None) -> None:
        self._outcome: Future = Future(executor=executor)
        self._cancel = threading.Event()
        # Not in the main thread, which must stay able to hear Ctrl-C.
        self._thread = threading.Thread(target=self._run, args=(recipe,), name='loader',
                                        daemon=True)
        self._thread.start()

    def _run(self, recipe: Recipe) -> None:
        try:
            outcome: DepthPipeline | Exception = recipe(self._cancel)
        except Exception as error:
            outcome = error
        if not self._cancel.is_set():
            self._outcome.set_result(outcome)

    async def result(self) -> DepthPipeline | None:
        """Return the pipeline, None if cancelled; raises what went wrong."""
        outcome: DepthPipeline | Exception | None = await self._outcome
        if self._cancel.is_set():
            if isinstance(outcome, DepthPipeline):
                outcome.close()
            return None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def cancel(self) -> None:
        """End it; a thread inside the runtime is not waited for longer than a moment."""
        self._cancel.set()
        self._thread.join(LOADER_TIMEOUT_S)
        if not self._outcome.done():
            self._outcome.set_result(None)
