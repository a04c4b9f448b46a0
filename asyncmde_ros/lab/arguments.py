"""Kinds of numbers on a command line, for argparse."""

import argparse
import math


def positive_number(text: str) -> float:
    """Parse a finite number above zero, as of seconds or hertz."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above zero')
    return value


def number_from_zero(text: str) -> float:
    """Parse a finite number that is not negative."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from zero up')
    return value


def positive_count(text: str) -> int:
    """Parse a whole number above zero."""
    if not _is_count(text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above zero')
    return int(text)


def count_from_zero(text: str) -> int:
    """Parse a whole number that is not negative."""
    if not _is_count(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from zero up')
    return int(text)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
