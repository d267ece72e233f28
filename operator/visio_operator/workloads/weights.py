"""The volume with the models of a GPU server: filled beforehand, or empty and filled by a download at each start."""

from __future__ import annotations

from visio_operator.api.weights import Weights

from .common import Manifest, env
from .containers import mount, scratch

MODELS = "/data/models"
"""The cache of Hugging Face's clients in both images."""


def models_volume(weights: Weights | None, scratch_size: str) -> Manifest:
    """The volume `models` of a pod."""
    if weights is None:
        return scratch("models", scratch_size)
    if weights.claim is not None:
        return {"name": "models", "persistentVolumeClaim": {"claimName": weights.claim, "readOnly": True}}
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": weights.storage}},
        "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": weights.snapshot},
    }
    if weights.storage_class is not None:
        spec["storageClassName"] = weights.storage_class
    return {"name": "models", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}


def models_mount(weights: Weights | None) -> Manifest:
    """Where the volume appears; what was filled beforehand is only read."""
    return mount("models", MODELS, read_only=weights is not None)


def models_env(weights: Weights | None) -> list[Manifest]:
    """Where the libraries look; with weights that are there, nobody asks the internet for a newer revision.

    WhisperX loads its alignment models by torch, its diarization by pyannote and its sentences by NLTK, each with a
    cache of its own; moshi-server reads Hugging Face's alone.
    """
    found = {"HF_HOME": MODELS}
    if weights is not None:
        found |= {
            "HF_HUB_OFFLINE": "1",
            "TORCH_HOME": f"{MODELS}/torch",
            "PYANNOTE_CACHE": f"{MODELS}/pyannote",
            "NLTK_DATA": f"{MODELS}/nltk",
        }
    return env(found)
