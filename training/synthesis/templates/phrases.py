"""All words of the templates: questions and answers by name and language, several phrasings of each.

`{it}`, `{a}`, `{b}` are media ("the first picture"), `{x}`, `{y}` what is known of them. Annotations are quoted after a
colon or as sentences of their own, never built into a sentence: so the grammar is right whether a caption is a name, a
phrase or a sentence. Malay needs no article and no plural, English plurals are made by `training.synthesis.english`.
"""

import random

from training.synthesis.jobs import digest

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "describe/image": {
        "en": (
            "What does {it} show?",
            "What do you see in {it}?",
            "What is in {it}?",
            "Describe {it}.",
            "Tell me what {it} shows.",
            "What can be seen in {it}?",
        ),
        "ms": (
            "Apakah yang ditunjukkan oleh {it}?",
            "Apakah yang anda lihat dalam {it}?",
            "Apakah yang ada dalam {it}?",
            "Huraikan {it}.",
            "Beritahu saya apa yang ada dalam {it}.",
            "Ceritakan tentang {it}.",
        ),
    },
    "describe/audio": {
        "en": (
            "What is {it}?",
            "What do you hear when you listen to {it}?",
            "Describe {it}.",
            "Listen to {it}. What is it?",
        ),
        "ms": (
            "Apakah {it}?",
            "Apakah yang anda dengar apabila {it} dimainkan?",
            "Huraikan {it}.",
            "Dengarkan {it}. Apakah itu?",
        ),
    },
    "transcribe": {
        "en": (
            "What is said in {it}?",
            "What does the speaker say in {it}?",
            "Write down what is said in {it}.",
            "Which words do you hear in {it}?",
        ),
        "ms": (
            "Apakah yang dikatakan dalam {it}?",
            "Apakah yang disebut dalam {it}?",
            "Tuliskan apa yang disebut dalam {it}.",
            "Apakah kata-kata yang anda dengar dalam {it}?",
        ),
    },
    "here": {"en": ("Here are {things}. {question}",), "ms": ("Berikut ialah {things}. {question}",)},
    "about": {
        "en": ("About {it}: {question}", "A question about {it}: {question}"),
        "ms": ("Tentang {it}: {question}", "Satu soalan tentang {it}: {question}"),
    },
    "another": {
        "en": ("{question}", "{question}", "One more question: {question}", "Another thing: {question}"),
        "ms": ("{question}", "{question}", "Satu soalan lagi: {question}", "Perkara lain pula: {question}"),
    },
    "which": {
        "en": (
            'Which {noun} fits these words: "{x}"?',
            'Which {noun} is meant by these words: "{x}"?',
            'I am thinking of this: "{x}". Which {noun} do I mean?',
        ),
        "ms": (
            '{Noun} manakah yang sepadan dengan kata-kata ini: "{x}"?',
            '{Noun} manakah yang dimaksudkan dengan kata-kata ini: "{x}"?',
            'Saya memikirkan ini: "{x}". {Noun} manakah yang saya maksudkan?',
        ),
    },
    "which/answer": {
        "en": ("{It}.", "That is {it}.", "You mean {it}."),
        "ms": ("{It}.", "Itulah {it}.", "Jawapannya ialah {it}."),
    },
    "compare": {
        "en": (
            "How do {a} and {b} differ?",
            "What is the difference between {a} and {b}?",
            "Compare {a} with {b}.",
            "What sets {a} apart from {b}?",
        ),
        "ms": (
            "Apakah perbezaan antara {a} dengan {b}?",
            "Bandingkan {a} dengan {b}.",
            "Bagaimanakah {a} berbeza daripada {b}?",
        ),
    },
    "compare/answer": {
        "en": ("{A}: {x}. {B}: {y}.", "In {a}: {x}. In {b}, on the other hand: {y}."),
        "ms": ("{A}: {x}. {B}: {y}.", "Dalam {a}: {x}. Dalam {b} pula: {y}."),
    },
    "common": {
        "en": (
            "What do {a} and {b} have in common?",
            "Is there something that connects {a} and {b}?",
            "How are {a} and {b} related?",
        ),
        "ms": (
            "Apakah persamaan antara {a} dengan {b}?",
            "Adakah sesuatu yang menghubungkan {a} dengan {b}?",
            "Apakah kaitan antara {a} dengan {b}?",
        ),
    },
    "common/one": {
        "en": ("One thing connects them: {shared}. {A}: {x}. {B}: {y}.",),
        "ms": ("Satu perkara menghubungkan kedua-duanya: {shared}. {A}: {x}. {B}: {y}.",),
    },
    "common/several": {
        "en": ("Several things connect them: {shared}. {A}: {x}. {B}: {y}.",),
        "ms": ("Beberapa perkara menghubungkan kedua-duanya: {shared}. {A}: {x}. {B}: {y}.",),
    },
    "common/nothing": {
        "en": ("I find nothing that connects them. {A}: {x}. {B}: {y}.",),
        "ms": ("Saya tidak menemui apa-apa yang menghubungkan kedua-duanya. {A}: {x}. {B}: {y}.",),
    },
    "match": {
        "en": (
            "Does {b} belong to {a}?",
            "Do {a} and {b} belong together?",
            "Is what you hear in {b} also what you see in {a}?",
        ),
        "ms": (
            "Adakah {b} sepadan dengan {a}?",
            "Adakah {a} dan {b} berkaitan antara satu sama lain?",
            "Adakah apa yang anda dengar dalam {b} sama dengan apa yang anda lihat dalam {a}?",
        ),
    },
    "match/yes": {"en": ("Yes. {A}: {x}. {B}: {y}.",), "ms": ("Ya. {A}: {x}. {B}: {y}.",)},
    "match/no": {"en": ("No. {A}: {x}. {B}: {y}.",), "ms": ("Tidak. {A}: {x}. {B}: {y}.",)},
    "count": {
        "en": ("How many {kinds} have I given you so far?", "Count what I have given you so far: how many {kinds}?"),
        "ms": (
            "Berapakah jumlah {kinds} yang telah saya berikan setakat ini?",
            "Kira apa yang telah saya berikan setakat ini: berapakah jumlah {kinds}?",
        ),
    },
    "list": {
        "en": (
            "List everything that I have given you so far, in order.",
            "Go through all that I have given you, one after the other.",
            "Sum up what I have given you so far, in order.",
        ),
        "ms": (
            "Senaraikan semua yang telah saya berikan setakat ini mengikut urutan.",
            "Sebutkan satu demi satu semua yang telah saya berikan.",
            "Ringkaskan apa yang telah saya berikan setakat ini mengikut urutan.",
        ),
    },
    "translate/image": {
        "en": ("Now say in Malay what is in {it}.", "And in Malay: what is in {it}?"),
        "ms": (
            "Sekarang nyatakan dalam bahasa Inggeris apa yang ada dalam {it}.",
            "Dan dalam bahasa Inggeris: apakah yang ada dalam {it}?",
        ),
    },
    "translate/audio": {
        "en": ("Now say in Malay what {it} is.", "And in Malay: what is {it}?"),
        "ms": ("Sekarang nyatakan dalam bahasa Inggeris apakah {it}.", "Dan dalam bahasa Inggeris: apakah {it}?"),
    },
    "translate/speech": {
        "en": ("Now give what is said in {it} in Malay.", "And in Malay: what is said in {it}?"),
        "ms": (
            "Sekarang nyatakan dalam bahasa Inggeris apa yang disebut dalam {it}.",
            "Dan dalam bahasa Inggeris: apakah yang disebut dalam {it}?",
        ),
    },
    "detail": {
        "en": (
            "Describe {it} in detail.",
            "Tell me everything that you notice about {it}.",
            "Give a full account of {it}.",
            "Describe {it} as exactly as you can.",
        ),
        "ms": (
            "Huraikan {it} dengan terperinci.",
            "Beritahu saya segala yang anda perhatikan tentang {it}.",
            "Ceritakan tentang {it} dengan lengkap.",
            "Huraikan {it} setepat yang mungkin.",
        ),
    },
    "summary": {
        "en": ("To finish, sum up all of it.", "Now put all of this together.", "Sum up what we have talked about."),
        "ms": (
            "Akhir sekali, ringkaskan semuanya.",
            "Sekarang gabungkan semua itu.",
            "Ringkaskan apa yang telah kita bincangkan.",
        ),
    },
    "objects/how-many": {
        "en": ("How many {many} are there?", "How many {many} do you see?", "Count the {many}."),
        "ms": ("Berapakah jumlah {one} yang ada?", "Ada berapa {one} dalam gambar itu?", "Kira jumlah {one}."),
    },
    "objects/how-many/answer": {
        "en": ("{Number}.", "I see {number} {counted}."),
        "ms": ("{Number}.", "Saya nampak {number} {one}."),
    },
    "objects/there": {
        "en": ("What things do you see?", "Which things are there, and how many of each?"),
        "ms": ("Apakah benda yang anda nampak?", "Apakah benda yang ada, dan berapakah jumlah setiap satu?"),
    },
    "objects/there/answer": {"en": ("I see {things}.",), "ms": ("Saya nampak {things}.",)},
    "objects/where": {
        "en": ("Where is the {one}?", "In which part of the picture is the {one}?"),
        "ms": ("Di manakah {one}?", "Di bahagian manakah {one} berada dalam gambar itu?"),
    },
    "objects/where/answer": {
        "en": ("{Place}.", "The {one} is {place}."),
        "ms": ("{Place}.", "{One} berada {place}."),
    },
    "objects/side": {
        "en": ("Is the {a} to the left or to the right of the {b}?",),
        "ms": ("Adakah {a} berada di sebelah kiri atau di sebelah kanan {b}?",),
    },
    "objects/side/left": {
        "en": ("The {a} is to the left of the {b}.",),
        "ms": ("{A} berada di sebelah kiri {b}.",),
    },
    "objects/side/right": {
        "en": ("The {a} is to the right of the {b}.",),
        "ms": ("{A} berada di sebelah kanan {b}.",),
    },
    "reason/more": {
        "en": (
            "Are there more {many_a} or more {many_b}? Give your reason.",
            "Of which are there more, {many_a} or {many_b}, and how do you know?",
        ),
        "ms": (
            "Adakah {a} atau {b} yang lebih banyak? Berikan sebab anda.",
            "Yang manakah lebih banyak, {a} atau {b}, dan bagaimanakah anda tahu?",
        ),
    },
    "reason/more/answer": {
        "en": ("There are more {many_a}: I count {counted_a}, but only {counted_b}.",),
        "ms": ("Terdapat lebih banyak {a}: saya mengira {counted_a}, tetapi hanya {counted_b}.",),
    },
    "reason/left": {
        "en": (
            "Which is further to the left, the {a} or the {b}? Explain how you can tell.",
            "If you walked through the picture from left to right, would you meet the {a} or the {b} first? Why?",
        ),
        "ms": (
            "Yang manakah lebih ke kiri, {a} atau {b}? Terangkan bagaimana anda tahu.",
            "Jika anda berjalan dari kiri ke kanan dalam gambar itu, adakah anda bertemu {a} atau {b} dahulu? Mengapa?",
        ),
    },
    "reason/left/answer": {
        "en": ("The {first}, because it is {place_first}, while the {second} is {place_second}.",),
        "ms": ("{First}, kerana berada {place_first}, manakala {second} berada {place_second}.",),
    },
    "reason/larger": {
        "en": (
            "Which takes up more of the picture, the {a} or the {b}? Give your reason.",
            "Does the {a} or the {b} appear larger, and by how much?",
        ),
        "ms": (
            "Yang manakah mengambil lebih banyak ruang dalam gambar itu, {a} atau {b}? Berikan sebab anda.",
            "Adakah {a} atau {b} kelihatan lebih besar, dan sebanyak mana?",
        ),
    },
    "reason/larger/answer": {
        "en": (
            "The {first}: it spans about {share_first} percent of the picture, the {second} only about {share_second} "
            "percent.",
        ),
        "ms": (
            "{First}: ia meliputi kira-kira {share_first} peratus daripada gambar itu, manakala {second} hanya "
            "kira-kira {share_second} peratus.",
        ),
    },
    "reason/why": {
        "en": ("{question} Give your reason.", "{question} Why do you think so?", "{question} Explain."),
        "ms": (
            "{question} Berikan sebab anda.",
            "{question} Mengapakah anda berpendapat begitu?",
            "{question} Terangkan.",
        ),
    },
}  # fmt: skip

#: Another one for other words.
VERSION = digest(PHRASES)


def phrase(rng: random.Random, name: str, language: str, **values: str) -> str:
    """One phrasing of `name`, filled in; `{It}` is `{it}` with its first letter in upper case."""
    capitals = {key[:1].upper() + key[1:]: value[:1].upper() + value[1:] for key, value in values.items()}
    return rng.choice(PHRASES[name][language]).format(**values, **capitals)
