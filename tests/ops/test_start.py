import signal
import subprocess
import sys

import pytest

from ops.start import EXIT_INTERRUPTED
from zentransfer.service import inherited


@pytest.mark.peer
def test_ctrl_c_while_it_still_imports_ends_it_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "ops", "status"],  # says each import on stderr
        env=inherited(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "click" not in (line := process.stderr.readline()):
            assert line, "it ended before"
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=40)
    assert process.returncode == EXIT_INTERRUPTED
    assert (out, "Traceback" in said, "ops.status" in said) == ("", False, False)
