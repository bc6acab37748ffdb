"""Dictionaries and synonym lists: source word to its translations or synonyms."""

import codecs
import json

from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import text_lines


def parse_dictionaries(pairs):
    """``LANG=FILE`` options to a dict of paths."""
    files = {}
    for pair in pairs:
        language, equals, path = pair.partition("=")
        if not equals or not language or language in files:
            raise InputError(f"--dictionary {pair}: LANG=FILE is needed, each language once")
        files[language] = path
    return files


def read_dictionary(path):
    """Caseless source word to its distinct substitutes, a list in the file's order.

    MUSE's layout, 'source target' a line (space or tab), or JSON: ``{"word": ["substitute", ...]}``.
    """
    try:
        with open(path, "rb") as file:
            listed = json.load(codecs.getreader("utf-8-sig")(file)) if str(path).endswith(".json") else _pairs(file, path)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"dictionary {path} cannot be read ({error}): give MUSE's lines 'source target', or JSON") from None
    if not (
        isinstance(listed, dict)
        and all(isinstance(words, list) for words in listed.values())
        and all(isinstance(word, str) for words in listed.values() for word in words)
    ):
        raise InputError(f"dictionary {path} is not an object of words with a list of substitutes each")
    substitutes = {}
    for word, words in listed.items():
        substitutes.setdefault(word.casefold(), {}).update(dict.fromkeys(w for w in words if w.casefold() != word.casefold()))
    return {word: list(found) for word, found in substitutes.items()}


def _pairs(file, path):
    listed = {}
    for number, line in text_lines(file, path):
        if line.strip() and len(line.split()) != 2:
            raise InputError(f"{path}, line {number}: {line!r} is not 'source target'")
        if line.strip():
            source, target = line.split()
            listed.setdefault(source, []).append(target)
    return listed
