"""English and Malay as far as the synthesis of dialogs needs them: words, which language a text is in, numbers.

Two languages are told apart by their function words, which both use in nearly every sentence and share none of. A
text too short to hold any is given the benefit of the doubt: "two red triangles" may stand in any dialog.
"""

import re

LANGUAGES = {"en": "English", "ms": "Malay"}
MIXED = "mixed"
"""A dialog whose turns are in both languages."""

NUMBERS = {
    "en": ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "ms": ("tiada", "satu", "dua", "tiga", "empat", "lima", "enam", "tujuh", "lapan", "sembilan", "sepuluh"),
}
ORDINALS = {
    "en": ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    "ms": (
        "pertama", "kedua", "ketiga", "keempat", "kelima", "keenam", "ketujuh", "kelapan", "kesembilan", "kesepuluh",
    ),
}  # fmt: skip


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# With the words for media and their places, which are in every dialog and say nothing of what it is about.
_FUNCTION_WORDS = {
    "en": frozenset(ORDINALS["en"])
    | _set(
        """a about after all also am and any are as at be been before being between both but by can could did do does
        each for from had has have he her here him his how i if in into is it its just many me more most much my near
        no not of on only or other our over she should so some such than that the their them then there these they
        this those through to under up was we were what when where which while who whose why will with would yes you
        your picture pictures sound sounds recording recordings"""
    ),
    "ms": frozenset(ORDINALS["ms"])
    | _set(
        """ada adakah adalah akan aku anda antara apa apakah atas atau awak bagaimana bagaimanakah bagi bahawa banyak
        bawah beberapa belum berapa berapakah berada boleh bukan dalam dan dapat dari daripada dengan di dia hanya
        ia ialah ini itu itulah iaitu juga kami kamu ke kepada kerana kita lagi lain lebih manakah mana masih mempunyai
        mereka oleh pada paling para pernah pula saya sebuah sebagai sebelum sedang sedikit sehingga seekor seorang
        sekeping selepas semua seperti serta siapa siapakah sila sudah supaya tanpa telah tentang terdapat tersebut
        tetapi tidak tiada untuk walaupun ya yang
        gambar bunyi rakaman"""
    ),
}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# A sentence of so many words without a single function word of its language is in another one.
_TELLING_WORDS = 12
_SHORTEST_CONTENT_WORD = 3
# Letters that the forms of a word share, as in triangle and triangles; Malay prefixes (main, bermain) stay apart.
_STEM = 5


def words(text: str) -> list[str]:
    """The words of a text in lower case, without numbers and punctuation."""
    return _WORD.findall(text.lower())


def content_words(text: str) -> set[str]:
    """The words that say what a text is about: no function words of either language."""
    function_words = _FUNCTION_WORDS["en"] | _FUNCTION_WORDS["ms"]
    return {word for word in words(text) if len(word) >= _SHORTEST_CONTENT_WORD and word not in function_words}


def stems(text: str) -> set[str]:
    """Beginnings of the content words, so that a word is found again in another inflection."""
    return {word[:_STEM] for word in content_words(text)}


def fits(text: str, language: str) -> bool:
    """Whether a text can be in `language` (`en`, `ms`, or `mixed` for either of them)."""
    if language == MIXED:
        return any(fits(text, each) for each in LANGUAGES)
    letters = [character for character in text if character.isalpha()]
    if sum(character > "\u024f" for character in letters) * 4 > len(letters):
        return False  # a quarter outside the Latin letters
    found = words(text)
    own, other = (
        sum(word in _FUNCTION_WORDS[each] for word in found)
        for each in (language, *(each for each in LANGUAGES if each != language))
    )
    if own == 0 and len(found) >= _TELLING_WORDS:
        return False
    return other < 2 or own >= other


def speaks(text: str, language: str) -> bool:
    """Whether a text shows that it is in `language`: more of its function words than of the other one's."""
    found = words(text)
    counts = {each: sum(word in _FUNCTION_WORDS[each] for word in found) for each in LANGUAGES}
    return counts[language] > max(count for each, count in counts.items() if each != language)


def normalised(text: str) -> str:
    """The words and numbers of a text in lower case, one space apart: equal for texts that say the same."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def sentence(text: str) -> str:
    """A text as a sentence: first letter upper case, a mark at its end."""
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…", '."', '!"', '?"')) else text + "."


def clause(text: str) -> str:
    """A text to stand after a colon or between quotation marks: without its own mark at the end, or double quotes."""
    return " ".join(text.replace('"', "'").split()).rstrip(".;,!?… ")


def number(count: int, language: str) -> str:
    """A count as a word up to ten, then in digits."""
    names = NUMBERS[language]
    return names[count] if 0 <= count < len(names) else str(count)


def ordinal(position: int, language: str) -> str:
    """The ordinal of a position from 1 to 10."""
    return ORDINALS[language][position - 1]


def listed(items: list[str], language: str) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {'and' if language == 'en' else 'dan'} {items[-1]}"
