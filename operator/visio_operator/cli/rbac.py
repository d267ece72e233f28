"""The operator's rights, written into the Helm chart from the table of kinds that the runtime really uses."""

from __future__ import annotations

from collections.abc import Iterable

from visio_operator.runtime.kinds import KINDS, Kind
from visio_operator.runtime.leader import LEASE

RULES = "charts/visio-operator/files/rbac"
HEADER = "# Generated from operator/visio_operator/runtime/kinds.py by `python -m visio_operator.cli.generate`.\n"


def rule_files() -> dict[str, str]:
    """The chart's rule files by their path in the repository.

    `namespaced.yaml` holds in each namespace that is looked after, `cluster.yaml` for kinds without a namespace,
    `pools/` has those of each provider of GPU nodes, and `lease.yaml` holds in the operator's own namespace. Each rule
    says why it is needed, and the comments reach the cluster's administrator, since the chart copies them into what it
    renders.
    """
    lease = [kind for kind in KINDS if kind.name == "Lease"]
    others = [kind for kind in KINDS if kind.name != "Lease" and not kind.provider]
    # Pools stand outside the namespaces that are looked after, Machines too, so their rights are the cluster role's.
    providers = dict.fromkeys(kind.provider for kind in KINDS if kind.provider)
    texts = {
        "cluster": _rules(kind for kind in others if not kind.namespaced),
        "namespaced": _rules(kind for kind in others if kind.namespaced),
        "lease": "".join(_lease_rules(kind) for kind in lease),
        **{f"pools/{name}": _rules(kind for kind in KINDS if kind.provider == name) for name in providers},
    }
    return {f"{RULES}/{name}.yaml": HEADER + text for name, text in texts.items()}


def _rules(kinds: Iterable[Kind]) -> str:
    return "".join(_kind_rules(kind) for kind in kinds)


def _kind_rules(kind: Kind) -> str:
    text = f"# {kind.name}: {kind.reason}\n" + _rule(kind.group, kind.plural, kind.verbs)
    for subresource, verbs in kind.subresources:
        text += _rule(kind.group, f"{kind.plural}/{subresource}", verbs)
    return text


def _lease_rules(kind: Kind) -> str:
    """RBAC does not see the name of an object that is being created; all other verbs are for our own Lease alone."""
    rest = tuple(verb for verb in kind.verbs if verb != "create")
    text = f"# {kind.name}: {kind.reason}\n" + _rule(kind.group, kind.plural, ("create",))
    return text + _rule(kind.group, kind.plural, rest, names=(LEASE,))


def _rule(group: str, resource: str, verbs: Iterable[str], names: Iterable[str] = ()) -> str:
    lines = [f'- apiGroups: ["{group}"]', f'  resources: ["{resource}"]']
    if listed := ", ".join(f'"{name}"' for name in names):
        lines.append(f"  resourceNames: [{listed}]")
    verb_list = ", ".join(f'"{verb}"' for verb in verbs)
    return "\n".join([*lines, f"  verbs: [{verb_list}]"]) + "\n"
