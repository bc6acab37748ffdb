"""Lines of UTF-8 text out of a binary file, checked to be text."""

from salt_fairseq.errors import InputError

LONGEST = 1 << 20  # bytes; what is longer is no sentence, and no word


def text_lines(file, where, before=0):
    """Yield ``(line number, text)`` without line ends; ``where`` names the binary ``file`` in errors, and ``before`` lines
    stand there in front of what it holds.

    A byte order mark is dropped. Never holds more than one line, and none longer than :data:`LONGEST`.
    """
    number = before
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise InputError(
                f"{where}, line {number}: more than {LONGEST:,} bytes, which is no sentence: break the text into "
                "lines of one sentence or entry each"
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}, line {number}: not UTF-8 ({error.reason}), convert the text") from None
        if "\0" in text:
            raise InputError(f"{where}, line {number}: not UTF-8 text (a NUL byte), convert the text")
        yield number, text.rstrip("\r\n")
