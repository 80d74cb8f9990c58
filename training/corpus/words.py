"""What is spoken in the source ``speech``: digits, everyday words and short commands, English and Malay.

``THINGS`` are everyday things with their Malay names and emoji code points: the closed set ``emoji/common``. Most of
them are among the spoken words too, so that a word can be compared with a picture.
"""

from __future__ import annotations

DIGITS: dict[str, tuple[str, ...]] = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "ms": ("kosong", "sifar", "satu", "dua", "tiga", "empat", "lima", "enam", "tujuh", "lapan", "sembilan"),
}

#: English name -> (Malay name, emoji code points)
THINGS: dict[str, tuple[str, str]] = {
    "dog": ("anjing", "1F415"),
    "cat": ("kucing", "1F408"),
    "horse": ("kuda", "1F40E"),
    "cow": ("lembu", "1F404"),
    "sheep": ("biri-biri", "1F411"),
    "goat": ("kambing", "1F410"),
    "elephant": ("gajah", "1F418"),
    "tiger": ("harimau", "1F405"),
    "rabbit": ("arnab", "1F407"),
    "mouse": ("tikus", "1F401"),
    "snake": ("ular", "1F40D"),
    "turtle": ("kura-kura", "1F422"),
    "fish": ("ikan", "1F41F"),
    "whale": ("ikan paus", "1F40B"),
    "butterfly": ("rama-rama", "1F98B"),
    "bee": ("lebah", "1F41D"),
    "spider": ("labah-labah", "1F577-FE0F"),
    "rooster": ("ayam jantan", "1F413"),
    "duck": ("itik", "1F986"),
    "penguin": ("penguin", "1F427"),
    "owl": ("burung hantu", "1F989"),
    "apple": ("epal", "1F34E"),
    "banana": ("pisang", "1F34C"),
    "grapes": ("anggur", "1F347"),
    "strawberry": ("strawberi", "1F353"),
    "lemon": ("lemon", "1F34B"),
    "pineapple": ("nanas", "1F34D"),
    "watermelon": ("tembikai", "1F349"),
    "carrot": ("lobak merah", "1F955"),
    "corn": ("jagung", "1F33D"),
    "bread": ("roti", "1F35E"),
    "pizza": ("piza", "1F355"),
    "egg": ("telur", "1F95A"),
    "cake": ("kek", "1F382"),
    "tree": ("pokok", "1F333"),
    "rose": ("bunga ros", "1F339"),
    "sunflower": ("bunga matahari", "1F33B"),
    "cactus": ("kaktus", "1F335"),
    "mushroom": ("cendawan", "1F344"),
    "car": ("kereta", "1F697"),
    "bus": ("bas", "1F68C"),
    "bicycle": ("basikal", "1F6B2"),
    "train": ("kereta api", "1F686"),
    "airplane": ("kapal terbang", "2708-FE0F"),
    "rocket": ("roket", "1F680"),
    "boat": ("perahu", "26F5"),
    "house": ("rumah", "1F3E0"),
    "door": ("pintu", "1F6AA"),
    "chair": ("kerusi", "1FA91"),
    "bed": ("katil", "1F6CF-FE0F"),
    "clock": ("jam", "23F0"),
    "phone": ("telefon", "1F4F1"),
    "key": ("kunci", "1F511"),
    "hammer": ("tukul", "1F528"),
    "scissors": ("gunting", "2702-FE0F"),
    "umbrella": ("payung", "2602-FE0F"),
    "book": ("buku", "1F4D5"),
    "pencil": ("pensel", "270F-FE0F"),
    "shoe": ("kasut", "1F45E"),
    "hat": ("topi", "1F3A9"),
    "guitar": ("gitar", "1F3B8"),
    "drum": ("dram", "1F941"),
    "ball": ("bola", "26BD"),
    "moon": ("bulan", "1F319"),
}

#: Said words that are no things of the list above.
_MORE_EN = (
    "yes", "no", "stop", "go", "left", "right", "up", "down", "open", "close", "hello", "thanks", "water", "milk",
    "coffee", "morning", "night", "summer", "winter", "school", "mother", "father", "happy", "music",
)  # fmt: skip
_MORE_MS = (
    "ya", "tidak", "berhenti", "pergi", "kiri", "kanan", "atas", "bawah", "buka", "tutup", "air", "susu", "kopi",
    "pagi", "malam", "sekolah", "ibu", "ayah",
)  # fmt: skip
_PAIRED = (
    "dog", "cat", "horse", "cow", "goat", "elephant", "tiger", "rabbit", "mouse", "fish", "snake", "bee", "duck",
    "apple", "banana", "pineapple", "corn", "bread", "egg", "tree", "car", "bus", "bicycle", "train", "airplane",
    "house", "door", "chair", "key", "book", "shoe", "hat",
)  # fmt: skip
_UNSPOKEN = {"sheep", "whale", "rooster", "owl", "cactus", "drum", "rose", "grapes"}  # leaves 56 things to say

WORDS: dict[str, tuple[str, ...]] = {
    "en": tuple(name for name in THINGS if name not in _UNSPOKEN) + _MORE_EN,
    "ms": tuple(THINGS[name][0] for name in _PAIRED) + _MORE_MS,
}

COMMANDS: dict[str, tuple[str, ...]] = {
    "en": (
        "turn on the light", "turn off the light", "open the door", "close the window", "play some music",
        "stop the music", "set a timer", "call my mother", "send a message", "take a picture", "read the news",
        "go back", "what time is it", "tell me a joke", "turn up the volume", "turn down the volume",
        "start the car", "lock the door", "show me the map", "good night",
    ),
    "ms": (
        "buka lampu", "tutup lampu", "buka pintu", "tutup tingkap", "mainkan muzik", "hentikan muzik",
        "pasang penggera", "telefon ibu", "hantar mesej", "ambil gambar", "baca berita", "balik semula",
        "pukul berapa sekarang", "ceritakan jenaka", "kuatkan suara", "perlahankan suara", "hidupkan kereta",
        "kunci pintu", "tunjukkan peta", "selamat malam",
    ),
}  # fmt: skip
