"""Engines in use and engines in the making: for another size, or for a slow path that hangs."""

import logging
import threading
from collections.abc import Callable

from asyncmde_ros.errors import EngineError, in_words
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.clock import Clock
from asyncmde_ros.pipeline.session import Session

logger = logging.getLogger(__name__)

MOST_RESTARTS = 3
"""Each restart leaves a thread and its engine behind, which nothing can free."""


class EngineManager:
    """Owns the session in use and builds others in the background.

    All methods are called from one thread.  ``restarts`` counts sessions whose threads hung.
    """

    def __init__(self, build: Callable[[Size], Session], size: Size, clock: Clock) -> None:
        """Build and start the first session, of the network's ``size``."""
        self.restarts = 0
        self._compile = build
        self._clock = clock
        self._hung: list[Session] = []
        self._built: Session | Exception | None = None
        self._builder: threading.Thread | None = None
        self._build_after_s = 0.0
        self.session = build(size)
        self.session.start()

    def stop(self) -> bool:
        """Ask every thread to end; False if one is still inside the runtime after a moment."""
        deadline_s = self._clock.seconds() + self._clock.join_s
        idle = self.session.stop(self._clock.join_s)
        idle = idle and all(session.stop(0) for session in self._hung)
        if self._builder is not None:
            self._builder.join(max(0.0, deadline_s - self._clock.seconds()))
            idle = idle and not self._builder.is_alive()
        return idle

    def join(self) -> None:
        """Wait for every thread that will end, after :meth:`stop`."""
        if self._builder is not None:
            self._builder.join()
        if not self.session.hangs():
            self.session.stop(None)

    def adopt(self, wanted: Size) -> bool:
        """Take over a session whose build is done; True if there is another one in use now.

        ``wanted`` is the network's size for the present frame.  Raises EngineError, once, for a
        build that failed; it is tried again a second later.
        """
        if self._builder is None or self._builder.is_alive():
            return False
        self._builder = None
        built, self._built = self._built, None
        if isinstance(built, Exception):
            self._build_after_s = self._clock.seconds() + self._clock.build_retry_s
            raise EngineError(f'no engines for this image size: {in_words(built)}') from built
        if built is None or built.size != wanted:
            return False
        if wanted == self.session.size and not self.session.hangs():
            # The slow path that hung has come to its end meanwhile, and its memory is good.
            self.restarts -= 1
            return False
        self._replace(built)
        return True

    def fit(self, wanted: Size) -> bool:
        """Tell whether the engines are of the ``wanted`` size; else build others.

        They are built in the background.  So too, while depth goes on, for a slow path that hangs.
        """
        fits = wanted == self.session.size
        hangs = fits and self.session.hangs() and self.restarts < MOST_RESTARTS
        if (self._builder is None and (hangs or not fits)
                and self._clock.seconds() >= self._build_after_s):
            if hangs:
                self.restarts += 1
                logger.error('the slow path hangs: restarting it with engines of its own (%d of '
                             '%d times)', self.restarts, MOST_RESTARTS)
            logger.info('building engines for %dx%d', *wanted)
            self._builder = threading.Thread(target=self._build, args=(wanted,),
                                             name='engine_builder', daemon=True)
            self._builder.start()
        return fits

    def _build(self, size: Size) -> None:
        try:
            self._built = self._compile(size)
        except Exception as error:  # reported by the next frame, whatever it is
            self._built = error

    def _replace(self, session: Session) -> None:
        if self.session.hangs():
            self.session.stop(0)
            self._hung.append(self.session)
        else:
            self.session.stop(self._clock.join_s)
        # Those that came to their end after all need not be kept any longer.
        self._hung = [hung for hung in self._hung if not hung.stop(0)]
        session.replace(self.session)
        self.session = session
        self.session.start()
