"""Volumes of the lab: a default StorageClass, and a directory of the lab behind every claim that asks for it."""

import re
import shutil
from pathlib import Path

from visio_lab.api import Api, Json

PROVISIONER = "lab.visio-operator.dev/directory"
STORAGE_CLASS = "standard"
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


async def create_storage_class(api: Api) -> None:
    """Create the StorageClass `standard`, the default one."""
    await api.apply(
        f"/apis/storage.k8s.io/v1/storageclasses/{STORAGE_CLASS}",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
            "allowVolumeExpansion": True,
        },
    )


def claim_directory(volumes: Path, namespace: str, claim: str) -> Path:
    """Where the data of a claim lies. Both names are DNS labels, so one underscore keeps them apart."""
    return volumes / f"{namespace}_{claim}"


def volume_for(claim: Json, volumes: Path) -> Json:
    """The PersistentVolume made for a claim."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}", "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "hostPath": {"path": str(claim_directory(volumes, metadata["namespace"], metadata["name"]))},
        },
    }


async def provide_volumes(api: Api, volumes: Path) -> None:
    """For ever: a volume for each claim of our class, and its end once its claim is gone."""
    volumes.mkdir(exist_ok=True)
    async for event in api.watch(CLAIMS):
        if event.kind == "SYNCED":
            continue
        metadata = event.object["metadata"]
        if event.kind == "DELETED":
            await api.delete(f"{VOLUMES}/pvc-{metadata['uid']}")
            directory = claim_directory(volumes, metadata["namespace"], metadata["name"])
            if re.fullmatch(r"[a-z0-9.-]+_[a-z0-9.-]+", directory.name):
                shutil.rmtree(directory, ignore_errors=True)
            continue
        spec = event.object["spec"]
        if spec.get("storageClassName") == STORAGE_CLASS and not spec.get("volumeName"):
            claim_directory(volumes, metadata["namespace"], metadata["name"]).mkdir(exist_ok=True)
            await api.create(VOLUMES, volume_for(event.object, volumes))
