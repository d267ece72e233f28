"""Where the GPU servers find their models, so that none is downloaded when a pod starts."""

from __future__ import annotations

from pydantic import Field

from .fields import Model, ObjectName, Quantity, Rule, amount


class Weights(Model):
    """Model weights that are there before a pod starts: a cache in the layout of Hugging Face's own."""

    rules = (
        Rule(
            "has(self.claim) != has(self.snapshot)",
            "exactly one of claim and snapshot must be set",
            "keep claim for a volume that all pods share, or snapshot for a copy for each pod",
            lambda self: (self.claim is None) != (self.snapshot is None),
        ),
        Rule(
            "!has(self.storageClass) || has(self.snapshot)",
            "storageClass is for the volumes that are made from a snapshot",
            "remove storageClass",
            lambda self: self.storage_class is None or self.snapshot is not None,
            "storageClass",
        ),
        Rule(
            "quantity(self.storage).compareTo(quantity('1Gi')) >= 0",
            "storage is below 1Gi",
            "ask for at least the size of the volume that the snapshot was taken of",
            lambda self: amount(self.storage) >= amount("1Gi"),
            "storage",
        ),
    )

    claim: ObjectName | None = Field(
        None,
        description="PersistentVolumeClaim that all pods mount for reading; with pods on several nodes its access mode "
        "has to be ReadOnlyMany or ReadWriteMany.",
    )
    snapshot: ObjectName | None = Field(
        None, description="VolumeSnapshot of which each pod gets a volume of its own, where no volume can be shared."
    )
    storage_class: ObjectName | None = Field(
        None, description="Storage class of the volumes made from the snapshot; unset is the cluster's default."
    )
    storage: Quantity = Field("40Gi", description="Size of each volume made from the snapshot.")
