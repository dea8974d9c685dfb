"""Standard output and error that never end the work: nobody has to read them to its end."""

import os
import sys


def outlive_readers() -> None:
    """From now on what cannot be written to standard output or error is dropped.

    A pager that was closed, a terminal that is gone or a log file on a full disk: results go to
    files, so the work goes on. A letter that the stream's encoding lacks is written as its escape.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Lasting):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, _Lasting(stream))


class _Lasting:
    """A text stream that is pointed at nothing once writing to it fails."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _silence(self):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # for what is written past Python, too
        os.close(nowhere)

    def __getattr__(self, name):
        return getattr(self._stream, name)
