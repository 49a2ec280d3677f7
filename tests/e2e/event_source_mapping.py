"""Lambda's event source mapping from SQS: receives batches, invokes the function, deletes processed messages."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from redelivery import to_keep
from runtime import FunctionError
from servers import REGION

BATCH_SIZE = 10


class EventSourceMapping:
    """Delivers a queue's messages to a function.

    Attributes:
        counts: "deliveries" (messages in events), "batches", "returned" (messages that the function reported as
            failed), "crashes", "deleted".
    """

    def __init__(self, sqs: Any, queue: str, invoke: Callable[[object], Any]) -> None:
        """
        Args:
            sqs: a boto3 client that only this mapping's thread uses.
            queue: URL.
            invoke: the function.
        """
        self._sqs, self._queue, self._invoke = sqs, queue, invoke
        self._arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.counts: Counter[str] = Counter()
        self._finish = threading.Event()

    def serve(self) -> None:
        """Deliver until `finish` was called and the queue has no message left, neither waiting nor in flight."""
        while not self._finish.is_set() or queue_depth(self._sqs, self._queue):
            self.poll()

    def finish(self) -> None:
        """Let `serve` end when the queue is empty. May be called from another thread."""
        self._finish.set()

    def poll(self) -> None:
        """Deliver one batch, if there is one within a second."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=BATCH_SIZE, WaitTimeSeconds=1, AttributeNames=["All"]
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        self.counts["batches"] += 1
        self.counts["deliveries"] += len(messages)
        try:
            response = self._invoke({"Records": [self._record(message) for message in messages]})
        except FunctionError:
            # Nothing is deleted: all messages become visible again after the visibility timeout.
            self.counts["crashes"] += 1
            return
        kept = to_keep(response, [message["MessageId"] for message in messages])
        self.counts["returned"] += len(kept)
        done = [message for message in messages if message["MessageId"] not in kept]
        if done:
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(done)
            ]
            self._sqs.delete_message_batch(QueueUrl=self._queue, Entries=entries)
            self.counts["deleted"] += len(done)

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message as a record of Lambda's event."""
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": REGION,
        }


def queue_depth(sqs: Any, queue: str) -> int:
    """Return the number of messages in a queue: waiting, in flight, or delayed."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(found.get(name, 0)) for name in names)
