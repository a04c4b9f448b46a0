"""The standard streams, as a program may count on them."""

import io
import os
import sys

STREAMS = (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w'))
"""In the order of their descriptors."""


def secure_streams() -> None:
    """Have all three streams open, and text of any kind printable; the first thing to call.

    A stream that whoever started us has closed is None in Python, and its descriptor would be
    the next file's or socket's, which what libraries and children print would then go to: it
    becomes the null device.  What a stream's encoding lacks, an accented path or bytes that are
    no text, is printed as an escape instead of ending the program.
    """
    for descriptor, (name, mode) in enumerate(STREAMS):
        _open_descriptor(descriptor)
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, mode), encoding='utf-8'))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def _open_descriptor(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)
