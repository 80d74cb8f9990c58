"""One modality of the served model: a frozen encoder and its projector, always in float32."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model.configuration import Modality
from model.encoders import encode
from model.tensor_file import compare
from model.vllm_adapter.timing import Timing


class Tower(nn.Module):
    """Encoder inputs -> soft tokens, built from the very modules of the reference model.

    Towers are small beside a language model and were trained in float32, so that is what they run in, whatever dtype
    serves the language model.
    """

    def __init__(self, spec: Modality, hidden_size: int) -> None:
        super().__init__()
        self.name = spec.name
        self.timing = Timing(spec.name)
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
        with self.timing.batch(len(inputs), next(self.parameters()).device):
            return encode(self.projector, encode(self.encoder, inputs))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load `encoder.*` and `projector.*`; every tensor must be there and fit.

        Raises:
            CheckpointError: a tensor is missing, unknown or of another shape.
        """
        compare(state, self.state_dict(), f"weights of the {self.name} tower")
        # Not strict: step counters of batch norm, which inference does not read, may be absent.
        self.load_state_dict(state, strict=False)
