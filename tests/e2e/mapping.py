"""Lambda's event source mapping from SQS: takes messages in batches, invokes, deletes what was done."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from redelivery import to_keep
from runtime import FunctionError
from servers import REGION

BATCH = 10


class Mapping:
    """Brings a queue's messages to a function.

    Attributes:
        counts: "deliveries" (messages given to the function), "copies" (sent a second time), "batches", "returned"
            (messages that the function handed back), "crashes", "deleted".
    """

    def __init__(
        self, sqs: Any, queue: str, invoke: Callable[[object], Any], again: Callable[[], bool] = lambda: False
    ) -> None:
        """
        Args:
            sqs: boto3's client, of this mapping's thread alone.
            queue: URL.
            invoke: the function.
            again: asked for each message on its first delivery: whether it is to be delivered twice.
        """
        self._sqs, self._queue, self._invoke, self._again = sqs, queue, invoke, again
        self._arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.counts: Counter[str] = Counter()
        self._finish = threading.Event()

    def serve(self) -> None:
        """Work until `finish` was called and the queue has no message left, neither waiting nor in flight."""
        while not self._finish.is_set() or depth(self._sqs, self._queue):
            self.poll()

    def finish(self) -> None:
        """Let `serve` come to its end; no more messages will be sent. May be called from another thread."""
        self._finish.set()

    def poll(self) -> None:
        """One batch, if there is one within a second."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=1,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        self._copy(messages)
        self.counts["batches"] += 1
        self.counts["deliveries"] += len(messages)
        try:
            response = self._invoke({"Records": [self._record(message) for message in messages]})
        except FunctionError:
            # Nothing is deleted: all messages come again when their visibility timeout has passed.
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

    def _copy(self, messages: list[dict[str, Any]]) -> None:
        """At least once means: sometimes twice. The copy may meet another worker while the first is in work."""
        for message in messages:
            first = message["Attributes"]["ApproximateReceiveCount"] == "1" and "copy" not in message.get(
                "MessageAttributes", {}
            )
            if first and self._again():
                mark = {"copy": {"DataType": "String", "StringValue": "yes"}}
                self._sqs.send_message(QueueUrl=self._queue, MessageBody=message["Body"], MessageAttributes=mark)
                self.counts["copies"] += 1

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message as Lambda puts it into the event."""
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                for name, value in message.get("MessageAttributes", {}).items()
            },
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": REGION,
        }


def depth(sqs: Any, queue: str) -> int:
    """Messages in a queue: waiting, in flight, or delayed."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(found.get(name, 0)) for name in names)
