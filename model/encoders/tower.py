"""A transformers vision tower as an encoder: pooling, and the many spellings of its tensor names."""

from torch import Tensor, nn

# Whole models carry a text tower and a similarity head beside the vision tower; none of them is ours to load.
OTHER_PARTS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")


class PooledTower(nn.Module):
    """`[batch, 3, size, size] -> [batch, 1, dim]`: the `pooler_output` of a transformers vision tower."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """Pooled vector of each picture."""
        pooled: Tensor = self.tower(pixel_values=pixels).pooler_output
        return pooled.unsqueeze(1)


def tower_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Map tensor names of whole models and of bare towers (`vision_model.x`, `model.vision_model.x`, `x`) to ours."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        bare = name.removeprefix("model.")
        if bare.startswith(OTHER_PARTS) or bare.endswith("position_ids"):
            continue
        renamed[f"tower.{bare.removeprefix('vision_model.')}"] = tensor
    return renamed
