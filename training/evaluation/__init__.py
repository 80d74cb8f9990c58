"""Evaluation: scores that keep a multimodal model honest.

Every held-out question is asked three times: with its medium, with none, and with another sample's; for closed sets a
linear probe on the same frozen features is the ceiling. `run` asks a checkpoint or a server, the modules named after
metrics say how an answer is scored, and `report` what is written. Public: `evaluate_checkpoint`, `evaluate_server`.
"""

from training.evaluation.forcing import exact
from training.evaluation.report import Score, markdown
from training.evaluation.run import Evaluation, evaluate_checkpoint, evaluate_server

__all__ = ["Evaluation", "Score", "evaluate_checkpoint", "evaluate_server", "exact", "markdown"]
