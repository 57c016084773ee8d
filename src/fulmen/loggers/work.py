"""The thread behind a logger, and the queue between."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

# How many records a function that takes several gets at most.
BATCH = 1000
# For how many seconds records gather after some were written. A thread that woke up for each would keep Python from the
# training thread at each step.
GATHERING = 0.1
# How many tasks may wait: a program that cannot get rid of what it logs must not grow for days.
WAITING = 100_000
# How long to wait before a call is made for the second time, in seconds; each further wait is twice as long.
FIRST_PAUSE = 0.5


class Task(NamedTuple):
    """Something to be done.

    Attributes:
        function: What to call.
        given: Its arguments, or the record where it takes a list of them.
        records: How many records it writes.
        gathered: Whether it takes a list of records.
    """

    function: Callable[..., Any]
    given: Any
    records: int
    gathered: bool = False


class Work:
    """A queue of tasks and the thread that does them in order, which is started with the first.

    Args:
        retry_on: Says of an error whether the same call may succeed a little later.
        tries: How often a call is made at most.

    Attributes:
        failure: The first error; nothing is done any more once there is one.
        dropped: How many records were not queued, because too many waited.
    """

    def __init__(self, retry_on: Callable[[Exception], bool] | None, tries: int) -> None:
        self.failure: BaseException | None = None
        self.dropped = 0
        self._retry_on = retry_on
        self._tries = tries
        # Puts take no lock of Python's, so that a step never waits for the thread.
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._ahead: deque[Task | None] = deque()
        self._thread: threading.Thread | None = None
        self._entry = threading.Lock()
        self._done = threading.Condition()
        self._closing = threading.Event()
        self._waiters = 0
        self._hurry = threading.Event()
        self._tasks_in = self._tasks_out = 0
        self._records_in = self._records_out = 0

    @property
    def left(self) -> int:
        """How many tasks are neither done nor dropped."""
        return self._tasks_in - self._tasks_out

    @property
    def unwritten(self) -> int:
        """How many records were asked for and are not written."""
        return self._records_in - self._records_out

    @property
    def done(self) -> int:
        """How many tasks are done or dropped."""
        return self._tasks_out

    def put(self, task: Task) -> bool:
        """Queues a task.

        Args:
            task: What is to be done.

        Returns:
            Whether it is queued; not where too much waits already.
        """
        with self._entry:
            self._records_in += task.records
            if self._tasks_in - self._tasks_out >= WAITING:
                self.dropped += task.records
                return False
            self._tasks_in += 1
            self._queue.put(task)
            if self._thread is None:
                self._start()
            return True

    def drop(self, records: int) -> None:
        """Counts records that nobody will write any more."""
        with self._entry:
            self._records_in += records

    def wait(self, timeout: float) -> int:
        """Waits until all tasks are done.

        Args:
            timeout: For how many seconds at most.

        Returns:
            How many tasks are left.
        """
        if self.left and not self.is_own_thread():
            with self._done:
                aim = self._tasks_in
                self._waiters += 1
                self._hurry.set()
                try:
                    self._done.wait_for(lambda: self._tasks_out >= aim, timeout)
                finally:
                    self._waiters -= 1
                    if not self._waiters and not self._closing.is_set():
                        self._hurry.clear()
        return self.left

    def is_own_thread(self) -> bool:
        """Whether it is this work's thread that asks."""
        return threading.current_thread() is self._thread

    def rest(self, seconds: float) -> None:
        """Lets tasks gather for a while, unless somebody waits for them; for functions that are tasks."""
        self._hurry.wait(seconds)

    def close(self) -> None:
        """Ends the thread when it has done what is queued."""
        self._closing.set()
        self._hurry.set()
        self._queue.put(None)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="fulmen-logger", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # Python is about to exit, or the system has no thread left
            self.close()
            self._run()
            self._thread, self._queue = None, SimpleQueue()

    def _next(self, block: bool) -> Task | None:
        return self._ahead.popleft() if self._ahead else self._queue.get(block)

    def _run(self) -> None:
        while (task := self._next(block=True)) is not None:
            many = list(self._with_followers(task)) if task.gathered else [task]
            written = 0
            if self.failure is None:
                written = self._do(many)
            # A record must not keep its logger alive while the thread waits for another.
            count, gathered = len(many), task.gathered
            del task, many
            with self._done:
                self._tasks_out += count
                self._records_out += written
                self._done.notify_all()
            if gathered:
                self._hurry.wait(GATHERING)

    def _with_followers(self, task: Task) -> Iterator[Task]:
        yield task
        for _ in range(BATCH - 1):
            try:
                other = self._next(block=False)
            except Empty:
                return
            if other is None or not other.gathered or other.function != task.function:
                self._ahead.appendleft(other)
                return
            yield other

    def _do(self, tasks: list[Task]) -> int:
        """Does one task, or several of one function in one call.

        Returns:
            How many records are written.
        """
        first = tasks[0]
        records = [task.given for task in tasks]
        args = (records,) if first.gathered else first.given
        try:
            self._call(first.function, args)
        except BaseException as error:
            self.failure = error
            return len(tasks) - len(records) if first.gathered else 0
        return sum(task.records for task in tasks)

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        pause = FIRST_PAUSE
        for attempt in range(1, self._tries + 1):
            try:
                function(*args)
                return
            except Exception as error:
                if attempt == self._tries or self._retry_on is None or not self._retry_on(error):
                    raise
            self._closing.wait(pause)
            pause *= 2
