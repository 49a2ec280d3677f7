"""A queue like SQS: at-least-once delivery, in any order, and dead letters after too many receives."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass
class Message:
    """One message.

    Attributes:
        number: its identifier, which never changes.
        receives: how often it was received.
    """

    body: str
    number: int
    receives: int = 0


class MessageQueue:
    """The queue and its dead letters.

    Attributes:
        waiting, in_flight, dead: messages.
        deliveries: number of messages delivered.
    """

    def __init__(self, dice: random.Random, most_receives: int) -> None:
        self._dice, self._most = dice, most_receives
        self.waiting: list[Message] = []
        self.in_flight: list[Message] = []
        self.dead: list[Message] = []
        self.deliveries = 0
        self._sent = 0

    def send(self, body: str) -> None:
        """Send a message."""
        self.waiting.append(Message(body, self._sent))
        self._sent += 1

    def receive(self, most: int) -> list[Message]:
        """Receive random messages; one that was received too often becomes a dead letter."""
        batch = []
        while self.waiting and len(batch) < most:
            place = self._dice.randrange(len(self.waiting))
            self.waiting[place], self.waiting[-1] = self.waiting[-1], self.waiting[place]
            message = self.waiting.pop()
            if message.receives == self._most:
                self.dead.append(message)
                continue
            message.receives += 1
            batch.append(message)
        self.in_flight += batch
        self.deliveries += len(batch)
        return batch

    def settle(self, batch: list[Message], kept: set[int]) -> None:
        """End a batch: messages at the indexes ``kept`` become visible again, the others are deleted."""
        for place, message in enumerate(batch):
            self.in_flight = [each for each in self.in_flight if each is not message]
            if place in kept:
                self.waiting.append(message)
