"""The argument parser that the commands of this folder share."""

import argparse

from salt_fairseq.errors import add_debug


def parser(description):
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    add_debug(made)
    return made
