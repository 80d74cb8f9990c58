"""What a Quartet model *is*: the one definition shared by training, by the transformers reference and by vLLM.

Frozen encoders turn media into features, small trained projectors turn features into a few soft tokens of a language
model, and one prompt definition puts those tokens where the user put the media.
"""

__version__ = "0.1.0"
