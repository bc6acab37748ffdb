"""The PLM's own tokenizer, and how its pieces form words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from salt_fairseq.errors import InputError

BOS, EOS = 0, 2  # as in modules/encoder.py, which imports torch
MARKERS = {"wordpiece": "##", "sentencepiece": "▁"}  # continues a word; begins a word
BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a piece for one byte of a character that has none
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
        self.words, self.starts_word, self.has_letter, self.is_byte, self.caseless, self.marks_first_word
        del self._fast, self.pieces

    def __call__(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of each text, without specials. Lone surrogates, which are not text, are read as U+FFFD."""
        texts = [SURROGATES.sub(_replace_surrogates, text) for text in texts]
        return [encoding.ids for encoding in self._fast.encode_batch_fast(texts, add_special_tokens=False)]

    def pieces_of_words(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Ids of each word of each sentence, none for a word without visible character.

        Each word is read by itself, as transformers reads ``is_split_into_words``, but with a blank before every word except
        the first where the blank is what marks a word (Gemma's tokenizer).
        """
        texts = [[f" {word}" if i and not self.marks_first_word else word for i, word in enumerate(s)] for s in sentences]
        distinct = list(dict.fromkeys(itertools.chain.from_iterable(texts)))
        ids_of = dict(zip(distinct, self(distinct)))
        return [[ids_of[text] for text in sentence] for sentence in texts]

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
        """The text of each of the V pieces without its word marker; specials and bytes have none ("")."""
        special = {token.content for token in self._fast.get_added_tokens_decoder().values()}
        marker = MARKERS[self.kind]
        return ["" if p in special or byte else p.removeprefix(marker) for p, byte in zip(self.pieces, self.is_byte)]

    @cached_property
    def is_byte(self) -> np.ndarray:
        """(V,) bool: the piece is one byte of a character that the vocabulary lacks."""
        return np.array([self.kind == "sentencepiece" and bool(BYTE.fullmatch(p)) for p in self.pieces])

    @cached_property
    def starts_word(self) -> np.ndarray:
        """(V,) bool: the piece begins a word."""
        marked = np.array([p.startswith(MARKERS[self.kind]) for p in self.pieces])
        return (marked if self.kind == "sentencepiece" else ~marked) & np.array([bool(w) for w in self.words])

    @cached_property
    def marks_first_word(self) -> bool:
        """Whether the first word of a text is marked as the others are: not in Gemma's tokenizer, which mmBERT has."""
        if self.kind == "wordpiece":
            return True
        text, before = "a", self._fast.pre_tokenizer
        text = self._fast.normalizer.normalize_str(text) if self._fast.normalizer else text
        return (before.pre_tokenize_str(text)[0][0] if before else text).startswith(MARKERS[self.kind])

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
        starts_word, has_letter = self._starts_word_at(ids), self.has_letter[ids]
        whole = starts_word & has_letter
        whole[:-1] &= starts_word[1:] | ~(has_letter | self.is_byte[ids])[1:]
        return whole

    def _starts_word_at(self, ids):
        """(T,) bool: :attr:`starts_word`, or the first token of a sentence, if that has no marker."""
        if self.marks_first_word:
            return self.starts_word[ids]
        first = np.ones(len(ids), dtype=bool)
        first[1:] = np.isin(ids[:-1], (BOS, EOS))
        return self.starts_word[ids] | (first & self.has_letter[ids])

    def word_spans(self, ids: Sequence[int] | np.ndarray) -> list[tuple[int, int, str]]:
        """Words of one sentence's ids (T,), in order, as ``(start, end, text)``; ``text`` is without word markers.

        A word is a piece that begins one and all pieces with a letter that continue it; a piece without a letter ends it, so
        ``house.`` is the word ``house``. Both kinds of vocabulary read ``don't`` as ``don`` first; then WordPiece begins
        another word (``t``), while in a SentencePiece vocabulary letters right after punctuation begin none, as in
        :meth:`whole_words`, whose words are the spans of length one. Special tokens are not words, nor is what has characters
        that the vocabulary lacks.
        """
        ids = np.asarray(ids, dtype=np.int64)
        begins = self._starts_word_at(ids) & self.has_letter[ids]
        if self.kind == "sentencepiece":  # the marker may be a piece of its own, before a rare word
            begins |= np.array([self.pieces[i] == MARKERS[self.kind] for i in ids], dtype=bool)
        continues = (self.has_letter[ids] | self.is_byte[ids]) & ~self._starts_word_at(ids)
        spans = []
        for start in np.flatnonzero(begins).tolist():
            end = start + 1
            while end < len(ids) and continues[end]:
                end += 1
            text = "".join(self.words[i] for i in ids[start:end])
            if text and not self.is_byte[ids[start:end]].any():
                spans.append((start, end, text))
        return spans
