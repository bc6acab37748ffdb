"""What the commands of this folder share: one-line errors, and SIGINT without a traceback."""

import argparse
import sys

from salt_fairseq.errors import InputError


def parser(description):
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )


def run(main):
    """Run a command's ``main()``: bad input ends in one sentence and exit code 1, an interrupt in one line and 130."""
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
