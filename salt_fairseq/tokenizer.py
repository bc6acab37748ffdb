"""The PLM's own tokenizer, and how its pieces form words."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from salt_fairseq.errors import InputError

MARKERS = {"wordpiece": "##", "sentencepiece": "▁"}  # continues a word; begins a word
SURROGATES = re.compile("[\ud800-\udfff]+")


def _replace_surrogates(match: re.Match[str]) -> str:
    return match[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Tokenizer:
    """``tokenizer.json`` of a PLM directory, whose ids are the fairseq ids of ``dict.txt``.

    Text that spells a special token (``</s>``) is text.
    """

    def __init__(self, path: Path, kind: str):
        self.path, self.kind = path, kind
        self._fast  # a file that cannot be read is an error now

    @classmethod
    def load(cls, plm_dir: str | Path, kind: str) -> "Tokenizer":
        return cls(Path(plm_dir) / "tokenizer.json", kind)

    @cached_property
    def _fast(self) -> FastTokenizer:
        try:
            fast = FastTokenizer.from_file(str(self.path))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{self.path} is not a tokenizer ({error}): import the PLM again with import_plm.py") from None
        fast.no_truncation()
        fast.encode_special_tokens = True
        return fast

    def keep_words_only(self) -> None:
        """Free the memory of everything that reads text (280 MB for XLM-R's 250,002 pieces): what is known of pieces by their
        ids stays. To read text after all, the file is loaded again."""
        self.words, self.starts_word, self.has_letter, self.caseless
        del self._fast, self.pieces

    def __call__(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of each text, without specials. Lone surrogates, which are not text, are read as U+FFFD."""
        texts = [SURROGATES.sub(_replace_surrogates, text) for text in texts]
        return [encoding.ids for encoding in self._fast.encode_batch_fast(texts, add_special_tokens=False)]

    def caseless_word(self, word: str) -> str:
        """The word as the tokenizer reads it, without case: an uncased BERT also drops its accents."""
        normalizer = self._fast.normalizer
        return (normalizer.normalize_str(word) if normalizer else word).strip().casefold()

    def decode(self, ids: Sequence[int]) -> str:
        return self._fast.decode(list(ids), skip_special_tokens=True)

    @cached_property
    def pieces(self) -> list[str]:
        """The V pieces in the order of their ids."""
        pieces = self._fast.get_vocab()
        return sorted(pieces, key=pieces.__getitem__)

    @cached_property
    def words(self) -> list[str]:
        """The text of each of the V pieces without its word marker; specials have none ("")."""
        special = {token.content for token in self._fast.get_added_tokens_decoder().values()}
        marker = MARKERS[self.kind]
        return ["" if p in special else p.removeprefix(marker) for p in self.pieces]

    @cached_property
    def starts_word(self) -> np.ndarray:
        """(V,) bool: the piece begins a word."""
        marked = np.array([p.startswith(MARKERS[self.kind]) for p in self.pieces])
        return (marked if self.kind == "sentencepiece" else ~marked) & np.array([bool(w) for w in self.words])

    @cached_property
    def has_letter(self) -> np.ndarray:
        """(V,) bool: the piece has a letter, so it is neither punctuation nor a number nor special."""
        return np.array([any(c.isalpha() for c in w) for w in self.words])

    @cached_property
    def caseless(self) -> np.ndarray:
        """(V,) int64: equal for pieces whose texts differ at most in case (``House``, ``house``)."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(w.casefold(), len(numbers)) for w in self.words], dtype=np.int64)

    def whole_words(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """(T,) bool for ids (T,): the token is a word of its own, not the beginning or another part of one."""
        ids = np.asarray(ids, dtype=np.int64)
        starts_word, has_letter = self.starts_word[ids], self.has_letter[ids]
        whole = starts_word & has_letter
        whole[:-1] &= starts_word[1:] | ~has_letter[1:]
        return whole

    def word_spans(self, ids: Sequence[int] | np.ndarray) -> list[tuple[int, int, str]]:
        """Words of one sentence's ids (T,), in order, as ``(start, end, text)``; ``text`` is without word markers.

        A word is a piece that begins one and all pieces with a letter that continue it; a piece without a letter ends it, so
        ``house.`` is the word ``house``. Both kinds of vocabulary read ``don't`` as ``don`` first; then WordPiece begins
        another word (``t``), while in a SentencePiece vocabulary letters right after punctuation begin none, as in
        :meth:`whole_words`, whose words are the spans of length one. Special tokens are not words.
        """
        ids = np.asarray(ids, dtype=np.int64)
        begins = self.starts_word[ids] & self.has_letter[ids]
        if self.kind == "sentencepiece":  # the marker may be a piece of its own, before a rare word
            begins |= np.array([self.pieces[i] == MARKERS[self.kind] for i in ids], dtype=bool)
        continues = self.has_letter[ids] & ~self.starts_word[ids]
        spans = []
        for start in np.flatnonzero(begins).tolist():
            end = start + 1
            while end < len(ids) and continues[end]:
                end += 1
            text = "".join(self.words[i] for i in ids[start:end])
            if text:
                spans.append((start, end, text))
        return spans
