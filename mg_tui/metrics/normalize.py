"""Texts made comparable: normalizers by name, each as its benchmark defines it, mistakes included.

Two normalizers of visual question answering are in use, and scores under one are not comparable with scores under the
other: `vqa` of the VQA v2 evaluation (GT-Vision-Lab/VQA, vqaEval.py) and `evalai` of TextVQA's server (mmf, pythia;
also lmms-eval's). Here both are applied to answers and references alike, as lmms-eval and VLMEvalKit do; the official
VQA script normalizes references less.
"""

import re
import string
from collections.abc import Callable, Mapping
from typing import Final

# Contractions are recognized with any one of their apostrophes left out ("couldnt've", "couldn'tve").
_CONTRACTIONS: Final = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't oughtn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've "
    "somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've "
    "something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas "
    "wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've "
    "who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd "
    "you'd've you'll you're you've"
)


def _contractions() -> Mapping[str, str]:
    table = {}
    for full in _CONTRACTIONS.split():
        for place in (place for place, character in enumerate(full) if character == "'"):
            table[full[:place] + full[place + 1 :]] = full
    # The published tables have this one the wrong way round. Keys with capitals ("Im", "Ive") are left out: texts are
    # in lower case when the table is consulted, so they never did anything.
    return {**table, "somebody'd": "somebodyd"}


_WHOLE: Final = _contractions()
_NUMBERS: Final = dict(
    zip("none zero one two three four five six seven eight nine ten".split(), "0 0 1 2 3 4 5 6 7 8 9 10".split())  # noqa: B905
)
_ARTICLES: Final = frozenset({"a", "an", "the"})
# Meant as a look-behind, and written as a look-ahead that can never fail: a dot after a digit goes too, unless a digit
# follows. Scores are published with it.
_PERIOD: Final = re.compile(r"(?!<=\d)(\.)(?!\d)")
# Both scripts pass re.UNICODE where the number of replacements belongs.
_PERIODS_REMOVED: Final = int(re.UNICODE)
_COMMA_IN_NUMBER: Final = re.compile(r"\d,\d")
_EVALAI_MARKS: Final = ';/[]"{}()=+\\_-><@`,?!'
_VQA_MARKS: Final = ";:/'[]\"()=+\\_><@`,?"


def vqa(text: str) -> str:
    """The normalizer of VQA v2's evaluation."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    return _words_and_numbers(_marks(text, _VQA_MARKS))


def evalai(text: str) -> str:
    """The normalizer of TextVQA's server."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    return _words_and_numbers(_marks(text, _EVALAI_MARKS))


def _marks(text: str, marks: str) -> str:
    """Each mark removed if it stands beside a space anywhere, or a comma between digits; else it becomes a space."""
    number = _COMMA_IN_NUMBER.search(text) is not None
    out = text
    for mark in marks:
        beside_space = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside_space or number else " ")
    return _PERIOD.sub("", out, count=_PERIODS_REMOVED)


def _words_and_numbers(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_WHOLE.get(word, word) for word in words if word not in _ARTICLES)


def folded(text: str) -> str:
    """Case folded, white space at the ends removed and inside made one space."""
    return " ".join(text.split()).casefold()


_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_SQUAD_ARTICLE: Final = re.compile(r"\b(a|an|the)\b")


def squad(text: str) -> str:
    """The normalizer of SQuAD v1.1: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(_SQUAD_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


# Scripts that write no spaces give a token a character.
_WORD: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
WORDS: Final = "words: lower case, runs of letters and digits; Chinese and Japanese by character"


def words(text: str) -> list[str]:
    """Tokens for ROUGE-L and CIDEr-D; on ASCII what the package rouge-score makes without its stemmer."""
    return _WORD.findall(text.lower())


NORMALIZERS: Final[Mapping[str, Callable[[str], str]]] = {
    "vqa": vqa,
    "evalai": evalai,
    "folded": folded,
    "squad": squad,
}
