"""First program of a container: builds the file system that the container sees, then becomes its real program.

It runs as the first process of the container's own PID, mount and UTS namespaces (`unshare`), inside the pod's network.
There are no images: the container sees the machine's own files, read-only, with the pod's volumes at their mount paths.
A mount path that the machine does not have must not be created on the machine, so a directory that lacks one is
replaced, in the container only, by an empty file system into which everything it held is bound again.

Only the standard library is imported: this runs once per container start.
"""

import contextlib
import ctypes
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_UNBINDABLE = 1, 32, 4096, 16384, 1 << 17
MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_MOUNT_SETATTR = 442
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
CLONE_NEWUSER = 0x10000000
PR_SET_NO_NEW_PRIVILEGES = 38
LEFT_WRITABLE = ("/dev", "/proc", "/sys")

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def main() -> None:
    """Read the container's file, named by the only argument, remove it and become the container."""
    file = Path(sys.argv[1])
    spec: dict[str, Any] = json.loads(file.read_text())
    file.unlink()
    # /proc is still that of the lab, which knows this process by the number that the lab's kubelet can signal.
    Path(spec["pid_file"]).write_text(str(Path("/proc/self").readlink()))
    socket.sethostname(spec["hostname"])
    build_root(Path(spec["root"]), spec["mounts"], spec["keep"], read_only=spec["read_only"])
    enter_root(spec["root"])
    os.chdir(spec["directory"])
    if spec["user"]:
        become(spec["user"], spec["group"])
    if spec["no_new_privileges"]:
        _libc.prctl(PR_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    os.execvpe(spec["argv"][0], spec["argv"], spec["environment"])  # noqa: S606


def build_root(root: Path, mounts: list[dict[str, Any]], keep: list[str], *, read_only: bool) -> None:
    """Make the container's file system at `root`. Paths in `keep` stay visible even where a volume covers them."""
    mount("tmpfs", str(root), "tmpfs", 0, "mode=0755")
    # Unbindable: the machine's tree contains this very place, and must not be copied into itself.
    mount("none", str(root), None, MS_UNBINDABLE)
    mirror("/", str(root))
    for directory in to_mirror([each["target"] for each in mounts]):
        mount("tmpfs", f"{root}{directory}", "tmpfs", 0, "mode=0755")
        mirror(directory, f"{root}{directory}")
    own_proc_and_shm(root)
    for each in sorted(mounts, key=lambda item: len(item["target"])):
        attach(str(root), each["source"], os.path.realpath(each["target"]), read_only=each["read_only"])
        covered = [path for path in keep if Path(path).is_relative_to(each["target"]) and path != each["target"]]
        for path in covered:
            attach(str(root), path, path, read_only=True)
    if read_only:
        mount("none", str(root), None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def own_proc_and_shm(root: Path) -> None:
    """The container's own processes under /proc and its own shared memory, as a container runtime gives it.

    Where the machine hides parts of its /proc the kernel forbids a new one; the lab's own stays visible then.
    """
    with contextlib.suppress(OSError):
        mount("proc", f"{root}/proc", "proc", 0)
    shared_memory = root / "dev" / "shm"
    if shared_memory.is_dir():
        mount("tmpfs", str(shared_memory), "tmpfs", 0, "mode=1777")


def become(user: int, group: int) -> None:
    """Go on as this user and group, in a user namespace of its own: without any right over the machine's namespaces.

    Only this one user and group exist in there, and all files of the lab belong to them.
    """
    before = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWUSER):
        error = ctypes.get_errno()
        raise OSError(error, f"user {user}: {os.strerror(error)}")
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{user} {before[0]} 1")
    (own / "gid_map").write_text(f"{group} {before[1]} 1")


def to_mirror(targets: list[str]) -> list[str]:
    """The directories below the root in which some mount path has to be made, outermost first; always /etc."""
    found = {"/etc"}
    for target in targets:
        path = os.path.realpath(target)
        ancestors = [str(each) for each in reversed(Path(path).parents)]
        for parent, child in zip(ancestors, [*ancestors[1:], path], strict=True):
            if not os.path.exists(child):  # noqa: PTH110
                found.add(parent)
                break
    return sorted(found - {"/"}, key=len)


def mirror(source: str, target: str) -> None:
    """Show every entry of `source`, read-only, in the empty directory `target`."""
    with os.scandir(source) as entries:
        for entry in entries:
            place = f"{target}/{entry.name}"
            if entry.is_symlink():
                Path(place).symlink_to(Path(entry.path).readlink())
                continue
            make_place(place, directory=entry.is_dir())
            try:
                mount(entry.path, place, None, MS_BIND | MS_REC)
            except PermissionError:
                continue  # an entry that the user may not even look at is no loss
            if entry.path not in LEFT_WRITABLE:
                make_read_only(place)


def attach(root: str, source: str, target: str, *, read_only: bool) -> None:
    """Bind `source` at `target` below `root`, making the place for it where there is none."""
    place = f"{root}{target}"
    if os.path.islink(place):  # noqa: PTH114
        os.unlink(place)  # noqa: PTH108
    if not os.path.exists(place):  # noqa: PTH110
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
        make_place(place, directory=stat.S_ISDIR(os.stat(source).st_mode))  # noqa: PTH116
    mount(source, place, None, MS_BIND | MS_REC)
    if read_only:
        make_read_only(place)


def make_place(path: str, *, directory: bool) -> None:
    """An empty directory or file to mount on."""
    if directory:
        os.mkdir(path)  # noqa: PTH102
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def make_read_only(path: str) -> None:
    """Make everything mounted at and below `path` read-only (Linux 5.12; before, it stays as the user's rights are)."""
    attributes = _MountAttributes(attr_set=MOUNT_ATTR_RDONLY)
    _libc.syscall(
        SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2). Raises OSError."""
    arguments = [value.encode() if value is not None else None for value in (source, target, kind)]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() if options else None):
        error = ctypes.get_errno()
        raise OSError(error, f"mount {source} at {target}: {os.strerror(error)}")


def enter_root(root: str) -> None:
    """Make `root` the root and let go of the old one (a chroot would forbid user namespaces)."""
    os.chdir(root)
    if _libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b"."):
        error = ctypes.get_errno()
        raise OSError(error, f"pivot_root {root}: {os.strerror(error)}")
    if _libc.umount2(b".", MNT_DETACH):
        error = ctypes.get_errno()
        raise OSError(error, f"leave the old root: {os.strerror(error)}")


if __name__ == "__main__":
    main()
