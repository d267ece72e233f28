"""Plays the image garage: reads Garage's own configuration, then becomes Versity's S3 gateway on the same port.

So every request's signature is really checked, with the region that the configuration names, and links that are signed
beforehand work. Objects lie as files in the data folder. Facts: Garage 2.3's Quick Start (single node, default bucket).
"""

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visio_lab.standins.environment import Environment

COMMAND = ["/garage", "server", "--single-node", "--default-bucket"]
GATEWAY = "versitygw"
KEY_ID = re.compile("GK[0-9a-f]{24}")
SECRET = re.compile("[0-9a-f]{64}")
"""Garage takes keys only in the form that it makes itself."""
REQUIRED = ("metadata_dir", "data_dir", "db_engine", "replication_factor", "rpc_bind_addr")


def read_config(environment: Environment) -> dict[str, Any]:
    """The configuration. Raises SystemExit (exit code 1) with the variable and what is wrong in its file."""
    name = "GARAGE_CONFIG_FILE"
    try:
        config = tomllib.loads(Path(environment.text(name)).read_text())
    except OSError as error:
        environment.refuse(name, f"cannot be read: {error.strerror}")
    except tomllib.TOMLDecodeError as error:
        environment.refuse(name, f"is not TOML: {error}")
    for key in REQUIRED:
        if key not in config:
            environment.refuse(name, f"misses {key}")
    if config["replication_factor"] != 1:
        environment.refuse(name, "has a replication_factor that --single-node does not allow")
    api = config.get("s3_api")
    if not isinstance(api, dict) or not {"s3_region", "api_bind_addr"} <= set(api):
        environment.refuse(name, "misses s3_region or api_bind_addr in [s3_api]")
    return config


def gateway(values: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of the gateway, and the folders that it needs. Raises SystemExit (exit code 1)."""
    environment = Environment(values)
    config = read_config(environment)
    key, secret = environment.text("GARAGE_DEFAULT_ACCESS_KEY"), environment.text("GARAGE_DEFAULT_SECRET_KEY")
    if not KEY_ID.fullmatch(key):
        environment.refuse("GARAGE_DEFAULT_ACCESS_KEY", "must be GK and 24 hexadecimal digits")
    if not SECRET.fullmatch(secret):
        environment.refuse("GARAGE_DEFAULT_SECRET_KEY", "must be 64 hexadecimal digits")
    if not config.get("rpc_secret") and not SECRET.fullmatch(environment.text("GARAGE_RPC_SECRET")):
        environment.refuse("GARAGE_RPC_SECRET", "must be 64 hexadecimal digits")
    data, meta = Path(config["data_dir"]), Path(config["metadata_dir"])
    for folder in (data / environment.text("GARAGE_DEFAULT_BUCKET"), meta):
        folder.mkdir(parents=True, exist_ok=True)
    api = config["s3_api"]
    argv = [GATEWAY, "--port", api["api_bind_addr"], "--region", api["s3_region"], "--quiet", "posix"]
    if not _keeps_attributes(data):
        argv += ["--sidecar", str(meta)]
    return [*argv, str(data)], {"ROOT_ACCESS_KEY": key, "ROOT_SECRET_KEY": secret}


def _keeps_attributes(folder: Path) -> bool:
    """Whether the file system takes the extended attributes in which the gateway keeps what it knows of an object."""
    try:
        os.setxattr(folder, b"user.visio-lab", b"1")
    except OSError:
        return False
    return True


def main(argv: list[str]) -> None:
    """`/garage server --single-node --default-bucket`, as the image is called."""
    if argv != COMMAND:
        raise SystemExit(f"garage: unknown command line {' '.join(argv)}")
    words, variables = gateway(os.environ)
    program = shutil.which(GATEWAY)
    if program is None:
        raise SystemExit(f"garage: the lab has no {GATEWAY}")
    os.execve(program, words, {**os.environ, **variables})  # noqa: S606 - so that its signals are ours


if __name__ == "__main__":
    main(sys.argv[1:])
