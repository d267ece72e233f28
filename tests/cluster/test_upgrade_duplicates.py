"""Two accounts with one address hold the rung whose migration does not survive them, before anything was changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import live
import trusted
from visio_operator.runtime.secret_values import decode

OLD, NEW = "1.25.0", "1.26.0"
"""Releases of today, the newer one made to ask for this: the laboratory does not run the servers of 1.17 and 1.18."""
ADDRESS = "camille.martin@example.gouv.fr"
RUN_SQL = (
    "import asyncio, asyncpg, os, sys\n"
    "async def main():\n"
    "    db = await asyncpg.connect(host=sys.argv[1], user='meet', database='meet', password=os.environ['P'])\n"
    "    print(await db.execute(sys.argv[2]))\n"
    "asyncio.run(main())\n"
)


@pytest.fixture
def platform(real_lab: Any) -> Iterator[str]:
    """A platform of the older release, with a real database."""

    def older(spec: dict[str, Any]) -> None:
        spec["version"], spec["upgrade"] = OLD, {"soak": "0s", "canary": False}

    release = {"version": NEW, "preconditions": ["duplicateUsers"]}
    head = {"apiVersion": "visio-operator.dev/v1alpha1", "kind": "VisioRelease", "metadata": {"name": NEW}}
    live.apply(real_lab, [{**head, "spec": release}])
    with trusted.platform(real_lab, "duplicates", older) as namespace:
        yield namespace
    real_lab.kubectl("delete", "visiorelease", NEW, check=False)


def _sql(lab: Any, namespace: str, statement: str) -> str:
    secret = live.get(lab, "secret", "visio-postgres", namespace)
    [pod] = live.items(lab, "pods", namespace, "app.kubernetes.io/component=postgres")
    assert secret is not None
    environment = {**os.environ, "P": decode(secret["data"])["password"]}
    argv = [sys.executable, "-c", RUN_SQL, pod["status"]["podIP"], statement]
    process = lab.enter(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    told = process.communicate(timeout=60)[0]
    text = told.decode() if isinstance(told, bytes) else str(told)
    assert process.returncode == 0, text
    return text.strip()


def _held(lab: Any, namespace: str) -> str:
    found = live.condition(lab, namespace, "UpgradeHeld")
    return str(found["message"]) if found.get("reason") == "CheckFailed" else ""


def _generations(lab: Any, namespace: str) -> dict[tuple[str, str], int]:
    found = live.owned(lab, namespace)
    return {
        key: item["metadata"]["generation"] for key, item in found.items() if key[0] in ("Deployment", "StatefulSet")
    }


def test_accounts_that_share_an_address_hold_the_upgrade_until_they_are_merged(real_lab: Any, platform: str) -> None:
    # The schema of a release from before the migration, which forbids what is to be found.
    _sql(real_lab, platform, "DROP INDEX unique_email_when_sub_is_null")
    for number, address in enumerate((ADDRESS, ADDRESS.upper())):
        account = f"'00000000-0000-4000-8000-00000000000{number}', '{address}'"
        assert _sql(real_lab, platform, f"INSERT INTO meet_user (id, email) VALUES ({account})") == "INSERT 0 1"
    before = _generations(real_lab, platform)
    real_lab.kubectl(
        "patch", "vd", "visio", "-n", platform, "--type=merge", "-p", json.dumps({"spec": {"version": NEW}})
    )
    message = live.eventually("held", lambda: _held(real_lab, platform), 90)
    assert "1 e-mail addresses belong to several accounts" in message
    assert "manage.py merge_duplicate_users" in message
    assert _generations(real_lab, platform) == before
    assert live.condition(real_lab, platform, "Ready")["status"] == "True"
    status = live.get(real_lab, "vd", "visio", platform)["status"]
    assert status["version"] == OLD
    assert "camille" not in json.dumps(status).lower(), "addresses are personal data"
    jobs = live.items(real_lab, "jobs", platform, "app.kubernetes.io/component=migrate")
    assert not [job for job in jobs if NEW.replace(".", "-") in job["metadata"]["name"]]

    # Merged, and the check made at once, as the message says: the rung is climbed.
    assert _sql(real_lab, platform, f"DELETE FROM meet_user WHERE email = '{ADDRESS.upper()}'") == "DELETE 1"
    job = f"visio-upgrade-check-{NEW.replace('.', '-')}"
    assert f"at once when you delete the Job {job}" in message
    real_lab.kubectl("delete", "job", job, "--namespace", platform)
    live.eventually(
        f"{NEW} runs", lambda: (live.get(real_lab, "vd", "visio", platform) or {})["status"]["version"] == NEW, 240
    )
    live.wait_ready(real_lab, platform)
