"""Run threads in turns, one at a time: which one goes on after each step is drawn at random."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

PACES = (1.0, 0.1, 0.001)
"""Relative speeds of threads. Bugs show when one thread does all its work between two steps of another, which is rare
among threads of equal speed."""

CHANGE = 0.05
"""The probability, at each step, that some thread changes its pace."""


class TurnFailed(BaseException):
    """Another thread has failed."""


class Turns:
    """The thread that holds it runs; each `pass_on` hands it to a random thread, which may be the same one."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._turns: list[threading.Semaphore] = []
        self._paces: dict[threading.Semaphore, float] = {}
        self._own = threading.local()
        self._failures: list[BaseException] = []

    def run(self, *tasks: Callable[[], None]) -> None:
        """Run all tasks, each in a thread; raise the first exception of any."""
        self._turns = [threading.Semaphore(0) for _ in tasks]
        threads = [
            threading.Thread(target=self._one, args=each) for each in zip(tasks, tuple(self._turns), strict=True)
        ]
        for thread in threads:
            thread.start()
        self._next().release()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def pass_on(self) -> None:
        """Let another thread run. Does nothing in a thread that `run` did not start."""
        turn = getattr(self._own, "turn", None)
        if turn is None:
            return
        following = self._next()
        if following is not turn:
            following.release()
            turn.acquire()
        if self._failures:
            raise TurnFailed

    def _one(self, task: Callable[[], None], turn: threading.Semaphore) -> None:
        self._own.turn = turn
        turn.acquire()
        try:
            task()
        except BaseException as error:
            self._failures.append(error)
        finally:
            self._turns.remove(turn)
            if self._turns:
                self._next().release()

    def _next(self) -> threading.Semaphore:
        if self._dice.random() < CHANGE:
            self._paces[self._dice.choice(self._turns)] = self._dice.choice(PACES)
        return self._dice.choices(self._turns, [self._paces.get(turn, 1.0) for turn in self._turns])[0]
