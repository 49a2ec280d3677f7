"""Threads that run in turns, one at a time: what can happen between two steps of one of them, chance lets happen."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

PACES = (1.0, 0.1, 0.001)
"""How fast a thread may be beside others: that one does all of its work between two steps of another is rare among
equals, and just that is what goes wrong."""

CHANGE = 0.05
"""How often, at a step, some thread gets another pace."""


class Over(BaseException):
    """Another thread has failed."""


class Baton:
    """Who holds it goes on; at each `pass_on` the dice give it to one of those that run."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._turns: list[threading.Semaphore] = []
        self._paces: dict[threading.Semaphore, float] = {}
        self._own = threading.local()
        self._failures: list[BaseException] = []

    def run(self, *tasks: Callable[[], None]) -> None:
        """Do all tasks, each in a thread; what the first that fails has raised is raised."""
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
        """Let another thread go on, or none: in a thread that `run` has not started nothing happens."""
        turn = getattr(self._own, "turn", None)
        if turn is None:
            return
        following = self._next()
        if following is not turn:
            following.release()
            turn.acquire()
        if self._failures:
            raise Over

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
