"""What may go wrong with a server, how long to wait for it, and how often to ask again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0

OTHER_SERVER = "is it TensorFlow Serving that listens there?"
SEND_LESS = "send fewer or smaller photos at once"

ADVICE = {
    "servable version label": "give the label to a version (version_labels in the server's model config), or leave it",
    "servable not found": "is the name right, and is the model loaded? the server's log and its status tell",
    "could not find": "is the name right, and is the model loaded? the server's log and its status tell",
    "serving signature": "the model was exported without it; kseg-export makes it, cut-outs only for one class",
    "does not match signature": "the model takes other inputs; export it with kseg-export",
    "alias not found": "the model takes other inputs; export it with kseg-export",
}
"""Words of TensorFlow Serving's own messages, and what to do; in general, its log knows more."""

T = TypeVar("T")


class TroubleError(Exception):
    """What went wrong in one attempt: what was seen, what to do about it, and whether it may be gone next time."""

    def __init__(self, seen: str, advice: str, *, passing: bool = False) -> None:
        super().__init__(seen)
        self.seen = seen
        self.advice = advice
        self.passing = passing


@dataclass(frozen=True)
class Deadline:
    """A moment by which everything must be done, attempts and the waits between them included."""

    seconds: float
    moment: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The moment ``seconds`` from now."""
        return cls(seconds, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self.moment - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether it has come; clocks that are a little fast are forgiven."""
        return self.left < 0.01

    def missed(self) -> TroubleError:
        """The trouble of having waited for nothing."""
        return TroubleError(f"no whole answer within {self.seconds:g} s", f"give it more time, or {SEND_LESS}")


def nonsense(what: str) -> TroubleError:
    """The trouble of an answer that nobody can read."""
    return TroubleError(f"the answer makes no sense: {what}", OTHER_SERVER)


def advice_on(message: str) -> str:
    """What to do about one of TensorFlow Serving's own messages."""
    known = (advice for words, advice in ADVICE.items() if words in message.casefold())
    return next(known, "the server's log may say more")


def persist(attempt: Callable[[], T], deadline: Deadline, retries: int) -> T:
    """Call ``attempt`` until it succeeds, at most ``retries`` times more than once, never beyond ``deadline``.

    Only what may be gone next time is tried again, after a wait that doubles each time. Half of it is by chance, so
    that clients thrown out together do not come back together. Raises the last TroubleError.
    """
    for number in range(retries + 1):
        try:
            return attempt()
        except TroubleError as trouble:
            wait = min(FIRST_WAIT_SECONDS * 2**number, LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1)
            if not trouble.passing or number == retries or wait >= deadline.left:
                if number:
                    trouble.seen += f" (attempt {number + 1})"
                raise
            time.sleep(wait)
    raise ValueError(f"retries = {retries}: at least 0 expected")
