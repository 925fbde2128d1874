"""An object store on this machine (moto's server) with one empty bucket, "bucket".

`python object_store.py` prints its address and runs until its input ends.
"""

import contextlib
import functools
import importlib
import os
import subprocess
import sys

import fsspec
import pytest

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}


@contextlib.contextmanager
def running():
    """Runs the store, and names it in the environment while the block runs."""
    pytest.importorskip("moto")  # of the group dev
    pytest.importorskip("s3fs")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in _ENVIRONMENT.items():
            environment.setenv(name, value)
        environment.setenv("AWS_ENDPOINT_URL", _started()[1])
        yield


@functools.cache
def _started():
    """The store's process and address; one for all tests, since clients keep the address."""
    command, pipe = [sys.executable, __file__], subprocess.PIPE
    nowhere = subprocess.DEVNULL  # the log
    server = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True)
    assert server.stdout
    return server, server.stdout.readline().strip()


def main():
    moto = importlib.import_module("moto.server")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    os.environ |= _ENVIRONMENT
    fsspec.filesystem("s3", endpoint_url=address).mkdir("bucket")
    print(address, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
