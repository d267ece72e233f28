"""How KWOK plays nodes and the pods that are not real processes: its Stage objects and its command line.

Source: KWOK 0.8's Stage API (kwok.x-k8s.io/v1alpha1) and template functions. Process pods (programs.py) match no pod
stage, so KWOK never touches them. Nodes keep the capacity that the lab's cloud gave them.
"""

from pathlib import Path
from typing import Any

from visio_lab.context import KUBELET_PORT, NODE_ADDRESSES, NODE_IP, LabContext
from visio_lab.programs import CHECKS, image_pattern

SIMULATED_PODS = "10.244.0.0/17"
"""The lower half of the pod range is KWOK's; the upper half belongs to process pods (sandbox.py)."""
JOB_SECONDS = 0.5
ABSENT = "absent.lab/"
"""Images of this registry cannot be had: their pods wait as with a kubelet that finds none."""
BROKEN = "broken.lab/"
"""Jobs with an image of this registry fail."""
LEASE_S = 200

READY = '.status.conditions[]? | select(.type == "Ready") | .status'

_ADDRESSES = "".join(
    f'{{{{ if eq .metadata.name "{name}" }}}}{{{{ $address = "{address}" }}}}{{{{ end }}}}'
    for name, address in NODE_ADDRESSES.items()
)
NODE_STATUS = f"""
{{{{ $now := Now }}}}
{{{{ $address := NodeIP }}}}
{_ADDRESSES}
conditions:
{{{{ range NodeConditions }}}}
- type: {{{{ .type | Quote }}}}
  status: {{{{ .status | Quote }}}}
  reason: {{{{ .reason | Quote }}}}
  message: {{{{ .message | Quote }}}}
  lastHeartbeatTime: {{{{ $now | Quote }}}}
  lastTransitionTime: {{{{ or $.metadata.creationTimestamp $now | Quote }}}}
{{{{ end }}}}
addresses:
- {{type: InternalIP, address: {{{{ $address | Quote }}}}}}
- {{type: Hostname, address: {{{{ NodeName | Quote }}}}}}
daemonEndpoints:
  kubeletEndpoint:
    Port: {KUBELET_PORT}
phase: Running
"""

POD_RUNNING = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
{{ range $type := list "PodReadyToStartContainers" "Initialized" "ContainersReady" "Ready" }}
- {type: {{ $type }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
{{ if .spec.initContainers }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
{{ if eq (or .restartPolicy "") "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ else }}
  started: false
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
{{ end }}
{{ end }}
{{ with NodeIPsWith .spec.nodeName }}
hostIP: {{ index . 0 | Quote }}
hostIPs:
- ip: {{ index . 0 | Quote }}
{{ end }}
{{ $namespace := .metadata.namespace }}
{{ with PodIPsWith .spec.nodeName (or .spec.hostNetwork false) .metadata.uid .metadata.name $namespace }}
podIP: {{ index . 0 | Quote }}
podIPs:
- ip: {{ index . 0 | Quote }}
{{ end }}
"""

POD_SUCCEEDED = """
{{ $now := Now }}
{{ $started := or .status.startTime $now }}
phase: Succeeded
conditions:
{{ range $type := list "ContainersReady" "Ready" }}
- {type: {{ $type }}, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $started | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
"""

POD_WITHOUT_IMAGE = """
phase: Pending
{{ $each := dict "containerStatuses" .spec.containers "initContainerStatuses" .spec.initContainers }}
{{ range $field, $containers := $each }}
{{ if $containers }}
{{ $field }}:
{{ range $containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state: {waiting: {reason: {{ if hasPrefix "ABSENT" .image }}ImagePullBackOff{{ else }}PodInitializing{{ end }}}}
{{ end }}
{{ end }}
{{ end }}
""".replace("ABSENT", ABSENT)

POD_FAILED = (
    POD_SUCCEEDED.replace("phase: Succeeded", "phase: Failed")
    .replace("exitCode: 0", "exitCode: 1")
    .replace("reason: Completed", "reason: Error\n      message: broken by the laboratory")
    .replace("reason: PodCompleted", "reason: PodFailed")
)


def kwok_argv(binary: Path, inner_kubeconfig: Path, config: Path) -> list[str]:
    """The command line of KWOK managing every node of the lab."""
    return [
        str(binary),
        f"--kubeconfig={inner_kubeconfig}",
        f"--config={config}",
        "--manage-all-nodes=true",
        f"--cidr={SIMULATED_PODS.replace('.0/', '.1/')}",
        f"--node-ip={NODE_IP}",
        f"--node-lease-duration-seconds={LEASE_S}",
    ]


def process_pod(ctx: LabContext) -> str:
    """A jq expression that finds something in process pods, and nothing in others."""
    images = image_pattern(ctx.real_images)
    played = "" if ctx.real_pods else f'select((.args // [""])[0] != "{CHECKS}") | '
    return f'.spec | (.containers, .initContainers // [])[] | {played}.image | select(test("{images}"))'


def stage_manifests(ctx: LabContext) -> list[dict[str, Any]]:
    """The Stage objects for KWOK's configuration file, one document each."""
    alive, not_process = _without(".metadata.deletionTimestamp"), _without(process_pod(ctx))
    of_job = _in(".metadata.ownerReferences[]?.kind", "Job")
    return [
        _stage("node-ready", "Node", [_not_in(READY, "True")], {"statusTemplate": NODE_STATUS}),
        _stage(
            "node-heartbeat", "Node", [_in(READY, "True")], {"statusTemplate": NODE_STATUS}, delay_s=LEASE_S, jitter=2
        ),
        _stage(
            "pod-running",
            "Pod",
            [alive, not_process, _in(".status.phase", "Pending"), _without(_images_of(ABSENT))],
            {"statusTemplate": POD_RUNNING},
        ),
        _stage(
            "pod-without-image",
            "Pod",
            [
                alive,
                not_process,
                _in(".status.phase", "Pending"),
                _with(_images_of(ABSENT)),
                _without(".status.containerStatuses"),
            ],
            {"statusTemplate": POD_WITHOUT_IMAGE},
        ),
        _stage(
            "job-pod-succeeded",
            "Pod",
            [alive, not_process, _in(".status.phase", "Running"), of_job, _without(_images_of(BROKEN))],
            {"statusTemplate": POD_SUCCEEDED},
            delay_s=JOB_SECONDS,
        ),
        _stage(
            "job-pod-failed",
            "Pod",
            [alive, not_process, _in(".status.phase", "Running"), of_job, _with(_images_of(BROKEN))],
            {"statusTemplate": POD_FAILED},
            delay_s=JOB_SECONDS,
        ),
        _stage("pod-deleted", "Pod", [_with(".metadata.deletionTimestamp"), not_process], {"delete": True}),
    ]


def _images_of(registry: str) -> str:
    """A jq expression that finds the images of a registry in a pod."""
    return f'.spec | (.containers, .initContainers // [])[] | .image | select(startswith("{registry}"))'


def _stage(
    name: str, kind: str, selector: list[dict[str, Any]], following: dict[str, Any], delay_s: float = 0, jitter: int = 1
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": selector},
        "next": following,
    }
    if delay_s:
        milliseconds = int(delay_s * 1000)
        spec["delay"] = {"durationMilliseconds": milliseconds, "jitterDurationMilliseconds": milliseconds * jitter}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _in(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": [value]}


def _not_in(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "NotIn", "values": [value]}


def _with(key: str) -> dict[str, Any]:
    return {"key": key, "operator": "Exists"}


def _without(key: str) -> dict[str, Any]:
    return {"key": key, "operator": "DoesNotExist"}
