"""Options with a fixed set of values."""

import enum


class Choice(str, enum.Enum):
    """Base of such an option's type: its members are strings, and print as such (``enum.StrEnum`` of Python 3.11)."""

    __str__ = str.__str__
