"""The Go SDK of Atlas, unmodified: one program for each of four releases."""

import os
import pathlib

import pytest

from world import CLIENTS, TOP, run

RELEASES = sorted(path.name for path in (TOP / "interop" / "go-sdk").glob("sdk-v*") if path.is_dir())


@pytest.fixture(scope="module")
def quick(request):
    """A world of its own: the programs make and remove instances."""
    from world import World

    world = World().start()
    yield world
    world.close()


def settings(world):
    names = {
        "BASE_URL": "baseUrl",
        "PUBLIC_KEY": "publicKey",
        "PRIVATE_KEY": "privateKey",
        "CLIENT_ID": "clientId",
        "CLIENT_SECRET": "clientSecret",
        "GROUP_ID": "groupId",
    }
    return {**os.environ, **{name: world.bootstrap[key] for name, key in names.items()}}


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_does_everything_with_digest_and_oauth(quick, release):
    if release == "sdk-v20250312020":
        quick.create_instance("readable")
    program = CLIENTS / "go-sdk" / release
    assert run([program], env=settings(quick)) == "done\n"


def test_every_program_is_built():
    built = {path.name for path in pathlib.Path(CLIENTS / "go-sdk").iterdir()}
    assert len(RELEASES) == 4 and set(RELEASES) <= built
