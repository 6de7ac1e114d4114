"""`python -m emulator.label_process STAGE`: Chalice's local server on a free port, printed as the first line of stdout.

`chalice local` takes a port from its caller, who cannot know that it is still free. Not here: what is served and when
the process ends (emulator/label_server.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from chalice.cli import create_local_server
from chalice.cli.factory import CLIFactory


def main(stage: str) -> None:
    """Bind, print the port, serve until the process is ended; whatever is printed later goes to stderr."""
    root = Path(__file__).resolve().parent.parent
    server = create_local_server(CLIFactory(str(root)), "127.0.0.1", 0, stage)
    print(server.server.server_address[1], flush=True)
    os.dup2(2, 1)
    server.server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
