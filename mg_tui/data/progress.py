"""Types of the callbacks that long operations on datasets report to and are stopped by."""

from collections.abc import Callable

# Called with (done, total): bytes of a text file, rows of other formats, images; total is 0 where it is unknown.
Progress = Callable[[int, int], None]
# Called with the share that is done, 0 to 1.
ShareProgress = Callable[[float], None]
# Polled several times a second; True ends the operation early.
Stop = Callable[[], bool]
