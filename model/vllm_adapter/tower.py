"""One modality of the served model: a frozen encoder and its projector, always in float32."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model.configuration import Modality
from model.encoders import encode
from model.errors import CheckpointError


class Tower(nn.Module):
    """Encoder inputs -> soft tokens, built from the very modules of the reference model.

    Towers are small beside a language model and were trained in float32, so that is what they run in, whatever dtype
    serves the language model.
    """

    def __init__(self, spec: Modality, hidden_size: int) -> None:
        super().__init__()
        self.name = spec.name
        previous = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            self.encoder = spec.encoder.build()
            self.projector = spec.build_projector(hidden_size)
        finally:
            torch.set_default_dtype(previous)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Preprocessed media -> one `[tokens, hidden]` float32 tensor each, in bounded batches.

        The engine's own limit counts soft tokens: at 4 a medium it would encode thousands of media at once.
        """
        return encode(self.projector, encode(self.encoder, inputs))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load `encoder.*` and `projector.*`; every tensor must be there and fit.

        Raises:
            CheckpointError: a tensor is missing, unknown or of another shape.
        """
        # Step counters of batch norm are not read in inference, and some files lack them.
        state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise CheckpointError(f"the {self.name} tower's weights do not fit its configuration: {error}") from None
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or unexpected:
            what = f"{missing[0]} is missing" if missing else f"{unexpected[0]} is unknown"
            raise CheckpointError(f"the {self.name} tower's weights do not fit its configuration: {what}")
