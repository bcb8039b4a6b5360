"""An upgrade of the system's time zone data reaches a running daemon."""
import shutil
import struct

from conftest import create, wait_for


def fixed_zone(hours):
    """A TZif file (RFC 9636, version 2) of a zone that is always so many hours east."""
    footer = f"\n<+{hours:02}>-{hours}\n".encode()
    name = f"+{hours:02}".encode() + b"\0"
    body = struct.pack(">iBB", hours * 3600, 0, 0) + name

    def header(version):
        return b"TZif" + version + bytes(15) + struct.pack(">6L", 0, 0, 0, 0, 1, len(name))
    return header(b"2") + body + header(b"2") + body + footer


def test_a_changed_zone_moves_what_is_still_to_come(tmp_path, make_daemon):
    folder = tmp_path / "zoneinfo"
    folder.mkdir()
    shutil.copy("/usr/share/zoneinfo/UTC", folder / "UTC")
    (folder / "Testland").write_bytes(fixed_zone(1))
    daemon = make_daemon(environment={"TZDIR": str(folder)}).start()
    with daemon.client(daemon.create_key("owner")) as api:
        path = "/api/scheduled/" + create(api, schedule="0 12 1 1 *", timezone="Testland")
        assert "T11:00:00" in api.get(path).json()["next_run"]
        (folder / "new").write_bytes(fixed_zone(3))
        (folder / "new").rename(folder / "Testland")
        wait_for(lambda: "T09:00:00" in api.get(path).json()["next_run"], "the new zone")
        # what happens while nobody runs is noticed, too
        assert daemon.stop() == 0
        (folder / "Testland").write_bytes(fixed_zone(5))
    daemon.start()
    with daemon.client(daemon.create_key("owner")) as api:
        wait_for(lambda: "T07:00:00" in api.get(path).json()["next_run"], "the newest zone")
