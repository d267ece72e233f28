"""Transcription: one Celery worker and one WhisperX server on one GPU, in one pod.

So there is one job per GPU without any balancing: more workers than GPUs would queue inside an HTTP call and time out.
"""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release

from .common import Manifest, Site, container_security, env
from .connections import SecretKey, from_secret, keys
from .containers import GPU, PLAIN, TMP, VISIO, amounts, container, mount, port, scratch, tcp_probe
from .pods import KEEP_SESSIONS, Pod, deployment, disruption_budget, service_account
from .summary import worker
from .weights import models_env, models_mount, models_volume

WHISPER_PORT = 8000
GRACE = 1_500
"""Seconds: two attempts at 600 s each and a download. A job that is killed is lost without a trace."""


def transcription(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The transcription pods."""
    part = plan.part("transcription")
    if part is None:
        return []
    queue = release.settings.get("transcribeQueue", "transcribe-queue-v2")
    main = worker(
        "transcribe",
        site,
        release,
        queue,
        f"http://127.0.0.1:{WHISPER_PORT}/v1/",
        # The whole recording and its sound lie in /tmp while it is worked on: 1.4 GB an hour.
        resources=amounts(
            {"cpu": "100m", "memory": "500Mi", "ephemeral-storage": "1Gi"},
            {"memory": "2Gi", "ephemeral-storage": "24Gi"},
        ),
    )
    pod = Pod(
        "transcription",
        VISIO,
        GRACE,
        (main,),
        init=(_whisper(site, release),),
        volumes=(
            scratch("tmp", "20Gi"),
            scratch("whisper-tmp", "20Gi"),
            models_volume(site.spec.transcription.weights, "30Gi"),
        ),
        annotations=KEEP_SESSIONS,
        pool=site.spec.transcription.pool,
    )
    return [
        service_account(site, "transcription"),
        # A successor needs a GPU of its own: the old pod, when it is idle, gives its one to it.
        deployment(site, pod, part.replicas, surge=0),
        disruption_budget(site, "transcription"),
    ]


def _whisper(site: Site, release: Release) -> Manifest:
    """WhisperX as a native sidecar: it is up before the worker takes its first job and outlives the last one."""
    spec = site.spec.transcription
    by_argument = release.settings.get("whisperModel", "argument") == "argument"
    token = [from_secret("HF_TOKEN", SecretKey(spec.hugging_face_secret, "token"))] if spec.hugging_face_secret else []
    command = ["python3", "main.py", "--model", spec.model] if by_argument else []
    return container(
        "whisperx",
        release.images["whisper"],
        restartPolicy="Always",
        command=command,
        env=[
            from_secret("API_KEY", keys(site, "whisperxApiKey")),
            *token,
            *models_env(spec.weights),
            *env({"HOME": TMP, "PORT": str(WHISPER_PORT), "BATCH_SIZE": "16"}),
            *([] if by_argument else env({"TRANSCRIBE_MODEL": spec.model})),
        ],
        ports=[port("whisperx", WHISPER_PORT)],
        # It listens only once the models are loaded, the first time after gigabytes of download. While it transcribes
        # it answers no request at all, so connecting is the most that may be asked.
        startupProbe=tcp_probe("whisperx", period=10, failures=180),
        livenessProbe=tcp_probe("whisperx", period=30, failures=10),
        readinessProbe=tcp_probe("whisperx", period=10, failures=6),
        resources=amounts(
            {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "10Gi" if spec.weights is None else "1Gi"},
            {"memory": "16Gi", "ephemeral-storage": "52Gi" if spec.weights is None else "22Gi", GPU: "1"},
        ),
        volumeMounts=[mount("whisper-tmp", TMP), models_mount(spec.weights)],
        # The image is made for this user, unlike that of the worker.
        securityContext={**container_security(), "runAsUser": PLAIN.uid, "runAsGroup": PLAIN.gid},
    )
