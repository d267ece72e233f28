"""Write every file that is generated from the code: CRDs, the chart's copies and rules, the reference of the API.

`python -m visio_operator.cli.generate` writes, `--check` only says what is out of date (exit code 1).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from visio_operator.api.crd import crd_documents
from visio_operator.api.reference import reference
from visio_operator.cli.rbac import rule_files

ROOT = Path(__file__).resolve().parents[3]
CRD_FOLDERS = ("crds", "charts/visio-operator/files/crds")


def generated_files() -> dict[str, str]:
    """All generated files: path in the repository to content."""
    documents = crd_documents()
    copies = {f"{folder}/{name}": text for folder in CRD_FOLDERS for name, text in documents.items()}
    return {**copies, **rule_files(), "docs/reference/api.md": reference()}


def generate(root: Path, *, check: bool) -> list[str]:
    """Write the files that differ, or with `check` none; return the paths that differed or should not be there."""
    wanted = generated_files()
    stale = [path for path, text in wanted.items() if not (root / path).exists() or (root / path).read_text() != text]
    folders = {root / path for path in CRD_FOLDERS}
    extra = [
        found for folder in folders for found in folder.glob("*.yaml") if str(found.relative_to(root)) not in wanted
    ]
    if not check:
        for path in stale:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(wanted[path])
        for found in extra:
            found.unlink()
    return sorted([*stale, *(str(found.relative_to(root)) for found in extra)])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m visio_operator.cli.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something is out of date")
    arguments = parser.parse_args()
    changed = generate(ROOT, check=arguments.check)
    for path in changed:
        print(f"{'out of date' if arguments.check else 'written'}: {path}")
    if arguments.check and changed:
        print("run `uv run python -m visio_operator.cli.generate` and commit the result", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
