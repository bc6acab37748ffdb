"""Iterables compared item by item."""


def zip_equal(*iterables):
    """Their items as ``zip`` gives them, all at once; the iterables must be of one length (``zip(strict=True)`` of Python 3.10)."""
    columns = [list(iterable) for iterable in iterables]
    assert len({len(column) for column in columns}) == 1, [len(column) for column in columns]
    return zip(*columns)
