"""The operator tests run against a daemon of their own, made as the end-to-end tests make theirs."""

import importlib.util
import pathlib

_PATH = pathlib.Path(__file__).resolve().parents[1] / "e2e" / "conftest.py"
_spec = importlib.util.spec_from_file_location("e2e_conftest", _PATH)
_e2e = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_e2e)

Daemon = _e2e.Daemon
make_daemon = _e2e.make_daemon
