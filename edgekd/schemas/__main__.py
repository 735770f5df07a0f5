"""``python -m edgekd.schemas [--again]``: makes the schemas and docs/schemas.md anew, in a checkout."""

from __future__ import annotations

import argparse
import json
import sys

from edgekd.errors import EdgekdError, InputError
from edgekd.schemas import FIXED, FOLDER, RECORDS, document, fixed, meaning_sha256, schema
from edgekd.storage import write_json, write_text


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m edgekd.schemas", description=__doc__)
    parser.add_argument("--again", action="store_true", help="change versions that nobody has read yet")
    again = parser.parse_args(arguments).again
    known = fixed() if FIXED.is_file() else {}
    made = {record: schema(record) for record in RECORDS}
    for record, content in made.items():
        name, sha256 = record.path.name, meaning_sha256(content)
        if known.get(name, sha256) != sha256 and not again:
            fix = f"raise the SCHEMA_VERSION of {record.model.__module__}, or --again if no release has had it"
            raise InputError(f"{name} would change", "records of this version were written already", fix)
        known[name] = sha256
    for record, content in made.items():
        write_text(record.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_json(FIXED, known)
    write_text(FOLDER.parents[1] / "docs" / "schemas.md", document())


if __name__ == "__main__":
    try:
        main()
    except EdgekdError as error:
        sys.exit(f"error: {error}")
