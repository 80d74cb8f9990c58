"""Features of media, computed once by each frozen encoder and kept on the disk.

store      FeatureCache: what is cached, and filling it
features   Features: the interface of everything that gives features; OnTheFly, which computes them each time
fill       one run of the encoder over what is missing
claims     how several runs share that work
shards     the files of features
facts      what is remembered about files that have not changed
inventory  what all caches of a folder hold; checking, repairing and pruning them
"""

from training.cache.features import Augmentation, Features, OnTheFly
from training.cache.store import FeatureCache, fingerprint

__all__ = ["Augmentation", "FeatureCache", "Features", "OnTheFly", "fingerprint"]
