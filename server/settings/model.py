"""Which model is served, and under which name."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr

from server.settings.sections import Section

DEMO_MODEL = Path(__file__).resolve().parents[2] / "model" / "demo"


class ModelSettings(Section):
    """The checkpoint."""

    title: ClassVar[str] = "Model"

    model: Annotated[str, Field(min_length=1)] = str(DEMO_MODEL)
    """Checkpoint directory (also a packed one) or org/name on the hub; by default the demo model."""
    name: str | None = None
    """Model id in the API; by default the last part of `model`."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of the language model; by default its checkpoint's own. Encoders and projectors run in float32."""
    max_model_len: Annotated[int, Field(ge=16, le=1 << 30)] | None = None
    """Longest conversation, tokens; by default what the language model was made for."""
    hub_token: SecretStr | None = None
    """Token for private repositories on the hub."""
