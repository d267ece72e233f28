"""The CustomResourceDefinitions, generated from the models."""

from __future__ import annotations

from typing import Any

import yaml

from .fields import Model, validations
from .releases import VisioRelease
from .schema import Schema, structural_schema
from .spec import GROUP, KIND, PLURAL, SHORT_NAME, VERSION, VisioDeployment
from .status import VisioDeploymentStatus

HEADER = "# Generated from operator/visio_operator/api by `python -m visio_operator.cli.generate`; do not edit.\n"
_STANDARD = {
    "apiVersion": {"type": "string", "description": "Group and version of this kind of object."},
    "kind": {"type": "string", "description": "Kind of this object."},
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}


def _column(name: str, path: str, kind: str = "string", priority: int = 0, description: str = "") -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": priority} if priority else column


def _root(model: type[Model], spec: type[Model], status: type[Model] | None) -> Schema:
    properties = {**_STANDARD, "spec": structural_schema(spec)}
    if status is not None:
        properties["status"] = structural_schema(status)
    schema: Schema = {
        "type": "object",
        "description": (model.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": properties,
    }
    if model.rules or model.transitions:
        schema["x-kubernetes-validations"] = validations(model.rules, model.transitions)
    return schema


def _definition(
    kind: str, plural: str, short: str, scope: str, schema: Schema, columns: list[dict[str, Any]], *, status: bool
) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": schema},
    }
    if status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["visio"],
            },
            "scope": scope,
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }


def deployment_crd() -> dict[str, Any]:
    """The definition of VisioDeployment. SchemaError when a model says what a definition cannot say."""
    columns = [
        _column("Ready", '.status.conditions[?(@.type=="Ready")].status', description="Whether all parts serve."),
        _column("Version", ".status.version", description="Release that runs."),
        _column("Target", ".spec.version", description="Release that is asked for."),
        _column("GPU-Nodes", ".status.gpuNodes", description="GPU nodes that are ready, of those wanted."),
        _column("Age", ".metadata.creationTimestamp", "date", description="Time since creation."),
        _column(
            "Hold",
            '.status.conditions[?(@.type=="UpgradeHeld")].reason',
            priority=1,
            description="Why an upgrade waits.",
        ),
        _column("Next-Start", ".status.upgrade.nextStart", priority=1, description="When the next rung can start."),
    ]
    schema = _root(VisioDeployment, _spec_of(VisioDeployment), VisioDeploymentStatus)
    return _definition(KIND, PLURAL, SHORT_NAME, "Namespaced", schema, columns, status=True)


def release_crd() -> dict[str, Any]:
    """The definition of VisioRelease, an addition to the release ladder."""
    columns = [
        _column("Version", ".spec.version", description="Release."),
        _column("Previous", ".spec.previous", description="Release from which an upgrade leads here."),
        _column("Age", ".metadata.creationTimestamp", "date", description="Time since creation."),
    ]
    schema = _root(VisioRelease, _spec_of(VisioRelease), None)
    return _definition("VisioRelease", "visioreleases", "vr", "Cluster", schema, columns, status=False)


def _spec_of(model: type[Model]) -> type[Model]:
    annotation = model.model_fields["spec"].annotation
    if not (isinstance(annotation, type) and issubclass(annotation, Model)):
        raise TypeError(f"{model.__name__}.spec is no model")
    return annotation


def crd_documents() -> dict[str, str]:
    """The definitions as YAML by file name, as they lie in crds/."""
    return {
        f"{crd['metadata']['name'].partition('.')[0]}.yaml": HEADER + _dump(crd)
        for crd in (deployment_crd(), release_crd())
    }


def render_crds() -> str:
    """All definitions as one stream of YAML documents, ready for `kubectl apply --server-side -f -`."""
    return "---\n".join(_dump(crd) for crd in (deployment_crd(), release_crd()))


class _Dumper(yaml.SafeDumper):
    """Writes shared pieces in full: anchors would surprise a reader."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never use anchors."""
        return True


def _dump(document: dict[str, Any]) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True))
