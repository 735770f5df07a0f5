"""One of the processes that ``edgekd.training.launch`` starts: ``python -m edgekd.training.rank``.

A call of ``distill`` as a line of JSON on stdin, what happens as lines of JSON on stdout: ``{"tell": [what, share]}``,
``{"what": ..., "why": ..., "fix": ..., "code": ..., "followed": ..., "trace": ...}``, ``{"bug": ..., "trace": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from typing import Any

from edgekd.errors import EdgekdError, Exit


def main() -> int:
    with open(0, "rb", buffering=0, closefd=False) as stdin:  # a buffered one is locked by whoever waits for its end
        asked = json.loads(stdin.readline())
    sys.path[:] = asked["path"]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints there

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    def ends_with_parent() -> None:
        while os.read(0, 1):
            pass
        os._exit(int(Exit.INTERRUPTED))

    threading.Thread(target=ends_with_parent, daemon=True).start()
    first = os.environ["RANK"] == "0"
    try:
        from edgekd.training.distill import distill  # here, so that what it lacks is said like any other error
        from edgekd.training.ranks import PeerGoneError

        distill(**asked["call"], progress=(lambda what, share: say({"tell": [what, share]})) if first else None)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except EdgekdError as error:
        told = {"what": error.what, "why": error.why, "fix": error.fix, "code": int(error.code)}
        say({**told, "followed": isinstance(error, PeerGoneError), "trace": traceback.format_exc()})
        return int(error.code)
    except Exception as error:
        say({"bug": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()})
        return int(Exit.BUG)
    return int(Exit.OK)


if __name__ == "__main__":
    sys.exit(main())
