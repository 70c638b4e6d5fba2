"""Builds the package that `func azure functionapp publish` would send: the folder, less what .funcignore names.

The libraries are not in it: Azure installs requirements.txt while publishing (remote build). The same files give the
same bytes, so that two packages can be compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).resolve().parents[1]
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file knows
_READABLE = 0o100644 << 16


def files(root: Path = ROOT) -> list[str]:
    """Paths of the files that are published, relative to root, sorted.

    .funcignore has the rules of .gitignore. The func CLI leaves itself and git out without being told.
    """
    rules = GitIgnoreSpec.from_lines((root / ".funcignore").read_text(encoding="utf-8").splitlines())
    return sorted(_below(root, root, rules))


def build(target: Path, root: Path = ROOT) -> list[str]:
    """Write the package to target and return the paths in it."""
    names = files(root)
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=9) as package:
        for name in names:
            entry = ZipInfo(name, _EPOCH)
            entry.compress_type = ZIP_DEFLATED
            entry.external_attr = _READABLE
            package.writestr(entry, (root / name).read_bytes())
    return names


def _below(folder: Path, root: Path, rules: GitIgnoreSpec) -> list[str]:
    """The files of one folder and those under it; a folder that is ignored is not entered, as git does."""
    found = []
    for path in folder.iterdir():
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            if not rules.match_file(f"{name}/"):
                found += _below(path, root, rules)
        elif not rules.match_file(name):
            found.append(name)
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tools.package", description="Build the package that is published to Azure.")
    parser.add_argument("--output", type=Path, default=ROOT / "package.zip", help="default: package.zip")
    target = parser.parse_args(arguments).output
    names = build(target)
    content = sum((ROOT / name).stat().st_size for name in names)
    print("\n".join(names))
    print(f"{len(names)} files, {content:,} bytes, {target.stat().st_size:,} bytes as {target.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
