"""OpenStack Swift 2.30 from Debian with its S3 API, all of its servers in one process, for tests of the S3 store.

Run by Debian's own Python, which has the packages of `python3-swift`:

    /usr/bin/python3 swift_server.py FOLDER

It is the real object server, with one copy of each object in FOLDER. Only memcached is replaced, by a dictionary.
Prints the port of the S3 API when it listens on it. The access key is `test:tester`, the secret `testing`, the bucket
`files`.
"""

import sys
import time
from pathlib import Path

import eventlet

eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402
from paste.deploy import loadapp  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402

COMMON = """
[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
"""
KINDS = ("account", "container", "object")
PROXY = """
[pipeline:main]
pipeline = catch_errors memory listing_formats s3api tempauth slo proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:memory]
paste.filter_factory = swift_server:memory
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = no
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
minimum_segment_size = 1
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
swift_dir = {folder}
node_timeout = 20
"""
BACKEND = """
[DEFAULT]
devices = {folder}/devices
mount_check = false
swift_dir = {folder}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""


class Memory:
    """What Swift asks of memcached."""

    def __init__(self):
        self._values = {}

    def get(self, key, raise_on_error=False):
        value, until = self._values.get(key, (None, 0))
        return value if until > time.time() else None

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        self._values[key] = (value, globals()["time"].time() + (time or 3600))

    def incr(self, key, delta=1, time=0):
        value = int(self.get(key) or 0) + delta
        self.set(key, value, time=time)
        return value

    def delete(self, key, server_key=None):
        self._values.pop(key, None)


def memory(conf, **local):
    """The filter that puts the dictionary where Swift looks for memcached."""
    kept = Memory()

    def wrap(app):
        def call(environ, start_response):
            environ["swift.cache"] = kept
            return app(environ, start_response)

        return call

    return wrap


class Quiet:
    def write(self, *text):
        pass


def main(folder):
    sys.modules["swift_server"] = sys.modules["__main__"]
    (folder / "devices" / "d1").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(COMMON)
    utils.SWIFT_CONF_FILE = str(folder / "swift.conf")
    utils.validate_hash_conf()
    sockets = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in KINDS}
    for kind, socket in sockets.items():
        builder = RingBuilder(4, 1, 0)
        device = {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "device": "d1", "meta": ""}
        device["port"] = device["replication_port"] = socket.getsockname()[1]
        device["replication_ip"] = "127.0.0.1"
        builder.add_dev(device)
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))
    for kind, socket in sockets.items():
        path = folder / f"{kind}.conf"
        path.write_text(BACKEND.format(folder=folder, kind=kind))
        eventlet.spawn(wsgi.server, socket, loadapp(f"config:{path}"), log=Quiet())
    path = folder / "proxy.conf"
    path.write_text(PROXY.format(folder=folder))
    app = loadapp(f"config:{path}")
    listener = eventlet.listen(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0))
    print(listener.getsockname()[1], flush=True)
    wsgi.server(listener, app, log=Quiet())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
