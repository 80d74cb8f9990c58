"""What a language model is told: one instruction for each kind of dialog, and the annotations as JSON.

The model sees no medium, only what is known of it, and is to write as if it saw and heard. The annotations are data of
the user's message and stand there as JSON, so that no text of a data set can pose as an instruction. The wording is our
own: MMMModal's and LLaVA's prompts are not reproduced, Muffin's is not public.
"""

import json
from typing import Any

from training.synthesis.annotations import ANSWER, CAPTION, NAME, OBJECT, TRANSCRIPT, Medium
from training.synthesis.dialog import schema
from training.synthesis.jobs import Job, digest
from training.synthesis.kinds import KINDS
from training.synthesis.languages import LANGUAGES, MIXED

_COMMON = """\
You write training conversations between a person and an assistant that sees pictures and hears sounds. You are given \
notes about media as JSON: what a picture shows, what is said or heard in a sound. The person and the assistant know \
nothing of these notes. The assistant answers from looking and listening, so it never speaks of notes, captions, \
annotations, transcripts, labels, boxes or coordinates, and never says that something was described or provided.

Rules:
- State only what follows from the notes with certainty. Ask nothing that they do not answer.
- Hand every medium to the assistant exactly once: put its name into "media" of the turn in which the person gives it. \
Media of one modality are given in the order of their numbers. No turn speaks of a medium that was not given yet.
- In questions and answers speak of media as a person would: "the picture", "the second picture", "the first sound". \
Never write names such as "image 1" in angle brackets.
- Say something about every medium. Do not ask the same thing twice.
- Coordinates in the notes are fractions of width and height: left, top, right, bottom. Use them for where things are \
and how large they look, in words.
- Answer with one JSON object and nothing else: \
{"turns": [{"media": ["image 1"], "question": "...", "answer": "..."}]}. \
A turn that hands over nothing has an empty list as "media".
"""
_TASKS = {
    "relations": """
Task: a conversation of {low} to {high} turns over all the media. Ask what they have to do with each other: what \
connects or distinguishes them, whether a sound fits a picture, which of them something is true of, in what order \
something could have happened. Later questions return to media of earlier turns. Hand over some media together and \
some later.
""",
    "merge": """
Task: one conversation of {low} to {high} turns that brings together everything the notes hold about the medium: what \
it shows or says as a whole, every question with its answer, the things in it with their number and place, and reasons \
where the notes give them. Let each question follow from the one before, put short answers into full sentences, and \
leave out nothing and repeat nothing.
""",
    "conversation": """
Task: a conversation of {low} to {high} turns in which the person asks about what can be seen or heard: kinds of \
things, their number, colours, actions, places and positions relative to each other. Every question has a definite \
answer.
""",
    "description": """
Task: a single turn. The person asks, in words of their own, for a detailed description. The answer describes the \
medium thoroughly in flowing sentences, from the whole to the details.
""",
    "reasoning": """
Task: {low} to {high} turns. The person asks a question that cannot be answered by looking or listening alone, but by \
thinking about what is there: causes, purposes, what may happen next, background knowledge. The answer gives its \
reasons step by step, starting from what can be seen or heard.
""",
}
_LANGUAGE = "Write everything in {language}, whatever language the notes are in."
_MIXED = (
    "Make the conversation bilingual: some turns in English and some in Malay. Within a turn, question and answer are "
    "in the same language, unless the question asks for the other one."
)
# More than this and a local model fails to finish its JSON.
_MOST_TURNS = 8


def instruction(kind: str) -> str:
    """What the model is told about a kind of dialog."""
    low, high = KINDS[kind].limits.turns
    return _COMMON + _TASKS[kind].format(low=low, high=min(high, _MOST_TURNS))


def version(kind: str) -> str:
    """A hash of all that decides what is asked: instruction, language rules and schema."""
    return digest(instruction(kind), _LANGUAGE, _MIXED, schema(["image 1"]))


def messages(job: Job) -> list[dict[str, str]]:
    """The chat messages that ask for a job's dialog."""
    language = _MIXED if job.language == MIXED else _LANGUAGE.format(language=LANGUAGES[job.language])
    media = [{"name": name, **_notes(medium)} for name, medium in zip(job.names, job.media, strict=True)]
    asked = json.dumps({"media": media}, ensure_ascii=False, indent=1)
    return [
        {"role": "system", "content": f"{instruction(job.kind)}\n{language}"},
        {"role": "user", "content": asked},
    ]


def _notes(medium: Medium) -> dict[str, Any]:
    notes: dict[str, Any] = {}
    for kind, key in ((CAPTION, "captions"), (TRANSCRIPT, "spoken"), (NAME, "names")):
        if known := medium.known(kind):
            notes[key] = [each.text for each in known]
    if known := medium.known(ANSWER):
        notes["questions"] = [
            {"question": each.question, "answer": each.text} | ({"because": each.rationale} if each.rationale else {})
            for each in known
        ]
    if known := medium.known(OBJECT):
        notes["things"] = [
            {"name": each.text} | ({"place": [round(x, 2) for x in each.box]} if each.box else {}) for each in known
        ]
    return notes
