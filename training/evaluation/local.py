"""Answers of a checkpoint, in the transformers reference: what the server must give, without a server.

Every conversation goes through the model once by teacher forcing. Only where that shows that the model's own answer is
another one is it generated, many at a time with a key-value cache; so the better a model, the faster its evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from tqdm import tqdm

from model.adapter import MEDIA
from model.errors import DataError
from model.prompt import Prompt, control_tokens
from model.reference import QuartetForConditionalGeneration
from training.cache import FeatureCache
from training.data import Sample
from training.dataset import Collator, Row, encode_row
from training.evaluation.forcing import Forced, batches, force
from training.evaluation.questions import Question, Reply, questions


class CheckpointBackend:
    """Answers of a loaded checkpoint.

    Args:
        model: in evaluation mode, on the device it shall run on.
        prompt: its prompt format.
        caches: hold the features of the media of every sample asked about.
        max_tokens: longest answer, its end token included.
        generate: whether to generate the answers that are not the reference's.
        description: what is evaluated.
    """

    def __init__(
        self,
        model: QuartetForConditionalGeneration,
        prompt: Prompt,
        caches: Mapping[str, FeatureCache],
        *,
        max_tokens: int,
        generate: bool = True,
        description: str = "checkpoint",
    ) -> None:
        self.model, self.prompt, self.caches = model, prompt, caches
        self.max_tokens, self.generate, self.description = max_tokens, generate, description
        self._controls = frozenset(control_tokens(prompt.tokenizer).values())

    def reply(self, samples: Sequence[Sample], name: str) -> list[list[Reply]]:
        """See `Backend.reply`."""
        asked = [questions(sample) for sample in samples]
        forced = self._force(samples, asked, name)
        # An exact answer is the reference; the others are asked for.
        open_ = [(i, j) for i, answers in enumerate(forced) for j, answer in enumerate(answers) if not answer.exact]
        texts: dict[tuple[int, int], str] = {}
        if self.generate:
            answers = self._answer([asked[i][j] for i, j in open_], f"{name} answers")
            texts = dict(zip(open_, answers, strict=True))
        return [
            [
                Reply(
                    exact=answer.exact,
                    text=(asked[i][j].reference if answer.exact else texts[i, j]) if self.generate else None,
                    surprise=answer.surprise,
                    tokens=answer.tokens,
                )
                for j, answer in enumerate(answers)
            ]
            for i, answers in enumerate(forced)
        ]

    def _force(self, samples: Sequence[Sample], asked: Sequence[list[Question]], name: str) -> list[list[Forced]]:
        rows: list[Row] = []
        # Which of a row's answers count for which sample: the last ones.
        owners: list[tuple[int, int]] = []
        for index, sample in enumerate(samples):
            for part, count in self._parts(sample, asked[index]):
                rows.append(encode_row(self.prompt, part))
                owners.append((index, count))
        found: list[list[Forced]] = [[] for _ in samples]
        for (index, count), answers in zip(
            owners, force(self.model, self.caches, rows, self._controls, name), strict=True
        ):
            found[index] += answers[len(answers) - count :]
        for sample, answers, wanted in zip(samples, found, asked, strict=True):
            if len(answers) != len(wanted):
                raise DataError(
                    f"sample {sample.id}: {len(wanted)} assistant turns, but the chat template shows {len(answers)}"
                )
        return found

    def _parts(self, sample: Sample, asked: Sequence[Question]) -> list[tuple[Sample, int]]:
        """Conversations to run, and how many of the last answers of each count.

        One is enough unless the adapter is active only where there are media: an answer given before the first medium
        came has to be scored without what follows.
        """
        early = sum(1 for question in asked if not question.media) if sample.media else 0
        if self.model.config.adapter_scope != MEDIA or early == 0:
            return [(sample, len(asked))]
        end = len(asked[early - 1].messages) + 1
        before = replace(sample, messages=sample.messages[:end], media=[])
        return [(before, early), (sample, len(asked) - early)] if early < len(asked) else [(before, early)]

    def _answer(self, asked: Sequence[Question], name: str) -> list[str]:
        rows = [Row(ids := self.prompt.encode(question.messages), [0] * len(ids), question.media) for question in asked]
        texts = [""] * len(rows)
        with tqdm(total=len(rows), desc=name, leave=False) as bar:
            for part in batches(rows):
                chosen = [rows[index] for index in part]
                lengths = [max(len(row.input_ids) for row in chosen)]
                features = Collator(self.model.config, self.caches, lengths, pad=0)(chosen)["features"]
                prompts = [row.input_ids for row in chosen]
                with torch.inference_mode():
                    answers = self.model.answers(prompts, features, max_tokens=self.max_tokens)
                for index, ids in zip(part, answers, strict=True):
                    texts[index] = str(self.prompt.tokenizer.decode(ids, skip_special_tokens=True))
                bar.update(len(part))
        return texts
