import pytest

import recorder
from world import World


def pytest_sessionfinish():
    recorder.keep()


@pytest.fixture(scope="module")
def world():
    """A server with one instance and one administrator, shared by the tests of a file."""
    world = World().start()
    world.create_instance()
    world.create_user()
    yield world
    world.close()


@pytest.fixture
def fresh():
    """Makes servers of a test's own."""
    worlds = []

    def make(*arguments, **settings):
        worlds.append(World(*arguments, **settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()
