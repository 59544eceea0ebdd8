"""Batching: what many requests want written at the same time is written in one transaction.

A commit costs a wait for the disk, whether it holds one row or fifty. One thread takes all that has come in since
the last commit and writes it; whoever asked hears when that is durable.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Writes items in batches, in a thread of its own.

    write: writes a batch and gives one answer per item, in order; it commits. When it raises for a batch of
    several, each item is tried alone, so that one that cannot be written spoils no other: so `write` must leave
    nothing behind when it raises. most: items in a batch.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Answer]], name: str, most: int = 200) -> None:
        self._write = write
        self._most = most
        self._waiting: deque[tuple[Item, Future[Answer]]] = deque()
        self._news = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> Future[Answer]:
        """Ask for an item to be written; the future has its answer once it is durable, or the error."""
        answer: Future[Answer] = Future()
        with self._news:
            if self._over:
                raise RuntimeError("this batcher was closed")
            self._waiting.append((item, answer))
            self._news.notify()
        return answer

    def close(self) -> None:
        """Write what waits, then end the thread."""
        with self._news:
            self._over = True
            self._news.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._over)
                if not self._waiting:
                    return
                batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            self._settle(batch)

    def _settle(self, batch: list[tuple[Item, Future[Answer]]]) -> None:
        try:
            answers = self._write([item for item, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for each in batch:
                self._settle([each])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
