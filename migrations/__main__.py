"""Write the next migration from the difference between the models and a freshly migrated database."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import NullPool, create_engine

from . import config, upgrade


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit('usage: python -m migrations "what changes"')
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'empty.db'}"
        upgrade(url)
        command.revision(config(create_engine(url, poolclass=NullPool)), sys.argv[1], autogenerate=True)


if __name__ == "__main__":
    main()
